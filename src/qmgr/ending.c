/*
 * ending.c - the end of a round: who is told, and where the message goes.
 *
 * A row of steps, each of which may have to wait for the disk or for a notice to be queued. The
 * order is the guarantee: the notice is safe in the spool before what it tells of is forgotten.
 */
#include <errno.h>
#include "internal.h"
#include "pp/spool/repair.h"

enum { STEP_BOUNCE, STEP_EXPIRE, STEP_WARN, STEP_SUCCESS, STEP_LEAVE };
enum { STUCK_MS = 10000 };

static void
notice_done(void *ctx, int rc)
{
	struct qmgr_message *m = ctx;
	struct qmgr *q = m->q;

	q->jobs--;
	if (rc < 0) {
		/* A notice that cleanup will never take: its envelope is no good. */
		m->is_damaged |= rc == -EBADMSG;
		if (rc != -EBADMSG)
			log_warn("qmgr",
			    "%s: its notice could not be queued: %s: trying again later", m->id,
			    strerror(-rc));
		if (!m->has_deferred)
			m->flushes = q->flushes;
		m->has_deferred = true;
		m->end_step = STEP_LEAVE;
		qmgr_message_end(m);
		return;
	}
	if (m->end_step == STEP_EXPIRE)
		m->has_deferred = false;
	if (m->end_step == STEP_BOUNCE)
		qmgr_event(q, "bounced", m->id);
	m->end_step++;
	qmgr_message_end(m);
}

static void
notify(struct qmgr_message *m, enum bounce_kind kind, bool expired)
{
	const struct bounce_request req = {
	    .id = m->id, .envelope = &m->envelope, .kind = kind, .expired = expired};

	m->q->jobs++;
	bounce_send(&m->q->epoch->setup, m->q->o.disk, &req, notice_done, m);
}

bool
qmgr_message_expired(const struct qmgr_message *m)
{
	const struct params *p = m->q->epoch->params;
	int64_t lifetime =
	    (*m->envelope.sender ? p->maximal_queue_lifetime : p->bounce_queue_lifetime) / 1000;

	return m->force_expire || schedule_expired(qmgr_now(), m->envelope.create_time, lifetime);
}

static void
warned_work(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);

	deferlog_mark_warned_blk(m->q->spool, QUEUE_ACTIVE, m->id, m->envelope.warn_offset);
}

static void
warned_done(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);

	m->q->jobs--;
	/* One delay notice per message, whatever became of it. */
	notify(m, BOUNCE_DELAY, false);
}

/* Taken away by a command while it was on its way: hold keeps what is deferred, and what is
 * finished goes wherever it lies. */
static void
leave_elsewhere(struct qmgr_message *m)
{
	static const enum queue places[] = {
	    QUEUE_HOLD, QUEUE_DEFERRED, QUEUE_INCOMING, QUEUE_MAILDROP, QUEUE_COUNT};
	static const enum queue logs[] = {QUEUE_BOUNCE, QUEUE_DEFER, QUEUE_TRACE};
	struct stat st;
	enum queue at;

	int rc = spool_find_blk(m->q->spool, m->id, places, &at, &st);

	if (rc == 0 && !m->has_deferred)
		m->rc = spool_remove_blk(m->q->spool, at, m->id);
	/* Deleted: what this round wrote about it has nobody left to read it. */
	for (size_t i = 0; rc == -ENOENT && i < PP_COUNT(logs); i++)
		deferlog_remove_blk(m->q->spool, logs[i], m->id);
}

static void
leave_work(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);
	static const enum queue here[] = {QUEUE_ACTIVE, QUEUE_COUNT};
	struct spool *s = m->q->spool;
	char corrupt[SPOOL_PATH_MAX];
	struct stat st;
	enum queue at;

	if (m->leave_as == SUPER_DELETE)
		m->rc = spool_remove_blk(s, QUEUE_ACTIVE, m->id);
	else if (m->is_damaged)
		m->rc = repair_corrupt_blk(s, QUEUE_ACTIVE, m->id, corrupt);
	else if (m->has_deferred)
		m->rc = qmgr_super_leave_blk(m);
	else if (m->has_logs)
		m->rc = spool_remove_blk(s, QUEUE_ACTIVE, m->id);
	else
		m->rc = spool_unlink_blk(s, QUEUE_ACTIVE, m->id);
	/* There is no such directory: that is not the message's end either. */
	m->is_stuck =
	    m->rc < 0 && (m->rc != -ENOENT || spool_find_blk(s, m->id, here, &at, &st) == 0);
	if (m->rc == -ENOENT && !m->is_stuck && m->leave_as != SUPER_DELETE)
		leave_elsewhere(m);
}

static void
back_to_deferred(struct qmgr_message *m)
{
	qmgr_deferred_add(m->q, m->id, m->next_try, m->waits_for, m->put_off);
	if (m->again)
		qmgr_deferred_ask(m->q, qmgr_deferred_find(m->q, m->id));
}

/* Something is left to do, and its file is where that waits. */
static void
left_undone(struct qmgr_message *m)
{
	struct qmgr *q = m->q;

	if (m->rc == -ENOENT || m->leave_as == SUPER_NONE || m->leave_as == SUPER_LEAVE) {
		/* Gone (deleted) or held by hand: then it is not ours to wait for. */
		if (m->rc != -ENOENT)
			back_to_deferred(m);
		else
			qmgr_look(q, m->id, QUEUE_DEFERRED);
		qmgr_event(q, "deferred", m->id);
	} else {
		qmgr_event(q, m->leave_as == SUPER_HOLD ? "held" : "requeued", m->id);
	}
}

