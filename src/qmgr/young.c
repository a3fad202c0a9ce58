/*
 * young.c - messages that are in the journal and have no file.
 *
 * Most are delivered before anybody could look for a file, and then a mark in the journal is all
 * that remains of them. What stays longer, or what has something to be written down about it
 * (a log, another queue), becomes a file in active/ first and goes on from there as all others do.
 * Its deliveries do not wait for that. A file that cannot be made now is tried again: the message
 * is safe where it is.
 */
#include <errno.h>
#include "internal.h"

enum {
	AT_ONCE = 512,       /* files being made because of their age */
	TICK_MS = 100,       /* what comes due within it is handled together */
	AGAIN_MS = 10 * 1000 /* after an error */
};

static void
due_fired(struct timer *t)
{
	struct qmgr *q = PP_CONTAINER(t, struct qmgr, young_timer);
	int64_t now = loop_now(q->loop);
	struct qmgr_message *m;

	while ((m = TAILQ_FIRST(&q->young)) != NULL && m->young_until <= now && q->filing < AT_ONCE)
		qmgr_young_file(m);
	if (m != NULL)
		timer_start(q->loop, t,
		    m->young_until > now + TICK_MS ? m->young_until - now : TICK_MS, due_fired);
}

static void
insert(struct qmgr_message *m, int64_t ms)
{
	struct qmgr *q = m->q;

	m->is_listed = true;
	m->young_until = loop_now(q->loop) + ms;
	TAILQ_INSERT_TAIL(&q->young, m, young);
	if (q->young_timer.loop == NULL && !q->stopping)
		timer_start(q->loop, &q->young_timer, ms, due_fired);
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
	m->mail = mail;
	insert(m, m->q->epoch->params->journal_linger);
}

static void
file_work(struct lane_job *job)
{
	struct qmgr_message *m = PP_CONTAINER(job, struct qmgr_message, job);

	m->rc = writer_file_marked_blk(
	    m->q->spool, QUEUE_ACTIVE, m->id, m->bytes->bytes, m->marked, m->marked_n);
}

/* Once for each. */
static void
not_filed(const char *id, int rc, bool *is_told)
{
	if (!*is_told)
		log_warn("qmgr",
		    "%s: its queue file cannot be made: %s: it stays in the journal, and this is "
		    "tried again every %d s",
		    id, strerror(-rc), AGAIN_MS / 1000);
	*is_told = true;
}

static void
file_synced(struct qmgr_unsynced *u, int rc)
{
	struct qmgr_message *m = PP_CONTAINER(u, struct qmgr_message, unsynced);
	struct qmgr *q = m->q;

	q->filing--;
	m->is_filing = false;
	if (rc < 0) {
		not_filed(m->id, rc, &m->is_told);
		insert(m, AGAIN_MS);
		return;
	}
	journal_done(m->mail);
	m->mail = NULL;
	m->filed_at = loop_now(q->loop);
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
	m->unsynced =
	    (struct qmgr_unsynced){.id = m->id, .queue = QUEUE_ACTIVE, .synced = file_synced};
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
	unlist(m);
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
	journal_done(m->mail);
	m->mail = NULL;
}

void
qmgr_young_leave(struct qmgr_message *m)
{
	unlist(m);
	if (m->mail)
		journal_leave(m->mail);
	m->mail = NULL;
}

/* No room in the active queue, or not ready for it. */
struct qmgr_shelved {
	struct lane_job job;
	struct timer timer;
	struct qmgr_unsynced unsynced;
	LIST_ENTRY(qmgr_shelved) link; /* while it waits for another try */
	struct qmgr *q;
	struct spool_arrival *a;
	bool is_told;
	int rc;
};

static void
shelved_free(struct qmgr_shelved *s)
{
	spool_arrival_free(s->a);
	mem_free(s);
}

static void
shelve_work(struct lane_job *job)
{
	struct qmgr_shelved *s = PP_CONTAINER(job, struct qmgr_shelved, job);
	const struct spool_arrival *a = s->a;

	s->rc =
	    writer_file_marked_blk(s->q->spool, QUEUE_INCOMING, a->id, a->bytes->bytes, NULL, 0);
}

static void shelve_start(struct qmgr_shelved *s);

static void
shelve_again(struct timer *t)
{
	struct qmgr_shelved *s = PP_CONTAINER(t, struct qmgr_shelved, timer);

	LIST_REMOVE(s, link);
	shelve_start(s);
}

static void
shelve_synced(struct qmgr_unsynced *u, int rc)
{
	struct qmgr_shelved *s = PP_CONTAINER(u, struct qmgr_shelved, unsynced);
	struct qmgr *q = s->q;

	if (rc == 0) {
		journal_done(s->a->mail);
		s->a->mail = NULL;
		qmgr_incoming_waits(q);
	} else {
		not_filed(s->a->id, rc, &s->is_told);
	}
	if (rc == 0 || q->stopping) {
		shelved_free(s);
	} else {
		LIST_INSERT_HEAD(&q->shelved, s, link);
		timer_start(q->loop, &s->timer, AGAIN_MS, shelve_again);
	}
}

static void
shelve_done(struct lane_job *job)
{
	struct qmgr_shelved *s = PP_CONTAINER(job, struct qmgr_shelved, job);
	struct qmgr *q = s->q;

	q->jobs--;
	s->unsynced = (struct qmgr_unsynced){
	    .id = s->a->id, .queue = QUEUE_INCOMING, .synced = shelve_synced};
	if (s->rc == 0)
		qmgr_sync(q, &s->unsynced);
	else
		shelve_synced(&s->unsynced, s->rc);
	qmgr_idle_check(q);
}

static void
shelve_start(struct qmgr_shelved *s)
{
	s->q->jobs++;
	lane_run(s->q->o.disk, lane_key(s->a->id), &s->job, shelve_work, shelve_done);
}

void
qmgr_young_shelve(struct qmgr *q, struct spool_arrival *a)
{
	struct qmgr_shelved *s = MEM_NEW(struct qmgr_shelved);

	s->q = q;
	s->a = a;
	shelve_start(s);
}

void
qmgr_young_stop(struct qmgr *q)
{
	struct qmgr_shelved *s;

	timer_stop(&q->young_timer);
	while ((s = LIST_FIRST(&q->shelved)) != NULL) {
		LIST_REMOVE(s, link);
		timer_stop(&s->timer);
		shelved_free(s);
	}
}
