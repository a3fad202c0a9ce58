/*
 * bulk_delete.c - takes all mail of a queue out of it, into deleted/.
 *
 * A hash directory that is full is exchanged whole for an empty one: one system call for thousands
 * of messages, and nobody ever sees the queue without that directory. What has no business in there
 * is put back afterwards. Elsewhere (flat queues, where new mail comes in, and a descriptor may be
 * held) each message is renamed. Both are atomic for a message: it is in the queue or it is not,
 * and when the daemon moves it at the same time one of the two gets it, and the other sees ENOENT.
 * A kill leaves a batch that the next purge goes on with.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "bulk_internal.h"
#include "pp/runtime/loop.h"

enum {
	EXCHANGE_MIN = 32, /* fewer are renamed one by one */
	LETTERS_MAX = 256,
	BATCH_TRIES = 100,
	BATCH_NAME_MAX = 64,
};

struct deletion {
	const struct bulk *b;
	enum queue q;
	int deleted_fd, batch_fd;
	char batch[BATCH_NAME_MAX];
	int64_t *count;
};

void
bulk_leaf_name(const char *path, char leaf[SPOOL_PATH_MAX])
{
	size_t i;

	for (i = 0; path[i] != '\0' && i < SPOOL_PATH_MAX - 1; i++)
		leaf[i] = path[i] == '/' ? '.' : path[i];
	leaf[i] = '\0';
}

enum queue
bulk_leaf_path(const char *leaf, char path[SPOOL_PATH_MAX])
{
	struct str name = str_of(leaf);
	size_t dot = str_index(name, '.');
	enum queue q = spool_queue_find(str_head(name, dot));

	if (name.n >= SPOOL_PATH_MAX || q == QUEUE_COUNT)
		return QUEUE_COUNT;
	/* One letter behind each dot. */
	for (size_t i = dot; i < name.n; i += 2)
		if (name.p[i] != '.' || i + 1 == name.n || name.p[i + 1] == '.')
			return QUEUE_COUNT;
	for (size_t i = 0; i <= name.n; i++)
		path[i] = leaf[i] == '.' ? '/' : leaf[i];
	return q;
}

/* A new locked batch. A purge may take away an empty one that is not locked yet. */
static int
open_batch(struct deletion *d)
{
	for (int tries = 0; tries < BATCH_TRIES; tries++) {
		struct stat st;
		int rc;

		snprintf(d->batch, sizeof(d->batch), "%llx.%ld", (unsigned long long)loop_wall_us(),
		    (long)getpid());
		rc = fsio_mkdir(d->deleted_fd, d->batch, 0700);
		if (rc == -EEXIST)
			continue;
		if (rc < 0)
			return rc;
		d->batch_fd = fsio_open_dir(d->deleted_fd, d->batch);
		if (d->batch_fd < 0 && d->batch_fd != -ENOENT)
			return d->batch_fd;
		if (d->batch_fd >= 0 && fsio_lock(d->batch_fd, true) == 0 &&
		    fstat(d->batch_fd, &st) == 0 && st.st_nlink > 0)
			return 0;
		fsio_close(d->batch_fd);
		d->batch_fd = -1;
	}
	return -EBUSY;
}

static int
open_deletion(struct deletion *d)
{
	const struct spool *s = d->b->spool;
	int rc;

	d->deleted_fd = fsio_open_dir(s->dirfd, SPOOL_DELETED);
	if (d->deleted_fd == -ENOENT) {
		rc = fsio_mkdir(s->dirfd, SPOOL_DELETED, 0700);
		d->deleted_fd = rc < 0 ? rc : fsio_open_dir(s->dirfd, SPOOL_DELETED);
	}
	return d->deleted_fd < 0 ? d->deleted_fd : open_batch(d);
}

