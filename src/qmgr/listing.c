/*
 * listing.c - a listing of the whole queue, piece by piece, as fast as its reader takes it.
 *
 * Deferred mail, which is what there are many of, comes from memory in slices of a fraction of a
 * millisecond; the queue manager does its work between two of them. What is not in memory is read
 * by jobs on the background lane, a piece's worth each, so neither a slow disk nor a slow client
 * holds anything up. Whoever asks owns the object; the queue manager uses it from the first post to
 * the last, and only then it is freed.
 */
#include <errno.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/crew.h"

enum {
	PIECE = 64 * 1024,
	PIECE_FULL = PIECE - 2048,       /* what comes next would rarely fit */
	MESSAGE_MAX = 512 * 1024 * 1024, /* of one message: what the protocol's reader takes */
	AHEAD = 2,                       /* pieces on their way to the client */
	SLOTS = 8192,                    /* empty ones looked at in a slice */
	FILES = 64,                      /* read by one job for their ids */
	WALK = 512,                      /* read by one job of a walk */
	ARENA_USED = 32 * 1024,
	ORDER_WAIT = 5, /* ms */
	DETAILS_WAIT = 3,
	LOOKS_WAIT = 2,  /* ms */
	LOOKS_MAX = 250, /* times: who changes files without end gets what there is */
};

struct qmgr_listing {
	struct qmgr *q;
	struct loop *home;
	bool extended;
	/* home's */
	bool closed;
	void (*piece)(void *ctx, struct buf *bytes, bool last);
	void *ctx;
	/* the queue manager's */
	LIST_ENTRY(qmgr_listing) link;
	struct post post; /* the first, the next slice, and the last */
	struct timer timer;
	unsigned waited; /* for looks, times */
	unsigned wanted; /* pieces */
	bool sliced;     /* a slice is to come */
	bool working;    /* a job is out */
	bool finished, ended;
	const enum queue *queue; /* in listing_queues */
	uint32_t slot;
	struct buf out;
	/* the job's, while it is out */
	struct lane_job job;
	struct listing_reader *reader;
	struct listing_walk *walk; /* of the queue it is at */
	int64_t walk_began;        /* ms of the loop */
	struct seen *seen;         /* shown of the active ones, with a file or without */
	struct rated *rated;
	struct arena rated_arena;
	bool from_files; /* deferred mail, too: memory does not have it yet */
	size_t ids;      /* deferred mail whose details are in its files */
	char id[FILES][SPOOL_ID_MAX];
};

/* A message that was shown. */
struct seen {
	UT_hash_handle hh;
	char id[SPOOL_ID_MAX];
};

