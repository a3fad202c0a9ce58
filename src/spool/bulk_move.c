/*
 * bulk_move.c - moves whole queues.
 *
 * Every rename(2) between two directories takes the one lock that the kernel has for that on a file
 * system, so no number of threads makes a row of them faster. link(2) and unlink(2) lock one
 * directory each, for two threads twice the work. The price is a moment in which a message has two
 * names: pair.h. So it is done only between deferred/ and hold/, where nobody takes a second name
 * for a message, and only by who is alone; all else, and what cannot be linked, is renamed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include "bulk_internal.h"
#include "pp/runtime/crew.h"
#include "pp/spool/pair.h"

enum {
	CHUNK = 32,
	CHUNKS_PER_THREAD = 4,
	CHUNK_DIRS = 4, /* of which it has open */
};

struct chunk {
	size_t n;
	struct {
		struct names_dir *dir;
		int rc;
		bool is_linked; /* has got its new name from us */
		char id[SPOOL_ID_MAX];
	} file[CHUNK];
};

struct moving {
	const struct bulk *b;
	enum queue from, to;
	int64_t mtime, *count;
	bool by_link;
	int ended; /* -errno of the walk */
	struct names names;
	struct chunk *chunks;
};

/* File systems without links, one too many of them, or a file of somebody else. */
static bool
cannot_be_linked(int rc)
{
	return rc == -EPERM || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EMLINK || rc == -EXDEV;
}

/* Into a directory that is there. */
static int
move_to(const struct moving *m, int dirfd, const char *id, const char *to, bool *ret_is_linked)
{
	int rc = m->by_link ? fsio_link(dirfd, id, m->b->spool->dirfd, to) : -ENOSYS;

	if (cannot_be_linked(rc))
		return fsio_rename_between(dirfd, id, m->b->spool->dirfd, to);
	if (rc < 0)
		return rc;
	*ret_is_linked = true;
	return fsio_unlink(dirfd, id);
}

static int
move_one(const struct moving *m, int dirfd, const char *id, bool *ret_is_linked)
{
	char to[SPOOL_PATH_MAX];
	struct stat st;
	int rc = 0;

	/* Where nobody writes the file is not even looked at. */
	if (bulk_has_writers(m->from) && (m->b->live || m->from == QUEUE_MAILDROP) &&
	    (fsio_stat(dirfd, id, &st) < 0 || bulk_half_written(m->b, m->from, &st)))
		return -ENOENT;
	if (m->mtime >= 0)
		rc = fsio_set_mtime(dirfd, id, m->mtime);
	if (rc < 0)
		return rc;
	spool_path(m->b->spool, m->to, id, to);
	rc = move_to(m, dirfd, id, to, ret_is_linked);
	if (rc != -ENOENT || *ret_is_linked || fsio_stat(dirfd, id, &st) < 0)
		return rc;
	/* It is the directory that is missing. */
	rc = spool_make_parents(m->b->spool, to);
	return rc < 0 ? rc : move_to(m, dirfd, id, to, ret_is_linked);
}

static int
make(void *ctx, unsigned piece)
{
	struct moving *m = ctx;
	struct chunk *c = &m->chunks[piece];
	struct name n;
	int dirs = 0;

	c->n = 0;
	if (m->b->stop != NULL && m->b->stop(m->b->ctx))
		return 0;
	while (m->ended == 0 && c->n < CHUNK && dirs < CHUNK_DIRS) {
		int rc = names_next(&m->names, &n);

		if (rc == 0)
			break;
		m->ended = rc < 0 ? rc : 0;
		if (rc < 0 || n.type != DT_REG || !spool_id_valid(str_of(n.name)))
			continue;
		names_dir_ref(n.dir);
		dirs += c->n == 0 || c->file[c->n - 1].dir != n.dir;
		c->file[c->n].dir = n.dir;
		snprintf(c->file[c->n++].id, SPOOL_ID_MAX, "%s", n.name);
	}
	return c->n > 0 ? 1 : m->ended;
}