static void leave(struct qmgr_message *m);

static void
stuck_fired(struct timer *t)
{
	leave(PP_CONTAINER(t, struct qmgr_message, stuck_timer));
}

/* No way out of active/: a disk is full that has no room for a directory, or one was removed. Were
 * it tried again at once, its receiver would get it many times a second for as long as that is so.
 */
static void
stuck(struct qmgr_message *m)
{
	struct qmgr *q = m->q;
	int64_t wait = q->epoch->params->queue_run_delay;

	if (wait > STUCK_MS)
		wait = STUCK_MS;
	if (q->stopping) {
		log_warn("qmgr",
		    "%s: leaving the active queue: %s: it stays there until the next start", m->id,
		    strerror(-m->rc));
		qmgr_message_free(m);
		return;
	}
	if (!m->is_stuck_told)
		log_warn("qmgr", "%s: leaving the active queue: %s: trying again every %lld s",
		    m->id, strerror(-m->rc), (long long)(wait + 999) / 1000);
	m->is_stuck_told = true; /* once: a full disk has this for thousands */
	timer_start(q->loop, &m->stuck_timer, wait, stuck_fired);
}

static void
left(struct qmgr_message *m)
{
	struct qmgr *q = m->q;

	if (m->is_stuck) {
		stuck(m);
		return;
	}
	if (m->leave_as == SUPER_DELETE) {
		qmgr_event(q, "removed", m->id); /* who ordered it says so */
	} else if (m->is_damaged) {
		log_warn("qmgr",
		    "saving corrupt file \"%s\" from queue \"active\" to queue \"corrupt\"", m->id);
		qmgr_event(q, "corrupt", m->id);
	} else if (m->has_deferred) {
		left_undone(m);
	} else {
		log_info("qmgr", "%s: removed", m->id);
		qmgr_event(q, "removed", m->id);
	}
	if (m->super > SUPER_LEAVE && m->super != m->leave_as)
		qmgr_super_late(q, m->id, m->super); /* too late for the job that has just ended */
	qmgr_message_free(m);
}

static void
leave_done(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);

	m->q->jobs--;
	left(m);
}

static void
leave(struct qmgr_message *m)
{
	const struct params *p = m->q->epoch->params;
	int64_t now = qmgr_now(), since = m->rests_since > 0 ? m->rests_since : now;

	m->next_try = since + schedule_backoff(since, m->envelope.create_time,
				  p->minimal_backoff_time / 1000, p->maximal_backoff_time / 1000);
	/* What the stop broke off is nobody's failure: the next start tries it at once. And who
	 * flushes the queue means the mail that has just failed and is on its way back, too. */
	if (m->is_broken_off || m->again || (m->has_deferred && m->flushes != m->q->flushes))
		m->next_try = now;
	m->leave_as = m->super == SUPER_EXPIRE && m->has_deferred ? SUPER_NONE : m->super;
	if (m->mail) {
		/* It never had a file, and needs none any more. */
		qmgr_young_done(m);
		m->rc = 0;
		left(m);
		return;
	}
	m->q->jobs++;
	lane_run(m->q->o.disk, lane_key(m->id), &m->job, leave_work, leave_done);
}

/* Its end is not for this round to say. */
static bool
is_taken(const struct qmgr_message *m)
{
	return m->super != SUPER_NONE && m->super != SUPER_EXPIRE;
}

/* Does this step do something? If so it has been started. */
static bool
step(struct qmgr_message *m)
{
	switch (m->end_step) {
	case STEP_BOUNCE:
		if (!m->has_bounced)
			return false;
		notify(m, BOUNCE_FAILURE, false);
		return true;
	case STEP_EXPIRE:
		if (!m->has_deferred || m->is_damaged || is_taken(m) || !qmgr_message_expired(m))
			return false;
		log_info("qmgr", "%s: from=<%s>, status=%s, returned to sender", m->id,
		    m->envelope.sender, m->force_expire ? "force-expired" : "expired");
		notify(m, BOUNCE_FAILURE, true);
		return true;
	case STEP_WARN:
		if (!m->has_deferred || is_taken(m) || m->envelope.warn_time <= 0 ||
		    qmgr_now() < m->envelope.warn_time - 1)
			return false;
		m->q->jobs++;
		lane_run(m->q->o.disk, lane_key(m->id), &m->job, warned_work, warned_done);
		return true;
	case STEP_SUCCESS:
		if (!m->has_trace)
			return false;
		notify(m, BOUNCE_SUCCESS, false);
		return true;
	default:
		leave(m);
		return true;
	}
}

void
qmgr_message_end(struct qmgr_message *m)
{
	bool is_over = !m->has_deferred && !m->has_bounced && !m->has_trace && !m->is_damaged;

	/* Whatever follows works with its file. */
	if (m->mail && m->super != SUPER_DELETE && !is_over) {
		if (!m->is_filing)
			qmgr_young_file(m);
		return;
	}
	/* A report made now would leave somebody out, and then the message would be gone: this
	 * round counts as a deferral, however old the message, and what logs there are stay. */
	if (m->is_unwritten || m->super == SUPER_DELETE)
		m->end_step = STEP_LEAVE;
	while (!step(m))
		m->end_step++;
}