/* A message that waits for its turn at a rate, and the words for it. */
struct rated {
	UT_hash_handle hh;
	char id[SPOOL_ID_MAX];
	const char *reason;
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
	if (s.n > PIECE) {
		/* A message of very many recipients. */
		buf_init(&piece->bytes, PIECE);
		buf_add(&piece->bytes, str_head(s, PIECE));
		buf_consume(&l->out, PIECE);
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

static void
seen_add(struct qmgr_listing *l, const char *id)
{
	struct seen *s = MEM_NEW(struct seen);

	snprintf(s->id, sizeof(s->id), "%s", id);
	HASH_ADD_STR(l->seen, id, s);
}

static bool
is_seen(const struct qmgr_listing *l, const char *id)
{
	struct seen *s;

	HASH_FIND_STR(l->seen, id, s);
	return s != NULL;
}

static void
seen_forget(struct qmgr_listing *l)
{
	struct seen *s, *next;

	HASH_ITER (hh, l->seen, s, next) {
		HASH_DEL(l->seen, s);
		mem_free(s);
	}
}

static void
rated_forget(struct qmgr_listing *l)
{
	HASH_CLEAR(hh, l->rated);
	arena_fini(&l->rated_arena);
}

/* What is in the active queue has no log that would say why it waits. */
static void
rated_find(struct qmgr_listing *l)
{
	struct qmgr_destination *d;
	struct schedule_entry *e;

	rated_forget(l);
	TAILQ_FOREACH (d, &l->q->every, all) {
		const char *reason = d->s.waiting > 0 ? qmgr_rate_reason(d, &l->rated_arena) : NULL;

		if (reason == NULL)
			continue;
		TAILQ_FOREACH (e, &d->s.line, line) {
			const char *id = PP_CONTAINER(e, struct qmgr_entry, s)->message->id;
			struct rated *r;

			HASH_FIND_STR(l->rated, id, r);
			if (r)
				continue;
			r = ARENA_NEW(&l->rated_arena, struct rated);
			snprintf(r->id, sizeof(r->id), "%s", id);
			r->reason = reason;
			HASH_ADD_STR(l->rated, id, r);
		}
	}
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
	seen_forget(l);
	rated_forget(l);
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

static void
put_whole(struct qmgr_listing *l, const struct listing *m)
{
	/* What is too much even for that is left out, whole. */
	size_t before = buf_str(&l->out).n;

	if (listing_encode(&l->out, m, l->extended) < 0) {
		buf_truncate(&l->out, before);
		l->out.overflow = false;
	}
}

static void
put(struct qmgr_listing *l, const struct listing *m)
{
	struct listing_recipient *rcpt;
	struct arena a = {0};
	struct listing why = *m;
	struct rated *r = NULL;

	if (l->rated && m->queue == QUEUE_ACTIVE)
		HASH_FIND_STR(l->rated, m->id, r);
	if (r) {
		rcpt = arena_alloc(&a, (m->rcpt_count + 1) * sizeof(*rcpt));
		memcpy(rcpt, m->rcpt, m->rcpt_count * sizeof(*rcpt));
		for (size_t i = 0; i < m->rcpt_count; i++)
			if (!*rcpt[i].reason)
				rcpt[i].reason = r->reason;
		why.rcpt = rcpt;
	}
	put_whole(l, &why);
	arena_fini(&a);
}

/* Lane: the messages that memory does not have. */
static void
ids_read(struct qmgr_listing *l)
{
	while (l->ids > 0 && buf_str(&l->out).n < PIECE_FULL) {
		struct arena a = {0};
		struct listing m;

		if (listing_reader_load_blk(l->reader, QUEUE_DEFERRED, l->id[--l->ids], &a, &m) ==
		    0)
			put(l, &m);
		arena_fini(&a);
	}
}

static int
put_each(void *ctx, const struct listing *m)
{
	struct qmgr_listing *l = ctx;

	/* What was active may be elsewhere by now. */
	if (is_seen(l, m->id))
		return 0;
	put(l, m);
	if (*l->queue == QUEUE_ACTIVE)
		seen_add(l, m->id);
	return 0;
}

static void
walk_read(struct qmgr_listing *l)
{
	if (l->walk == NULL)
		l->walk = listing_walk_new_blk(l->q->spool, *l->queue);
	if (listing_walk_some_blk(l->walk, crew_threads(), WALK, put_each, l) == 1)
		return;
	listing_walk_free(l->walk);
	l->walk = NULL;
}

static void
read_work(struct lane_job *job)
{
	struct qmgr_listing *l = PP_CONTAINER(job, struct qmgr_listing, job);

	if (l->ids > 0 && l->reader == NULL)
		l->reader = listing_reader_new(l->q->spool);
	if (l->ids > 0)
		ids_read(l);
	else
		walk_read(l);
}

/* Of deferred mail that rests, as if it had its log. */
static void
put_reasons(struct arena *a, const struct qmgr_message *m, struct listing *shown)
{
	struct listing_recipient *to = arena_alloc(a, (m->envelope.rcpt_count + 1) * sizeof(*to));
	const struct qmgr_record *rec;

	shown->rcpt = to;
	shown->rcpt_count = 0;
	STAILQ_FOREACH (rec, &m->records, link)
		if (rec->log == QUEUE_DEFER && shown->rcpt_count < m->envelope.rcpt_count)
			to[shown->rcpt_count++] = listing_of_entry(a, &rec->entry);
	shown->attempts = m->attempts + 1;
}

/* Behind the walk over active/: what it cannot have seen. */
static void
put_young(struct qmgr_listing *l)
{
	const struct qmgr_message *m;

	for (m = l->q->active; m != NULL; m = m->hh.next) {
		struct arena a = {0};
		struct listing shown;

		/* Without a file, or made one since the walk began. */
		if (m->mail == NULL &&
		    (m->filed_at < l->walk_began || m->state != MESSAGE_DELIVERING))
			continue;
		if (is_seen(l, m->id))
			continue;
		listing_of_envelope(&a,
		    m->rest == REST_NONE       ? QUEUE_ACTIVE
		    : m->rest == REST_DEFERRED ? QUEUE_DEFERRED
					       : QUEUE_INCOMING,
		    m->id, &m->envelope, &shown);
		if (m->rest == REST_DEFERRED)
			put_reasons(&a, m, &shown);
		seen_add(l, m->id);
		put(l, &shown);
		arena_fini(&a);
	}
}

static void
read_done(struct lane_job *job)
{
	struct qmgr_listing *l = PP_CONTAINER(job, struct qmgr_listing, job);
	struct qmgr *q = l->q;

	l->working = false;
	q->jobs--;
	if ((*l->queue != QUEUE_DEFERRED || l->from_files) && l->walk == NULL) {
		l->from_files = false;
		if (*l->queue == QUEUE_ACTIVE)
			put_young(l);
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
			rated_find(l);
	}
	l->q->jobs++;
	lane_run(l->q->o.background, LANE_LISTING, &l->job, read_work, read_done);
}

/* While details are being read, these as well: that reads no file twice. What a round has left a
 * moment ago is rather read at once. */
static bool
waits_for(const struct qmgr *q, const struct qmgr_deferred *d)
{
	return d->loading || (d->is_wanted && (q->loading[0] || q->loading[1]));
}

enum memory { MEMORY_MORE, MEMORY_WAIT, MEMORY_END };

/* A piece of deferred mail from memory. */
static enum memory
memory_read(struct qmgr_listing *l)
{
	const struct index *ix = &l->q->index;
	uint32_t slots = index_slots(ix);
	enum memory found = MEMORY_MORE;
	struct arena a = {0};
	unsigned looked = 0;

	buf_reserve(&l->out, PIECE);
	for (; l->slot < slots && looked < SLOTS && l->ids < FILES; l->slot++, looked++) {
		const struct qmgr_deferred *d = index_at(ix, l->slot);
		struct listing m;

		if (d == NULL || is_seen(l, index_id(d)))
			continue;
		if (buf_str(&l->out).n >= PIECE_FULL)
			break;
		if (d->details == NULL && waits_for(l->q, d)) {
			found = MEMORY_WAIT;
			break;
		}
		if (d->details == NULL) {
			snprintf(l->id[l->ids++], SPOOL_ID_MAX, "%s", index_id(d));
			continue;
		}
		index_listing(ix, d, &a, &m);
		put(l, &m);
		if (a.used >= ARENA_USED)
			arena_fini(&a);
	}
	arena_fini(&a);
	return l->slot >= slots ? MEMORY_END : found;
}

static void
waited(struct timer *t)
{
	run(PP_CONTAINER(t, struct qmgr_listing, timer));
}

static void
go_on_memory(struct qmgr_listing *l)
{
	enum memory found = l->ids < FILES ? memory_read(l) : MEMORY_MORE;

	if (l->ids == FILES || (found != MEMORY_MORE && l->ids > 0)) {
		read_begin(l);
	} else if (found == MEMORY_WAIT) {
		timer_start(l->q->loop, &l->timer, DETAILS_WAIT, waited);
	} else {
		if (found == MEMORY_END)
			l->queue++;
		slice_later(l);
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
	if (buf_str(&l->out).n >= PIECE_FULL) {
		send_piece(l, false);
		slice_later(l);
	} else if (l->q->stopping) {
		send_piece(l, true);
	} else if (*l->queue == QUEUE_COUNT) {
		listing_encode_end(&l->out);
		send_piece(l, true);
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

/* Who has just removed a file by hand does not want to see it: what was done before the question
 * is known before the answer. */
static void
looks_awaited(struct timer *t)
{
	struct qmgr_listing *l = PP_CONTAINER(t, struct qmgr_listing, timer);

	if (qmgr_hand_looks(l->q) && l->waited++ < LOOKS_MAX)
		timer_start(l->q->loop, &l->timer, LOOKS_WAIT, looks_awaited);
	else
		run(l);
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
