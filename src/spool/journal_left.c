/*
 * journal_left.c - what a run left in the journal: its segments, their entries, and which of these
 * are in files already.
 *
 * A file that a replay made which was broken off, or the queue manager just before it was killed,
 * is recognised by its content: after a power loss a file may be there, of the right size and mode,
 * and not what was written. Segments are read, not mapped: a bad block is an error then, no signal.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "journal_left.h"
#include "names.h"
#include "pp/spool/reader.h"

enum { ASIDE_MAX = 100 };

int
journal_each_segment_blk(const struct spool *s, int (*each)(void *ctx, unsigned number), void *ctx)
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

/* Its head was safe before anything else was written: what is neither a head nor blank was harmed
 * by something else, or is of another version of this program. It may hold mail. */
static int
set_aside(struct journal_left *l, const char *path)
{
	char to[JOURNAL_NAME_MAX + 16];
	int rc;

	snprintf(to, sizeof(to), "%s.damaged", path);
	rc = fsio_rename(l->spool->dirfd, path, to);
	for (unsigned i = 1; rc == -EEXIST && i < ASIDE_MAX; i++) {
		snprintf(to, sizeof(to), "%s.damaged.%u", path, i);
		rc = fsio_rename(l->spool->dirfd, path, to);
	}
	l->damaged += rc == 0;
	return rc;
}

static int
note_one(void *ctx, unsigned number)
{
	struct journal_left *l = ctx;
	struct journal_head head = {0};
	char path[JOURNAL_NAME_MAX];
	struct stat st;
	ssize_t n;
	int fd, rc = 0;

	journal_segment_path(number, path);
	fd = fsio_open_read(l->spool->dirfd, path);
	if (fd < 0)
		return fd;
	n = fsio_pread(fd, (char *)&head, sizeof(head), 0);
	if (n < 0 || fstat(fd, &st) < 0)
		rc = n < 0 ? (int)n : -errno;
	fsio_close(fd);
	if (rc < 0)
		return rc;
	if (journal_head_blank(&head)) /* not finished: it never held a message */
		return fsio_unlink(l->spool->dirfd, path);
	if (st.st_size < JOURNAL_FRONT || !journal_head_valid(&head))
		return set_aside(l, path);
	if (l->n == JOURNAL_OLD_MAX)
		return -EMFILE;
	l->old[l->n++] = (struct journal_old){number, head};
	return 0;
}

static int
by_generation(const void *a, const void *b)
{
	const struct journal_old *x = a, *y = b;

	return x->head.generation < y->head.generation ? -1
						       : x->head.generation > y->head.generation;
}

int
journal_left_new_blk(const struct spool *s, struct journal_left **ret)
{
	struct journal_left *l = MEM_NEW(struct journal_left);
	int rc;

	l->spool = s;
	l->segment = mem_alloc(JOURNAL_SIZE);
	rc = journal_each_segment_blk(s, note_one, l);
	qsort(l->old, l->n, sizeof(l->old[0]), by_generation);
	*ret = l;
	return rc;
}

void
journal_left_free(struct journal_left *l)
{
	if (l == NULL)
		return;
	idset_fini(&l->filed);
	mem_free(l->segment);
	mem_free(l);
}

/* All of it, or as much as was ever written. */
static int
read_segment(struct journal_left *l, const struct journal_old *o, size_t *ret)
{
	char path[JOURNAL_NAME_MAX];
	ssize_t n;
	int fd;

	journal_segment_path(o->number, path);
	fd = fsio_open_read(l->spool->dirfd, path);
	if (fd < 0)
		return fd;
	n = fsio_pread(fd, l->segment, JOURNAL_SIZE, 0);
	fsio_close(fd);
	if (n < JOURNAL_FRONT)
		return n < 0 ? (int)n : -EIO;
	*ret = (size_t)n;
	return 0;
}

