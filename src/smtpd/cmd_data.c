/*
 * cmd_data.c - DATA: the content, from the 354 to "queued as".
 *
 * Bytes go from the stream's input through the decoder of dots straight into cleanup, piece by
 * piece; nothing is gathered here. Only <CR><LF>.<CR><LF> ends it (RFC 5321 4.1.1.4): every other
 * end would let a client hide a second message from the servers before us. Once something is wrong
 * the rest is swallowed, since the client listens again only after its final dot.
 *
 * The time limit: smtpd_timeout from the 354 on, and every smtpd_min_data_rate bytes buy one more
 * second, up to smtpd_timeout ahead. A big message at a decent rate passes, a dripping one does
 * not.
 */
#include <time.h>
#include "internal.h"

static void
message_done(struct smtpd_session *s)
{
	s->where = "END-OF-MESSAGE";
	smtpd_session_reset(s);
}

static void
committed(void *ctx, const struct status *st, const char *id)
{
	struct smtpd_session *s = ctx;

	s->t.cleanup = NULL;
	if (!smtpd_session_told(s))
		return;
	if (st->cls == STATUS_OK) {
		smtpd_reply(s, "250 2.0.0 Ok: queued as %s", id);
		s->errors = s->junk = 0;
	} else {
		smtpd_reply_status(s, st);
	}
	message_done(s);
	smtpd_session_answered(s, st->cls == STATUS_OK ? CMD_OK : CMD_BAD);
}

static enum cmd_result
content_restricted(struct smtpd_session *s, enum verdict v)
{
	struct transaction *t = &s->t;

	if (v == VERDICT_REJECT) {
		bool is_end = s->run.is_disconnect;

		smtpd_reply(s, "%s", s->run.reply);
		message_done(s);
		return is_end ? CMD_CLOSE_BAD : CMD_BAD;
	}
	if (t->is_discard) {
		smtpd_reply(s, "250 2.0.0 Ok: queued as %s", cleanup_id(t->cleanup));
		message_done(s);
		s->errors = s->junk = 0;
		return CMD_OK;
	}
	if (t->is_hold)
		cleanup_hold(t->cleanup);
	smtpd_session_move(s, SESSION_COMMIT);
	smtpd_session_ask(s, ASK_COMMIT);
	cleanup_end(t->cleanup, committed, s);
	return CMD_WAIT;
}

/* smtpd_forbid_bare_newline = reject, note. The default, normalize, needs no word about it. */
static bool
is_bare_refused(struct smtpd_session *s)
{
	const struct smtpd_setup *setup = s->setup;
	const char *text;

	if (!s->t.dot.bare_lf || setup->bare_newline == BARE_NORMALIZE ||
	    netlist_match_text(setup->bare_exclusions, str_of(s->address)))
		return false;
	text = arena_printf(&s->scratch, "%d 5.5.2 %s Error: bare <LF> received",
	    (int)setup->p->smtpd_forbid_bare_newline_reject_code, setup->p->myhostname);
	if (setup->bare_newline == BARE_NOTE) {
		smtpd_log_event(s, "info", "bare <LF> received");
		return false;
	}
	smtpd_log_event(s, "reject", text);
	smtpd_reply(s, "%s", text);
	return true;
}

static enum cmd_result
content_complete(struct smtpd_session *s)
{
	static const uint8_t stages[] = {STAGE_END_OF_DATA};

	s->where = "END-OF-MESSAGE";
	if (s->t.is_too_big) {
		smtpd_reply(s, "552 5.3.4 Error: message file too big");
		message_done(s);
		return CMD_BAD;
	}
	if (is_bare_refused(s)) {
		message_done(s);
		return CMD_BAD;
	}
	return restrict_run(s, stages, 1, content_restricted);
}

static void
take_piece(struct smtpd_session *s, const struct dot_piece *piece)
{
	struct transaction *t = &s->t;
	int64_t limit = s->setup->p->message_size_limit;

	t->size += (int64_t)piece->bytes.n + (piece->last ? 2 : 0);
	if (limit > 0 && t->size > limit && !t->is_too_big) {
		t->is_too_big = true;
		log_warn("smtpd", "%s: queue file size limit exceeded", cleanup_id(t->cleanup));
	}
	if (!t->is_too_big && !t->is_discard)
		cleanup_line(t->cleanup, piece->bytes, piece->last);
}

