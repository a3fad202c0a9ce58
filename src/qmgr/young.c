/*
 * young.c - messages that are in the journal and have no file.
 *
 * Most are delivered before anybody could look for a file, and then a mark in the journal is all
 * that remains of them. What stays longer, or what has something to be written down about it
 * (a log, another queue), becomes a file in active/ first and goes on from there as all others do.
 * Its deliveries do not wait for that. A file that cannot be made now is tried again: the message
 * is safe where it is.
 *
 * A file costs the machine more than all the rest of an acceptance, so while much comes in they
 * are put off, by journal_linger_limit at most and while the journal has room: deferred mail rests
 * without a file, and what has no place among the active waits in the lobby. When the rush is over
 * all of it is made up for. They are put off as well while the disk has no room for them, for as
 * long as that is so: now and then one is tried. Deferred mail is then tried again from memory.
 */
#include <errno.h>
#include "internal.h"

enum {
	AT_ONCE = 512,        /* files being made because of their age */
	TICK_MS = 100,        /* what comes due within it is handled together */
	RUSH = 10,            /* arrivals within a tick */
	RUSH_MS = 500,        /* how long one is remembered */
	AGAIN_MS = 10 * 1000, /* after an error */
	DUE_MS = 1000,        /* between looks for what is to be tried from memory */
	RESTING_MAX = 60000,  /* recipients: some 130 MiB where each is a message */
};

/* Another one has come. */
static void
note_arrival(struct qmgr *q)
{
	int64_t now = loop_now(q->loop);

	if (now >= q->tick_since + TICK_MS) {
		q->tick_since = now;
		q->tick_count = 0;
	}
	if (++q->tick_count >= RUSH)
		q->rush_until = now + RUSH_MS;
}

/* The disk had no room for a file, and is not asked again yet. */
static bool
is_put_off(const struct qmgr *q)
{
	return q->is_full && loop_now(q->loop) < q->files_again;
}

/* Are files put off now? */
static bool
is_patient(const struct qmgr *q)
{
	const struct qmgr_message *first = TAILQ_FIRST(&q->young);

	if (q->stopping || is_put_off(q))
		return !q->stopping;
	return loop_now(q->loop) < q->rush_until && q->resting_rcpts < RESTING_MAX &&
	       (first == NULL || !journal_is_filling(first->mail));
}

/* It has a place among the active, or is about to. */
static void
wake(struct qmgr_message *m)
{
	if (m->rest != REST_NONE) {
		m->q->resting[m->rest]--;
		m->q->resting_rcpts -= m->envelope.rcpt_count;
	}
	m->rest = REST_NONE;
}

/* From memory: what is known of its failure is of no use any more. */
static void
try_again(struct qmgr_message *m)
{
	struct qmgr_slice *s = qmgr_slice_whole(m);
	struct qmgr_record *rec;

	wake(m);
	STAILQ_FOREACH (rec, &m->records, link)
		m->envelope.rcpt[rec->ordinal].done |= rec->done; /* marked in the journal before */
	STAILQ_INIT(&m->records);
	receipt_drop(m->came);
	m->came = NULL;
	m->has_deferred = m->again = false;
	m->rests_since = 0;
	m->flushes = m->q->flushes;
	m->attempts++;
	m->open_entries = 1;
	s->held++;
	qmgr_assign(s);
}

static bool
is_due(const struct qmgr_message *m)
{
	const struct params *p = m->q->epoch->params;

	return qmgr_now() >=
	       m->rests_since + schedule_backoff(m->rests_since, m->envelope.create_time,
				    p->minimal_backoff_time / 1000, p->maximal_backoff_time / 1000);
}

/* While there are no files whose times would say when. */
static void
try_due(struct qmgr *q)
{
	struct qmgr_message *m, *next;

	HASH_ITER (hh, q->active, m, next)
		if (m->rest == REST_DEFERRED && is_due(m) && qmgr_has_room(q, QUEUE_INCOMING))
			try_again(m);
}

static void
due_fired(struct timer *t)
{
	struct qmgr *q = PP_CONTAINER(t, struct qmgr, young_timer);
	int64_t now = loop_now(q->loop), next;
	int64_t until = now - (is_patient(q) ? q->epoch->params->journal_linger_limit : 0);
	unsigned at_once = q->is_full ? 1 : AT_ONCE;
	struct qmgr_message *m;

	if (q->is_full)
		try_due(q);
	while (!is_put_off(q) && (m = TAILQ_FIRST(&q->young)) != NULL && m->young_until <= until &&
	       q->filing < at_once)
		qmgr_young_file(m);
	m = TAILQ_FIRST(&q->young);
	if (m == NULL)
		return;
	next = is_put_off(q) ? now + DUE_MS : m->young_until;
	timer_start(q->loop, t, next > now + TICK_MS ? next - now : TICK_MS, due_fired);
}

static void
insert(struct qmgr_message *m, int64_t ms)
{
	struct qmgr *q = m->q;

	m->is_listed = true;
	m->young_until = loop_now(q->loop) + ms;
	TAILQ_INSERT_TAIL(&q->young, m, young);
	if (q->young_timer.loop == NULL && !q->stopping)
		timer_start(
		    q->loop, &q->young_timer, q->is_full && ms > DUE_MS ? DUE_MS : ms, due_fired);
}

