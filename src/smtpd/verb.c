/*
 * verb.c - the table of SMTP commands: name, function, where it is allowed, how it counts.
 *
 * Whether a command fits the state is decided here, from the table, so that a command function
 * only ever runs in a state it knows. A new verb is a row and a cmd_x.c.
 */
#include "internal.h"
#include "pp/mail/utf8.h"

enum {
	IN_IDLE = 1 << SESSION_IDLE,
	IN_MAIL = 1 << SESSION_MAIL,
	IN_RCPT = 1 << SESSION_RCPT,
	IN_ANY = IN_IDLE | IN_MAIL | IN_RCPT,
};

enum {
	VERB_JUNK = 1 << 0, /* counts towards smtpd_junk_command_limit */
	VERB_LAST = 1 << 1, /* nothing may be pipelined behind it: RFC 2920 3.1 */
};

enum { TLS_HANDSHAKE = 0x16 }; /* what a client says first that takes this for port 465 */

static const struct verb {
	const char *name;
	enum cmd_result (*run)(struct smtpd_session *s, struct str args);
	unsigned states;
	unsigned flags;
	const char *wrong; /* the reply in any other state */
} verbs[COMMAND_COUNT] = {
    [COMMAND_HELO] = {"HELO", smtpd_cmd_helo, IN_ANY, VERB_JUNK | VERB_LAST, NULL},
    [COMMAND_EHLO] = {"EHLO", smtpd_cmd_ehlo, IN_ANY, VERB_JUNK | VERB_LAST, NULL},
    [COMMAND_XCLIENT] = {"XCLIENT", smtpd_cmd_xclient, IN_ANY, VERB_JUNK, NULL},
    [COMMAND_XFORWARD] = {"XFORWARD", smtpd_cmd_xclient, IN_ANY, VERB_JUNK, NULL},
    [COMMAND_STARTTLS] = {"STARTTLS", smtpd_cmd_starttls, IN_ANY, VERB_JUNK, NULL},
    [COMMAND_AUTH] = {"AUTH", smtpd_cmd_auth, IN_ANY, 0, NULL},
    [COMMAND_MAIL] = {"MAIL", smtpd_cmd_mail, IN_IDLE, 0, "503 5.5.1 Error: nested MAIL command"},
    [COMMAND_RCPT] = {"RCPT", smtpd_cmd_rcpt, IN_MAIL | IN_RCPT, 0,
	"503 5.5.1 Error: need MAIL command"},
    [COMMAND_DATA] = {"DATA", smtpd_cmd_data, IN_MAIL | IN_RCPT, VERB_LAST,
	"503 5.5.1 Error: need RCPT command"},
    [COMMAND_BDAT] = {"BDAT", smtpd_cmd_bdat, IN_ANY, 0, NULL},
    [COMMAND_RSET] = {"RSET", smtpd_cmd_rset, IN_ANY, VERB_JUNK, NULL},
    [COMMAND_NOOP] = {"NOOP", smtpd_cmd_noop, IN_ANY, VERB_JUNK | VERB_LAST, NULL},
    [COMMAND_VRFY] = {"VRFY", smtpd_cmd_vrfy, IN_ANY, VERB_JUNK | VERB_LAST, NULL},
    [COMMAND_ETRN] = {"ETRN", smtpd_cmd_unknown, IN_ANY, VERB_JUNK, NULL},
    [COMMAND_QUIT] = {"QUIT", smtpd_cmd_quit, IN_ANY, 0, NULL},
    [COMMAND_UNKNOWN] = {"UNKNOWN", smtpd_cmd_unknown, IN_ANY, 0, NULL},
};

const char *
smtpd_verb_name(enum smtpd_command c)
{
	return verbs[c].name;
}

static enum smtpd_command
find(struct str word)
{
	unsigned c = 0;

	while (c < COMMAND_UNKNOWN && !str_caseeq(word, str_of(verbs[c].name)))
		c++;
	return (enum smtpd_command)c;
}

/* smtpd_noop_commands, smtpd_forbidden_commands: words, in any case. */
static bool
listed(const char *list, struct str word)
{
	struct str rest = str_of(list), name;

	while (str_token(&rest, ", \t\r\n", &name))
		if (str_caseeq(name, word))
			return true;
	return false;
}

/* "Subject: hello": a client that sends mail content or HTTP where commands are due. */
static bool
is_header(struct str word)
{
	size_t colon = str_index(word, ':');

	if (colon == 0 || colon == word.n)
		return false;
	for (size_t i = 0; i < colon; i++)
		if ((unsigned char)word.p[i] <= ' ' || (unsigned char)word.p[i] >= 0x7f)
			return false;
	return true;
}

