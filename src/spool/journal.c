/*
 * journal.c - group commit: what waits at a moment is appended by one write and made safe by one
 * sync.
 *
 * While the loop of the journal waits for the disk the next commits gather in its queue of posts,
 * so the busier it is the more share a sync, and one mail alone waits for nobody. Segments are
 * used in a ring, the oldest first: a segment that is overwritten was done before all younger ones,
 * so no mark is lost while its message is still there to be read. When the oldest is still needed
 * and no more are allowed, messages become files at once, as without a journal.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>
#include "journal.h"
#include "pp/runtime/snap.h"

enum {
	PARTS = 3,           /* head and id, file, padding */
	BATCH = 256,         /* messages in one write */
	AHEAD = 1024 * 1024, /* bytes made ready behind what is written: a sync that has to
			      * record where a file lies on the disk costs several times as much */
	SEGMENTS_MAX = 512,
	MARKS_US = 1000000, /* so often the marks are written by a commit, too */
	SEGMENTS_KEPT = 8,  /* made for good; what a rush needed beyond them is removed again */
};

struct segment {
	TAILQ_ENTRY(segment) link;
	struct snap snap; /* one reference for each message, and one while it is written to */
	struct post post;
	struct journal *journal;
	unsigned number;
	int fd;
	struct journal_head life;
	char *front;    /* head and map: pages of the file */
	uint32_t next;  /* unit */
	uint32_t ready; /* units that lie on the disk */
	int64_t synced; /* us: all of it, the map too; 0 = not in this life */
	bool is_free;
};

struct journal_mail {
	struct segment *segment;
	uint32_t unit;
	uint32_t n; /* bytes of the queue file, at `at` */
	off_t at;
};

/* Written, not synced yet. */
struct run {
	struct journal_commit *commit[BATCH];
	struct {
		struct journal_entry_head head;
		char id[SPOOL_ID_MAX];
	} entry[BATCH];
	struct iovec part[BATCH * PARTS];
	size_t n;
	uint32_t first; /* unit */
};

struct journal {
	struct spool *spool;
	struct loop *loop;
	struct journal_options o;
	struct counter broken; /* 1 = an error of the disk: files from then on */
	struct counter used;   /* segments that are not free */
	uint64_t generation;   /* of the segments of this run: there are no others (replay) */
	TAILQ_HEAD(, segment) segments; /* oldest first */
	struct segment *head;           /* the one that is written to, or NULL */
	unsigned count, limit, number;
	struct post *waiting, **last; /* commits */
	bool is_waiting;
	struct post flush;
	struct run *run; /* from the first commit on */
};

static const char zeros[JOURNAL_PAD_MAX];

struct journal *
journal_new(struct spool *s, struct loop *loop, const struct journal_options *o)
{
	struct journal *j = MEM_NEW(struct journal);
	int64_t limit = o->size_limit / JOURNAL_SIZE;

	j->spool = s;
	j->loop = loop;
	j->o = *o;
	j->limit = limit < 2 ? 2 : limit > SEGMENTS_MAX ? SEGMENTS_MAX : (unsigned)limit;
	j->last = &j->waiting;
	TAILQ_INIT(&j->segments);
	return j;
}

bool
journal_takes(const struct journal *j, size_t bytes)
{
	return (int64_t)bytes <= j->o.message_limit &&
	       counter_take((struct counter *)(uintptr_t)&j->broken, 0, 0);
}

static char *
map_of(const struct segment *g)
{
	return g->front + JOURNAL_HEAD;
}

static off_t
unit_offset(uint32_t unit)
{
	return JOURNAL_FRONT + (off_t)unit * JOURNAL_UNIT;
}

static void
segment_free(struct segment *g)
{
	if (g->front)
		munmap(g->front, JOURNAL_FRONT);
	fsio_close(g->fd);
	mem_free(g);
}

