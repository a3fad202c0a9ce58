/*
 * spool_scan.c - walks one queue, whatever its hash depth.
 *
 * Directories are read in their own order and depth first, as Postfix's tools do, so that listings
 * agree. Memory does not grow with the queue: one open directory per level.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "internal.h"

static int scan_directory(const struct scan *sc, const char *path, int level);

static int
scan_file(const struct scan *sc, int dirfd, const char *dir, const char *name)
{
	char path[SPOOL_PATH_MAX], want[SPOOL_PATH_MAX];
	struct spool_entry e = {.id = name, .queue = sc->queue, .path = path};
	bool valid = spool_id_valid(str_of(name));

	if ((!valid && !sc->any) || fsio_stat(dirfd, name, &e.st) < 0)
		return 0; /* none of ours, or vanished meanwhile */
	if (S_ISDIR(e.st.st_mode) && !sc->any)
		return 0;
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		return 0;
	if (valid) {
		spool_path(sc->spool, sc->queue, name, want);
		e.misplaced = strcmp(path, want) != 0;
	}
	return sc->each(sc->ctx, &e);
}

static int
scan_entry(const struct scan *sc, int dirfd, const char *dir, const struct dirent *d, int level)
{
	char path[SPOOL_PATH_MAX];
	bool letter = d->d_name[0] != '.' && d->d_name[1] == '\0' && sc->queue != QUEUE_MAILDROP;
	struct stat st;

	if (d->d_name[0] == '.')
		return 0;
	if (!letter || level >= SPOOL_DEPTH_MAX)
		return scan_file(sc, dirfd, dir, d->d_name);
	if (fsio_stat(dirfd, d->d_name, &st) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return scan_file(sc, dirfd, dir, d->d_name);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, d->d_name) >= sizeof(path))
		return 0;
	return scan_directory(sc, path, level + 1);
}

static int
scan_directory(const struct scan *sc, const char *path, int level)
{
	int fd = fsio_open_dir(sc->spool->dirfd, path), rc = 0;
	struct dirent *d;
	DIR *dir;

	if (fd < 0)
		return level > 0 && fd == -ENOENT ? 0 : fd;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		fsio_close(fd);
		return rc;
	}
	while (rc == 0) {
		errno = 0;
		d = readdir(dir);
		if (d == NULL) {
			rc = -errno;
			break;
		}
		rc = scan_entry(sc, fd, path, d, level);
	}
	closedir(dir);
	return rc;
}

int
spool_scan(const struct scan *sc)
{
	return scan_directory(sc, spool_queue_name(sc->queue), 0);
}

int
spool_scan_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx)
{
	const struct scan sc = {.spool = s, .queue = q, .each = each, .ctx = ctx};

	return spool_scan(&sc);
}
