/*
 * listing.c - a listing of the whole queue, piece by piece, as fast as its reader takes it.
 *
 * Deferred mail, which is what there are many of, comes from memory in slices of a fraction of a
 * millisecond; the queue manager does its work between two of them. What is not in memory is read
 * by jobs on the background lane, a piece's worth each, so neither a slow disk nor a slow client
 * holds anything up. Whoever asks owns the object; the queue manager uses it from the first post to
 * the last, and only then it is freed.
 */
#include "listing.h"
#include "pp/base/mem.h"

enum {
	MESSAGE_MAX = 512 * 1024 * 1024, /* of one message: what the protocol's reader takes */
	AHEAD = 2,                       /* pieces on their way to the client */
	ORDER_WAIT = 5,                  /* ms */
	DETAILS_WAIT = 3,
	LOAD_WAIT = 2,
	LOOKS_WAIT = 2,
};

struct listing_piece {
	struct post post;
	struct qmgr_listing *l;
	struct buf bytes;
	bool last;
};

static void run(struct qmgr_listing *l);

static void
piece_arrived(struct post *p)
{
	struct listing_piece *piece = PP_CONTAINER(p, struct listing_piece, post);

	if (!piece->l->closed)
		piece->l->piece(piece->l->ctx, &piece->bytes, piece->last);
	buf_fini(&piece->bytes);
	mem_free(piece);
}

static void
send_piece(struct qmgr_listing *l, bool last)
{
	struct listing_piece *piece = MEM_NEW(struct listing_piece);
	struct str s = buf_str(&l->out);

	piece->l = l;
	if (s.n > LISTING_PIECE) {
		/* A message of very many recipients. */
		buf_init(&piece->bytes, LISTING_PIECE);
		buf_add(&piece->bytes, str_head(s, LISTING_PIECE));
		buf_consume(&l->out, LISTING_PIECE);
	} else {
		piece->bytes = l->out;
		buf_init(&l->out, MESSAGE_MAX);
		piece->last = l->finished = last;
	}
	l->wanted--;
	post_to(l->home, &piece->post, piece_arrived);
}

static void
freed(struct post *p)
{
	mem_free(PP_CONTAINER(p, struct qmgr_listing, post));
}

/* Its owner has let go. A job or a slice that is on its way comes here when it is over. */
static void
end(struct qmgr_listing *l)
{
	if (l->working || l->sliced)
		return;
	LIST_REMOVE(l, link);
	timer_stop(&l->timer);
	listing_walk_free(l->walk);
	listing_reader_free(l->reader);
	note_forget_all(&l->seen);
	note_forget_all(&l->rated);
	note_forget_all(&l->moved);
	arena_fini(&l->rated_arena);
	buf_fini(&l->out);
	post_to(l->home, &l->post, freed); /* behind the pieces */
}

static void
slice_run(struct post *p)
{
	struct qmgr_listing *l = PP_CONTAINER(p, struct qmgr_listing, post);

	l->sliced = false;
	if (l->ended)
		end(l);
	else
		run(l);
}

static void
slice_later(struct qmgr_listing *l)
{
	if (l->sliced)
		return;
	l->sliced = true;
	post_to(l->q->loop, &l->post, slice_run);
}

/* Deferred mail that became active before it could be read. */
static void
find_lost(struct qmgr_listing *l)
{
	struct note *n;

	while (l->lost > 0 && *l->queue == QUEUE_DEFERRED)
		if ((n = note_add(&l->moved, l->lost_id[--l->lost].id)) != NULL)
			n->is_shown = false;
	l->lost = 0;
}

static void
read_done(struct lane_job *job)
{
	struct qmgr_listing *l = PP_CONTAINER(job, struct qmgr_listing, job);
	struct qmgr *q = l->q;

	l->working = false;
	q->jobs--;
	find_lost(l);
	if (*l->queue != QUEUE_COUNT && (*l->queue != QUEUE_DEFERRED || l->from_files) &&
	    l->walk == NULL) {
		l->from_files = false;
		if (*l->queue == QUEUE_ACTIVE)
			listing_put_young(l);
		l->queue++;
	}
	if (l->ended)
		end(l);
	else
		run(l);
	qmgr_idle_check(q);
}

static void
read_begin(struct qmgr_listing *l)
{
	l->working = true;
	if (l->walk == NULL) {
		l->walk_began = loop_now(l->q->loop);
		if (*l->queue == QUEUE_ACTIVE)
			listing_find_rated(l);
	}
	l->q->jobs++;
	lane_run(l->q->o.background, LANE_LISTING, &l->job, listing_read_work, read_done);
}

static void
waited(struct timer *t)
{
	run(PP_CONTAINER(t, struct qmgr_listing, timer));
}

