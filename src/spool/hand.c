/*
 * hand.c - one id in all queues at once, for what was done by hand.
 *
 * An id names one message, so two files of it are two messages with one set of logs, and the move
 * of one could meet the other. The newcomer gets a name of its own and is held: it is in every
 * listing, and whether it is mail or a stray copy is for the administrator to say.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/spool/hand.h"

void
hand_places_blk(const struct spool *s, const char *id, struct hand_places *ret)
{
	char path[SPOOL_PATH_MAX];

	ret->found = 0;
	for (unsigned q = 0; q < HAND_QUEUES; q++)
		if (spool_locate(s, (enum queue)q, id, path, &ret->st[q]) == 0)
			ret->found |= 1u << q;
}

int
hand_set_aside_blk(
    struct spool *s, enum queue q, const char *id, const char *path, char new_id[SPOOL_ID_MAX])
{
	char from[SPOOL_PATH_MAX], to[SPOOL_PATH_MAX];
	struct stat st;
	int rc = 0;

	if (path == NULL)
		rc = spool_locate(s, q, id, from, &st);
	if (rc < 0)
		return rc;
	spool_id_new(s, new_id);
	spool_path(s, QUEUE_HOLD, new_id, to);
	rc = spool_make_parents(s, to);
	return rc < 0 ? rc : fsio_rename(s->dirfd, path ? path : from, to);
}

int
hand_put_right_blk(const struct spool *s, enum queue q, const char *id)
{
	char from[SPOOL_PATH_MAX], to[SPOOL_PATH_MAX];
	struct stat st;
	int rc = spool_locate(s, q, id, from, &st);

	spool_path(s, q, id, to);
	if (rc < 0 || strcmp(from, to) == 0)
		return rc;
	rc = spool_make_parents(s, to);
	if (rc == 0)
		rc = fsio_rename(s->dirfd, from, to);
	return rc < 0 ? rc : 1;
}

struct folders {
	const struct spool *spool;
	int (*each)(void *ctx, const char *path);
	void *ctx;
};

static bool
is_folder(int dirfd, const struct dirent *d)
{
	struct stat st;

	if (d->d_name[0] == '.' || d->d_name[1] != '\0')
		return false;
	if (d->d_type != DT_UNKNOWN)
		return d->d_type == DT_DIR;
	return fsio_stat(dirfd, d->d_name, &st) == 0 && S_ISDIR(st.st_mode);
}

static int
walk(const struct folders *f, const char *path, int level)
{
	char below[SPOOL_PATH_MAX];
	const struct dirent *d;
	DIR *dir;
	int rc = f->each(f->ctx, path), fd = -1;

	if (rc == 0)
		fd = fsio_open_dir(f->spool->dirfd, path);
	if (rc != 0 || fd < 0)
		return rc != 0 ? rc : level > 0 ? 0 : fd; /* each() has said it */
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		fsio_close(fd);
		return rc;
	}
	while (rc == 0 && level < SPOOL_DEPTH_MAX && (d = readdir(dir)) != NULL)
		if (is_folder(fd, d) && (size_t)snprintf(below, sizeof(below), "%s/%s", path,
					    d->d_name) < sizeof(below))
			rc = walk(f, below, level + 1);
	closedir(dir);
	return rc;
}

int
hand_directories_blk(
    const struct spool *s, enum queue q, int (*each)(void *ctx, const char *path), void *ctx)
{
	const struct folders f = {s, each, ctx};

	return walk(&f, spool_queue_name(q), 0);
}