/* Unlocks the batch. One that stayed empty goes at once. */
static void
close_deletion(struct deletion *d)
{
	if (d->batch_fd >= 0) {
		bulk_remove_leaves(d->b->spool, d->batch_fd);
		fsio_rmdir(d->deleted_fd, d->batch);
	}
	fsio_close(d->batch_fd);
	fsio_close(d->deleted_fd);
}

/* An empty directory of the same owner and mode in the batch, to take the place of the other. */
static int
make_leaf(const struct deletion *d, const char *leaf, int like_fd)
{
	struct stat st, own;
	int rc, fd;

	if (fstat(like_fd, &st) < 0)
		return -errno;
	rc = fsio_mkdir(d->batch_fd, leaf, 0700);
	if (rc < 0)
		return rc;
	fd = fsio_open_dir(d->batch_fd, leaf);
	if (fd < 0)
		return fd;
	if (fstat(fd, &own) < 0)
		rc = -errno;
	else if (own.st_uid != st.st_uid || own.st_gid != st.st_gid)
		rc = fsio_chown(fd, st.st_uid, st.st_gid);
	if (rc == 0)
		rc = fsio_chmod(fd, st.st_mode & 07777);
	if (rc < 0) {
		fsio_close(fd);
		fsio_rmdir(d->batch_fd, leaf);
		return rc;
	}
	return fd;
}

/* Out of the queue; `gone` says that it has left it already. */
static void
delete_file(
    struct deletion *d, int from, const char *id, const struct stat *st, int leaf, bool gone)
{
	int rc = 0;

	if (!gone && spool_ready(st))
		rc = fsio_rename_between(from, id, leaf, id);
	/* A purge would put back what is not ready, and where renaming fails unlinking may not. */
	if ((!gone && rc < 0 && rc != -ENOENT) || !spool_ready(st))
		rc = fsio_unlink(from, id);
	if (rc == 0)
		*d->count += bulk_counts(st);
	bulk_failed(d->b, d->q, id, rc);
}

/* The files of one directory that is in its place. */
static int
sweep(struct deletion *d, const char *path, int fd)
{
	char name[SPOOL_PATH_MAX];
	struct names names;
	struct name n;
	int leaf, rc;

	bulk_leaf_name(path, name);
	rc = fsio_mkdir(d->batch_fd, name, 0700);
	leaf = rc < 0 && rc != -EEXIST ? rc : fsio_open_dir(d->batch_fd, name);
	if (leaf < 0) {
		fsio_close(fd);
		return leaf;
	}
	rc = names_open_fd(&names, d->b->spool, d->q, fd, path);
	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		struct stat st;

		rc = 0;
		if (n.type == DT_REG && spool_id_valid(str_of(n.name)) &&
		    fsio_stat(n.dir->fd, n.name, &st) == 0 && !bulk_half_written(d->b, d->q, &st))
			delete_file(d, n.dir->fd, n.name, &st, leaf, false);
	}
	names_close(&names);
	fsio_close(leaf);
	return rc;
}

/* The files of a directory that was exchanged: fd is in the batch now, `in_place` in the queue. */
static int
sort_out(struct deletion *d, const char *path, int fd, int in_place)
{
	struct names names;
	struct name n;
	int rc = names_open_fd(&names, d->b->spool, d->q, fd, path);

	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		struct stat st;

		rc = 0;
		if (n.type == DT_REG && spool_id_valid(str_of(n.name))) {
			if (fsio_stat(n.dir->fd, n.name, &st) < 0)
				continue;
			if (!bulk_half_written(d->b, d->q, &st)) {
				delete_file(d, n.dir->fd, n.name, &st, -1, true);
				continue;
			}
		}
		bulk_failed(
		    d->b, d->q, n.name, fsio_rename_between(n.dir->fd, n.name, in_place, n.name));
	}
	names_close(&names);
	return rc;
}

