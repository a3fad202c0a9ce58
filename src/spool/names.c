/*
 * names.c - walks the directories of one queue, name by name.
 *
 * Directories are read in their own order and depth first, as Postfix's tools do, so that listings
 * agree. The kernel tells the type with the name on every file system that matters, so a walk costs
 * no system call per file; where it does not, the file is asked. Memory does not grow with the
 * queue: one open directory per level, and those that a caller still holds.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include "names.h"

void
names_dir_ref(struct names_dir *d)
{
	d->refs++;
}

void
names_dir_unref(struct names_dir *d)
{
	if (d == NULL || --d->refs > 0)
		return;
	closedir(d->stream); /* and its descriptor */
	mem_free(d);
}

static int
enter(struct names *n, int fd, const char *path)
{
	struct names_dir *d;
	DIR *stream = fdopendir(fd);

	if (stream == NULL) {
		int rc = -errno;

		fsio_close(fd);
		return rc;
	}
	d = MEM_NEW(struct names_dir);
	snprintf(d->path, sizeof(d->path), "%s", path);
	d->fd = fd;
	d->stream = stream;
	d->refs = 1;
	d->level = n->dir ? n->dir->level + 1 : 0;
	d->above = n->dir;
	n->dir = d;
	return 0;
}

static void
leave(struct names *n)
{
	struct names_dir *above = n->dir->above;

	names_dir_unref(n->dir);
	n->dir = above;
}

int
names_open_fd(struct names *n, const struct spool *s, enum queue q, int fd, const char *path)
{
	*n = (struct names){.spool = s, .queue = q};
	return enter(n, fd, path);
}

int
names_open(struct names *n, const struct spool *s, enum queue q)
{
	int fd = fsio_open_dir(s->dirfd, spool_queue_name(q));

	*n = (struct names){.spool = s, .queue = q};
	if (fd < 0)
		return fd;
	n->letters = q != QUEUE_MAILDROP;
	return enter(n, fd, spool_queue_name(q));
}

void
names_close(struct names *n)
{
	while (n->dir != NULL)
		leave(n);
}

static unsigned char
type_of(int dirfd, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type;
	return fsio_stat(dirfd, e->d_name, &st) < 0 ? DT_UNKNOWN : IFTODT(st.st_mode);
}

/* 1 = gone into, 0 = it has gone or cannot be named, or -errno. */
static int
descend(struct names *n, const char *name)
{
	char path[SPOOL_PATH_MAX];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", n->dir->path, name) >= sizeof(path))
		return 0;
	fd = fsio_open_dir(n->spool->dirfd, path);
	/* What is closed to us must not hide the rest. */
	if (fd < 0)
		return fd == -ENOENT || fd == -EACCES ? 0 : fd;
	return enter(n, fd, path);
}

/* To the directory itself, or to the one above. */
static bool
is_link(const char *name)
{
	return name[1] == '\0' || (name[1] == '.' && name[2] == '\0');
}

int
names_next(struct names *n, struct name *ret)
{
	while (n->dir != NULL) {
		const struct dirent *e;
		int rc;

		errno = 0;
		e = readdir(n->dir->stream);
		if (e == NULL && errno != 0)
			return -errno;
		if (e == NULL) {
			leave(n);
			continue;
		}
		if (e->d_name[0] == '.' && (!n->dots || is_link(e->d_name)))
			continue;
		*ret = (struct name){.name = e->d_name,
		    .type = type_of(n->dir->fd, e),
		    .inode = e->d_ino,
		    .dir = n->dir};
		if (ret->type == DT_UNKNOWN)
			continue; /* vanished meanwhile */
		if (ret->type != DT_DIR || e->d_name[1] != '\0' || !n->letters ||
		    n->dir->level >= SPOOL_DEPTH_MAX)
			return 1;
		rc = descend(n, e->d_name);
		if (rc < 0)
			return rc;
	}
	return 0;
}

bool
names_path(const struct name *n, char path[SPOOL_PATH_MAX])
{
	return (size_t)snprintf(path, SPOOL_PATH_MAX, "%s/%s", n->dir->path, n->name) <
	       SPOOL_PATH_MAX;
}

bool
names_in_place(const struct spool *s, enum queue q, const struct name *n)
{
	int depth = s->hashed[q] ? s->depth : 0;
	const char *letter = n->dir->path + strlen(spool_queue_name(q)) + 1;
	char letters[SPOOL_DEPTH_MAX + 1];

	if (n->dir->level != depth || depth == 0)
		return n->dir->level == depth;
	spool_hash_letters(n->name, letters);
	for (int i = 0; i < depth; i++)
		if (letter[i + i] != letters[i])
			return false;
	return true;
}
