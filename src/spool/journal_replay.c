/*
 * journal_replay.c - what a run left in the journal becomes files.
 *
 * Nothing is removed before all of it lies in files that are safe, so a replay that is broken off
 * is simply made again; a file that an earlier one made, or the queue manager just before it was
 * killed, is recognised by its content and kept: after a power loss a file may be there, of the
 * right size and mode, and not what was written. There may be tens of thousands of them, so they
 * are made safe together. Segments are read, not mapped: a bad block is an error then, no signal.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "journal.h"
#include "pp/base/mem.h"
#include "pp/spool/reader.h"
#include "pp/spool/receipts.h"

enum { SEGMENTS_MAX = 4096, ASIDE_MAX = 100 };

struct old {
	unsigned number;
	struct journal_head head;
};

struct replay {
	const struct spool *spool;
	struct old old[SEGMENTS_MAX];
	size_t n;
	unsigned damaged;
	int64_t count;
	bool is_live; /* something in it was not done */
	char *segment;
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

/* Each segment, of the names that we give: 0 = go on. */
static int
each_segment(const struct spool *s, int (*each)(void *ctx, unsigned number), void *ctx)
{
	int fd = fsio_open_dir(s->dirfd, SPOOL_JOURNAL), rc = 0;
	const struct dirent *e;
	DIR *dir;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		fsio_close(fd);
		return rc;
	}
	while (rc == 0 && (e = readdir(dir)) != NULL) {
		char name[JOURNAL_NAME_MAX];
		struct stat st;
		int64_t number;

		if (str_number(str_of(e->d_name), 0, INT32_MAX, &number) < 0)
			continue;
		journal_segment_path((unsigned)number, name);
		if (strcmp(e->d_name, name + sizeof(SPOOL_JOURNAL)) == 0 &&
		    fsio_stat(s->dirfd, name, &st) == 0 && S_ISREG(st.st_mode))
			rc = each(ctx, (unsigned)number);
	}
	closedir(dir);
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
	return receipts_left_blk(s) || each_segment(s, found_one, NULL) == 1;
}

/* Its head was safe before anything else was written: what is neither a head nor blank was harmed
 * by something else, or is of another version of this program. It may hold mail. */
static int
set_aside(struct replay *r, const char *path)
{
	char to[JOURNAL_NAME_MAX + 16];
	int rc;

	snprintf(to, sizeof(to), "%s.damaged", path);
	rc = fsio_rename(r->spool->dirfd, path, to);
	for (unsigned i = 1; rc == -EEXIST && i < ASIDE_MAX; i++) {
		snprintf(to, sizeof(to), "%s.damaged.%u", path, i);
		rc = fsio_rename(r->spool->dirfd, path, to);
	}
	r->damaged += rc == 0;
	return rc;
}

static int
note_one(void *ctx, unsigned number)
{
	struct replay *r = ctx;
	struct journal_head head = {0};
	char path[JOURNAL_NAME_MAX];
	struct stat st;
	ssize_t n;
	int fd, rc = 0;

	journal_segment_path(number, path);
	fd = fsio_open_read(r->spool->dirfd, path);
	if (fd < 0)
		return fd;
	n = fsio_pread(fd, (char *)&head, sizeof(head), 0);
	if (n < 0 || fstat(fd, &st) < 0)
		rc = n < 0 ? (int)n : -errno;
	fsio_close(fd);
	if (rc < 0 || journal_head_blank(&head))
		return rc; /* not finished: it never held a message */
	if (st.st_size < JOURNAL_FRONT || !journal_head_valid(&head))
		return set_aside(r, path);
	if (r->n == SEGMENTS_MAX)
		return -EMFILE;
	r->old[r->n++] = (struct old){number, head};
	return 0;
}

static int
by_generation(const void *a, const void *b)
{
	const struct old *x = a, *y = b;

	return x->head.generation < y->head.generation ? -1
						       : x->head.generation > y->head.generation;
}

/* A copy of the file with the recipients done that were marked. */
static int
apply_marks(struct str map, struct str file, struct buf *ret)
{
	struct reader *reader = reader_open_bytes(file);
	struct arena a = {0};
	struct envelope e;
	struct buf why;
	int rc;

	buf_init(&why, 512);
	buf_init(ret, file.n);
	rc = buf_add(ret, file);
	if (rc == 0)
		rc = reader_envelope(reader, READER_QUEUE, &a, &e, &why);
	for (size_t i = 0; rc == 0 && i < e.rcpt_count; i++) {
		size_t byte = 1 + i / JOURNAL_BITS;

		if (byte < map.n && (map.p[byte] & (char)(1u << i % JOURNAL_BITS)) != 0 &&
		    e.rcpt[i].offset > 0)
			ret->p[e.rcpt[i].offset] = REC_DONE;
	}
	/* What cannot be read is for the queue manager to judge. */
	buf_fini(&why);
	arena_fini(&a);
	reader_close(reader);
	return rc == -EBADMSG ? 0 : rc;
}

static int
make_file(const struct replay *r, const char *id, struct str bytes)
{
	char path[SPOOL_PATH_MAX];
	int fd, rc;

	spool_path(r->spool, QUEUE_INCOMING, id, path);
	fd = spool_create_file(r->spool, path);
	if (fd < 0)
		return fd;
	rc = fsio_write(fd, bytes);
	if (rc == 0)
		rc = fsio_chmod(fd, 0700);
	fsio_close(fd);
	if (rc < 0)
		fsio_unlink(r->spool->dirfd, path);
	return rc;
}

