/*
 * spool_walk.c - a scan of one queue that stops after each file.
 *
 * The daemon lists what is not in its memory a piece at a time, when the client has taken the piece
 * before; a lane's thread must not stand and wait for that, so the place in the tree is kept here.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/spool/walk.h"

struct spool_walk {
	const struct spool *spool;
	enum queue queue;
	bool begun;
	int level; /* of the innermost open directory; -1 = none */
	DIR *dir[SPOOL_DEPTH_MAX + 1];
	char path[SPOOL_PATH_MAX]; /* of the file; of the directory, its first path_n bytes */
	size_t path_n[SPOOL_DEPTH_MAX + 1];
	char id[SPOOL_ID_MAX];
};

struct spool_walk *
spool_walk_new(const struct spool *s, enum queue q)
{
	struct spool_walk *w = MEM_NEW(struct spool_walk);

	w->spool = s;
	w->queue = q;
	w->level = -1;
	return w;
}

void
spool_walk_free(struct spool_walk *w)
{
	if (w == NULL)
		return;
	for (; w->level >= 0; w->level--)
		closedir(w->dir[w->level]);
	mem_free(w);
}

/* Goes into the directory that w->path names. */
static int
enter(struct spool_walk *w)
{
	int fd = fsio_open_dir(w->spool->dirfd, w->path), rc;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		fsio_close(fd);
		return rc;
	}
	w->level++;
	w->dir[w->level] = dir;
	w->path_n[w->level] = strlen(w->path);
	return 0;
}

/* One name of the innermost directory: 1 = a file, 0 = nothing to tell, or -errno. */
static int
look(struct spool_walk *w, const char *name, struct spool_entry *ret)
{
	size_t dir_n = w->path_n[w->level];
	bool letter = name[0] != '\0' && name[1] == '\0' && w->queue != QUEUE_MAILDROP;
	char want[SPOOL_PATH_MAX];
	struct stat st;
	int rc;

	if (!spool_id_valid(str_of(name)) || fsio_stat(dirfd(w->dir[w->level]), name, &st) < 0 ||
	    (size_t)snprintf(w->path + dir_n, sizeof(w->path) - dir_n, "/%s", name) >=
		sizeof(w->path) - dir_n)
		return 0;
	if (S_ISDIR(st.st_mode)) {
		rc = letter && w->level < SPOOL_DEPTH_MAX ? enter(w) : 0;
		return rc == -ENOENT ? 0 : rc;
	}
	snprintf(w->id, sizeof(w->id), "%s", name);
	spool_path(w->spool, w->queue, w->id, want);
	*ret = (struct spool_entry){.id = w->id,
	    .queue = w->queue,
	    .st = st,
	    .path = w->path,
	    .misplaced = strcmp(w->path, want) != 0};
	return 1;
}

int
spool_walk_next_blk(struct spool_walk *w, struct spool_entry *ret)
{
	int rc = 0;

	if (!w->begun) {
		w->begun = true;
		snprintf(w->path, sizeof(w->path), "%s", spool_queue_name(w->queue));
		rc = enter(w);
	}
	while (rc == 0 && w->level >= 0) {
		struct dirent *d;

		errno = 0;
		d = readdir(w->dir[w->level]);
		w->path[w->path_n[w->level]] = '\0';
		if (d != NULL) {
			rc = look(w, d->d_name, ret);
			continue;
		}
		rc = -errno;
		closedir(w->dir[w->level--]);
	}
	return rc;
}
