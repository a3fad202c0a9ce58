/*
 * spool_file.c - the one way a new queue file becomes mail: bytes, mode, fsync, fsync of the
 * directory.
 *
 * The mode goes to 0700 before the fsync, as Postfix does it: the fsync then carries data and mode
 * together. The other order would need a second fsync, or a crash could leave an acknowledged mail
 * at 0600, which every scanner must ignore. The directory is synced as well, because a name that is
 * lost is a mail that is lost, and not every file system makes it durable with the file.
 */
#include <errno.h>
#include "internal.h"

int
spool_finish_file(const struct spool *s, enum queue q, const char *path, int fd, mode_t mode)
{
	int rc = fsio_chmod(fd, mode);

	if (rc == 0)
		rc = fsio_sync(fd);
	if (rc == 0)
		rc = spool_sync_parent(s, q, path);
	/* A submitter may write into maildrop but not open it: its file systems sync the name of a
	 * new file together with the file. */
	return rc == -EACCES && q == QUEUE_MAILDROP ? 0 : rc;
}

int
spool_create_file(const struct spool *s, const char *path)
{
	int fd = fsio_create(s->dirfd, path, 0600);

	if (fd != -ENOENT)
		return fd;
	/* A hash directory may be missing. */
	fd = spool_make_parents(s, path);
	return fd < 0 ? fd : fsio_create(s->dirfd, path, 0600);
}

int
spool_write_file(
    const struct spool *s, enum queue q, const char *path, struct str bytes, mode_t mode)
{
	int fd = spool_create_file(s, path), rc;

	if (fd < 0)
		return fd;
	rc = fsio_write(fd, bytes);
	if (rc == 0)
		rc = spool_finish_file(s, q, path, fd, mode);
	fsio_close(fd);
	if (rc < 0)
		fsio_unlink(s->dirfd, path);
	return rc;
}
