/*
 * One connection to a server: how it is set up, how replies reach the code that waits for them,
 * how it ends. TLS and AUTH have files of their own, a message's commands are in transaction.c.
 *
 * The states are declared. Whoever sends a command sets the time for its answer; a reply is handed
 * to the part that owns the state. A session that fails while it is set up tells its job and goes,
 * so that the job is free to try the next address from inside that call.
 */
#include <errno.h>
#include "internal.h"
#include "pp/base/sm.h"
#include "pp/runtime/log.h"

enum {
	CONNECT_MS_MAX = 600000,
	NONSENSE_MS_MAX = 5000, /* who has begun to talk, if only nonsense, goes on soon */
};
enum { LINGER_RSET = SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD) };

static const struct sm_state states[] = {
    [SMTP_CONNECT] = {"connect", SM_TO(SMTP_GREETING) | SM_TO(SMTP_TLS) | SM_TO(SMTP_DEAD)},
    [SMTP_GREETING] = {"greeting",
	SM_TO(SMTP_EHLO) | SM_TO(SMTP_HELO) | SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_EHLO] = {"ehlo", SM_TO(SMTP_HELO) | SM_TO(SMTP_STARTTLS) | SM_TO(SMTP_AUTH) |
			       SM_TO(SMTP_READY) | SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_HELO] = {"helo", SM_TO(SMTP_READY) | SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_STARTTLS] = {"starttls", SM_TO(SMTP_TLS) | SM_TO(SMTP_AUTH) | SM_TO(SMTP_READY) |
				       SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_TLS] = {"tls",
	SM_TO(SMTP_GREETING) | SM_TO(SMTP_EHLO) | SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_AUTH] = {"auth", SM_TO(SMTP_READY) | SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_READY] = {"ready",
	SM_TO(SMTP_MAIL) | SM_TO(SMTP_RSET) | SM_TO(SMTP_QUIT) | SM_TO(SMTP_DEAD)},
    [SMTP_MAIL] = {"mail",
	SM_TO(SMTP_BODY) | SM_TO(SMTP_DOT) | SM_TO(SMTP_READY) | SM_TO(SMTP_DEAD)},
    [SMTP_BODY] = {"body", SM_TO(SMTP_DOT) | SM_TO(SMTP_DEAD)},
    [SMTP_DOT] = {"dot", SM_TO(SMTP_READY) | SM_TO(SMTP_DEAD)},
    [SMTP_RSET] = {"rset", SM_TO(SMTP_READY) | LINGER_RSET},
    [SMTP_QUIT] = {"quit", SM_TO(SMTP_DEAD)},
    [SMTP_DEAD] = {"dead", 0},
};

void
smtp_session_move(struct smtp_session *ss, enum smtp_state to)
{
	sm_move(states, &ss->state, to);
}

/* Sessions that end by themselves are listed, so that the agent can close them when it goes. */
static void
list_ending(struct smtp_session *ss)
{
	ss->is_listed = true;
	ss->prev = NULL;
	ss->next = ss->smtp->ending;
	if (ss->next)
		ss->next->prev = ss;
	ss->smtp->ending = ss;
}

static void
unlist_ending(struct smtp_session *ss)
{
	if (!ss->is_listed)
		return;
	ss->is_listed = false;
	if (ss->prev)
		ss->prev->next = ss->next;
	else
		ss->smtp->ending = ss->next;
	if (ss->next)
		ss->next->prev = ss->prev;
}

static void
session_free(struct smtp_session *ss)
{
	reply_fini(&ss->reply);
	buf_fini(&ss->line);
	buf_fini(&ss->asked);
	smtp_setup_unref(ss->setup);
	arena_fini(&ss->arena);
	mem_free(ss);
}

void
smtp_session_enter(struct smtp_session *ss)
{
	ss->depth++;
}

void
smtp_session_leave(struct smtp_session *ss)
{
	if (--ss->depth == 0 && ss->state == SMTP_DEAD && !ss->is_asking && !ss->is_filtering)
		session_free(ss);
}

/* The TLS session is fetched at the end: with TLS 1.3 tickets come late. */
static void
remember_tls(struct smtp_session *ss)
{
	struct tls_session *ts;

	if (!ss->stream || !stream_tls(ss->stream) || ss->uses == 0)
		return;
	ts = stream_tls_session(ss->stream);
	if (ts)
		smtp_tls_remember(ss->smtp, smtp_session_tls_key(ss), ts);
}

