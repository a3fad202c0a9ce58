/*
 * slice.c - the recipients of one message, a part at a time.
 *
 * The places of qmgr_message_recipient_limit are for all messages together. One whose recipients
 * fit is held whole, as nearly all are. Another is read from its file slice by slice: each has its
 * own memory, which goes when all of its recipients have a result and that is written down; then
 * there are places for more. A few recipients of each message always have a place, so no mail has
 * to wait for the recipients of another. The file is the truth: what was finished is a D there, so
 * a restart in between begins with the rest.
 */
#include <errno.h>
#include "internal.h"

static size_t
room(const struct qmgr *q)
{
	size_t limit = (size_t)q->epoch->params->qmgr_message_recipient_limit;

	return q->in_memory < limit ? limit - q->in_memory : 0;
}

bool
qmgr_slice_fits(const struct qmgr *q, size_t rcpts)
{
	return rcpts <= (size_t)q->epoch->params->qmgr_message_recipient_minimum ||
	       (rcpts <= QMGR_SLICE && rcpts <= room(q));
}

static void
count(struct qmgr_slice *s, size_t n)
{
	s->m->q->in_memory += n - s->counted;
	s->counted = n;
}

void
qmgr_slice_count(struct qmgr_slice *s, bool is_active)
{
	count(s, is_active ? s->n : 0);
}

static struct qmgr_slice *
slice_new(struct qmgr_message *m)
{
	struct qmgr_slice *s = MEM_NEW(struct qmgr_slice);

	s->m = m;
	s->held = 1;
	LIST_INSERT_HEAD(&m->slices, s, link);
	return s;
}

struct qmgr_slice *
qmgr_slice_whole(struct qmgr_message *m)
{
	struct qmgr_slice *s = LIST_FIRST(&m->slices);

	if (s == NULL)
		s = slice_new(m);
	s->rcpt = m->envelope.rcpt;
	s->n = m->envelope.rcpt_count;
	qmgr_slice_count(s, true);
	return s;
}

static void
slice_free(struct qmgr_slice *s)
{
	count(s, 0);
	LIST_REMOVE(s, link);
	buf_fini(&s->why);
	arena_fini(&s->arena);
	mem_free(s);
}

void
qmgr_slices_free(struct qmgr_message *m)
{
	struct qmgr_slice *s;

	timer_stop(&m->refill_timer);
	while ((s = LIST_FIRST(&m->slices)) != NULL)
		slice_free(s);
}

/* A whole one stays as long as its message: somebody may yet ask for its recipients. */
void
qmgr_slice_release(struct qmgr_slice *s)
{
	struct qmgr_message *m = s->m;

	PP_ASSERT(s->held > 0);
	if (--s->held > 0 || !m->is_sliced)
		return;
	m->freed += s->counted;
	slice_free(s);
}

void
qmgr_slice_entry_over(struct qmgr_entry *e)
{
	e->dest->transport->in_memory -= e->n;
}

void
qmgr_slice_stop(struct qmgr_message *m, bool is_left_over)
{
	if (m->rest_of.left == 0)
		return;
	m->rest_of.left = 0;
	timer_stop(&m->refill_timer);
	if (!is_left_over)
		return;
	/* Nobody may be told as if that were all; the next round does. */
	if (!m->has_deferred)
		m->flushes = m->q->flushes;
	m->has_deferred = m->is_unwritten = true;
}

static void
read_work(struct lane_job *job)
{
	struct qmgr_slice *s = PP_CONTAINER(job, struct qmgr_slice, job);
	struct qmgr_message *m = s->m;

	s->rc = reader_more_blk(
	    m->q->spool, QUEUE_ACTIVE, m->id, &s->arena, &s->part, &s->envelope, &s->why);
}

static void
read_failed(struct qmgr_slice *s)
{
	struct qmgr_message *m = s->m;

	if (s->rc != -ENOENT) /* that is somebody's right */
		log_warn("qmgr", "%s: reading more of its recipients: %s", m->id,
		    s->rc == -EBADMSG ? buf_cstr(&s->why) : strerror(-s->rc));
	if (s->rc == -EBADMSG)
		m->is_damaged = true;
	qmgr_slice_stop(m, true);
}

static void
read_done(struct lane_job *job)
{
	struct qmgr_slice *s = PP_CONTAINER(job, struct qmgr_slice, job);
	struct qmgr_message *m = s->m;
	struct qmgr *q = m->q;

	q->jobs--;
	m->is_reading = false;
	if (s->rc < 0) {
		read_failed(s);
	} else {
		s->rcpt = s->envelope.rcpt;
		s->n = s->envelope.rcpt_count;
		m->rest_of.next = s->part.next;
		if (s->part.left == 0 || m->rest_of.left <= s->n)
			m->rest_of.left = s->part.left;
		else
			m->rest_of.left -= s->n;
	}
	count(s, s->n);
	if (s->n == 0 || q->stopping || qmgr_super_loaded(s)) {
		qmgr_slice_release(s);
		qmgr_message_entry_done(m);
	} else {
		qmgr_assign(s);
	}
	qmgr_idle_check(q);
}

/* How many may be read now; 0 = none. */
static size_t
wanted(const struct qmgr_message *m)
{
	const struct params *p = m->q->epoch->params;
	size_t least = (size_t)p->qmgr_message_recipient_minimum, n = room(m->q);
	struct qmgr_transport *t = m->full ? qmgr_transport_get(m->q, m->full) : NULL;

	if (n > QMGR_SLICE)
		n = QMGR_SLICE;
	if (t && t->in_memory + n > t->memory_limit)
		n = t->in_memory < t->memory_limit ? t->memory_limit - t->in_memory : 0;
	if (LIST_EMPTY(&m->slices) && n < least)
		n = least;
	return n < m->rest_of.left ? n : m->rest_of.left;
}

static void
read_begin(struct qmgr_message *m, size_t n)
{
	struct qmgr_slice *s = slice_new(m);

	buf_init(&s->why, 512);
	s->part = (struct reader_part){.max = n, .next = m->rest_of.next};
	s->envelope = m->envelope;
	count(s, n);
	m->is_reading = true;
	m->freed = 0;
	m->open_entries++;
	m->q->jobs++;
	lane_run(m->q->o.disk, lane_key(m->id), &s->job, read_work, read_done);
}

static void
refill_fired(struct timer *t)
{
	struct qmgr_message *m = PP_CONTAINER(t, struct qmgr_message, refill_timer);
	size_t n = m->is_reading || m->rest_of.left == 0 ? 0 : wanted(m);

	if (n > 0)
		read_begin(m, n);
	else
		qmgr_slice_refill(m);
}

void
qmgr_slice_refill(struct qmgr_message *m)
{
	struct qmgr *q = m->q;
	const char *name = m->full ? m->full : "default";
	const struct config *cfg = q->epoch->setup.config;
	size_t n, enough;

	if (m->rest_of.left == 0 || m->is_reading)
		return;
	if (q->stopping || m->is_damaged || (m->super != SUPER_NONE && m->super != SUPER_EXPIRE)) {
		qmgr_slice_stop(m, true);
		return;
	}
	n = wanted(m);
	enough = (size_t)config_transport_number(cfg, name, "recipient_refill_limit");
	if (n > 0 && (LIST_EMPTY(&m->slices) || n >= enough || n == m->rest_of.left))
		read_begin(m, n);
	else if (m->refill_timer.loop == NULL)
		timer_start(q->loop, &m->refill_timer,
		    config_transport_number(cfg, name, "recipient_refill_delay"), refill_fired);
}
