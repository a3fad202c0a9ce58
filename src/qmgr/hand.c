/*
 * hand.c - what an administrator does to the files of a running queue manager.
 *
 * The directories are watched, and what they tell is mostly our own work: each mail makes three
 * events. So the events of one moment are gathered per id, and what our own state explains is
 * dropped without a system call. The rest is looked at on the disk (look.c): what an event said may
 * be over by then, the files are the truth. Without inotify the periodic walk finds the same.
 */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <unistd.h>
#include "hand.h"

enum {
	LATER_MS = 300,      /* a fresh mail is on its way into active by then */
	LOOKS_AT_ONCE = 200, /* of one batch; more is a flood, for which a walk is made */
	CALM_MS = 300,       /* when it has ended */
	CALM_MAX_MS = 5000,
	QUIET_MORE_MS = 2000,
	ODD_MAX = 1000,
};

enum verdict { OURS, LOOK, LATER };

/* Names that were warned of. */
struct hand_odd {
	UT_hash_handle hh;
	char name[];
};

#define IN_INCOMING HAND_BIT(QUEUE_INCOMING)
#define IN_ACTIVE HAND_BIT(QUEUE_ACTIVE)
#define IN_DEFERRED HAND_BIT(QUEUE_DEFERRED)
#define IN_HOLD HAND_BIT(QUEUE_HOLD)

static const enum queue watched[] = {QUEUE_INCOMING, QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD};

/* In incoming/ and active/ just what our own traffic makes seldom, or once. */
unsigned
hand_mask(enum queue q, bool touch_incoming)
{
	if (q == QUEUE_INCOMING)
		return WATCH_CAME | WATCH_WRITTEN | WATCH_REMOVED |
		       (touch_incoming ? WATCH_TOUCHED : 0);
	if (q == QUEUE_ACTIVE)
		return WATCH_CAME | WATCH_WRITTEN | WATCH_REMOVED | WATCH_WENT;
	return WATCH_MADE | WATCH_WRITTEN | WATCH_TOUCHED | WATCH_CAME | WATCH_WENT | WATCH_REMOVED;
}

bool
hand_odd_first(struct qmgr_hand *h, const char *name)
{
	size_t n = strlen(name) + 1;
	struct hand_odd *o;

	HASH_FIND_STR(h->odd, name, o);
	if (o || HASH_COUNT(h->odd) >= ODD_MAX)
		return false;
	o = mem_alloc(sizeof(*o) + n);
	memcpy(o->name, name, n);
	HASH_ADD_STR(h->odd, name, o);
	return true;
}

void
hand_odd_over(struct qmgr_hand *h, const char *name)
{
	struct hand_odd *o;

	HASH_FIND_STR(h->odd, name, o);
	if (o == NULL)
		return;
	HASH_DEL(h->odd, o);
	mem_free(o);
}

const char *
hand_user(uid_t uid, char text[HAND_USER_MAX])
{
	struct passwd pw, *found = NULL;
	char room[4096];

	if (getpwuid_r(uid, &pw, room, sizeof(room), &found) == 0 && found)
		snprintf(text, HAND_USER_MAX, "%s", pw.pw_name);
	else
		snprintf(text, HAND_USER_MAX, "%ld", (long)uid);
	return text;
}

void
hand_path_free(struct hand_note *n)
{
	mem_free(n->path);
	n->path = NULL;
}

static void
note_free(struct hand_note **table, struct hand_note *n)
{
	HASH_DEL(*table, n);
	hand_path_free(n);
	mem_free(n);
}

static struct hand_note *
note_get(struct hand_note **table, const char *id)
{
	struct hand_note *n;

	HASH_FIND_STR(*table, id, n);
	if (n)
		return n;
	n = MEM_NEW(struct hand_note);
	snprintf(n->id, sizeof(n->id), "%s", id);
	HASH_ADD_STR(*table, id, n);
	return n;
}

