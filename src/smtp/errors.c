/*
 * The texts. A status made here goes into the log, the defer log and the report as it is.
 *
 * Kept apart from the code that decides, so that the list can be compared with Postfix's as a
 * whole, and so that deciding code reads as decisions.
 */
#include "errors.h"
#include <errno.h>
#include <string.h>

const char *const smtp_phase_greeting = "receiving the initial server greeting";
const char *const smtp_phase_ehlo = "performing the EHLO handshake";
const char *const smtp_phase_lhlo = "performing the LHLO handshake";
const char *const smtp_phase_helo = "performing the HELO handshake";
const char *const smtp_phase_starttls = "receiving the STARTTLS response";
const char *const smtp_phase_mail = "sending MAIL FROM";
const char *const smtp_phase_rcpt = "sending RCPT TO";
const char *const smtp_phase_data = "sending DATA command";
const char *const smtp_phase_body = "sending message body";
const char *const smtp_phase_dot = "sending end of data -- message may be sent more than once";

static const char *
error_words(int err)
{
	const char *words = strerrordesc_np(err < 0 ? -err : err);

	return words ? words : "Unknown error";
}

struct status
smtp_error_bind(struct arena *a, const char *parameter, const char *address, int err)
{
	return status_make(a, STATUS_TEMP, 4, 0, "server configuration error: %s = %s: %s",
	    parameter, address, error_words(err));
}

struct status
smtp_error_connect(struct arena *a, const char *address, int err)
{
	return status_make(a, STATUS_TEMP, 4, 1, "connect to %s: %s", address, error_words(err));
}

struct status
smtp_error_lost(struct arena *a, struct smtp_peer peer, const char *phase, int err)
{
	if (err == -ETIMEDOUT)
		return status_make(a, STATUS_TEMP, 4, 2, "conversation with %s timed out while %s",
		    peer.name, phase);
	return status_make(
	    a, STATUS_TEMP, 4, 2, "lost connection with %s while %s", peer.name, phase);
}

/* The reply's codes under a text of ours. */
static struct status
from_reply(struct arena *a, struct smtp_peer peer, const struct reply *r, const char *text)
{
	struct status st = reply_status(a, r);

	/* RFC 5321 4.2: only 4yz and 5yz say no. Anything else here is a confused server: hopeless
	 * when it follows the grammar, maybe a passing accident when it does not. */
	if (r->state == REPLY_BAD) {
		st.cls = STATUS_TEMP;
		st.subject = 5;
		st.detail = 0;
	} else if (reply_class(r) != 4 && reply_class(r) != 5) {
		st.cls = STATUS_PERM;
		st.subject = 5;
		st.detail = 0;
	}
	st.text = text;
	st.remote = peer.host;
	return st;
}

struct status
smtp_error_refused(struct arena *a, struct smtp_peer peer, const struct reply *r, bool soft)
{
	const char *prefix = r->state == REPLY_BAD ? "Protocol error: " : "";
	struct status st = from_reply(a, peer, r,
	    arena_printf(
		a, "%shost %s refused to talk to me: %s", prefix, peer.name, reply_text(a, r)));

	if (soft && reply_class(r) == 5)
		st.cls = STATUS_TEMP;
	return st;
}

struct status
smtp_error_said(struct arena *a, struct smtp_peer peer, const struct reply *r, const char *command)
{
	bool odd = reply_class(r) == 2 || r->state == REPLY_BAD;

	return from_reply(a, peer, r,
	    arena_printf(a, "%shost %s said: %s (in reply to %s)", odd ? "Protocol error: " : "",
		peer.name, reply_text(a, r), command));
}

struct status
smtp_error_size(struct arena *a, struct smtp_peer peer, int64_t size, int64_t limit)
{
	return status_make(a, STATUS_PERM, 3, 4,
	    "message size %lld exceeds size limit %lld of server %s", (long long)size,
	    (long long)limit, peer.name);
}

struct status
smtp_error_utf8(struct arena *a, struct smtp_peer peer)
{
	return status_make(a, STATUS_PERM, 6, 7,
	    "SMTPUTF8 is required, but was not offered by host %s", peer.name);
}

struct status
smtp_error_loop(struct arena *a, const char *nexthop)
{
	return status_make(a, STATUS_PERM, 4, 6, "mail for %s loops back to myself", nexthop);
}

struct status
smtp_error_tls_not_offered(struct arena *a, struct smtp_peer peer)
{
	return status_make(
	    a, STATUS_TEMP, 7, 4, "TLS is required, but was not offered by host %s", peer.name);
}

struct status
smtp_error_tls_refused(struct arena *a, struct smtp_peer peer, const struct reply *r)
{
	struct status st = from_reply(a, peer, r,
	    arena_printf(a, "TLS is required, but host %s refused to start TLS: %s", peer.name,
		reply_text(a, r)));

	st.cls = STATUS_TEMP; /* a wrong setting here or there: the mail waits */
	return st;
}

struct status
smtp_error_tls_handshake(struct arena *a, const char *why)
{
	return status_make(
	    a, STATUS_TEMP, 7, 5, "Cannot start TLS: handshake failure%s%s", *why ? ": " : "", why);
}

struct status
smtp_error_tls_context(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 7, 5, "Cannot start TLS: %s", why);
}

struct status
smtp_error_untrusted(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 7, 5, "Server certificate not verified: %s", why);
}

struct status
smtp_error_tls_policy(struct arena *a, const char *tables, const char *key, const char *why)
{
	return status_make(a, STATUS_TEMP, 7, 5,
	    "client TLS configuration problem: smtp_tls_policy_maps = %s, entry of \"%s\": %s",
	    tables, key, why);
}

