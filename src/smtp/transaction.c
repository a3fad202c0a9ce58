/*
 * One message over one session: MAIL, RCPT.., DATA, the content, the dot; or BDAT in place of the
 * last three.
 *
 * With PIPELINING all commands leave in one write, and content and dot in as few as fit; without,
 * one command waits for the reply to the last. Both are one piece of code: commands are numbered,
 * `sent` runs ahead of `got` as far as is allowed. Rejected recipients are settled when the server
 * says so, the others after the dot.
 */
#include <errno.h>
#include "content.h"
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
	smtp_content_free(j->t.content);
	if (j->t.is_chunked)
		buf_fini(&j->t.chunk);
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

void
smtp_transaction_abandon(struct smtp_job *j, enum smtp_trouble kind)
{
	struct smtp_session *ss = j->session;

	smtp_transaction_end(j);
	smtp_session_close(ss);
	smtp_job_transaction_done(j, kind);
}

void
smtp_transaction_decide(struct smtp_job *j, const struct status *st)
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

/* RFC 6531 3.2: only the envelope counts. What a header holds is 8-bit text to any server. */
static bool
needs_utf8(const struct smtp_job *j)
{
	bool needs = smtp_envelope_is_utf8(j, 0);

	for (size_t i = 0; i < j->t.n && !needs; i++)
		needs = smtp_envelope_is_utf8(j, j->t.rcpt[i] + 1);
	return needs && j->svc->p->smtputf8_enable;
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
		    .address = smtp_envelope_for(j, 0),
		    .size = d->content_length,
		    .encoding = d->encoding,
		    .ret = d->ret,
		    .envid = d->envid,
		    .auth = j->session->is_authenticated && j->svc->p->smtp_send_dummy_mail_auth
				? "<>"
				: NULL,
		    .smtputf8 = needs_utf8(j),
		    .is_bare = !j->svc->p->smtp_quote_rfc821_envelope,
		};

		return esmtp_print_mail(out, &m, ext) == 0;
	}
	if (i <= j->t.n) {
		size_t at = j->t.rcpt[i - 1];
		const struct recipient *r = &d->rcpt[at].rcpt;
		struct esmtp_rcpt er = {.address = smtp_envelope_for(j, at + 1),
		    .notify = r->notify,
		    .orcpt = orcpt_of(j, r),
		    .is_bare = !j->svc->p->smtp_quote_rfc821_envelope};

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

	smtp_session_expect(j->session, ms);
}

size_t
smtp_transaction_due(const struct smtp_job *j)
{
	const struct smtp_transaction *t = &j->t;

	if (j->session->state != SMTP_DOT)
		return t->sent - t->got;
	return t->chunks_due + (j->svc->is_lmtp ? t->accepted - t->answered : 1);
}

static void
send_failed(struct smtp_job *j)
{
	struct status st = smtp_error_bad_address(&j->arena);

	smtp_job_decide_all(j, &st);
	smtp_transaction_abandon(j, SMTP_TROUBLE_MESSAGE);
}

void
smtp_transaction_go_on(struct smtp_job *j)
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
		if (t->is_chunked && t->sent > t->n) {
			if (!smtp_chunk_may_start(j))
				break;
			smtp_chunk_start(j);
		} else if (!print_command(j, t->sent)) {
			send_failed(j);
			return;
		}
		t->sent++;
	}
	if (j->session->state == SMTP_BODY) {
		smtp_transaction_body_go_on(j);
		return;
	}
	stream_flush(j->session->stream);
	if (t->is_chunked && t->sent > t->n + 1 && t->got > t->n)
		smtp_chunk_await(j);
	else if (t->got < t->sent)
		set_deadline(j);
	else if (t->is_done)
		leave(j, t->mail_ok, SMTP_TROUBLE_MESSAGE);
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

	/* RFC 5321 4.5.3.1.10: too many recipients, whatever the first digit; but a message that is
	 * too big (5.3.4, RFC 3463) stays so. */
	if (ss->reply.code == 552 && !(st.subject == 3 && st.detail == 4))
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

	if (j->t.accepted == 0 && go_ahead && j->svc->is_lmtp) {
		/* RFC 2033 4.2: should have been refused; an empty message has no replies. */
		smtp_transaction_abandon(j, SMTP_TROUBLE_MESSAGE);
		return false;
	}
	if (j->t.accepted == 0 && go_ahead) {
		/* Pipelined DATA without a recipient: an empty message ends it. */
		j->t.is_empty = true;
		smtp_session_move(ss, SMTP_DOT);
		smtp_session_command(ss, j->svc->p->smtp_data_done_timeout, ".");
		return true;
	}
	if (j->t.accepted > 0 && go_ahead) {
		smtp_session_move(ss, SMTP_BODY);
		smtp_transaction_body_open(j);
		smtp_transaction_body_go_on(j);
		return true;
	}
	if (j->t.accepted > 0) {
		struct status st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "DATA command");

		smtp_transaction_decide(j, &st);
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

/* RFC 2033 4.2: one reply for each recipient that was accepted, in their order. */
static void
lmtp_dot_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	struct status st;
	size_t i = 0;

	while (!j->t.is_accepted[i] || j->t.is_answered[i])
		i++;
	if (reply_class(&ss->reply) == 2) {
		delivery_taken(j->d, &j->d->rcpt[j->t.rcpt[i]]);
		j->d->transmit_us = loop_wall_us();
		st = reply_status(&j->arena, &ss->reply);
		st.remote = ss->peer.host;
	} else {
		st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "end of DATA command");
	}
	j->t.is_answered[i] = true;
	smtp_job_decide(j, j->t.rcpt[i], &st);
	if (++j->t.answered < j->t.accepted)
		smtp_session_deadline(ss, j->svc->p->smtp_data_done_timeout);
	else
		leave(j, false, SMTP_TROUBLE_MESSAGE);
}