static void
bury(struct smtp_session *ss)
{
	smtp_session_enter(ss);
	smtp_session_move(ss, SMTP_DEAD);
	smtp_cache_drop(ss);
	unlist_ending(ss);
	timer_stop(&ss->idle);
	ss->job = NULL;
	if (ss->connecting)
		stream_connect_cancel(ss->connecting);
	ss->connecting = NULL;
	ss->stream = NULL;
	sasl_exchange_free(ss->sasl);
	ss->sasl = NULL;
	if (ss->o.tls)
		tls_context_unref(ss->o.tls);
	ss->o.tls = NULL;
	if (ss->o.password)
		explicit_bzero((char *)(uintptr_t)ss->o.password, strlen(ss->o.password));
	smtp_session_leave(ss);
}

void
smtp_session_close(struct smtp_session *ss)
{
	if (ss->stream)
		stream_abort(ss->stream);
	bury(ss);
}

void
smtp_session_quit(struct smtp_session *ss)
{
	struct stream *st = ss->stream;

	ss->job = NULL;
	if (!st) {
		smtp_session_close(ss);
		return;
	}
	remember_tls(ss);
	smtp_cache_drop(ss);
	timer_stop(&ss->idle);
	if (ss->o.svc->p->smtp_skip_quit_response) {
		stream_write(st, STR("QUIT\r\n"));
		stream_flush(st);
		stream_close(st);
		bury(ss);
		return;
	}
	smtp_session_move(ss, SMTP_QUIT);
	if (!ss->is_listed)
		list_ending(ss);
	smtp_session_command(ss, ss->o.svc->p->smtp_quit_timeout, "QUIT");
}

void
smtp_session_command(struct smtp_session *ss, int64_t timeout_ms, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(stream_out(ss->stream), fmt, ap);
	va_end(ap);
	stream_write(ss->stream, STR("\r\n"));
	smtp_session_expect(ss, timeout_ms);
	stream_flush(ss->stream);
}

static enum delivery_cause
cause_of(const struct smtp_session *ss, const struct status *st)
{
	switch ((enum smtp_state)ss->state) {
	case SMTP_CONNECT:
		return ss->is_own ? CAUSE_OWN : CAUSE_CONNECT;
	case SMTP_STARTTLS:
	case SMTP_TLS:
		return smtp_cause_of(st, CAUSE_TLS);
	case SMTP_AUTH: /* RFC 4954 6: 535 and its kin are for good, 454 may pass */
		return st->smtp / 100 == 4 ? smtp_cause_of(st, CAUSE_AUTH) : CAUSE_AUTH;
	default:
		break;
	}
	/* What TLS lacks before it begins is said by us: 4.7.4. */
	return smtp_cause_of(st, st->smtp == 0 && st->subject == 7 ? CAUSE_TLS : CAUSE_SESSION);
}

void
smtp_session_fail(struct smtp_session *ss, const struct status *st, bool polite, bool plain)
{
	struct smtp_job *j = ss->job;
	struct status copy = status_copy(&j->arena, st);
	bool is_connect = ss->state == SMTP_CONNECT;

	j->cause = cause_of(ss, st);
	smtp_session_enter(ss);
	ss->job = NULL;
	smtp_race_leave(j, ss);
	if (polite)
		smtp_session_quit(ss);
	else
		smtp_session_close(ss);
	smtp_job_session_failed(
	    j, &copy, is_connect ? SMTP_TROUBLE_CONNECT : SMTP_TROUBLE_SESSION, plain);
	smtp_session_leave(ss);
}

static const char *
phase(const struct smtp_session *ss)
{
	switch ((enum smtp_state)ss->state) {
	case SMTP_GREETING:
		return smtp_phase_greeting;
	case SMTP_HELO:
		return smtp_phase_helo;
	case SMTP_STARTTLS:
		return smtp_phase_starttls;
	default: /* AUTH too, as Postfix has it */
		return ss->o.svc->is_lmtp ? smtp_phase_lhlo : smtp_phase_ehlo;
	}
}