/* Is it this mail, with these recipients finished or more of them? */
static bool
is_same(const struct spool *s, const char *path, struct str bytes)
{
	struct buf there;
	struct str t;
	bool same;

	buf_init(&there, bytes.n);
	same = fsio_read_all(s->dirfd, path, &there) == 0 && buf_str(&there).n == bytes.n;
	t = buf_str(&there);
	for (size_t i = 0; same && i < bytes.n; i++)
		same = t.p[i] == bytes.p[i] || (bytes.p[i] == REC_RCPT && t.p[i] == REC_DONE);
	buf_fini(&there);
	return same;
}

/* What the queue manager made, and made safe, before it came to say so here. In the other queues a
 * message arrives through active/ and was safe there. */
static int
is_elsewhere(const struct replay *r, const char *id, struct str bytes)
{
	static const enum queue elsewhere[] = {
	    QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_CORRUPT, QUEUE_COUNT};
	char path[SPOOL_PATH_MAX];
	struct stat st;
	enum queue at;
	int rc = spool_find_blk(r->spool, id, elsewhere, &at, &st);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (at != QUEUE_ACTIVE)
		return spool_ready(&st) && st.st_size == (off_t)bytes.n;
	rc = spool_find_path_blk(r->spool, at, id, path);
	if (rc < 0)
		return rc;
	if (spool_ready(&st) && is_same(r->spool, path, bytes))
		return 1;
	return fsio_unlink(r->spool->dirfd, path); /* half of it */
}

/* 1 = made, 0 = it is there. */
static int
to_file(const struct replay *r, const char *id, struct str bytes)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int rc = is_elsewhere(r, id, bytes);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	spool_path(r->spool, QUEUE_INCOMING, id, path);
	rc = make_file(r, id, bytes);
	if (rc != -EEXIST)
		return rc < 0 ? rc : 1;
	/* Made by a replay that was broken off, and perhaps not to its end. */
	if (fsio_stat(r->spool->dirfd, path, &st) == 0 && spool_ready(&st) &&
	    is_same(r->spool, path, bytes))
		return 0;
	rc = fsio_unlink(r->spool->dirfd, path);
	if (rc == 0)
		rc = make_file(r, id, bytes);
	return rc < 0 ? rc : 1;
}

static int
replay_entry(struct replay *r, struct str map, struct str id, struct str file)
{
	char name[SPOOL_ID_MAX];
	bool is_marked = false;
	struct buf marked = {0};
	int rc = 0;

	memcpy(name, id.p, id.n);
	name[id.n] = '\0';
	spool_id_seen(r->spool, name);
	for (size_t i = 1; i < map.n && !is_marked; i++)
		is_marked = map.p[i] != 0;
	if (is_marked)
		rc = apply_marks(map, file, &marked);
	if (rc == 0)
		rc = to_file(r, name, is_marked ? buf_str(&marked) : file);
	if (is_marked)
		buf_fini(&marked);
	r->count += rc == 1;
	return rc < 0 ? rc : 0;
}

/* All of it, or as much as was ever written. */
static int
read_segment(struct replay *r, const struct old *o, struct str *ret)
{
	char path[JOURNAL_NAME_MAX];
	ssize_t n;
	int fd;

	journal_segment_path(o->number, path);
	fd = fsio_open_read(r->spool->dirfd, path);
	if (fd < 0)
		return fd;
	n = fsio_pread(fd, r->segment, JOURNAL_SIZE, 0);
	fsio_close(fd);
	if (n < JOURNAL_FRONT)
		return n < 0 ? (int)n : -EIO;
	*ret = (struct str){r->segment, (size_t)n};
	return 0;
}

static int
replay_segment(struct replay *r, const struct old *o)
{
	struct str all = {0}, map, units, id, file;
	struct journal_entry_head e;
	uint32_t at = 0;
	int rc = read_segment(r, o, &all);

	if (rc < 0)
		return rc;
	map = str_head(str_from(all, JOURNAL_HEAD), JOURNAL_UNITS);
	units = str_from(all, JOURNAL_FRONT);
	while (rc == 0 && at < JOURNAL_UNITS &&
	       journal_entry_read(units, at, &o->head, &e, &id, &file)) {
		if ((map.p[at] & JOURNAL_ALL_DONE) == 0) {
			if (journal_content_hash(id, file) != e.content)
				break; /* torn: what follows was never acknowledged either */
			r->is_live = true;
			rc = replay_entry(r, str_head(str_from(map, at), e.units), id, file);
		}
		at += e.units;
	}
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
	struct replay *r = MEM_NEW(struct replay);
	int64_t count;
	int rc;

	r->spool = s;
	r->segment = mem_alloc(JOURNAL_SIZE);
	rc = each_segment(s, note_one, r);
	if (rc == 0)
		qsort(r->old, r->n, sizeof(r->old[0]), by_generation);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = replay_segment(r, &r->old[i]);
	/* Also what was there already: who made it may not have come to that. */
	if (rc == 0 && r->is_live)
		rc = fsio_sync_all(s->dirfd);
	if (rc == 0)
		rc = each_segment(s, remove_one, (void *)(uintptr_t)s);
	if (rc == 0)
		rc = receipts_replay_blk(s);
	if (rc == 0)
		rc = journal_sync_dir_blk(s);
	count = r->count;
	if (ret_damaged)
		*ret_damaged = r->damaged;
	mem_free(r->segment);
	mem_free(r);
	return rc < 0 ? rc : count;
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
