/*
 * writer.c - one new message: records in memory, in chunks to the disk when there are many, and
 * the commit.
 *
 * At most one job is on the lane at a time and it owns everything it touches (`flight`, `fd`,
 * the path), while new records gather in `fresh`; so there is nothing to lock, and the amount
 * that waits is one number. The size record stands first as zeros and is filled in once, at the
 * end: in memory for a small message, by one write in place for a streamed one.
 */
#include <errno.h>
#include "internal.h"
#include "pp/runtime/loop.h"

enum {
	WRITER_MEMORY_LIMIT = 256 * 1024, /* more than this streams */
	WRITER_FIRST = 4096,              /* memory that most messages need */
	WRITER_CHUNK = 64 * 1024,         /* a streamed write is not made for less */
	WRITER_HIGH = 512 * 1024,
	WRITER_LOW = 128 * 1024,
	WRITER_PENDING_MAX = 8 * 1024 * 1024, /* who ignores writer_full is stopped here */
	SIZE_RECORD = 2 + RECORD_SIZE_PAYLOAD,
};

enum work { WORK_CHUNK, WORK_COMMIT, WORK_JOURNAL, WORK_REMOVE };

struct writer {
	struct lane_job job;
	struct spool *spool;
	struct loop *loop;
	char id[SPOOL_ID_MAX];
	enum queue queue;
	int rc;           /* the first error sticks */
	struct buf fresh; /* records not on their way to the disk yet */
	off_t end;        /* file offset behind the last record */
	struct record_size size;
	bool in_content;
	bool streams; /* the file exists, or is being made */
	bool busy;    /* a job is on the lane */
	bool aborted, committing;
	void (*drained)(void *ctx);
	void *drained_ctx;
	void (*done)(void *ctx, int rc);
	void *done_ctx;
	struct spool_arrival *arrival; /* made at the commit */
	struct journal_commit commit;
	/* The job's, while busy. */
	enum work work;
	int job_rc;
	struct buf flight;
	struct str out; /* what is written: flight, or the bytes of the arrival */
	int fd;
	enum queue file_queue; /* where the file was made */
	char size_record[SIZE_RECORD];
};

static void work_done(struct lane_job *job);
static void commit_finish(struct writer *w);

void
spool_arrival_free(struct spool_arrival *a)
{
	if (a == NULL)
		return;
	if (a->bytes)
		snap_unref(&a->bytes->snap);
	if (a->mail)
		journal_leave(a->mail);
	mem_free(a);
}

struct writer *
writer_new(struct spool *s, enum queue q)
{
	struct writer *w = MEM_NEW(struct writer);

	PP_ASSERT(q == QUEUE_INCOMING || q == QUEUE_HOLD);
	w->spool = s;
	w->loop = loop_current();
	w->queue = q;
	w->fd = -1;
	spool_id_new(s, w->id);
	buf_init(&w->fresh, WRITER_PENDING_MAX);
	buf_init(&w->flight, WRITER_PENDING_MAX);
	buf_reserve(&w->fresh, WRITER_FIRST);
	record_put_size(&w->fresh, &w->size);
	w->end = SIZE_RECORD;
	return w;
}

const char *
writer_id(const struct writer *w)
{
	return w->id;
}

void
writer_set_queue(struct writer *w, enum queue q)
{
	PP_ON(w->loop);
	PP_ASSERT((q == QUEUE_INCOMING || q == QUEUE_HOLD) && !w->committing);
	w->queue = q;
}

static void
writer_free(struct writer *w)
{
	PP_ASSERT(!w->busy);
	fsio_close(w->fd);
	buf_fini(&w->fresh);
	buf_fini(&w->flight);
	spool_arrival_free(w->arrival);
	mem_free(w);
}