static void
greeting_replied(struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;
	const char *text = reply_text(&ss->arena, &ss->reply);

	if (reply_class(&ss->reply) != 2) {
		struct status st =
		    smtp_error_refused(&ss->arena, ss->peer, &ss->reply, p->smtp_skip_5xx_greeting);

		smtp_session_fail(ss, &st, true, false);
		return;
	}
	if (ss->o.svc->is_lmtp || p->smtp_always_send_ehlo || p->smtp_never_send_ehlo ||
	    strstr(text, "ESMTP"))
		smtp_session_ehlo(ss);
	else
		smtp_session_helo(ss);
}

void
smtp_session_set_up(struct smtp_session *ss)
{
	bool has_tls = stream_tls(ss->stream) != NULL;

	/* Words behind the answer to EHLO answer commands that somebody else sent (CVE-2009-3555).
	 */
	if (has_tls && ss->o.svc->p->smtp_tls_block_early_mail_reply &&
	    stream_in(ss->stream).n > 0) {
		struct status st = smtp_error_early(&ss->arena, ss->peer);

		smtp_session_fail(ss, &st, false, false);
		return;
	}
	if (!has_tls && ss->o.policy.level != TLS_NONE) {
		if (ss->o.tls && (ss->ehlo.ext & ESMTP_STARTTLS)) {
			smtp_session_move(ss, SMTP_STARTTLS);
			smtp_session_command(ss, ss->o.svc->p->smtp_starttls_timeout, "STARTTLS");
			return;
		}
		if (ss->o.policy.level >= TLS_ENCRYPT) {
			struct status st = smtp_error_tls_not_offered(&ss->arena, ss->peer);

			smtp_session_fail(ss, &st, true, false);
			return;
		}
	}
	smtp_session_auth(ss);
}

/* Between transactions, or on its way out. */
static void
ending_replied(struct smtp_session *ss)
{
	if (ss->state == SMTP_RSET && ss->reply.state == REPLY_DONE &&
	    reply_class(&ss->reply) == 2) {
		smtp_session_move(ss, SMTP_READY);
		unlist_ending(ss);
		if (!smtp_cache_put(ss))
			smtp_session_quit(ss);
		return;
	}
	smtp_session_close(ss); /* the answer to QUIT, or words nobody asked for */
}

static void
replied(struct smtp_session *ss)
{
	if (ss->reply.code == 421)
		ss->is_broken = true;
	if (ss->reply.state == REPLY_BAD && ss->state <= SMTP_AUTH) {
		struct status st = smtp_error_refused(&ss->arena, ss->peer, &ss->reply, true);

		smtp_session_fail(ss, &st, false, false);
		return;
	}
	switch ((enum smtp_state)ss->state) {
	case SMTP_GREETING:
		greeting_replied(ss);
		break;
	case SMTP_EHLO:
		smtp_session_ehlo_replied(ss);
		break;
	case SMTP_HELO:
		smtp_session_helo_replied(ss);
		break;
	case SMTP_STARTTLS:
		smtp_session_starttls_replied(ss);
		break;
	case SMTP_AUTH:
		smtp_session_auth_replied(ss);
		break;
	case SMTP_MAIL:
	case SMTP_DOT:
		smtp_transaction_replied(ss->job);
		break;
	default:
		ending_replied(ss);
		break;
	}
}

/* Lines that are no reply. One that stands for itself may yet be followed by the reply, as Postfix
 * has it. Among replies to several commands nobody knows whether it took the place of one, and a
 * recipient could get the answer of another: there it ends the session. */
static void
hear_nonsense(struct smtp_session *ss)
{
	int64_t wait = NONSENSE_MS_MAX;

	if (!ss->is_nonsense)
		log_warn(ss->o.svc->program, "%s%snon-ESMTP response from %s: %s",
		    ss->job ? ss->job->d->queue_id : "", ss->job ? ": " : "", ss->address,
		    reply_text(&ss->arena, &ss->reply));
	if (!ss->is_nonsense && ss->timeout > 0)
		smtp_session_deadline(ss, ss->timeout < wait ? ss->timeout : wait);
	ss->is_nonsense = true;
	if ((ss->state == SMTP_MAIL || ss->state == SMTP_DOT) && smtp_transaction_due(ss->job) > 1)
		ss->reply.state = REPLY_BAD;
}

