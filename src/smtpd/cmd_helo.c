/*
 * cmd_helo.c - HELO and EHLO: who the client says it is, and what it is offered.
 *
 * The name is kept cleaned, since it goes into the log, into replies and into Received: what could
 * break those becomes `?`. Both commands end a transaction (RFC 5321 4.1.4).
 */
#include "internal.h"
#include "pp/mail/utf8.h"

static void
keep_name(struct smtpd_session *s, struct str name)
{
	char *p;

	name = str_head(name, SMTPD_HELO_MAX);
	p = mem_alloc(name.n + 1);
	memcpy(p, name.p, name.n);
	utf8_clean(p, name.n);
	for (size_t i = 0; i < name.n; i++)
		if (strchr(" <>()\\\";@", p[i]))
			p[i] = '?';
	mem_free(s->helo_memory);
	s->helo_memory = p;
	s->helo = p;
}

static enum cmd_result
greeted(struct smtpd_session *s, enum verdict v)
{
	s->is_hold |= s->t.is_hold;
	s->is_discard |= s->t.is_discard;
	s->t.is_hold = s->t.is_discard = false;
	if (v == VERDICT_REJECT) {
		smtpd_reply(s, "%s", s->run.reply);
		return s->run.is_disconnect ? CMD_CLOSE_BAD : CMD_BAD;
	}
	if (s->command == COMMAND_EHLO && s->setup->discarded)
		log_info("smtpd", "discarding EHLO keywords:%s", s->setup->discarded);
	if (s->command == COMMAND_EHLO)
		stream_write(s->stream, s->setup->ehlo_reply);
	else
		smtpd_reply(s, "250 %s", s->setup->p->myhostname);
	s->is_unflushed = true;
	return CMD_OK;
}

static enum cmd_result
hello(struct smtpd_session *s, struct str name)
{
	static const uint8_t stages[] = {STAGE_HELO};

	if (name.n == 0) {
		smtpd_reply(s, "501 Syntax: %s hostname", smtpd_verb_name(s->command));
		return CMD_BAD;
	}
	smtpd_session_reset(s);
	keep_name(s, name);
	s->is_esmtp = s->command == COMMAND_EHLO;
	return restrict_run(s, stages, s->setup->p->smtpd_delay_reject ? 0 : 1, greeted);
}

enum cmd_result
smtpd_cmd_helo(struct smtpd_session *s, struct str args)
{
	return hello(s, args);
}

enum cmd_result
smtpd_cmd_ehlo(struct smtpd_session *s, struct str args)
{
	return hello(s, args);
}
