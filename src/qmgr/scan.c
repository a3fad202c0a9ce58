/*
 * scan.c - the directories are the truth: a walk over incoming/ and deferred/ corrects memory.
 *
 * At start, after a change by hand or by a command, and every queue_run_delay. The walk runs on the
 * disk lane and sends what it sees in batches, so the queue manager never stands still for it. What
 * is known is left alone; a new file is adopted, a vanished one forgotten.
 */
#include <errno.h>
#include <unistd.h>
#include "hand.h"
#include "pp/spool/bulk.h"
#include "pp/spool/repair.h"

enum { BATCH = 256 };

struct scan {
	struct lane_job job;
	struct qmgr *q;
	bool is_first; /* of this run */
	bool touch_incoming;
	int watch_rc, rc;
	char denied[SPOOL_PATH_MAX];
	int64_t now;
	uid_t uid; /* whose files can be worked with */
	struct scan_batch *batch;
	struct post post;
	uint32_t forget_at; /* slot of the index */
};

struct scan_entry {
	char id[SPOOL_ID_MAX];
	int64_t mtime;
	mode_t mode;
	bool is_odd; /* another owner, another place, or not of the mode of mail */
};

struct scan_batch {
	struct post post;
	struct qmgr *q;
	enum queue queue;
	size_t n;
	struct scan_entry e[BATCH];
};

/* A walk of this run met something new, which the watch did not tell of: looked at, unless it is
 * one of too many. */
static bool
is_to_look_at(struct qmgr *q, enum queue queue, const struct scan_entry *e)
{
	bool is_known = qmgr_deferred_find(q, e->id) != NULL;

	if (e->is_odd || queue == QUEUE_ACTIVE || queue == QUEUE_HOLD)
		return true;
	if (queue == QUEUE_INCOMING)
		return is_known; /* a second file of this id */
	/* Who has ordered this walk waits until memory knows all of it. */
	return q->has_scanned && !q->flushing && !q->is_telling && qmgr_may_look(q) && !is_known;
}

static void
adopt(struct qmgr *q, enum queue queue, const struct scan_entry *e)
{
	struct qmgr_message *m;
	struct qmgr_deferred *d;
	int64_t when;

	if (q->stopping)
		return;
	HASH_FIND_STR(q->active, e->id, m);
	if (m) {
		/* Seen before it was taken, mostly. */
		if (queue == QUEUE_DEFERRED && m->state == MESSAGE_DELIVERING && qmgr_may_look(q))
			qmgr_look(q, e->id, queue);
		return;
	}
	if (is_to_look_at(q, queue, e)) {
		if (qmgr_may_look(q))
			qmgr_look(q, e->id, queue);
		return;
	}
	if (queue == QUEUE_INCOMING) {
		if (qmgr_has_room(q, QUEUE_INCOMING))
			qmgr_message_load(q, e->id, QUEUE_INCOMING, NULL);
		else
			qmgr_incoming_waits(q);
		return;
	}
	d = qmgr_deferred_find(q, e->id);
	if (d && (qmgr_deferred_when(d) == e->mtime || qmgr_deferred_when(d) <= qmgr_now())) {
		/* As known, or due already, whatever the file says. */
		qmgr_deferred_seen(q, d, e->mode);
		return;
	}
	when = d ? qmgr_deferred_time(q, d, e->mtime) : q->flushing ? qmgr_now() : e->mtime;
	if (d && qmgr_deferred_when(d) == when) {
		qmgr_deferred_seen(q, d, e->mode);
		return;
	}
	if (d)
		qmgr_event(q, "changed", e->id);
	qmgr_deferred_add(q, e->id, when, NULL, 0);
}

static void
batch_arrived(struct post *p)
{
	struct scan_batch *b = PP_CONTAINER(p, struct scan_batch, post);

	for (size_t i = 0; i < b->n; i++)
		adopt(b->q, b->queue, &b->e[i]);
	mem_free(b);
}

static void
batch_send(struct scan *s)
{
	struct scan_batch *b = s->batch;

	s->batch = NULL;
	if (b)
		post_to(b->q->loop, &b->post, batch_arrived);
}

/* In the directory of another id, or at another depth. */
static void
put_right(const struct scan *s, const struct spool_entry *e)
{
	char id[SPOOL_ID_MAX];
	int rc = spool_adopt_blk(s->q->spool, e);

	if (rc == 0)
		log_info("qmgr", "%s: moved to where its name belongs", e->path);
	else if (rc == -EEXIST &&
		 hand_set_aside_blk(s->q->spool, e->queue, e->id, e->path, id) == 0)
		log_warn(
		    "qmgr", "%s: a second file of this queue id: it is on hold as %s", e->path, id);
	else if (rc != -ENOENT)
		log_warn("qmgr", "%s: cannot be moved to where its name belongs: %s", e->path,
		    strerror(-rc));
}