/* Beside its hash directory? Where nothing is hashed there is no other directory to be in. */
static void
note_place(struct qmgr_hand *h, struct hand_note *n, const struct watch_event *e)
{
	char want[SPOOL_PATH_MAX], path[SPOOL_PATH_MAX];
	size_t len = strlen(e->path);

	hand_path_free(n);
	if (len == strlen(spool_queue_name((enum queue)e->tag)))
		return; /* at the top: found there, whatever the depth */
	spool_path(h->q->spool, (enum queue)e->tag, n->id, want);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", e->path, e->name) >= sizeof(path) ||
	    strcmp(path, want) == 0)
		return;
	n->path = mem_strdup(path);
	n->at = (enum queue)e->tag;
}

static void
note_event(struct qmgr_hand *h, struct hand_note *n, const struct watch_event *e)
{
	unsigned bit = 1u << e->tag;

	if (e->what == WATCH_WENT || e->what == WATCH_REMOVED) {
		n->gone |= bit;
		n->came &= ~bit;
		n->half &= ~bit;
		n->touched &= ~bit;
		return;
	}
	if (e->what == WATCH_MADE && (n->came & bit) == 0)
		n->half |= bit;
	else if (e->what != WATCH_MADE)
		n->half &= ~bit;
	if (e->what == WATCH_TOUCHED)
		n->touched |= bit;
	n->came |= bit;
	n->was |= bit;
	n->gone &= ~bit;
	/* From incoming/ to active/: the queue manager's own way. */
	if (e->what == WATCH_CAME && bit == IN_ACTIVE)
		n->came &= ~IN_INCOMING;
	note_place(h, n, e);
}

static void
odd_name(struct qmgr_hand *h, const struct watch_event *e)
{
	char path[SPOOL_PATH_MAX + NAME_MAX];

	if (e->what == WATCH_WENT || e->what == WATCH_REMOVED || *e->name == '.')
		return;
	snprintf(path, sizeof(path), "%s/%s", e->path, e->name);
	if (hand_odd_first(h, path))
		log_warn("qmgr", "%s: bogus file name: left alone", path);
}

/* While a command is at work on whole queues its hundred thousand changes are not gathered: nobody
 * would be sent to look, and a walk comes at its end. */
static bool
is_of_command(struct qmgr_hand *h, const struct watch_event *e)
{
	return (e->tag == QUEUE_DEFERRED || e->tag == QUEUE_HOLD) && !e->is_dir &&
	       hand_all_quiet(h);
}

static void
event(void *ctx, const struct watch_event *e)
{
	struct qmgr_hand *h = ctx;

	if (is_of_command(h, e)) {
		h->batch_looks++;
		return;
	}

	if (e->is_dir) {
		/* A new directory has to be watched, and may have come with mail in it; one that
		 * was closed to us may be open now. */
		h->walk |=
		    e->what == WATCH_MADE || e->what == WATCH_CAME || e->what == WATCH_TOUCHED;
		return;
	}
	if (!spool_id_valid(str_of(e->name)))
		odd_name(h, e);
	else
		note_event(h, note_get(&h->notes, e->name), e);
}

static void
calm_fired(struct timer *t)
{
	struct qmgr_hand *h = PP_CONTAINER(t, struct qmgr_hand, calm_timer);

	/* A command is at work on whole queues, and tells when it has done. */
	if (hand_all_quiet(h))
		timer_start(h->q->loop, t, CALM_MS, calm_fired);
	else
		qmgr_scan(h->q);
}

/* A walk, but not beside those who make so many changes: when they pause. */
static void
walk_when_calm(struct qmgr_hand *h)
{
	int64_t now = loop_now(h->q->loop);

	if (h->calm_timer.loop == NULL)
		h->flood_since = now;
	else if (now - h->flood_since > CALM_MAX_MS)
		return;
	timer_start(h->q->loop, &h->calm_timer, CALM_MS, calm_fired);
}

static void
lost(void *ctx, int tag, const char *path)
{
	struct qmgr_hand *h = ctx;

	h->batch_looks += LOOKS_AT_ONCE;
	walk_when_calm(h);
}