static int
work_open(struct writer *w)
{
	char path[SPOOL_PATH_MAX];
	int fd;

	if (w->fd >= 0)
		return 0;
	spool_path(w->spool, w->file_queue, w->id, path);
	fd = spool_create_file(w->spool, path);
	if (fd < 0)
		return fd;
	w->fd = fd;
	return 0;
}

static void
work_remove(struct writer *w)
{
	char path[SPOOL_PATH_MAX];

	if (w->fd < 0)
		return; /* never made, or somebody else's file of that name */
	fsio_close(w->fd);
	w->fd = -1;
	spool_path(w->spool, w->file_queue, w->id, path);
	fsio_unlink(w->spool->dirfd, path);
}

/* The message became HOLD on its way: its file must not show up in incoming. */
static int
work_change_queue(struct writer *w)
{
	int rc;

	if (w->file_queue == w->queue)
		return 0;
	rc = spool_move_blk(w->spool, w->id, w->file_queue, w->queue, -1);
	if (rc == 0)
		w->file_queue = w->queue;
	return rc;
}

static int
work_commit(struct writer *w)
{
	char path[SPOOL_PATH_MAX];
	int rc = work_open(w);

	if (rc == 0)
		rc = fsio_write(w->fd, w->out);
	if (rc == 0 && w->streams)
		rc = fsio_pwrite(w->fd, (struct str){w->size_record, SIZE_RECORD}, 0);
	if (rc == 0)
		rc = work_change_queue(w);
	if (rc == 0) {
		spool_path(w->spool, w->queue, w->id, path);
		rc = spool_finish_file(w->spool, w->queue, path, w->fd, 0700);
	}
	if (rc == 0) {
		fsio_close(w->fd);
		w->fd = -1;
	}
	return rc;
}

static void
work_run(struct lane_job *job)
{
	struct writer *w = PP_CONTAINER(job, struct writer, job);
	int rc = 0;

	if (w->work == WORK_CHUNK) {
		rc = work_open(w);
		if (rc == 0)
			rc = fsio_write(w->fd, w->out);
	} else if (w->work == WORK_COMMIT) {
		rc = work_commit(w);
	}
	if (rc < 0 || w->work == WORK_REMOVE)
		work_remove(w);
	w->job_rc = rc;
}

static void
work_start(struct writer *w, enum work work)
{
	PP_ASSERT(!w->busy && w->spool->lane != NULL);
	w->busy = true;
	w->work = work;
	lane_run(w->spool->lane, lane_key(w->id), &w->job, work_run, work_done);
}

/* What has gathered goes to the disk. */
static void
chunk_start(struct writer *w)
{
	struct buf swap = w->flight;

	buf_clear(&swap);
	w->flight = w->fresh;
	w->fresh = swap;
	w->out = buf_str(&w->flight);
	if (!w->streams)
		w->file_queue = QUEUE_INCOMING;
	w->streams = true;
	work_start(w, WORK_CHUNK);
}

static void
journaled(struct journal_commit *c)
{
	struct writer *w = PP_CONTAINER(c, struct writer, commit);

	w->busy = false;
	w->arrival->mail = c->mail;
	if (c->rc == 0)
		commit_finish(w);
	else
		work_start(w, WORK_COMMIT); /* no room there: a file of its own */
}

static void
journal_start(struct writer *w)
{
	w->busy = true;
	w->work = WORK_JOURNAL;
	w->commit.bytes = w->arrival->bytes;
	w->commit.id = w->id;
	w->commit.rcpt_count = (size_t)w->size.rcpt_count;
	w->commit.done = journaled;
	journal_append(w->spool->journal, &w->commit);
}