static struct str
first_line(struct str in)
{
	size_t lf = str_index(in, '\n');

	return str_head(in, lf < in.n ? lf + 1 : lf);
}

/* Nothing came behind nonsense: it was the reply. */
static bool
end_nonsense(struct smtp_session *ss)
{
	if (!ss->reply.odd || ss->reply.code || ss->state == SMTP_BODY || ss->state == SMTP_DEAD)
		return false;
	ss->reply.state = REPLY_BAD;
	replied(ss);
	return true;
}

/* Replies that are complete are handed out. While the body is sent, what the server says waits:
 * it is the answer to the dot. Line by line: nonsense in one piece with the next reply is nonsense
 * still. */
void
smtp_session_read(struct smtp_session *ss)
{
	bool is_filtered = ss->o.svc->reply_filter != NULL;

	while (ss->state != SMTP_DEAD && ss->state != SMTP_BODY && ss->state != SMTP_TLS) {
		struct str in = is_filtered ? smtp_session_filter(ss) : stream_in(ss->stream);
		enum reply_state rs;
		size_t used;

		if (in.n == 0)
			return;
		rs = reply_feed(&ss->reply, first_line(in), &used);
		if (is_filtered)
			buf_consume(&ss->line, used);
		else
			stream_consume(ss->stream, used);
		if (ss->reply.odd && ss->reply.code == 0)
			hear_nonsense(ss);
		if (rs == REPLY_MORE && ss->reply.state == REPLY_MORE)
			continue;
		replied(ss);
		if (ss->state != SMTP_DEAD)
			reply_clear(&ss->reply);
		ss->is_nonsense = false;
	}
}

static void
on_readable(void *ctx)
{
	struct smtp_session *ss = ctx;

	smtp_session_enter(ss);
	if (ss->state == SMTP_BODY)
		smtp_transaction_spoken(ss->job);
	else
		smtp_session_read(ss);
	smtp_session_leave(ss);
}

static void
on_drained(void *ctx)
{
	struct smtp_session *ss = ctx;

	smtp_session_enter(ss);
	if (ss->job && (ss->state == SMTP_MAIL || ss->state == SMTP_BODY))
		smtp_transaction_drained(ss->job);
	smtp_session_leave(ss);
}

static void
on_closed(void *ctx, int err)
{
	struct smtp_session *ss = ctx;

	smtp_session_enter(ss);
	smtp_session_read(ss);
	if (ss->state == SMTP_DEAD || end_nonsense(ss))
		goto out;
	if (!ss->job) {
		smtp_session_close(ss);
	} else if (ss->state >= SMTP_MAIL) {
		smtp_transaction_lost(ss->job, err);
	} else {
		struct status st = smtp_error_lost(&ss->arena, ss->peer, phase(ss), err);

		smtp_session_fail(ss, &st, false, false);
	}
out:
	smtp_session_leave(ss);
}

static const struct stream_ops ops = {on_readable, on_drained, on_closed};

static const char *
bind_parameter(const struct smtp_session *ss)
{
	return ss->o.target->sa.ss_family == AF_INET6 ? "smtp_bind_address6" : "smtp_bind_address";
}

static const char *
bind_text(const struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;

	return ss->o.target->sa.ss_family == AF_INET6 ? p->smtp_bind_address6
						      : p->smtp_bind_address;
}

/* What every other connection would fail for just as well. An address that could not be had is none
 * of it: those of the other family, or from another host, may go on. */
