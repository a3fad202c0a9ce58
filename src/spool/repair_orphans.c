/*
 * repair_orphans.c - logs whose message is in no queue.
 *
 * The names of all messages are walked once, since every log of a large queue has one: only a log
 * that is in none of them is looked at, and its message looked for once more where it may be, for
 * it may move from one queue to another meanwhile. A few logs are not worth the walk.
 */
#include <dirent.h>
#include <errno.h>
#include "idset.h"
#include "names.h"
#include "repair_internal.h"

enum {
	FEW = 64,
	ORPHAN_LOOKS = 2, /* a message may move from one queue to another meanwhile */
};

/* Where it is most likely comes first. */
static const enum queue queues[] = {QUEUE_DEFERRED, QUEUE_ACTIVE, QUEUE_HOLD, QUEUE_INCOMING,
    QUEUE_MAILDROP, QUEUE_CORRUPT, QUEUE_COUNT};

struct orphans {
	const struct repair *r;
	int64_t before; /* logs from then on may belong to mail that is being made */
	struct names names;
	size_t met;
	struct idset messages;
};

static void
read_messages(struct orphans *o)
{
	for (size_t i = 0; queues[i] != QUEUE_COUNT; i++) {
		struct names names;
		struct name n;

		if (names_open(&names, o->r->spool, queues[i]) < 0)
			continue;
		while (names_next(&names, &n) == 1)
			if (n.type == DT_REG)
				idset_add(&o->messages, n.name);
		names_close(&names);
	}
}

static bool
has_message(const struct spool *s, const char *id)
{
	char path[SPOOL_PATH_MAX];
	enum queue found;
	struct stat st;

	spool_path(s, queues[0], id, path);
	if (fsio_stat(s->dirfd, path, &st) == 0)
		return true;
	for (int looks = 0; looks < ORPHAN_LOOKS; looks++)
		if (spool_find_blk(s, id, queues, &found, &st) != -ENOENT)
			return true; /* also when it cannot be known */
	return false;
}

static void
look_at(struct orphans *o, const struct name *n)
{
	const struct spool *s = o->r->spool;
	char path[SPOOL_PATH_MAX];
	struct stat st;

	if (n->type != DT_REG || !spool_id_valid(str_of(n->name)))
		return;
	if (o->met++ == FEW)
		read_messages(o);
	if (idset_has(&o->messages, n->name) || !names_path(n, path) ||
	    fsio_stat(n->dir->fd, n->name, &st) < 0)
		return;
	if (S_ISREG(st.st_mode) && (int64_t)st.st_mtime < o->before && !has_message(s, n->name))
		repair_say(o->r, REPAIR_ORPHAN, path, NULL, fsio_unlink(s->dirfd, path));
}

int
repair_orphans_blk(
    const struct spool *s, enum queue q, int64_t before, repair_tell *tell, void *ctx)
{
	const struct repair r = {.spool = s, .tell = tell, .ctx = ctx};
	struct orphans o = {.r = &r, .before = before};
	struct name n;
	int rc = names_open(&o.names, s, q);

	PP_ASSERT(q == QUEUE_DEFER || q == QUEUE_BOUNCE || q == QUEUE_TRACE);
	while (rc == 0 && (rc = names_next(&o.names, &n)) == 1) {
		look_at(&o, &n);
		rc = 0;
	}
	names_close(&o.names);
	idset_fini(&o.messages);
	return rc;
}
