/*
 * postsuper_lock.c - postsuper beside postsuper, and before its end.
 *
 * To hold or release whole queues it gives each message a second name for a moment (pair.h). No
 * other command may meet one then, and no signal may come between the two halves: those that would
 * end us are kept waiting, and end us when no half is open. What no program can keep waiting, a
 * kill or a loss of power, leaves a few such messages to the next command or daemon.
 */
#include <errno.h>
#include "postsuper.h"
#include "pp/runtime/log.h"
#include "pp/spool/pair.h"

enum { SETTLE_TRIES = 3 };

static const int enders[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM};

static void
settled(void *ctx, const char *path)
{
	const struct postsuper *ps = ctx;

	log_info(ps->command.name, "removed file %s: this message is in hold", path);
}

void
postsuper_settle(struct postsuper *ps)
{
	int rc = pair_settle_all_blk(ps->command.spool, true, settled, ps);

	if (rc < 0 && rc != -ENOENT)
		log_warn(
		    ps->command.name, "scan %s: %s", spool_queue_name(QUEUE_HOLD), strerror(-rc));
}

static void
lock(struct postsuper *ps, bool alone)
{
	ps->moving = pair_lock_blk(ps->command.spool, alone, true);
	/* Not at work, for we have the lock: killed. */
	for (int tries = 0;
	     ps->moving >= 0 && tries < SETTLE_TRIES && pair_is_begun_blk(ps->command.spool);
	     tries++) {
		pair_unlock(ps->moving);
		postsuper_settle(ps);
		ps->moving = pair_lock_blk(ps->command.spool, alone, true);
	}
}

bool
postsuper_alone(struct postsuper *ps)
{
	lock(ps, true);
	return ps->moving >= 0;
}

void
postsuper_share(struct postsuper *ps)
{
	lock(ps, false);
}

void
postsuper_done(struct postsuper *ps)
{
	pair_unlock(ps->moving);
	ps->moving = -1;
}

void
postsuper_block(struct postsuper *ps)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < PP_COUNT(enders); i++)
		sigaddset(&set, enders[i]);
	pthread_sigmask(SIG_BLOCK, &set, &ps->mask);
}

bool
postsuper_is_interrupted(void *ctx)
{
	sigset_t set;

	sigpending(&set);
	for (size_t i = 0; i < PP_COUNT(enders); i++)
		if (sigismember(&set, enders[i]) == 1)
			return true;
	return false;
}

void
postsuper_unblock(struct postsuper *ps)
{
	pthread_sigmask(SIG_SETMASK, &ps->mask, NULL);
}