static void
commit_start(struct writer *w)
{
	struct buf size;
	bool is_young;

	buf_init(&size, SIZE_RECORD);
	record_put_size(&size, &w->size);
	PP_ASSERT(buf_str(&size).n == SIZE_RECORD);
	memcpy(w->size_record, size.p, SIZE_RECORD);
	buf_fini(&size);
	buf_fini(&w->flight);
	w->flight = w->fresh;
	buf_init(&w->fresh, WRITER_PENDING_MAX);
	w->arrival = MEM_NEW(struct spool_arrival);
	memcpy(w->arrival->id, w->id, sizeof(w->id));
	w->arrival->queue = w->queue;
	w->out = buf_str(&w->flight);
	is_young = !w->streams && w->queue == QUEUE_INCOMING && w->spool->journal &&
		   journal_takes(w->spool->journal, w->out.n);
	if (!w->streams) {
		w->file_queue = w->queue;
		memcpy(w->flight.p, w->size_record, SIZE_RECORD);
		w->arrival->bytes = spool_bytes_keep(w->spool, &w->flight, is_young);
		if (w->arrival->bytes)
			w->out = w->arrival->bytes->bytes;
	}
	if (is_young)
		journal_start(w);
	else
		work_start(w, WORK_COMMIT);
}

static void
commit_finish(struct writer *w)
{
	struct spool *s = w->spool;
	struct spool_arrival *a = w->arrival;
	void (*done)(void *, int) = w->done;
	void *ctx = w->done_ctx;
	int rc = w->rc;

	if (a && a->mail == NULL && a->bytes && a->bytes->is_passing) {
		snap_unref(&a->bytes->snap); /* it has become a file */
		a->bytes = NULL;
	}
	if (rc == 0 && s->hook)
		w->arrival = NULL;
	writer_free(w);
	if (rc == 0 && s->hook)
		s->hook(s->hook_ctx, a);
	done(ctx, rc);
}

static void
forget(struct writer *w)
{
	if (w->fd >= 0 && w->spool->lane != NULL) {
		work_start(w, WORK_REMOVE);
		return;
	}
	work_remove(w); /* nothing to do, or the daemon is ending and its lanes are gone */
	writer_free(w);
}

static void
drain_check(struct writer *w)
{
	void (*drained)(void *) = w->drained;

	if (drained == NULL || (w->rc == 0 && w->fresh.n > WRITER_LOW))
		return;
	w->drained = NULL;
	drained(w->drained_ctx);
}

static void
work_done(struct lane_job *job)
{
	struct writer *w = PP_CONTAINER(job, struct writer, job);

	w->busy = false;
	if (w->rc == 0)
		w->rc = w->job_rc;
	if (w->aborted) {
		forget(w);
		return;
	}
	buf_clear(&w->flight);
	if (w->rc < 0)
		buf_shrink(&w->fresh);
	if (w->committing) {
		if (w->rc < 0 || w->work == WORK_COMMIT)
			commit_finish(w);
		else
			commit_start(w);
		return;
	}
	if (w->rc == 0 && w->fresh.n >= WRITER_CHUNK)
		chunk_start(w);
	drain_check(w); /* the last thing: it may end the writer */
}

static void
note_record(struct writer *w, int type, off_t at)
{
	switch (type) {
	case REC_CONTENT:
		w->size.data_offset = at + 2;
		w->in_content = true;
		break;
	case REC_EXTRACTED:
		w->size.data_size = at - w->size.data_offset;
		w->in_content = false;
		break;
	case REC_RCPT:
		w->size.rcpt_count++;
		break;
	default:
		break;
	}
}

/* After records were added: `before` is where they begin in `fresh`. */
static void
note_growth(struct writer *w, size_t before)
{
	w->end += (off_t)(buf_str(&w->fresh).n - before);
	if (!w->busy && w->fresh.n >= (w->streams ? WRITER_CHUNK : WRITER_MEMORY_LIMIT))
		chunk_start(w);
}

off_t
writer_put(struct writer *w, int type, struct str payload)
{
	size_t before = buf_str(&w->fresh).n;
	off_t at = w->end;

	PP_ON(w->loop);
	PP_ASSERT(!w->committing && type != REC_SIZE);
	if (w->rc == 0)
		w->rc = record_put(&w->fresh, type, payload);
	if (w->rc < 0)
		return w->rc;
	note_record(w, type, at);
	note_growth(w, before);
	return at;
}

