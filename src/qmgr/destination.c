/*
 * destination.c - a destination is a transport and a next hop: what waits for it, and what is known
 * of it.
 *
 * When it may work is schedule.c's to say. One that is idle is forgotten, unless it has sent us
 * away, or knows our credentials: then it is kept for a while, so that the next mail does not begin
 * as if nothing had happened.
 */
#include <time.h>
#include "internal.h"

static struct qmgr_destination *
destination_new(struct qmgr *q, const char *transport, const char *nexthop, const char *key)
{
	struct qmgr_destination *d;

	/* Not where one is released: somebody may be on his way through all of them. */
	if (q->kept_count >= QMGR_KEPT_MAX) {
		d = TAILQ_FIRST(&q->kept);
		schedule_destination_fini(&d->s);
		qmgr_destination_free(d);
	}
	d = MEM_NEW(struct qmgr_destination);
	d->key = mem_strdup(key);
	d->nexthop = mem_strdup(nexthop);
	d->q = q;
	d->transport = qmgr_transport_get(q, transport);
	d->transport->epoch->destinations++;
	schedule_destination_init(&d->s, &d->transport->s);
	qmgr_waiting_begin(d);
	if (d->transport->s.rate.count > 0)
		d->rate =
		    rates_get(q->rates, d->key, &d->transport->s.rate, loop_monotonic_us() / 1000);
	d->s.rate = rates_rate(d->rate);
	d->busy_on = mem_alloc(q->o.io_count * sizeof(*d->busy_on));
	TAILQ_INSERT_TAIL(&q->every, d, all);
	HASH_ADD_KEYPTR(hh, q->destinations, d->key, strlen(d->key), d);
	/* The same one when it comes again: its idle connections may still be there. */
	d->first_loop = d->hh.hashv % q->o.io_count;
	d->s.known = q->known[d->hh.hashv % QMGR_KNOWN_MAX] == d->hh.hashv;
	return d;
}

static void
unkeep(struct qmgr_destination *d)
{
	if (!d->is_kept)
		return;
	d->is_kept = false;
	d->q->kept_count--;
	TAILQ_REMOVE(&d->q->kept, d, kept);
}

struct qmgr_destination *
qmgr_destination_get(struct qmgr *q, const char *transport, const char *nexthop, const char *own)
{
	struct arena scratch = {0};
	char *key = arena_printf(
	    &scratch, "%s\1%s%s%s", transport, nexthop, own ? "\1" : "", own ? own : "");
	struct qmgr_destination *d;

	HASH_FIND_STR(q->destinations, key, d);
	if (d == NULL)
		d = destination_new(q, transport, nexthop, key);
	unkeep(d);
	arena_fini(&scratch);
	return d;
}

void
qmgr_destination_free(struct qmgr_destination *d)
{
	struct qmgr_epoch *epoch = d->transport->epoch;

	unkeep(d);
	if (d->s.known)
		d->q->known[d->hh.hashv % QMGR_KNOWN_MAX] = d->hh.hashv;
	timer_stop(&d->probe_timer);
	rates_put(d->q->rates, d->rate, loop_monotonic_us() / 1000);
	TAILQ_REMOVE(&d->q->every, d, all);
	if (!d->retired)
		HASH_DEL(d->q->destinations, d);
	arena_fini(&d->arena);
	mem_free(d->key);
	mem_free(d->nexthop);
	mem_free(d->busy_on);
	mem_free(d);
	epoch->destinations--;
	qmgr_epoch_unref(epoch);
}

static bool
is_remembered(const struct qmgr_destination *d)
{
	const struct schedule_destination *s = &d->s;

	return !d->retired && (s->told_off || s->cause != CAUSE_NONE || s->probing ||
				  (s->t->careful && s->proven));
}

void
qmgr_destination_release(struct qmgr_destination *d)
{
	struct qmgr *q = d->q;

	if (d->pins > 0 || d->coming > 0 || d->is_calling || d->s.busy > 0 || d->s.dead ||
	    d->s.waiting > 0 || heap_has(&d->s.wake) || d->is_kept)
		return;
	if (!is_remembered(d)) {
		schedule_destination_fini(&d->s);
		qmgr_destination_free(d);
		return;
	}
	window_init(&d->s.window, &d->transport->s.limits); /* as if it were new */
	d->is_kept = true;
	TAILQ_INSERT_TAIL(&q->kept, d, kept);
	q->kept_count++;
}

/* For the log line and the defer log of recipients that no agent has seen. */
void
qmgr_defer_entry(struct qmgr_entry *e, const struct status *why)
{
	struct qmgr_message *m = e->message;
	int64_t now = loop_wall_us();
	struct delivery d = {
	    .arrival_us = m->envelope.arrival_us,
	    .active_us = m->active_us,
	    .start_us = now,
	    .relay = "none",
	    .transport = e->dest->transport->name,
	};

	memcpy(d.queue_id, m->id, sizeof(m->id));
	for (size_t i = 0; i < e->n; i++) {
		struct delivery_rcpt r = {.rcpt = *e->rcpt[i], .status = *why};

		delivery_log(&d, &r, "error");
		qmgr_message_result(e->slice, e->rcpt[i], why);
	}
	arena_fini(&d.arena);
	qmgr_slice_entry_over(e);
	qmgr_slice_release(e->slice);
	qmgr_message_entry_done(m);
}

