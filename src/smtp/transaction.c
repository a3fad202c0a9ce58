/*
 * One message over one session: MAIL, RCPT.., DATA, the content, the dot.
 *
 * With PIPELINING all commands leave in one write, and content and dot in as few as fit; without,
 * one command waits for the reply to the last. Both are one piece of code: commands are numbered,
 * `sent` runs ahead of `got` as far as is allowed. Rejected recipients are settled when the server
 * says so, the others after the dot.
 */
#include <errno.h>
#include "internal.h"
#include "pp/mail/utf8.h"
#include "pp/runtime/log.h"

static struct smtp_transaction *
of(struct smtp_job *j)
{
	return &j->t;
}

void
smtp_transaction_end(struct smtp_job *j)
{
	if (j->t.body)
		body_close(j->t.body);
	j->t = (struct smtp_transaction){0};
}

/* Gives the session back and tells the job. */
static void
leave(struct smtp_job *j, bool is_dirty, enum smtp_trouble kind)
{
	struct smtp_session *ss = j->session;

	smtp_transaction_end(j);
	smtp_session_release(ss, is_dirty);
	smtp_job_transaction_done(j, kind);
}

/* The session cannot go on: it stopped inside a command or the content. */
static void
abandon(struct smtp_job *j, enum smtp_trouble kind)
{
	struct smtp_session *ss = j->session;

	smtp_transaction_end(j);
	smtp_session_close(ss);
	smtp_job_transaction_done(j, kind);
}

/* A verdict on the recipients that the server took; without DATA: on all. */
static void
decide_accepted(struct smtp_job *j, const struct status *st)
{
	for (size_t i = 0; i < j->t.n; i++)
		if (j->t.is_accepted[i])
			smtp_job_decide(j, j->t.rcpt[i], st);
}

static const char *
orcpt_of(struct smtp_job *j, const struct recipient *r)
{
	const char *quoted;

	if (r->orcpt || !r->orig || !*r->orig)
		return r->orcpt;
	quoted = address_quoted(&j->arena, str_of(r->orig));
	return quoted ? arena_printf(&j->arena, "rfc822;%s", quoted) : NULL;
}

/* Appends command i. False: this recipient cannot be named in a command. */
static bool
print_command(struct smtp_job *j, size_t i)
{
	struct buf *out = stream_out(j->session->stream);
	unsigned ext = j->session->ehlo.ext;
	const struct delivery *d = j->d;

	if (i == 0) {
		struct esmtp_mail m = {
		    .address = d->sender,
		    .size = d->content_length,
		    .encoding = d->encoding,
		    .ret = d->ret,
		    .envid = d->envid,
		    .smtputf8 = (d->utf8 & UTF8_REQUESTED) != 0,
		};

		return esmtp_print_mail(out, &m, ext) == 0;
	}
	if (i <= j->t.n) {
		const struct recipient *r = &d->rcpt[j->t.rcpt[i - 1]].rcpt;
		struct esmtp_rcpt er = {
		    .address = r->address, .notify = r->notify, .orcpt = orcpt_of(j, r)};

		return esmtp_print_rcpt(out, &er, ext) == 0;
	}
	return buf_adds(out, "DATA\r\n") == 0;
}

/* The time for the reply that is due next. */
static void
set_deadline(struct smtp_job *j)
{
	const struct params *p = j->svc->p;
	int64_t ms = j->t.got == 0        ? p->smtp_mail_timeout
		     : j->t.got <= j->t.n ? p->smtp_rcpt_timeout
					  : p->smtp_data_init_timeout;

	stream_deadline(j->session->stream, ms);
}

