/*
 * wanted.c - reads the details of deferred mail, which the index is to keep for listings.
 *
 * Details come from the files alone, whether a walk met them or a round has just ended, so there is
 * one way only that they can be wrong. They are read in the order they were asked for, which after
 * a walk is that of the inodes, some hundred at a time by a few threads; while one batch is
 * put into memory the next is being read. Nobody waits for them but a listing: the threads give way
 * to all others, unless there is one.
 */
#include <errno.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/crew.h"

enum {
	PIECE = 32,  /* files read by one thread in one go */
	PIECES = 24, /* of a batch */
	BATCH = PIECE * PIECES,
	GATHER_MS = 50, /* mail that is deferred together is read together */
	ROOM_FIRST = 1024,
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
	unsigned number; /* 1 .. WANTED_BATCHES */
	bool gives_way;
	size_t n;
	unsigned made; /* pieces */
	struct wanted_file file[BATCH];
};

static int
piece_make(void *ctx, unsigned piece)
{
	struct details_batch *b = ctx;

	return (size_t)b->made++ * PIECE < b->n;
}

static const char *
file_id(void *ctx, size_t i)
{
	return ((const struct wanted_file *)ctx)[i].id;
}

static void
piece_work(void *ctx, unsigned piece)
{
	struct details_batch *b = ctx;
	struct listing_reader *r = listing_reader_new(b->q->spool);
	size_t first = (size_t)piece * PIECE, n = b->n - first < PIECE ? b->n - first : PIECE;

	listing_reader_ahead_blk(r, QUEUE_DEFERRED, file_id, &b->file[first], n);
	for (size_t i = first; i < first + n; i++) {
		struct wanted_file *f = &b->file[i];

		f->rc = listing_reader_load_blk(r, QUEUE_DEFERRED, f->id, &f->arena, &f->listing);
		if (f->rc == 0 && f->listing.rcpt_count > DETAILS_RCPT_MAX) {
			f->rc = -ENOBUFS; /* a listing reads it again */
			arena_fini(&f->arena);
		}
	}
	listing_reader_free(r);
}

static int
piece_take(void *ctx, unsigned piece)
{
	return 0;
}

static void
batch_work(struct lane_job *job)
{
	struct details_batch *b = PP_CONTAINER(job, struct details_batch, job);
	struct crew crew = {.threads = crew_threads(),
	    .pieces = PIECES,
	    .make = piece_make,
	    .work = piece_work,
	    .take = piece_take,
	    .ctx = b};

	if (b->gives_way)
		lane_give_way();
	crew_run_blk(&crew);
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

		/* Otherwise gone, or wanted anew: what was read is of another round. */
		if (d && d->loading == b->number) {
			d->loading = 0;
			if (f->rc == 0)
				index_keep(&q->index, d, &f->listing);
		}
		arena_fini(&f->arena);
	}
	q->loading[b->number - 1] = false;
	mem_free(b);
	q->jobs--;
	batch_begin(q);
	qmgr_idle_check(q);
}

/* The next that is still there, or NULL. */
static struct qmgr_deferred *
next_wanted(struct qmgr *q)
{
	while (q->wanted_at < q->wanted_n) {
		struct qmgr_deferred *d = index_at(&q->index, q->wanted[q->wanted_at++]);

		if (d && d->is_wanted)
			return d;
	}
	mem_free(q->wanted);
	q->wanted = NULL;
	q->wanted_at = q->wanted_n = q->wanted_room = 0;
	return NULL;
}

static void
batch_begin(struct qmgr *q)
{
	struct details_batch *b = NULL;
	struct qmgr_deferred *d;
	unsigned number = 1;

	while (number <= WANTED_BATCHES && q->loading[number - 1])
		number++;
	if (number > WANTED_BATCHES || q->stopping)
		return;
	while ((b == NULL || b->n < BATCH) && (d = next_wanted(q)) != NULL) {
		if (b == NULL)
			b = MEM_NEW(struct details_batch);
		d->is_wanted = false;
		d->loading = number;
		snprintf(b->file[b->n++].id, SPOOL_ID_MAX, "%s", index_id(d));
	}
	if (b == NULL)
		return;
	b->q = q;
	b->number = number;
	b->gives_way = LIST_EMPTY(&q->listings);
	q->loading[number - 1] = true;
	q->jobs++;
	lane_run(q->o.background, b->gives_way ? LANE_DETAILS : LANE_LISTING, &b->job, batch_work,
	    batch_done);
}

static void
begin_all(struct qmgr *q)
{
	for (unsigned i = 0; i < WANTED_BATCHES; i++)
		batch_begin(q);
}

static void
gather_fired(struct timer *t)
{
	begin_all(PP_CONTAINER(t, struct qmgr, details_timer));
}

/* Room for one more; what has been taken from the front is given up. */
static void
make_room(struct qmgr *q)
{
	size_t n = q->wanted_n - q->wanted_at;

	if (q->wanted_n < q->wanted_room)
		return;
	if (n <= q->wanted_room / 2 && q->wanted_room > 0) {
		memmove(q->wanted, q->wanted + q->wanted_at, n * sizeof(*q->wanted));
		q->wanted_at = 0;
		q->wanted_n = n;
		return;
	}
	q->wanted_room = q->wanted_room ? q->wanted_room * 2 : ROOM_FIRST;
	q->wanted = mem_realloc(q->wanted, q->wanted_room * sizeof(*q->wanted));
}

void
qmgr_details_want(struct qmgr *q, struct qmgr_deferred *d)
{
	index_unkeep(&q->index, d);
	d->loading = 0;
	if (d->is_wanted)
		return;
	d->is_wanted = true;
	make_room(q);
	q->wanted[q->wanted_n++] = index_slot(&q->index, d);
	if (q->stopping)
		return;
	if (q->wanted_n - q->wanted_at >= BATCH)
		begin_all(q);
	else if (q->details_timer.loop == NULL && !q->loading[0] && !q->loading[1])
		timer_start(q->loop, &q->details_timer, GATHER_MS, gather_fired);
}