static void
extend_deadline(struct smtpd_session *s, size_t bytes)
{
	const struct params *p = s->setup->p;
	int64_t most = loop_now(s->server->loop) + p->smtpd_timeout;

	if (p->smtpd_min_data_rate > 0)
		s->deadline += (int64_t)bytes * 1000 / p->smtpd_min_data_rate;
	if (s->deadline > most || p->smtpd_min_data_rate == 0)
		s->deadline = most;
}

static void
drained(void *ctx)
{
	struct smtpd_session *s = ctx;

	if (smtpd_session_told(s))
		smtpd_session_pump(s);
}

bool
smtpd_data_read(struct smtpd_session *s)
{
	struct transaction *t = &s->t;
	struct str in = stream_in(s->stream);
	size_t before = in.n;
	enum dot_result r = DOT_MORE;
	enum cmd_result done;
	struct dot_piece piece;

	if (before == 0)
		return false;
	while (!cleanup_full(t->cleanup) && (r = dot_decode(&t->dot, &in, &piece)) == DOT_PIECE)
		take_piece(s, &piece);
	stream_consume(s->stream, before - in.n);
	extend_deadline(s, before - in.n);
	if (r == DOT_END) {
		done = content_complete(s);
		if (done != CMD_WAIT)
			smtpd_session_done(s, done);
		return true;
	}
	if (cleanup_full(t->cleanup)) {
		smtpd_session_ask(s, ASK_DRAIN);
		cleanup_on_drain(t->cleanup, drained, s);
	}
	return false;
}

static void
begin_content(struct smtpd_session *s)
{
	const struct params *p = s->setup->p;
	struct transaction *t = &s->t;
	struct received r = {.helo = s->helo,
	    .name = s->name,
	    .address = s->address,
	    .hostname = p->myhostname,
	    .mail_name = p->mail_name,
	    .protocol = t->mail.smtputf8 ? "UTF8SMTP"
			: s->is_esmtp    ? "ESMTP"
					 : "SMTP",
	    .id = cleanup_id(t->cleanup),
	    .rcpt = t->rcpt_text,
	    .now_s = loop_wall_us() / 1000000};
	struct buf header;

	buf_init(&header, 8192);
	received_print(&r, &header);
	cleanup_content(t->cleanup, buf_cstr(&header));
	buf_fini(&header);
	dot_decoder_init(&t->dot, (size_t)p->line_length_limit, DOT_SMTP);
	smtpd_session_move(s, SESSION_DATA);
}

static enum cmd_result
data_restricted(struct smtpd_session *s, enum verdict v)
{
	struct transaction *t = &s->t;
	const struct status *trouble;

	if (v == VERDICT_REJECT) {
		smtpd_reply(s, "%s", s->run.reply);
		t->rcpt_text = NULL;
		return s->run.is_disconnect ? CMD_CLOSE_BAD : CMD_BAD;
	}
	trouble = cleanup_trouble(t->cleanup);
	if (trouble) {
		smtpd_reply_status(s, trouble);
		smtpd_session_reset(s);
		return CMD_BAD;
	}
	t->is_hold |= s->is_hold;
	t->is_discard |= s->is_discard;
	begin_content(s);
	smtpd_reply(s, "354 End data with <CR><LF>.<CR><LF>");
	smtpd_session_expect(s);
	return CMD_MORE;
}

enum cmd_result
smtpd_cmd_data(struct smtpd_session *s, struct str args)
{
	static const uint8_t stages[] = {STAGE_DATA};
	struct transaction *t = &s->t;

	if (t->rcpt_count == 0) {
		smtpd_reply(s, "554 5.5.1 Error: no valid recipients");
		return CMD_BAD;
	}
	if (args.n > 0) {
		smtpd_reply(s, "501 5.5.4 Syntax: DATA");
		return CMD_BAD;
	}
	t->rcpt_text = t->rcpt_count == 1 ? t->first_text : NULL;
	return restrict_run(s, stages, 1, data_restricted);
}
