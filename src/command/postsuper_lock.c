/*
 * postsuper_lock.c - postsuper beside postsuper, and before its end.
 *
 * To hold or release whole queues it gives each message a second name for a moment (pair.h). No
 * other command may meet one then, and no signal may come between the two halves: those that would
 * end us are kept waiting, and end us when no half is open. A kill cannot be kept waiting, so the
 * work is a child's, who hears of our end and comes to his own. Only what kills both, or a loss of
 * power, leaves a few such messages to the next command or daemon.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
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

static sigset_t
ender_set(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < PP_COUNT(enders); i++)
		sigaddset(&set, enders[i]);
	return set;
}

void
postsuper_block(struct postsuper *ps)
{
	sigset_t set = ender_set();

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

/* Until the child has ended. What would end us is told to him, and answered with the signal. */
static int
wait_for(pid_t pid)
{
	sigset_t set = ender_set();
	int status = 0, ender = 0;
	pid_t ended;

	sigaddset(&set, SIGCHLD);
	while ((ended = waitpid(pid, &status, WNOHANG)) == 0) {
		int got = sigwaitinfo(&set, NULL);

		if (got <= 0 || got == SIGCHLD)
			continue;
		kill(pid, SIGTERM);
		ender = got;
	}
	if (ender)
		raise(ender); /* comes when it is unblocked */
	return ended == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

static void
work(const struct postsuper *ps, struct in_child *c, pid_t parent)
{
	/* Our end may have come before this. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		raise(SIGTERM);
	c->rc = c->run(c->all, &c->count, &c->q);
	c->failed = ps->failed;
	_exit(0);
}

void
postsuper_in_child(struct postsuper *ps, struct in_child *c)
{
	struct in_child *shared =
	    mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid(), pid = -1;
	sigset_t set;

	postsuper_block(ps);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGCHLD, SIG_DFL);
	if (shared != MAP_FAILED) {
		*shared = *c;
		pid = fork();
	}
	if (pid == 0)
		work(ps, shared, parent);
	if (pid > 0) {
		int rc = wait_for(pid);

		*c = *shared;
		ps->failed |= c->failed;
		c->rc = c->rc < 0 ? c->rc : rc;
	} else {
		c->rc = c->run(c->all, &c->count, &c->q);
	}
	if (shared != MAP_FAILED)
		munmap(shared, sizeof(*shared));
	postsuper_unblock(ps);
}
