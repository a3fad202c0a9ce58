/*
 * bounce.c - the way of a notice: log read, report written through cleanup, log removed.
 *
 * The notice is an ordinary message from the null sender. Only when it is safe in the spool is the
 * log removed that it was made from, so a crash in between sends it twice rather than never.
 */
#include <errno.h>
#include <stdio.h>
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"
#include "pp/spool/body.h"
#include "pp/spool/deferlog.h"
#include "report.h"

enum { REPORT_MAX = 32 * 1024 * 1024 };

struct bounce {
	struct lane_job job;
	struct lane *disk;
	struct cleanup_setup setup;
	struct arena arena;
	char id[SPOOL_ID_MAX];
	struct envelope envelope; /* strings belong to the caller, until done */
	enum queue log, at;       /* at: where the message lies */
	struct report report;
	struct deferlog_entry *entries;
	size_t n;
	int rc;
	struct cleanup *cleanup;
	struct body *body;
	bool at_line_start, in_header;
	void (*done)(void *ctx, int rc);
	void *ctx;
};

bool
bounce_wanted(unsigned notify, enum bounce_kind kind)
{
	switch (kind) {
	case BOUNCE_FAILURE:
		return notify == 0 || (notify & NOTIFY_FAILURE) != 0;
	case BOUNCE_DELAY:
		return notify == 0 || (notify & NOTIFY_DELAY) != 0;
	default:
		return (notify & NOTIFY_SUCCESS) != 0;
	}
}

static void
bounce_end(struct bounce *b, int rc)
{
	void (*done)(void *, int) = b->done;
	void *ctx = b->ctx;

	body_close(b->body);
	arena_fini(&b->arena);
	cleanup_setup_unref(&b->setup);
	mem_free(b);
	done(ctx, rc);
}

static void
remove_work(struct lane_job *job)
{
	struct bounce *b = PP_CONTAINER(job, struct bounce, job);

	int rc = 0;

	/* A delay notice leaves the defer log: the mail still waits, and mailq shows why. */
	if (b->report.kind != BOUNCE_DELAY)
		rc = deferlog_remove_blk(b->setup.spool, b->log, b->id);
	if (rc < 0 && rc != -ENOENT)
		log_warn("bounce", "%s: removing the %s log: %s: the notice may be sent again",
		    b->id, spool_queue_name(b->log), strerror(-rc));
}

static void
remove_done(struct lane_job *job)
{
	bounce_end(PP_CONTAINER(job, struct bounce, job), 0);
}

static void
forget_log(struct bounce *b)
{
	lane_run(b->disk, lane_key(b->id), &b->job, remove_work, remove_done);
}

static void
notice_queued(void *ctx, const struct status *st, const char *id)
{
	struct bounce *b = ctx;

	b->cleanup = NULL;
	if (st->cls != STATUS_OK) {
		log_warn("bounce", "%s: %s notification: %s", b->id, report_name(b->report.kind),
		    st->text);
		bounce_end(b, st->cls == STATUS_PERM ? -EBADMSG : -EIO);
		return;
	}
	log_info("bounce", "%s: %s notification: %s", b->id, report_name(b->report.kind), id);
	forget_log(b);
}

static void
put_lines(struct bounce *b, const struct buf *text)
{
	struct str rest = buf_str(text);

	while (rest.n > 0) {
		size_t end = str_index(rest, '\n');
		struct str line = str_head(rest, end);

		while (line.n > 1000) {
			cleanup_line(b->cleanup, str_head(line, 1000), false);
			line = str_from(line, 1000);
		}
		cleanup_line(b->cleanup, line, true);
		rest = str_from(rest, end + 1);
	}
}

static void
notice_close(struct bounce *b)
{
	struct buf tail = {.max = 4096};

	report_tail(&b->report, &tail);
	put_lines(b, &tail);
	buf_fini(&tail);
	cleanup_end(b->cleanup, notice_queued, b);
}

static void copy_original(struct bounce *b);

static void
original_ready(void *ctx, int rc)
{
	copy_original(ctx); /* what went wrong comes out of body_next again */
}

static void
drained(void *ctx)
{
	copy_original(ctx);
}

static void
copy_original(struct bounce *b)
{
	struct body_piece p;
	int rc;

	while ((rc = body_next(b->body, &p)) == 1) {
		bool is_empty = b->at_line_start && p.last && p.bytes.n == 0;

		if (b->in_header && is_empty) {
			b->in_header = false;
			if (b->report.headers_only)
				break;
		}
		cleanup_line(b->cleanup, p.bytes, p.last);
		b->at_line_start = p.last;
		if (cleanup_full(b->cleanup)) {
			cleanup_on_drain(b->cleanup, drained, b);
			return;
		}
	}
	if (rc == -EAGAIN) {
		body_wait(b->body, original_ready, b);
		return;
	}
	/* A damaged original still gets its notice: with as much of it as could be read. */
	if (rc < 0)
		log_warn("bounce", "%s: reading the original: %s", b->id,
		    rc == -EBADMSG ? body_error(b->body) : strerror(-rc));
	if (!b->at_line_start)
		cleanup_line(b->cleanup, STR(""), true);
	notice_close(b);
}

