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

enum { TLS_FILES = 3 };

/* What a file looked like when it was read. */
struct tls_file {
	char *path; /* NULL = none */
	struct stat st;
};

struct tls_context {
	struct snap snap;
	SSL_CTX *ctx;
	BIO_METHOD *bio; /* of stream_tls.c; lives as long as its BIOs, which hold a reference */
	bool server;
	struct tls_file files[TLS_FILES];
};

struct tls_session {
	struct snap snap;
	SSL_SESSION *session;
};

/* stream_tls.c */
BIO_METHOD *stream_tls_bio(void);
int stream_tls_new_session(SSL *ssl, SSL_SESSION *session);

/* tls_protocols.c: sets versions, ciphers and the security level that goes with them. */
int tls_set_protocols(SSL_CTX *ctx, const char *protocols, bool *ret_old, struct buf *err);
int
tls_set_ciphers(SSL_CTX *ctx, const char *grade, const char *exclude, bool old, struct buf *err);

/* tls_peer.c */
int tls_verify(int ok, X509_STORE_CTX *store);
void tls_describe(SSL *ssl, struct tls_info *ret);
/* The reason of the first error in OpenSSL's queue of this thread; empties the queue. */
void tls_reason(char *to, size_t size, const char *otherwise);
