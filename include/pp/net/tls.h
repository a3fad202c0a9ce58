/*
 * tls.h - TLS contexts (immutable snapshots), what was negotiated, and who the peer proved to be.
 * THREAD contexts and sessions: any (refcounted). tls_context_new_blk reads files: lanes, start,
 *        reload.
 * OWNS   refcounts; tls_info belongs to its stream.
 * ERRORS -errno with a text naming file and reason in `err`.
 * SEE    RFC 8446, RFC 8996, RFC 6125 (names).
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/runtime/snap.h"

enum tls_level { TLS_NONE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE };

struct tls_options {
	bool server;
	const char *cert_file, *key_file; /* PEM; NULL = none */
	const char *ca_file, *ca_path;    /* both NULL: the system's */
	const char *protocols;            /* ">=TLSv1.2", "!SSLv2, !SSLv3": Postfix's syntax;
					   * NULL or "" = ">=TLSv1.2" */
	const char *ciphers;              /* grade: null export low medium high; NULL = medium */
	const char *exclude_ciphers;
};

struct tls_context;
int tls_context_new_blk(const struct tls_options *o, struct tls_context **ret, struct buf *err);
void tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);
/* Certificate and key files changed on disk since it was made? Blocks. */
bool tls_context_stale_blk(const struct tls_context *c);

struct tls_session;
void tls_session_unref(struct tls_session *s);

struct tls_info {
	char protocol[16]; /* "TLSv1.3" */
	char cipher[64];
	int bits_used, bits_all;
	char details[160]; /* " key-exchange X25519 server-signature RSA-PSS (2048 bits)
			    * server-digest SHA256"; "" below TLS 1.3, as in Postfix's log */
	bool resumed;
	bool peer_present;     /* a certificate was shown */
	bool peer_trusted;     /* chain to a trusted CA, dates good; says nothing about names */
	char trust_error[160]; /* why not, the first thing found: "certificate has expired" ... */
	const void *peer;      /* for tls_peer_matches */
};

/* Does the peer's certificate carry one of the names? RFC 6125: whole left-most wildcard only; the
 * common name counts only where there are no alternative names. A name that begins with `.` matches
 * any sub-domain (dot-nexthop), an address an address. `seen` (or NULL) gets the certificate's
 * names for a message, clean of controls. */
bool
tls_peer_matches(const struct tls_info *i, const char *const *names, size_t n, struct buf *seen);
/* "verify" ... to level; -EINVAL. */
int tls_level_parse(const char *word, enum tls_level *ret);