static enum verdict
judge_active(struct qmgr_message *m, const struct hand_note *n, unsigned came)
{
	bool leaving = m->state == MESSAGE_ENDING, was_seen = m->is_seen;

	m->is_seen |= (n->was & IN_ACTIVE) != 0;
	if ((n->gone & IN_ACTIVE) && !leaving && m->mail == NULL)
		return LOOK;
	if ((came & (IN_DEFERRED | IN_HOLD)) && !((n->gone & IN_ACTIVE) && leaving))
		return LOOK;
	if ((came & IN_INCOMING) && was_seen)
		return LOOK;
	return OURS;
}

/* Which of it did we do ourselves? */
static enum verdict
judge(struct qmgr_hand *h, const struct hand_note *n, bool is_second)
{
	unsigned came = n->came & ~n->half;
	struct qmgr_message *m;

	HASH_FIND_STR(h->q->active, n->id, m);
	if (m)
		return judge_active(m, n, came);
	if (came & (IN_ACTIVE | IN_HOLD))
		return LOOK;
	if (came & IN_DEFERRED)
		return qmgr_deferred_find(h->q, n->id) && (n->gone & IN_ACTIVE) && !n->touched
			   ? OURS
			   : LOOK;
	if (n->half & (IN_DEFERRED | IN_HOLD))
		return LOOK; /* a second name of a file is made but never written */
	if (came & IN_INCOMING) {
		if (!is_second)
			return LATER;
		if (qmgr_has_room(h->q, QUEUE_INCOMING))
			return LOOK;
		qmgr_incoming_waits(h->q);
		return OURS;
	}
	if (n->gone & IN_DEFERRED)
		return qmgr_deferred_find(h->q, n->id) ? LOOK : OURS;
	/* A client that hung up: what was written of its mail is removed at once. */
	if (n->gone & IN_INCOMING)
		return n->was & IN_INCOMING ? OURS : LOOK;
	return n->gone & IN_HOLD ? LOOK : OURS;
}

static void
look(struct qmgr_hand *h, const struct hand_note *n)
{
	if (h->batch_looks++ < LOOKS_AT_ONCE && !hand_all_quiet(h) && h->looks < HAND_LOOKS_MAX)
		hand_look(h, n);
	else
		walk_when_calm(h);
}

/* The end of a batch. */
static void
batch_over(struct qmgr_hand *h)
{
	int64_t now = loop_now(h->q->loop);

	/* What the command did is still being told, or it is one that says nothing. */
	if (h->batch_looks >= LOOKS_AT_ONCE && now < h->quiet_until &&
	    h->quiet_until < now + QUIET_MORE_MS)
		h->quiet_until = now + QUIET_MORE_MS;
	h->batch_looks = 0;
	if (h->walk)
		qmgr_scan(h->q);
	h->walk = false;
}

static void
later_fired(struct timer *t)
{
	struct qmgr_hand *h = PP_CONTAINER(t, struct qmgr_hand, later_timer);
	struct hand_note *n, *next;

	HASH_ITER (hh, h->later, n, next) {
		if (judge(h, n, true) == LOOK)
			look(h, n);
		note_free(&h->later, n);
	}
	batch_over(h);
}

/* Waits in `later` and shows up again: the two are one. */
static void
join_later(struct qmgr_hand *h, struct hand_note *n)
{
	struct hand_note *before;

	if (h->later == NULL)
		return;
	HASH_FIND_STR(h->later, n->id, before);
	if (before == NULL)
		return;
	n->was |= before->was;
	note_free(&h->later, before);
}

static void
settled(void *ctx)
{
	struct qmgr_hand *h = ctx;
	struct hand_note *n, *next;

	if (h->batch_looks > 0)
		walk_when_calm(h);

	HASH_ITER (hh, h->notes, n, next) {
		enum verdict v;

		join_later(h, n);
		v = judge(h, n, false);
		if (v == LATER) {
			HASH_DEL(h->notes, n);
			if (h->later == NULL)
				timer_start(h->q->loop, &h->later_timer, LATER_MS, later_fired);
			HASH_ADD_STR(h->later, id, n);
			continue;
		}
		if (v == LOOK)
			look(h, n);
		note_free(&h->notes, n);
	}
	batch_over(h);
}