static char *
received_field(struct bounce *b)
{
	const struct params *p = b->setup.config->params;

	return arena_printf(&b->arena, "Received: by %s (%s)\n\tid %s; %s", p->myhostname,
	    p->mail_name, cleanup_id(b->cleanup), cleanup_date(b->report.now).text);
}

static void
notice_open(struct bounce *b)
{
	const struct envelope head = {.sender = "",
	    .encoding = b->envelope.encoding,
	    .utf8 = b->envelope.utf8 & UTF8_REQUESTED,
	    .origin = {.local = true}};
	const struct recipient rcpt = {.address = b->envelope.sender, .offset = -1};
	struct buf text = {.max = REPORT_MAX};

	b->cleanup = cleanup_new(&b->setup);
	cleanup_sender(b->cleanup, &head);
	cleanup_rcpt(b->cleanup, &rcpt);
	cleanup_content(b->cleanup, received_field(b));
	report_head(&b->report, &text);
	put_lines(b, &text);
	buf_fini(&text);
	b->body = body_open(
	    b->setup.spool, b->at, b->id, NULL, b->envelope.data_offset, b->envelope.data_size);
	b->at_line_start = b->in_header = true;
	copy_original(b);
}

static void
report_prepare(struct bounce *b)
{
	const struct params *p = b->setup.config->params;
	struct report *r = &b->report;

	r->headers_only = r->kind != BOUNCE_FAILURE || b->envelope.ret == RET_HDRS ||
			  b->envelope.content_length > p->bounce_size_limit;
	r->id = b->id;
	r->myhostname = p->myhostname;
	r->myorigin = p->myorigin;
	r->mail_name = p->mail_name;
	r->envelope = &b->envelope;
	r->entries = b->entries;
	r->n = b->n;
	r->now = loop_wall_us() / 1000000;
	r->retry_until = b->envelope.create_time + p->maximal_queue_lifetime / 1000;
}

static void
read_work(struct lane_job *job)
{
	/* Held or requeued while its mail was on the way, it is no longer in active/. */
	static const enum queue places[] = {
	    QUEUE_ACTIVE, QUEUE_HOLD, QUEUE_DEFERRED, QUEUE_INCOMING, QUEUE_MAILDROP, QUEUE_COUNT};
	struct bounce *b = PP_CONTAINER(job, struct bounce, job);
	struct stat st;

	/* Gone altogether (deleted, or requeued under another id): told all the same, without it.
	 */
	if (spool_find_blk(b->setup.spool, b->id, places, &b->at, &st) < 0)
		b->at = QUEUE_ACTIVE;
	b->rc = deferlog_read_blk(b->setup.spool, b->log, b->id, &b->arena, &b->entries, &b->n);
}

static void
read_done(struct lane_job *job)
{
	struct bounce *b = PP_CONTAINER(job, struct bounce, job);
	size_t wanted = 0;

	if (b->rc < 0 && b->rc != -ENOENT) {
		bounce_end(b, b->rc);
		return;
	}
	for (size_t i = 0; b->rc == 0 && i < b->n; i++)
		if (bounce_wanted(b->entries[i].notify, b->report.kind))
			b->entries[wanted++] = b->entries[i];
	b->n = wanted;
	/* RFC 5321 4.5.5: never a notice about mail from the null sender. */
	if (wanted > 0 && b->envelope.sender[0] == '\0') {
		log_warn(
		    "bounce", "%s: undeliverable notification discarded: its sender is <>", b->id);
		wanted = 0;
	}
	if (wanted == 0) {
		forget_log(b);
		return;
	}
	report_prepare(b);
	notice_open(b);
}

void
bounce_send(const struct cleanup_setup *setup, struct lane *disk, const struct bounce_request *req,
    void (*done)(void *ctx, int rc), void *ctx)
{
	struct bounce *b = MEM_NEW(struct bounce);

	cleanup_setup_ref(&b->setup, setup);
	b->disk = disk;
	snprintf(b->id, sizeof(b->id), "%s", req->id);
	b->envelope = *req->envelope;
	b->report.kind = req->kind;
	b->report.expired = req->expired;
	b->log = req->kind == BOUNCE_SUCCESS                 ? QUEUE_TRACE
		 : req->kind == BOUNCE_DELAY || req->expired ? QUEUE_DEFER
							     : QUEUE_BOUNCE;
	b->done = done;
	b->ctx = ctx;
	lane_run(disk, lane_key(b->id), &b->job, read_work, read_done);
}
