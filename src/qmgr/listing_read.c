/*
 * listing_read.c - what a listing shows: files, read on the lane, and deferred mail from memory.
 *
 * Files move while they are listed. What goes into active/ when the walk over it has begun is
 * noted, and so is what was there and was not met: it is looked for at the end, when all walks are
 * over. So a mail that is there the whole time is shown, and once.
 */
#include <errno.h>
#include "listing.h"
#include "pp/base/mem.h"
#include "pp/runtime/crew.h"

enum {
	SLOTS = 8192, /* empty ones looked at in a slice */
	WALK = 512,   /* read by one job of a walk */
	ARENA_USED = 32 * 1024,
};

/* What is in the active queue has no log that would say why it waits. */
void
listing_find_rated(struct qmgr_listing *l)
{
	struct qmgr_destination *d;
	struct schedule_entry *e;

	note_forget_all(&l->rated);
	arena_fini(&l->rated_arena);
	TAILQ_FOREACH (d, &l->q->every, all) {
		const char *reason = d->s.waiting > 0 ? qmgr_rate_reason(d, &l->rated_arena) : NULL;

		if (reason == NULL)
			continue;
		TAILQ_FOREACH (e, &d->s.line, line) {
			struct note *r =
			    note_add(&l->rated, PP_CONTAINER(e, struct qmgr_entry, s)->message->id);

			if (r && r->reason == NULL)
				r->reason = reason;
		}
	}
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
	struct note *r = m->queue == QUEUE_ACTIVE ? note_find(l->rated, m->id) : NULL;

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
	while (l->ids > 0 && buf_str(&l->out).n < LISTING_PIECE_FULL) {
		struct arena a = {0};
		struct listing m;
		const struct listing_id *id = &l->id[--l->ids];
		int rc = listing_reader_load_blk(l->reader, id->queue, id->id, &a, &m);

		if (rc == 0)
			put(l, &m);
		else if (rc == -ENOENT)
			l->lost_id[l->lost++] = *id;
		arena_fini(&a);
	}
}

