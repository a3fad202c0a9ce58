/*
 * space.c - is there room in the spool for one more message?
 *
 * statvfs(2) may block, so it runs on the disk lane (on the slow one a table that hangs would stop
 * all mail), and its answer serves every session of the loop for a second: under load that is one
 * call a second instead of one per mail. The margin of 1.5 messages (Postfix's) covers what arrives
 * within that second and the writes already running.
 */
#include <errno.h>
#include "internal.h"
#include "pp/base/fsio.h"

static bool
is_fresh(const struct smtpd_space *sp, int64_t now)
{
	return sp->is_known && now - sp->at < SMTPD_SPACE_CACHE_MS;
}

static int
judge(const struct smtpd_session *s, int64_t size)
{
	const struct smtpd_space *sp = &s->server->space;
	const struct params *p = s->setup->p;
	int64_t limit = p->message_size_limit;

	if (sp->rc < 0)
		return 0; /* the spool itself will say what is wrong with it */
	if (sp->inodes == 0) {
		log_warn("smtpd", "no free inode in mail queue");
		return -ENOSPC;
	}
	if (sp->bytes < p->queue_minfree) {
		log_warn("smtpd", "not enough free space in mail queue: %lld bytes < queue_minfree",
		    (long long)sp->bytes);
		return -ENOSPC;
	}
	if (limit > 0 && sp->bytes / 3 < limit / 2) {
		log_warn("smtpd",
		    "not enough free space in mail queue: %lld bytes < 1.5*message size limit",
		    (long long)sp->bytes);
		return -ENOSPC;
	}
	return size > sp->bytes - p->queue_minfree ? -ENOSPC : 0;
}

static void
look(struct lane_job *job)
{
	struct smtpd_space *sp = PP_CONTAINER(job, struct smtpd_space, job);

	sp->rc = fsio_free_space(sp->setup->queue_dirfd, &sp->bytes, &sp->inodes);
}

static void
looked(struct lane_job *job)
{
	struct smtpd_space *sp = PP_CONTAINER(job, struct smtpd_space, job);
	struct smtpd *d = sp->server;
	struct smtpd_setup *setup = sp->setup;
	struct smtpd_session *s, *next;

	sp->is_asked = false;
	sp->is_known = true;
	sp->at = loop_now(d->loop);
	sp->setup = NULL;
	for (s = LIST_FIRST(&d->sessions); s; s = next) {
		enum cmd_result r;

		next = LIST_NEXT(s, link);
		if (s->question != ASK_SPACE || !smtpd_session_told(s))
			continue;
		r = s->space_next(s, judge(s, s->space_size));
		if (r != CMD_WAIT)
			smtpd_session_answered(s, r);
	}
	smtpd_setup_unref(setup);
	smtpd_check_stopped(d);
}

enum cmd_result
smtpd_space_check(
    struct smtpd_session *s, int64_t size, enum cmd_result (*next)(struct smtpd_session *s, int rc))
{
	struct smtpd_space *sp = &s->server->space;

	if (is_fresh(sp, loop_now(s->server->loop)))
		return next(s, judge(s, size));
	s->space_size = size;
	s->space_next = next;
	smtpd_session_ask(s, ASK_SPACE);
	if (!sp->is_asked) {
		sp->is_asked = true;
		sp->server = s->server;
		sp->setup = s->setup;
		smtpd_setup_ref(s->setup);
		lane_run(s->server->disk, 0, &sp->job, look, looked);
	}
	return CMD_WAIT;
}
