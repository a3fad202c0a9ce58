/*
 * deferred.c - the index of deferred mail: when each is due.
 *
 * A heap instead of Postfix's scan: a mail is tried in the second it is due, whatever the size of
 * the queue. The directory stays the truth; the scan corrects this index.
 */
#include "internal.h"

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
	struct heap_node *first = heap_first(&q->due);
	int64_t wait;

	if (first == NULL || q->stopping)
		return;
	wait = first->key - qmgr_now();
	timer_start(q->loop, &q->due_timer, wait > 60 ? 60000 : wait * 1000, due_fired);
}

struct qmgr_deferred *
qmgr_deferred_find(struct qmgr *q, const char *id)
{
	struct qmgr_deferred *d;

	HASH_FIND_STR(q->deferred, id, d);
	return d;
}

void
qmgr_deferred_add(struct qmgr *q, const char *id, int64_t when)
{
	struct qmgr_deferred *d = qmgr_deferred_find(q, id);

	if (d == NULL) {
		size_t n = strlen(id) + 1;

		d = mem_alloc(sizeof(*d) + n);
		memcpy(d->id, id, n);
		HASH_ADD_STR(q->deferred, id, d);
	}
	d->generation = q->generation;
	heap_put(&q->due, &d->node, when);
	if (heap_first(&q->due) == &d->node)
		arm(q);
}

void
qmgr_deferred_drop(struct qmgr *q, struct qmgr_deferred *d)
{
	heap_drop(&q->due, &d->node);
	HASH_DEL(q->deferred, d);
	mem_free(d);
}

int64_t
qmgr_deferred_when(const struct qmgr_deferred *d)
{
	return d->node.key;
}

void
qmgr_deferred_seen(struct qmgr *q, struct qmgr_deferred *d)
{
	d->generation = q->generation;
}

void
qmgr_deferred_forget_unseen(struct qmgr *q)
{
	struct qmgr_deferred *d, *next;

	HASH_ITER (hh, q->deferred, d, next)
		if (d->generation != q->generation)
			qmgr_deferred_drop(q, d);
}

unsigned
qmgr_deferred_count(const struct qmgr *q)
{
	return (unsigned)HASH_COUNT(q->deferred);
}

static bool
is_due(const struct qmgr *q)
{
	struct heap_node *first = heap_first(&q->due);

	return first && first->key <= qmgr_now();
}

bool
qmgr_has_room(const struct qmgr *q, enum queue from)
{
	unsigned limit = (unsigned)q->epoch->params->qmgr_message_active_limit;
	unsigned retried = q->retried_count, fresh = q->active_count - retried;

	if (q->active_count >= limit)
		return false;
	if (from == QUEUE_DEFERRED) /* a walk under way is about to let new mail in */
		return !(q->incoming_waits || q->scanning) || retried < limit / 2;
	return !is_due(q) || fresh < limit - limit / 2;
}

void
qmgr_deferred_due(struct qmgr *q)
{
	int64_t now = qmgr_now();
	struct heap_node *first;

	if (q->stopping)
		return;
	while ((first = heap_first(&q->due)) != NULL && first->key <= now) {
		struct qmgr_deferred *d = PP_CONTAINER(first, struct qmgr_deferred, node);

		/* Full: what waits is tried when a place becomes free (qmgr_message_free). */
		if (!qmgr_has_room(q, QUEUE_DEFERRED))
			return;
		qmgr_message_load(q, d->id, QUEUE_DEFERRED, NULL);
		qmgr_deferred_drop(q, d);
	}
	arm(q);
}

void
qmgr_deferred_flush(struct qmgr *q)
{
	int64_t now = qmgr_now();

	/* Equal keys keep any heap in order, so no sifting is needed. */
	for (size_t i = 0; i < q->due.n; i++)
		if (q->due.a[i]->key > now)
			q->due.a[i]->key = now;
	qmgr_deferred_due(q);
}

void
qmgr_deferred_fini(struct qmgr *q)
{
	struct qmgr_deferred *d, *next;

	timer_stop(&q->due_timer);
	HASH_ITER (hh, q->deferred, d, next)
		qmgr_deferred_drop(q, d);
	heap_fini(&q->due);
}
