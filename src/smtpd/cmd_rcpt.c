/*
 * cmd_rcpt.c - RCPT TO, and VRFY, which asks the same question without a transaction.
 *
 * With smtpd_delay_reject (the default) this is where every restriction is evaluated: clients that
 * are refused earlier tend to try again for ever, and the log would not say whose mail it was. The
 * queue file begins with the first good recipient.
 */
#include <stdio.h>
#include "internal.h"

static const uint8_t delayed_relay_first[] = {
    STAGE_CLIENT, STAGE_HELO, STAGE_SENDER, STAGE_RELAY, STAGE_RECIPIENT, STAGE_LISTED};
static const uint8_t delayed_relay_last[] = {
    STAGE_CLIENT, STAGE_HELO, STAGE_SENDER, STAGE_RECIPIENT, STAGE_RELAY, STAGE_LISTED};

static enum cmd_result
judge(struct smtpd_session *s, enum cmd_result (*next)(struct smtpd_session *s, enum verdict v))
{
	const struct params *p = s->setup->p;
	const uint8_t *stages =
	    p->smtpd_relay_before_recipient_restrictions ? delayed_relay_first : delayed_relay_last;
	unsigned early = p->smtpd_delay_reject ? 0 : 3; /* were evaluated at their own command */

	return restrict_run(s, stages + early, PP_COUNT(delayed_relay_first) - early, next);
}

static enum cmd_result
class_trouble(struct smtpd_session *s, const char *why)
{
	log_warn("smtpd", "%s", why);
	smtpd_reply(s, "451 4.3.0 <%s>: Temporary lookup failure", s->t.rcpt_text);
	s->t.rcpt = (struct esmtp_rcpt){0};
	s->t.rcpt_text = NULL;
	return CMD_SOFT;
}

static void
class_found(struct route_query *q)
{
	struct smtpd_session *s = PP_CONTAINER(q, struct smtpd_session, class_query);
	enum cmd_result r;

	/* The session may be gone with the end of the question. */
	if (s->state == SESSION_ENDED) {
		buf_fini(&q->why);
		smtpd_session_told(s);
		return;
	}
	smtpd_session_told(s);
	if (q->result >= 0) {
		s->t.rcpt_class = (enum route_class)q->result;
		r = judge(s, s->class_next);
	} else {
		r = class_trouble(s, buf_cstr(&q->why));
	}
	buf_fini(&q->why);
	if (r != CMD_WAIT)
		smtpd_session_answered(s, r);
}

/* First of all, whose domain it is: most restrictions on recipients ask that. */
static enum cmd_result
restricted_run(
    struct smtpd_session *s, enum cmd_result (*next)(struct smtpd_session *s, enum verdict v))
{
	struct route *route = s->setup->cleanup.route;
	struct str address = str_of(route_complete(route, &s->scratch, str_of(s->t.rcpt.address)));

	if (route_class(route, address, &s->t.rcpt_class))
		return judge(s, next);
	s->class_next = next;
	smtpd_session_ask(s, ASK_CLASS);
	route_find_class(route, s->server->slow, &s->class_query, address, class_found);
	return CMD_WAIT;
}

static void
fill_origin(struct smtpd_session *s, struct origin *o)
{
	const struct stream_peer *peer = stream_peer(s->stream), *local = stream_local(s->stream);
	struct arena *a = &s->t.arena;
	bool is_local = peer->family == AF_UNIX || strcmp(peer->address, local->address) == 0 ||
			str_starts(str_of(s->address), STR("127.")) ||
			strcmp(s->address, "::1") == 0;

	*o = (struct origin){
	    .client_name = s->name,
	    .reverse_name = s->reverse,
	    .client_address = s->address,
	    .client_port = arena_printf(a, "%u", peer->port),
	    .server_address = arena_strdup(a, local->address),
	    .server_port = arena_printf(a, "%u", local->port),
	    .helo = s->helo,
	    .protocol = s->is_esmtp ? "ESMTP" : "SMTP",
	    .address_family = peer->family == AF_UNIX ? AF_INET : peer->family,
	    .local = (s->setup->is_rewrite_interfaces && is_local) ||
		     (s->setup->is_rewrite_mynetworks && s->is_mynetworks),
	};
}

static void
open_message(struct smtpd_session *s)
{
	struct transaction *t = &s->t;
	struct envelope e = {.sender = t->mail.address,
	    .envid = t->mail.envid,
	    .ret = t->mail.ret,
	    .encoding = t->mail.encoding,
	    .utf8 = t->mail.smtputf8 ? UTF8_REQUESTED : 0};

	fill_origin(s, &e.origin);
	t->cleanup = cleanup_new(&s->setup->cleanup);
	log_info("smtpd", "%s: client=%s", cleanup_id(t->cleanup), s->client);
	cleanup_sender(t->cleanup, &e);
}

static enum cmd_result
refused(struct smtpd_session *s)
{
	bool is_end = s->run.is_disconnect;

	smtpd_reply(s, "%s", s->run.reply);
	s->t.rcpt = (struct esmtp_rcpt){0};
	s->t.rcpt_text = NULL;
	return is_end ? CMD_CLOSE_BAD : CMD_BAD;
}

