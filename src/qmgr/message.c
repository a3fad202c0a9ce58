/*
 * message.c - one message in the active queue: loaded, delivered, its results written down.
 *
 * Results are written in the order that can only deliver twice, never lose: log appended and
 * synced, then R becomes D. While one batch is on the disk lane the next gathers. A message whose
 * every recipient was sent in this round needs no marks at all: its file is simply removed.
 */
#include <errno.h>
#include <unistd.h>
#include "internal.h"
#include "pp/spool/pair.h"
#include "pp/spool/repair.h"

enum {
	TRACE_VERIFY_ONLY = 256 | 512, /* trace_flags: by the system, by a user */
	BUSY_SECONDS = 2, /* a command has it at the moment, and tells when it is over */
};

static const struct sm_state states[] = {
    [MESSAGE_LOADING] = {"loading", SM_TO(MESSAGE_DELIVERING) | SM_TO(MESSAGE_GONE)},
    [MESSAGE_DELIVERING] = {"delivering", SM_TO(MESSAGE_ENDING)},
    [MESSAGE_ENDING] = {"ending", SM_TO(MESSAGE_GONE)},
    [MESSAGE_GONE] = {"gone", 0},
};

void
qmgr_message_free(struct qmgr_message *m)
{
	struct qmgr *q = m->q;

	sm_move(states, &m->state, MESSAGE_GONE);
	qmgr_waiting_loaded(m);
	qmgr_slices_free(m);
	HASH_DEL(q->active, m);
	q->active_count--;
	q->retried_count -= m->from == QUEUE_DEFERRED;
	qmgr_young_leave(m);
	receipt_drop(m->came);
	receipt_drop(m->kept);
	snap_unref(m->bytes ? &m->bytes->snap : NULL);
	buf_fini(&m->why);
	arena_fini(&m->arena);
	mem_free(m);
	qmgr_young_admit_some(q);
	/* Places are free for what had to wait: enough of them to be worth a walk. */
	if (q->incoming_waits && (qmgr_working_count(q) - q->retried_count) * 4 <
				     (unsigned)q->epoch->params->qmgr_message_active_limit) {
		q->incoming_waits = false;
		qmgr_scan(q);
	}
	qmgr_deferred_due(q);
	qmgr_idle_check(q);
}

/* Whole, or with no recipients when they are too many. */
static int
load_envelope(struct qmgr_message *m)
{
	struct reader *r;
	int rc;

	m->rest_of.max = m->is_sliced ? 0 : QMGR_SLICE;
	buf_clear(&m->why);
	if (m->bytes) {
		r = reader_open_bytes(m->bytes->bytes);
		rc = reader_envelope_part(r, &m->arena, &m->rest_of, &m->envelope, &m->why);
		reader_close(r);
	} else {
		rc = reader_load_part_blk(m->q->spool, QUEUE_ACTIVE, m->id, &m->arena, &m->rest_of,
		    &m->envelope, &m->st, &m->why);
	}
	if (rc < 0 || m->is_sliced || m->rest_of.left == 0)
		return rc;
	m->is_sliced = true;
	arena_fini(&m->arena);
	return load_envelope(m);
}

