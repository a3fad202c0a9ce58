/*
 * bulk_purge.c - unlinks what was deleted.
 *
 * Freeing the blocks of a file is what takes time, and the file system does that for several files
 * at once: so there are many threads, and they work in different directories. Each message is
 * looked at once more, since it costs nothing here: an open(2) that had found its directory before
 * that was exchanged may have put something in behind the deletion's back. Its logs go with it:
 * to move a hundred thousand of them out of the way first would take as long as all the mail.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include "bulk_internal.h"
#include "pp/runtime/crew.h"

enum {
	LEAVES = 16, /* directories at work on */
	CHUNK = 64,
	CHUNKS_PER_THREAD = 2,
	FILE_NAME_MAX = 255,
};

struct leaf {
	struct names names;
	enum queue q;
	bool open;
	char path[SPOOL_PATH_MAX]; /* where its files were */
};

struct chunk {
	struct names_dir *dir;
	enum queue q;
	char path[SPOOL_PATH_MAX];
	size_t n;
	struct {
		unsigned char type;
		char name[FILE_NAME_MAX + 1];
	} file[CHUNK];
};

struct purge {
	const struct spool *spool;
	bool (*stop)(void *ctx);
	void *ctx;
	bool stopped;
	bool logs_only;
	unsigned logs_present;
	struct names leaves; /* of the batch */
	struct leaf leaf[LEAVES];
	unsigned next; /* leaf that is asked next */
	struct chunk *chunks;
};

/* The next one of the batch into a free place. False = there is none. */
static bool
open_leaf(struct purge *p, struct leaf *l)
{
	struct name n;

	while (names_next(&p->leaves, &n) == 1) {
		int fd;

		l->q = bulk_leaf_path(n.name, l->path);
		if (n.type != DT_DIR || l->q == QUEUE_COUNT)
			continue; /* nothing of ours */
		fd = fsio_open_dir(n.dir->fd, n.name);
		l->open = fd >= 0 && names_open_fd(&l->names, p->spool, l->q, fd, l->path) == 0;
		if (l->open)
			return true;
	}
	return false;
}

static void
fill(struct leaf *l, struct chunk *c)
{
	struct name n;

	c->n = 0;
	while (c->n < CHUNK && names_next(&l->names, &n) == 1) {
		if (c->n == 0) {
			c->dir = n.dir;
			names_dir_ref(c->dir);
		}
		c->file[c->n].type = n.type;
		snprintf(c->file[c->n++].name, sizeof(c->file[0].name), "%s", n.name);
	}
	c->q = l->q;
	memcpy(c->path, l->path, sizeof(c->path));
}

/* From each leaf in turn. */
static int
make(void *ctx, unsigned piece)
{
	struct purge *p = ctx;
	struct chunk *c = &p->chunks[piece];

	p->stopped = p->stopped || (p->stop != NULL && p->stop(p->ctx));
	for (unsigned i = 0; i < LEAVES && !p->stopped; i++) {
		struct leaf *l = &p->leaf[p->next++ % LEAVES];

		while (l->open || open_leaf(p, l)) {
			fill(l, c);
			if (c->n > 0)
				return 1;
			names_close(&l->names);
			l->open = false;
		}
	}
	return 0;
}

/* To where it was; when the name is taken there, it stays. */
static void
put_back(const struct purge *p, const struct chunk *c, const char *name)
{
	char to[SPOOL_PATH_MAX + FILE_NAME_MAX + 1];
	int n = snprintf(to, sizeof(to), "%s/%s", c->path, name), rc;

	rc = fsio_rename_between(c->dir->fd, name, p->spool->dirfd, to);
	if (rc == -ENOENT && n < SPOOL_PATH_MAX && spool_make_parents(p->spool, to) == 0)
		fsio_rename_between(c->dir->fd, name, p->spool->dirfd, to);
}

static void
purge_message(const struct purge *p, const struct chunk *c, const char *id)
{
	struct stat st;

	/* Nobody writes there: what is in a batch is mail, and deleted. */
	if (p->logs_only && !bulk_has_writers(c->q)) {
		bulk_logs_unlink(p->spool, p->logs_present, id);
		return;
	}
	if (fsio_stat(c->dir->fd, id, &st) < 0)
		return;
	if (bulk_has_writers(c->q) && !spool_ready(&st)) {
		if (!p->logs_only)
			put_back(p, c, id);
		return;
	}
	/* The message last: while it is here the next purge knows that its logs are to go. */
	if (bulk_logs_unlink(p->spool, p->logs_present, id) == 0 && !p->logs_only)
		fsio_unlink(c->dir->fd, id);
}

