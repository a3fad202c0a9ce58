/*
 * fsio.h - file system calls, relative to a held directory, whole or not at all.
 * THREAD any that may block: lanes and commands only (all of them block).
 * OWNS   descriptors returned are the caller's; all are close-on-exec, none follows a final
 * symlink. ERRORS 0 or a count, else -errno. EINTR is retried inside.
 */
#pragma once
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "pp/base/buf.h"

int fsio_open_dir(int dirfd, const char *path);
int fsio_open_read(int dirfd, const char *path);
/* The same, leaving the access time alone where that is allowed: with a time of change in the
 * future, as deferred mail has, each reading would write the inode. */
int fsio_open_quietly(int dirfd, const char *path);
/* O_RDWR of an existing regular file. */
int fsio_open_update(int dirfd, const char *path);
/* O_CREAT|O_EXCL|O_RDWR; the mode is set exactly, whatever the umask. */
int fsio_create(int dirfd, const char *path, mode_t mode);
/* O_CREAT|O_APPEND|O_RDWR. */
int fsio_open_append(int dirfd, const char *path, mode_t mode);
void fsio_close(int fd);

int fsio_write(int fd, struct str bytes);
int fsio_pwrite(int fd, struct str bytes, off_t at);
/* All of the parts, one behind the other; they are used up. */
/* The same, and what was written is safe; the rest of the file is not touched. */
int fsio_pwritev_sync(int fd, struct iovec *v, size_t count, off_t at);
int fsio_pwritev(int fd, struct iovec *parts, size_t n, off_t at);
/* Reads up to n bytes, fewer only at the end of the file; returns the count. */
ssize_t fsio_pread(int fd, char *to, size_t n, off_t at);
/* With one system call: of a file on a disk, less than n when that was the end. */
ssize_t fsio_pread_once(int fd, char *to, size_t n, off_t at);
/* Appends the whole file; -EFBIG when it is longer than what the buffer may still take. */
int fsio_read_all(int dirfd, const char *path, struct buf *to);
/* Write a file under a temporary name in the same directory, sync, rename into place. */
int fsio_replace(int dirfd, const char *path, struct str bytes, mode_t mode);

int fsio_sync(int fd);
/* The bytes, and of what is known of the file only what is needed to read them. */
int fsio_sync_data(int fd);
/* Everything on the file system that holds it: for many files at once. */
int fsio_sync_all(int fd);
int fsio_chmod(int fd, mode_t mode);
int fsio_chown(int fd, uid_t uid, gid_t gid);
int fsio_truncate(int fd, off_t size);
/* flock(2), whole file, exclusive; -EWOULDBLOCK when somebody has it and wait is false. */
int fsio_lock(int fd, bool wait);
/* Shared, without waiting. */
int fsio_lock_shared(int fd);
int fsio_lock_shared_wait(int fd);
void fsio_unlock(int fd);
/* Like rename(2), but -EEXIST when the new name exists: a queue file is never overwritten. */
int fsio_rename(int dirfd, const char *from, const char *to);
/* The same between two directories. */
int fsio_rename_between(int from_fd, const char *from, int to_fd, const char *to);
/* A second name. -EEXIST when there is one of that name. */
int fsio_link(int from_fd, const char *from, int to_fd, const char *to);
/* Each gets the place of the other, at once. -EINVAL or -ENOSYS where it is not possible. */
int fsio_exchange(int a_fd, const char *a, int b_fd, const char *b);
/* -ENOENT is an error here as everywhere; callers for whom it is none say so. */
int fsio_unlink(int dirfd, const char *path);
int fsio_rmdir(int dirfd, const char *path);
/* The mode is set exactly here too. */
int fsio_mkdir(int dirfd, const char *path, mode_t mode);
/* Sets atime and mtime, seconds. */
int fsio_set_mtime(int dirfd, const char *path, int64_t mtime);
/* The same with nanoseconds. */
int fsio_set_mtime_ns(int dirfd, const char *path, int64_t mtime, long ns);
int fsio_stat(int dirfd, const char *path, struct stat *ret);
/* Free bytes for an unprivileged writer, and whether an inode is free. */
int fsio_free_space(int dirfd, int64_t *ret_bytes, int64_t *ret_inodes);
