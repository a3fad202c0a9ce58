/*
 * assign.c - the recipients of a message to destinations, at most a delivery's worth at a time.
 *
 * Where a table has to be read for it, the ways of all recipients are found by one job on the slow
 * lane; the message is made a file meanwhile, or is taken away, as when its mail was on the way. It
 * holds one entry more than it has until all are made: entries for dead destinations are settled on
 * the spot, and the round may only end after the last one.
 */
#include "internal.h"

/* What a transport has of the message. */
struct share {
	struct share *next;
	struct qmgr_transport *transport;
	struct schedule_job job;
};

struct assignment {
	struct qmgr_entry_list made;
	struct qmgr_slice *slice;
	struct share *shares; /* few: one per transport */
};

static struct schedule_job *
job_of(struct assignment *a, struct qmgr_transport *t)
{
	struct share *s = a->shares;

	while (s && s->transport != t)
		s = s->next;
	if (s == NULL) {
		s = ARENA_NEW(&a->slice->arena, struct share);
		s->transport = t;
		s->next = a->shares;
		a->shares = s;
	}
	return &s->job;
}

static struct qmgr_entry *
entry_new(struct assignment *a, struct qmgr_destination *dest, size_t room)
{
	struct qmgr_slice *s = a->slice;
	struct qmgr_entry *e = ARENA_NEW(&s->arena, struct qmgr_entry);

	e->message = s->m;
	e->slice = s;
	e->dest = dest;
	e->room = room;
	e->rcpt = arena_alloc(&s->arena, room * sizeof(struct recipient *));
	e->sibling = s->entries;
	s->entries = e;
	s->held++;
	e->s.job = job_of(a, dest->transport);
	e->s.job->size++;
	dest->pins++;
	s->m->open_entries++;
	TAILQ_INSERT_TAIL(&a->made, e, link);
	return e;
}

static int
by_destination(const void *a, const void *b)
{
	const struct qmgr_destination *const *x = a, *const *y = b;

	return *x < *y ? -1 : *x > *y;
}

struct routed {
	struct qmgr_destination *dest; /* first: by_destination */
	struct recipient *rcpt;
};

/* With a recipient limit of one each recipient is a destination of its own (local delivery). */
static struct qmgr_destination *
destination_of(struct qmgr *q, const struct route_hop *hop, const struct recipient *r)
{
	return qmgr_destination_get(q, hop->transport, hop->nexthop,
	    qmgr_transport_get(q, hop->transport)->recipient_limit == 1 ? r->address : NULL);
}

static void
make_entries(struct assignment *a, const struct routed *to, size_t n)
{
	struct qmgr_entry *e = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t limit = to[i].dest->transport->recipient_limit;
		size_t left = n - i;

		if (e == NULL || e->dest != to[i].dest || e->n == e->room)
			e = entry_new(a, to[i].dest, limit > 0 && limit < left ? limit : left);
		e->rcpt[e->n++] = to[i].rcpt;
		e->dest->transport->in_memory++;
	}
}

/* Which transport has no room for more of this message's recipients? */
static const char *
full_transport(const struct assignment *a)
{
	const struct qmgr_message *m = a->slice->m;

	for (const struct share *s = a->shares; m->rest_of.left > 0 && s != NULL; s = s->next)
		if (s->transport->in_memory >= s->transport->memory_limit)
			return arena_strdup(&a->slice->m->arena, s->transport->name);
	return NULL;
}

/* The recipients that are left, and the way of each. */
struct routing {
	struct lane_job job;
	struct qmgr_slice *slice;
	struct route *route;
	struct arena arena;
	const char *sender;
	struct recipient **rcpt;
	const char **address;
	struct route_hop *hop;
	size_t n;
};

static void
assign(struct routing *x)
{
	struct qmgr_message *m = x->slice->m;
	struct assignment a = {.slice = x->slice};
	struct routed *to = arena_alloc(&x->arena, (x->n + 1) * sizeof(*to));
	struct qmgr_entry *e;

	TAILQ_INIT(&a.made);
	for (size_t i = 0; i < x->n; i++)
		to[i] = (struct routed){destination_of(m->q, &x->hop[i], x->rcpt[i]), x->rcpt[i]};
	if (x->n > 1)
		qsort(to, x->n, sizeof(*to), by_destination);
	make_entries(&a, to, x->n);
	m->full = full_transport(&a);
	while ((e = TAILQ_FIRST(&a.made)) != NULL) {
		struct qmgr_destination *d = e->dest;
		struct qmgr_transport *t = d->transport;
		struct qmgr *q = m->q;

		TAILQ_REMOVE(&a.made, e, link);
		qmgr_destination_add(d, e);
		qmgr_dispatch(q, t);
		d->pins--;
		qmgr_destination_release(d);
	}
	qmgr_waiting_loaded(m);
}

/* Slow lane, or here when no table has to be read. */
static void
find_ways_blk(struct routing *x)
{
	for (size_t i = 0; i < x->n; i++)
		route_resolve_blk(x->route, &x->arena, x->sender, x->address[i], &x->hop[i]);
}

static void
routing_work(struct lane_job *job)
{
	find_ways_blk(PP_CONTAINER(job, struct routing, job));
}

/* The message may be gone after it. */
static void
assigned(struct qmgr_slice *s)
{
	struct qmgr_message *m = s->m;

	qmgr_slice_release(s);
	qmgr_message_entry_done(m);
}

static void
routing_done(struct lane_job *job)
{
	struct routing *x = PP_CONTAINER(job, struct routing, job);
	struct qmgr_message *m = x->slice->m;
	struct qmgr *q = m->q;

	q->jobs--;
	if (!qmgr_super_loaded(x->slice)) /* ordered meanwhile: nothing is begun */
		assign(x);
	assigned(x->slice);
	route_unref(x->route);
	arena_fini(&x->arena);
	mem_free(x);
	qmgr_idle_check(q);
}

static void
gather(struct routing *x, struct qmgr_slice *s)
{
	struct qmgr_message *m = s->m;
	size_t room = s->n + 1;

	x->slice = s;
	x->route = m->q->epoch->setup.route;
	x->sender = m->envelope.sender;
	x->rcpt = arena_alloc(&x->arena, room * sizeof(struct recipient *));
	x->address = arena_alloc(&x->arena, room * sizeof(const char *));
	x->hop = arena_alloc(&x->arena, room * sizeof(*x->hop));
	for (size_t i = 0; i < s->n; i++) {
		struct recipient *r = &s->rcpt[i];

		if (r->done)
			continue;
		x->rcpt[x->n] = r;
		x->address[x->n++] = r->address;
	}
}

void
qmgr_assign(struct qmgr_slice *s)
{
	struct qmgr *q = s->m->q;

	if (route_is_static(q->epoch->setup.route)) {
		struct routing x = {0};

		gather(&x, s);
		find_ways_blk(&x);
		assign(&x);
		arena_fini(&x.arena);
		assigned(s);
		return;
	}
	struct routing *x = MEM_NEW(struct routing);

	gather(x, s);
	route_ref(x->route);
	q->jobs++;
	lane_run(q->o.slow, route_lane_key(x->route), &x->job, routing_work, routing_done);
}