/* Disk lane: into active/, read, validated; damaged ones into corrupt/. */
static void
load_work(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);
	struct spool *s = m->q->spool;
	char corrupt[SPOOL_PATH_MAX];
	int rc;

	m->rc = spool_move_blk(s, m->id, m->from, QUEUE_ACTIVE, -1);
	if (m->rc < 0)
		return;
	m->rc = load_envelope(m);
	/* Neither its times nor its marks could be set. */
	if (m->rc == 0 && !m->bytes && m->st.st_uid != geteuid() && geteuid() != 0)
		m->rc = -EPERM;
	/* A command that was killed, or is at it: this message is to be held, or released. */
	if ((m->rc == 0 && !m->bytes && m->st.st_nlink > 1) || m->rc == -EBADMSG) {
		rc = pair_settle_blk(s, QUEUE_ACTIVE, m->id);
		if (rc != 0)
			m->rc = rc == 1 ? -ENOENT : -EBUSY;
	}
	if (m->rc == -EBADMSG && repair_corrupt_blk(s, QUEUE_ACTIVE, m->id, corrupt) < 0)
		m->rc = -EIO;
	else if (m->rc < 0 && m->rc != -EBADMSG)
		spool_move_blk(s, m->id, QUEUE_ACTIVE, m->from, -1);
	if (m->rc < 0 || m->bytes)
		return;
	m->force_expire |= (m->st.st_mode & 010) != 0;
	m->attempts = spool_attempts(&m->st, deferlog_exists_blk(s, QUEUE_DEFER, m->id));
	/* The logs tell of the last round only, unless that is what will be returned. */
	rc = m->force_expire ? 0 : deferlog_remove_blk(s, QUEUE_DEFER, m->id);
	if (rc < 0 && rc != -ENOENT)
		log_warn("qmgr", "%s: removing the old defer log: %s", m->id, strerror(-rc));
	m->has_bounced = deferlog_exists_blk(s, QUEUE_BOUNCE, m->id);
	m->has_trace = deferlog_exists_blk(s, QUEUE_TRACE, m->id);
	m->has_deferred = m->force_expire && deferlog_exists_blk(s, QUEUE_DEFER, m->id);
}

static void
load_failed(struct qmgr_message *m)
{
	struct qmgr *q = m->q;

	if (m->super > SUPER_LEAVE && m->rc != -EBADMSG && m->rc != -ENOENT) {
		qmgr_super_late(q, m->id, m->super);
	} else if (m->rc == -EACCES || m->rc == -EPERM) {
		qmgr_look(q, m->id, m->from); /* says whose it is */
	} else if (m->rc == -EBADMSG) {
		log_warn("qmgr", "%s: %s", m->id, buf_cstr(&m->why));
		log_warn("qmgr",
		    "saving corrupt file \"%s\" from queue \"%s\" to queue \"corrupt\"", m->id,
		    spool_queue_name(QUEUE_ACTIVE));
		qmgr_event(q, "corrupt", m->id);
	} else if (m->rc == -EBUSY && m->from == QUEUE_DEFERRED) {
		qmgr_deferred_add(q, m->id, qmgr_now() + BUSY_SECONDS, NULL, 0);
	} else if (m->rc != -ENOENT && m->rc != -EBUSY) {
		log_warn("qmgr", "%s: cannot be made active: %s: trying again in %lld s", m->id,
		    strerror(-m->rc), (long long)(q->epoch->params->minimal_backoff_time / 1000));
		if (m->from == QUEUE_DEFERRED)
			qmgr_deferred_add(q, m->id,
			    qmgr_now() + q->epoch->params->minimal_backoff_time / 1000, NULL, 0);
		/* incoming/ is looked at again by the next scan */
	}
	/* ENOENT: an administrator or a command took the file away; that is their right. */
	qmgr_message_free(m);
}

/* No more of it is tried than was. */
static void
nothing_to_do(struct qmgr_message *m)
{
	qmgr_slice_stop(m, false);
	qmgr_message_entry_done(m);
}

void
qmgr_message_loaded(struct qmgr_message *m)
{
	struct qmgr *q = m->q;
	struct qmgr_slice *s = m->is_sliced ? NULL : qmgr_slice_whole(m);

	m->open_entries = 1;
	m->active_us = loop_wall_us();
	if (m->why.n > 0)
		log_warn("qmgr", "%s: %s", m->id, buf_cstr(&m->why));
	log_info("qmgr", "%s: from=<%s>, size=%lld, nrcpt=%lld (queue active)", m->id,
	    m->envelope.sender, (long long)m->envelope.content_length,
	    (long long)(qmgr_rcpt_open(&m->envelope) + m->rest_of.left));
	qmgr_event(q, "active", m->id);
	sm_move(states, &m->state, MESSAGE_DELIVERING);
	if (s && qmgr_super_loaded(s)) {
		qmgr_waiting_loaded(m);
		qmgr_message_entry_done(m);
		return;
	}
	if (m->envelope.trace_flags & TRACE_VERIFY_ONLY) {
		/* sendmail -bv: whoever asked that must not find it delivered. */
		log_warn("qmgr",
		    "%s: asks to verify addresses only: not delivered, and no report is sent",
		    m->id);
		nothing_to_do(m);
		return;
	}
	if (q->stopping || m->has_deferred) {
		/* Stopping: the file stays in active/ and is recovered at the next start. Forced to
		 * expire with a log of earlier failures: that log is returned, nothing is tried. */
		if (!q->stopping)
			nothing_to_do(m);
		else
			qmgr_message_abandon(m);
		return;
	}
	if (s)
		qmgr_assign(s);
	else
		qmgr_message_entry_done(m); /* reads the first of them */
}

