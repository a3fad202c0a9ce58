/*
 * bulk.c - moving and marking whole queues.
 *
 * One rename for each message and nothing else: names and types come with the directory, both ends
 * are open. A rename between two directories is what the file system serialises, so more threads
 * would not make it faster.
 */
#include <dirent.h>
#include <errno.h>
#include <unistd.h>
#include "bulk_internal.h"
#include "dirs.h"

enum { MODE_EXPIRED = 0010 };

bool
bulk_has_writers(enum queue q)
{
	return q == QUEUE_MAILDROP || q == QUEUE_INCOMING || q == QUEUE_HOLD;
}

void
bulk_failed(const struct bulk *b, enum queue q, const char *id, int rc)
{
	if (rc < 0 && rc != -ENOENT && b->failed != NULL)
		b->failed(b->ctx, q, id, rc);
}

bool
bulk_half_written(const struct bulk *b, enum queue q, const struct stat *st)
{
	return bulk_has_writers(q) && (b->live || q == QUEUE_MAILDROP) && !spool_ready(st);
}

bool
bulk_counts(const struct stat *st)
{
	return (st->st_mode & S_IXUSR) != 0;
}

/* Where nobody writes the file is not even looked at. */
static bool
half_written(const struct bulk *b, enum queue q, int dirfd, const char *name)
{
	struct stat st;

	return bulk_has_writers(q) && (b->live || q == QUEUE_MAILDROP) &&
	       (fsio_stat(dirfd, name, &st) < 0 || bulk_half_written(b, q, &st));
}

static int
move_one(struct dirs *to, const struct name *n, int64_t mtime)
{
	int rc = 0, fd;

	if (mtime >= 0)
		rc = fsio_set_mtime(n->dir->fd, n->name, mtime);
	for (int tries = 0; rc == 0 && tries < 2; tries++) {
		struct stat st;

		fd = dirs_get(to, n->name, true, NULL);
		rc = fd < 0 ? fd : fsio_rename_between(n->dir->fd, n->name, fd, n->name);
		if (rc != -ENOENT || fsio_stat(n->dir->fd, n->name, &st) < 0)
			break;
		/* It is the directory that has gone: somebody tidied up. */
		dirs_forget(to);
		rc = 0;
	}
	return rc;
}

int
bulk_move_blk(const struct bulk *b, enum queue from, enum queue to, int64_t mtime, int64_t *count)
{
	struct dirs dirs;
	struct names names;
	struct name n;
	int rc = names_open(&names, b->spool, from);

	PP_ASSERT(from != to);
	dirs_init(&dirs, b->spool, to);
	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		rc = 0;
		if (n.type != DT_REG || !spool_id_valid(str_of(n.name)) ||
		    half_written(b, from, n.dir->fd, n.name))
			continue;
		rc = move_one(&dirs, &n, mtime);
		if (rc == 0)
			++*count;
		bulk_failed(b, from, n.name, rc);
		rc = 0;
	}
	names_close(&names);
	dirs_fini(&dirs);
	return rc;
}

/* 1 = marked now. */
static int
expire_one(int dirfd, const char *name)
{
	int fd = fsio_open_quietly(dirfd, name), rc = 0;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (spool_ready(&st) && (st.st_mode & MODE_EXPIRED) == 0)
		rc = fsio_chmod(fd, (st.st_mode & 07777) | MODE_EXPIRED);
	else
		rc = -ENOENT;
	fsio_close(fd);
	return rc < 0 ? rc : 1;
}

int
bulk_expire_blk(const struct bulk *b, enum queue q, int64_t *count)
{
	struct names names;
	struct name n;
	int rc = names_open(&names, b->spool, q);

	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		rc = 0;
		if (n.type != DT_REG || !spool_id_valid(str_of(n.name)))
			continue;
		rc = expire_one(n.dir->fd, n.name);
		*count += rc == 1;
		bulk_failed(b, q, n.name, rc);
		rc = 0;
	}
	names_close(&names);
	return rc;
}

/* Made by root and not given away yet, when that was killed: nobody could use it. */
static int
give_away(const struct spool *s, uid_t uid)
{
	int fd = fsio_open_dir(s->dirfd, SPOOL_DELETED), rc = 0;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && st.st_uid != uid)
		rc = fsio_chown(fd, uid, (gid_t)-1);
	fsio_close(fd);
	return rc;
}

int
bulk_prepare_blk(const struct spool *s, uid_t uid, gid_t gid)
{
	for (size_t i = 0; i < spool_directory_count; i++) {
		const struct directory *d = &spool_directories[i];
		int rc;

		if (strcmp(d->name, SPOOL_DELETED) != 0)
			continue;
		rc = spool_make_directory(s->dirfd, d, uid, gid);
		if (rc == 0 && geteuid() == 0)
			rc = give_away(s, uid);
		return rc < 0 ? rc : 0;
	}
	return -EINVAL;
}
