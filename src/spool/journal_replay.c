/*
 * journal_replay.c - what a run left in the journal becomes files, or is put in order to be
 * delivered from there.
 *
 * A start does the latter: tens of thousands of files take the disk half a minute, in which nobody
 * would be served, and most of that mail needs none. Files are for who looks at the spool of a
 * daemon that is down. Nothing is removed before all of it lies in files that are safe, so a replay
 * that is broken off is simply made again; and one that fails takes its files back, so that a full
 * disk has no less room for it than before. There may be tens of thousands of them: they are made
 * safe together.
 */
#include <errno.h>
#include <unistd.h>
#include "idset.h"
#include "journal_left.h"
#include "receipts.h"
#include "pp/spool/receipts.h"
#include "pp/spool/writer.h"

enum { MADE_MAX = 1 << 30 };

struct replay {
	const struct spool *spool;
	struct journal_left *left;
	int64_t count;
	bool is_live;    /* something in it was not done */
	struct buf made; /* ids, each with its NUL */
};

int
journal_sync_dir_blk(const struct spool *s)
{
	int fd = fsio_open_dir(s->dirfd, SPOOL_JOURNAL), rc;

	if (fd < 0)
		return fd;
	rc = fsio_sync(fd);
	fsio_close(fd);
	return rc;
}

static int
found_one(void *ctx, unsigned number)
{
	return 1;
}

bool
journal_is_left_blk(const struct spool *s)
{
	return receipts_left_blk(s) || journal_each_segment_blk(s, found_one, NULL) == 1;
}

static int
make_file(const struct spool *s, const char *id, struct str bytes)
{
	char path[SPOOL_PATH_MAX];
	int fd, rc;

	spool_path(s, QUEUE_INCOMING, id, path);
	fd = spool_create_file(s, path);
	if (fd < 0)
		return fd;
	rc = fsio_write(fd, bytes);
	if (rc == 0)
		rc = fsio_chmod(fd, 0700);
	fsio_close(fd);
	if (rc < 0)
		fsio_unlink(s->dirfd, path);
	return rc;
}

static int
replay_entry(void *ctx, struct journal_left_entry *e)
{
	struct replay *r = ctx;
	struct buf memory;
	struct str file;
	int rc = journal_left_file(e, &memory, &file);

	spool_id_seen(r->spool, e->id);
	r->is_live = true;
	if (rc == 0)
		rc = journal_left_is_file_blk(r->left, e->id, file);
	if (rc == 0) {
		rc = make_file(r->spool, e->id, file);
		if (rc == 0)
			rc = buf_add(&r->made, (struct str){e->id, strlen(e->id) + 1});
		idset_add(&r->left->filed, e->id); /* nobody promises that there is no second */
		r->count += rc == 0;
	}
	buf_fini(&memory);
	return rc < 0 ? rc : 0;
}

/* The journal has all of it still. */
static void
take_back(const struct replay *r)
{
	struct str ids = buf_str(&r->made);
	char path[SPOOL_PATH_MAX];

	while (ids.n > 0) {
		spool_path(r->spool, QUEUE_INCOMING, ids.p, path);
		fsio_unlink(r->spool->dirfd, path);
		ids = str_from(ids, strlen(ids.p) + 1);
	}
}

static int
make_files(struct replay *r, struct journal_left *l)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < l->n; i++)
		rc = journal_left_each_blk(l, &l->old[i], replay_entry, r);
	/* Also what was there already: who made it may not have come to that. */
	if (rc == 0 && r->is_live)
		rc = fsio_sync_all(r->spool->dirfd);
	if (rc < 0)
		take_back(r);
	return rc;
}

static int
remove_one(void *ctx, unsigned number)
{
	const struct spool *s = ctx;
	char path[JOURNAL_NAME_MAX];

	journal_segment_path(number, path);
	return fsio_unlink(s->dirfd, path);
}

static int64_t
replay_all(const struct spool *s, unsigned *ret_damaged)
{
	struct replay r = {.spool = s, .made.max = MADE_MAX};
	struct journal_left *l;
	int rc = journal_left_new_blk(s, &l);

	r.left = l;
	if (rc == 0)
		rc = make_files(&r, l);
	if (rc == 0)
		rc = journal_each_segment_blk(s, remove_one, (void *)(uintptr_t)s);
	if (rc == 0)
		rc = receipts_replay_blk(s, NULL);
	if (rc == 0)
		rc = journal_sync_dir_blk(s);
	if (ret_damaged)
		*ret_damaged = l->damaged;
	journal_left_free(l);
	buf_fini(&r.made);
	return rc < 0 ? rc : r.count;
}

