/*
 * body.c - the content of a queue file for a delivery, in pieces, without ever waiting.
 *
 * From memory all is there at once. From a file, chunks of 64 KiB come through the disk lane, one
 * ahead of the reading, so that a delivery of 50 MB holds two chunks and the network is kept busy.
 * A piece is a view into a chunk; a record that crosses chunks simply becomes more pieces.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/runtime/loop.h"
#include "pp/spool/body.h"

enum {
	CHUNK = 64 * 1024,
	HEAD_BYTES = 8, /* type and length */
	POINTER_BYTES = 64,
	BACK_JUMPS_MAX = 10000,
};

struct chunk {
	off_t at;
	struct str bytes; /* what is there; shorter than asked for = the end of the file */
	bool valid, is_last;
	char *memory; /* of a file */
};

struct body {
	struct lane_job job;
	struct loop *loop;
	struct spool *spool;
	struct lane *lane;
	struct spool_bytes *ref;
	char id[SPOOL_ID_MAX];
	enum queue queue;
	off_t end;      /* where X must stand */
	off_t at;       /* next byte to read */
	size_t left;    /* of the record's payload */
	bool ends_line; /* that record is N */
	off_t last_target;
	unsigned back_jumps;
	int64_t budget; /* bytes that may still be read: no pointer loop outlives it */
	size_t chunk_size;
	struct chunk here, ahead;
	int rc; /* sticks */
	char error[160];
	bool busy, closed, complete;
	struct post post; /* ready() without a read */
	bool posted;
	void (*ready)(void *ctx, int rc);
	void *ctx;
	/* The job's, while busy. */
	int fd;
	off_t job_at;
	ssize_t job_rc;
	int64_t file_size;
};

static void read_start(struct body *b, off_t at);

static void
body_free(struct body *b)
{
	fsio_close(b->fd);
	mem_free(b->here.memory);
	mem_free(b->ahead.memory);
	if (b->ref)
		snap_unref(&b->ref->snap);
	mem_free(b);
}

static int
read_open(struct body *b)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int fd;

	spool_path(b->spool, b->queue, b->id, path);
	fd = fsio_open_read(b->spool->dirfd, path);
	if (fd == -ENOENT && spool_locate(b->spool, b->queue, b->id, path, &st) == 0)
		fd = fsio_open_read(b->spool->dirfd, path);
	if (fd < 0)
		return fd;
	b->fd = fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	b->file_size = st.st_size;
	return S_ISREG(st.st_mode) ? 0 : -EBADMSG;
}

static void
read_work(struct lane_job *job)
{
	struct body *b = PP_CONTAINER(job, struct body, job);
	int rc;

	if (b->ref) {
		b->file_size = (int64_t)b->ref->text.n;
		b->job_rc =
		    journal_text_read_blk(&b->ref->text, b->ahead.memory, b->chunk_size, b->job_at);
		return;
	}
	rc = b->fd < 0 ? read_open(b) : 0;
	b->job_rc = rc < 0 ? rc : fsio_pread(b->fd, b->ahead.memory, b->chunk_size, b->job_at);
}

/* Is the byte at b->at there, or known to be behind the end? */
static bool
at_hand(const struct body *b)
{
	const struct chunk *c = &b->here;

	return b->rc < 0 || b->complete ||
	       (c->valid && b->at >= c->at && (b->at < c->at + (off_t)c->bytes.n || c->is_last));
}

static void
tell(struct body *b)
{
	void (*ready)(void *, int) = b->ready;

	if (ready == NULL)
		return;
	b->ready = NULL;
	ready(b->ctx, b->rc);
}

/* The chunk ahead becomes the one that is read, when the reading has come to it. */
static void
step(struct body *b)
{
	struct chunk swap = b->here;
	struct chunk *c = &b->ahead;
	bool fits = c->valid && b->at >= c->at && b->at <= c->at + (off_t)c->bytes.n &&
		    (b->at < c->at + (off_t)c->bytes.n || c->is_last);

	if (b->busy || at_hand(b))
		return;
	if (!fits) {
		read_start(b, b->at);
		return;
	}
	b->here = *c;
	b->ahead = swap;
	b->ahead.valid = false;
	if (!b->here.is_last)
		read_start(b, b->here.at + (off_t)b->here.bytes.n);
}

