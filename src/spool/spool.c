/*
 * spool.c - the queue directory itself: opening and making it, and where an id's file lies.
 *
 * All paths are relative to one held descriptor, so a spool that is moved or shadowed while the
 * daemon runs stays the same spool. The object is immutable after spool_open but for what daemon/
 * sets before any other thread exists; the two shared numbers are runtime counters.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "internal.h"
#include "pp/runtime/loop.h"

static const char *const queue_names[QUEUE_COUNT] = {
    [QUEUE_MAILDROP] = "maildrop",
    [QUEUE_INCOMING] = "incoming",
    [QUEUE_ACTIVE] = "active",
    [QUEUE_DEFERRED] = "deferred",
    [QUEUE_HOLD] = "hold",
    [QUEUE_CORRUPT] = "corrupt",
    [QUEUE_DEFER] = "defer",
    [QUEUE_BOUNCE] = "bounce",
    [QUEUE_TRACE] = "trace",
};

const char *
spool_queue_name(enum queue q)
{
	PP_ASSERT(q < QUEUE_COUNT);
	return queue_names[q];
}

enum queue
spool_queue_find(struct str name)
{
	for (unsigned q = 0; q < QUEUE_COUNT; q++)
		if (str_eq(name, str_of(queue_names[q])))
			return (enum queue)q;
	return QUEUE_COUNT;
}

int
spool_dirfd(const struct spool *s)
{
	return s->dirfd;
}

const char *
spool_directory(const struct spool *s)
{
	return s->directory;
}

void
spool_set_commit_hook(struct spool *s, spool_commit_hook *hook, void *ctx)
{
	s->hook = hook;
	s->hook_ctx = ctx;
}

void
spool_set_lane(struct spool *s, struct lane *disk)
{
	s->lane = disk;
}

void
spool_set_journal(struct spool *s, struct journal *j)
{
	s->journal = j;
}

struct lane *
spool_lane(const struct spool *s)
{
	return s->lane;
}

/* Made for each file of long walks: no printf. */
void
spool_path_depth(enum queue q, const char *id, int depth, char path[SPOOL_PATH_MAX])
{
	const char *queue = spool_queue_name(q);
	char letters[SPOOL_DEPTH_MAX + 1];
	size_t n = strlen(queue), id_n = strlen(id);

	PP_ASSERT(n + 1 + 2 * (size_t)depth + id_n < SPOOL_PATH_MAX);
	memcpy(path, queue, n);
	path[n++] = '/';
	if (depth > 0)
		spool_hash_letters(id, letters);
	for (int i = 0; i < depth; i++) {
		path[n++] = letters[i];
		path[n++] = '/';
	}
	memcpy(path + n, id, id_n + 1);
}

void
spool_path(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX])
{
	spool_path_depth(q, id, s->hashed[q] ? s->depth : 0, path);
}

