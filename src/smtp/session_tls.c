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
	if (ss->o.policy.level < TLS_ENCRYPT && !ss->is_broken) {
		smtp_session_auth(ss);
		return;
	}
	struct status st = smtp_error_tls_refused(&ss->arena, ss->peer, &ss->reply);

	smtp_session_fail(ss, &st, !ss->is_broken, false);
}

/* OpenSSL's words do not tell what is to be changed. */
static const char *
version_reason(struct smtp_session *ss, const char *why)
{
	const struct smtp_policy *po = &ss->o.policy;
	const struct params *p = ss->o.svc->p;
	bool is_mandatory = po->level > TLS_MAY;

	if (po->protocols)
		return arena_printf(&ss->arena,
		    "%s: the server has none of the versions that the TLS policy asks for: "
		    "protocols=%s",
		    why, po->protocols);
	return arena_printf(&ss->arena,
	    "%s: the server has none of the versions that %s asks for: %s", why,
	    is_mandatory ? "smtp_tls_mandatory_protocols" : "smtp_tls_protocols",
	    is_mandatory ? p->smtp_tls_mandatory_protocols : p->smtp_tls_protocols);
}

static void
handshake_failed(struct smtp_session *ss, int err)
{
	const char *why = err == -ETIMEDOUT ? "Connection timed out" : stream_tls_error(ss->stream);
	struct status st;

	if (stream_tls_error_is_version(ss->stream))
		why = version_reason(ss, why);
	st = smtp_error_tls_handshake(&ss->arena, why);

	log_info(ss->o.svc->program, "SSL_connect error to %s: %s", ss->address,
	    *why ? why : "lost connection");
	smtp_session_fail(ss, &st, false, ss->o.policy.level == TLS_MAY);
}

/* Postfix's words: where a proof is asked for, half of one is none. */
static void
log_established(const struct smtp_session *ss)
{
	const struct tls_info *ti = stream_tls(ss->stream);
	const char *word = "Untrusted";

	if (ss->is_verified && !ss->o.policy.is_half_dane)
		word = "Verified";
	else if (!ti->peer_present)
		word = "Anonymous";
	else if (ss->is_verified || (ti->peer_trusted && ss->o.policy.level < TLS_FINGERPRINT))
		word = "Trusted";
	if (ss->o.svc->p->smtp_tls_loglevel >= 1)
		log_info(ss->o.svc->program,
		    "%s TLS connection established to %s: %s with cipher %s (%d/%d bits)%s", word,
		    ss->address, ti->protocol, ti->cipher, ti->bits_used, ti->bits_all,
		    ti->details);
}

static bool
check_fingerprint(struct smtp_session *ss, struct status *ret)
{
	const struct params *p = ss->o.svc->p;
	struct buf seen;
	bool ok;

	buf_init(&seen, 256);
	ok = tls_peer_has_fingerprint(stream_tls(ss->stream), p->smtp_tls_fingerprint_digest,
	    smtp_policy_match(&ss->o.policy, p), &seen);
	if (!ok) {
		*ret = smtp_error_fingerprint(&ss->arena, buf_cstr(&seen));
		log_info(ss->o.svc->program,
		    "server certificate verification failed for %s: no matching fingerprint",
		    ss->address);
	}
	buf_fini(&seen);
	return ok;
}

static bool
check_trust(struct smtp_session *ss, struct status *ret)
{
	const struct tls_info *ti = stream_tls(ss->stream);
	const char *why = ti->trust_error;

	if (ti->peer_trusted)
		return true;
	if (!*why)
		why = ti->peer_present ? "unknown reason" : "no certificate was shown";
	*ret = smtp_error_untrusted(&ss->arena, why);
	if (strstr(why, "issuer certificate") && *ti->issuer)
		log_info(ss->o.svc->program,
		    "certificate verification failed for %s: untrusted issuer %s", ss->address,
		    ti->issuer);
	else
		log_info(ss->o.svc->program, "server certificate verification failed for %s: %s%s",
		    ss->address, strstr(why, "DANE") ? "num=65:" : "", why);
	return false;
}

