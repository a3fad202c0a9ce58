/*
 * listing.c - all messages of the spool for a listing, read by several threads at once.
 *
 * The names are walked by the caller's thread, which is cheap; chunks of them are read by a crew,
 * and told in the order of the names. A chunk is of one directory, so that its files are opened
 * relative to it, and it keeps that directory open. Memory is that of the chunks under way.
 */
#include <dirent.h>
#include <errno.h>
#include "listing_read.h"
#include "names.h"
#include "pp/runtime/crew.h"

enum {
	CHUNK = 128,
	CHUNKS_PER_THREAD = 4,
};

const enum queue listing_queues[] = {
    QUEUE_MAILDROP, QUEUE_ACTIVE, QUEUE_INCOMING, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_COUNT};

struct chunk {
	enum queue queue;
	struct names_dir *dir;
	size_t asked, found;
	struct arena arena;
	char scratch[LISTING_SCRATCH];
	char id[CHUNK][SPOOL_ID_MAX];
	struct listing listing[CHUNK];
};

struct listing_walk {
	const struct spool *spool;
	listing_each *each;
	void *ctx;
	bool logs_in_place;
	const enum queue *queue; /* that is read, or NULL: the next one is to be opened */
	const enum queue *next;
	struct names names;
	struct name ahead; /* the first of the next chunk */
	bool have_ahead;
	struct chunk *chunks;
	size_t left; /* names that may still be read in this turn */
	enum queue one[2];
};

/* Do all logs lie at the configured hash depth? Asked once, it spares a search at the others for
 * each message without a log. */
static bool
logs_in_place(const struct spool *s)
{
	int own = s->hashed[QUEUE_DEFER] ? s->depth : 0;
	bool in_place = true;
	struct names names;
	struct name name;

	if (own > 1 || names_open(&names, s, QUEUE_DEFER) < 0)
		return false;
	names.letters = false;
	while (in_place && names_next(&names, &name) == 1) {
		struct stat st;

		if (name.type != DT_DIR)
			in_place = own == 0 || !spool_id_valid(str_of(name.name));
		else if (name.name[1] == '\0') /* not every file system counts directories */
			in_place = own == 1 && fsio_stat(names.dir->fd, name.name, &st) == 0 &&
				   st.st_nlink == 2;
	}
	names_close(&names);
	return in_place;
}

/* The next file of all queues: 1, 0 = there is no more, or -errno. */
static int
next_file(struct listing_walk *w, struct name *ret)
{
	for (;;) {
		int rc;

		if (w->queue == NULL) {
			if (*w->next == QUEUE_COUNT)
				return 0;
			w->queue = w->next++;
			rc = names_open(&w->names, w->spool, *w->queue);
			if (rc < 0 && rc != -ENOENT)
				return rc;
		}
		rc = names_next(&w->names, ret);
		if (rc < 0)
			return rc;
		if (rc == 0)
			w->queue = NULL;
		else if (ret->type == DT_REG && spool_id_valid(str_of(ret->name)))
			return 1;
	}
}

static void
add_name(struct chunk *c, const char *name)
{
	memcpy(c->id[c->asked++], name, strlen(name) + 1);
}

static int
make(void *ctx, unsigned piece)
{
	struct listing_walk *w = ctx;
	struct chunk *c = &w->chunks[piece];
	struct name n = w->ahead;
	int rc = 0;

	if (w->left > 0)
		rc = w->have_ahead ? 1 : next_file(w, &n);
	if (rc <= 0)
		return rc;
	c->queue = *w->queue;
	c->dir = n.dir;
	c->asked = c->found = 0;
	names_dir_ref(c->dir);
	do {
		add_name(c, n.name);
		w->left--;
	} while (
	    w->left > 0 && c->asked < CHUNK && (rc = next_file(w, &n)) == 1 && n.dir == c->dir);
	/* The name stays valid: nothing is read before the next chunk is made. */
	w->have_ahead = rc == 1 && n.dir != c->dir;
	w->ahead = n;
	return rc < 0 ? rc : 1;
}

static void
work(void *ctx, unsigned piece)
{
	const struct listing_walk *w = ctx;
	struct chunk *c = &w->chunks[piece];
	struct listing_read r = {.spool = w->spool,
	    .arena = &c->arena,
	    .scratch = c->scratch,
	    .logs_in_place = w->logs_in_place,
	    .log_fd = -1};

	/* A file that is gone or cannot be read must not hide the others. */
	for (size_t i = 0; i < c->asked; i++)
		if (listing_read(
			&r, c->queue, c->id[i], c->dir->fd, c->id[i], &c->listing[c->found]) == 0)
			c->found++;
	listing_read_end(&r);
}

static void
done_with(struct chunk *c)
{
	arena_fini(&c->arena);
	names_dir_unref(c->dir);
	c->dir = NULL;
}

static int
take(void *ctx, unsigned piece)
{
	struct listing_walk *w = ctx;
	struct chunk *c = &w->chunks[piece];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->found; i++)
		rc = w->each(w->ctx, &c->listing[i]);
	done_with(c);
	return rc;
}

static int
run(struct listing_walk *w, unsigned threads, size_t max, listing_each *each, void *ctx)
{
	size_t pieces = (threads ? threads : 1) * CHUNKS_PER_THREAD;
	struct crew crew = {.threads = threads, .make = make, .work = work, .take = take, .ctx = w};
	int rc;

	crew.pieces = (unsigned)(max / CHUNK < pieces ? max / CHUNK + 1 : pieces);
	w->each = each;
	w->ctx = ctx;
	w->left = max;
	w->chunks = mem_alloc(crew.pieces * sizeof(*w->chunks));
	rc = crew_run_blk(&crew);
	/* What an early end has left. */
	for (unsigned i = 0; i < crew.pieces; i++)
		done_with(&w->chunks[i]);
	mem_free(w->chunks);
	return rc;
}

int
listing_walk_blk(const struct spool *s, unsigned threads, listing_each *each, void *ctx)
{
	struct listing_walk w = {
	    .spool = s, .next = listing_queues, .logs_in_place = logs_in_place(s)};
	int rc = run(&w, threads, SIZE_MAX, each, ctx);

	names_close(&w.names);
	return rc;
}

struct listing_walk *
listing_walk_new_blk(const struct spool *s, enum queue q)
{
	struct listing_walk *w = MEM_NEW(struct listing_walk);

	w->spool = s;
	w->one[0] = q;
	w->one[1] = QUEUE_COUNT;
	w->next = w->one;
	w->logs_in_place = logs_in_place(s);
	return w;
}

int
listing_walk_some_blk(
    struct listing_walk *w, unsigned threads, size_t max, listing_each *each, void *ctx)
{
	int rc = run(w, threads, max, each, ctx);

	return rc != 0 ? rc : w->queue != NULL || w->have_ahead || *w->next != QUEUE_COUNT;
}

void
listing_walk_free(struct listing_walk *w)
{
	if (w == NULL)
		return;
	names_close(&w->names);
	mem_free(w);
}

int
listing_load_blk(
    const struct spool *s, const struct spool_entry *e, struct arena *a, struct listing *ret)
{
	struct listing_read r = {.spool = s, .arena = a, .log_fd = -1};
	int rc;

	if (!spool_ready(&e->st))
		return 1;
	r.scratch = arena_alloc(a, LISTING_SCRATCH);
	rc = listing_read(&r, e->queue, e->id, s->dirfd, e->path, ret);
	listing_read_end(&r);
	return rc;
}