static int
put_each(void *ctx, const struct listing *m)
{
	struct qmgr_listing *l = ctx;

	/* What was elsewhere may be here by now. */
	if (note_find(l->seen, m->id))
		return 0;
	put(l, m);
	if (*l->queue != QUEUE_MAILDROP && *l->queue != QUEUE_HOLD)
		note_add(&l->seen, m->id);
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

void
listing_read_work(struct lane_job *job)
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

void
listing_put_young(struct qmgr_listing *l)
{
	const struct qmgr_message *m;

	/* What is on its way out, or not there yet: looked for at the end. */
	for (m = l->q->active; m != NULL; m = m->hh.next)
		if (m->mail == NULL && !note_find(l->seen, m->id))
			note_add(&l->moved, m->id);
	for (m = l->q->active; m != NULL; m = m->hh.next) {
		struct arena a = {0};
		struct listing shown;

		/* Without a file, or made one since the walk began. */
		if (m->mail == NULL &&
		    (m->filed_at < l->walk_began || m->state != MESSAGE_DELIVERING))
			continue;
		if (note_find(l->seen, m->id))
			continue;
		listing_of_envelope(&a,
		    m->rest == REST_NONE       ? QUEUE_ACTIVE
		    : m->rest == REST_DEFERRED ? QUEUE_DEFERRED
					       : QUEUE_INCOMING,
		    m->id, &m->envelope, &shown);
		if (m->rest == REST_DEFERRED)
			put_reasons(&a, m, &shown);
		note_add(&l->seen, m->id);
		put(l, &shown);
		arena_fini(&a);
	}
}

/* While details are being read, these as well: that reads no file twice. What a round has left a
 * moment ago is rather read at once. */
static bool
waits_for(const struct qmgr *q, const struct qmgr_deferred *d)
{
	return d->loading || (d->is_wanted && (q->loading[0] || q->loading[1]));
}

static bool
is_shown(const struct qmgr_listing *l, const char *id)
{
	struct note *n = note_find(l->moved, id);

	return note_find(l->seen, id) != NULL || (n && n->is_shown);
}

static void
read_later(struct qmgr_listing *l, enum queue queue, const char *id)
{
	l->id[l->ids].queue = queue;
	snprintf(l->id[l->ids++].id, SPOOL_ID_MAX, "%s", id);
}

/* Now, or as soon as its file is read. */
static void
put_deferred(struct qmgr_listing *l, const struct qmgr_deferred *d, struct arena *a)
{
	struct note *n = note_find(l->moved, index_id(d));
	struct listing m;

	if (n)
		n->is_shown = true;
	if (d->details == NULL) {
		read_later(l, QUEUE_DEFERRED, index_id(d));
		return;
	}
	index_listing(&l->q->index, d, a, &m);
	put(l, &m);
}

enum listing_found
listing_memory(struct qmgr_listing *l)
{
	const struct index *ix = &l->q->index;
	uint32_t slots = index_slots(ix);
	enum listing_found found = LISTING_MORE;
	struct arena a = {0};
	unsigned looked = 0;

	buf_reserve(&l->out, LISTING_PIECE);
	for (; l->slot < slots && looked < SLOTS && l->ids < LISTING_FILES; l->slot++, looked++) {
		const struct qmgr_deferred *d = index_at(ix, l->slot);

		if (d == NULL || is_shown(l, index_id(d)))
			continue;
		if (buf_str(&l->out).n >= LISTING_PIECE_FULL)
			break;
		if (d->details == NULL && waits_for(l->q, d)) {
			found = LISTING_WAIT;
			break;
		}
		put_deferred(l, d, &a);
		if (a.used >= ARENA_USED)
			arena_fini(&a);
	}
	arena_fini(&a);
	return l->slot >= slots ? LISTING_END : found;
}

/* It was met nowhere: where is it now? False: on its way, wait a moment. */
static bool
put_moved(struct qmgr_listing *l, const char *id, struct arena *a)
{
	const struct qmgr_deferred *d = qmgr_deferred_find(l->q, id);
	const struct qmgr_message *m;
	struct listing shown;

	HASH_FIND_STR(l->q->active, id, m);
	if (m && m->state == MESSAGE_LOADING)
		return l->waited++ >= LISTING_WAITS_MAX;
	if (m && m->is_sliced) {
		read_later(l, QUEUE_ACTIVE, id);
	} else if (m) {
		listing_of_envelope(a, QUEUE_ACTIVE, id, &m->envelope, &shown);
		put(l, &shown);
	} else if (d) {
		put_deferred(l, d, a);
	}
	return true;
}

enum listing_found
listing_moved(struct qmgr_listing *l)
{
	struct note *n, *next;

	HASH_ITER (hh, l->moved, n, next) {
		struct arena a = {0};
		bool is_done = is_shown(l, n->id);

		if (buf_str(&l->out).n >= LISTING_PIECE_FULL || l->ids == LISTING_FILES)
			return LISTING_MORE;
		if (!is_done)
			is_done = put_moved(l, n->id, &a);
		arena_fini(&a);
		if (!is_done)
			return LISTING_WAIT;
		note_drop(&l->moved, n);
	}
	return LISTING_END;
}

void
qmgr_listings_move(struct qmgr *q, const char *id, enum queue from)
{
	struct qmgr_listing *l;

	LIST_FOREACH (l, &q->listings, link) {
		const struct qmgr_deferred *d = qmgr_deferred_find(q, id);
		bool is_passed = *l->queue == QUEUE_HOLD || *l->queue == QUEUE_COUNT;
		struct note *n = note_find(l->moved, id);

		if (*l->queue == QUEUE_MAILDROP || n)
			continue;
		if (*l->queue == QUEUE_DEFERRED && d && !l->from_files)
			is_passed = index_slot(&q->index, d) < l->slot;
		if ((n = note_add(&l->moved, id)) != NULL)
			n->is_shown = from == QUEUE_DEFERRED && is_passed;
	}
}