void
qmgr_hand_start(struct qmgr *q)
{
	static const struct watch_calls calls = {event, lost, settled};
	struct qmgr_hand *h = MEM_NEW(struct qmgr_hand);
	int rc = 0;

	h->q = q;
	q->hand = h;
	h->watch = watch_new(q->loop, &calls, h, &rc);
	if (h->watch == NULL)
		qmgr_hand_watched(q, rc, "");
}

void
qmgr_hand_watched(struct qmgr *q, int rc, const char *denied)
{
	struct qmgr_hand *h = q->hand;
	char us[HAND_USER_MAX];

	if (*denied && hand_odd_first(h, denied))
		log_warn("qmgr", "%s: a directory that cannot be read: type: chown -R %s %s/%s",
		    denied, hand_user(geteuid(), us), spool_directory(q->spool), denied);

	if (rc == 0 || rc == -ECANCELED || h->is_told)
		return;
	h->is_told = true;
	log_warn("qmgr",
	    "the queue directories cannot be watched: %s: what is changed by hand is noticed every "
	    "queue_run_delay only%s",
	    strerror(-rc),
	    rc == -ENOSPC   ? ": raise fs.inotify.max_user_watches"
	    : rc == -EMFILE ? ": raise fs.inotify.max_user_instances"
			    : "");
}

struct adding {
	const struct qmgr_hand *hand;
	char *denied;
	int dirfd, rc;
	enum queue queue;
	bool touch_incoming;
};

static int
watch_directory(void *ctx, const char *path)
{
	struct adding *a = ctx;
	int rc = watch_add_blk(
	    a->hand->watch, a->dirfd, path, hand_mask(a->queue, a->touch_incoming), (int)a->queue);

	if (rc == -EACCES && *a->denied == '\0')
		snprintf(a->denied, SPOOL_PATH_MAX, "%s", path);
	if (rc < 0 && rc != -EACCES && rc != -ENOENT && a->rc == 0)
		a->rc = rc;
	return rc == -ENOSPC ? rc : 0;
}

int
qmgr_hand_watch_blk(const struct qmgr *q, bool touch_incoming, char denied[SPOOL_PATH_MAX])
{
	struct adding a = {.hand = q->hand,
	    .denied = denied,
	    .dirfd = spool_dirfd(q->spool),
	    .touch_incoming = touch_incoming};

	if (q->hand->watch == NULL)
		return 0;
	for (size_t i = 0; i < PP_COUNT(watched); i++) {
		a.queue = watched[i];
		hand_directories_blk(q->spool, watched[i], watch_directory, &a);
	}
	return a.rc;
}

void
qmgr_look(struct qmgr *q, const char *id, enum queue at)
{
	struct hand_note n = {.came = HAND_BIT(at), .was = HAND_BIT(at)};

	if (q->hand == NULL || q->stopping)
		return;
	snprintf(n.id, sizeof(n.id), "%s", id);
	hand_look(q->hand, &n);
}

void
qmgr_hand_catch_up(struct qmgr *q)
{
	if (q->hand && !q->stopping)
		watch_catch_up(q->hand->watch);
}

bool
qmgr_hand_looks(const struct qmgr *q)
{
	return q->hand && q->hand->looks > 0;
}

bool
qmgr_may_look(const struct qmgr *q)
{
	return q->hand && q->hand->looks < HAND_LOOKS_MAX;
}

void
qmgr_hand_stop(struct qmgr *q)
{
	struct qmgr_hand *h = q->hand;

	if (h == NULL)
		return;
	watch_stop(h->watch);
	timer_stop(&h->later_timer);
	timer_stop(&h->calm_timer);
	hand_gone_fini(h);
}

void
qmgr_hand_free(struct qmgr *q)
{
	struct qmgr_hand *h = q->hand;
	struct hand_note *n, *n_next;
	struct hand_odd *o, *o_next;

	if (h == NULL)
		return;
	HASH_ITER (hh, h->notes, n, n_next)
		note_free(&h->notes, n);
	HASH_ITER (hh, h->later, n, n_next)
		note_free(&h->later, n);
	HASH_ITER (hh, h->odd, o, o_next) {
		HASH_DEL(h->odd, o);
		mem_free(o);
	}
	watch_free(h->watch);
	mem_free(h);
	q->hand = NULL;
}
