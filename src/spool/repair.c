/*
 * repair.c - what must be true of a spool before its mail is touched.
 *
 * Nothing here reads a message: names, types, modes and times are enough, so it costs one walk.
 * Every change is told to the caller, who logs it; one file that cannot be put right never keeps
 * the others from it. Ids of ours do not hold an inode, so no file is renamed to match its own.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "internal.h"
#include "pp/spool/repair.h"

enum {
	HALF_FILE_AGE = 7 * 86400, /* seconds; its writer may still be alive before */
	CORRUPT_NAMES = 1000,
	MICROSECOND_DIGITS = 5, /* the first of a short id */
	ORPHAN_LOOKS = 2,       /* a message may move from one queue to another meanwhile */
};

struct repair {
	const struct spool *spool;
	int64_t now;
	int64_t before; /* logs from then on may belong to mail that is being made */
	repair_tell *tell;
	void *ctx;
};

static void
tell(const struct repair *r, enum repair_what what, const char *path, const char *to, int rc)
{
	const struct repair_note note = {.what = what, .path = path, .to = to, .rc = rc};

	if (rc != -ENOENT) /* somebody was faster: nothing is left to say */
		r->tell(r->ctx, &note);
}

/* To where the id is hashed in q. */
static int
put_right(
    const struct repair *r, const char *path, enum queue q, const char *id, char to[SPOOL_PATH_MAX])
{
	int rc;

	spool_path(r->spool, q, id, to);
	rc = spool_make_parents(r->spool, to);
	return rc < 0 ? rc : fsio_rename(r->spool->dirfd, path, to);
}

static int
requeue_one(void *ctx, const struct spool_entry *e)
{
	const struct repair *r = ctx;
	char to[SPOOL_PATH_MAX];
	int rc;

	if (!S_ISREG(e->st.st_mode))
		return 0;
	rc = fsio_set_mtime(r->spool->dirfd, e->path, r->now);
	if (rc == 0)
		rc = put_right(r, e->path, QUEUE_INCOMING, e->id, to);
	tell(r, REPAIR_REQUEUED, e->path, rc < 0 ? NULL : to, rc);
	return 0;
}

int
repair_active_blk(const struct spool *s, int64_t now, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .now = now, .tell = tell_fn, .ctx = ctx};

	return spool_scan_blk(s, QUEUE_ACTIVE, requeue_one, &r);
}

static int
purge_one(void *ctx, const struct spool_entry *e)
{
	const struct repair *r = ctx;

	if (!S_ISREG(e->st.st_mode) || spool_ready(&e->st) ||
	    r->now - (int64_t)e->st.st_mtime <= HALF_FILE_AGE)
		return 0;
	tell(r, REPAIR_PURGED, e->path, NULL, fsio_unlink(r->spool->dirfd, e->path));
	return 0;
}

int
repair_purge_blk(const struct spool *s, enum queue q, int64_t now, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .now = now, .tell = tell_fn, .ctx = ctx};
	/* Any name: Postfix's half files are called microsecond.pid. */
	const struct scan sc = {.spool = s, .queue = q, .any = true, .each = purge_one, .ctx = &r};

	PP_ASSERT(q <= QUEUE_HOLD); /* a log is never ready: its mode is 0600 */
	return spool_scan(&sc);
}

/* ID#FIX: Postfix's postsuper was interrupted between its two renames. */
static bool
finish_one(const struct repair *r, const struct spool_entry *e)
{
	struct str name = str_of(e->id), suffix = STR("#FIX");
	char id[SPOOL_ID_MAX], to[SPOOL_PATH_MAX];
	int rc;

	if (!str_ends(name, suffix))
		return false;
	name.n -= suffix.n;
	if (!spool_id_valid(name))
		return false;
	memcpy(id, name.p, name.n);
	id[name.n] = '\0';
	rc = put_right(r, e->path, e->queue, id, to);
	tell(r, REPAIR_FINISHED, e->path, rc < 0 ? NULL : to, rc);
	return true;
}

/* An id of this program or of Postfix? Others are valid in commands, but nobody made them. */
static bool
is_made(struct str name)
{
	if (!spool_id_valid(name) || name.n < MICROSECOND_DIGITS)
		return false;
	if (spool_id_is_long(name))
		return true;
	for (size_t i = MICROSECOND_DIGITS; i < name.n; i++)
		if (strchr("0123456789ABCDEFabcdef", name.p[i]) == NULL)
			return false;
	return true;
}

static int
structure_one(void *ctx, const struct spool_entry *e)
{
	const struct repair *r = ctx;
	char to[SPOOL_PATH_MAX];
	int rc;

	if (S_ISDIR(e->st.st_mode)) {
		rc = fsio_rmdir(r->spool->dirfd, e->path);
		tell(r, REPAIR_REMOVED_DIRECTORY, e->path, NULL, rc);
		return 0;
	}
	if (!S_ISREG(e->st.st_mode)) {
		tell(r, REPAIR_REMOVED, e->path, NULL, fsio_unlink(r->spool->dirfd, e->path));
		return 0;
	}
	if (finish_one(r, e))
		return 0;
	if (!is_made(str_of(e->id))) {
		tell(r, REPAIR_BOGUS, e->path, NULL, 0);
		return 0;
	}
	if (!e->misplaced)
		return 0;
	rc = put_right(r, e->path, e->queue, e->id, to);
	tell(r, REPAIR_MOVED, e->path, rc < 0 ? NULL : to, rc);
	return 0;
}