static void
read_done(struct lane_job *job)
{
	struct body *b = PP_CONTAINER(job, struct body, job);

	b->busy = false;
	if (b->closed) {
		if (!b->posted)
			body_free(b);
		return;
	}
	if (b->job_rc < 0) {
		b->rc = (int)b->job_rc;
	} else {
		b->ahead.at = b->job_at;
		b->ahead.bytes = (struct str){b->ahead.memory, (size_t)b->job_rc};
		b->ahead.valid = true;
		b->ahead.is_last = (size_t)b->job_rc < b->chunk_size;
	}
	if (b->budget == 0)
		b->budget = b->file_size + b->file_size / 2 + CHUNK;
	step(b);
	if (at_hand(b))
		tell(b);
}

static void
read_start(struct body *b, off_t at)
{
	if (b->ahead.memory == NULL)
		b->ahead.memory = mem_realloc(NULL, b->chunk_size);
	b->ahead.valid = false;
	b->job_at = at;
	b->busy = true;
	lane_run(b->lane, lane_key(b->id), &b->job, read_work, read_done);
}

struct body *
body_open(struct spool *s, enum queue q, const char *id, struct spool_bytes *bytes,
    off_t data_offset, int64_t data_size)
{
	struct body *b = MEM_NEW(struct body);

	PP_ASSERT(data_offset > 0 && data_size >= 0);
	b->loop = loop_current();
	b->spool = s;
	b->fd = -1;
	b->at = data_offset;
	b->end = data_offset + data_size;
	b->queue = q;
	PP_ASSERT(strlen(id) < sizeof(b->id));
	memcpy(b->id, id, strlen(id) + 1);
	if (bytes) {
		snap_ref(&bytes->snap);
		b->ref = bytes;
	}
	if (bytes && bytes->text.segment == NULL) {
		b->here = (struct chunk){.bytes = bytes->bytes, .valid = true, .is_last = true};
		b->budget = (int64_t)(bytes->bytes.n + bytes->bytes.n / 2) + CHUNK;
		return b;
	}
	b->lane = s->lane;
	PP_ASSERT(b->lane != NULL);
	/* A small message needs a small chunk; the bytes behind it let the first read see the end.
	 */
	b->chunk_size = data_size < CHUNK - 512 ? (size_t)data_size + 512 : CHUNK;
	read_start(b, b->at);
	return b;
}

/* Copies up to n bytes at b->at without consuming them, across both chunks. */
static size_t
peek(struct body *b, char *to, size_t n, bool *ret_more)
{
	struct str s = str_from(b->here.bytes, (size_t)(b->at - b->here.at));
	size_t have = s.n < n ? s.n : n;

	memcpy(to, s.p, have);
	*ret_more = false;
	if (have == n || b->here.is_last)
		return have;
	if (!b->ahead.valid || b->busy) {
		*ret_more = true; /* ask again when the chunk ahead is there */
		if (!b->busy)
			read_start(b, b->here.at + (off_t)b->here.bytes.n);
		return have;
	}
	s = str_head(b->ahead.bytes, n - have);
	memcpy(to + have, s.p, s.n);
	return have + s.n;
}

static int
bad(struct body *b, off_t at, const char *what, int type)
{
	size_t n = 0;

	n = (size_t)snprintf(b->error, sizeof(b->error), "%s", what);
	if (type >= 0)
		n += (size_t)snprintf(b->error + n, sizeof(b->error) - n, " %d", type);
	snprintf(b->error + n, sizeof(b->error) - n, " in message content at offset %lld",
	    (long long)at);
	return -EBADMSG;
}

const char *
body_error(const struct body *b)
{
	return b->error;
}