static bool
is_shortage(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

static void
fail_to_bind(struct smtp_session *ss)
{
	struct status st =
	    smtp_error_bind(&ss->arena, bind_parameter(ss), bind_text(ss), ss->bind_error);

	ss->is_own = is_shortage(ss->bind_error);
	smtp_session_fail(ss, &st, false, false);
}

static void
on_connected(void *ctx, int err, struct stream *st)
{
	struct smtp_session *ss = ctx;

	ss->connecting = NULL;
	if (ss->bind_error < 0) {
		fail_to_bind(ss);
		return;
	}
	if (err < 0) {
		struct status failed = smtp_error_connect(&ss->arena, ss->address, err);

		ss->is_own = is_shortage(err);
		smtp_session_fail(ss, &failed, false, false);
		return;
	}
	ss->stream = st;
	stream_set_ops(st, &ops, ss);
	stream_resume(st);
	smtp_race_won(ss->job, ss);
	smtp_session_begin(ss);
	smtp_job_connected(ss->job);
	if (ss->o.implicit_tls) {
		smtp_session_tls_begin(ss);
		return;
	}
	smtp_session_move(ss, SMTP_GREETING);
	smtp_session_expect(ss, ss->o.svc->p->smtp_helo_timeout);
}

static void
copy_options(struct smtp_session *ss, const struct smtp_session_options *o)
{
	struct smtp_hop *hop = ARENA_NEW(&ss->arena, struct smtp_hop);
	struct smtp_target *target = ARENA_NEW(&ss->arena, struct smtp_target);

	ss->o = *o;
	*hop = *o->hop;
	hop->text = arena_strdup(&ss->arena, o->hop->text);
	hop->host = arena_strdup(&ss->arena, o->hop->host);
	hop->parts = (struct nexthop){0}; /* of no use any more */
	hop->srv = NULL;
	*target = *o->target;
	target->host = arena_strdup(&ss->arena, o->target->host);
	ss->o.hop = hop;
	ss->o.target = target;
	ss->o.identity = arena_strdup(&ss->arena, o->identity);
	if (o->user) {
		ss->o.user = arena_strdup(&ss->arena, o->user);
		ss->o.password = arena_strdup(&ss->arena, o->password);
	}
	smtp_policy_copy(&ss->arena, &ss->o.policy);
	if (o->tls)
		tls_context_ref(o->tls);
}

struct smtp_session *
smtp_session_new(struct smtp *s, struct smtp_job *job, const struct smtp_session_options *o)
{
	struct smtp_session *ss = MEM_NEW(struct smtp_session);
	const struct sockaddr_storage *local;
	const struct sockaddr *to, *from = NULL;
	int64_t timeout = o->svc->p->smtp_connect_timeout;

	ss->smtp = s;
	ss->setup = job->setup;
	smtp_setup_ref(ss->setup);
	ss->job = job;
	ss->created = loop_now(s->loop);
	reply_init(&ss->reply);
	buf_init(&ss->line, MAP_VALUE_MAX + 8);
	buf_init(&ss->asked, REPLY_LINE_MAX);
	copy_options(ss, o);
	ss->peer.host = ss->o.target->host;
	ss->peer.name = arena_printf(&ss->arena, "%s[%s]", ss->o.target->host, ss->o.target->text);
	ss->address = ss->o.hop->is_unix
			  ? ss->peer.name
			  : arena_printf(&ss->arena, "%s:%u", ss->peer.name, ss->o.target->port);
	if (timeout == 0) /* the kernel's, about two minutes */
		timeout = CONNECT_MS_MAX;
	to = (const struct sockaddr *)(const void *)&ss->o.target->sa;
	local = o->target->sa.ss_family == AF_INET6 ? &o->svc->bind6 : &o->svc->bind4;
	if (!ss->o.hop->is_unix && local->ss_family != AF_UNSPEC)
		from = (const struct sockaddr *)(const void *)local;
	ss->connecting = stream_connect(s->loop, to, from, timeout, on_connected, ss);
	ss->bind_error = stream_connect_bind_error(ss->connecting);
	if (ss->bind_error < 0 && !o->svc->p->smtp_bind_address_enforce) {
		log_warn(o->svc->program, "smtp_connect_addr: bind %s: %s", bind_text(ss),
		    strerrordesc_np(-ss->bind_error));
		ss->bind_error = 0;
		stream_connect_cancel(ss->connecting);
		ss->connecting = stream_connect(s->loop, to, NULL, timeout, on_connected, ss);
	}
	return ss;
}

void
smtp_session_release(struct smtp_session *ss, bool is_dirty)
{
	ss->job = NULL;
	if (ss->state != SMTP_READY)
		smtp_session_move(ss, SMTP_READY);
	remember_tls(ss);
	if (ss->is_broken) {
		smtp_session_quit(ss);
	} else if (is_dirty) {
		smtp_session_move(ss, SMTP_RSET);
		list_ending(ss);
		smtp_session_command(ss, ss->o.svc->p->smtp_rset_timeout, "RSET");
	} else if (!smtp_cache_put(ss)) {
		smtp_session_quit(ss);
	}
}
