/*
 * destination.c - a queue per (transport, next hop): its window, its running deliveries, its death.
 *
 * Ready destinations of a transport stand in a ring, so every one of them gets its turn whatever
 * the others hold; a dead one is in no ring and costs nothing until its timer ends.
 */
#include "internal.h"

static void
make_ready(struct qmgr_destination *d)
{
	if (d->ready || d->dead || d->paused || TAILQ_EMPTY(&d->todo) ||
	    d->busy >= (unsigned)d->window.window)
		return;
	d->ready = true;
	TAILQ_INSERT_TAIL(&d->transport->ready, d, link);
}

static void
unready(struct qmgr_destination *d)
{
	if (d->ready)
		TAILQ_REMOVE(&d->transport->ready, d, link);
	d->ready = false;
}

struct qmgr_destination *
qmgr_destination_get(struct qmgr *q, const char *transport, const char *nexthop, const char *own)
{
	struct arena scratch = {0};
	char *key = arena_printf(
	    &scratch, "%s\1%s%s%s", transport, nexthop, own ? "\1" : "", own ? own : "");
	struct qmgr_destination *d;

	HASH_FIND_STR(q->destinations, key, d);
	if (d == NULL) {
		d = MEM_NEW(struct qmgr_destination);
		d->key = mem_strdup(key);
		d->nexthop = mem_strdup(nexthop);
		d->q = q;
		d->transport = qmgr_transport_get(q, transport);
		d->transport->epoch->destinations++;
		TAILQ_INIT(&d->todo);
		schedule_window_init(&d->window, &d->transport->limits);
		d->busy_on = mem_alloc(q->o.io_count * sizeof(*d->busy_on));
		TAILQ_INSERT_TAIL(&q->every, d, all);
		HASH_ADD_KEYPTR(hh, q->destinations, d->key, strlen(d->key), d);
		/* The same one when it comes again: its idle connections may still be there. */
		d->first_loop = d->hh.hashv % q->o.io_count;
	}
	arena_fini(&scratch);
	return d;
}

void
qmgr_destination_release(struct qmgr_destination *d)
{
	struct qmgr_epoch *epoch = d->transport->epoch;

	if (d->pins > 0 || d->busy > 0 || d->dead || d->paused || !TAILQ_EMPTY(&d->todo))
		return;
	unready(d);
	timer_stop(&d->timer);
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
		qmgr_message_result(m, e->rcpt[i], why);
	}
	arena_fini(&d.arena);
	qmgr_message_entry_done(m);
}

static void
take_out(struct qmgr_entry *e)
{
	TAILQ_REMOVE(&e->dest->todo, e, link);
	e->waits = false;
}

static void
suspend_entry(struct qmgr_destination *d, struct qmgr_entry *e)
{
	struct arena a = {0};
	struct status st = status_copy(&a, &d->reason);

	st.cls = STATUS_TEMP;
	st.text = arena_printf(&a, "delivery temporarily suspended: %s", d->reason.text);
	qmgr_defer_entry(e, &st);
	arena_fini(&a);
}

void
qmgr_destination_revive(struct qmgr_destination *d)
{
	timer_stop(&d->timer);
	if (d->dead)
		schedule_window_init(&d->window, &d->transport->limits);
	d->dead = d->paused = false;
	make_ready(d);
	qmgr_dispatch(d->q, d->transport);
	qmgr_destination_release(d);
}

static void
timer_fired(struct timer *t)
{
	qmgr_destination_revive(PP_CONTAINER(t, struct qmgr_destination, timer));
}

void
qmgr_destinations_revive(struct qmgr *q)
{
	struct qmgr_destination *d, *next;

	qmgr_relays_revive(q);
	HASH_ITER (hh, q->destinations, d, next)
		if (d->dead)
			qmgr_destination_revive(d);
}