static int
follow(struct body *b, struct str payload, off_t at)
{
	int64_t target;

	if (record_number(payload, &target) < 0 || target < 0)
		return bad(b, at, "malformed pointer record value", -1);
	if (target == 0)
		return 0;
	if (target <= b->last_target && ++b->back_jumps > BACK_JUMPS_MAX)
		b->budget = -1;
	if (b->budget < 0)
		return bad(b, at, "too many reverse jump records", -1);
	b->last_target = b->at = target;
	return 0;
}

static void
advance(struct body *b, size_t n)
{
	b->at += (off_t)n;
	b->budget -= (int64_t)n;
}

/* Reads type and length of the record at b->at. 0 = go on, else as body_next. */
static int
next_head(struct body *b)
{
	char head[HEAD_BYTES + POINTER_BYTES];
	size_t n, length, used;
	off_t at = b->at;
	int type, rc;
	bool more;

	n = peek(b, head, sizeof(head), &more);
	rc = record_get_head(
	    (struct str){head, n < HEAD_BYTES ? n : HEAD_BYTES}, &type, &length, &used);
	if (rc == -EAGAIN || rc == 1)
		return more ? -EAGAIN : bad(b, at, "unexpected end of file", -1);
	if (rc < 0)
		return bad(b, at, "too many length bits, record type", type);
	switch (type) {
	case REC_LINE:
	case REC_PART:
		advance(b, used);
		b->left = length;
		b->ends_line = type == REC_LINE;
		return 0;
	case REC_PADDING:
		advance(b, used + length);
		return 0;
	case REC_POINTER:
		if (length > POINTER_BYTES)
			return bad(b, at, "pointer record is too long", -1);
		if (n < used + length)
			return more ? -EAGAIN : bad(b, at, "unexpected end of file", -1);
		advance(b, used + length);
		return follow(b, (struct str){head + used, length}, at);
	case REC_EXTRACTED:
		if (b->at != b->end)
			return bad(b, at, "extracted segment marker", -1);
		b->complete = true;
		return 0;
	default:
		return bad(b, at, "bad record type:", type);
	}
}

static void
take_piece(struct body *b, struct body_piece *ret)
{
	struct str s = str_from(b->here.bytes, (size_t)(b->at - b->here.at));

	s = str_head(s, b->left);
	b->left -= s.n;
	advance(b, s.n);
	ret->bytes = s;
	ret->last = b->left == 0 && b->ends_line;
	if (ret->last)
		b->ends_line = false;
}

int
body_next(struct body *b, struct body_piece *ret)
{
	PP_ON(b->loop);
	while (b->rc == 0 && !b->complete) {
		int rc;

		step(b);
		if (!at_hand(b))
			return -EAGAIN;
		if (b->at >= b->here.at + (off_t)b->here.bytes.n &&
		    !(b->left == 0 && b->ends_line)) {
			b->rc = bad(b, b->at, "unexpected end of file", -1);
			break;
		}
		if (b->left > 0 || b->ends_line) {
			take_piece(b, ret);
			return 1;
		}
		rc = next_head(b);
		if (rc == -EAGAIN)
			return rc;
		b->rc = rc;
	}
	return b->rc;
}

static void
ready_posted(struct post *p)
{
	struct body *b = PP_CONTAINER(p, struct body, post);

	b->posted = false;
	if (b->closed && !b->busy)
		body_free(b);
	else if (!b->closed)
		tell(b);
}

void
body_wait(struct body *b, void (*ready)(void *ctx, int rc), void *ctx)
{
	PP_ON(b->loop);
	PP_ASSERT(b->ready == NULL);
	b->ready = ready;
	b->ctx = ctx;
	step(b);
	if (b->busy || b->posted)
		return;
	b->posted = true;
	post_to(b->loop, &b->post, ready_posted);
}

void
body_close(struct body *b)
{
	if (b == NULL)
		return;
	PP_ON(b->loop);
	PP_ASSERT(!b->closed);
	b->closed = true;
	b->ready = NULL;
	if (!b->busy && !b->posted)
		body_free(b);
}
