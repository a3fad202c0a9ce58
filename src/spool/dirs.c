/*
 * dirs.c - open hash directories, found by the letters of an id.
 *
 * A rename relative to two descriptors costs half of one by two paths. A spool has 16 such
 * directories, or 256; with more than that the oldest are simply forgotten.
 */
#include <errno.h>
#include "dirs.h"
#include "pp/base/hash.h"

enum { OPEN_MAX = 128 };

struct dirs_one {
	UT_hash_handle hh;
	int fd;
	char path[SPOOL_PATH_MAX];
};

void
dirs_init(struct dirs *d, const struct spool *s, enum queue q)
{
	*d = (struct dirs){.spool = s, .queue = q};
}

void
dirs_forget(struct dirs *d)
{
	struct dirs_one *one, *next;

	HASH_ITER (hh, d->set, one, next) {
		HASH_DEL(d->set, one);
		fsio_close(one->fd);
		mem_free(one);
	}
	d->last = NULL;
	d->n = 0;
}

void
dirs_fini(struct dirs *d)
{
	dirs_forget(d);
}

/* path: of a file in it, cut by the caller. */
static int
open_one(struct dirs *d, const char *path, const char *file, bool make)
{
	struct dirs_one *one;
	int fd = fsio_open_dir(d->spool->dirfd, path), rc;

	if (fd == -ENOENT && make) {
		rc = spool_make_parents(d->spool, file);
		fd = rc < 0 ? rc : fsio_open_dir(d->spool->dirfd, path);
	}
	if (fd < 0)
		return fd;
	if (d->n == OPEN_MAX)
		dirs_forget(d);
	one = MEM_NEW(struct dirs_one);
	one->fd = fd;
	memcpy(one->path, path, strlen(path) + 1);
	HASH_ADD_STR(d->set, path, one);
	d->last = one;
	d->n++;
	return 0;
}

int
dirs_get(struct dirs *d, const char *id, bool make, const char **ret_path)
{
	char file[SPOOL_PATH_MAX], path[SPOOL_PATH_MAX];
	size_t n;
	int rc;

	spool_path(d->spool, d->queue, id, file);
	n = str_rindex(str_of(file), '/');
	if (d->last == NULL || strncmp(d->last->path, file, n) != 0 || d->last->path[n] != '\0') {
		memcpy(path, file, n);
		path[n] = '\0';
		HASH_FIND_STR(d->set, path, d->last);
		if (d->last == NULL) {
			rc = open_one(d, path, file, make);
			if (rc < 0)
				return rc;
		}
	}
	if (ret_path != NULL)
		*ret_path = d->last->path;
	return d->last->fd;
}
