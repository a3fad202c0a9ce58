/*
 * One message over one session: MAIL, RCPT.., DATA, the content, the dot.
 *
 * With PIPELINING all commands leave in one write, and content and dot in as few as fit; without,
 * one command waits for the reply to the last. Both are one piece of code: commands are numbered,
 * `sent` runs ahead of `got` as far as is allowed. Rejected recipients are settled when the server
 * says so, the others after the dot.
 */
#include <errno.h>
#include "content.h"
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
	smtp_content_free(j->t.content);
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

/* Appends command i. False: this recipient cannot be named in a command. */
static bool
print_command(struct smtp_job *j, size_t i)
{
	struct buf *out = stream_out(j->session->stream);
	unsigned ext = j->session->ehlo.ext;
	const struct delivery *d = j->d;

	if (i == 0) {
		struct esmtp_mail m = {
		    .address = j->mapped ? j->mapped[0] : d->sender,
		    .size = d->content_length,
		    .encoding = d->encoding,
		    .ret = d->ret,
		    .envid = d->envid,
		    .auth = j->session->is_authenticated && j->svc->p->smtp_send_dummy_mail_auth
				? "<>"
				: NULL,
		    .smtputf8 = (d->utf8 & UTF8_REQUESTED) != 0,
		    .is_bare = !j->svc->p->smtp_quote_rfc821_envelope,
		};

		return esmtp_print_mail(out, &m, ext) == 0;
	}
	if (i <= j->t.n) {
		size_t at = j->t.rcpt[i - 1];
		const struct recipient *r = &d->rcpt[at].rcpt;
		struct esmtp_rcpt er = {.address = j->mapped ? j->mapped[at + 1] : r->address,
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
	return j->t.sent - j->t.got;
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
			smtp_transaction_abandon(j, SMTP_TROUBLE_MESSAGE);
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
		smtp_transaction_body(j);
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
	smtp_transaction_abandon(j, SMTP_TROUBLE_SESSION);
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

	if (was_dead(j) && (ss->is_broken || ss->reply.state == REPLY_BAD)) {
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
	else
		smtp_transaction_body_drained(j);
}

void
smtp_transaction_lost(struct smtp_job *j, int err)
{
	struct smtp_session *ss = j->session;
	/* The dot is the last that leaves: while there is output it has not. */
	bool is_sent = ss->state == SMTP_DOT && buf_str(stream_out(ss->stream)).n == 0;
	const char *phase = is_sent                  ? smtp_phase_dot
			    : ss->state >= SMTP_BODY ? smtp_phase_body
			    : j->t.got == 0          ? smtp_phase_mail
			    : j->t.got <= j->t.n     ? smtp_phase_rcpt
						     : smtp_phase_data;

	if (was_dead(j) && ss->state == SMTP_MAIL) {
		try_again(j);
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
