/*
 * cleanup.c - the life of one incoming message: its phases, its trouble, its end.
 *
 * Content goes to the writer piece by piece as it comes, so a message of any size passes in a few
 * buffers. Trouble aborts the half file at once and swallows the rest: the sender of an SMTP
 * session cannot be stopped in the middle of its data, and the disk space is better used by others.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/runtime/log.h"

enum { HEADER_GROWTH = 64 * 1024 }; /* what completing addresses may add to a header */

struct cleanup *
cleanup_new(const struct cleanup_setup *setup)
{
	struct cleanup *c = MEM_NEW(struct cleanup);
	size_t header_limit;

	c->loop = loop_current();
	cleanup_setup_ref(&c->setup, setup);
	c->params = setup->config->params;
	header_limit = (size_t)c->params->header_size_limit;
	c->line_limit = (size_t)c->params->line_length_limit;
	c->writer = writer_new(setup->spool, QUEUE_INCOMING);
	memcpy(c->id, writer_id(c->writer), strlen(writer_id(c->writer)) + 1);
	c->arrival_us = loop_wall_us();
	c->create_time = c->arrival_us / 1000000;
	c->sender = c->fullname = "";
	header_collector_init(&c->header, header_limit);
	buf_init(&c->rewritten, header_limit + HEADER_GROWTH);
	buf_init(&c->clean, c->line_limit);
	return c;
}

static void
cleanup_free(struct cleanup *c)
{
	cleanup_envelope_fini(c);
	header_collector_fini(&c->header);
	buf_fini(&c->rewritten);
	buf_fini(&c->clean);
	arena_fini(&c->arena);
	cleanup_setup_unref(&c->setup);
	mem_free(c);
}

const char *
cleanup_id(const struct cleanup *c)
{
	return c->id;
}

const struct status *
cleanup_trouble(const struct cleanup *c)
{
	return c->trouble.cls == STATUS_NONE ? NULL : &c->trouble;
}

static void
set_trouble(struct cleanup *c, enum status_class cls, unsigned smtp, unsigned subject,
    unsigned detail, const char *text)
{
	c->trouble = status_make(&c->arena, cls, subject, detail, "%s", text);
	c->trouble.smtp = (unsigned short)smtp;
}

void
cleanup_fail(struct cleanup *c, enum status_class cls, unsigned smtp, unsigned subject,
    unsigned detail, const char *text)
{
	if (c->trouble.cls != STATUS_NONE)
		return;
	set_trouble(c, cls, smtp, subject, detail, text);
	writer_abort(c->writer);
	c->writer = NULL;
}

static void
set_write_trouble(struct cleanup *c, int rc)
{
	log_warn("cleanup", "%s: write queue file: %s", c->id, strerror(-rc));
	if (rc == -ENOSPC || rc == -EDQUOT)
		set_trouble(c, STATUS_TEMP, 452, 3, 1, "Error: insufficient system storage");
	else
		set_trouble(c, STATUS_TEMP, 451, 3, 0, "Error: queue file write error");
}

static void
put_result(struct cleanup *c, int64_t rc)
{
	if (rc >= 0)
		return;
	set_write_trouble(c, (int)rc);
	writer_abort(c->writer);
	c->writer = NULL;
}

void
cleanup_put(struct cleanup *c, int type, struct str payload)
{
	if (c->writer)
		put_result(c, writer_put(c->writer, type, payload));
}

void
cleanup_putf(struct cleanup *c, int type, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	buf_init(&b, 64 * 1024);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	if (buf_overflowed(&b))
		cleanup_fail(c, STATUS_PERM, 552, 3, 4, "Error: message envelope too big");
	else
		cleanup_put(c, type, buf_str(&b));
	buf_fini(&b);
}

void
cleanup_put_line(struct cleanup *c, struct str line)
{
	if (c->writer)
		put_result(c, writer_put_line(c->writer, line, c->line_limit));
}

void
cleanup_hold(struct cleanup *c)
{
	PP_ON(c->loop);
	if (c->writer)
		writer_set_queue(c->writer, QUEUE_HOLD);
}

void
cleanup_content(struct cleanup *c, const char *received)
{
	struct str text = str_of(received);

	PP_ON(c->loop);
	PP_ASSERT(c->phase == CLEANUP_ENVELOPE);
	cleanup_envelope_warn(c);
	cleanup_put(c, REC_CONTENT, STR(""));
	c->phase = CLEANUP_HEADER;
	if (received)
		c->hops++;
	while (text.n > 0) {
		size_t n = str_index(text, '\n');

		cleanup_put_line(c, str_head(text, n));
		text = str_from(text, n + 1);
	}
}

