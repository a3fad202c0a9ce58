/*
 * orders.c - what the commands may ask of the running daemon: one row each.
 */
#include <stdio.h>
#include <sys/queue.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/mem.h"

static void
answer(void *ctx, const char *text)
{
	struct control_request *r = ctx;

	if (*text)
		control_line(r, "%s", text);
	control_end(r);
}

static void
flush(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	pickup_wake(d->pickup);
	qmgr_command(d->qmgr, QMGR_FLUSH, "", answer, r);
}

static void
order_flush(void *ctx, struct control_request *r, const char *arg)
{
	rights_ask(ctx, r, RIGHT_FLUSH, arg, flush);
}

static bool
id_ok(struct control_request *r, const char *id)
{
	if (spool_id_valid(str_of(id)))
		return true;
	control_line(r, "error bad queue id: %s", id);
	control_end(r);
	return false;
}

static void
flush_id(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	if (id_ok(r, arg))
		qmgr_command(d->qmgr, QMGR_FLUSH_ID, arg, answer, r);
}

static void
order_flush_id(void *ctx, struct control_request *r, const char *arg)
{
	rights_ask(ctx, r, RIGHT_FLUSH, arg, flush_id);
}

static void
flush_site(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	qmgr_command(d->qmgr, QMGR_FLUSH_SITE, arg, answer, r);
}

static void
order_flush_site(void *ctx, struct control_request *r, const char *arg)
{
	rights_ask(ctx, r, RIGHT_FLUSH, arg, flush_site);
}

/* Ids with blanks between them. The answer comes when the last one is seen to. */
static void
order_changed(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;
	struct str rest = str_of(arg), next;
	char id[SPOOL_ID_MAX] = "";

	pickup_wake(d->pickup); /* a requeued message lies in maildrop */
	while (str_token(&rest, " ", &next)) {
		if (!spool_id_valid(next)) {
			snprintf(id, sizeof(id), "%.*s", STR_FMT(next));
			break;
		}
		if (*id)
			qmgr_command(d->qmgr, QMGR_CHANGED, id, NULL, NULL);
		snprintf(id, sizeof(id), "%.*s", STR_FMT(next));
	}
	if (id_ok(r, id))
		qmgr_command(d->qmgr, QMGR_CHANGED, id, answer, r);
}

static void
order_changed_all(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	pickup_wake(d->pickup);
	qmgr_command(d->qmgr, QMGR_CHANGED, "", answer, r);
}

/* What happens in the directories until `changed-all` is a command's work. */
static void
order_changing_all(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	qmgr_command(d->qmgr, QMGR_CHANGING, "", answer, r);
}

/* What postsuper wants of mail in active: "ACTION ID" or "ACTION ALL". */
static void
order_super(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	qmgr_command(d->qmgr, QMGR_SUPER, arg, answer, r);
}

static void
order_purge(void *ctx, struct control_request *r, const char *arg)
{
	daemon_purge(ctx);
	control_end(r);
}

static void
order_wakeup_pickup(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	pickup_wake(d->pickup);
	control_end(r);
}

/* "LEVEL PID TAG TAB TEXT": a line that its sender could not write itself. */
static void
order_log(void *ctx, struct control_request *r, const char *arg)
{
	struct str rest = str_of(arg), level, pid, tag;
	int64_t l, p;
	char name[LOG_TAG_MAX + 1];

	if (str_token(&rest, " ", &level) && str_token(&rest, " ", &pid) &&
	    str_number(level, LOG_LEVEL_INFO, LOG_LEVEL_PANIC, &l) == 0 &&
	    str_number(pid, 1, INT32_MAX, &p) == 0 && str_index(rest, '\t') < rest.n) {
		rest = str_from(rest, 1);
		tag = str_head(rest, str_index(rest, '\t'));
		snprintf(name, sizeof(name), "%.*s", STR_FMT(tag));
		log_for((enum log_level)l, name, (long)p, rest.p + tag.n + 1);
	} else
		control_line(r, "error bad log line");
	control_end(r);
}

static void
order_reload(void *ctx, struct control_request *r, const char *arg)
{
	daemon_reload(ctx);
	control_end(r);
}

static void
order_stop(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	control_line(r, "pid %ld", (long)getpid());
	control_end(r);
	log_info("master", "stopping: asked by uid %ld", (long)control_uid(r));
	daemon_stop(d, 0);
}

static void
order_status(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	control_line(r, "pid %ld", (long)getpid());
	control_line(r, "version %s", PP_VERSION);
	for (size_t i = 0; i < d->gen->n; i++)
		for (size_t k = 0; k < d->gen->rows[i].n; k++)
			control_line(r, "listening %s %s", d->gen->rows[i].fds[k].name,
			    d->gen->rows[i].service);
	qmgr_command(d->qmgr, QMGR_COUNTS, "", answer, r);
}

/* Somebody who wants to see what happens: one line per event of the queue. */
struct watcher {
	LIST_ENTRY(watcher) link;
	struct daemon *daemon;
	struct control_request *request;
};

static void
watcher_gone(void *ctx)
{
	struct watcher *w = ctx;
	struct daemon *d = w->daemon;

	LIST_REMOVE(w, link);
	mem_free(w);
	if (LIST_EMPTY(&d->watchers))
		qmgr_watch(d->qmgr, false);
}

static void
order_events(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;
	struct watcher *w = MEM_NEW(struct watcher);

	w->daemon = d;
	w->request = r;
	LIST_INSERT_HEAD(&d->watchers, w, link);
	qmgr_watch(d->qmgr, true);
	control_keep(r, watcher_gone, w);
	control_line(r, "watching");
}

struct event {
	struct post post;
	struct daemon *daemon;
	char line[SPOOL_ID_MAX + 32];
};

static void
event_on_main(struct post *p)
{
	struct event *e = PP_CONTAINER(p, struct event, post);
	struct watcher *w, *next;

	for (w = LIST_FIRST(&e->daemon->watchers); w != NULL; w = next) {
		next = LIST_NEXT(w, link);
		control_line(w->request, "%s", e->line); /* may end the watcher */
	}
	mem_free(e);
}

/* On the queue manager's loop. */
void
daemon_event(void *ctx, const char *line)
{
	struct daemon *d = ctx;
	struct event *e = MEM_NEW(struct event);

	e->daemon = d;
	snprintf(e->line, sizeof(e->line), "%s", line);
	post_to(d->main, &e->post, event_on_main);
}

void
daemon_watchers_end(struct daemon *d)
{
	struct watcher *w;

	while ((w = LIST_FIRST(&d->watchers)) != NULL) {
		LIST_REMOVE(w, link);
		control_end(w->request);
		mem_free(w);
	}
}

const struct control_command daemon_orders[] = {
    {"changed", order_changed, false},
    {"changed-all", order_changed_all, false},
    {"changing-all", order_changing_all, false},
    {"events", order_events, false},
    {"flush", order_flush, true},
    {"flush-id", order_flush_id, true},
    {"flush-site", order_flush_site, true},
    {"list", daemon_order_list, true},
    {"log", order_log, true},
    {"purge", order_purge, false},
    {"reload", order_reload, false},
    {"status", order_status, true},
    {"stop", order_stop, false},
    {"super", order_super, false},
    {"wakeup-pickup", order_wakeup_pickup, true},
};

size_t
daemon_orders_count(void)
{
	return PP_COUNT(daemon_orders);
}