/* Sends what may be sent now. False: the transaction is over, and gone. */
static bool
send_commands(struct smtp_job *j)
{
	struct smtp_transaction *t = of(j);
	bool pipelined = j->session->ehlo.ext & ESMTP_PIPELINING;

	while (!t->is_done && t->sent <= t->n + 1) {
		if (!pipelined && t->sent > t->got)
			break;
		if (t->mail_failed || (t->sent == t->n + 1 && t->got == t->sent && !t->accepted)) {
			t->is_done = true;
			break;
		}
		if (stream_full(j->session->stream))
			break;
		if (!print_command(j, t->sent)) {
			struct status st = smtp_error_bad_address(&j->arena);

			smtp_job_decide_all(j, &st);
			abandon(j, SMTP_TROUBLE_MESSAGE);
			return false;
		}
		t->sent++;
	}
	stream_flush(j->session->stream);
	if (t->got < t->sent) {
		set_deadline(j);
		return true;
	}
	if (t->is_done) {
		leave(j, t->mail_ok, SMTP_TROUBLE_MESSAGE);
		return false;
	}
	return true;
}

static void send_body(struct smtp_job *j);

static void
on_body(void *ctx, int rc)
{
	struct smtp_job *j = ctx;

	j->t.is_waiting = false;
	if (rc < 0) {
		struct status st = smtp_error_body(&j->arena, rc);

		j->d->is_file_damaged = rc == -EBADMSG;
		if (rc == -EBADMSG)
			log_warn(
			    j->svc->program, "%s: %s", j->d->queue_id, body_error(of(j)->body));
		smtp_job_decide_all(j, &st);
		abandon(j, SMTP_TROUBLE_MESSAGE);
		return;
	}
	send_body(j);
}

/* One piece to the output. 1 = go on, 0 = the content is complete, -EAGAIN = wait (for the disk or
 * the peer), else -errno. */
static int
send_piece(struct smtp_job *j)
{
	struct smtp_transaction *t = of(j);
	struct buf *out = stream_out(j->session->stream);
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
	rc = dot_encode(&t->encoder, out, t->piece.bytes, t->piece.last);
	if (rc < 0)
		return rc;
	t->has_piece = false;
	if (t->encoder.broken > 0 && !t->is_broken_line_logged) {
		t->is_broken_line_logged = true;
		log_info(j->svc->program, "%s: breaking line > %lld bytes with <CR><LF>SPACE",
		    j->d->queue_id, (long long)j->svc->p->smtp_line_length_limit);
	}
	return 1;
}

/* Words that came while the content was still going out. A refusal is taken as the answer, and the
 * connection closed without a dot, so that the server cannot take the message as well. Anything
 * else must not pass for the answer to a dot that was not sent. False: nothing was said. */
static bool
spoke_early(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	struct str in = stream_in(ss->stream);
	struct status st;
	size_t used;

	if (in.n == 0)
		return false;
	reply_clear(&ss->reply);
	reply_feed(&ss->reply, in, &used);
	st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "end of DATA command");
	if (ss->reply.state != REPLY_DONE || reply_class(&ss->reply) != 5)
		st.cls = STATUS_TEMP;
	decide_accepted(j, &st);
	abandon(j, SMTP_TROUBLE_MESSAGE);
	return true;
}

static void
send_body(struct smtp_job *j)
{
	struct smtp_transaction *t = of(j);
	struct stream *st = j->session->stream;
	int rc;

	do {
		if (stream_full(st)) {
			/* Each time the peer has taken a buffer's worth the time starts again. */
			stream_deadline(st, j->svc->p->smtp_data_xfer_timeout);
			stream_flush(st);
			if (stream_full(st))
				return;
		}
		rc = send_piece(j);
	} while (rc == 1);
	if (rc == -EAGAIN)
		return;
	if (rc == 0 && spoke_early(j))
		return;
	if (rc < 0 || dot_encode_end(&t->encoder, stream_out(st)) < 0) {
		on_body(j, rc < 0 ? rc : -ENOBUFS);
		return;
	}
	smtp_session_move(j->session, SMTP_DOT);
	stream_deadline(st, j->svc->p->smtp_data_done_timeout);
	stream_flush(st);
	body_close(t->body);
	t->body = NULL;
}