/* fd is used up. 1 = this is not possible here, and nothing was done. */
static int
exchange(struct deletion *d, const char *path, int *fd)
{
	char leaf[SPOOL_PATH_MAX];
	int fresh, rc;

	bulk_leaf_name(path, leaf);
	fresh = make_leaf(d, leaf, *fd);
	if (fresh < 0)
		return 1;
	rc = fsio_exchange(d->b->spool->dirfd, path, d->batch_fd, leaf);
	if (rc < 0) {
		fsio_rmdir(d->batch_fd, leaf);
		fsio_close(fresh);
		return 1;
	}
	/* What lies in the batch now may be another than what was opened, had somebody replaced it
	 * meanwhile. */
	fsio_close(*fd);
	*fd = fsio_open_dir(d->batch_fd, leaf);
	rc = *fd < 0 ? *fd : sort_out(d, path, *fd, fresh);
	fsio_close(fresh);
	return rc;
}

/* What is in a directory: how many files, and which hash directories. */
static int
look_into(struct deletion *d, const char *path, char letters[LETTERS_MAX], size_t *ret_files)
{
	int fd = fsio_open_dir(d->b->spool->dirfd, path), rc;
	struct names names;
	struct name n;
	size_t letters_n = 0;

	if (fd < 0)
		return fd;
	*ret_files = 0;
	rc = names_open_fd(&names, d->b->spool, d->q, fd, path);
	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		rc = 0;
		if (n.type != DT_DIR)
			++*ret_files;
		else if (n.name[1] == '\0' && letters_n < LETTERS_MAX - 1)
			letters[letters_n++] = n.name[0];
	}
	letters[letters_n] = '\0';
	names_close(&names);
	return rc;
}

static int
delete_directory(struct deletion *d, const char *path, int level)
{
	char letters[LETTERS_MAX], below[SPOOL_PATH_MAX];
	size_t files = 0;
	int rc = look_into(d, path, letters, &files), fd;

	if (d->q == QUEUE_MAILDROP || level >= SPOOL_DEPTH_MAX)
		letters[0] = '\0';
	for (const char *c = letters; rc == 0 && *c; c++) {
		snprintf(below, sizeof(below), "%s/%c", path, *c);
		rc = delete_directory(d, below, level + 1);
		if (rc == -ENOENT)
			rc = 0;
	}
	if (rc < 0 || files == 0)
		return rc;
	fd = fsio_open_dir(d->b->spool->dirfd, path);
	if (fd < 0)
		return fd;
	if (level > 0 && letters[0] == '\0' && files >= EXCHANGE_MIN) {
		rc = exchange(d, path, &fd);
		if (rc <= 0)
			return rc;
	}
	return sweep(d, path, fd);
}

/* Without deleted/: the slow way. */
static int
unlink_all(const struct bulk *b, enum queue q, int64_t *count)
{
	unsigned logs = bulk_logs_present(b->spool);
	struct names names;
	struct name n;
	int rc = names_open(&names, b->spool, q);

	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		struct stat st;

		rc = 0;
		if (n.type != DT_REG || !spool_id_valid(str_of(n.name)) ||
		    fsio_stat(n.dir->fd, n.name, &st) < 0 || bulk_half_written(b, q, &st))
			continue;
		rc = fsio_unlink(n.dir->fd, n.name);
		if (rc == 0) {
			*count += bulk_counts(&st);
			rc = bulk_logs_unlink(b->spool, logs, n.name);
		}
		bulk_failed(b, q, n.name, rc);
		rc = 0;
	}
	names_close(&names);
	return rc;
}

int
bulk_delete_blk(const struct bulk *b, enum queue q, int64_t *count)
{
	struct deletion d = {.b = b, .q = q, .deleted_fd = -1, .batch_fd = -1, .count = count};
	int rc;

	PP_ASSERT(q <= QUEUE_CORRUPT);
	if (open_deletion(&d) < 0)
		rc = unlink_all(b, q, count);
	else
		rc = delete_directory(&d, spool_queue_name(q), 0);
	close_deletion(&d);
	return rc;
}