/* Hash directories below the configured depth, which are empty by now. */
static void
prune(const struct repair *r, const char *path, int level, int depth)
{
	int fd = fsio_open_dir(r->spool->dirfd, path);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	struct stat st;

	if (dir == NULL) {
		fsio_close(fd);
		return;
	}
	/* Two links: its own name and its dot. Only `..` of directories inside would add more. */
	if (fstat(fd, &st) < 0 || st.st_nlink == 2 || level >= SPOOL_DEPTH_MAX)
		goto out;
	while ((e = readdir(dir)) != NULL) {
		char sub[SPOOL_PATH_MAX];

		if (e->d_name[0] == '.' || e->d_name[1] != '\0' ||
		    (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN) ||
		    (size_t)snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) >= sizeof(sub))
			continue;
		prune(r, sub, level + 1, depth);
		if (level >= depth && fsio_rmdir(r->spool->dirfd, sub) == 0)
			tell(r, REPAIR_REMOVED_DIRECTORY, sub, NULL, 0);
	}
out:
	closedir(dir);
}

int
repair_structure_blk(const struct spool *s, enum queue q, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .tell = tell_fn, .ctx = ctx};
	const struct scan sc = {
	    .spool = s, .queue = q, .any = true, .each = structure_one, .ctx = &r};
	int rc = spool_scan(&sc);

	if (rc == 0 && q != QUEUE_MAILDROP)
		prune(&r, spool_queue_name(q), 0, s->hashed[q] ? s->depth : 0);
	return rc;
}

static bool
has_message(const struct spool *s, const char *id)
{
	/* Where it is most likely comes first. */
	static const enum queue queues[] = {QUEUE_DEFERRED, QUEUE_ACTIVE, QUEUE_HOLD,
	    QUEUE_INCOMING, QUEUE_MAILDROP, QUEUE_CORRUPT, QUEUE_COUNT};
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

static int
orphan_one(void *ctx, const struct spool_entry *e)
{
	const struct repair *r = ctx;

	if (S_ISREG(e->st.st_mode) && (int64_t)e->st.st_mtime < r->before &&
	    !has_message(r->spool, e->id))
		tell(r, REPAIR_ORPHAN, e->path, NULL, fsio_unlink(r->spool->dirfd, e->path));
	return 0;
}

int
repair_orphans_blk(
    const struct spool *s, enum queue q, int64_t before, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .before = before, .tell = tell_fn, .ctx = ctx};

	PP_ASSERT(q == QUEUE_DEFER || q == QUEUE_BOUNCE || q == QUEUE_TRACE);
	return spool_scan_blk(s, q, orphan_one, &r);
}

/* Looser than wanted is said; stricter is the administrator's choice. */
static void
check_one(const struct repair *r, const struct directory *d, uid_t uid, gid_t gid)
{
	bool group = d->to_group && gid != (gid_t)-1;
	mode_t want = d->to_group && !group ? d->mode_no_group : d->mode;
	char text[128];
	struct stat st;
	int rc = fsio_stat(r->spool->dirfd, d->name, &st);

	if (rc == -ENOENT && d->ours)
		return; /* the next start makes it */
	if (rc < 0) {
		snprintf(text, sizeof(text), "%s", strerror(-rc));
		r->tell(r->ctx, &(struct repair_note){
				    .what = REPAIR_MODE, .path = d->name, .to = text, .rc = rc});
		return;
	}
	if (!S_ISDIR(st.st_mode))
		tell(r, REPAIR_MODE, d->name, "is not a directory", 0);
	if (!d->to_root && st.st_uid != uid) {
		snprintf(text, sizeof(text), "belongs to uid %ld, not to uid %ld", (long)st.st_uid,
		    (long)uid);
		tell(r, REPAIR_MODE, d->name, text, 0);
	}
	if (group && st.st_gid != gid) {
		snprintf(text, sizeof(text), "belongs to gid %ld, not to gid %ld", (long)st.st_gid,
		    (long)gid);
		tell(r, REPAIR_MODE, d->name, text, 0);
	}
	if (st.st_mode & 0777 & ~want) {
		snprintf(text, sizeof(text), "has mode %04o, which is more than %04o",
		    (unsigned)st.st_mode & 07777, (unsigned)want);
		tell(r, REPAIR_MODE, d->name, text, 0);
	}
}

int
repair_check_blk(const struct spool *s, uid_t uid, gid_t gid, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .tell = tell_fn, .ctx = ctx};

	for (size_t i = 0; i < spool_directory_count; i++)
		check_one(&r, &spool_directories[i], uid, gid);
	return 0;
}

int
repair_corrupt_blk(
    const struct spool *s, enum queue q, const char *id, char ret_path[SPOOL_PATH_MAX])
{
	char from[SPOOL_PATH_MAX], to[SPOOL_PATH_MAX + 8];
	struct stat st;
	int rc;

	/* A message whose very type is wrong is moved as well, so no spool_locate here. */
	spool_path(s, q, id, from);
	if (fsio_stat(s->dirfd, from, &st) < 0) {
		rc = spool_locate(s, q, id, from, &st);
		if (rc < 0)
			return rc;
	}
	spool_path(s, QUEUE_CORRUPT, id, to);
	rc = spool_make_parents(s, to);
	for (int i = 1; rc == 0 || rc == -EEXIST; i++) {
		size_t n = strlen(to);

		rc = fsio_rename(s->dirfd, from, to);
		if (rc == 0) {
			memcpy(ret_path, to, n + 1);
			return 0;
		}
		if (rc != -EEXIST || i >= CORRUPT_NAMES)
			break;
		spool_path(s, QUEUE_CORRUPT, id, to);
		n = strlen(to);
		snprintf(to + n, sizeof(to) - n, ".%d", i);
	}
	return rc;
}
