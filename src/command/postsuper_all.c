/*
 * postsuper_all.c - postsuper: all messages of the queues.
 *
 * With the daemon up mail travels between the queues meanwhile: from deferred to active after
 * deferred was read, and back. So files and active take turns twice, and what was there at the
 * beginning is met at one of them. Deleted files are only moved out of the way before the command
 * ends, and their logs unlinked: so the queue is as empty as it was said to be. To free a hundred
 * thousand messages takes ten times as long, and nobody has to wait for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "postsuper.h"
#include "pp/runtime/crew.h"
#include "pp/runtime/log.h"
#include "pp/spool/bulk.h"
#include "pp/spool/repair.h"

enum {
	PURGE_NOW_MS = 200, /* so long a deletion is waited for */
	ROUNDS_LIVE = 2,
	ORPHAN_AGE = 3600, /* seconds; with a daemon up a log may come before its message's move */
};

struct all {
	struct postsuper *ps;
	enum action action;
	unsigned queues;
	bool live, alone;
};

static void
failed(void *ctx, enum queue q, const char *id, int rc)
{
	const struct all *all = ctx;

	postsuper_complain(all->ps, all->action, id, rc);
}

static int
act_on_queue(struct all *all, enum queue q, int64_t *count)
{
	const struct bulk b = {.spool = all->ps->command.spool,
	    .live = all->live,
	    .alone = all->alone,
	    .failed = failed,
	    .stop = postsuper_is_interrupted,
	    .ctx = all};

	switch (all->action) {
	case REQUEUE:
		return bulk_move_blk(&b, q, QUEUE_MAILDROP, -1, count);
	case DELETE:
		return bulk_delete_blk(&b, q, count);
	case EXPIRE:
		return bulk_expire_blk(&b, q, count);
	case HOLD:
		return bulk_move_blk(&b, q, QUEUE_HOLD, -1, count);
	case RELEASE:
		return bulk_move_blk(&b, q, QUEUE_DEFERRED, -1, count);
	default:
		return -EINVAL;
	}
}

/* What is left when it returns is not in the middle of anything. -errno, of queue *ret_q. */
static int
act_on_queues(struct all *all, int64_t *count, enum queue *ret_q)
{
	struct postsuper *ps = all->ps;
	int rc = 0;

	for (unsigned q = 0; q <= QUEUE_HOLD && rc == 0 && !postsuper_is_interrupted(NULL); q++)
		if (all->queues & IN(q)) {
			*ret_q = (enum queue)q;
			rc = act_on_queue(all, (enum queue)q, count);
		}
	if (all->live && postsuper_is_interrupted(NULL))
		postsuper_say(ps, "changed-all");
	return rc;
}

static void
act_on_files(struct all *all)
{
	struct postsuper *ps = all->ps;
	struct in_child c = {.run = act_on_queues, .all = all};

	/* Only these two ever have a half that a kill would leave. */
	if (all->alone && (all->action == HOLD || all->action == RELEASE)) {
		postsuper_in_child(ps, &c);
	} else {
		postsuper_block(ps);
		c.rc = act_on_queues(all, &c.count, &c.q);
		postsuper_unblock(ps);
	}
	ps->done[all->action] += c.count;
	if (c.rc < 0)
		command_fatal(&ps->command, "scan %s: %s", spool_queue_name(c.q), strerror(-c.rc));
}

/* What is in active, by the daemon. False: there is none that does it. */
static bool
act_on_active(struct all *all)
{
	int64_t n;

	if ((postsuper_actions[all->action].queues & all->ps->queues & IN(QUEUE_ACTIVE)) == 0)
		return true;
	n = postsuper_order(all->ps, all->action, "ALL");
	if (n > 0)
		all->ps->done[all->action] += n;
	return n >= 0;
}

