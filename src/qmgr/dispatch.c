/*
 * dispatch.c - deliveries begin and come home.
 *
 * Who is next is decided by schedule.c; here it becomes a request to an agent on one of the io
 * loops, and what comes back becomes feedback, book-keeping and the next request.
 */
#include "internal.h"

static void
delivery_end(struct delivery *d)
{
	snap_unref(d->config);
	snap_unref(d->bytes ? &d->bytes->snap : NULL);
	arena_fini(&d->arena);
	mem_free(d);
}

/* As Postfix logs it with destination_concurrency_feedback_debug. */
static void
log_window(const struct qmgr_destination *d, bool failed)
{
	const struct window *w = &d->s.window;

	if (d->q->epoch->params->destination_concurrency_feedback_debug)
		log_info("qmgr",
		    "qmgr_queue_%s: queue %s: limit %d window %d success %g failure %g "
		    "fail_cohorts %g",
		    failed ? "throttle" : "unthrottle", d->nexthop, d->transport->s.limits.limit,
		    d->s.dead ? 0 : w->window, w->success, w->failure, w->fail_cohorts);
}

static bool
has_sent(const struct delivery *d)
{
	for (size_t i = 0; i < d->rcpt_count; i++)
		if (d->rcpt[i].status.cls == STATUS_OK)
			return true;
	return false;
}

static void
ended(struct qmgr_destination *d, const struct delivery *done, bool is_probe)
{
	const struct schedule_outcome o = {.failed = done->hop.cls != STATUS_NONE,
	    .sent = is_probe ? done->hop.cls == STATUS_NONE : has_sent(done),
	    .cause = done->cause};
	int64_t end = loop_monotonic_us() / 1000 + 1; /* not before the receiver saw it */
	enum delivery_cause was = d->s.cause;
	enum schedule_verdict v;

	d->busy_on[done->loop_index]--;
	d->tried_us = done->start_us;
	rates_ended(d->q->rates, d->rate, end);
	qmgr_speed_ended(d, o.sent, loop_now(d->q->loop));
	v = schedule_ended(&d->s, &o, loop_now(d->q->loop), end);
	log_window(d, o.failed);
	if (o.failed && o.cause == CAUSE_OWN)
		log_warn("qmgr", "transport %s: nothing is sent for %lld s: %s", d->transport->name,
		    (long long)d->transport->s.retry_time / 1000, done->hop.text);
	if (v == SCHEDULE_DIED)
		qmgr_destination_dies(
		    d, o.failed || done->rcpt_count == 0 ? &done->hop : &done->rcpt[0].status);
	else if (v == SCHEDULE_BACK)
		qmgr_waiting_back(d, was);
	else
		qmgr_waiting_call(d);
	qmgr_dispatch(d->q, d->transport);
}

static void
delivery_came_home(struct delivery *d)
{
	struct qmgr_entry *e = d->owner;
	struct qmgr_message *m = e->message;
	struct qmgr_destination *dest = e->dest;
	struct qmgr *q = m->q;

	PP_ON(q->loop);
	q->deliveries--;
	dest->pins++;
	qmgr_relays_told(q, d);
	/* Put off by what its destination is, it is tried when that is over. */
	if (d->hop.cls != STATUS_NONE && d->cause != CAUSE_OWN)
		qmgr_waiting_put_off(m, dest);
	/* First the next mail for the same connection, then the book-keeping of this one. */
	ended(dest, d, false);
	qmgr_message_settled(m, e, d);
	delivery_end(d);
	dest->pins--;
	qmgr_destination_release(dest);
	qmgr_idle_check(q);
}

static struct delivery *
delivery_new(struct qmgr_destination *dest, void (*done)(struct delivery *d), void *owner)
{
	struct qmgr_transport *t = dest->transport;
	struct delivery *d = MEM_NEW(struct delivery);

	d->transport = t->name;
	d->program = t->program;
	d->nexthop = dest->nexthop;
	d->config = &t->epoch->setup.config->snap;
	snap_ref(d->config);
	d->service = t->service;
	d->filter = t->filter;
	d->slow = dest->q->o.slow;
	d->relay = "none";
	d->home = dest->q->loop;
	d->done = done;
	d->owner = owner;
	return d;
}