static void
put_by(struct qmgr_message *m, enum qmgr_rest rest)
{
	PP_ASSERT(m->rest == REST_NONE);
	m->rest = rest;
	m->q->resting[rest]++;
	m->q->resting_rcpts += m->envelope.rcpt_count;
	if (!LIST_EMPTY(&m->slices))
		qmgr_slice_count(LIST_FIRST(&m->slices), false);
}

static void
unlist(struct qmgr_message *m)
{
	if (m->is_listed)
		TAILQ_REMOVE(&m->q->young, m, young);
	m->is_listed = false;
}

void
qmgr_young_add(struct qmgr_message *m, struct journal_mail *mail)
{
	struct spool_bytes *passing = m->bytes;

	m->mail = mail;
	if (passing->is_passing) {
		m->bytes = spool_bytes_in_journal(m->q->spool, mail);
		snap_unref(&passing->snap);
	}
	note_arrival(m->q);
	insert(m, m->q->epoch->params->journal_linger);
}

static void
enter_lobby(struct qmgr_message *m)
{
	put_by(m, REST_LOBBY);
	TAILQ_INSERT_TAIL(&m->q->lobby, m, lobby);
}

void
qmgr_young_wait(struct qmgr_message *m)
{
	enter_lobby(m);
	/* While a start recovers active/ there is no room yet, but soon. */
	if (m->q->started && !is_patient(m->q))
		qmgr_young_file(m);
}

void
qmgr_young_shelve(struct qmgr_message *m)
{
	enter_lobby(m);
	qmgr_young_file(m);
}

static void
leave_lobby(struct qmgr_message *m)
{
	TAILQ_REMOVE(&m->q->lobby, m, lobby);
	wake(m);
}

void
qmgr_young_admit(struct qmgr_message *m)
{
	PP_ASSERT(m->rest == REST_LOBBY && !m->is_filing);
	leave_lobby(m);
	qmgr_message_loaded(m);
}

void
qmgr_young_admit_some(struct qmgr *q)
{
	struct qmgr_message *m;

	if (q->is_admitting)
		return;
	q->is_admitting = true; /* one that rests at once makes room for the next */
	while (q->started && !q->stopping && (m = TAILQ_FIRST(&q->lobby)) != NULL &&
	       qmgr_has_room(q, QUEUE_INCOMING))
		qmgr_young_admit(m);
	q->is_admitting = false;
}

bool
qmgr_young_rests(struct qmgr_message *m)
{
	if (!m->is_listed || m->super != SUPER_NONE || m->has_bounced || m->has_trace ||
	    m->is_damaged || m->again || !is_patient(m->q) || qmgr_message_expired(m))
		return false;
	if (m->open_entries == 0 && m->rest == REST_NONE) {
		put_by(m, REST_DEFERRED);
		if (m->rests_since == 0)
			m->rests_since = qmgr_now();
		qmgr_young_admit_some(m->q);
	}
	return true;
}

void
qmgr_young_flush(struct qmgr *q)
{
	struct qmgr_message *m, *next;

	HASH_ITER (hh, q->active, m, next)
		if (m->rest == REST_DEFERRED && qmgr_has_room(q, QUEUE_INCOMING)) {
			m->is_flushed = true;
			try_again(m);
		}
}

static void
file_work(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);
	struct str bytes;
	char *memory;

	m->rc = spool_bytes_load_blk(m->bytes, &bytes, &memory);
	if (m->rc == 0)
		m->rc = writer_file_marked_blk(
		    m->q->spool, m->unsynced.queue, m->id, bytes, m->marked, m->marked_n);
	mem_free(memory);
}

void
qmgr_young_no_room(struct qmgr *q)
{
	q->is_full = true;
	q->files_again = loop_now(q->loop) + AGAIN_MS;
}

/* Its round may have ended meanwhile. What needs a file waits for it; what rests does not, nor what
 * is over. */
static void
go_on(struct qmgr_message *m)
{
	bool is_sent = !m->has_deferred && !m->has_bounced && !m->has_trace && !m->is_damaged;

	if (m->state != MESSAGE_DELIVERING || m->open_entries > 0)
		return;
	if (is_sent || m->super == SUPER_DELETE) {
		m->open_entries++;
		qmgr_message_entry_done(m);
	} else if (m->again) {
		m->again = false;
		if (qmgr_young_rests(m))
			try_again(m);
	} else {
		qmgr_young_rests(m);
	}
}

/* Told once for each; of a full disk once, for it has this for thousands. */
static void
not_filed(struct qmgr_message *m, int rc)
{
	struct qmgr *q = m->q;
	bool has_no_room = rc == -ENOSPC || rc == -EDQUOT;

	if (!m->is_told && !(has_no_room && q->is_full))
		log_warn("qmgr",
		    "%s: its queue file cannot be made: %s: it stays in the journal, and this is "
		    "tried again every %d s%s",
		    m->id, strerror(-rc), AGAIN_MS / 1000,
		    has_no_room ? ", as for others; mail is delivered meanwhile: make room on the "
				  "file system of queue_directory"
				: "");
	m->is_told = !has_no_room;
	if (has_no_room)
		qmgr_young_no_room(q);
	insert(m, AGAIN_MS);
	go_on(m);
}

