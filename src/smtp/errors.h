/*
 * errors.h - every text that a delivery by SMTP can end with, in one place.
 * THREAD any; pure.
 * OWNS   texts live in the arena given.
 * SEE    RFC 3463 (enhanced codes).
 *
 * The texts are Postfix's: tools and people know them. Where ours say more, the addition stands
 * behind Postfix's words.
 */
#pragma once
#include "pp/mail/reply.h"
#include "pp/mail/status.h"

/* Who said it: "H[A]" in texts, the bare host as Remote-MTA. */
struct smtp_peer {
	const char *name; /* "mx.example.com[192.0.2.1]" */
	const char *host;
};

/* Where a session is, as its texts call it. */
extern const char *const smtp_phase_greeting;
extern const char *const smtp_phase_ehlo;
extern const char *const smtp_phase_lhlo;
extern const char *const smtp_phase_helo;
extern const char *const smtp_phase_starttls;
extern const char *const smtp_phase_mail;
extern const char *const smtp_phase_rcpt;
extern const char *const smtp_phase_data;
extern const char *const smtp_phase_body;
extern const char *const smtp_phase_dot;

/* parameter: smtp_bind_address or smtp_bind_address6. */
struct status smtp_error_bind(struct arena *a, const char *parameter, const char *address, int err);
/* address: "H[A]:P". */
struct status smtp_error_connect(struct arena *a, const char *address, int err);
/* err: -ETIMEDOUT, or anything else for a lost connection. */
struct status smtp_error_lost(struct arena *a, struct smtp_peer peer, const char *phase, int err);
/* Greeting and EHLO. soft: a 5xx counts as 4xx. */
struct status
smtp_error_refused(struct arena *a, struct smtp_peer peer, const struct reply *r, bool soft);
/* command: "MAIL FROM command". A reply that is neither 4xx nor 5xx is a protocol error; what is no
 * reply at all is one that may pass. */
struct status
smtp_error_said(struct arena *a, struct smtp_peer peer, const struct reply *r, const char *command);
struct status smtp_error_size(struct arena *a, struct smtp_peer peer, int64_t size, int64_t limit);
struct status smtp_error_utf8(struct arena *a, struct smtp_peer peer);
struct status smtp_error_loop(struct arena *a, const char *nexthop);

struct status smtp_error_tls_not_offered(struct arena *a, struct smtp_peer peer);
struct status smtp_error_tls_refused(struct arena *a, struct smtp_peer peer, const struct reply *r);
struct status smtp_error_tls_handshake(struct arena *a, const char *why);
struct status smtp_error_tls_context(struct arena *a, const char *why);
/* An entry of smtp_tls_policy_maps, and the tables themselves. */
struct status
smtp_error_tls_policy(struct arena *a, const char *tables, const char *key, const char *why);
struct status smtp_error_policy_map(struct arena *a, const char *why);
struct status smtp_error_dane(struct arena *a, const char *why);
struct status smtp_error_early(struct arena *a, struct smtp_peer peer);
struct status smtp_error_fingerprint(struct arena *a, const char *seen);
struct status smtp_error_untrusted(struct arena *a, const char *why);
struct status
smtp_error_wrong_name(struct arena *a, const char *const *names, size_t n, const char *seen);

struct status smtp_error_auth_not_offered(struct arena *a, struct smtp_peer peer);
/* The server's answer to AUTH. hard: a 5xx stays one (smtp_sasl_auth_soft_bounce = no). */
struct status
smtp_error_auth_said(struct arena *a, struct smtp_peer peer, const struct reply *r, bool hard);
/* The same, remembered. */
struct status
smtp_error_auth_cached(struct arena *a, struct smtp_peer peer, const struct status *said);
/* -ENOENT: no mechanism fits (why: the advice of net/sasl), else the exchange broke. */
struct status
smtp_error_auth_failed(struct arena *a, struct smtp_peer peer, int err, const char *why);
struct status smtp_error_password_map(struct arena *a, const char *why);
struct status smtp_error_filter(struct arena *a, const char *why);
struct status smtp_error_password_entry(struct arena *a, const char *key);

/* Name service. type: "MX", "A", "AAAA"; text: of the resolver. */
struct status smtp_error_dns(
    struct arena *a, const char *name, const char *type, const char *text, bool temporary);
struct status smtp_error_filtered(struct arena *a, const char *text);
struct status smtp_error_native(struct arena *a, const char *name, bool temporary);
struct status smtp_error_null_mx(struct arena *a, const char *domain);
/* name: of the SRV records. */
struct status smtp_error_null_srv(struct arena *a, const char *name);
struct status smtp_error_syntax(struct arena *a, const char *hop);
struct status smtp_error_nowhere(struct arena *a);
struct status smtp_error_body(struct arena *a, int err);
struct status smtp_error_content(struct arena *a, const char *why);
struct status smtp_error_stopping(struct arena *a);
struct status smtp_error_no_service(struct arena *a, const char *transport);
struct status smtp_error_bad_address(struct arena *a);
