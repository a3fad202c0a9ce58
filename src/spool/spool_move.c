/*
 * spool_move.c - moves, removals and searches of whole messages by their id.
 *
 * Every move is one rename that refuses to overwrite: rename(2) onto a live id would silently
 * destroy mail. A file that lies at another hash depth (the parameter was changed, or somebody
 * moved it) is still found, at the price of a few more system calls that are made only on ENOENT.
 */
#include <errno.h>
#include "internal.h"

enum { ATTEMPTS_MAX = 99999 };

int
spool_locate(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX],
    struct stat *ret)
{
	int rc, own = s->hashed[q] ? s->depth : 0;

	spool_path_depth(q, id, own, path);
	rc = fsio_stat(s->dirfd, path, ret);
	for (int depth = 0; rc == -ENOENT && depth <= SPOOL_SEARCH_DEPTH && q != QUEUE_MAILDROP;
	     depth++) {
		if (depth == own)
			continue;
		spool_path_depth(q, id, depth, path);
		rc = fsio_stat(s->dirfd, path, ret);
	}
	if (rc == -ENOTDIR)
		rc = -ENOENT;
	if (rc == 0 && !S_ISREG(ret->st_mode))
		rc = -ENOENT;
	return rc;
}

/* Renames, making the directories of the target only when they turn out to be missing. */
static int
rename_into(const struct spool *s, const char *from, const char *to)
{
	struct stat st;
	int rc = fsio_rename(s->dirfd, from, to);

	if (rc != -ENOENT || fsio_stat(s->dirfd, from, &st) < 0)
		return rc;
	rc = spool_make_parents(s, to);
	return rc < 0 ? rc : fsio_rename(s->dirfd, from, to);
}

/* mtime < 0 leaves it. */
static int
move(const struct spool *s, const char *id, enum queue from, enum queue to, int64_t mtime, long ns)
{
	char old[SPOOL_PATH_MAX], new[SPOOL_PATH_MAX];
	struct stat st;
	int rc = 0;

	spool_path(s, from, id, old);
	spool_path(s, to, id, new);
	/* The time first: once it is in the other queue, that queue's readers act on it. */
	if (mtime >= 0)
		rc = fsio_set_mtime_ns(s->dirfd, old, mtime, ns);
	if (rc == 0)
		rc = rename_into(s, old, new);
	if (rc != -ENOENT)
		return rc;
	rc = spool_locate(s, from, id, old, &st);
	if (rc == 0 && mtime >= 0)
		rc = fsio_set_mtime_ns(s->dirfd, old, mtime, ns);
	return rc < 0 ? rc : rename_into(s, old, new);
}

int
spool_move_blk(const struct spool *s, const char *id, enum queue from, enum queue to, int64_t mtime)
{
	return move(s, id, from, to, mtime, 0);
}

int
spool_defer_blk(const struct spool *s, const char *id, int64_t next_attempt, unsigned attempts)
{
	long ns = attempts < ATTEMPTS_MAX ? (long)attempts : ATTEMPTS_MAX;

	return move(s, id, QUEUE_ACTIVE, QUEUE_DEFERRED, next_attempt > 0 ? next_attempt : 0, ns);
}

unsigned
spool_attempts(const struct stat *st, bool has_log)
{
	long ns = st->st_mtim.tv_nsec;

	return ns >= 1 && ns <= ATTEMPTS_MAX ? (unsigned)ns : has_log;
}

int
spool_adopt_blk(const struct spool *s, const struct spool_entry *e)
{
	char path[SPOOL_PATH_MAX];

	if (!e->misplaced)
		return 0;
	spool_path(s, e->queue, e->id, path);
	return rename_into(s, e->path, path);
}

int
spool_unlink_blk(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int rc;

	spool_path(s, q, id, path);
	rc = fsio_unlink(s->dirfd, path);
	if (rc != -ENOENT || !s->hashed[q])
		return rc;
	rc = spool_locate(s, q, id, path, &st);
	return rc < 0 ? rc : fsio_unlink(s->dirfd, path);
}

int
spool_remove_blk(const struct spool *s, enum queue q, const char *id)
{
	static const enum queue logs[] = {QUEUE_BOUNCE, QUEUE_DEFER, QUEUE_TRACE};
	char path[SPOOL_PATH_MAX];

	for (size_t i = 0; i < PP_COUNT(logs); i++) {
		int rc;

		spool_path(s, logs[i], id, path);
		rc = fsio_unlink(s->dirfd, path);
		if (rc < 0 && rc != -ENOENT)
			return rc;
	}
	return spool_unlink_blk(s, q, id);
}

int
spool_find_blk(const struct spool *s, const char *id, const enum queue *queues,
    enum queue *ret_queue, struct stat *ret_stat)
{
	char path[SPOOL_PATH_MAX];

	for (; *queues != QUEUE_COUNT; queues++) {
		int rc = spool_locate(s, *queues, id, path, ret_stat);

		if (rc == 0)
			*ret_queue = *queues;
		if (rc != -ENOENT)
			return rc;
	}
	return -ENOENT;
}

int
spool_find_path_blk(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX])
{
	struct stat st;

	return spool_locate(s, q, id, path, &st);
}