static void
work(void *ctx, unsigned piece)
{
	const struct moving *m = ctx;
	struct chunk *c = &m->chunks[piece];

	for (size_t i = 0; i < c->n; i++) {
		c->file[i].is_linked = false;
		c->file[i].rc =
		    move_one(m, c->file[i].dir->fd, c->file[i].id, &c->file[i].is_linked);
	}
}

/* The new name was made, but the old one could not be unlinked, mostly because the daemon had taken
 * the file away by it. If it is in a queue our name was for nothing; if it is not, ours is the
 * last, and stays. */
static int
take_back(const struct moving *m, const char *id, int rc)
{
	static const enum queue others[] = {QUEUE_ACTIVE, QUEUE_DEFERRED};
	char path[SPOOL_PATH_MAX];
	bool found = false;

	if (m->to != QUEUE_HOLD && rc == -ENOENT)
		return rc;
	/* Twice, for it may be on its way back. */
	for (size_t i = 0; i < 2 * PP_COUNT(others) && !found; i++)
		found = pair_is(m->b->spool, others[i % PP_COUNT(others)], id, path);
	spool_path(m->b->spool, m->to, id, path);
	if (found)
		fsio_unlink(m->b->spool->dirfd, path);
	return rc;
}

/* The new name was there: of another message, or of a move that was killed; then what is left to do
 * is the same. */
static int
finish(const struct moving *m, int dirfd, const char *id)
{
	char to[SPOOL_PATH_MAX];
	struct stat a, b;

	spool_path(m->b->spool, m->to, id, to);
	if (fsio_stat(dirfd, id, &a) < 0 || fsio_stat(m->b->spool->dirfd, to, &b) < 0)
		return -ENOENT; /* either has just gone */
	if (!m->b->alone || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
		return -EEXIST;
	return fsio_unlink(dirfd, id);
}

/* On one thread: a file that the daemon puts back is met twice, and two who are at the end of the
 * same message would take each other's name. */
static int
take(void *ctx, unsigned piece)
{
	struct moving *m = ctx;
	struct chunk *c = &m->chunks[piece];

	for (size_t i = 0; i < c->n; i++) {
		int rc = c->file[i].rc;

		if (rc < 0 && c->file[i].is_linked)
			rc = take_back(m, c->file[i].id, rc);
		else if (rc == -EEXIST)
			rc = finish(m, c->file[i].dir->fd, c->file[i].id);
		*m->count += rc == 0;
		bulk_failed(m->b, m->from, c->file[i].id, rc);
		names_dir_unref(c->file[i].dir);
	}
	return 0;
}

static bool
may_link(const struct bulk *b, enum queue from, enum queue to)
{
	return b->alone && ((from == QUEUE_DEFERRED && to == QUEUE_HOLD) ||
			       (from == QUEUE_HOLD && to == QUEUE_DEFERRED));
}

int
bulk_move_blk(const struct bulk *b, enum queue from, enum queue to, int64_t mtime, int64_t *count)
{
	struct moving m = {.b = b, .from = from, .to = to, .mtime = mtime, .count = count};
	struct crew crew = {
	    .threads = 1, .pieces = 1, .make = make, .work = work, .take = take, .ctx = &m};
	int rc = names_open(&m.names, b->spool, from);

	PP_ASSERT(from != to);
	if (rc < 0)
		return rc;
	m.by_link = may_link(b, from, to) && pair_begin_blk(b->spool) == 0;
	if (m.by_link) {
		crew.threads = crew_threads();
		crew.pieces = crew.threads * CHUNKS_PER_THREAD;
	}
	m.chunks = mem_alloc(crew.pieces * sizeof(*m.chunks));
	rc = crew_run_blk(&crew);
	mem_free(m.chunks);
	if (m.by_link)
		pair_end_blk(b->spool);
	names_close(&m.names);
	return rc;
}
