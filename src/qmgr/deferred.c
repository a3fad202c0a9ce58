/*
 * deferred.c - the deferred mail: when each is due, and its details for those who ask.
 *
 * A heap instead of Postfix's scan: a mail is tried in the second it is due, whatever the size of
 * the queue. The directory stays the truth, and the scan corrects this index.
 */
#include "internal.h"
#include "pp/base/mem.h"

enum {
	HOLDS_AT_ONCE = 2000, /* looked at in one go */
	MODE_EXPIRED = 0010,
	FORGET_SLOTS = 4096, /* in one go: a few milliseconds */
	COMING_MAX = 128, /* on their way: new mail waits for the look-ups of no more than these */
};

static void
due_fired(struct timer *t)
{
	struct qmgr *q = PP_CONTAINER(t, struct qmgr, due_timer);

	qmgr_deferred_due(q);
}

/* The wall clock may jump, so the timer never sleeps longer than a minute. */
static void
arm(struct qmgr *q)
{
	struct qmgr_deferred *first = index_first(&q->index);
	int64_t wait;

	if (first == NULL || q->stopping)
		return;
	wait = first->when - qmgr_now();
	timer_start(q->loop, &q->due_timer, wait > 60 ? 60000 : wait * 1000, due_fired);
}

struct qmgr_deferred *
qmgr_deferred_find(struct qmgr *q, const char *id)
{
	return index_find(&q->index, id);
}

void
qmgr_deferred_add(
    struct qmgr *q, const char *id, int64_t when, const char *waits_for, uint32_t put_off)
{
	struct qmgr_deferred *d = qmgr_deferred_find(q, id);

	if (d == NULL)
		d = index_add(&q->index, id, when);
	else
		index_move(&q->index, d, when);
	d->generation = q->generation & 0xff;
	if (waits_for) {
		index_wait_for(&q->index, d, waits_for);
		d->is_held = false;
		d->put_off = put_off;
	}
	qmgr_details_want(q, d);
	if (index_first(&q->index) == d)
		arm(q);
}

void
qmgr_deferred_drop(struct qmgr *q, struct qmgr_deferred *d)
{
	index_drop(&q->index, d);
}

int64_t
qmgr_deferred_when(const struct qmgr_deferred *d)
{
	return d->when;
}

/* touch(1) means now. A time long past counts as due at the next walk, as in Postfix: who makes
 * files look old finds them by that (find -mtime) before they are tried and young again. */
int64_t
qmgr_deferred_time(const struct qmgr *q, const struct qmgr_deferred *d, int64_t mtime)
{
	int64_t now = qmgr_now(), walk = q->epoch->params->queue_run_delay / 1000;

	if (mtime >= now - walk)
		return mtime;
	return d->when < now + walk ? d->when : now + walk;
}

void
qmgr_deferred_seen(struct qmgr *q, struct qmgr_deferred *d, mode_t mode)
{
	d->generation = q->generation & 0xff;
	if (d->details && d->is_expired != ((mode & MODE_EXPIRED) != 0))
		qmgr_details_want(q, d);
}

bool
qmgr_deferred_complete(const struct qmgr *q)
{
	return q->has_scanned && !q->changed && !q->is_telling;
}

void
qmgr_deferred_retry(struct qmgr *q, struct qmgr_deferred *d)
{
	int64_t now = qmgr_now();

	d->is_flushed = true;
	if (d->when > now)
		index_move(&q->index, d, now);
	if (index_first(&q->index) == d)
		arm(q);
}

void
qmgr_deferred_ask(struct qmgr *q, struct qmgr_deferred *d)
{
	d->is_asked = true;
	qmgr_deferred_retry(q, d);
}

bool
qmgr_deferred_forget_unseen(struct qmgr *q, uint32_t *slot)
{
	uint32_t slots = index_slots(&q->index), end = *slot + FORGET_SLOTS;

	for (; *slot < slots && *slot < end; ++*slot) {
		struct qmgr_deferred *d = index_at(&q->index, *slot);

		if (d == NULL || d->generation == (q->generation & 0xff))
			continue;
		qmgr_gone(q, index_id(d));
		qmgr_deferred_drop(q, d);
	}
	return *slot >= slots;
}

unsigned
qmgr_deferred_count(const struct qmgr *q)
{
	return q->index.count;
}

static bool
is_due(const struct qmgr *q)
{
	struct qmgr_deferred *first = index_first(&q->index);

	return first && first->when <= qmgr_now();
}

unsigned
qmgr_working_count(const struct qmgr *q)
{
	unsigned n = q->active_count;

	for (size_t i = 0; i < REST_KINDS; i++)
		n -= q->resting[i];
	return n;
}

bool
qmgr_has_room(const struct qmgr *q, enum queue from)
{
	unsigned limit = (unsigned)q->epoch->params->qmgr_message_active_limit;
	unsigned working = qmgr_working_count(q);
	unsigned retried = q->retried_count, fresh = working - retried;

	if (working >= limit)
		return false;
	if (from == QUEUE_DEFERRED) /* a walk under way is about to let new mail in */
		return !(q->incoming_waits || q->scanning) || retried < limit / 2;
	return !is_due(q) || fresh < limit - limit / 2;
}

static void
go_on(struct post *p)
{
	struct qmgr *q = PP_CONTAINER(p, struct qmgr, due_post);

	q->is_due_posted = false;
	qmgr_deferred_due(q);
}

static void
go_on_soon(struct qmgr *q)
{
	if (q->is_due_posted || q->stopping)
		return;
	q->is_due_posted = true;
	post_to(q->loop, &q->due_post, go_on);
}

void
qmgr_deferred_came(struct qmgr_message *m)
{
	if (!m->is_coming)
		return;
	m->is_coming = false;
	if (--m->q->coming == COMING_MAX / 2)
		go_on_soon(m->q);
}

void
qmgr_deferred_due(struct qmgr *q)
{
	int64_t now = qmgr_now();
	struct qmgr_deferred *d;
	unsigned held = 0;

	if (q->stopping)
		return;
	while ((d = index_first(&q->index)) != NULL && d->when <= now) {
		struct qmgr_message *m;

		/* Full: what waits is tried when a place becomes free (qmgr_message_free). */
		if (!qmgr_has_room(q, QUEUE_DEFERRED)) {
			qmgr_make_room(q);
			break;
		}
		if (held == HOLDS_AT_ONCE || q->coming == COMING_MAX)
			break;
		if (d->waits_for && qmgr_waiting_holds(q, d)) {
			held++;
			continue;
		}
		m = qmgr_message_load(q, index_id(d), QUEUE_DEFERRED, NULL);
		if (m && d->waits_for)
			qmgr_waiting_comes(m, d);
		if (m) {
			m->is_flushed = d->is_flushed;
			m->is_asked = d->is_asked;
			m->is_coming = true;
			q->coming++;
		}
		qmgr_deferred_drop(q, d);
	}
	if (held == HOLDS_AT_ONCE)
		go_on_soon(q);
	else if (d == NULL || d->when > now)
		arm(q);
}

void
qmgr_deferred_flush(struct qmgr *q)
{
	index_all_due(&q->index, qmgr_now());
	for (uint32_t i = 0; i < index_slots(&q->index); i++)
		if (index_at(&q->index, i) != NULL)
			index_at(&q->index, i)->is_flushed = true;
	qmgr_deferred_due(q);
}

void
qmgr_deferred_stop(struct qmgr *q)
{
	timer_stop(&q->due_timer);
	timer_stop(&q->details_timer);
}

void
qmgr_deferred_fini(struct qmgr *q)
{
	index_fini(&q->index);
	mem_free(q->wanted);
}