static void
filed(struct qmgr *q)
{
	int64_t soon = loop_now(q->loop) + DUE_MS;
	struct qmgr_message *m;

	if (!q->is_full)
		return;
	log_info("qmgr", "there is room for queue files again");
	q->is_full = false;
	TAILQ_FOREACH (m, &q->young, young)
		if (m->young_until > soon)
			m->young_until = soon;
	if (!TAILQ_EMPTY(&q->young) && !q->stopping)
		timer_start(q->loop, &q->young_timer, DUE_MS, due_fired);
}

/* It lies in incoming/, for a walk to find when there is room. */
static void
shelved(struct qmgr_message *m)
{
	struct qmgr *q = m->q;
	bool has_room = false;
	char id[SPOOL_ID_MAX];

	memcpy(id, m->id, sizeof(id));
	if (m->super != SUPER_NONE)
		qmgr_super_late(q, m->id, m->super);
	else if (!qmgr_has_room(q, QUEUE_INCOMING))
		qmgr_incoming_waits(q);
	else
		has_room = true;
	qmgr_message_free(m);
	if (has_room)
		qmgr_message_load(q, id, QUEUE_INCOMING, NULL);
}

static void
file_synced(struct qmgr_unsynced *u, int rc)
{
	struct qmgr_message *m = PP_CONTAINER(u, struct qmgr_message, unsynced);
	struct qmgr *q = m->q;

	q->filing--;
	m->is_filing = false;
	if (m->rest == REST_SHELVED)
		wake(m);
	if (rc < 0) {
		if (u->queue == QUEUE_INCOMING)
			enter_lobby(m);
		not_filed(m, rc); /* may free it */
		return;
	}
	filed(q);
	journal_done(m->mail);
	m->mail = NULL;
	m->filed_at = loop_now(q->loop);
	if (u->queue == QUEUE_INCOMING) {
		shelved(m);
		return;
	}
	if (m->state == MESSAGE_ENDING) {
		qmgr_message_end(m);
		return;
	}
	m->open_entries++;
	qmgr_message_entry_done(m);
}

static void
file_done(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);
	struct qmgr *q = m->q;

	q->jobs--;
	if (m->rc == 0)
		qmgr_sync(q, &m->unsynced);
	else
		file_synced(&m->unsynced, m->rc);
	qmgr_idle_check(q);
}

void
qmgr_young_file(struct qmgr_message *m)
{
	const struct envelope *e = &m->envelope;

	PP_ASSERT(m->mail != NULL && !m->is_filing);
	m->unsynced =
	    (struct qmgr_unsynced){.id = m->id, .queue = QUEUE_ACTIVE, .synced = file_synced};
	if (m->rest == REST_LOBBY) {
		m->unsynced.queue = QUEUE_INCOMING;
		leave_lobby(m);
		put_by(m, REST_SHELVED);
	}
	unlist(m);
	if (m->rest == REST_DEFERRED)
		wake(m);
	m->is_filing = true;
	m->q->filing++;
	m->marked = arena_alloc(&m->arena, (e->rcpt_count + 1) * sizeof(*m->marked));
	m->marked_n = 0;
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (e->rcpt[i].done)
			m->marked[m->marked_n++] = e->rcpt[i].offset;
	m->q->jobs++;
	lane_run(m->q->o.disk, lane_key(m->id), &m->job, file_work, file_done);
}

bool
qmgr_young_marks(struct qmgr_message *m)
{
	struct qmgr_record *rec;

	if (m->mail == NULL)
		return false;
	STAILQ_FOREACH (rec, &m->records, link)
		if (rec->log != QUEUE_COUNT)
			return false;
	STAILQ_FOREACH (rec, &m->records, link) {
		journal_mark(m->mail, rec->ordinal);
		m->envelope.rcpt[rec->ordinal].done = true;
	}
	STAILQ_INIT(&m->records);
	receipt_drop(m->came);
	m->came = NULL;
	return true;
}

void
qmgr_young_done(struct qmgr_message *m)
{
	unlist(m);
	wake(m);
	journal_done(m->mail);
	m->mail = NULL;
}

void
qmgr_young_leave(struct qmgr_message *m)
{
	unlist(m);
	if (m->rest == REST_LOBBY)
		leave_lobby(m);
	wake(m);
	if (m->mail)
		journal_leave(m->mail);
	m->mail = NULL;
}

void
qmgr_young_stop(struct qmgr *q)
{
	struct qmgr_message *m, *next;

	timer_stop(&q->young_timer);
	/* Or the next start would take it for new mail, and know nothing of its failure. */
	HASH_ITER (hh, q->active, m, next)
		if (m->rest == REST_DEFERRED && !q->is_full)
			qmgr_young_file(m);
}
