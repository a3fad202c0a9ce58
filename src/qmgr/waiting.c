/*
 * waiting.c - deferred mail that waits for a destination, and how it hears that the wait is over.
 *
 * What was put off because of its destination knows so in the index. While that destination is dead
 * nothing of it is loaded when its time comes: it would be put off again, and a hundred thousand of
 * them would be all the queue manager did. When the destination takes mail again, or its time of
 * death is over, its mail is called, whatever its own time: as much as can be sent soon, then more
 * as that goes, so that it never fills the active queue. News has a number, and calls what was put
 * off before it, once: what then fails again waits for its own time or for other news, or mail that
 * breaks every connection would be tried as often as other mail gets through.
 *
 * To know soon, a dead destination is asked by a delivery without mail where that harms nobody: one
 * that could not be reached gets a connection, one whose name could not be found a question to our
 * own name server, at growing intervals.
 */
#include "internal.h"

enum {
	SLOTS = 8192,   /* looked at in one turn of the loop */
	SHARE_PART = 4, /* of the active queue, for the retried mail of one destination */
	SLOW_PART = 32, /* of one that is slow */
	HELD_S = 60,
	PROBE_FIRST_MS = 2000,
	PROBE_LAST_MS = 60000,
	PROBE_NAME_MS = 15000, /* the name server is ours */
	PROBES_MAX = 20,
	NAMES_APART_MS = 1000,
};

/* As many as it may have waiting here. */
static unsigned
share(const struct qmgr_destination *d)
{
	unsigned part = qmgr_is_slow(d, loop_now(d->q->loop)) ? SLOW_PART : SHARE_PART;
	unsigned n = (unsigned)d->q->epoch->params->qmgr_message_active_limit / part;

	/* Since its last trouble it has taken none: more would only have to be put off again. */
	if (d->s.cause != CAUSE_NONE && n > (unsigned)d->s.window.window)
		n = (unsigned)d->s.window.window;

	return d->s.probing || n == 0 ? 1 : n;
}

static unsigned
has(const struct qmgr_destination *d)
{
	return d->s.busy + d->s.waiting + d->coming;
}

static struct qmgr_destination *
of_slot(struct qmgr *q, const struct qmgr_deferred *slot)
{
	struct qmgr_destination *d;

	HASH_FIND_STR(q->destinations, intern_str(&q->index.strings, slot->waits_for - 1).p, d);
	return d;
}

/* However long its destination is in trouble, a mail is looked at as often as its own times ask
 * for: it may have to be returned, or its sender be told. Not all of them in the same second. */
static bool
is_held_too_long(struct qmgr *q, struct qmgr_deferred *slot)
{
	uint32_t now = (uint32_t)qmgr_now();
	uint32_t most = (uint32_t)(q->epoch->params->maximal_backoff_time / 1000);

	if (!slot->is_held)
		slot->held_since = now;
	slot->is_held = true;
	return now - slot->held_since > most + slot->hash % (most / 4 + 1);
}

bool
qmgr_waiting_holds(struct qmgr *q, struct qmgr_deferred *slot)
{
	struct qmgr_destination *d = of_slot(q, slot);
	int64_t wait = HELD_S;

	if (d && slot->is_asked)
		qmgr_destination_asked(d);
	if (d == NULL || (!d->s.dead && has(d) < share(d)) || is_held_too_long(q, slot))
		return false;
	if (d->s.dead)
		wait = (d->s.until - loop_now(q->loop)) / 1000 + 1;
	index_move(&q->index, slot, qmgr_now() + (wait > 1 ? wait : 1));
	slot->is_asked = false;
	d->walked = 0;
	return true;
}

void
qmgr_waiting_comes(struct qmgr_message *m, const struct qmgr_deferred *slot)
{
	struct qmgr_destination *d = of_slot(m->q, slot);

	if (d == NULL)
		return;
	m->coming = d;
	d->coming++;
}

void
qmgr_waiting_loaded(struct qmgr_message *m)
{
	struct qmgr_destination *d = m->coming;

	qmgr_deferred_came(m);
	m->coming = NULL;
	if (d == NULL)
		return;
	d->coming--;
	qmgr_waiting_call(d);
	qmgr_destination_release(d);
}

/* All that waited before this is called. */
static void
hear(struct qmgr_destination *d)
{
	d->was_dead = false;
	d->walked = 0;
	d->news = ++d->q->news;
}

void
qmgr_waiting_begin(struct qmgr_destination *d)
{
	/* A new configuration is news. Otherwise nothing is to be called, or looked for. */
	d->news = d->transport->epoch->news;
	if (d->news == 0)
		d->walked = index_slots(&d->q->index);
}

