/*
 * The content of a message: from the queue file to its end, a dot or the last chunk.
 *
 * Pieces go to the stream as long as it takes them; then the file, the peer or a table is waited
 * for. Nothing else is read meanwhile but what the server says too early.
 */
#include <errno.h>
#include "content.h"
#include "pp/runtime/log.h"

static void
on_body(void *ctx, int rc)
{
	struct smtp_job *j = ctx;

	j->t.is_waiting = false;
	if (rc < 0) {
		struct status st =
		    rc == -EIO && j->t.content
			? smtp_error_content(&j->arena, smtp_content_error(j->t.content))
			: smtp_error_body(&j->arena, rc);

		j->d->is_file_damaged = rc == -EBADMSG;
		if (rc == -EBADMSG)
			log_warn(j->svc->program, "%s: %s", j->d->queue_id, body_error(j->t.body));
		smtp_job_decide_all(j, &st);
		smtp_transaction_abandon(j, SMTP_TROUBLE_MESSAGE);
		return;
	}
	smtp_transaction_body_go_on(j);
}

/* A table is asked, or cannot be used. */
static int
wait_content(struct smtp_job *j, int rc)
{
	if (rc == -EAGAIN) {
		j->t.is_waiting = true;
		stream_flush(j->session->stream);
	}
	return rc;
}

static void
on_content(void *ctx)
{
	struct smtp_job *j = ctx;

	j->t.is_waiting = false;
	smtp_transaction_body_go_on(j);
}

/* One piece to the output. 1 = go on, 0 = the content is complete, -EAGAIN = wait (for the disk or
 * the peer), else -errno. */
static int
send_piece(struct smtp_job *j)
{
	struct smtp_transaction *t = &j->t;
	struct buf *out = smtp_transaction_out(j);
	int rc;

	if (!t->has_piece) {
		rc = body_next(t->body, &t->piece);
		if (rc == -EAGAIN) {
			t->is_waiting = true;
			stream_flush(j->session->stream);
			body_wait(t->body, on_body, j);
		}
		if (rc <= 0)
			return rc;
		t->has_piece = true;
	}
	rc = t->content ? smtp_content_push(t->content, t->piece.bytes, t->piece.last)
			: dot_encode(&t->encoder, out, t->piece.bytes, t->piece.last);
	if (rc < 0)
		return wait_content(j, rc);
	t->has_piece = false;
	if (t->encoder.broken > 0 && !t->is_broken_line_logged) {
		t->is_broken_line_logged = true;
		log_info(j->svc->program, "%s: breaking line > %lld bytes with <CR><LF>SPACE",
		    j->d->queue_id, (long long)j->svc->p->smtp_line_length_limit);
	}
	return 1;
}

/* Words that came while the content was still going out. A refusal is taken as the answer, and the
 * connection closed without an end, so that the server cannot take the message as well. Anything
 * else must not pass for the answer to an end that was not sent. Chunks have answers of their own.
 * False: nothing was said. */
bool
smtp_transaction_spoke_early(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	struct status st;
	struct str in;
	size_t used = 0;

	do {
		stream_consume(ss->stream, used);
		in = stream_in(ss->stream);
		reply_clear(&ss->reply);
		if (in.n == 0)
			return false;
		reply_feed(&ss->reply, in, &used);
	} while (smtp_chunk_was_taken(j));
	if (ss->reply.state == REPLY_MORE) { /* the rest comes, or this is no reply */
		reply_clear(&ss->reply);
		return false;
	}
	if (smtp_chunk_went_wrong(j))
		return true;
	st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "end of DATA command");
	if (ss->reply.state != REPLY_DONE || reply_class(&ss->reply) != 5)
		st.cls = STATUS_TEMP;
	smtp_transaction_decide(j, &st);
	smtp_transaction_abandon(j, SMTP_TROUBLE_MESSAGE);
	return true;
}

/* How long the peer may take for what is in the buffer: the whole time each time it has emptied
 * one, or, with smtp_per_request_deadline, what is left of it and what the bytes it took are worth
 * at smtp_min_data_rate. So either way it cannot hold a delivery by taking a byte now and then. */
static int64_t
transfer_time(struct smtp_job *j)
{
	const struct params *p = j->svc->p;
	int64_t now = loop_now(j->smtp->loop), whole = p->smtp_data_xfer_timeout;
	int64_t rate = p->smtp_min_data_rate > 0 ? p->smtp_min_data_rate : 1;
	bool is_first = j->t.left_at == 0;

	if (!p->smtp_per_request_deadline)
		return whole;
	if (is_first) {
		j->t.left = whole;
	} else {
		j->t.left -= now - j->t.left_at;
		j->t.left += (int64_t)(STREAM_OUT_HIGH - STREAM_OUT_LOW) * 1000 / rate;
	}
	if (j->t.left > whole)
		j->t.left = whole;
	j->t.left_at = now;
	return j->t.left > 0 ? j->t.left : 1;
}

bool
smtp_transaction_is_full(struct smtp_job *j)
{
	struct stream *st = j->session->stream;

	if (!stream_full(st))
		return false;
	smtp_session_deadline(j->session, transfer_time(j));
	stream_flush(st);
	return stream_full(st);
}

void
smtp_transaction_body_go_on(struct smtp_job *j)
{
	struct smtp_transaction *t = &j->t;
	int rc;

	if (t->is_chunked && t->is_last) {
		smtp_chunk_end(j);
		return;
	}
	do {
		if (t->is_chunked ? smtp_chunk_hold(j) : smtp_transaction_is_full(j))
			return;
		rc = send_piece(j);
	} while (rc == 1);
	if (rc == 0 && t->content)
		rc = wait_content(j, smtp_content_finish(t->content));
	if (rc == -EAGAIN)
		return;
	if (rc == 0 && j->session->state == SMTP_BODY && smtp_transaction_spoke_early(j))
		return;
	if (rc < 0 || dot_encode_end(&t->encoder, smtp_transaction_out(j)) < 0) {
		on_body(j, rc < 0 ? rc : -ENOBUFS);
		return;
	}
	body_close(t->body);
	t->body = NULL;
	if (t->is_chunked) {
		smtp_chunk_end(j);
		return;
	}
	smtp_session_move(j->session, SMTP_DOT);
	smtp_session_expect(j->session, j->svc->p->smtp_data_done_timeout);
	stream_flush(j->session->stream);
}

/* Nobody has to send 50 MB to hear what was said after the first of them. */
void
smtp_transaction_spoken(struct smtp_job *j)
{
	size_t due = j->t.chunks_due;

	if (!smtp_transaction_spoke_early(j) && j->t.chunks_due < due && !j->t.is_waiting)
		smtp_transaction_body_go_on(j);
}

void
smtp_transaction_body_open(struct smtp_job *j)
{
	const struct delivery *d = j->d;
	size_t limit = (size_t)j->svc->p->smtp_line_length_limit;

	smtp_session_deadline(j->session, j->svc->p->smtp_data_xfer_timeout);
	dot_encoder_init(&j->t.encoder, limit, j->t.is_chunked ? DOT_RAW : DOT_SMTP);
	j->t.content = smtp_content_new(j, !(j->session->ehlo.ext & ESMTP_8BITMIME), on_content);
	j->t.body = body_open(
	    j->smtp->spool, QUEUE_ACTIVE, d->queue_id, d->bytes, d->data_offset, d->data_size);
}
