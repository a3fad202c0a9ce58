/*
 * repair.c - what must be true of a spool before its mail is touched.
 *
 * Nothing here reads a message. Where things lie is known by names and types alone, which come with
 * the directories: a queue in order costs no system call per file. Every change is told to the
 * caller, who logs it; one file that cannot be put right never keeps the others from it. Ids of
 * ours do not hold an inode, so no file is renamed to match its own.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "names.h"
#include "repair_internal.h"

enum {
	HALF_FILE_AGE = 7 * 86400, /* seconds; its writer may still be alive before */
	CORRUPT_NAMES = 1000,
	MICROSECOND_DIGITS = 5, /* the first of a short id */
};

void
repair_say(const struct repair *r, enum repair_what what, const char *path, const char *to, int rc)
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
	repair_say(r, REPAIR_REQUEUED, e->path, rc < 0 ? NULL : to, rc);
	return 0;
}

int
repair_active_blk(const struct spool *s, int64_t now, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .now = now, .tell = tell_fn, .ctx = ctx};

	return spool_scan_blk(s, QUEUE_ACTIVE, requeue_one, &r);
}

bool
repair_purge_one_blk(const struct spool *s, const struct spool_entry *e, int64_t now,
    repair_tell *tell_fn, void *ctx)
{
	const struct repair r = {.spool = s, .tell = tell_fn, .ctx = ctx};
	int rc;

	if (!S_ISREG(e->st.st_mode) || spool_ready(&e->st) ||
	    now - (int64_t)e->st.st_mtime <= HALF_FILE_AGE)
		return false;
	rc = fsio_unlink(s->dirfd, e->path);
	repair_say(&r, REPAIR_PURGED, e->path, NULL, rc);
	return rc == 0;
}

static int
purge_one(void *ctx, const struct spool_entry *e)
{
	const struct repair *r = ctx;

	repair_purge_one_blk(r->spool, e, r->now, r->tell, r->ctx);
	return 0;
}

int
repair_purge_blk(const struct spool *s, enum queue q, int64_t now, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .now = now, .tell = tell_fn, .ctx = ctx};

	PP_ASSERT(q <= QUEUE_HOLD); /* a log is never ready: its mode is 0600 */
	/* Any name: Postfix's half files are called microsecond.pid. */
	return spool_scan_any_blk(s, q, purge_one, &r);
}

/* ID#FIX: Postfix's postsuper was interrupted between its two renames. */
static bool
finish_one(const struct repair *r, const char *file, const char *path)
{
	struct str name = str_of(file), suffix = STR("#FIX");
	char id[SPOOL_ID_MAX], to[SPOOL_PATH_MAX];
	int rc;

	if (!str_ends(name, suffix))
		return false;
	name.n -= suffix.n;
	if (!spool_id_valid(name))
		return false;
	memcpy(id, name.p, name.n);
	id[name.n] = '\0';
	rc = put_right(r, path, r->queue, id, to);
	repair_say(r, REPAIR_FINISHED, path, rc < 0 ? NULL : to, rc);
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

static void
structure_odd(const struct repair *r, const struct name *n, const char *path)
{
	struct stat st;
	int rc;

	if (n->type == DT_DIR) {
		rc = fsio_rmdir(r->spool->dirfd, path);
		repair_say(r, REPAIR_REMOVED_DIRECTORY, path, NULL, rc);
		return;
	}
	/* The name may be another file's by now. */
	rc = fsio_stat(r->spool->dirfd, path, &st);
	if (rc == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		repair_say(r, REPAIR_REMOVED, path, NULL, fsio_unlink(r->spool->dirfd, path));
}

static void
structure_one(const struct repair *r, const struct name *n)
{
	bool made = n->type == DT_REG && is_made(str_of(n->name));
	char path[SPOOL_PATH_MAX], to[SPOOL_PATH_MAX];
	int rc;

	if ((made && names_in_place(r->spool, r->queue, n)) || !names_path(n, path))
		return;
	if (n->type != DT_REG) {
		structure_odd(r, n, path);
		return;
	}
	if (finish_one(r, n->name, path))
		return;
	if (!made) {
		repair_say(r, REPAIR_BOGUS, path, NULL, 0);
		return;
	}
	rc = put_right(r, path, r->queue, n->name, to);
	repair_say(r, REPAIR_MOVED, path, rc < 0 ? NULL : to, rc);
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
			repair_say(r, REPAIR_REMOVED_DIRECTORY, sub, NULL, 0);
	}
out:
	closedir(dir);
}

int
repair_structure_blk(const struct spool *s, enum queue q, repair_tell *tell_fn, void *ctx)
{
	struct repair r = {.spool = s, .queue = q, .tell = tell_fn, .ctx = ctx};
	struct names names;
	struct name n;
	int rc = names_open(&names, s, q);

	names.dots = true;
	while (rc == 0 && (rc = names_next(&names, &n)) == 1) {
		structure_one(&r, &n);
		rc = 0;
	}
	names_close(&names);
	if (rc == 0 && q != QUEUE_MAILDROP)
		prune(&r, spool_queue_name(q), 0, s->hashed[q] ? s->depth : 0);
	return rc;
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
		repair_say(r, REPAIR_MODE, d->name, "is not a directory", 0);
	if (!d->to_root && st.st_uid != uid) {
		snprintf(text, sizeof(text), "belongs to uid %ld, not to uid %ld", (long)st.st_uid,
		    (long)uid);
		repair_say(r, REPAIR_MODE, d->name, text, 0);
	}
	if (group && st.st_gid != gid) {
		snprintf(text, sizeof(text), "belongs to gid %ld, not to gid %ld", (long)st.st_gid,
		    (long)gid);
		repair_say(r, REPAIR_MODE, d->name, text, 0);
	}
	if (st.st_mode & 0777 & ~want) {
		snprintf(text, sizeof(text), "has mode %04o, which is more than %04o",
		    (unsigned)st.st_mode & 07777, (unsigned)want);
		repair_say(r, REPAIR_MODE, d->name, text, 0);
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