static enum cmd_result
rcpt_restricted(struct smtpd_session *s, enum verdict v)
{
	struct transaction *t = &s->t;
	struct recipient r = {.address = t->rcpt.address,
	    .orig = t->rcpt.address,
	    .orcpt = t->rcpt.orcpt,
	    .notify = t->rcpt.notify,
	    .offset = -1};

	if (v == VERDICT_REJECT)
		return refused(s);
	if (t->cleanup == NULL)
		open_message(s);
	cleanup_rcpt(t->cleanup, &r);
	if (t->rcpt_count++ == 0)
		t->first_text = t->rcpt_text;
	t->rcpt = (struct esmtp_rcpt){0};
	t->rcpt_text = NULL;
	if (s->state == SESSION_MAIL)
		smtpd_session_move(s, SESSION_RCPT);
	smtpd_reply(s, "250 2.1.5 Ok");
	return CMD_OK;
}

static enum cmd_result
bad(struct smtpd_session *s, const char *reply)
{
	smtpd_reply(s, "%s", reply);
	s->t.rcpt = (struct esmtp_rcpt){0};
	return CMD_BAD;
}

static enum cmd_result
set_rcpt(struct smtpd_session *s, const char *address)
{
	struct transaction *t = &s->t;

	t->rcpt.address = address;
	t->rcpt_text = address[0] ? address_quoted(&t->arena, str_of(address)) : NULL;
	if (t->rcpt_text == NULL)
		return bad(s, "501 5.1.3 Bad recipient address syntax");
	if (smtpd_is_undeclared_domain(s, address))
		return bad(s, "501 5.1.3 Bad recipient address syntax");
	if (smtpd_is_undeclared_utf8(s, address))
		return bad(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
	return CMD_OK;
}

/* RFC 5321 4.5.3.1.10: at least 100 recipients, and 452 for more; the client sends the rest with
 * another copy. Far too many of them are errors. */
static enum cmd_result
too_many(struct smtpd_session *s)
{
	smtpd_reply(s, "452 4.5.3 Error: too many recipients");
	return s->t.overshoot++ < s->setup->p->smtpd_recipient_overshoot_limit ? CMD_SOFT : CMD_BAD;
}

enum cmd_result
smtpd_cmd_rcpt(struct smtpd_session *s, struct str args)
{
	struct transaction *t = &s->t;
	struct address_path path = {0};
	struct str word = {0};
	enum esmtp_error e;

	if (t->rcpt_count >= s->setup->p->smtpd_recipient_limit)
		return too_many(s);
	switch (address_path(&t->arena, args, "TO", ADDRESS_UTF8, &path)) {
	case ADDRESS_OK:
		break;
	case ADDRESS_NO_KEYWORD:
		return bad(s, "501 5.5.4 Syntax: RCPT TO:<address>");
	default:
		return bad(s, "501 5.1.3 Bad recipient address syntax");
	}
	if (smtpd_is_loose_path(s, args))
		return bad(s, "501 5.1.3 Bad recipient address syntax");
	e = esmtp_rcpt_params(&t->arena, path.rest, s->setup->params, &t->rcpt, &word);
	if (e != ESMTP_OK) {
		smtpd_refuse_param(s, e, word);
		return CMD_BAD;
	}
	if (set_rcpt(s, path.address) != CMD_OK)
		return CMD_BAD;
	return restricted_run(s, rcpt_restricted);
}

/* A transaction's own recipient is never in the way: RCPT clears it when it ends. */
static enum cmd_result
vrfy_restricted(struct smtpd_session *s, enum verdict v)
{
	enum cmd_result r = CMD_OK;

	if (v == VERDICT_REJECT)
		r = refused(s);
	else
		smtpd_reply(s, "252 2.0.0 %s", s->t.rcpt_text);
	s->t.rcpt = (struct esmtp_rcpt){0};
	s->t.rcpt_text = NULL;
	if (s->state == SESSION_IDLE)
		smtpd_session_reset(s);
	return r;
}

enum cmd_result
smtpd_cmd_vrfy(struct smtpd_session *s, struct str args)
{
	const char *address;

	if (s->setup->p->disable_vrfy_command) {
		smtpd_reply(s, "502 5.5.1 VRFY command is disabled");
		return CMD_BAD;
	}
	if (args.n == 0)
		return bad(s, s->setup->extensions & ESMTP_SMTPUTF8
				  ? "501 5.5.4 Syntax: VRFY address [SMTPUTF8]"
				  : "501 5.5.4 Syntax: VRFY address");
	/* RFC 6531 3.7.4.2. */
	if (args.n > 9 && str_caseeq(str_from(args, args.n - 9), STR(" SMTPUTF8")))
		args = str_trim(str_head(args, args.n - 9));
	if (address_parse(&s->t.arena, args, ADDRESS_UTF8, &address) != ADDRESS_OK)
		return bad(s, "501 5.1.3 Bad recipient address syntax");
	if (set_rcpt(s, address) != CMD_OK)
		return CMD_BAD;
	return restricted_run(s, vrfy_restricted);
}
