/*
 * greeting.c - from the accepted connection to the 220.
 *
 * In Postfix's order: the client's name, "connect from", the limits, the client restrictions (when
 * smtpd_delay_reject = no), the banner. Loopback has a name without asking anybody, so that the
 * first 220 after a start never waits for a resolver.
 */
#include <errno.h>
#include "internal.h"

static bool
is_loopback(const char *address)
{
	return str_starts(str_of(address), STR("127.")) || strcmp(address, "::1") == 0;
}

static enum cmd_result
restricted(struct smtpd_session *s, enum verdict v)
{
	if (v == VERDICT_REJECT) {
		s->denied = arena_strdup(&s->arena, s->run.reply);
		smtpd_reply(s, "%s", s->denied);
		s->errors++;
		return s->run.is_disconnect ? CMD_CLOSE : CMD_OK;
	}
	stream_write(s->stream, str_of(s->setup->greeting));
	s->is_unflushed = true;
	return CMD_OK;
}

/* As `next` of restrict_run: the answer goes to the session here, since no command waits for it. */
static enum cmd_result
restricted_next(struct smtpd_session *s, enum verdict v)
{
	enum cmd_result r = restricted(s, v);

	s->is_hold = s->t.is_hold;
	s->is_discard = s->t.is_discard;
	s->t.is_hold = s->t.is_discard = false;
	smtpd_session_greeted(s, r);
	return CMD_WAIT;
}

/* A client that talks before it was greeted does not speak SMTP. */
static bool
is_early(struct smtpd_session *s)
{
	struct str in = stream_in(s->stream);

	if (in.n == 0)
		return false;
	log_info("smtpd", "improper command pipelining after CONNECT from %s: %.*s", s->client,
	    (int)(in.n < 100 ? in.n : 100), in.p);
	s->is_improper = true;
	return s->setup->p->smtpd_forbid_unauth_pipelining;
}

void
smtpd_greeting_counted(struct smtpd_session *s, const char *refusal)
{
	static const uint8_t stages[] = {STAGE_CLIENT};

	if (refusal) {
		smtpd_reply(s, "%s", refusal);
		smtpd_session_greeted(s, CMD_CLOSE);
	} else if (is_early(s)) {
		smtpd_reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
		smtpd_session_greeted(s, CMD_CLOSE);
	} else {
		restrict_run(s, stages, s->setup->p->smtpd_delay_reject ? 0 : 1, restricted_next);
	}
}

static void
named(struct smtpd_session *s, const char *name, const char *reverse)
{
	const struct params *p = s->setup->p;
	struct str address = str_of(s->address);

	s->name = arena_strdup(&s->arena, name);
	s->reverse = arena_strdup(&s->arena, reverse);
	s->client = arena_printf(&s->arena, "%s[%s]", s->name, s->address);
	s->is_mynetworks = netlist_match_text(s->setup->mynetworks, address);
	s->is_announced = true;
	log_info("smtpd", "connect from %s", s->client);
	if (s->server->counts &&
	    (p->smtpd_client_connection_count_limit > 0 ||
		p->smtpd_client_connection_rate_limit > 0) &&
	    !netlist_match_text(s->setup->exceptions, address))
		smtpd_counts_enter(s);
	else
		smtpd_greeting_counted(s, NULL);
}

static void
name_found(void *ctx, const struct resolver_answer *a)
{
	struct smtpd_session *s = ctx;
	const char *name = a->name ? a->name : "unknown";
	const char *reverse = a->reverse ? a->reverse : "unknown";

	s->query = NULL;
	smtpd_session_told(s);
	if (strcmp(name, "unknown") == 0 && strcmp(reverse, "unknown") != 0)
		log_warn(
		    "smtpd", "hostname %s does not resolve to address %s", reverse, s->address);
	named(s, name, reverse);
}

void
smtpd_greeting_start(struct smtpd_session *s)
{
	const struct stream_peer *peer = stream_peer(s->stream);

	/* A UNIX socket has no address: whoever reaches it is on this machine. */
	s->address = peer->family == AF_UNIX ? "127.0.0.1" : peer->address;
	s->address = arena_strdup(&s->arena, s->address);
	if (s->setup->p->smtpd_peername_lookup && is_loopback(s->address)) {
		named(s, "localhost", "localhost");
	} else if (s->setup->p->smtpd_peername_lookup && s->server->resolver) {
		smtpd_session_ask(s, ASK_NAME);
		s->query = resolver_find_name(s->server->resolver, s->address, name_found, s);
	} else {
		named(s, "unknown", "unknown");
	}
}
