/*
 * assign.c - the recipients of a message to destinations, at most a delivery's worth at a time.
 *
 * A message holds one entry more than it has while this runs: entries for dead destinations are
 * settled on the spot, and the round may only end after the last one.
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
	struct qmgr_message *message;
	struct share *shares; /* few: one per transport */
};

static struct schedule_job *
job_of(struct assignment *a, struct qmgr_transport *t)
{
	struct share *s = a->shares;

	while (s && s->transport != t)
		s = s->next;
	if (s == NULL) {
		s = ARENA_NEW(&a->message->arena, struct share);
		s->transport = t;
		s->next = a->shares;
		a->shares = s;
	}
	return &s->job;
}

static struct qmgr_entry *
entry_new(struct assignment *a, struct qmgr_destination *dest, size_t room)
{
	struct qmgr_message *m = a->message;
	struct qmgr_entry *e = ARENA_NEW(&m->arena, struct qmgr_entry);

	e->message = m;
	e->dest = dest;
	e->room = room;
	e->rcpt = arena_alloc(&m->arena, room * sizeof(struct recipient *));
	e->sibling = m->entries;
	m->entries = e;
	e->s.job = job_of(a, dest->transport);
	e->s.job->size++;
	dest->pins++;
	m->open_entries++;
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
destination_of(struct qmgr_message *m, struct arena *scratch, const struct recipient *r)
{
	struct qmgr *q = m->q;
	struct route_hop hop;

	route_resolve(q->epoch->setup.route, scratch, m->envelope.sender, r->address, &hop);
	return qmgr_destination_get(q, hop.transport, hop.nexthop,
	    qmgr_transport_get(q, hop.transport)->recipient_limit == 1 ? r->address : NULL);
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
	}
}

void
qmgr_assign(struct qmgr_message *m)
{
	struct assignment a = {.message = m};
	struct arena scratch = {0};
	struct routed *to = arena_alloc(&scratch, (m->envelope.rcpt_count + 1) * sizeof(*to));
	struct qmgr_entry *e;
	size_t n = 0;

	TAILQ_INIT(&a.made);
	m->open_entries = 1;
	for (size_t i = 0; i < m->envelope.rcpt_count; i++) {
		struct recipient *r = &m->envelope.rcpt[i];

		if (!r->done)
			to[n++] = (struct routed){destination_of(m, &scratch, r), r};
	}
	if (n > 1)
		qsort(to, n, sizeof(*to), by_destination);
	make_entries(&a, to, n);
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
	arena_fini(&scratch);
	qmgr_waiting_loaded(m);
	qmgr_message_entry_done(m);
}
