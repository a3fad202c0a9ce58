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

enum tls_level {
	TLS_NONE,
	TLS_MAY,
	TLS_ENCRYPT,
	TLS_FINGERPRINT, /* from here on the peer must prove who it is */
	TLS_DANE,
	TLS_DANE_ONLY,
	TLS_VERIFY,
	TLS_SECURE,
};

/* Files are PEM, NULL or "" = none; lists are separated by commas or blanks. */
struct tls_options {
	bool server;
	const char *chain_files; /* keys, each before its certificate chain; then none of these: */
	const char *cert_file, *key_file, *ec_cert_file, *ec_key_file, *dsa_cert_file,
	    *dsa_key_file;
	const char *ca_file, *ca_path; /* both none: the system's */
	bool append_default_ca;        /* the system's besides */
	const char *trust_anchors;     /* certificates and public keys, in place of all CAs */
	int verify_depth;              /* issuers in a chain, 0 = 9 */
	const char *protocols;         /* ">=TLSv1.2", "!SSLv2, !SSLv3": Postfix's syntax;
					* NULL or "" = ">=TLSv1.2" */
	const char *ciphers;           /* grade: null export low medium high; NULL = medium */
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

/* A TLSA record (RFC 6698 2.1). Usable: usage 2 or 3 (RFC 7672 3.1.3), the rest well-formed. */
struct tls_tlsa {
	uint8_t usage, selector, type;
	const uint8_t *data;
	size_t n;
};
bool tls_tlsa_usable(const struct tls_tlsa *t);

/* What one connection of a client asks for beyond its context. */
struct tls_client {
	const char *name;                          /* SNI and nothing else; NULL = none */
	struct tls_session *resume;                /* NULL = none */
	const char *protocols, *ciphers, *exclude; /* NULL: the context's */
	const struct tls_tlsa *tlsa;               /* DANE: in place of all CAs */
	size_t tlsa_count;
};
/* -EINVAL with the reason in err: the words, not what is left of the ciphers. */
int tls_client_check(const struct tls_client *c, struct buf *err);

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
	bool by_name;          /* trust needs a name as well: not after a match of usage 3 */
	char issuer[128];      /* of the certificate in trouble, "/CN=.." */
	const void *peer;      /* for tls_peer_... */
};

/* Does the peer's certificate carry one of the names? RFC 6125: whole left-most wildcard only
 * (is_wide: it may stand for several labels); the common name counts only where there are no
 * alternative names. A name that begins with `.` matches any sub-domain (dot-nexthop), an address
 * an address. `seen` (or NULL) gets the certificate's names for a message, clean of controls. */
bool tls_peer_matches(
    const struct tls_info *i, const char *const *names, size_t n, bool is_wide, struct buf *seen);
/* Is one of the words (hexadecimal, with or without colons) the digest of the peer's certificate
 * or of its public key? `seen` gets that of the certificate. */
bool tls_peer_has_fingerprint(
    const struct tls_info *i, const char *digest, const char *words, struct buf *seen);
bool tls_digest_known(const char *digest);
/* "verify" ... to level; -EINVAL. And back. */
int tls_level_parse(const char *word, enum tls_level *ret);
const char *tls_level_word(enum tls_level level);