void
qmgr_waiting_put_off(struct qmgr_message *m, const struct qmgr_destination *d)
{
	m->waits_for = arena_strdup(&m->arena, d->key);
	m->put_off = d->q->news + 1;
}

static void call_go(struct qmgr_destination *d);

static void
call_run(struct post *p)
{
	struct qmgr_destination *d = PP_CONTAINER(p, struct qmgr_destination, call);
	struct qmgr *q = d->q;

	q->jobs--;
	d->is_calling = false;
	d->pins++;
	if (!q->stopping)
		call_go(d);
	d->pins--;
	qmgr_destination_release(d);
	qmgr_idle_check(q);
}

/* Some of what waits for it becomes due; what is left to look at is for the next turn. */
static void
call_go(struct qmgr_destination *d)
{
	struct qmgr *q = d->q;
	uint32_t slots = index_slots(&q->index), handle, n = 0;
	unsigned want = share(d), have = has(d);
	int64_t now = qmgr_now();

	if (index_waiting(&q->index, d->key, &handle) == 0 || d->s.dead)
		return;
	for (; n < SLOTS && d->walked < slots && have < want; n++, d->walked++, d->slot++) {
		struct qmgr_deferred *m;

		if (d->slot >= slots)
			d->slot = 0;
		m = index_at(&q->index, d->slot);
		if (m == NULL || m->waits_for != handle + 1 ||
		    !(m->is_held || m->put_off <= d->news))
			continue;
		have++;
		d->walked = 0;
		if (m->when > now)
			qmgr_deferred_retry(q, m);
	}
	if (have < want && d->walked < slots) {
		d->is_calling = true;
		q->jobs++;
		post_to(q->loop, &d->call, call_run);
	}
	qmgr_deferred_due(q);
}

void
qmgr_waiting_call(struct qmgr_destination *d)
{
	if (d->was_dead && !d->s.dead)
		hear(d);
	if (d->is_calling || d->retired || d->s.dead || d->q->stopping || has(d) * 2 > share(d) ||
	    d->walked >= index_slots(&d->q->index))
		return;
	d->is_calling = true; /* not in the midst of what is under way */
	d->q->jobs++;
	post_to(d->q->loop, &d->call, call_run);
}

static void
probe_fired(struct timer *t)
{
	struct qmgr_destination *d = PP_CONTAINER(t, struct qmgr_destination, probe_timer);
	struct qmgr *q = d->q;
	int64_t now = loop_now(q->loop);
	bool is_name = d->s.cause == CAUSE_NAME;
	uint32_t handle;

	if (!d->s.dead || d->retired || q->stopping)
		return;
	/* For nobody, too many at once, or for a name server that was just asked: later. */
	if (index_waiting(&q->index, d->key, &handle) == 0 || q->probes >= PROBES_MAX ||
	    (is_name && now - q->name_probed < NAMES_APART_MS)) {
		timer_start(q->loop, t, d->probe_ms, probe_fired);
		return;
	}
	if (is_name)
		q->name_probed = now;
	qmgr_probe(d);
}

void
qmgr_waiting_probed(struct qmgr_destination *d)
{
	int64_t most = d->s.cause == CAUSE_NAME ? PROBE_NAME_MS : PROBE_LAST_MS;

	if (!d->s.dead || d->retired || d->q->stopping)
		return;
	d->probe_ms += d->probe_ms / 2;
	if (d->probe_ms > most)
		d->probe_ms = most;
	timer_start(d->q->loop, &d->probe_timer, d->probe_ms, probe_fired);
}

void
qmgr_waiting_died(struct qmgr_destination *d)
{
	d->was_dead = true;
	if (d->retired || d->q->stopping)
		return;
	if (d->s.cause == CAUSE_AUTH)
		qmgr_secrets_watch(d);
	if (d->s.cause != CAUSE_NAME && d->s.cause != CAUSE_CONNECT)
		return;
	if (d->s.strikes <= 1 || d->probe_ms == 0)
		d->probe_ms = PROBE_FIRST_MS;
	timer_start(d->q->loop, &d->probe_timer, d->probe_ms, probe_fired);
}

/* One name was found again: the name service is back, for all. */
static void
names_are_back(struct qmgr *q)
{
	struct qmgr_destination *d, *next;

	HASH_ITER (hh, q->destinations, d, next) {
		if (!d->s.dead || d->s.cause != CAUSE_NAME)
			continue;
		d->pins++;
		schedule_revive(&d->s, true, loop_now(q->loop));
		qmgr_waiting_call(d);
		d->pins--;
	}
}

void
qmgr_waiting_back(struct qmgr_destination *d, enum delivery_cause was)
{
	timer_stop(&d->probe_timer);
	hear(d);
	qmgr_waiting_call(d);
	if (was == CAUSE_NAME)
		names_are_back(d->q);
}
