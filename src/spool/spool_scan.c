/*
 * spool_scan.c - every file of a queue with its status, for those who must look at each of them.
 *
 * What is told of a file was true a moment ago. One that has vanished since is left out here or
 * answered with -ENOENT by whatever the caller does to it.
 */
#include <dirent.h>
#include <stdio.h>
#include "names.h"

static int
scan_name(const struct scan *sc, const struct name *n)
{
	char path[SPOOL_PATH_MAX], want[SPOOL_PATH_MAX];
	struct spool_entry e = {.id = n->name, .queue = sc->queue, .path = path};
	bool valid = spool_id_valid(str_of(n->name));

	if (!sc->any && (!valid || n->type == DT_DIR))
		return 0;
	if (fsio_stat(n->dir->fd, n->name, &e.st) < 0)
		return 0;
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", n->dir->path, n->name) >= sizeof(path))
		return 0;
	if (valid) {
		spool_path(sc->spool, sc->queue, n->name, want);
		e.misplaced = strcmp(path, want) != 0;
	}
	return sc->each(sc->ctx, &e);
}

int
spool_scan(const struct scan *sc)
{
	struct names names;
	struct name name;
	int rc = names_open(&names, sc->spool, sc->queue);

	names.dots = sc->any;
	while (rc == 0) {
		rc = names_next(&names, &name);
		if (rc <= 0)
			break;
		rc = scan_name(sc, &name);
	}
	names_close(&names);
	return rc;
}

int
spool_scan_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx)
{
	const struct scan sc = {.spool = s, .queue = q, .each = each, .ctx = ctx};

	return spool_scan(&sc);
}
