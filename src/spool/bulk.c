/*
 * bulk.c - marking whole queues, and what moving, marking and deleting them have in common.
 *
 * What fails for one file is told and keeps no other from its turn; that a file has gone meanwhile
 * is nobody's failure. The actions themselves know nothing of a daemon but that there may be one.
 */
#include <dirent.h>
#include <errno.h>
#include <unistd.h>
#include "bulk_internal.h"

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