off_t
writer_putf(struct writer *w, int type, const char *fmt, ...)
{
	size_t before = buf_str(&w->fresh).n;
	off_t at = w->end;
	va_list ap;

	PP_ON(w->loop);
	PP_ASSERT(!w->committing && type != REC_SIZE);
	va_start(ap, fmt);
	if (w->rc == 0)
		w->rc = record_vputf(&w->fresh, type, fmt, ap);
	va_end(ap);
	if (w->rc < 0)
		return w->rc;
	note_record(w, type, at);
	note_growth(w, before);
	return at;
}

int
writer_put_line(struct writer *w, struct str line, size_t limit)
{
	size_t before = buf_str(&w->fresh).n;

	PP_ON(w->loop);
	PP_ASSERT(!w->committing);
	if (w->rc == 0)
		w->rc = record_put_line(&w->fresh, line, limit);
	if (w->rc == 0)
		note_growth(w, before);
	return w->rc;
}

int64_t
writer_content_size(const struct writer *w)
{
	if (w->size.data_offset == 0)
		return 0;
	return w->in_content ? w->end - w->size.data_offset : w->size.data_size;
}

bool
writer_full(const struct writer *w)
{
	return w->rc == 0 && w->busy && w->fresh.n + w->flight.n > WRITER_HIGH;
}

void
writer_on_drain(struct writer *w, void (*drained)(void *ctx), void *ctx)
{
	PP_ON(w->loop);
	PP_ASSERT(w->drained == NULL && w->busy);
	w->drained = drained;
	w->drained_ctx = ctx;
}

void
writer_commit(
    struct writer *w, unsigned utf8, unsigned hints, void (*done)(void *ctx, int rc), void *ctx)
{
	PP_ON(w->loop);
	PP_ASSERT(!w->committing && !w->aborted && w->drained == NULL);
	w->committing = true;
	w->done = done;
	w->done_ctx = ctx;
	w->size.utf8 = utf8;
	w->size.hints = hints;
	w->size.content_length = w->size.data_size;
	if (w->busy)
		return; /* work_done goes on */
	if (w->rc < 0)
		work_start(w, WORK_REMOVE); /* also makes the answer come later, not now */
	else
		commit_start(w);
}

void
writer_abort(struct writer *w)
{
	if (w == NULL)
		return;
	PP_ON(w->loop);
	PP_ASSERT(!w->committing);
	w->aborted = true;
	if (!w->busy)
		forget(w);
}

int
writer_file_blk(const struct spool *s, enum queue q, const char *id, struct str bytes, mode_t mode)
{
	char path[SPOOL_PATH_MAX];

	spool_path(s, q, id, path);
	return spool_write_file(s, q, path, bytes, mode);
}

int
writer_file_marked_blk(const struct spool *s, enum queue q, const char *id, struct str bytes,
    const off_t *done, size_t n)
{
	char path[SPOOL_PATH_MAX];
	const char type = REC_DONE;
	int fd, rc;

	spool_path(s, q, id, path);
	fd = spool_create_file(s, path);
	if (fd < 0)
		return fd;
	rc = fsio_write(fd, bytes);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = fsio_pwrite(fd, (struct str){&type, 1}, done[i]);
	if (rc == 0)
		rc = fsio_chmod(fd, 0700);
	fsio_close(fd);
	if (rc < 0)
		fsio_unlink(s->dirfd, path);
	return rc;
}

int
writer_file_sync_blk(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	int fd, rc;

	spool_path(s, q, id, path);
	fd = fsio_open_read(s->dirfd, path);
	if (fd < 0)
		return fd;
	rc = fsio_sync(fd);
	if (rc == 0)
		rc = spool_sync_parent(s, q, path);
	fsio_close(fd);
	return rc;
}