static void
repaired(void *ctx, const struct repair_note *n)
{
	static const char *const words[] = {
	    [REPAIR_REQUEUED] = "was being delivered when the last run ended: tried again",
	    [REPAIR_PURGED] = "removed: half written and left for a week",
	    [REPAIR_MOVED] = "moved to where its name belongs",
	    [REPAIR_FINISHED] = "an interrupted repair was finished",
	    [REPAIR_REMOVED] = "removed: no regular file",
	    [REPAIR_REMOVED_DIRECTORY] = "removed: a directory that nothing is hashed to",
	    [REPAIR_ORPHAN] = "removed: a log without a message",
	    [REPAIR_BOGUS] = "bogus file name: left alone",
	    [REPAIR_CORRUPT] = "moved to corrupt",
	    [REPAIR_MODE] = "owner or mode is not as it should be",
	};

	if (n->rc < 0)
		log_warn("qmgr", "%s: %s: %s", n->path, words[n->what], strerror(-n->rc));
	else if (n->what == REPAIR_BOGUS || n->what == REPAIR_MODE)
		log_warn("qmgr", "%s: %s", n->path, words[n->what]);
	else
		log_info("qmgr", "%s: %s%s%s", n->path, words[n->what], n->to ? ": " : "",
		    n->to ? n->to : "");
}

/* The first walk looks at every file anyway. */
static bool
is_purged(struct scan *s, const struct spool_entry *e)
{
	return e->queue != QUEUE_ACTIVE &&
	       repair_purge_one_blk(s->q->spool, e, s->now, repaired, s);
}

static int
seen(void *ctx, const struct spool_entry *e)
{
	struct scan *s = ctx;
	struct scan_entry *to;
	bool is_odd = !spool_ready(&e->st) || (s->uid != 0 && e->st.st_uid != s->uid);

	if (!S_ISREG(e->st.st_mode) || (s->is_first && is_purged(s, e)) ||
	    !spool_id_valid(str_of(e->id)))
		return 0;
	if (is_odd && e->queue == QUEUE_INCOMING && e->st.st_uid == s->uid)
		return 0; /* being written */
	if (e->misplaced)
		put_right(s, e);
	if (e->queue == QUEUE_HOLD && !is_odd)
		return 0;
	if (s->batch == NULL) {
		s->batch = MEM_NEW(struct scan_batch);
		s->batch->q = s->q;
		s->batch->queue = e->queue;
	}
	to = &s->batch->e[s->batch->n++];
	snprintf(to->id, sizeof(to->id), "%s", e->id);
	to->mtime = e->st.st_mtim.tv_sec;
	to->mode = e->st.st_mode;
	to->is_odd = is_odd || e->misplaced;
	if (s->batch->n == BATCH)
		batch_send(s);
	return 0;
}

/* What the last run may have left behind, as far as names tell. */
static void
put_in_order(struct scan *s)
{
	static const enum queue queues[] = {
	    QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE, QUEUE_INCOMING, QUEUE_DEFERRED, QUEUE_HOLD};

	for (size_t i = 0; i < PP_COUNT(queues); i++)
		repair_structure_blk(s->q->spool, queues[i], repaired, s);
}

static void
scan_work(struct lane_job *job)
{
	static const enum queue queues[] = {
	    QUEUE_INCOMING, QUEUE_DEFERRED, QUEUE_ACTIVE, QUEUE_HOLD};
	struct scan *s = PP_CONTAINER(job, struct scan, job);
	const struct spool *sp = s->q->spool;
	int rc;

	/* The watch first, so that nothing happens between it and the walk. */
	s->watch_rc = qmgr_hand_watch_blk(s->q, s->touch_incoming, s->denied);
	hand_settle_blk(sp);
	for (size_t i = 0; i < PP_COUNT(queues); i++) {
		if (queues[i] == QUEUE_HOLD && !s->is_first)
			continue; /* nothing becomes of it but by an event */
		rc = (s->is_first ? spool_scan_any_blk : spool_scan_blk)(sp, queues[i], seen, s);
		if (rc < 0)
			s->rc = rc;
		batch_send(s);
	}
}