static bool
is_forbidden(const struct smtpd_setup *setup, struct str word)
{
	if (is_header(word) || (setup->is_no_symbols && !str_isalpha(word.p[0])))
		return true;
	return listed(setup->p->smtpd_forbidden_commands, word);
}

static enum cmd_result
refuse_forbidden(struct smtpd_session *s, struct str line)
{
	log_warn("smtpd", "non-SMTP command from %s: %.*s", s->client,
	    (int)(line.n < 100 ? line.n : 100), line.p);
	smtpd_reply(s, "221 2.7.0 Error: this is a mail server, good bye");
	return CMD_CLOSE_BAD;
}

static enum cmd_result
run_unknown(struct smtpd_session *s, struct str line, struct str word, struct str args)
{
	if (is_forbidden(s->setup, word))
		return refuse_forbidden(s, line);
	return smtpd_cmd_unknown(s, args);
}

/* A client that does not wait where it must: at best a spammer in a hurry, at worst somebody who
 * smuggles commands past another server (smtpd_forbid_unauth_pipelining). */
static bool
is_improper(struct smtpd_session *s, const struct verb *v)
{
	struct str in = stream_in(s->stream);
	struct str more = str_from(in, in.n - s->behind);

	if (s->behind == 0 || (s->is_esmtp && !(v->flags & VERB_LAST)))
		return false;
	if (!s->is_improper)
		log_info("smtpd", "improper command pipelining after %s from %s: %.*s", v->name,
		    s->client, (int)(more.n < 100 ? more.n : 100), more.p);
	s->is_improper = true;
	return s->setup->p->smtpd_forbid_unauth_pipelining;
}

enum cmd_result
smtpd_verb_run(struct smtpd_session *s, struct str line)
{
	const struct verb *v;
	struct str word, args;

	s->command = COMMAND_UNKNOWN;
	if (memchr(line.p, '\0', line.n) || !esmtp_command(line, &word, &args)) {
		if (line.n > 0 && s->setup->is_no_symbols && line.p[0] == TLS_HANDSHAKE)
			return refuse_forbidden(s, line);
		smtpd_reply(s, "500 5.5.2 Error: bad syntax");
		return CMD_NONE;
	}
	if (s->setup->p->smtputf8_enable && !utf8_valid(line)) {
		smtpd_reply(s, "500 5.5.2 Error: bad UTF-8 syntax");
		return CMD_NONE;
	}
	s->command = find(word);
	v = &verbs[s->command];
	s->stats.total[s->command]++;
	s->where = v->name;
	if (s->is_long && s->command > COMMAND_EHLO) {
		smtpd_reply(s, "500 5.5.2 Error: line too long");
		return CMD_BAD;
	}
	if (is_improper(s, v)) {
		smtpd_reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
		return CMD_CLOSE_BAD;
	}
	if (s->denied && s->command != COMMAND_QUIT) {
		smtpd_reply(s, "503 5.7.0 Error: access denied for %s", s->client);
		return CMD_BAD;
	}
	if (v->flags & VERB_JUNK && s->junk++ > s->setup->p->smtpd_junk_command_limit)
		s->errors++;
	if (listed(s->setup->p->smtpd_noop_commands, word))
		return smtpd_cmd_noop(s, args);
	if (s->command == COMMAND_UNKNOWN)
		return run_unknown(s, line, word, args);
	if (!(v->states & 1u << s->state)) {
		smtpd_reply(s, "%s", v->wrong);
		return CMD_BAD;
	}
	return v->run(s, args);
}

/* Not every session uses every verb: only those that came are told. */
void
smtpd_stats_print(const struct smtpd_stats *st, struct buf *to)
{
	unsigned ok = 0, total = 0;

	for (unsigned c = 0; c < COMMAND_COUNT; c++) {
		if (st->total[c] == 0)
			continue;
		for (const char *p = verbs[c].name; *p; p++)
			buf_addc(to, str_lower(*p));
		buf_printf(to, "=%u", st->ok[c]);
		if (st->ok[c] != st->total[c])
			buf_printf(to, "/%u", st->total[c]);
		buf_addc(to, ' ');
		ok += st->ok[c];
		total += st->total[c];
	}
	buf_printf(to, "commands=%u", ok);
	if (ok != total || total == 0)
		buf_printf(to, "/%u", total);
}