/* A whole cohort failed: nobody is tried for a while, and all who wait are told why. */
static void
die(struct qmgr_destination *d, const struct status *why)
{
	struct qmgr_entry *e;

	d->dead = true;
	unready(d);
	arena_fini(&d->arena);
	d->reason = status_copy(&d->arena, why);
	timer_start(d->q->loop, &d->timer, d->transport->dead_time, timer_fired);
	while ((e = TAILQ_FIRST(&d->todo)) != NULL) {
		take_out(e);
		suspend_entry(d, e);
	}
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
	else if (t->deferred_by_config)
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
	if (d->dead && e->message->unthrottle)
		qmgr_destination_revive(d);
	if (d->dead) {
		suspend_entry(d, e);
		return;
	}
	TAILQ_INSERT_TAIL(&d->todo, e, link);
	e->waits = true;
	make_ready(d);
}

void
qmgr_destination_remove(struct qmgr_entry *e)
{
	struct qmgr_destination *d = e->dest;

	PP_ASSERT(e->waits);
	take_out(e);
	if (TAILQ_EMPTY(&d->todo))
		unready(d);
	qmgr_destination_release(d);
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
	qmgr_relays_told(q, d);
	/* First the next mail for the same connection, then the book-keeping of this one. */
	qmgr_destination_ended(dest, d);
	qmgr_message_settled(m, e, d);
	snap_unref(d->config);
	snap_unref(d->bytes ? &d->bytes->snap : NULL);
	arena_fini(&d->arena);
	mem_free(d);
	qmgr_idle_check(q);
}

static struct delivery *
delivery_make(struct qmgr_entry *e)
{
	struct qmgr_message *m = e->message;
	struct qmgr_transport *t = e->dest->transport;
	struct delivery *d = MEM_NEW(struct delivery);

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
	d->transport = t->name;
	d->program = t->program;
	d->nexthop = e->dest->nexthop;
	d->config = &t->epoch->setup.config->snap;
	snap_ref(d->config);
	d->service = t->service;
	d->rcpt = arena_alloc(&d->arena, e->n * sizeof(*d->rcpt));
	d->rcpt_count = e->n;
	for (size_t i = 0; i < e->n; i++)
		d->rcpt[i].rcpt = *e->rcpt[i];
	d->receipt = receipt_new(m->q->o.receipts, m->id, e->rcpt, e->n);
	d->sign = receipt_sign;
	d->active_us = m->active_us;
	d->relay = "none";
	d->home = m->q->loop;
	d->done = delivery_came_home;
	d->owner = e;
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
send_out(struct qmgr_destination *dest, struct qmgr_entry *e)
{
	struct qmgr *q = dest->q;
	struct delivery *d = delivery_make(e);

	d->loop_index = pick_loop(dest);
	d->agent = dest->transport->agent->agent;
	qmgr_relays_ask(q, d);
	if (dest->transport->agent->ctx)
		d->agent_ctx = dest->transport->agent->ctx[d->loop_index];
	d->start_us = loop_wall_us();
	dest->busy++;
	dest->busy_on[d->loop_index]++;
	dest->transport->busy++;
	q->deliveries++;
	post_to(q->o.io[d->loop_index], &d->post, delivery_starts);
}

void
qmgr_dispatch(struct qmgr *q, struct qmgr_transport *t)
{
	struct qmgr_destination *d;

	while (!q->stopping && t->busy < t->busy_limit && (d = TAILQ_FIRST(&t->ready)) != NULL) {
		struct qmgr_entry *e = TAILQ_FIRST(&d->todo);

		unready(d);
		take_out(e);
		send_out(d, e);
		make_ready(d);
	}
}

void
qmgr_destination_ended(struct qmgr_destination *d, const struct delivery *done)
{
	struct qmgr_transport *t = d->transport;
	bool died = false;

	if (done->hop.cls != STATUS_NONE)
		died = !d->dead && schedule_failure(&d->window, &t->limits);
	else if (!d->dead)
		schedule_success(&d->window, &t->limits, (int)d->busy);
	d->busy--;
	t->busy--;
	d->busy_on[done->loop_index]--;
	if (died) {
		die(d, &done->hop);
	} else if (t->rate_delay > 0 && !d->dead) {
		d->paused = true;
		unready(d);
		timer_start(d->q->loop, &d->timer, t->rate_delay, timer_fired);
	}
	make_ready(d);
	qmgr_dispatch(d->q, t);
	qmgr_destination_release(d);
}
