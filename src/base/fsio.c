/*
 * fsio.c - file system calls that finish what they begin.
 *
 * Every open is relative to a directory the caller holds, refuses symlinks in the last place and
 * is close-on-exec; that closes the classic spool races. Nothing else in the house opens files of
 * the spool.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "pp/base/fsio.h"

static int
open_at(int dirfd, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(dirfd, path, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int
fsio_open_dir(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int
fsio_open_read(int dirfd, const char *path)
{
	return open_at(dirfd, path, O_RDONLY | O_NONBLOCK, 0);
}

int
fsio_open_quietly(int dirfd, const char *path)
{
	int fd = open_at(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOATIME, 0);

	return fd == -EPERM ? fsio_open_read(dirfd, path) : fd;
}

int
fsio_open_update(int dirfd, const char *path)
{
	return open_at(dirfd, path, O_RDWR | O_NONBLOCK, 0);
}

static int
exact_mode(int fd, mode_t mode)
{
	int rc = fsio_chmod(fd, mode);

	if (rc < 0) {
		fsio_close(fd);
		return rc;
	}
	return fd;
}

int
fsio_create(int dirfd, const char *path, mode_t mode)
{
	int fd = open_at(dirfd, path, O_RDWR | O_CREAT | O_EXCL, mode);

	/* No umask of ours takes away owner bits; only other modes need the second call. */
	return fd < 0 || (mode & ~0700u) == 0 ? fd : exact_mode(fd, mode);
}

int
fsio_open_append(int dirfd, const char *path, mode_t mode)
{
	return open_at(dirfd, path, O_RDWR | O_CREAT | O_APPEND, mode);
}

void
fsio_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

int
fsio_write(int fd, struct str s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		s = str_from(s, (size_t)n);
	}
	return 0;
}

