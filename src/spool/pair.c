/*
 * pair.c - messages with two names, and the lock of those who make such.
 *
 * The lock is flock(2) on the directory hold/, which every spool has and no other program locks. It
 * tells who is at work; that there may be something left of somebody who was killed is told by a
 * mark in deleted/, so that nobody has to look at a hundred thousand files to know that there is
 * nothing. The names of a pair are looked at again under the lock: before it they were a guess.
 */
#include <errno.h>
#include "bulk_internal.h"
#include "pp/spool/pair.h"

#define MARK SPOOL_DELETED "/.moving"

int
pair_lock_blk(const struct spool *s, bool alone, bool wait)
{
	int fd = fsio_open_dir(s->dirfd, spool_queue_name(QUEUE_HOLD)), rc;

	if (fd < 0)
		return fd;
	if (alone)
		rc = fsio_lock(fd, wait);
	else
		rc = wait ? fsio_lock_shared_wait(fd) : fsio_lock_shared(fd);
	if (rc == 0)
		return fd;
	fsio_close(fd);
	return rc;
}

void
pair_unlock(int lock)
{
	/* Not by the close alone: a child may have been given a copy. */
	if (lock >= 0)
		fsio_unlock(lock);
	fsio_close(lock);
}

int
pair_begin_blk(const struct spool *s)
{
	int fd = fsio_open_append(s->dirfd, MARK, 0600);

	fsio_close(fd);
	return fd < 0 ? fd : 0;
}

void
pair_end_blk(const struct spool *s)
{
	fsio_unlink(s->dirfd, MARK);
}

bool
pair_is_begun_blk(const struct spool *s)
{
	struct stat st;

	return fsio_stat(s->dirfd, MARK, &st) == 0;
}

bool
pair_is(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX])
{
	char hold[SPOOL_PATH_MAX];
	struct stat st, held;

	return spool_locate(s, q, id, path, &st) == 0 && st.st_nlink > 1 &&
	       spool_locate(s, QUEUE_HOLD, id, hold, &held) == 0 && held.st_ino == st.st_ino &&
	       held.st_dev == st.st_dev;
}

int
pair_settle_blk(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	int lock, rc = 0;

	PP_ASSERT(q != QUEUE_HOLD);
	if (!pair_is(s, q, id, path))
		return 0;
	lock = pair_lock_blk(s, true, false);
	if (lock < 0)
		return lock;
	if (pair_is(s, q, id, path)) {
		rc = fsio_unlink(s->dirfd, path);
		rc = rc < 0 && rc != -ENOENT ? rc : 1;
	}
	pair_unlock(lock);
	return rc;
}

struct settling {
	const struct spool *spool;
	void (*tell)(void *ctx, const char *path);
	void *ctx;
	int settled, rc;
};

/* Not from active: the queue manager may have opened it there, and sees to that itself. What it
 * takes there from now on is one name less for us, and found out by its pair_settle_blk. */
static int
settle_held(void *ctx, const struct spool_entry *e)
{
	static const enum queue others[] = {QUEUE_DEFERRED, QUEUE_INCOMING};
	struct settling *t = ctx;
	char path[SPOOL_PATH_MAX];

	if (!S_ISREG(e->st.st_mode) || e->st.st_nlink < 2)
		return 0;
	for (size_t i = 0; i < PP_COUNT(others); i++) {
		int rc;

		if (!pair_is(t->spool, others[i], e->id, path))
			continue;
		rc = fsio_unlink(t->spool->dirfd, path);
		if (rc < 0 && rc != -ENOENT)
			t->rc = rc;
		if (rc < 0)
			continue;
		t->settled++;
		t->tell(t->ctx, path);
	}
	return 0;
}

int
pair_settle_all_blk(
    const struct spool *s, bool wait, void (*tell)(void *ctx, const char *path), void *ctx)
{
	struct settling t = {.spool = s, .tell = tell, .ctx = ctx};
	int lock = pair_lock_blk(s, true, wait), rc;

	if (lock < 0)
		return lock;
	rc = spool_scan_blk(s, QUEUE_HOLD, settle_held, &t);
	if (rc == 0)
		rc = t.rc;
	if (rc == 0)
		pair_end_blk(s);
	pair_unlock(lock);
	return rc < 0 ? rc : t.settled;
}