/* A CR or LF inside a line would be a line end to somebody down the road (SMTP smuggling). */
static struct str
without_line_ends(struct cleanup *c, struct str piece)
{
	bool keep_cr = !c->params->cleanup_replace_stray_cr_lf;

	if ((keep_cr || memchr(piece.p, '\r', piece.n) == NULL) &&
	    memchr(piece.p, '\n', piece.n) == NULL)
		return piece;
	buf_clear(&c->clean);
	for (size_t i = 0; i < piece.n; i++) {
		char b = piece.p[i];

		buf_addc(&c->clean, (b == '\r' && !keep_cr) || b == '\n' ? ' ' : b);
	}
	return buf_str(&c->clean);
}

static bool
is_too_big(const struct cleanup *c)
{
	int64_t limit = c->params->message_size_limit;

	return limit > 0 && c->size > limit && c->source != CLEANUP_NOTICE;
}

void
cleanup_line(struct cleanup *c, struct str piece, bool last)
{
	PP_ON(c->loop);
	PP_ASSERT(c->phase == CLEANUP_HEADER || c->phase == CLEANUP_BODY);
	PP_ASSERT(piece.n <= c->line_limit);
	if (c->writer == NULL)
		return;
	c->size += (int64_t)piece.n + (last ? 2 : 0);
	if (is_too_big(c)) {
		cleanup_fail(c, STATUS_PERM, 552, 3, 4, "Error: message file too big");
		return;
	}
	if (piece.n > 0)
		piece = without_line_ends(c, piece);
	if (c->phase == CLEANUP_HEADER) {
		if (cleanup_headers_piece(c, piece, last))
			return;
		c->phase = CLEANUP_BODY;
		cleanup_put(c, REC_LINE, STR(""));
		/* The empty line is what separates; any other line had none before it. */
		if (piece.n == 0 && last)
			return;
	}
	cleanup_put(c, last ? REC_LINE : REC_PART, piece);
	c->mid_line = !last;
}

void
cleanup_content_end(struct cleanup *c)
{
	if (c->phase == CLEANUP_HEADER)
		cleanup_headers_finish(c);
	else if (c->mid_line)
		cleanup_put(c, REC_LINE, STR(""));
	c->phase = CLEANUP_EXTRACTED;
	/* Postfix's queue manager takes a message without content for a damaged one. */
	if (c->writer && writer_content_size(c->writer) == 0)
		cleanup_put(c, REC_LINE, STR(""));
	cleanup_put(c, REC_EXTRACTED, STR(""));
	cleanup_envelope_encoding(c, c->encoding);
}

bool
cleanup_full(const struct cleanup *c)
{
	return c->writer && writer_full(c->writer);
}

void
cleanup_on_drain(struct cleanup *c, void (*drained)(void *ctx), void *ctx)
{
	PP_ON(c->loop);
	PP_ASSERT(c->writer);
	writer_on_drain(c->writer, drained, ctx);
}

static void
answer(struct cleanup *c)
{
	c->done(c->done_ctx, &c->trouble, c->id);
	cleanup_free(c);
}

static void
failed(struct post *p)
{
	answer(PP_CONTAINER(p, struct cleanup, post));
}

static void
committed(void *ctx, int rc)
{
	struct cleanup *c = ctx;
	char text[SPOOL_ID_MAX + 32];

	c->writer = NULL;
	if (rc < 0) {
		set_write_trouble(c, rc);
	} else {
		snprintf(text, sizeof(text), "Ok: queued as %s", c->id);
		set_trouble(c, STATUS_OK, 250, 0, 0, text);
	}
	answer(c);
}

void
cleanup_end(
    struct cleanup *c, void (*done)(void *ctx, const struct status *st, const char *id), void *ctx)
{
	PP_ON(c->loop);
	PP_ASSERT(c->phase > CLEANUP_ENVELOPE && c->phase < CLEANUP_END);
	if (c->phase != CLEANUP_EXTRACTED)
		cleanup_content_end(c);
	c->phase = CLEANUP_END;
	c->done = done;
	c->done_ctx = ctx;
	if (c->rcpt_count == 0)
		cleanup_fail(c, STATUS_PERM, 554, 5, 1, "Error: no valid recipients");
	cleanup_put(c, REC_END, STR(""));
	if (c->writer)
		writer_commit(c->writer, c->utf8, c->hints, committed, c);
	else
		post_to(c->loop, &c->post, failed);
}

void
cleanup_intake(struct cleanup *c, struct intake *h)
{
	PP_ON(c->loop);
	writer_intake(c->writer, h);
}

void
cleanup_abort(struct cleanup *c)
{
	if (c == NULL)
		return;
	PP_ON(c->loop);
	PP_ASSERT(c->phase != CLEANUP_END);
	writer_abort(c->writer);
	cleanup_free(c);
}