static void
load_again_work(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);

	m->rc = load_envelope(m);
}

static void load_done(struct lane_job *job);

/* Its recipients have no room at the moment. */
static void
load_sliced(struct qmgr_message *m)
{
	m->is_sliced = true;
	arena_fini(&m->arena);
	m->q->jobs++;
	lane_run(m->q->o.disk, lane_key(m->id), &m->job, load_again_work, load_done);
}

static void
load_done(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);

	m->q->jobs--;
	if (m->rc < 0)
		load_failed(m);
	else if (!m->is_sliced && !qmgr_slice_fits(m->q, m->envelope.rcpt_count))
		load_sliced(m);
	else
		qmgr_message_loaded(m);
}

static struct qmgr_message *
message_new(struct qmgr *q, const char *id, enum queue from, struct spool_bytes *bytes)
{
	struct qmgr_message *m;

	HASH_FIND_STR(q->active, id, m);
	if (m || q->stopping)
		return NULL;
	m = MEM_NEW(struct qmgr_message);
	snprintf(m->id, sizeof(m->id), "%s", id);
	m->q = q;
	m->from = from;
	m->serial = ++q->serial;
	m->bytes = bytes;
	m->flushes = q->flushes; /* one asked for before this round is no reason for another */
	m->has_logs = bytes == NULL;
	if (bytes)
		snap_ref(&bytes->snap);
	buf_init(&m->why, 512);
	STAILQ_INIT(&m->records);
	STAILQ_INIT(&m->writing);
	HASH_ADD_STR(q->active, id, m);
	q->active_count++;
	q->retried_count += from == QUEUE_DEFERRED;
	return m;
}

struct qmgr_message *
qmgr_message_load(struct qmgr *q, const char *id, enum queue from, struct spool_bytes *bytes)
{
	/* Before the recovery: the walk after it will find the file. */
	struct qmgr_message *m = q->started ? message_new(q, id, from, bytes) : NULL;

	if (m == NULL)
		return NULL;
	qmgr_listings_move(q, id, from);
	q->jobs++;
	lane_run(q->o.disk, lane_key(m->id), &m->job, load_work, load_done);
	return m;
}

void
qmgr_message_take(struct qmgr *q, struct spool_arrival *a)
{
	bool has_room = q->started && qmgr_has_room(q, QUEUE_INCOMING);
	struct qmgr_message *m = message_new(q, a->id, QUEUE_INCOMING, a->bytes);
	struct reader *r;

	if (m == NULL)
		return; /* an id twice: it stays in the journal, for the next start */
	qmgr_young_add(m, a->mail);
	a->mail = NULL;
	r = reader_open_bytes(a->bytes->bytes);
	m->rc = reader_envelope(r, READER_QUEUE, &m->arena, &m->envelope, &m->why);
	reader_close(r);
	if (m->rc < 0) {
		log_warn("qmgr", "%s: %s", m->id, buf_cstr(&m->why));
		sm_move(states, &m->state, MESSAGE_DELIVERING);
		m->is_damaged = m->has_deferred = true;
		m->open_entries = 1;
		qmgr_message_entry_done(m);
	} else if (!qmgr_slice_fits(q, m->envelope.rcpt_count)) {
		qmgr_young_shelve(m);
	} else if (has_room) {
		qmgr_message_loaded(m);
	} else {
		qmgr_young_wait(m);
	}
}

