/*
 * deferred.c - the deferred mail: when each is due, and its details for those who ask.
 *
 * A heap instead of Postfix's scan: a mail is tried in the second it is due, whatever the size of
 * the queue. The directory stays the truth; the scan corrects this index, and details come from
 * the files alone, whether a walk met them or a round has just ended, so there is one way only that
 * they can be wrong. They are read in the background, a batch at a time: nothing waits for them.
 */
#include <errno.h>
#include "internal.h"
#include "pp/base/mem.h"

enum {
	MODE_EXPIRED = 0010,
	BATCH = 64,     /* files read in one go */
	GATHER_MS = 50, /* mail that is deferred together is read together */
	WANTED_FIRST = 1024,
};

struct wanted_file {
	struct listing listing;
	struct arena arena;
	int rc;
	char id[SPOOL_ID_MAX];
};

struct details_batch {
	struct lane_job job;
	struct qmgr *q;
	size_t n;
	struct wanted_file file[BATCH];
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

static void
batch_work(struct lane_job *job)
{
	struct details_batch *b = PP_CONTAINER(job, struct details_batch, job);

	struct listing_reader *r = listing_reader_new(b->q->spool);

	lane_give_way();
	for (size_t i = 0; i < b->n; i++) {
		struct wanted_file *f = &b->file[i];

		f->rc = listing_reader_load_blk(r, QUEUE_DEFERRED, f->id, &f->arena, &f->listing);
		if (f->rc == 0 && f->listing.rcpt_count > DETAILS_RCPT_MAX) {
			f->rc = -ENOBUFS; /* a listing reads it again */
			arena_fini(&f->arena);
		}
	}
	listing_reader_free(r);
}

static void batch_begin(struct qmgr *q);

static void
batch_done(struct lane_job *job)
{
	struct details_batch *b = PP_CONTAINER(job, struct details_batch, job);
	struct qmgr *q = b->q;

	for (size_t i = 0; i < b->n; i++) {
		struct wanted_file *f = &b->file[i];
		struct qmgr_deferred *d = qmgr_deferred_find(q, f->id);

		/* Otherwise gone, or here anew: what was read is of another round. */
		if (d && d->is_loading) {
			d->is_loading = false;
			if (f->rc == 0)
				index_keep(&q->index, d, &f->listing);
		}
		arena_fini(&f->arena);
	}
	mem_free(b);
	q->jobs--;
	q->is_loading = false;
	batch_begin(q);
	qmgr_idle_check(q);
}

static void
batch_begin(struct qmgr *q)
{
	struct details_batch *b = NULL;

	if (q->is_loading || q->stopping)
		return;
	while (q->wanted_n > 0 && (b == NULL || b->n < BATCH)) {
		struct qmgr_deferred *d = index_at(&q->index, q->wanted[--q->wanted_n]);

		if (d == NULL || !d->is_wanted)
			continue;
		if (b == NULL)
			b = MEM_NEW(struct details_batch);
		d->is_wanted = false;
		d->is_loading = true;
		snprintf(b->file[b->n++].id, SPOOL_ID_MAX, "%s", index_id(d));
	}
	if (q->wanted_n == 0) {
		mem_free(q->wanted);
		q->wanted = NULL;
		q->wanted_room = 0;
	}
	if (b == NULL)
		return;
	b->q = q;
	q->is_loading = true;
	q->jobs++;
	lane_run(q->o.background, LANE_DETAILS, &b->job, batch_work, batch_done);
}

size_t
qmgr_deferred_missing(const struct qmgr *q)
{
	return q->wanted_n;
}

static void
gather_fired(struct timer *t)
{
	batch_begin(PP_CONTAINER(t, struct qmgr, details_timer));
}

static void
want(struct qmgr *q, struct qmgr_deferred *d)
{
	index_unkeep(&q->index, d);
	d->is_loading = false;
	if (d->is_wanted)
		return;
	d->is_wanted = true;
	if (q->wanted_n == q->wanted_room) {
		q->wanted_room = q->wanted_room ? q->wanted_room * 2 : WANTED_FIRST;
		q->wanted = mem_realloc(q->wanted, q->wanted_room * sizeof(*q->wanted));
	}
	q->wanted[q->wanted_n++] = index_slot(&q->index, d);
	if (!q->is_loading && !q->stopping && q->details_timer.loop == NULL)
		timer_start(q->loop, &q->details_timer, GATHER_MS, gather_fired);
}

struct qmgr_deferred *
qmgr_deferred_find(struct qmgr *q, const char *id)
{
	return index_find(&q->index, id);
}

void
qmgr_deferred_add(struct qmgr *q, const char *id, int64_t when)
{
	struct qmgr_deferred *d = qmgr_deferred_find(q, id);

	if (d == NULL)
		d = index_add(&q->index, id, when);
	else
		index_move(&q->index, d, when);
	d->generation = q->generation & 0xff;
	want(q, d);
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
		want(q, d);
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

	if (d->when > now)
		index_move(&q->index, d, now);
	if (index_first(&q->index) == d)
		arm(q);
}

void
qmgr_deferred_forget_unseen(struct qmgr *q)
{
	for (uint32_t i = 0; i < index_slots(&q->index); i++) {
		struct qmgr_deferred *d = index_at(&q->index, i);

		if (d == NULL || d->generation == (q->generation & 0xff))
			continue;
		qmgr_gone(q, index_id(d));
		qmgr_deferred_drop(q, d);
	}
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
	struct qmgr_deferred *d;

	if (q->stopping)
		return;
	while ((d = index_first(&q->index)) != NULL && d->when <= now) {
		/* Full: what waits is tried when a place becomes free (qmgr_message_free). */
		if (!qmgr_has_room(q, QUEUE_DEFERRED))
			return;
		qmgr_message_load(q, index_id(d), QUEUE_DEFERRED, NULL);
		qmgr_deferred_drop(q, d);
	}
	arm(q);
}

void
qmgr_deferred_flush(struct qmgr *q)
{
	index_all_due(&q->index, qmgr_now());
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
