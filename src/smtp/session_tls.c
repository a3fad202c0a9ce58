/*
 * STARTTLS, implicit TLS, and the question whether the server is who it should be.
 *
 * Nothing is sent inside TLS before the level's demands are met: no MAIL, no AUTH. A level that
 * cannot be met always defers, for it is a setting on one side or the other that must change, and
 * the text says which check failed.
 */
#include <errno.h>
#include "internal.h"
#include "pp/runtime/log.h"

enum { NAMES_MAX = 32 };

/* RFC 3207 4.1; at level may the session goes on in clear. */
void
smtp_session_starttls_replied(struct smtp_session *ss)
{
	if (reply_class(&ss->reply) == 2) {
		smtp_session_tls_begin(ss);
		return;
	}
	if (ss->o.level < TLS_ENCRYPT && !ss->is_broken) {
		smtp_session_auth(ss);
		return;
	}
	struct status st = smtp_error_tls_refused(&ss->arena, ss->peer, &ss->reply);

	smtp_session_fail(ss, &st, !ss->is_broken, false);
}

static void
handshake_failed(struct smtp_session *ss, int err)
{
	const char *why = err == -ETIMEDOUT ? "Connection timed out" : stream_tls_error(ss->stream);
	struct status st = smtp_error_tls_handshake(&ss->arena, why);

	log_info(ss->o.svc->program, "SSL_connect error to %s: %s", ss->address,
	    *why ? why : "lost connection");
	smtp_session_fail(ss, &st, false, ss->o.level == TLS_MAY);
}

static void
log_established(const struct smtp_session *ss)
{
	const struct tls_info *ti = stream_tls(ss->stream);
	const char *word = ss->is_verified    ? "Verified"
			   : ti->peer_trusted ? "Trusted"
			   : ti->peer_present ? "Untrusted"
					      : "Anonymous";

	if (ss->o.svc->p->smtp_tls_loglevel >= 1)
		log_info(ss->o.svc->program,
		    "%s TLS connection established to %s: %s with cipher %s (%d/%d bits)%s", word,
		    ss->address, ti->protocol, ti->cipher, ti->bits_used, ti->bits_all,
		    ti->details);
}

/* Levels verify and secure. False: *ret says why not. */
static bool
check_peer(struct smtp_session *ss, struct status *ret)
{
	const struct tls_info *ti = stream_tls(ss->stream);
	const struct params *p = ss->o.svc->p;
	const char *words = ss->o.level == TLS_SECURE ? p->smtp_tls_secure_cert_match
						      : p->smtp_tls_verify_cert_match;
	const char *names[NAMES_MAX];
	struct buf seen;
	size_t n;
	bool ok;

	if (!ti->peer_trusted) {
		const char *why = ti->trust_error;

		if (!*why)
			why = ti->peer_present ? "unknown reason" : "no certificate was shown";
		*ret = smtp_error_untrusted(&ss->arena, why);
		log_info(ss->o.svc->program, "server certificate verification failed for %s: %s",
		    ss->address, why);
		return false;
	}
	n = smtp_target_names(
	    &ss->arena, words, ss->o.target->host, ss->o.hop->host, names, NAMES_MAX);
	buf_init(&seen, 512);
	ok = tls_peer_matches(ti, names, n, &seen);
	if (!ok) {
		*ret = smtp_error_wrong_name(&ss->arena, names, n, buf_cstr(&seen));
		log_info(ss->o.svc->program,
		    "server certificate verification failed for %s: hostname mismatch",
		    ss->address);
	}
	buf_fini(&seen);
	return ok;
}

static void
on_tls(void *ctx, int err)
{
	struct smtp_session *ss = ctx;
	struct status st;

	if (err < 0) {
		handshake_failed(ss, err);
		return;
	}
	ss->is_verified = ss->o.level >= TLS_VERIFY && check_peer(ss, &st);
	log_established(ss);
	if (ss->o.level >= TLS_VERIFY && !ss->is_verified) {
		smtp_session_fail(ss, &st, true, false);
		return;
	}
	if (!ss->o.implicit_tls) {
		smtp_session_ehlo(ss);
		return;
	}
	smtp_session_move(ss, SMTP_GREETING);
	stream_deadline(ss->stream, ss->o.svc->p->smtp_helo_timeout);
}

void
smtp_session_tls_begin(struct smtp_session *ss)
{
	const char *wanted = ss->o.svc->p->smtp_tls_servername;
	const char *sni = ss->o.target->host;

	/* Unlike Postfix the host name is sent unless something else is asked for: large providers
	 * show a real certificate only to clients that say whom they want. */
	if (str_eq(str_of(wanted), STR("nexthop")))
		sni = ss->o.hop->host;
	else if (*wanted && !str_eq(str_of(wanted), STR("hostname")))
		sni = wanted;
	if (str_eq(str_of(sni), str_of(ss->o.target->text)))
		sni = NULL; /* RFC 6066 3: no address literals */

	smtp_session_move(ss, SMTP_TLS);
	stream_deadline(ss->stream, ss->o.svc->p->smtp_starttls_timeout);
	stream_start_tls(ss->stream, ss->o.tls, sni,
	    smtp_tls_resume(
		ss->smtp, arena_printf(&ss->arena, "%s %s", ss->o.svc->name, ss->address)),
	    on_tls, ss);
}