size_t
qmgr_rcpt_open(const struct envelope *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->rcpt_count; i++)
		n += !e->rcpt[i].done;
	return n;
}

/* While stopping: out of memory, the file stays where it is. */
void
qmgr_message_abandon(struct qmgr_message *m)
{
	sm_move(states, &m->state, MESSAGE_ENDING);
	qmgr_message_free(m);
}

static struct qmgr_record *
record_add(struct qmgr_slice *s, enum queue log, const struct recipient *r, const struct status *st,
    const char *action)
{
	struct qmgr_record *rec = ARENA_NEW(&s->arena, struct qmgr_record);
	struct qmgr_message *m = s->m;

	rec->slice = s;
	s->held++;
	if (log != QUEUE_COUNT)
		m->has_logs = true;
	rec->log = log;
	rec->ordinal = (size_t)(r - s->rcpt);
	rec->entry = (struct deferlog_entry){
	    .recipient = r->address,
	    .orig = r->orig,
	    .orcpt = r->orcpt,
	    .notify = r->notify,
	    .offset = r->offset,
	    .action = action,
	    .status = status_copy(&s->arena, st),
	};
	STAILQ_INSERT_TAIL(&m->records, rec, link);
	return rec;
}

void
qmgr_message_result(struct qmgr_slice *s, const struct recipient *r, const struct status *st)
{
	struct qmgr_message *m = s->m;

	switch (st->cls) {
	case STATUS_OK:
		if (r->notify & NOTIFY_SUCCESS) {
			m->has_trace = true;
			record_add(s, QUEUE_TRACE, r, st, "relayed")->done = true;
		} else {
			record_add(s, QUEUE_COUNT, r, st, "relayed")->done = true;
			/* At once, whatever else has to be written first: who has it is not to get
			 * it again when we are killed meanwhile. */
			if (m->mail)
				journal_mark(m->mail, (size_t)(r - s->rcpt));
		}
		break;
	case STATUS_PERM:
		m->has_bounced = true;
		record_add(s, QUEUE_BOUNCE, r, st, "failed")->done = true;
		break;
	default:
		if (!m->has_deferred)
			m->flushes = m->q->flushes;
		m->has_deferred = true;
		record_add(s, QUEUE_DEFER, r, st, "delayed");
	}
}

struct record_batch {
	struct deferlog_entry *e;
	off_t *done;
	size_t n, done_n;
};

/* The entries of one log, and the offsets to be marked once they are safe. */
static struct record_batch
batch_of(struct qmgr_message *m, enum queue log, struct arena *a)
{
	struct record_batch b = {0};
	struct qmgr_record *rec;
	size_t all = 0;

	STAILQ_FOREACH (rec, &m->writing, link)
		all += rec->log == log;
	b.e = arena_alloc(a, (all + 1) * sizeof(*b.e));
	b.done = arena_alloc(a, (all + 1) * sizeof(*b.done));
	STAILQ_FOREACH (rec, &m->writing, link) {
		if (rec->log != log)
			continue;
		b.e[b.n++] = rec->entry;
		if (rec->done && rec->entry.offset > 0)
			b.done[b.done_n++] = rec->entry.offset;
	}
	return b;
}

/* The file may have been moved while its mail was on the way (postsuper -h): the marks follow it.
 */
static int
mark_done(const struct spool *s, const char *id, const struct record_batch *b)
{
	static const enum queue elsewhere[] = {
	    QUEUE_HOLD, QUEUE_DEFERRED, QUEUE_INCOMING, QUEUE_MAILDROP, QUEUE_COUNT};
	enum queue at = QUEUE_ACTIVE;
	struct stat st;
	int rc = deferlog_mark_done_blk(s, at, id, b->done, b->done_n);

	if (rc == -ENOENT && spool_find_blk(s, id, elsewhere, &at, &st) == 0)
		rc = deferlog_mark_done_blk(s, at, id, b->done, b->done_n);
	return rc;
}