int
journal_left_each_blk(struct journal_left *l, const struct journal_old *o,
    int (*each)(void *ctx, struct journal_left_entry *e), void *ctx)
{
	struct journal_entry_head head;
	struct journal_left_entry e;
	struct str units, id;
	uint32_t at = 0;
	size_t n = 0;
	int rc = read_segment(l, o, &n);

	if (rc < 0)
		return rc;
	units = (struct str){l->segment + JOURNAL_FRONT, n - JOURNAL_FRONT};
	for (; rc == 0 && at < JOURNAL_UNITS &&
	       journal_entry_read(units, at, &o->head, &head, &id, &e.file);
	     at += head.units) {
		e.map = l->segment + JOURNAL_HEAD + at;
		if ((*e.map & JOURNAL_ALL_DONE) != 0)
			continue;
		if (journal_content_hash(id, e.file) != head.content)
			break; /* torn: what follows was never acknowledged either */
		e.unit = at;
		e.units = head.units;
		memcpy(e.id, id.p, id.n);
		e.id[id.n] = '\0';
		rc = each(ctx, &e);
	}
	return rc;
}

static bool
is_marked(const struct journal_left_entry *e)
{
	for (size_t i = 1; i < e->units; i++)
		if (e->map[i] != 0)
			return true;
	return false;
}

int
journal_left_file(const struct journal_left_entry *e, struct buf *memory, struct str *ret_file)
{
	struct arena a = {0};
	struct envelope env;
	struct reader *reader;
	struct buf why;
	int rc;

	*ret_file = e->file;
	buf_init(memory, e->file.n);
	if (!is_marked(e))
		return 0;
	reader = reader_open_bytes(e->file);
	buf_init(&why, 512);
	rc = buf_add(memory, e->file);
	if (rc == 0)
		rc = reader_envelope(reader, READER_QUEUE, &a, &env, &why);
	for (size_t i = 0; rc == 0 && i < env.rcpt_count; i++) {
		size_t byte = 1 + i / JOURNAL_BITS;

		if (byte < e->units && (e->map[byte] & (char)(1u << i % JOURNAL_BITS)) != 0 &&
		    env.rcpt[i].offset > 0)
			memory->p[env.rcpt[i].offset] = REC_DONE;
	}
	*ret_file = buf_str(memory);
	/* What cannot be read is for the queue manager to judge. */
	buf_fini(&why);
	arena_fini(&a);
	reader_close(reader);
	return rc == -EBADMSG ? 0 : rc;
}

static const enum queue queues[] = {
    QUEUE_INCOMING, QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_CORRUPT, QUEUE_COUNT};

/* There are tens of thousands to be asked about, and in most spools few files. */
static int
know_filed(struct journal_left *l)
{
	struct names names;
	struct name name;
	int rc = 0;

	for (size_t i = 0; rc == 0 && queues[i] != QUEUE_COUNT; i++) {
		rc = names_open(&names, l->spool, queues[i]);
		while (rc >= 0 && (rc = names_next(&names, &name)) == 1)
			idset_add(&l->filed, name.name);
		names_close(&names);
		if (rc == -ENOENT)
			rc = 0;
	}
	l->knows_filed = rc == 0;
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

/* In incoming/ and active/ it may be half of it: made by a replay, or by the queue manager, that
 * did not come to its end. In the other queues a message arrives through active/ and was safe
 * there. */
int
journal_left_is_file_blk(struct journal_left *l, const char *id, struct str file)
{
	const struct spool *s = l->spool;
	char path[SPOOL_PATH_MAX];
	struct stat st;
	enum queue at;
	int rc = l->knows_filed ? 0 : know_filed(l);

	if (rc < 0 || !idset_has(&l->filed, id))
		return rc;
	while ((rc = spool_find_blk(s, id, queues, &at, &st)) == 0) {
		if (at != QUEUE_INCOMING && at != QUEUE_ACTIVE)
			return spool_ready(&st) && st.st_size == (off_t)file.n;
		rc = spool_find_path_blk(s, at, id, path);
		if (rc == 0 && spool_ready(&st) && is_same(s, path, file))
			return 1;
		if (rc == 0)
			rc = fsio_unlink(s->dirfd, path);
		if (rc < 0)
			return rc;
	}
	return rc == -ENOENT ? 0 : rc;
}
