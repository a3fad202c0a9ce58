/*
 * aside.c - a full active queue, and the destination that fills it.
 *
 * The active queue holds so many messages and no more. A host that takes connections and then says
 * nothing, or one with a rate, would soon have all its places, and mail for others would wait for
 * minutes behind it. So when there is no place left, the slow destination with the most mail gives
 * some back: its youngest go to deferred, with the reason, and are called from there as it gets
 * through with the rest (waiting.c). One that is merely busy keeps what it has.
 */
#include "internal.h"

enum {
	APART_MS = 200,
	AT_ONCE = 2000,
	NEW_MS = 3000, /* before that nobody knows how fast it is */
	PERIOD_MS = 10000,
	SLOW_PERIODS = 6, /* what waits takes longer than this */
	LEAST_PART = 16,  /* of the active queue: so many it may keep, however slow */
};

void
qmgr_speed_began(struct qmgr_destination *d, int64_t now)
{
	if (d->s.waiting + d->s.busy > 0)
		return;
	d->speed = (struct qmgr_speed){.since = now, .began = now};
}

void
qmgr_speed_ended(struct qmgr_destination *d, bool sent, int64_t now)
{
	struct qmgr_speed *v = &d->speed;

	if (now - v->since >= PERIOD_MS) {
		v->before = now - v->since < 2 * PERIOD_MS ? v->n : 0;
		v->n = 0;
		v->since = now;
	}
	v->n += sent;
}

bool
qmgr_is_slow(const struct qmgr_destination *d, int64_t now)
{
	const struct qmgr_speed *v = &d->speed;
	unsigned n = v->n > v->before ? v->n : v->before;

	if (now - v->since >= 2 * PERIOD_MS)
		n = 0;
	return d->s.until_rate > 0 || (now - v->began >= NEW_MS && d->s.waiting > SLOW_PERIODS * n);
}

static struct qmgr_destination *
slowest(struct qmgr *q, unsigned least, int64_t now)
{
	struct qmgr_destination *d, *most = NULL;

	TAILQ_FOREACH (d, &q->every, all)
		if (d->s.waiting > least && (most == NULL || d->s.waiting > most->s.waiting) &&
		    qmgr_is_slow(d, now))
			most = d;
	return most;
}

static void
put_aside(struct qmgr_destination *d, unsigned n)
{
	struct arena a = {0};
	const char *rate = qmgr_rate_reason(d, &a);
	struct status st = status_make(&a, STATUS_TEMP, 4, 5, "%s",
	    rate ? rate
		 : arena_printf(&a, "%u messages wait for %s, which is slow: this one comes later",
		       d->s.waiting, d->nexthop));

	while (n-- > 0 && d->s.waiting > 0) {
		struct qmgr_entry *e =
		    PP_CONTAINER(TAILQ_LAST(&d->s.line, schedule_line), struct qmgr_entry, s);

		schedule_remove(&e->s);
		qmgr_waiting_put_off(e->message, d);
		e->message->put_off = 0; /* it has not failed: no news is needed */
		qmgr_defer_entry(e, &st);
	}
	arena_fini(&a);
}

static void
run(struct post *p)
{
	struct qmgr *q = PP_CONTAINER(p, struct qmgr, aside_post);
	unsigned least = (unsigned)q->epoch->params->qmgr_message_active_limit / LEAST_PART;
	struct qmgr_destination *d;

	q->is_aside_posted = false;
	if (q->stopping || (d = slowest(q, least, loop_now(q->loop))) == NULL)
		return;
	d->pins++;
	put_aside(d, d->s.waiting - least < AT_ONCE ? d->s.waiting - least : AT_ONCE);
	d->walked = 0;
	d->pins--;
	qmgr_destination_release(d);
}

static void
later(struct timer *t)
{
	struct qmgr *q = PP_CONTAINER(t, struct qmgr, aside_timer);

	if (q->incoming_waits || !qmgr_has_room(q, QUEUE_DEFERRED))
		qmgr_make_room(q);
}

void
qmgr_make_room(struct qmgr *q)
{
	if (q->is_aside_posted || q->stopping || q->aside_timer.loop)
		return;
	q->is_aside_posted = true;
	post_to(q->loop, &q->aside_post, run); /* not in the midst of what is under way */
	timer_start(q->loop, &q->aside_timer, APART_MS, later);
}

void
qmgr_incoming_waits(struct qmgr *q)
{
	q->incoming_waits = true;
	qmgr_make_room(q);
}
