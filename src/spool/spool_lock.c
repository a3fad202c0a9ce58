/*
 * spool_lock.c - one daemon per spool, and none while a command rearranges it.
 *
 * The lock is Postfix's own: flock(2) on pid/master.pid, so that its master and our daemon exclude
 * each other. The number in the file is for people; only the lock counts, and the kernel gives it
 * back when the holder dies. Commands share it: they do not disturb each other, and a daemon that
 * finds nothing but them waits for their end, where another daemon is refused at once.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "internal.h"
#include "receipts.h"
#include "pp/runtime/loop.h"

enum {
	LOCK_TRIES = 5, /* somebody who only tests holds it for a moment */
	LOCK_PAUSE_MS = 10,
	COMMAND_TRIES = 3000, /* how long a command may keep a daemon from starting */
};

static pid_t
read_holder(int fd)
{
	char text[64];
	ssize_t n = fsio_pread(fd, text, sizeof(text), 0);
	int64_t pid;

	if (n <= 0 || str_number(str_trim((struct str){text, (size_t)n}), 1, INT32_MAX, &pid) < 0)
		return 0;
	return (pid_t)pid;
}

static int
take(int fd)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
	int daemons = 0, commands = 0, rc;

	while ((rc = fsio_lock(fd, false)) == -EWOULDBLOCK) {
		if (fsio_lock_shared(fd) == 0)
			commands++;
		else
			daemons++;
		/* Not kept while we sleep: two that start would keep each other out. */
		fsio_unlock(fd);
		if (daemons >= LOCK_TRIES || commands >= COMMAND_TRIES)
			break;
		nanosleep(&pause, NULL);
	}
	return rc;
}

void
spool_ids_keep(const struct spool *s)
{
	int64_t last = counter_next(s->last_id, 0);
	struct timespec at[2] = {
	    {.tv_nsec = UTIME_OMIT}, {.tv_sec = last / 1000000, .tv_nsec = last % 1000000 * 1000}};

	if (last <= loop_wall_us())
		return;
	futimens(s->lock_fd, at); /* root's, who may be gone when we stop */
	if (s->queue_fd[QUEUE_INCOMING] >= 0)
		futimens(s->queue_fd[QUEUE_INCOMING], at); /* until the next file comes there */
}

int
spool_lock(struct spool *s, pid_t *ret_holder)
{
	char text[64];
	int fd, rc, n;

	PP_ASSERT(s->lock_fd < 0);
	fd = fsio_open_append(s->dirfd, SPOOL_LOCK_FILE, 0644);
	if (fd < 0)
		return fd;
	rc = take(fd);
	if (rc == 0)
		rc = fsio_truncate(fd, 0);
	if (rc == 0) {
		n = snprintf(text, sizeof(text), "%*ld\n", (int)sizeof(long) * 4, (long)getpid());
		rc = fsio_write(fd, (struct str){text, (size_t)n});
	}
	if (rc < 0) {
		if (rc == -EWOULDBLOCK)
			*ret_holder = read_holder(fd);
		fsio_close(fd);
		return rc;
	}
	s->lock_fd = fd;
	s->intakes = MEM_NEW(struct intakes_left);
	spool_ids_keep(s);
	return 0;
}

int
spool_lock_file(const struct spool *s)
{
	return fsio_open_read(s->dirfd, SPOOL_LOCK_FILE);
}

int
spool_hold(int fd)
{
	return fd < 0 ? 0 : fsio_lock_shared(fd);
}

void
spool_unhold(int fd)
{
	if (fd >= 0)
		fsio_unlock(fd);
}

void
spool_lock_show(const struct spool *s, gid_t gid)
{
	/* Nobody else: who can open it can hold it, and keep a daemon from starting. */
	if (fsio_chown(s->lock_fd, (uid_t)-1, gid) == 0)
		fsio_chmod(s->lock_fd, 0640);
}

int
spool_lock_test(const struct spool *s, pid_t *ret_holder)
{
	int fd = fsio_open_read(s->dirfd, SPOOL_LOCK_FILE), rc;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	rc = fsio_lock_shared(fd);
	if (rc == -EWOULDBLOCK) {
		*ret_holder = read_holder(fd);
		rc = 1;
	}
	fsio_close(fd);
	return rc;
}

int
spool_changing_blk(const struct spool *s)
{
	int fd = fsio_open_dir(s->dirfd, SPOOL_DELETED);
	int rc = fd < 0 ? fd : fsio_lock_shared_wait(fd);

	if (rc == 0)
		return fd;
	fsio_close(fd);
	return rc;
}

bool
spool_is_changing(const struct spool *s)
{
	int fd = fsio_open_dir(s->dirfd, SPOOL_DELETED);
	bool is_changing = fd >= 0 && fsio_lock(fd, false) == -EWOULDBLOCK;

	fsio_close(fd); /* and with it the lock */
	return is_changing;
}