static void
freed_run(struct post *p)
{
	struct segment *g = PP_CONTAINER(p, struct segment, post);
	struct journal *j = g->journal;
	char path[JOURNAL_NAME_MAX];

	g->is_free = true;
	counter_give(&j->used, 1);
	if (j->count <= SEGMENTS_KEPT)
		return;
	journal_segment_path(g->number, path);
	fsio_unlink(j->spool->dirfd, path);
	TAILQ_REMOVE(&j->segments, g, link);
	j->count--;
	segment_free(g);
}

/* On the thread of whoever was the last to need it. */
static void
segment_unused(struct snap *snap)
{
	struct segment *g = PP_CONTAINER(snap, struct segment, snap);

	post_to(g->journal->loop, &g->post, freed_run);
}

/* From here on nothing in it counts. Safe before the marks are wiped: an old entry without its
 * mark would be delivered once more. */
static int
segment_begin(struct journal *j, struct segment *g)
{
	uint64_t salt;
	int rc;

	if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != (ssize_t)sizeof(salt))
		salt = (uint64_t)loop_monotonic_us() ^ (uintptr_t)g;
	journal_head_fill(&g->life, ++j->generation, salt);
	rc = fsio_pwrite(g->fd, (struct str){(const char *)&g->life, sizeof(g->life)}, 0);
	if (rc == 0)
		rc = fsio_sync_data(g->fd);
	if (rc < 0) {
		g->is_free = true; /* there is nothing in it: it has its turn again */
		return rc;
	}
	memset(map_of(g), 0, JOURNAL_UNITS);
	g->next = 0;
	g->synced = 0;
	g->is_free = false;
	counter_take(&j->used, 1, INT64_MAX);
	snap_init(&g->snap, segment_unused);
	return 0;
}

/* One call for all of it: at most AHEAD bytes. */
static int
write_zeros(int fd, off_t from, off_t to)
{
	struct iovec part[AHEAD / sizeof(zeros) + 1];
	size_t n = 0;

	PP_ASSERT(to - from <= AHEAD);
	for (off_t at = from; at < to; at += (off_t)sizeof(zeros))
		part[n++] = (struct iovec){(void *)(uintptr_t)zeros,
		    to - at < (off_t)sizeof(zeros) ? (size_t)(to - at) : sizeof(zeros)};
	return fsio_pwritev(fd, part, n, from);
}

