/*
 * cmd_mail.c - MAIL FROM: begins a transaction.
 *
 * Order of the checks: HELO given (when required), syntax, parameters, size, sender restrictions
 * (when smtpd_delay_reject = no), room in the spool. Only the last two may take time.
 */
#include "internal.h"
#include "pp/mail/utf8.h"

static enum cmd_result
refuse(struct smtpd_session *s, const char *reply)
{
	smtpd_reply(s, "%s", reply);
	smtpd_session_reset(s);
	return CMD_BAD;
}

static enum cmd_result
has_space(struct smtpd_session *s, int rc)
{
	static const char *const reply = "452 4.3.1 Insufficient system storage";

	if (rc < 0) {
		smtpd_log_event(s, "reject", reply);
		refuse(s, reply);
		return CMD_SOFT;
	}
	smtpd_session_move(s, SESSION_MAIL);
	smtpd_reply(s, "250 2.1.0 Ok");
	return CMD_OK;
}

static enum cmd_result
restricted(struct smtpd_session *s, enum verdict v)
{
	if (v == VERDICT_REJECT) {
		bool is_end = s->run.is_disconnect;

		refuse(s, s->run.reply);
		return is_end ? CMD_CLOSE_BAD : CMD_BAD;
	}
	return smtpd_space_check(s, s->t.mail.size, has_space);
}

void
smtpd_refuse_param(struct smtpd_session *s, enum esmtp_error e, struct str bad)
{
	struct status st = esmtp_error_status(&s->scratch, e, bad);
	bool is_dsn = str_casestarts(bad, STR("RET=")) || str_casestarts(bad, STR("ENVID=")) ||
		      str_casestarts(bad, STR("NOTIFY=")) || str_casestarts(bad, STR("ORCPT="));

	if (e == ESMTP_UNSUPPORTED && is_dsn && !(s->setup->params & ESMTP_DSN))
		smtpd_reply(s, "501 5.7.1 DSN support is disabled");
	else
		smtpd_reply_status(s, &st);
}

/* Without SMTPUTF8 a domain is ASCII, always, as for Postfix; of the local part that is another
 * question. */
bool
smtpd_is_undeclared_domain(const struct smtpd_session *s, const char *address)
{
	struct str local, domain;

	return !s->t.mail.smtputf8 && address_split(str_of(address), &local, &domain) &&
	       utf8_has_8bit(domain);
}

/* strict_smtputf8: RFC 6531 3.5 to the letter. */
bool
smtpd_is_undeclared_utf8(const struct smtpd_session *s, const char *address)
{
	const struct params *p = s->setup->p;

	return p->strict_smtputf8 && !s->t.mail.smtputf8 && utf8_has_8bit(str_of(address));
}

/* strict_rfc821_envelopes: RFC 5321 4.1.2, the path is in angle brackets, right behind the colon.
 */
bool
smtpd_is_loose_path(const struct smtpd_session *s, struct str args)
{
	struct str path = str_from(args, str_index(args, ':') + 1);

	return s->setup->p->strict_rfc821_envelopes && !str_starts(path, STR("<"));
}

static enum cmd_result
check_size(struct smtpd_session *s)
{
	int64_t limit = s->setup->p->message_size_limit;

	if (limit > 0 && s->t.mail.size > limit) {
		static const char *const reply = "552 5.3.4 Message size exceeds fixed limit";

		smtpd_log_event(s, "reject", reply);
		return refuse(s, reply);
	}
	return CMD_OK;
}

static enum cmd_result
parse(struct smtpd_session *s, struct str args)
{
	struct transaction *t = &s->t;
	struct address_path path = {0};
	struct str bad = {0};
	enum esmtp_error e;

	switch (address_path(&t->arena, args, "FROM", ADDRESS_UTF8, &path)) {
	case ADDRESS_OK:
		break;
	case ADDRESS_NO_KEYWORD:
		return refuse(s, "501 5.5.4 Syntax: MAIL FROM:<address>");
	default:
		return refuse(s, "501 5.1.7 Bad sender address syntax");
	}
	if (smtpd_is_loose_path(s, args))
		return refuse(s, "501 5.1.7 Bad sender address syntax");
	t->mail.size = -1;
	e = esmtp_mail_params(&t->arena, path.rest, s->setup->params, &t->mail, &bad);
	if (e != ESMTP_OK) {
		smtpd_refuse_param(s, e, bad);
		smtpd_session_reset(s);
		return CMD_BAD;
	}
	t->mail.address = path.address;
	t->sender_text = address_quoted(&t->arena, str_of(path.address));
	if (t->sender_text == NULL)
		return refuse(s, "501 5.1.7 Bad sender address syntax");
	if (smtpd_is_undeclared_domain(s, path.address))
		return refuse(s, "501 5.1.7 Bad sender address syntax");
	if (smtpd_is_undeclared_utf8(s, path.address))
		return refuse(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
	return CMD_OK;
}

enum cmd_result
smtpd_cmd_mail(struct smtpd_session *s, struct str args)
{
	static const uint8_t stages[] = {STAGE_SENDER};
	const struct params *p = s->setup->p;
	enum cmd_result r;

	if (s->helo == NULL && p->smtpd_helo_required) {
		smtpd_reply(s, "503 5.5.1 Error: send HELO/EHLO first");
		return CMD_BAD;
	}
	r = parse(s, args);
	if (r == CMD_OK)
		r = check_size(s);
	if (r != CMD_OK)
		return r;
	return restrict_run(s, stages, p->smtpd_delay_reject ? 0 : 1, restricted);
}
