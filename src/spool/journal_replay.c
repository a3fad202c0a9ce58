/*
 * journal_replay.c - what a run left in the journal becomes files.
 *
 * Nothing is removed before all of it lies in files that are safe, so a replay that is broken off
 * is simply made again; a file that an earlier one made, or the queue manager just before it was
 * killed, is recognised and kept. There may be tens of thousands of them, so they are made safe
 * together.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "journal.h"
#include "pp/base/mem.h"
#include "pp/spool/reader.h"

enum { SEGMENTS_MAX = 4096 };

struct old {
	unsigned number;
	struct str bytes; /* mapped */
	uint64_t generation;
};

struct replay {
	const struct spool *spool;
	uid_t uid;
	gid_t gid;
	struct old old[SEGMENTS_MAX];
	size_t n;
	int64_t count;
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

/* Each name of a segment: 0 = go on. */
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
		int64_t number;

		if (str_number(str_of(e->d_name), 0, UINT32_MAX, &number) == 0)
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
	return each_segment(s, found_one, NULL) == 1;
}

static int
map_one(void *ctx, unsigned number)
{
	struct replay *r = ctx;
	struct journal_head head;
	char path[JOURNAL_NAME_MAX];
	struct stat st;
	void *p;
	int fd, rc = 0;

	journal_segment_path(number, path);
	fd = fsio_open_read(r->spool->dirfd, path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	/* Not finished: it never held a message. */
	if (rc == 0 && S_ISREG(st.st_mode) && st.st_size >= JOURNAL_FRONT &&
	    fsio_pread(fd, (char *)&head, sizeof(head), 0) == sizeof(head) &&
	    journal_head_valid(&head)) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED)
			rc = -errno;
		else if (r->n == SEGMENTS_MAX)
			rc = -EMFILE;
		else
			r->old[r->n++] =
			    (struct old){number, {p, (size_t)st.st_size}, head.generation};
	}
	fsio_close(fd);
	return rc;
}

static int
by_generation(const void *a, const void *b)
{
	const struct old *x = a, *y = b;

	return x->generation < y->generation ? -1 : x->generation > y->generation;
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
	int fd, rc = 0;

	spool_path(r->spool, QUEUE_INCOMING, id, path);
	fd = spool_create_file(r->spool, path);
	if (fd < 0)
		return fd;
	if (geteuid() == 0 && r->uid != (uid_t)-1)
		rc = fsio_chown(fd, r->uid, r->gid);
	if (rc == 0)
		rc = fsio_write(fd, bytes);
	if (rc == 0)
		rc = fsio_chmod(fd, 0700);
	fsio_close(fd);
	if (rc < 0)
		fsio_unlink(r->spool->dirfd, path);
	return rc;
}

/* Made by a replay that was broken off, and perhaps not whole? */
static bool
is_whole(const struct spool *s, const char *path, struct str bytes)
{
	struct buf there;
	bool same;

	buf_init(&there, bytes.n);
	same = fsio_read_all(s->dirfd, path, &there) == 0 && str_eq(buf_str(&there), bytes);
	buf_fini(&there);
	return same;
}

/* 1 = made, 0 = it is there. */
static int
to_file(const struct replay *r, const char *id, struct str bytes)
{
	static const enum queue elsewhere[] = {
	    QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_CORRUPT, QUEUE_COUNT};
	char path[SPOOL_PATH_MAX];
	struct stat st;
	enum queue at;
	int rc = spool_find_blk(r->spool, id, elsewhere, &at, &st);

	/* The queue manager made those, and made them safe. */
	if (rc == 0 && spool_ready(&st) && st.st_size == (off_t)bytes.n)
		return 0;
	if (rc == 0 && !spool_ready(&st)) {
		spool_path(r->spool, at, id, path);
		fsio_unlink(r->spool->dirfd, path);
	}
	spool_path(r->spool, QUEUE_INCOMING, id, path);
	rc = make_file(r, id, bytes);
	if (rc == -EEXIST && is_whole(r->spool, path, bytes))
		return 0;
	if (rc == -EEXIST) {
		fsio_unlink(r->spool->dirfd, path);
		rc = make_file(r, id, bytes);
	}
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

static int
replay_segment(struct replay *r, const struct old *o)
{
	struct str map = str_head(str_from(o->bytes, JOURNAL_HEAD), JOURNAL_UNITS);
	struct str units = str_from(o->bytes, JOURNAL_FRONT), id, file;
	struct journal_entry_head e;
	uint32_t at = 0;
	int rc = 0;

	while (rc == 0 && at < JOURNAL_UNITS &&
	       journal_entry_read(units, at, o->generation, &e, &id, &file)) {
		if ((map.p[at] & JOURNAL_ALL_DONE) == 0) {
			if (journal_content_hash(id, file) != e.content)
				break; /* torn: what follows was never acknowledged either */
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

int64_t
journal_replay_blk(const struct spool *s, uid_t uid, gid_t gid)
{
	struct replay *r = MEM_NEW(struct replay);
	int64_t count;
	int rc;

	r->spool = s;
	r->uid = uid;
	r->gid = gid;
	rc = each_segment(s, map_one, r);
	if (rc == 0)
		qsort(r->old, r->n, sizeof(r->old[0]), by_generation);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = replay_segment(r, &r->old[i]);
	if (rc == 0 && r->count > 0)
		rc = fsio_sync_all(s->dirfd);
	for (size_t i = 0; i < r->n; i++)
		munmap((void *)(uintptr_t)r->old[i].bytes.p, r->old[i].bytes.n);
	if (rc == 0)
		rc = each_segment(s, remove_one, (void *)(uintptr_t)s);
	if (rc == 0)
		rc = journal_sync_dir_blk(s);
	count = r->count;
	mem_free(r);
	return rc < 0 ? rc : count;
}