static void
start_body(struct smtp_job *j)
{
	const struct delivery *d = j->d;
	size_t limit = (size_t)j->svc->p->smtp_line_length_limit;

	smtp_session_move(j->session, SMTP_BODY);
	stream_deadline(j->session->stream, j->svc->p->smtp_data_xfer_timeout);
	dot_encoder_init(&j->t.encoder, limit);
	j->t.body = body_open(
	    j->smtp->spool, QUEUE_ACTIVE, d->queue_id, d->bytes, d->data_offset, d->data_size);
	send_body(j);
}

static void
mail_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;

	if (reply_class(&ss->reply) == 2) {
		j->t.mail_ok = true;
		return;
	}
	struct status st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "MAIL FROM command");

	j->t.mail_failed = true;
	smtp_job_decide_all(j, &st);
}

static void
rcpt_replied(struct smtp_job *j, size_t i)
{
	struct smtp_session *ss = j->session;

	if (j->t.mail_failed)
		return;
	if (reply_class(&ss->reply) == 2) {
		j->t.is_accepted[i] = true;
		j->t.accepted++;
		return;
	}
	struct status st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "RCPT TO command");

	/* RFC 5321 4.5.3.1.10: too many recipients, whatever the first digit. */
	if (ss->reply.code == 552)
		st.cls = STATUS_TEMP;
	j->t.is_answered[i] = true;
	smtp_job_decide(j, j->t.rcpt[i], &st);
}

/* False: the transaction is over, and gone. */
static bool
data_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	bool go_ahead = reply_class(&ss->reply) == 3;

	if (j->t.accepted == 0 && go_ahead) {
		/* Pipelined DATA without a recipient: an empty message ends it. */
		j->t.is_empty = true;
		smtp_session_move(ss, SMTP_DOT);
		smtp_session_command(ss, j->svc->p->smtp_data_done_timeout, ".");
		return true;
	}
	if (j->t.accepted > 0 && go_ahead) {
		start_body(j);
		return true;
	}
	if (j->t.accepted > 0) {
		struct status st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "DATA command");

		decide_accepted(j, &st);
	}
	leave(j, j->t.mail_ok, SMTP_TROUBLE_MESSAGE);
	return false;
}

/* First of all: what follows takes its time, and may wait for the log. */
static void
note_taken(struct smtp_job *j)
{
	for (size_t i = 0; i < j->t.n; i++)
		if (j->t.is_accepted[i])
			delivery_taken(j->d, &j->d->rcpt[j->t.rcpt[i]]);
}

static void
dot_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	struct status st;

	if (!j->t.is_empty && reply_class(&ss->reply) == 2) {
		note_taken(j);
		j->d->transmit_us = loop_wall_us();
		st = reply_status(&j->arena, &ss->reply);
		st.remote = ss->peer.host;
		decide_accepted(j, &st);
	} else if (!j->t.is_empty) {
		st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "end of DATA command");
		decide_accepted(j, &st);
	}
	leave(j, false, SMTP_TROUBLE_MESSAGE);
}

/* What is no reply ends the session: nobody knows which command the next one would answer. */
static void
garbage(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	const char *command = ss->state == SMTP_DOT ? "end of DATA command"
			      : j->t.got == 0       ? "MAIL FROM command"
			      : j->t.got <= j->t.n  ? "RCPT TO command"
						    : "DATA command";
	struct status st = smtp_error_said(&j->arena, ss->peer, &ss->reply, command);

	for (size_t i = 0; i < j->t.n; i++)
		if (smtp_job_open(j, j->t.rcpt[i]) && !j->t.is_answered[i])
			smtp_job_decide(j, j->t.rcpt[i], &st);
	abandon(j, SMTP_TROUBLE_SESSION);
}

/* A connection that was idle may be dead without our knowing: nothing is lost by another try. */
static bool
was_dead(const struct smtp_job *j)
{
	return j->session->uses > 1 && j->t.got == 0;
}

static void
try_again(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;

	smtp_transaction_end(j);
	smtp_session_close(ss);
	smtp_job_again(j);
}

