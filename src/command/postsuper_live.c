/*
 * postsuper_live.c - postsuper and a running daemon.
 *
 * What the daemon has in active may be on its way to the receiver at this moment, so it is the
 * daemon who deletes, holds or requeues that, when the attempt has ended. Everything else is done
 * on the files, and told: an index of ten thousand retry times cannot be read again for each id,
 * so ids are told in batches. A daemon of an older kind that does not know an order, or a Postfix,
 * is worked with as Postfix's command does: on the files alone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "postsuper.h"
#include "pp/control/client.h"
#include "pp/runtime/log.h"

enum {
	ORDER_MAX = 3800,    /* the daemon reads lines of at most 4096 */
	TELL_AFTER_MS = 200, /* what was changed so long ago is told */
	TELL_AT_ONCE = 16,   /* the first ones: somebody may type them */
	ORDER_ROOM = SPOOL_ID_MAX + 64,
};

bool
postsuper_hold_back(struct postsuper *ps)
{
	return spool_hold(ps->lock) != -EWOULDBLOCK;
}

void
postsuper_let_go(struct postsuper *ps)
{
	spool_unhold(ps->lock);
}

struct answer {
	int64_t number;
};

static int
take_number(void *ctx, struct str line)
{
	struct answer *a = ctx;

	str_number(line, 0, INT64_MAX, &a->number);
	return 0;
}

static bool
is_unknown(const struct buf *err)
{
	return str_starts(buf_str(err), STR("unknown command"));
}

/* The number it answered, or -ENOSYS. */
static int64_t
ask(struct postsuper *ps, const char *order)
{
	struct answer a = {0};
	struct buf err;
	int rc;

	if (ps->deaf)
		return -ENOSYS;
	buf_init(&err, 1024);
	rc =
	    control_call(ps->command.config->params->queue_directory, order, take_number, &a, &err);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		ps->deaf = true;
	else if (rc < 0 && !is_unknown(&err))
		log_warn(ps->command.name, "the daemon was not told: %s",
		    err.n ? buf_cstr(&err) : strerror(-rc));
	buf_fini(&err);
	return rc < 0 ? -ENOSYS : a.number;
}

int
postsuper_say(struct postsuper *ps, const char *order)
{
	return ask(ps, order) < 0 ? -ENOSYS : 0;
}

int64_t
postsuper_order(struct postsuper *ps, enum action a, const char *what)
{
	char order[ORDER_ROOM];
	int64_t n;

	if (ps->is_old || postsuper_actions[a].order == NULL)
		return -ENOSYS;
	snprintf(order, sizeof(order), "super %s %s", postsuper_actions[a].order, what);
	n = ask(ps, order);
	ps->is_old = n < 0;
	return n;
}

static int64_t
ms_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - t->tv_sec) * 1000 + (now.tv_nsec - t->tv_nsec) / 1000000;
}

void
postsuper_tell(struct postsuper *ps)
{
	if (ps->changed.n == 0)
		return;
	if (postsuper_say(ps, buf_cstr(&ps->changed)) < 0)
		postsuper_say(ps, "changed-all");
	buf_clear(&ps->changed);
}

void
postsuper_changed(struct postsuper *ps, const char *id)
{
	if (ps->deaf)
		return;
	if (ps->changed.n == 0) {
		clock_gettime(CLOCK_MONOTONIC, &ps->change);
		buf_adds(&ps->changed, "changed");
	}
	buf_addc(&ps->changed, ' ');
	buf_adds(&ps->changed, id);
	if (ps->told++ < TELL_AT_ONCE || ps->changed.n > ORDER_MAX ||
	    ms_since(&ps->change) > TELL_AFTER_MS)
		postsuper_tell(ps);
}