int
fsio_pwrite(int fd, struct str s, off_t at)
{
	while (s.n > 0) {
		ssize_t n = pwrite(fd, s.p, s.n, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		s = str_from(s, (size_t)n);
		at += n;
	}
	return 0;
}

static int
write_parts(int fd, struct iovec *v, size_t count, off_t at, int flags)
{
	while (count > 0) {
		int parts = count < IOV_MAX ? (int)count : IOV_MAX;
		ssize_t n = flags ? pwritev2(fd, v, parts, at, flags) : pwritev(fd, v, parts, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		for (; count > 0 && (size_t)n >= v->iov_len; v++, count--)
			n -= (ssize_t)v->iov_len;
		if (n > 0) {
			v->iov_base = (char *)v->iov_base + n;
			v->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int
fsio_pwritev(int fd, struct iovec *v, size_t count, off_t at)
{
	return write_parts(fd, v, count, at, 0);
}

int
fsio_pwritev_sync(int fd, struct iovec *v, size_t count, off_t at)
{
	int rc = write_parts(fd, v, count, at, RWF_DSYNC);

	if (rc != -ENOSYS && rc != -EOPNOTSUPP)
		return rc;
	rc = write_parts(fd, v, count, at, 0);
	return rc < 0 ? rc : fsio_sync_data(fd);
}

ssize_t
fsio_pread_once(int fd, char *to, size_t n, off_t at)
{
	ssize_t got;

	do
		got = pread(fd, to, n, at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

ssize_t
fsio_pread(int fd, char *to, size_t n, off_t at)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, to + have, n - have, at + (off_t)have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

static int
read_fd(int fd, struct buf *to)
{
	char chunk[8192];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (buf_add(to, (struct str){chunk, (size_t)n}) < 0)
			return -EFBIG;
	}
	return 0;
}

int
fsio_read_all(int dirfd, const char *path, struct buf *to)
{
	/* Follows symlinks: configuration is often one (Kubernetes secrets are). */
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = read_fd(fd, to);
	fsio_close(fd);
	return rc;
}

static int
write_and_sync(int dirfd, const char *path, struct str bytes, mode_t mode)
{
	int fd = fsio_create(dirfd, path, mode), rc;

	if (fd < 0)
		return fd;
	rc = fsio_write(fd, bytes);
	if (rc == 0)
		rc = fsio_sync(fd);
	fsio_close(fd);
	return rc;
}

int
fsio_replace(int dirfd, const char *path, struct str bytes, mode_t mode)
{
	char tmp[4096];
	int rc, n = snprintf(tmp, sizeof(tmp), "%s.%ld.tmp", path, (long)getpid());

	if (n < 0 || (size_t)n >= sizeof(tmp))
		return -ENAMETOOLONG;
	rc = write_and_sync(dirfd, tmp, bytes, mode);
	if (rc == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		rc = -errno;
	if (rc < 0 && rc != -EEXIST)
		unlinkat(dirfd, tmp, 0);
	return rc;
}

int
fsio_sync(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

int
fsio_sync_data(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

int
fsio_sync_all(int fd)
{
	return syncfs(fd) < 0 ? -errno : 0;
}

int
fsio_chmod(int fd, mode_t mode)
{
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

int
fsio_chown(int fd, uid_t uid, gid_t gid)
{
	return fchown(fd, uid, gid) < 0 ? -errno : 0;
}

int
fsio_truncate(int fd, off_t size)
{
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

int
fsio_lock(int fd, bool wait)
{
	int rc;

	do
		rc = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int
fsio_lock_shared(int fd)
{
	int rc;

	do
		rc = flock(fd, LOCK_SH | LOCK_NB);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int
fsio_lock_shared_wait(int fd)
{
	int rc;

	do
		rc = flock(fd, LOCK_SH);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

void
fsio_unlock(int fd)
{
	flock(fd, LOCK_UN);
}

int
fsio_rename_between(int from_fd, const char *from, int to_fd, const char *to)
{
	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system without RENAME_NOREPLACE: link(2) refuses an existing name as well. */
	if (linkat(from_fd, from, to_fd, to, 0) < 0)
		return -errno;
	return fsio_unlink(from_fd, from);
}

int
fsio_rename(int dirfd, const char *from, const char *to)
{
	return fsio_rename_between(dirfd, from, dirfd, to);
}

int
fsio_link(int from_fd, const char *from, int to_fd, const char *to)
{
	return linkat(from_fd, from, to_fd, to, 0) < 0 ? -errno : 0;
}

int
fsio_exchange(int a_fd, const char *a, int b_fd, const char *b)
{
	return renameat2(a_fd, a, b_fd, b, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

int
fsio_unlink(int dirfd, const char *path)
{
	return unlinkat(dirfd, path, 0) < 0 ? -errno : 0;
}

int
fsio_rmdir(int dirfd, const char *path)
{
	return unlinkat(dirfd, path, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int
fsio_mkdir(int dirfd, const char *path, mode_t mode)
{
	if (mkdirat(dirfd, path, mode) < 0)
		return -errno;
	/* What the umask may have taken away. */
	return (mode & 077) != 0 && fchmodat(dirfd, path, mode, 0) < 0 ? -errno : 0;
}

int
fsio_set_mtime_ns(int dirfd, const char *path, int64_t mtime, long ns)
{
	const struct timespec at = {.tv_sec = mtime, .tv_nsec = ns};
	const struct timespec t[2] = {at, at};

	return utimensat(dirfd, path, t, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int
fsio_set_mtime(int dirfd, const char *path, int64_t mtime)
{
	return fsio_set_mtime_ns(dirfd, path, mtime, 0);
}

int
fsio_stat(int dirfd, const char *path, struct stat *ret)
{
	return fstatat(dirfd, path, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int
fsio_free_space(int dirfd, int64_t *ret_bytes, int64_t *ret_inodes)
{
	struct statvfs v;

	if (fstatvfs(dirfd, &v) < 0)
		return -errno;
	*ret_bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
	/* Some file systems (btrfs) do not count inodes and say 0 of 0. */
	*ret_inodes = v.f_files == 0 ? INT64_MAX : (int64_t)v.f_favail;
	return 0;
}