void
smtp_transaction_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	size_t i = j->t.got;

	if (was_dead(j) && ss->is_broken) {
		try_again(j);
		return;
	}
	if (ss->reply.state == REPLY_BAD) {
		garbage(j);
		return;
	}
	if (ss->state == SMTP_DOT) {
		dot_replied(j);
		return;
	}
	if (i == j->t.sent) { /* a reply to nothing */
		smtp_transaction_lost(j, -EPROTO);
		return;
	}
	j->t.got++;
	if (i == 0)
		mail_replied(j);
	else if (i <= j->t.n)
		rcpt_replied(j, i - 1);
	else if (!data_replied(j) || ss->state != SMTP_MAIL)
		return;
	send_commands(j);
}

void
smtp_transaction_drained(struct smtp_job *j)
{
	if (j->session->state == SMTP_MAIL)
		send_commands(j);
	else if (!j->t.is_waiting)
		send_body(j);
}

void
smtp_transaction_lost(struct smtp_job *j, int err)
{
	struct smtp_session *ss = j->session;
	const char *phase = ss->state == SMTP_DOT    ? smtp_phase_dot
			    : ss->state == SMTP_BODY ? smtp_phase_body
			    : j->t.got == 0          ? smtp_phase_mail
			    : j->t.got <= j->t.n     ? smtp_phase_rcpt
						     : smtp_phase_data;

	if (was_dead(j) && ss->state == SMTP_MAIL) {
		try_again(j);
		return;
	}
	if (ss->state == SMTP_BODY && spoke_early(j))
		return;
	struct status st = smtp_error_lost(&j->arena, ss->peer, phase, err);
	bool all_known = j->t.mail_failed;

	for (size_t i = 0; i < j->t.n && !all_known; i++)
		if (smtp_job_open(j, j->t.rcpt[i]) && !j->t.is_answered[i])
			smtp_job_decide(j, j->t.rcpt[i], &st);
	abandon(j, all_known || j->t.is_empty ? SMTP_TROUBLE_MESSAGE : SMTP_TROUBLE_SESSION);
}

static bool
needs_utf8(const struct smtp_job *j)
{
	const struct delivery *d = j->d;

	if (!(d->utf8 & UTF8_REQUESTED))
		return false;
	if (d->utf8 & (UTF8_HEADER | UTF8_SENDER))
		return true;
	for (size_t i = 0; i < d->rcpt_count; i++)
		if (smtp_job_open(j, i) && utf8_has_8bit(str_of(d->rcpt[i].rcpt.address)))
			return true;
	return false;
}

/* What this server cannot take, whatever it would say. */
static bool
is_refused(struct smtp_job *j, struct status *ret)
{
	const struct esmtp_ehlo *e = &j->session->ehlo;
	struct smtp_peer peer = j->session->peer;

	if (needs_utf8(j) && !(e->ext & ESMTP_SMTPUTF8))
		*ret = smtp_error_utf8(&j->arena, peer);
	else if (e->size_limit > 0 && j->d->content_length > e->size_limit)
		*ret = smtp_error_size(&j->arena, peer, j->d->content_length, e->size_limit);
	else
		return false;
	return true;
}

void
smtp_transaction_start(struct smtp_job *j)
{
	struct smtp_transaction *t = of(j);
	struct status st;

	if (is_refused(j, &st)) {
		smtp_job_decide_all(j, &st);
		leave(j, false, SMTP_TROUBLE_MESSAGE);
		return;
	}
	t->rcpt = arena_alloc(&j->arena, j->d->rcpt_count * sizeof *t->rcpt);
	t->is_accepted = arena_alloc(&j->arena, j->d->rcpt_count * sizeof *t->is_accepted);
	t->is_answered = arena_alloc(&j->arena, j->d->rcpt_count * sizeof *t->is_answered);
	for (size_t i = 0; i < j->d->rcpt_count; i++)
		if (smtp_job_open(j, i))
			t->rcpt[t->n++] = i;
	smtp_session_move(j->session, SMTP_MAIL);
	send_commands(j);
}