int64_t
journal_replay_blk(const struct spool *s, uid_t uid, gid_t gid, unsigned *ret_damaged)
{
	bool is_root = geteuid() == 0 && uid != (uid_t)-1;
	gid_t own = getegid();
	int64_t count;

	/* As the owner: not the files alone have to be his, also the directories they are hashed
	 * into. */
	if (is_root && (setegid(gid) < 0 || seteuid(uid) < 0))
		count = -errno;
	else
		count = replay_all(s, ret_damaged);
	if (is_root && (seteuid(0) < 0 || setegid(own) < 0) && count >= 0)
		count = -errno;
	return count;
}

/* An entry is put in order in the memory of its segment. */
struct order {
	const struct spool *spool;
	struct journal_left *left;
	const struct receipts_file *receipts; /* or NULL */
	struct idset young;
	size_t live; /* in this segment */
	bool is_changed;
};

/* A notice is made from a log, and what has one is a file. Where there is no room for it there is
 * no notice: 0. */
static int
file_for_notice(struct order *o, const char *id, struct str file)
{
	int rc = writer_file_blk(o->spool, QUEUE_INCOMING, id, file, 0700);

	idset_add(&o->left->filed, id);
	if (rc == -ENOSPC || rc == -EDQUOT)
		return 0;
	return rc < 0 ? rc : 1;
}

static int
order_entry(void *ctx, struct journal_left_entry *e)
{
	struct order *o = ctx;
	struct buf memory;
	struct str file;
	int rc = journal_left_file(e, &memory, &file);

	spool_id_seen(o->spool, e->id);
	if (rc == 0)
		rc = journal_left_is_file_blk(o->left, e->id, file);
	if (rc == 0 && receipts_owe_notice(o->receipts, e))
		rc = file_for_notice(o, e->id, file);
	if (rc == 1) {
		*e->map |= JOURNAL_ALL_DONE;
		o->is_changed = true;
	} else if (rc == 0) {
		o->live++;
		idset_add(&o->young, e->id);
		o->is_changed |= receipts_mark(o->receipts, e);
	}
	buf_fini(&memory);
	return rc < 0 ? rc : 0;
}

/* Its map, changed in memory, onto the disk; a segment in which nothing is left makes room. */
static int
order_segment(struct order *o, struct journal_left *l, const struct journal_old *old)
{
	struct str map = {l->segment + JOURNAL_HEAD, JOURNAL_UNITS};
	char path[JOURNAL_NAME_MAX];
	int fd, rc;

	o->live = 0;
	o->is_changed = false;
	rc = journal_left_each_blk(l, old, order_entry, o);
	journal_segment_path(old->number, path);
	if (rc < 0 || o->live == 0)
		return rc < 0 ? rc : fsio_unlink(o->spool->dirfd, path);
	if (!o->is_changed)
		return 0;
	fd = fsio_open_update(o->spool->dirfd, path);
	if (fd < 0)
		return fd;
	rc = fsio_pwrite(fd, map, JOURNAL_HEAD);
	if (rc == 0)
		rc = fsio_sync_data(fd);
	fsio_close(fd);
	return rc;
}

int64_t
journal_put_in_order_blk(const struct spool *s, unsigned *ret_damaged)
{
	struct order o = {.spool = s};
	struct receipts_file *receipts = NULL;
	struct journal_left *l;
	int64_t count = 0;
	int rc = journal_left_new_blk(s, &l);

	*ret_damaged = l->damaged;
	o.left = l;
	/* What is marked as being in a file has to be safe there. */
	if (rc == 0 && l->n > 0)
		rc = fsio_sync_all(s->dirfd);
	if (rc == 0 && l->n > 0)
		rc = receipts_read_blk(s, &receipts);
	o.receipts = receipts;
	for (size_t i = 0; rc == 0 && i < l->n; i++) {
		rc = order_segment(&o, l, &l->old[i]);
		count += (int64_t)o.live;
	}
	if (rc == 0)
		rc = receipts_replay_blk(s, &o.young);
	mem_free(receipts);
	idset_fini(&o.young);
	journal_left_free(l);
	return rc < 0 ? rc : count;
}
