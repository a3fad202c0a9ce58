/*
 * spool_scan.c - every file of a queue with its status, for those who must look at each of them.
 *
 * What is told of a file was true a moment ago. One that has vanished since is left out here or
 * answered with -ENOENT by whatever the caller does to it.
 *
 * The files of a directory are asked in the order of their inodes, some ten thousand at a time: a
 * directory's own order is that of a hash, and where nothing of a large queue is in memory yet the
 * disk would be read here and there, each block many times over. Who reads the files afterwards in
 * the order he was told of them has the same gain.
 */
#include <dirent.h>
#include <stdlib.h>
#include "names.h"

enum { SORTED_TOGETHER = 16384 };

struct found {
	uint64_t inode;
	uint32_t name_at; /* in text */
	unsigned char type;
};

/* any: also names that are no id, and directories that hash nothing. */
struct scan {
	const struct spool *spool;
	enum queue queue;
	bool any;
	int (*each)(void *ctx, const struct spool_entry *e);
	void *ctx;
	/* Of one directory, not told yet. */
	struct names_dir *dir;
	struct buf text;
	struct found *found;
	size_t n, room;
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
by_inode(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

static int
tell(struct scan *sc)
{
	int rc = 0;

	qsort(sc->found, sc->n, sizeof(*sc->found), by_inode);
	for (size_t i = 0; i < sc->n && rc == 0; i++) {
		const struct found *f = &sc->found[i];
		const struct name name = {.name = sc->text.p + f->name_at,
		    .type = f->type,
		    .inode = f->inode,
		    .dir = sc->dir};

		rc = scan_name(sc, &name);
	}
	sc->n = 0;
	buf_clear(&sc->text);
	names_dir_unref(sc->dir);
	sc->dir = NULL;
	return rc;
}

static void
gather(struct scan *sc, const struct name *n)
{
	if (sc->n == sc->room) {
		sc->room = sc->room ? sc->room * 2 : 64;
		sc->found = mem_realloc(sc->found, sc->room * sizeof(*sc->found));
	}
	if (sc->dir == NULL) {
		sc->dir = n->dir;
		names_dir_ref(sc->dir);
	}
	sc->found[sc->n++] = (struct found){n->inode, (uint32_t)sc->text.n, n->type};
	buf_add(&sc->text, (struct str){n->name, strlen(n->name) + 1});
}

static int
scan(struct scan *sc)
{
	struct names names;
	struct name name;
	int rc = names_open(&names, sc->spool, sc->queue), more = 0;

	names.dots = sc->any;
	buf_init(&sc->text, (size_t)SORTED_TOGETHER * (NAME_MAX + 1));
	while (rc == 0) {
		more = names_next(&names, &name);
		if (sc->n > 0 && (more <= 0 || name.dir != sc->dir || sc->n == SORTED_TOGETHER))
			rc = tell(sc);
		if (more <= 0)
			break;
		gather(sc, &name);
	}
	names_dir_unref(sc->dir);
	names_close(&names);
	buf_fini(&sc->text);
	mem_free(sc->found);
	return rc == 0 && more < 0 ? more : rc;
}

int
spool_scan_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx)
{
	struct scan sc = {.spool = s, .queue = q, .each = each, .ctx = ctx};

	return scan(&sc);
}

int
spool_scan_any_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx)
{
	struct scan sc = {.spool = s, .queue = q, .any = true, .each = each, .ctx = ctx};

	return scan(&sc);
}