static void
go_on_memory(struct qmgr_listing *l)
{
	enum listing_found found = l->ids < LISTING_FILES ? listing_memory(l) : LISTING_MORE;

	if (l->ids == LISTING_FILES || (found != LISTING_MORE && l->ids > 0)) {
		read_begin(l);
	} else if (found == LISTING_WAIT) {
		timer_start(l->q->loop, &l->timer, DETAILS_WAIT, waited);
	} else {
		if (found == LISTING_END)
			l->queue++;
		slice_later(l);
	}
}

/* The last piece, when nothing is left to look for. */
static void
go_on_moved(struct qmgr_listing *l)
{
	enum listing_found found = listing_moved(l);

	if (l->ids > 0) {
		read_begin(l);
	} else if (found == LISTING_WAIT) {
		timer_start(l->q->loop, &l->timer, LOAD_WAIT, waited);
	} else if (found == LISTING_MORE) {
		slice_later(l);
	} else {
		listing_encode_end(&l->out);
		send_piece(l, true);
	}
}

/* Goes on with the queue it is at. */
static void
go_on(struct qmgr_listing *l)
{
	struct qmgr *q = l->q;

	/* While files are moved to where they belong one may be missed, and so may one that is due
	 * before memory knows it, or is in the journal of the last run. */
	if (!q->is_in_order || !q->has_scanned || q->o.kept) {
		timer_start(q->loop, &l->timer, ORDER_WAIT, waited);
		return;
	}
	/* A command has moved much: the directories know it all already. */
	if (*l->queue == QUEUE_DEFERRED && l->slot == 0 && l->ids == 0 && !l->from_files &&
	    !qmgr_deferred_complete(q))
		l->from_files = true;
	if (*l->queue != QUEUE_DEFERRED || l->from_files)
		read_begin(l);
	else
		go_on_memory(l);
}

static void
run(struct qmgr_listing *l)
{
	if (l->finished || l->ended || l->working || l->wanted == 0)
		return;
	if (buf_str(&l->out).n >= LISTING_PIECE_FULL) {
		send_piece(l, false);
		slice_later(l);
	} else if (l->q->stopping) {
		send_piece(l, true);
	} else if (*l->queue == QUEUE_COUNT) {
		go_on_moved(l);
	} else {
		go_on(l);
	}
}

void
qmgr_listings_stop(struct qmgr *q)
{
	struct qmgr_listing *l;

	LIST_FOREACH (l, &q->listings, link) {
		timer_stop(&l->timer);
		run(l);
	}
}

static void
looked(struct qmgr_listing *l)
{
	l->waited = 0;
	run(l);
}

/* Who has just removed a file by hand does not want to see it: what was done before the question
 * is known before the answer. */
static void
looks_awaited(struct timer *t)
{
	struct qmgr_listing *l = PP_CONTAINER(t, struct qmgr_listing, timer);

	if (qmgr_hand_looks(l->q) && l->waited++ < LISTING_WAITS_MAX)
		timer_start(l->q->loop, &l->timer, LOOKS_WAIT, looks_awaited);
	else
		looked(l);
}

static void
begin_run(struct post *p)
{
	struct qmgr_listing *l = PP_CONTAINER(p, struct qmgr_listing, post);

	LIST_INSERT_HEAD(&l->q->listings, l, link);
	listing_encode_begin(&l->out);
	qmgr_hand_catch_up(l->q);
	looks_awaited(&l->timer);
}

struct qmgr_listing *
qmgr_listing_new(struct qmgr *q, bool extended,
    void (*piece)(void *ctx, struct buf *bytes, bool last), void *ctx)
{
	struct qmgr_listing *l = MEM_NEW(struct qmgr_listing);

	l->q = q;
	l->home = loop_current();
	l->extended = extended;
	l->piece = piece;
	l->ctx = ctx;
	l->wanted = AHEAD;
	l->queue = listing_queues;
	buf_init(&l->out, MESSAGE_MAX);
	post_to(q->loop, &l->post, begin_run);
	return l;
}

struct listing_order {
	struct post post;
	struct qmgr_listing *l;
};

static void
order(struct qmgr_listing *l, void (*order_run)(struct post *))
{
	struct listing_order *o = MEM_NEW(struct listing_order);

	PP_ON(l->home);
	o->l = l;
	post_to(l->q->loop, &o->post, order_run);
}

static void
more_run(struct post *p)
{
	struct listing_order *o = PP_CONTAINER(p, struct listing_order, post);

	o->l->wanted++;
	run(o->l);
	mem_free(o);
}

void
qmgr_listing_more(struct qmgr_listing *l)
{
	order(l, more_run);
}

static void
end_run(struct post *p)
{
	struct listing_order *o = PP_CONTAINER(p, struct listing_order, post);
	struct qmgr_listing *l = o->l;

	l->ended = true;
	end(l);
	mem_free(o);
}

void
qmgr_listing_free(struct qmgr_listing *l)
{
	l->closed = true;
	order(l, end_run);
}