static void
work(void *ctx, unsigned piece)
{
	const struct purge *p = ctx;
	const struct chunk *c = &p->chunks[piece];

	for (size_t i = 0; i < c->n; i++) {
		const char *name = c->file[i].name;

		if (c->q < QUEUE_DEFER && c->file[i].type == DT_REG && spool_id_valid(str_of(name)))
			purge_message(p, c, name);
		else if (p->logs_only)
			continue;
		else if (c->q >= QUEUE_DEFER)
			fsio_unlink(c->dir->fd, name);
		else
			put_back(p, c, name);
	}
}

static int
take(void *ctx, unsigned piece)
{
	struct purge *p = ctx;

	names_dir_unref(p->chunks[piece].dir);
	p->chunks[piece].dir = NULL;
	return 0;
}

void
bulk_remove_leaves(const struct spool *s, int batch_fd)
{
	struct names names;
	struct name n;
	int fd = fsio_open_dir(batch_fd, ".");

	if (fd < 0 || names_open_fd(&names, s, QUEUE_COUNT, fd, SPOOL_DELETED) < 0)
		return;
	while (names_next(&names, &n) == 1)
		if (n.type == DT_DIR)
			fsio_rmdir(batch_fd, n.name);
	names_close(&names);
}

static int
purge_batch(struct purge *p, unsigned threads, int batch_fd)
{
	const struct crew crew = {.threads = threads,
	    .pieces = (threads ? threads : 1) * CHUNKS_PER_THREAD,
	    .make = make,
	    .work = work,
	    .take = take,
	    .ctx = p};
	int fd = fsio_open_dir(batch_fd, "."), rc;

	if (fd < 0)
		return fd;
	rc = names_open_fd(&p->leaves, p->spool, QUEUE_COUNT, fd, SPOOL_DELETED);
	if (rc < 0)
		return rc;
	p->chunks = mem_alloc(crew.pieces * sizeof(*p->chunks));
	rc = crew_run_blk(&crew);
	mem_free(p->chunks);
	for (unsigned i = 0; i < LEAVES; i++) {
		if (p->leaf[i].open)
			names_close(&p->leaf[i].names);
		p->leaf[i].open = false;
	}
	names_close(&p->leaves);
	if (!p->logs_only)
		bulk_remove_leaves(p->spool, batch_fd);
	return rc;
}

/* Walks the batches. */
static int
open_deleted(const struct spool *s, struct names *ret)
{
	int fd = fsio_open_dir(s->dirfd, SPOOL_DELETED);

	*ret = (struct names){0};
	return fd < 0 ? fd : names_open_fd(ret, s, QUEUE_COUNT, fd, SPOOL_DELETED);
}

bool
bulk_purge_needed_blk(const struct spool *s)
{
	struct names batches;
	struct name n;
	bool any = open_deleted(s, &batches) == 0 && names_next(&batches, &n) == 1;

	names_close(&batches);
	return any;
}

static int
purge(struct purge *p, unsigned threads)
{
	struct names batches;
	struct name n;
	int rc = open_deleted(p->spool, &batches), fd;

	p->logs_present = bulk_logs_present(p->spool);
	while (rc == 0 && !p->stopped && (rc = names_next(&batches, &n)) == 1) {
		rc = 0;
		if (n.type != DT_DIR)
			continue;
		fd = fsio_open_dir(batches.dir->fd, n.name);
		if (fd < 0)
			continue;
		/* Two may unlink the same logs, but only one a message and its directories. */
		if (p->logs_only)
			rc = purge_batch(p, threads, fd);
		else if (fsio_lock(fd, false) == 0) {
			rc = purge_batch(p, threads, fd);
			fsio_rmdir(batches.dir->fd, n.name);
		}
		fsio_close(fd);
	}
	names_close(&batches);
	return rc == -ENOENT ? 0 : rc;
}

int
bulk_purge_blk(const struct spool *s, unsigned threads, bool (*stop)(void *ctx), void *ctx)
{
	struct purge p = {.spool = s, .stop = stop, .ctx = ctx};

	return purge(&p, threads);
}

int
bulk_purge_logs_blk(const struct spool *s, unsigned threads)
{
	struct purge p = {.spool = s, .logs_only = true};

	return bulk_logs_present(s) != 0 ? purge(&p, threads) : 0;
}