static void
scan_fired(struct timer *t)
{
	qmgr_scan(PP_CONTAINER(t, struct qmgr, scan_timer));
}

/* Now that every message is where it can be found; nobody waits for it. The logs of what lies in
 * deleted/ go when that is purged, without a word. */
static void
orphans_work(struct lane_job *job)
{
	static const enum queue logs[] = {QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE};
	struct scan *s = PP_CONTAINER(job, struct scan, job);
	const struct spool *sp = s->q->spool;

	lane_give_way();
	if (bulk_purge_needed_blk(sp))
		return;
	for (size_t i = 0; i < PP_COUNT(logs); i++)
		repair_orphans_blk(sp, logs[i], s->now, repaired, s);
}

static void
orphans_done(struct lane_job *job)
{
	struct scan *s = PP_CONTAINER(job, struct scan, job);
	struct qmgr *q = s->q;

	mem_free(s);
	q->jobs--;
	qmgr_idle_check(q);
}

static void
scan_end(struct scan *s)
{
	struct qmgr *q = s->q;

	if (s->is_first && !q->stopping) {
		lane_run(q->o.background, LANE_ORPHANS, &s->job, orphans_work, orphans_done);
	} else {
		mem_free(s);
		q->jobs--;
	}
	q->scanning = false;
	q->has_scanned = true;
	if (!q->stopping) {
		q->is_telling = false;
		qmgr_deferred_due(q);
		timer_start(q->loop, &q->scan_timer, q->epoch->params->queue_run_delay, scan_fired);
		if (q->rescan)
			qmgr_scan(q);
		else
			q->flushing = false;
	}
	qmgr_idle_check(q);
}

/* What a whole walk did not meet is gone: deleted, held, or requeued by somebody. That may be a
 * million, so others have their turn in between. */
static void
forget_some(struct post *p)
{
	struct scan *s = PP_CONTAINER(p, struct scan, post);

	if (!s->q->stopping && s->rc == 0 && !qmgr_deferred_forget_unseen(s->q, &s->forget_at))
		post_to(s->q->loop, &s->post, forget_some);
	else
		scan_end(s);
}

static void
scan_done(struct lane_job *job)
{
	struct scan *s = PP_CONTAINER(job, struct scan, job);

	qmgr_hand_watched(s->q, s->watch_rc, s->denied);
	if (s->rc < 0)
		log_warn("qmgr", "scan of the queue directories: %s", strerror(-s->rc));
	forget_some(&s->post);
}

void
qmgr_scan(struct qmgr *q)
{
	struct scan *s;

	if (q->stopping || !q->started)
		return; /* the end of the recovery begins one */
	if (q->scanning) {
		q->rescan = true;
		return;
	}
	q->scanning = true;
	q->is_telling = q->changed;
	q->changed = false;
	q->rescan = false;
	q->generation++;
	s = MEM_NEW(struct scan);
	s->q = q;
	s->is_first = !q->has_scanned;
	s->now = qmgr_now();
	s->uid = geteuid();
	s->touch_incoming = q->hand->touch_incoming;
	q->jobs++;
	lane_run(q->o.disk, lane_key("scan"), &s->job, scan_work, scan_done);
}

static void
recover_work(struct lane_job *job)
{
	struct scan *s = PP_CONTAINER(job, struct scan, job);

	repair_active_blk(s->q->spool, s->now, repaired, s);
}

static void
order_work(struct lane_job *job)
{
	put_in_order(PP_CONTAINER(job, struct scan, job));
}

static void
order_done(struct lane_job *job)
{
	struct scan *s = PP_CONTAINER(job, struct scan, job);
	struct qmgr *q = s->q;

	mem_free(s);
	q->jobs--;
	q->is_in_order = true;
	qmgr_idle_check(q);
}

static void
recover_done(struct lane_job *job)
{
	struct scan *s = PP_CONTAINER(job, struct scan, job);
	struct qmgr *q = s->q;

	q->started = true;
	qmgr_young_admit_some(q);
	lane_run(q->o.disk, lane_key("scan"), &s->job, order_work, order_done);
	if (!q->stopping)
		qmgr_hand_start(q);
	qmgr_kept_take(q);
	qmgr_scan(q); /* behind it */
}

void
qmgr_recover(struct qmgr *q)
{
	struct scan *s = MEM_NEW(struct scan);

	s->q = q;
	s->now = qmgr_now();
	s->uid = geteuid();
	q->jobs++;
	lane_run(q->o.disk, lane_key("scan"), &s->job, recover_work, recover_done);
}
