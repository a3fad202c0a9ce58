/*
 * deferlog_mark.c - the two changes that are ever made to a committed queue file, each in place.
 *
 * The byte that is overwritten is looked at first: an offset that does not lead to the record it
 * should is a damaged file or a bug, and writing there would make it worse. Nothing is synced: a
 * mark that a crash takes back costs a second delivery at most, never a mail (the log before it is
 * synced).
 */
#include <errno.h>
#include "internal.h"
#include "pp/spool/deferlog.h"

enum { WARN_DIGITS = 15 };

static int
open_message(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int fd;

	spool_path(s, q, id, path);
	fd = fsio_open_update(s->dirfd, path);
	if (fd == -ENOENT && spool_locate(s, q, id, path, &st) == 0)
		fd = fsio_open_update(s->dirfd, path);
	return fd;
}

static int
mark_done(int fd, off_t at)
{
	char type;
	ssize_t n = at > 0 ? fsio_pread(fd, &type, 1, at) : 0;

	if (n < 0)
		return (int)n;
	if (n == 1 && type == REC_DONE)
		return 0;
	if (n == 0 || type != REC_RCPT)
		return -EBADMSG;
	type = REC_DONE;
	return fsio_pwrite(fd, (struct str){&type, 1}, at);
}

int
deferlog_mark_done_blk(
    const struct spool *s, enum queue q, const char *id, const off_t *offsets, size_t n)
{
	int fd = open_message(s, q, id), rc = 0;

	if (fd < 0)
		return fd;
	/* All of them are tried: one bad offset must not send the others their mail again. */
	for (size_t i = 0; i < n; i++) {
		int one = mark_done(fd, offsets[i]);

		if (rc == 0)
			rc = one;
	}
	fsio_close(fd);
	return rc;
}

int
deferlog_mark_warned_blk(const struct spool *s, enum queue q, const char *id, off_t offset)
{
	char head[2];
	int fd = open_message(s, q, id), rc = -EBADMSG;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = offset > 0 ? fsio_pread(fd, head, sizeof(head), offset) : 0;
	if (n < 0)
		rc = (int)n;
	else if (n == sizeof(head) && head[0] == REC_WARN && head[1] == WARN_DIGITS)
		rc = fsio_pwrite(fd, STR("             -1"), offset + (off_t)sizeof(head));
	fsio_close(fd);
	return rc;
}
