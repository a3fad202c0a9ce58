/*
 * tls_internal.h - what the TLS files of net/ share.
 * THREAD contexts and sessions: any. The rest: the loop of the stream.
 * OWNS   see tls.h.
 */
#pragma once
#include <sys/stat.h>
#include "openssl.h"
#include "pp/base/assert.h"
#include "pp/net/tls.h"

enum { TLS_FILES = 64, TLS_ANCHORS = 64 };

/* What a file looked like when it was read. */
struct tls_file {
	char *path;
	struct stat st;
};

/* A trust anchor, as the data of a TLSA record of usage 2. */
struct tls_anchor {
	bool is_key;
	unsigned char *der;
	size_t n;
};

struct tls_context {
	struct snap snap;
	SSL_CTX *ctx;
	BIO_METHOD *bio; /* of stream_tls.c; lives as long as its BIOs, which hold a reference */
	bool server;
	struct tls_file files[TLS_FILES];
	size_t file_count;
	struct tls_anchor anchors[TLS_ANCHORS];
	size_t anchor_count;
	const char *grade, *exclude; /* copies: what a connection does not change */
	bool old;
};

struct tls_session {
	struct snap snap;
	SSL_SESSION *session;
};

/* stream_tls.c */
BIO_METHOD *stream_tls_bio(void);
int stream_tls_new_session(SSL *ssl, SSL_SESSION *session);

/* tls_protocols.c: sets versions, ciphers and the security level that goes with them, of a context
 * or of one connection (the other is NULL). */
struct tls_target {
	SSL_CTX *ctx;
	SSL *ssl;
};
int tls_set_protocols(struct tls_target to, const char *protocols, bool *ret_old, struct buf *err);
int tls_set_ciphers(
    struct tls_target to, const char *grade, const char *exclude, bool old, struct buf *err);

/* tls_files.c: what a context reads from files; each is remembered. */
int tls_load_identity(struct tls_context *c, const struct tls_options *o, struct buf *err);
int tls_load_authorities(struct tls_context *c, const struct tls_options *o, struct buf *err);

/* tls_dane.c: trust anchors and TLSA records of one connection. 0 or -EINVAL. */
int tls_use_anchors(
    SSL *ssl, const struct tls_context *c, const struct tls_client *client, struct buf *err);

/* tls_peer.c */
int tls_verify(int ok, X509_STORE_CTX *store);
void tls_describe(SSL *ssl, struct tls_info *ret);
/* The reason of the first error in OpenSSL's queue of this thread; empties the queue. */
void tls_reason(char *to, size_t size, const char *otherwise);
/* Before it: does that say that the two sides have no version of TLS in common? */
bool tls_reason_is_version(void);