/* A part at a time: what is printed for one append has a limit. */
static int
append(const struct spool *s, enum queue log, const char *id, const struct record_batch *b)
{
	enum { PART = 500 };
	int rc = 0;

	for (size_t at = 0; at < b->n && rc == 0; at += PART)
		rc =
		    deferlog_append_blk(s, log, id, &b->e[at], b->n - at < PART ? b->n - at : PART);
	return rc;
}

static void
write_work(struct lane_job *job)
{
	static const enum queue logs[] = {QUEUE_BOUNCE, QUEUE_TRACE, QUEUE_DEFER, QUEUE_COUNT};
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);
	struct spool *s = m->q->spool;
	struct arena a = {0};

	m->rc = 0;
	for (size_t i = 0; i < PP_COUNT(logs); i++) {
		struct record_batch b = batch_of(m, logs[i], &a);
		int rc = 0;

		if (b.n > 0 && logs[i] != QUEUE_COUNT)
			rc = append(s, logs[i], m->id, &b);
		if (rc < 0)
			m->is_unwritten = true;
		if (rc == 0 && b.done_n > 0)
			rc = mark_done(s, m->id, &b);
		if (rc < 0 && rc != -ENOENT)
			m->rc = rc;
	}
	arena_fini(&a);
}

static void
write_done(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);
	struct qmgr_record *rec;

	m->q->jobs--;
	m->is_writing = false;
	while ((rec = STAILQ_FIRST(&m->writing)) != NULL) {
		STAILQ_REMOVE_HEAD(&m->writing, link);
		qmgr_slice_release(rec->slice);
	}
	receipt_drop(m->kept);
	m->kept = NULL;
	if (m->rc < 0) {
		/* What could not be marked is still an R: it will be tried again. */
		log_warn("qmgr", "%s: writing its results: %s", m->id, strerror(-m->rc));
		if (!m->has_deferred)
			m->flushes = m->q->flushes;
		m->has_deferred = true;
	}
	m->open_entries++;
	qmgr_message_entry_done(m);
}

void
qmgr_message_settled(struct qmgr_message *m, struct qmgr_entry *e, struct delivery *d)
{
	if (d->receipt) {
		d->receipt->next = m->came;
		m->came = d->receipt;
	}
	for (size_t i = 0; m->super != SUPER_DELETE && i < d->rcpt_count; i++)
		qmgr_message_result(e->slice, e->rcpt[i], &d->rcpt[i].status);
	if (d->is_file_damaged)
		m->is_damaged = true;
	m->is_broken_off |= d->is_broken_off;
	qmgr_slice_entry_over(e);
	qmgr_slice_release(e->slice);
	qmgr_message_entry_done(m);
}

void
qmgr_message_entry_done(struct qmgr_message *m)
{
	PP_ASSERT(m->open_entries > 0);
	m->open_entries--;
	qmgr_slice_refill(m);
	if (m->is_writing || m->is_filing)
		return;
	if (m->super == SUPER_DELETE || (m->open_entries == 0 && m->rest_of.left == 0 &&
					    !m->has_deferred && !m->has_bounced && !m->has_trace))
		STAILQ_INIT(&m->records); /* all sent: the file goes, nothing needs a mark */
	if (!STAILQ_EMPTY(&m->records) && !qmgr_young_marks(m)) {
		if (m->mail) {
			if (!qmgr_young_rests(m))
				qmgr_young_file(m);
			return;
		}
		STAILQ_CONCAT(&m->writing, &m->records);
		m->kept = m->came;
		m->came = NULL;
		m->is_writing = true;
		m->q->jobs++;
		lane_run(m->q->o.disk, lane_key(m->id), &m->job, write_work, write_done);
		return;
	}
	if (m->open_entries > 0 || m->rest_of.left > 0)
		return;
	sm_move(states, &m->state, MESSAGE_ENDING);
	qmgr_message_end(m);
}