int
spool_make_parents(const struct spool *s, const char *path)
{
	char part[SPOOL_PATH_MAX];
	size_t n = strlen(path);

	PP_ASSERT(n < sizeof(part));
	/* The queue's own directory is never made here: without it something is badly wrong. */
	for (size_t i = str_index(str_of(path), '/') + 1; i < n; i++) {
		int rc;

		if (path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		rc = fsio_mkdir(s->dirfd, part, 0700);
		if (rc < 0 && rc != -EEXIST)
			return rc;
	}
	return 0;
}

int
spool_sync_parent(const struct spool *s, enum queue q, const char *path)
{
	char part[SPOOL_PATH_MAX];
	size_t n = str_rindex(str_of(path), '/');
	int fd, rc;

	if (!s->hashed[q] && s->queue_fd[q] >= 0)
		return fsio_sync(s->queue_fd[q]);
	PP_ASSERT(n < sizeof(part));
	memcpy(part, path, n);
	part[n] = '\0';
	fd = fsio_open_dir(s->dirfd, part);
	if (fd < 0)
		return fd;
	rc = fsio_sync(fd);
	fsio_close(fd);
	return rc;
}

const struct directory spool_directories[] = {
    {"maildrop", 01730, 01733, .to_group = true},
    {"incoming", 0700, 0700},
    {"active", 0700, 0700},
    {"deferred", 0700, 0700},
    {"hold", 0700, 0700},
    {"corrupt", 0700, 0700},
    {"defer", 0700, 0700},
    {"bounce", 0700, 0700},
    {"trace", 0700, 0700},
    {"flush", 0700, 0700},
    {"saved", 0700, 0700},
    {SPOOL_DELETED, 0700, 0700, .ours = true},
    {SPOOL_JOURNAL, 0700, 0700, .ours = true},
    {"private", 0700, 0700},
    {"public", 02710, 0711, .to_group = true},
    {"pid", 0755, 0755, .to_root = true},
};
const size_t spool_directory_count = PP_COUNT(spool_directories);

int
spool_make_directory(int dirfd, const struct directory *d, uid_t uid, gid_t gid)
{
	bool group = d->to_group && gid != (gid_t)-1;
	mode_t mode = d->to_group && !group ? d->mode_no_group : d->mode;
	int rc = fsio_mkdir(dirfd, d->name, 0700), fd;

	if (rc == -EEXIST)
		return 0;
	if (rc < 0)
		return rc;
	fd = fsio_open_dir(dirfd, d->name);
	if (fd < 0)
		return fd;
	if (geteuid() == 0 && !d->to_root)
		rc = fsio_chown(fd, uid, group ? gid : (gid_t)-1);
	else if (group)
		rc = fsio_chown(fd, (uid_t)-1, gid);
	/* Changing the owner clears setgid, so the mode comes last. */
	if (rc == 0)
		rc = fsio_chmod(fd, mode);
	fsio_close(fd);
	return rc < 0 ? rc : 1;
}

static uid_t
wanted_owner(uid_t uid)
{
	return geteuid() == 0 && uid != (uid_t)-1 ? uid : geteuid();
}

static int
say_owner(const struct spool *s, const char *sub, const char *name, const struct stat *st,
    uid_t own, struct buf *err)
{
	buf_printf(err,
	    "queue directory %s%s%s belongs to uid %ld, not to uid %ld: give it to that user "
	    "(chown -R), or name another queue_directory",
	    s->directory, sub, name, (long)st->st_uid, (long)own);
	return -EPERM;
}

/* The top must not be in a stranger's hands: nothing is made there then. */
static int
check_top(const struct spool *s, uid_t uid, struct buf *err)
{
	uid_t own = wanted_owner(uid);
	struct stat st;
	int rc = fsio_stat(s->dirfd, ".", &st);

	if (rc < 0)
		buf_printf(err, "queue directory %s: %s", s->directory, strerror(-rc));
	else if (st.st_uid != 0 && st.st_uid != own && st.st_uid != geteuid())
		rc = say_owner(s, "", "", &st, own, err);
	return rc;
}

/* The queues must be ours to write. */
static int
check_queues(const struct spool *s, uid_t uid, struct buf *err)
{
	uid_t own = wanted_owner(uid);
	struct stat st;

	for (unsigned i = 0; i < PP_COUNT(spool_directories); i++) {
		const struct directory *d = &spool_directories[i];

		if (fsio_stat(s->dirfd, d->name, &st) == 0 && !d->to_root && st.st_uid != own)
			return say_owner(s, "/", d->name, &st, own, err);
	}
	return 0;
}

static int
create_all(struct spool *s, uid_t uid, gid_t gid, struct buf *err)
{
	struct stat st;
	bool made = false;

	for (unsigned i = 0; i < PP_COUNT(spool_directories); i++) {
		int rc = spool_make_directory(s->dirfd, &spool_directories[i], uid, gid);

		if (rc == -EACCES && fsio_stat(s->dirfd, ".", &st) == 0 &&
		    st.st_uid != wanted_owner(uid))
			return say_owner(s, "", "", &st, wanted_owner(uid), err);
		if (rc < 0) {
			buf_printf(err, "create %s/%s: %s", s->directory, spool_directories[i].name,
			    strerror(-rc));
			return rc;
		}
		made |= rc > 0;
	}
	return made ? fsio_sync(s->dirfd) : 0;
}

static int
open_top(struct spool *s, bool create, struct buf *err)
{
	int rc = fsio_open_dir(AT_FDCWD, s->directory);

	if (rc == -ENOENT && create) {
		rc = fsio_mkdir(AT_FDCWD, s->directory, 0755);
		if (rc == 0)
			rc = fsio_open_dir(AT_FDCWD, s->directory);
	}
	if (rc < 0)
		buf_printf(err, "open queue directory %s: %s", s->directory, strerror(-rc));
	s->dirfd = rc < 0 ? -1 : rc;
	return rc < 0 ? rc : 0;
}

static int64_t
changed_us(const struct spool *s, const char *path)
{
	struct stat st;

	if (fsio_stat(s->dirfd, path, &st) < 0)
		return 0;
	return (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
}

/* An id must not be older than files there are already, even after the clock stepped back while
 * nobody looked: the last change of a directory is as late as its last file. That of the lock
 * is later when the ids were ahead of the clock (spool_ids_keep); after a kill the replay knows. */
static void
seed_ids(struct spool *s)
{
	int64_t latest = changed_us(s, SPOOL_LOCK_FILE);

	for (unsigned q = QUEUE_INCOMING; q <= QUEUE_HOLD; q++) {
		int64_t us = changed_us(s, queue_names[q]);

		if (us > latest)
			latest = us;
	}
	/* The kernel's coarse clock may be up to one tick behind: ten milliseconds are safe. */
	counter_next(s->last_id, latest + 10000);
}

static void
set_options(struct spool *s, const struct spool_options *o)
{
	struct str names = str_of(o->hash_queue_names), name;

	s->directory = mem_strdup(o->directory);
	s->depth = o->hash_queue_depth < 0                 ? 0
		   : o->hash_queue_depth > SPOOL_DEPTH_MAX ? SPOOL_DEPTH_MAX
							   : o->hash_queue_depth;
	s->long_ids = o->long_ids;
	s->cache_size = o->message_cache_size;
	while (names.p && str_token(&names, ", \t\r\n", &name)) {
		enum queue q = spool_queue_find(name);

		if (q != QUEUE_COUNT && q != QUEUE_MAILDROP)
			s->hashed[q] = true;
	}
}

int
spool_open(const struct spool_options *o, bool create, uid_t uid, gid_t gid, struct spool **ret,
    struct buf *err)
{
	struct spool *s = MEM_NEW(struct spool);
	int rc;

	s->dirfd = s->lock_fd = -1;
	for (unsigned q = 0; q < QUEUE_COUNT; q++)
		s->queue_fd[q] = -1;
	s->cache_used = MEM_NEW(struct counter);
	s->last_id = MEM_NEW(struct counter);
	set_options(s, o);
	rc = open_top(s, create, err);
	if (rc == 0 && create)
		rc = check_top(s, uid, err);
	if (rc == 0 && create)
		rc = create_all(s, uid, gid, err);
	if (rc == 0 && create)
		rc = check_queues(s, uid, err);
	if (rc < 0) {
		spool_close(s);
		return rc;
	}
	seed_ids(s);
	/* A command may lack the right to open these; it then opens what it needs by itself. */
	s->queue_fd[QUEUE_INCOMING] = fsio_open_dir(s->dirfd, queue_names[QUEUE_INCOMING]);
	s->queue_fd[QUEUE_HOLD] = fsio_open_dir(s->dirfd, queue_names[QUEUE_HOLD]);
	*ret = s;
	return 0;
}

void
spool_close(struct spool *s)
{
	if (s == NULL)
		return;
	if (s->lock_fd >= 0)
		spool_ids_keep(s);
	for (unsigned q = 0; q < QUEUE_COUNT; q++)
		fsio_close(s->queue_fd[q]);
	fsio_close(s->lock_fd);
	fsio_close(s->dirfd);
	mem_free(s->directory);
	mem_free(s->cache_used);
	mem_free(s->intakes);
	mem_free(s->last_id);
	mem_free(s);
}

bool
spool_ready(const struct stat *st)
{
	return S_ISREG(st->st_mode) && (st->st_mode & 0700) == 0700;
}