static void
dot_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	struct status st;

	if (j->svc->is_lmtp) {
		lmtp_dot_replied(j);
		return;
	}
	if (!j->t.is_empty && reply_class(&ss->reply) == 2) {
		note_taken(j);
		j->d->transmit_us = loop_wall_us();
		st = reply_status(&j->arena, &ss->reply);
		st.remote = ss->peer.host;
		smtp_transaction_decide(j, &st);
	} else if (!j->t.is_empty) {
		st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "end of DATA command");
		smtp_transaction_decide(j, &st);
	}
	/* RFC 3030 2: who was refused a chunk sends RSET. */
	leave(j, j->t.is_chunked && reply_class(&ss->reply) != 2, SMTP_TROUBLE_MESSAGE);
}

/* Replies to chunks, each of which comes in its turn. */
static void
chunk_replied(struct smtp_job *j)
{
	struct smtp_session *ss = j->session;
	struct status st;

	if (smtp_chunk_was_taken(j))
		return;
	if (smtp_chunk_went_wrong(j))
		return;
	if (j->t.chunks_due == 0 && buf_str(stream_out(ss->stream)).n == 0) {
		dot_replied(j);
		return;
	}
	/* Others are due behind it, or it came before the content had left. */
	st = smtp_error_said(&j->arena, ss->peer, &ss->reply, "end of DATA command");
	if (reply_class(&ss->reply) != 5)
		st.cls = STATUS_TEMP;
	smtp_transaction_decide(j, &st);
	smtp_transaction_abandon(j, SMTP_TROUBLE_MESSAGE);
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
	smtp_transaction_abandon(j, SMTP_TROUBLE_SESSION);
}

/* A connection that was idle may be dead without our knowing: nothing is lost by another try. */
static bool
was_dead(const struct smtp_job *j)
{
	return j->session->uses > 1 && j->t.got == 0;
}

void
smtp_transaction_again(struct smtp_job *j)
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

	if (was_dead(j) && (ss->is_broken || ss->reply.state == REPLY_BAD)) {
		smtp_transaction_again(j);
		return;
	}
	if (ss->reply.state == REPLY_BAD) {
		garbage(j);
		return;
	}
	if (ss->state == SMTP_DOT) {
		if (j->t.is_chunked)
			chunk_replied(j);
		else
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
	smtp_transaction_go_on(j);
}

void
smtp_transaction_drained(struct smtp_job *j)
{
	if (j->t.is_waiting)
		return;
	if (j->session->state == SMTP_MAIL)
		smtp_transaction_go_on(j);
	else
		smtp_transaction_body_go_on(j);
}

void
smtp_transaction_lost(struct smtp_job *j, int err)
{
	struct smtp_session *ss = j->session;
	bool is_ended = ss->state == SMTP_DOT || (j->t.is_last && j->t.sent > j->t.n + 1);
	/* The end is the last that leaves: while there is output it has not. */
	bool is_sent = is_ended && buf_str(stream_out(ss->stream)).n == 0;
	const char *phase = is_sent                  ? smtp_phase_dot
			    : ss->state >= SMTP_BODY ? smtp_phase_body
			    : j->t.got == 0          ? smtp_phase_mail
			    : j->t.got <= j->t.n     ? smtp_phase_rcpt
						     : smtp_phase_data;

	if (was_dead(j) && ss->state == SMTP_MAIL) {
		smtp_transaction_again(j);
		return;
	}
	if (ss->state == SMTP_BODY && smtp_transaction_spoke_early(j))
		return;
	struct status st = smtp_error_lost(&j->arena, ss->peer, phase, err);
	bool all_known = j->t.mail_failed;

	for (size_t i = 0; i < j->t.n && !all_known; i++)
		if (smtp_job_open(j, j->t.rcpt[i]) && !j->t.is_answered[i])
			smtp_job_decide(j, j->t.rcpt[i], &st);
	smtp_transaction_abandon(
	    j, all_known || j->t.is_empty ? SMTP_TROUBLE_MESSAGE : SMTP_TROUBLE_SESSION);
}

/* What this server cannot take, whatever it would say. */
static bool
is_refused(struct smtp_job *j, struct status *ret)
{
	const struct esmtp_ehlo *e = &j->session->ehlo;
	struct smtp_peer peer = j->session->peer;

	if (e->size_limit > 0 && j->d->content_length > e->size_limit)
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
		if (smtp_job_open(j, i) && !smtp_international_refuses(j, i))
			t->rcpt[t->n++] = i;
	if (t->n == 0) {
		leave(j, false, SMTP_TROUBLE_MESSAGE);
		return;
	}
	smtp_session_move(j->session, SMTP_MAIL);
	if ((j->session->ehlo.ext & ESMTP_CHUNKING) && !j->is_unchunked) {
		smtp_chunk_init(j);
		smtp_transaction_body_open(j);
		stream_deadline(j->session->stream, -1);
		smtp_transaction_body_go_on(j);
	} else {
		smtp_transaction_go_on(j);
	}
}