static bool
check_name(struct smtp_session *ss, struct status *ret)
{
	const struct params *p = ss->o.svc->p;
	const char *names[NAMES_MAX + 1];
	struct buf seen;
	size_t n;
	bool ok;

	n = smtp_target_names(&ss->arena, smtp_policy_match(&ss->o.policy, p), ss->o.target->host,
	    ss->o.hop->host, names, NAMES_MAX);
	if (ss->o.policy.tlsa)
		names[n++] = ss->o.policy.tlsa_base;
	buf_init(&seen, 512);
	ok = tls_peer_matches(
	    stream_tls(ss->stream), names, n, p->tls_wildcard_matches_multiple_labels, &seen);
	if (!ok) {
		*ret = smtp_error_wrong_name(&ss->arena, names, n, buf_cstr(&seen));
		log_info(ss->o.svc->program,
		    "server certificate verification failed for %s: num=62:hostname mismatch",
		    ss->address);
	}
	buf_fini(&seen);
	return ok;
}

/* Is the server who it should be? False: *ret says why not. */
static bool
check_peer(struct smtp_session *ss, struct status *ret)
{
	if (ss->o.policy.level == TLS_FINGERPRINT)
		return check_fingerprint(ss, ret);
	if (ss->o.policy.level == TLS_DANE && !stream_tls(ss->stream)->by_name)
		return check_trust(ss, ret);
	return check_trust(ss, ret) && check_name(ss, ret);
}

static void
on_tls(void *ctx, int err)
{
	struct smtp_session *ss = ctx;
	bool must_match = ss->o.policy.level >= TLS_FINGERPRINT;
	struct status st;

	if (err < 0) {
		handshake_failed(ss, err);
		return;
	}
	ss->is_verified = must_match && check_peer(ss, &st);
	log_established(ss);
	if (must_match && !ss->is_verified) {
		smtp_session_fail(ss, &st, true, false);
		return;
	}
	if (!ss->o.implicit_tls) {
		smtp_session_ehlo(ss);
		return;
	}
	smtp_session_move(ss, SMTP_GREETING);
	smtp_session_deadline(ss, ss->o.svc->p->smtp_helo_timeout);
}

const char *
smtp_session_tls_key(struct smtp_session *ss)
{
	return arena_printf(&ss->arena, "%s %s %s", ss->o.svc->name, ss->address,
	    smtp_policy_key(&ss->arena, &ss->o.policy));
}

void
smtp_session_tls_begin(struct smtp_session *ss)
{
	const struct smtp_policy *po = &ss->o.policy;
	const char *wanted = po->servername ? po->servername : ss->o.svc->p->smtp_tls_servername;
	struct tls_client client = {.name = ss->o.target->host,
	    .protocols = po->protocols,
	    .ciphers = po->ciphers,
	    .exclude = po->exclude,
	    .tlsa = po->tlsa,
	    .tlsa_count = po->tlsa_count,
	    .resume = smtp_tls_resume(ss->smtp, smtp_session_tls_key(ss))};

	/* Unlike Postfix the host name is sent unless something else is asked for: large providers
	 * show a real certificate only to clients that say whom they want. */
	if (str_eq(str_of(wanted), STR("nexthop")))
		client.name = ss->o.hop->host;
	else if (*wanted && !str_eq(str_of(wanted), STR("hostname")))
		client.name = wanted;
	if (po->tlsa)
		client.name = po->tlsa_base; /* RFC 7672 8.1 */
	if (!resolver_name_valid(str_of(client.name)))
		client.name = NULL; /* RFC 6066 3: no address literals */

	smtp_session_move(ss, SMTP_TLS);
	smtp_session_deadline(ss, ss->o.svc->p->smtp_starttls_timeout);
	stream_start_tls(ss->stream, ss->o.tls, &client, on_tls, ss);
}
