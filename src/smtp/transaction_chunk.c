/*
 * The content in chunks, RFC 3030: BDAT says how many bytes follow, so that no dot is needed, and
 * no reply before the content.
 *
 * The first chunk is made before anything is sent. When it is the whole content it leaves in one
 * write with MAIL and RCPT, and the mail takes one round trip instead of two. A longer content
 * waits until a recipient was accepted, so that no more than one chunk is ever sent for nothing. An
 * LMTP server answers the last chunk once for each recipient that it took, so there the recipients
 * must be known before.
 */
#include "internal.h"
#include "pp/runtime/log.h"

struct buf *
smtp_transaction_out(struct smtp_job *j)
{
	return j->t.is_chunked ? &j->t.chunk : stream_out(j->session->stream);
}

static bool
is_pipelined(const struct smtp_job *j)
{
	return j->session->ehlo.ext & ESMTP_PIPELINING;
}

void
smtp_chunk_init(struct smtp_job *j)
{
	j->t.is_chunked = true;
	buf_init(&j->t.chunk, STREAM_OUT_MAX / 2);
}

static void
put(struct smtp_job *j)
{
	struct smtp_transaction *t = &j->t;
	struct buf *out = stream_out(j->session->stream);

	buf_printf(out, "BDAT %zu%s\r\n", buf_str(&t->chunk).n, t->is_last ? " LAST" : "");
	buf_add(out, buf_str(&t->chunk));
	buf_clear(&t->chunk);
	if (!t->is_last)
		t->chunks_due++;
}

bool
smtp_chunk_may_start(const struct smtp_job *j)
{
	const struct smtp_transaction *t = &j->t;

	return t->got > t->n || (is_pipelined(j) && t->is_last && !j->svc->is_lmtp);
}

void
smtp_chunk_start(struct smtp_job *j)
{
	if (!j->t.is_last) {
		smtp_session_move(j->session, SMTP_BODY);
		smtp_session_deadline(j->session, j->svc->p->smtp_data_xfer_timeout);
	}
	put(j);
}

/* One after the other where the server knows no PIPELINING. */
static bool
may_put(struct smtp_job *j)
{
	struct stream *st = j->session->stream;

	if (!is_pipelined(j) && j->t.chunks_due > 0) {
		stream_flush(st);
		smtp_session_deadline(j->session, j->svc->p->smtp_data_done_timeout);
		return false;
	}
	return !smtp_transaction_is_full(j);
}

bool
smtp_chunk_hold(struct smtp_job *j)
{
	if (buf_str(&j->t.chunk).n < SMTP_CHUNK)
		return false;
	if (j->session->state == SMTP_MAIL) {
		smtp_transaction_go_on(j);
		return true;
	}
	if (!may_put(j))
		return true;
	put(j);
	return false;
}

void
smtp_chunk_end(struct smtp_job *j)
{
	j->t.is_last = true;
	if (j->session->state == SMTP_MAIL) {
		smtp_transaction_go_on(j);
		return;
	}
	if (!may_put(j))
		return;
	put(j);
	smtp_chunk_await(j);
	stream_flush(j->session->stream);
}

void
smtp_chunk_await(struct smtp_job *j)
{
	j->t.is_empty = j->t.accepted == 0;
	smtp_session_move(j->session, SMTP_DOT);
	smtp_session_expect(j->session, j->svc->p->smtp_data_done_timeout);
}

bool
smtp_chunk_was_taken(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;

	if (j->t.chunks_due == 0 || ss->reply.state != REPLY_DONE || reply_class(&ss->reply) != 2)
		return false;
	j->t.chunks_due--;
	if (ss->state == SMTP_DOT)
		smtp_session_expect(ss, j->svc->p->smtp_data_done_timeout);
	return true;
}

/* A reply too many, somewhere among those to the commands or behind the verdict: what was taken for
 * the verdict may have been meant for a recipient. With DATA there is 354 in between. */
static bool
is_out_of_step(const struct smtp_job *j)
{
	struct str more = stream_in(j->session->stream);

	return !j->svc->is_lmtp && j->session->state == SMTP_DOT &&
	       reply_class(&j->session->reply) == 2 && more.n > 0 && !str_starts(more, STR("421"));
}

bool
smtp_chunk_went_wrong(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	int code = ss->reply.state == REPLY_DONE ? ss->reply.code : 0;
	bool is_unknown = code == 500 || code == 502;

	if (!j->t.is_chunked || j->t.accepted == 0 || j->t.answered > 0 ||
	    !(is_unknown || is_out_of_step(j)))
		return false;
	log_info(j->svc->program,
	    "%s: host %s offers CHUNKING, but %s: %s (in reply to BDAT command); trying again with "
	    "DATA",
	    j->d->queue_id, ss->peer.name, is_unknown ? "said" : "sent a reply too many after",
	    reply_text(&j->arena, &ss->reply));
	j->is_unchunked = true;
	smtp_transaction_again(j);
	return true;
}
