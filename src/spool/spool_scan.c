/*
 * spool_scan.c - every file of a queue with its status, for those who must look at each of them.
 *
 * What is told of a file was true a moment ago. One that has vanished since is left out here or
 * answered with -ENOENT by whatever the caller does to it.
 */
#include <dirent.h>
#include "names.h"

/* any: also names that are no id, and directories that hash nothing. */
struct scan {
	const struct spool *spool;
	enum queue queue;
	bool any;
	int (*each)(void *ctx, const struct spool_entry *e);
	void *ctx;
};

static int
scan_name(const struct scan *sc, const struct name *n)
{
	char path[SPOOL_PATH_MAX];
	struct spool_entry e = {.id = n->name, .queue = sc->queue, .path = path};
	bool valid = spool_id_valid(str_of(n->name));

	if (!sc->any && (!valid || n->type == DT_DIR))
		return 0;
	if (fsio_stat(n->dir->fd, n->name, &e.st) < 0)
		return 0;
	if (!names_path(n, path))
		return 0;
	e.misplaced = valid && !names_in_place(sc->spool, sc->queue, n);
	return sc->each(sc->ctx, &e);
}

static int
scan(const struct scan *sc)
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

	return scan(&sc);
}

int
spool_scan_any_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx)
{
	const struct scan sc = {.spool = s, .queue = q, .any = true, .each = each, .ctx = ctx};

	return scan(&sc);
}
