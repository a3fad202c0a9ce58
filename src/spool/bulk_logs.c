/*
 * bulk_logs.c - takes away the logs of deleted messages.
 *
 * By the id of each message that was deleted, never by what is in a log directory: the logs of mail
 * that lives on are being appended to at this moment. Directories without any file (bounce and
 * trace, mostly) are not asked at all.
 */
#include <errno.h>
#include "bulk_internal.h"
#include "dirs.h"

enum { LOGS = 3 };
static const enum queue log_queues[LOGS] = {QUEUE_BOUNCE, QUEUE_DEFER, QUEUE_TRACE};

struct bulk_logs {
	unsigned present;
	struct log {
		struct dirs dirs;
		int leaf_fd; /* where the last one went, or -1 */
		char leaf[SPOOL_PATH_MAX];
	} log[LOGS];
};

unsigned
bulk_logs_present(const struct spool *s)
{
	unsigned present = 0;

	for (unsigned i = 0; i < LOGS; i++) {
		struct names names;
		struct name n;

		if (names_open(&names, s, log_queues[i]) == 0 && names_next(&names, &n) == 1)
			present |= 1u << log_queues[i];
		names_close(&names);
	}
	return present;
}

int
bulk_logs_unlink(const struct spool *s, unsigned present, const char *id)
{
	char path[SPOOL_PATH_MAX];
	int rc = 0;

	for (unsigned i = 0; i < LOGS; i++) {
		int one;

		if ((present & 1u << log_queues[i]) == 0)
			continue;
		spool_path(s, log_queues[i], id, path);
		one = fsio_unlink(s->dirfd, path);
		if (one < 0 && one != -ENOENT && rc == 0)
			rc = one;
	}
	return rc;
}

struct bulk_logs *
bulk_logs_new(const struct spool *s)
{
	struct bulk_logs *l = MEM_NEW(struct bulk_logs);

	l->present = bulk_logs_present(s);
	for (unsigned i = 0; i < LOGS; i++) {
		dirs_init(&l->log[i].dirs, s, log_queues[i]);
		l->log[i].leaf_fd = -1;
	}
	return l;
}

void
bulk_logs_free(struct bulk_logs *l)
{
	if (l == NULL)
		return;
	for (unsigned i = 0; i < LOGS; i++) {
		dirs_fini(&l->log[i].dirs);
		fsio_close(l->log[i].leaf_fd);
	}
	mem_free(l);
}

/* The leaf for what comes from `path`. */
static int
open_leaf(struct log *g, int batch_fd, const char *path)
{
	char leaf[SPOOL_PATH_MAX];
	int rc;

	bulk_leaf_name(path, leaf);
	if (g->leaf_fd >= 0 && strcmp(leaf, g->leaf) == 0)
		return g->leaf_fd;
	fsio_close(g->leaf_fd);
	g->leaf_fd = -1;
	rc = fsio_mkdir(batch_fd, leaf, 0700);
	if (rc < 0 && rc != -EEXIST)
		return rc;
	g->leaf_fd = fsio_open_dir(batch_fd, leaf);
	memcpy(g->leaf, leaf, sizeof(leaf));
	return g->leaf_fd;
}

static int
move_one(struct log *g, int batch_fd, const char *id)
{
	const char *path;
	int from = dirs_get(&g->dirs, id, false, &path), to, rc;

	if (from < 0)
		return from;
	to = open_leaf(g, batch_fd, path);
	rc = to < 0 ? to : fsio_rename_between(from, id, to, id);
	/* The slow way, where the other cannot be gone. */
	return rc == 0 || rc == -ENOENT ? rc : fsio_unlink(from, id);
}

int
bulk_logs_move(struct bulk_logs *l, int batch_fd, const char *id)
{
	int rc = 0;

	for (unsigned i = 0; i < LOGS; i++) {
		int one = 0;

		if (l->present & 1u << log_queues[i])
			one = move_one(&l->log[i], batch_fd, id);
		if (one < 0 && one != -ENOENT && rc == 0)
			rc = one;
	}
	return rc;
}