struct status
smtp_error_policy_map(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 7, 5, "client TLS configuration problem: %s", why);
}

struct status
smtp_error_dane(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 7, 5, "%s", why);
}

struct status
smtp_error_early(struct arena *a, struct smtp_peer peer)
{
	return status_make(a, STATUS_TEMP, 7, 0,
	    "host %s replied to a command inside TLS before it was sent", peer.name);
}

struct status
smtp_error_fingerprint(struct arena *a, const char *seen)
{
	return status_make(a, STATUS_TEMP, 7, 5,
	    "Server certificate not verified: its fingerprint is %s", *seen ? seen : "not known");
}

struct status
smtp_error_wrong_name(struct arena *a, const char *const *names, size_t n, const char *seen)
{
	const char *wanted = n ? names[0] : "no name";

	for (size_t i = 1; i < n; i++)
		wanted = arena_printf(a, "%s or %s", wanted, names[i]);
	return status_make(a, STATUS_TEMP, 7, 5,
	    "Server certificate not verified: it is for %s, expected %s", *seen ? seen : "no name",
	    wanted);
}

struct status
smtp_error_auth_not_offered(struct arena *a, struct smtp_peer peer)
{
	return status_make(a, STATUS_TEMP, 7, 0,
	    "SASL authentication is required, but was not offered by host %s", peer.name);
}

struct status
smtp_error_auth_said(struct arena *a, struct smtp_peer peer, const struct reply *r, bool hard)
{
	struct status st = from_reply(a, peer, r,
	    arena_printf(
		a, "SASL authentication failed; server %s said: %s", peer.name, reply_text(a, r)));

	if (r->code == 535 && st.subject == 0 && st.detail == 0) {
		st.subject = 7; /* RFC 4954 6: 5.7.8, credentials invalid */
		st.detail = 8;
	}
	if (!hard)
		st.cls = STATUS_TEMP;
	return st;
}

struct status
smtp_error_auth_cached(struct arena *a, struct smtp_peer peer, const struct status *said)
{
	const char *reply = strstr(said->text, " said: ");
	struct status st = *said;

	st.text = arena_printf(
	    a, "SASL [CACHED] authentication failed; server %s%s", peer.host, reply ? reply : "");
	return st;
}

struct status
smtp_error_auth_failed(struct arena *a, struct smtp_peer peer, int err, const char *why)
{
	return status_make(a, STATUS_TEMP, 7, 0,
	    "SASL authentication failed; cannot authenticate to server %s: %s%s", peer.name,
	    err == -ENOENT ? "no mechanism available: " : "", why);
}

struct status
smtp_error_password_map(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 3, 0, "smtp_sasl_password_maps lookup error: %s",
	    *why ? why : "no reason given");
}

struct status
smtp_error_filter(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 3, 0, "smtp_sasl_mechanism_filter lookup error: %s",
	    *why ? why : "no reason given");
}

/* Never shows the value: it holds a secret. */
struct status
smtp_error_password_entry(struct arena *a, const char *key)
{
	return status_make(a, STATUS_TEMP, 3, 0,
	    "smtp_sasl_password_maps: the entry of %s is not user:password", key);
}

struct status
smtp_error_dns(
    struct arena *a, const char *name, const char *type, const char *text, bool temporary)
{
	return status_make(a, temporary ? STATUS_TEMP : STATUS_PERM, 4, temporary ? 3 : 4,
	    "Host or domain name not found. Name service error for name=%s type=%s: %s", name, type,
	    text);
}

struct status
smtp_error_filtered(struct arena *a, const char *text)
{
	return status_make(a, STATUS_TEMP, 7, 0, "%s", text);
}

struct status
smtp_error_native(struct arena *a, const char *name, bool temporary)
{
	return status_make(a, temporary ? STATUS_TEMP : STATUS_PERM, 4, temporary ? 3 : 4,
	    "unable to look up host %s: %s", name,
	    temporary ? "Temporary failure in name resolution" : "Name or service not known");
}

struct status
smtp_error_null_mx(struct arena *a, const char *domain)
{
	return status_make(a, STATUS_PERM, 1, 0, "Domain %s does not accept mail (nullMX)", domain);
}

struct status
smtp_error_null_srv(struct arena *a, const char *name)
{
	return status_make(a, STATUS_PERM, 1, 0, "Domain %s does not support SRV requests", name);
}

struct status
smtp_error_syntax(struct arena *a, const char *hop)
{
	return status_make(a, STATUS_TEMP, 3, 5, "bad next hop: \"%s\"", hop);
}

struct status
smtp_error_nowhere(struct arena *a)
{
	return status_make(a, STATUS_TEMP, 3, 0, "server unavailable or unable to receive mail");
}

struct status
smtp_error_body(struct arena *a, int err)
{
	if (err == -EBADMSG)
		return status_make(a, STATUS_TEMP, 3, 0, "message file is damaged");
	return status_make(
	    a, STATUS_TEMP, 3, 0, "cannot read the message file: %s", error_words(err));
}

struct status
smtp_error_content(struct arena *a, const char *why)
{
	return status_make(a, STATUS_TEMP, 3, 0, "%s", why);
}

struct status
smtp_error_stopping(struct arena *a)
{
	return status_make(
	    a, STATUS_TEMP, 3, 2, "delivery broken off: mail system is shutting down");
}

struct status
smtp_error_no_service(struct arena *a, const char *transport)
{
	return status_make(a, STATUS_TEMP, 3, 0, "mail transport unavailable: %s", transport);
}

struct status
smtp_error_bad_address(struct arena *a)
{
	return status_make(a, STATUS_PERM, 1, 3, "bad address syntax");
}