static void
act_live(struct all *all)
{
	int changing = spool_changing_blk(all->ps->command.spool);
	bool taken;

	all->live = true;
	/* A daemon that does not know this order knows nothing of pairs either. */
	if (postsuper_say(all->ps, "changing-all") < 0) {
		all->alone = false;
		postsuper_say(all->ps, "changed-all");
	}
	taken = act_on_active(all);
	/* A daemon that takes no orders: its mail is moved away under it, as Postfix's is, but
	 * never requeued, for then it would arrive twice. */
	if (taken || all->action == REQUEUE)
		all->queues &= ~(unsigned)IN(QUEUE_ACTIVE);
	for (int round = 1; round <= ROUNDS_LIVE; round++) {
		act_on_files(all);
		/* Requeued mail soon is where it was, and would be met again in each round. */
		if (!taken || all->action == RELEASE || all->action == REQUEUE)
			break;
		act_on_active(all);
	}
	fsio_close(changing);
	postsuper_say(all->ps, "changed-all");
}

static int
unlink_log(void *ctx, const struct spool_entry *e)
{
	const struct spool *s = ctx;

	if (S_ISREG(e->st.st_mode))
		fsio_unlink(spool_dirfd(s), e->path);
	return 0;
}

/* Those of a queue of logs that was named go whole. They are not counted. */
static void
delete_logs(const struct postsuper *ps)
{
	static const enum queue logs[] = {QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE};
	const struct spool *s = ps->command.spool;

	for (size_t i = 0; i < PP_COUNT(logs) && ps->named; i++)
		if (ps->queues & IN(logs[i]))
			spool_scan_blk(s, logs[i], unlink_log, (void *)(uintptr_t)s);
}

void
postsuper_all(struct postsuper *ps, enum action a)
{
	struct all all = {
	    .ps = ps, .action = a, .queues = postsuper_actions[a].queues & ps->queues};

	all.alone = postsuper_alone(ps);
	if (postsuper_hold_back(ps))
		act_on_files(&all);
	else
		act_live(&all);
	if (a == DELETE)
		delete_logs(ps);
	postsuper_let_go(ps);
	postsuper_done(ps);
}

static bool
is_late(void *ctx)
{
	const struct timespec *end = ctx;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end->tv_sec ||
	       (now.tv_sec == end->tv_sec && now.tv_nsec > end->tv_nsec);
}

static void
purge_for_a_moment(const struct spool *s)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += PURGE_NOW_MS * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	bulk_purge_blk(s, crew_threads(), is_late, &end);
}

static void
ignore(void *ctx, const struct repair_note *note)
{
}

/* Logs of messages of before: nobody else would find them when everything was deleted. */
static void
delete_orphans(const struct postsuper *ps, int64_t before)
{
	static const enum queue logs[] = {QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE};

	for (size_t i = 0; i < PP_COUNT(logs) && ps->delete_all && !ps->named; i++)
		repair_orphans_blk(ps->command.spool, logs[i], before, ignore, NULL);
}

/* Nobody waits for it, no terminal ends it, and it keeps no pipe open. */
static void
purge_behind(const struct postsuper *ps)
{
	pid_t child = fork();
	int null;

	if (child > 0)
		return;
	if (child == 0) {
		setsid();
		fsio_close(ps->lock);
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = 0; fd <= 2; fd++)
			dup2(null, fd);
	}
	bulk_purge_blk(ps->command.spool, crew_threads(), NULL, NULL);
	if (child == 0)
		_exit(0);
}

void
postsuper_purge(struct postsuper *ps)
{
	const struct spool *s = ps->command.spool;
	int64_t before = (int64_t)time(NULL) + 1;

	if (!postsuper_hold_back(ps))
		before -= ORPHAN_AGE;
	postsuper_let_go(ps);
	if (bulk_purge_needed_blk(s)) {
		bulk_purge_logs_blk(s, crew_threads());
		purge_for_a_moment(s);
	}
	delete_orphans(ps, before);
	if (bulk_purge_needed_blk(s) && postsuper_say(ps, "purge") < 0)
		purge_behind(ps);
}
