/*
 * EHLO, HELO, and what is made of the answers: which extensions a server has for us.
 *
 * What a table says of the server is asked with the answer at hand, so that a server which never
 * gets that far costs no look-up; it is not read from meanwhile.
 */
#include "internal.h"
#include "pp/runtime/log.h"

void
smtp_session_helo(struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;

	smtp_session_move(ss, SMTP_HELO);
	smtp_session_command(ss, p->smtp_helo_timeout, "HELO %s", p->smtp_helo_name);
}

void
smtp_session_ehlo(struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;

	/* Nothing learnt before is kept: after STARTTLS the clear-text answer counts for nothing.
	 */
	ss->ehlo = (struct esmtp_ehlo){.mechs = "", .host = ""};
	if (!ss->o.svc->is_lmtp && p->smtp_never_send_ehlo) {
		smtp_session_helo(ss);
		return;
	}
	smtp_session_move(ss, SMTP_EHLO);
	smtp_session_command(ss, p->smtp_helo_timeout, "%s %s",
	    ss->o.svc->is_lmtp ? "LHLO" : "EHLO", p->smtp_helo_name);
}

/* A server that calls itself by our name, at a port where we listen: the mail would go round. */
static bool
is_myself(const struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;

	return !ss->o.svc->is_lmtp && str_caseeq(str_of(ss->ehlo.host), str_of(p->myhostname)) &&
	       smtp_setup_listens(ss->setup, ss->o.target->port) && !ss->o.hop->has_port;
}

static void read_extensions(struct smtp_session *ss, struct str discard);

static void
on_keywords(struct map_query *q)
{
	struct smtp_session *ss = PP_CONTAINER(q, struct smtp_session, keywords);
	struct str discard = str_of(ss->o.svc->p->smtp_discard_ehlo_keywords);

	smtp_session_enter(ss);
	ss->is_asking = false;
	if (ss->state == SMTP_DEAD) {
		map_query_fini(q);
		smtp_session_leave(ss);
		return;
	}
	stream_resume(ss->stream);
	if (q->result > 0)
		discard = str_of(arena_str(&ss->arena, buf_str(&q->value)));
	else if (q->result < 0)
		log_warn(ss->o.svc->program,
		    "smtp_discard_ehlo_keyword_address_maps lookup error: %s; "
		    "smtp_discard_ehlo_keywords is used for %s",
		    buf_cstr(&q->value), ss->address);
	map_query_fini(q);
	read_extensions(ss, discard);
	smtp_session_leave(ss);
}

/* By the address of the server. It is not read from meanwhile. */
static void
ask_keywords(struct smtp_session *ss)
{
	ss->is_asking = true;
	ss->keywords_key = (struct map_key){.text = str_of(ss->o.target->text)};
	stream_pause(ss->stream);
	stream_deadline(ss->stream, -1);
	map_find(ss->o.svc->ehlo_keywords, ss->smtp->slow, &ss->keywords, &ss->keywords_key, 1,
	    on_keywords);
}

void
smtp_session_ehlo_replied(struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;

	/* RFC 5321 3.2: EHLO that is not understood is followed by HELO; 421 ends the session. */
	if (reply_class(&ss->reply) != 2 && !ss->is_broken && !ss->o.svc->is_lmtp) {
		smtp_session_helo(ss);
		return;
	}
	if (reply_class(&ss->reply) != 2) {
		struct status st = smtp_error_refused(&ss->arena, ss->peer, &ss->reply, false);

		smtp_session_fail(ss, &st, true, false);
		return;
	}
	ss->ehlo_lines = arena_str(&ss->arena, reply_lines(&ss->reply));
	if (ss->o.svc->ehlo_keywords)
		ask_keywords(ss);
	else
		read_extensions(ss, str_of(p->smtp_discard_ehlo_keywords));
}

static void
read_extensions(struct smtp_session *ss, struct str discard)
{
	const struct params *p = ss->o.svc->p;

	esmtp_ehlo_parse(&ss->arena, str_of(ss->ehlo_lines), discard, &ss->ehlo);
	if (is_myself(ss)) {
		struct status st = smtp_error_loop(&ss->arena, ss->o.hop->host);

		log_warn(ss->o.svc->program, "host %s replied to HELO/EHLO with my own hostname %s",
		    ss->address, p->myhostname);
		smtp_session_fail(ss, &st, true, false);
		return;
	}
	smtp_session_set_up(ss);
}

void
smtp_session_helo_replied(struct smtp_session *ss)
{
	if (reply_class(&ss->reply) == 2) {
		smtp_session_set_up(ss);
		return;
	}
	struct status st = smtp_error_refused(&ss->arena, ss->peer, &ss->reply, false);

	smtp_session_fail(ss, &st, true, false);
}