const char *
qmgr_rate_reason(const struct qmgr_destination *d, struct arena *a)
{
	const struct rate_rule *rule = &d->transport->s.rate;
	int64_t now = loop_now(d->q->loop), until = d->s.until;
	char text[16] = "";
	struct tm tm;
	time_t at;

	if (d->s.until_rate == 0 || d->s.dead || until <= now)
		return NULL;
	if (until == INT64_MAX)
		return arena_printf(a, "rate limit %u/%llds of %s:%s",
		    rule->limit[d->s.until_rate - 1].n,
		    (long long)rule->limit[d->s.until_rate - 1].ms / 1000, d->transport->name,
		    d->nexthop);
	at = qmgr_now() + (until - now + 999) / 1000;
	if (localtime_r(&at, &tm))
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	return arena_printf(a, "rate limit %u/%llds of %s:%s, next at %s",
	    rule->limit[d->s.until_rate - 1].n,
	    (long long)rule->limit[d->s.until_rate - 1].ms / 1000, d->transport->name, d->nexthop,
	    text);
}

static void
suspend_entry(struct qmgr_destination *d, struct qmgr_entry *e)
{
	struct arena a = {0};
	struct status st = status_copy(&a, &d->reason);

	st.cls = STATUS_TEMP;
	st.text = arena_printf(&a, "delivery temporarily suspended: %s", d->reason.text);
	qmgr_waiting_put_off(e->message, d);
	qmgr_defer_entry(e, &st);
	arena_fini(&a);
}

/* It may be gone after it. */
static void
revive(struct qmgr_destination *d)
{
	d->pins++;
	schedule_revive(&d->s, false, loop_now(d->q->loop));
	qmgr_dispatch(d->q, d->transport);
	d->pins--;
	qmgr_destination_release(d);
}

void
qmgr_destinations_revive(struct qmgr *q)
{
	struct qmgr_destination *d, *next;

	qmgr_relays_revive(q);
	HASH_ITER (hh, q->destinations, d, next)
		if (d->s.dead || d->s.told_off)
			revive(d);
}

void
qmgr_destination_asked(struct qmgr_destination *d)
{
	if ((!d->s.dead && !d->s.told_off) || d->asked == d->q->asks)
		return;
	d->asked = d->q->asks;
	schedule_revive(&d->s, false, loop_now(d->q->loop));
}

/* A whole cohort failed: nobody is tried for a while, and all who wait are told why. */
void
qmgr_destination_dies(struct qmgr_destination *d, const struct status *why)
{
	struct schedule_entry *e;

	d->pins++;
	arena_fini(&d->arena);
	d->reason = status_copy(&d->arena, why);
	d->q->known[d->hh.hashv % QMGR_KNOWN_MAX] = 0;
	while ((e = TAILQ_FIRST(&d->s.line)) != NULL) {
		schedule_remove(e);
		suspend_entry(d, PP_CONTAINER(e, struct qmgr_entry, s));
	}
	qmgr_waiting_died(d);
	d->pins--;
}

/* Recipients that no delivery can be made for. */
static bool
refuse(struct qmgr_destination *d, struct qmgr_entry *e)
{
	struct qmgr_transport *t = d->transport;
	struct arena a = {0};
	struct status st;

	if (t->service == NULL && t->agent == NULL)
		st = status_make(&a, STATUS_TEMP, 3, 0,
		    "mail transport unavailable: master.cf has no \"%s unix\" row", t->name);
	else if (t->agent == NULL)
		st = status_make(&a, STATUS_TEMP, 3, 5,
		    "mail transport unavailable: this version of pennypost has no %s delivery%s",
		    t->service->command,
		    strcmp(t->service->command, "local") == 0
			? "; set mydestination and local_transport so that mail goes to a relay"
			: "");
	else if (t->deferred_by_config && !e->message->is_flushed)
		st = status_make(&a, STATUS_TEMP, 3, 2, "deferred transport");
	else
		return false;
	qmgr_defer_entry(e, &st);
	arena_fini(&a);
	return true;
}

void
qmgr_destination_add(struct qmgr_destination *d, struct qmgr_entry *e)
{
	if (refuse(d, e))
		return;
	if (e->message->is_asked)
		qmgr_destination_asked(d);
	if (d->s.dead) {
		suspend_entry(d, e);
		return;
	}
	qmgr_speed_began(d, loop_now(d->q->loop));
	schedule_add(&d->s, &e->s, e->s.job, loop_now(d->q->loop));
}