static int
segment_create(struct journal *j, struct segment *g)
{
	char path[JOURNAL_NAME_MAX];
	int rc;

	journal_segment_path(g->number, path);
	rc = spool_create_file(j->spool, path);
	if (rc < 0)
		return rc;
	g->fd = rc;
	rc = 0;
	/* Really there, so that a mark never finds the disk full. */
	if (rc == 0)
		rc = write_zeros(g->fd, 0, JOURNAL_FRONT);
	if (rc == 0)
		g->front = mmap(NULL, JOURNAL_FRONT, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	if (g->front == MAP_FAILED) {
		g->front = NULL;
		rc = -errno;
	}
	if (rc == 0)
		rc = fsio_sync(g->fd);
	if (rc == 0)
		rc = journal_sync_dir_blk(j->spool);
	if (rc < 0)
		fsio_unlink(j->spool->dirfd, path);
	return rc;
}

static int
segment_new(struct journal *j, struct segment **ret)
{
	struct segment *g = MEM_NEW(struct segment);
	int rc;

	g->journal = j;
	g->number = j->number++; /* one that cannot be made is not tried twice: a foreign file? */
	g->fd = -1;
	rc = segment_create(j, g);
	if (rc < 0) {
		segment_free(g);
		return rc;
	}
	j->count++;
	*ret = g;
	return 0;
}

/* The next one to write to. -ENOSPC: the oldest is still needed. */
static int
head_next(struct journal *j)
{
	struct segment *g = TAILQ_FIRST(&j->segments);
	int rc;

	if (g && g->is_free) {
		TAILQ_REMOVE(&j->segments, g, link);
		TAILQ_INSERT_TAIL(&j->segments, g, link);
	} else {
		rc = j->count < j->limit ? segment_new(j, &g) : -ENOSPC;
		if (rc < 0)
			return rc;
		TAILQ_INSERT_TAIL(&j->segments, g, link);
	}
	rc = segment_begin(j, g);
	if (rc == 0)
		j->head = g;
	return rc;
}

static void
answered(struct post *p)
{
	struct journal_commit *c = PP_CONTAINER(p, struct journal_commit, post);

	c->done(c);
}

static void
answer(struct journal_commit *c, int rc)
{
	c->rc = rc;
	post_to(c->home, &c->post, answered);
}

/* Behind the last unit: room that the next writes need not find. */
static int
make_ready(struct segment *g)
{
	off_t end = unit_offset(JOURNAL_UNITS), at = unit_offset(g->next);
	int rc;

	if (g->next <= g->ready)
		return 0;
	if (end > at + AHEAD)
		end = at + AHEAD;
	rc = write_zeros(g->fd, at, end);
	if (rc == 0)
		g->ready = (uint32_t)((end - JOURNAL_FRONT) / JOURNAL_UNIT);
	return rc;
}

/* A disk that is full, or a limit of the process, may be better next time. */
static void
note_error(struct journal *j, int rc)
{
	static const int passing[] = {ENOSPC, EDQUOT, EMFILE, ENFILE, EEXIST};

	for (size_t i = 0; i < PP_COUNT(passing); i++)
		if (rc == -passing[i])
			return;
	if (counter_next(&j->broken, 1) == 1 && j->o.failed)
		j->o.failed(rc);
}

static void
fail(struct journal *j, int rc)
{
	struct run *r = j->run;
	struct segment *g = j->head;

	for (size_t i = 0; i < r->n; i++) {
		struct journal_mail *m = r->commit[i]->mail;

		/* It may have got there all the same: never to be delivered from here. */
		r->commit[i]->mail = NULL;
		journal_done(m);
		answer(r->commit[i], rc);
	}
	r->n = 0;
	j->head = NULL; /* what lies behind a failed write is not known: nothing follows it */
	snap_unref(&g->snap);
	note_error(j, rc);
}

/* Only what is written is made safe: the marks are pages of the same file, and to write one of them
 * as well takes the disk twice as long. */
static int
run_write(struct journal *j, struct segment *g)
{
	struct run *r = j->run;
	int64_t now = loop_monotonic_us();
	off_t at = unit_offset(r->first);
	int rc;

	if (g->next <= g->ready && g->synced > 0 && now - g->synced < MARKS_US)
		return fsio_pwritev_sync(g->fd, r->part, r->n * PARTS, at);
	rc = fsio_pwritev(g->fd, r->part, r->n * PARTS, at);
	if (rc == 0)
		rc = make_ready(g);
	if (rc == 0)
		rc = fsio_sync_data(g->fd);
	g->synced = now;
	return rc;
}

/* Safe, and answered. */
static void
run_end(struct journal *j)
{
	struct run *r = j->run;
	struct segment *g = j->head;
	int rc;

	if (r->n == 0)
		return;
	rc = run_write(j, g);
	if (rc < 0) {
		fail(j, rc);
		return;
	}
	for (size_t i = 0; i < r->n; i++)
		answer(r->commit[i], 0);
	r->n = 0;
}

static void
head_full(struct journal *j)
{
	struct segment *g = j->head;

	run_end(j);
	if (j->head == NULL)
		return;
	j->head = NULL;
	snap_unref(&g->snap);
}

static void
put(struct journal *j, struct journal_commit *c, uint32_t units)
{
	struct run *r = j->run;
	struct segment *g = j->head;
	struct str id = str_of(c->id), file = c->bytes->bytes;
	size_t i = r->n++, head = sizeof(r->entry[0].head) + id.n;
	struct iovec *part = &r->part[i * PARTS];

	if (i == 0)
		r->first = g->next;
	journal_entry_fill(&r->entry[i].head, &g->life, units, c->hash, id, file.n);
	memcpy(r->entry[i].id, id.p, id.n);
	part[0] = (struct iovec){&r->entry[i], head};
	part[1] = (struct iovec){(void *)(uintptr_t)file.p, file.n};
	part[2] =
	    (struct iovec){(void *)(uintptr_t)zeros, (size_t)units * JOURNAL_UNIT - head - file.n};
	c->mail = MEM_NEW(struct journal_mail);
	c->mail->segment = g;
	c->mail->unit = g->next;
	c->mail->n = (uint32_t)file.n;
	c->mail->at = unit_offset(g->next) + (off_t)head;
	snap_ref(&g->snap);
	r->commit[i] = c;
	g->next += units;
}

static void
place(struct journal *j, struct journal_commit *c)
{
	uint32_t units = journal_entry_units(strlen(c->id), c->bytes->bytes.n, c->rcpt_count);
	int rc = units == 0 ? -EFBIG : 0;

	if (j->run->n == BATCH)
		run_end(j);
	if (j->head && units > JOURNAL_UNITS - j->head->next)
		head_full(j);
	if (rc == 0 && j->head == NULL) {
		rc = head_next(j);
		if (rc < 0)
			note_error(j, rc);
	}
	if (rc < 0)
		answer(c, rc);
	else
		put(j, c, units);
}

static void
flush_run(struct post *p)
{
	struct journal *j = PP_CONTAINER(p, struct journal, flush);
	struct post *c = j->waiting;

	j->is_waiting = false;
	j->waiting = NULL;
	j->last = &j->waiting;
	if (j->run == NULL)
		j->run = MEM_NEW(struct run);
	while (c != NULL) {
		struct post *next = c->next;

		place(j, PP_CONTAINER(c, struct journal_commit, post));
		c = next;
	}
	run_end(j);
}

static void
append_run(struct post *p)
{
	struct journal *j = PP_CONTAINER(p, struct journal_commit, post)->journal;

	p->next = NULL;
	*j->last = p;
	j->last = &p->next;
	if (!j->is_waiting)
		post_after(&j->flush, flush_run);
	j->is_waiting = true;
}

void
journal_append(struct journal *j, struct journal_commit *c)
{
	c->home = loop_current();
	c->journal = j;
	c->mail = NULL;
	c->hash = journal_content_hash(str_of(c->id), c->bytes->bytes);
	post_to(j->loop, &c->post, append_run);
}

void
journal_text_take(const struct journal_mail *m, struct journal_text *ret)
{
	snap_ref(&m->segment->snap);
	*ret = (struct journal_text){m->segment, m->at, m->n};
}

void
journal_text_give(struct journal_text *t)
{
	snap_unref(&t->segment->snap);
	t->segment = NULL;
}

ssize_t
journal_text_read_blk(const struct journal_text *t, char *to, size_t n, off_t at)
{
	size_t left = at < (off_t)t->n ? t->n - (size_t)at : 0;

	return fsio_pread(t->segment->fd, to, n < left ? n : left, t->at + at);
}

bool
journal_is_filling(const struct journal_mail *m)
{
	struct journal *j = m->segment->journal;

	return !counter_take(&j->used, 0, (int64_t)j->limit * 3 / 4);
}

void
journal_mark(struct journal_mail *m, size_t n)
{
	PP_ASSERT(m->unit + 1 + n / JOURNAL_BITS < JOURNAL_UNITS);
	map_of(m->segment)[m->unit + 1 + n / JOURNAL_BITS] |= (char)(1u << n % JOURNAL_BITS);
}

void
journal_done(struct journal_mail *m)
{
	struct segment *g = m->segment;

	map_of(g)[m->unit] |= JOURNAL_ALL_DONE;
	mem_free(m);
	snap_unref(&g->snap);
}

void
journal_leave(struct journal_mail *m)
{
	mem_free(m);
}

int
journal_close(struct journal *j)
{
	struct segment *g;
	int64_t n;

	while ((g = TAILQ_FIRST(&j->segments)) != NULL) {
		TAILQ_REMOVE(&j->segments, g, link);
		segment_free(g);
	}
	n = journal_replay_blk(j->spool, (uid_t)-1, (gid_t)-1, NULL);
	mem_free(j->run);
	mem_free(j);
	return n < 0 ? (int)n : 0;
}
