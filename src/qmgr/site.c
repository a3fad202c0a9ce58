/*
 * site.c - everything that waits for one site is tried at once.
 *
 * Postfix has a service that keeps a log per site; here the domains stand in the index. It is
 * looked through in slices, and only what it has no details of is read, by jobs in the background.
 * Destinations that are dead are revived for that mail, and for no other; with Postfix all are.
 */
#include "internal.h"
#include "pp/base/mem.h"

enum { SLOTS = 8192, FILES = 64, INDEX_WAIT = 20 /* ms */ };

struct site_file {
	char id[SPOOL_ID_MAX];
	bool found;
};

struct site_flush {
	struct qmgr *q;
	char *site;
	void (*done)(void *ctx);
	void *ctx;
	uint32_t slot;
	struct post post;
	struct timer timer;
	struct lane_job job;
	size_t files;
	struct site_file file[FILES];
};

static void
site_end(struct site_flush *f)
{
	struct qmgr *q = f->q;

	f->done(f->ctx);
	mem_free(f->site);
	mem_free(f);
	q->jobs--;
	qmgr_deferred_due(q);
	qmgr_idle_check(q);
}

static bool
is_at(const struct listing *l, struct str site)
{
	for (size_t i = 0; i < l->rcpt_count; i++) {
		struct str a = str_of(l->rcpt[i].address);
		size_t at = str_rindex(a, '@');

		if (at < a.n && str_caseeq(str_from(a, at + 1), site))
			return true;
	}
	return false;
}

static void
files_work(struct lane_job *job)
{
	struct site_flush *f = PP_CONTAINER(job, struct site_flush, job);
	struct listing_reader *r = listing_reader_new(f->q->spool);

	for (size_t i = 0; i < f->files; i++) {
		struct site_file *file = &f->file[i];
		struct arena a = {0};
		struct listing l;
		int rc = listing_reader_load_blk(r, QUEUE_DEFERRED, file->id, &a, &l);

		file->found = rc == 0 && is_at(&l, str_of(f->site));
		arena_fini(&a);
	}
	listing_reader_free(r);
}

static void site_go(struct site_flush *f);

static void
files_done(struct lane_job *job)
{
	struct site_flush *f = PP_CONTAINER(job, struct site_flush, job);

	for (size_t i = 0; i < f->files; i++) {
		struct qmgr_deferred *d;

		if (f->file[i].found && (d = qmgr_deferred_find(f->q, f->file[i].id)) != NULL)
			qmgr_deferred_ask(f->q, d);
	}
	f->files = 0;
	site_go(f);
}

static void
slice_run(struct post *p)
{
	site_go(PP_CONTAINER(p, struct site_flush, post));
}

static void
index_awaited(struct timer *t)
{
	site_go(PP_CONTAINER(t, struct site_flush, timer));
}

/* A slice; true = all slots were looked at. */
static bool
memory_look(struct site_flush *f)
{
	struct qmgr *q = f->q;
	uint32_t slots = index_slots(&q->index);

	for (unsigned n = 0; f->slot < slots && n < SLOTS && f->files < FILES; f->slot++, n++) {
		struct qmgr_deferred *d = index_at(&q->index, f->slot);

		if (d && d->details == NULL)
			snprintf(f->file[f->files++].id, SPOOL_ID_MAX, "%s", index_id(d));
		else if (d && details_at_site(&q->index.strings, d->details, str_of(f->site)))
			qmgr_deferred_ask(q, d);
	}
	return f->slot >= slots;
}

static void
site_go(struct site_flush *f)
{
	struct qmgr *q = f->q;
	bool all;

	if (q->stopping) {
		site_end(f);
		return;
	}
	if (!qmgr_deferred_complete(q)) {
		timer_start(q->loop, &f->timer, INDEX_WAIT, index_awaited);
		return;
	}
	all = memory_look(f);
	if (f->files == FILES || (all && f->files > 0))
		lane_run(q->o.background, LANE_LISTING, &f->job, files_work, files_done);
	else if (all)
		site_end(f);
	else
		post_to(q->loop, &f->post, slice_run);
}

void
qmgr_site_flush(struct qmgr *q, const char *site, void (*done)(void *ctx), void *ctx)
{
	struct site_flush *f = MEM_NEW(struct site_flush);

	f->q = q;
	f->site = mem_strdup(site);
	f->done = done;
	f->ctx = ctx;
	q->jobs++;
	post_to(q->loop, &f->post, slice_run);
}