static struct delivery *
delivery_make(struct qmgr_entry *e)
{
	struct qmgr_message *m = e->message;
	struct delivery *d = delivery_new(e->dest, delivery_came_home, e);

	memcpy(d->queue_id, m->id, sizeof(m->id));
	d->sender = m->envelope.sender;
	d->envid = m->envelope.envid;
	d->ret = m->envelope.ret;
	d->encoding = m->envelope.encoding;
	d->utf8 = m->envelope.utf8;
	d->arrival_us = m->envelope.arrival_us;
	d->create_time = m->envelope.create_time;
	d->data_offset = m->envelope.data_offset;
	d->data_size = m->envelope.data_size;
	d->content_length = m->envelope.content_length;
	d->bytes = m->bytes;
	if (d->bytes)
		snap_ref(&d->bytes->snap);
	d->rcpt = arena_alloc(&d->arena, e->n * sizeof(*d->rcpt));
	d->rcpt_count = e->n;
	for (size_t i = 0; i < e->n; i++)
		d->rcpt[i].rcpt = *e->rcpt[i];
	d->receipt = receipt_new(m->q->o.receipts, m->id, e->rcpt, e->n);
	d->sign = receipt_sign;
	d->active_us = m->active_us;
	return d;
}

static void
delivery_starts(struct post *p)
{
	struct delivery *d = PP_CONTAINER(p, struct delivery, post);

	d->agent->deliver(d->agent_ctx, d); /* on the io loop now */
}

/* The loop with the least of this destination's work. Idle connections belong to a loop: always
 * filling the loops in the same order keeps each loop's number of connections where it was, so the
 * other side sees no more of them than deliveries may run. */
static unsigned
pick_loop(const struct qmgr_destination *d)
{
	unsigned n = d->q->o.io_count, best = d->first_loop;

	for (unsigned i = 1; i < n; i++) {
		unsigned at = (d->first_loop + i) % n;

		if (d->busy_on[at] < d->busy_on[best])
			best = at;
	}
	return best;
}

static void
hand_out(struct qmgr_destination *dest, struct delivery *d)
{
	struct qmgr *q = dest->q;

	d->loop_index = pick_loop(dest);
	d->agent = dest->transport->agent->agent;
	qmgr_relays_ask(q, d);
	if (dest->transport->agent->ctx)
		d->agent_ctx = dest->transport->agent->ctx[d->loop_index];
	d->start_us = loop_wall_us();
	dest->busy_on[d->loop_index]++;
	q->deliveries++;
	rates_began(q->rates, dest->rate, loop_monotonic_us() / 1000);
	post_to(q->o.io[d->loop_index], &d->post, delivery_starts);
}

void
qmgr_dispatch(struct qmgr *q, struct qmgr_transport *t)
{
	int64_t now = loop_now(q->loop), wait;
	struct schedule_entry *e;

	if (q->stopping)
		return;
	schedule_wake(&t->s, now);
	while ((e = schedule_next(&t->s, now)) != NULL) {
		struct qmgr_entry *qe = PP_CONTAINER(e, struct qmgr_entry, s);

		hand_out(qe->dest, delivery_make(qe));
	}
	wait = schedule_wake(&t->s, now);
	if (wait < INT64_MAX)
		timer_start(q->loop, &t->timer, wait, qmgr_transport_fired);
	else
		timer_stop(&t->timer);
}

static void
probe_came_home(struct delivery *d)
{
	struct qmgr_destination *dest = d->owner;
	struct qmgr *q = dest->q;

	PP_ON(q->loop);
	q->deliveries--;
	q->probes--;
	dest->is_probed = false;
	qmgr_relays_told(q, d);
	ended(dest, d, true);
	delivery_end(d);
	qmgr_waiting_probed(dest);
	dest->pins--;
	qmgr_destination_release(dest);
	qmgr_idle_check(q);
}

void
qmgr_probe(struct qmgr_destination *dest)
{
	struct delivery *d = delivery_new(dest, probe_came_home, dest);

	snprintf(d->queue_id, sizeof(d->queue_id), "NOQUEUE");
	d->sender = "";
	d->envid = "";
	d->arrival_us = d->active_us = loop_wall_us();
	d->create_time = qmgr_now();
	dest->is_probed = true;
	dest->pins++;
	dest->q->probes++;
	schedule_probe(&dest->s);
	hand_out(dest, d);
}
