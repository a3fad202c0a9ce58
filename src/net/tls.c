/*
 * tls.c - TLS contexts as immutable snapshots.
 *
 * A context verifies the peer but never ends a handshake over it: whether an untrusted peer is good
 * enough is decided by the client's security level, which must be able to say in the log what was
 * wrong. Resumption is by tickets only, held by whoever wants to resume; nothing is cached inside.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "pp/base/mem.h"
#include "tls_internal.h"

enum { DEPTH = 9 };

static const char *const levels[] = {
    [TLS_NONE] = "none",
    [TLS_MAY] = "may",
    [TLS_ENCRYPT] = "encrypt",
    [TLS_FINGERPRINT] = "fingerprint",
    [TLS_DANE] = "dane",
    [TLS_DANE_ONLY] = "dane-only",
    [TLS_VERIFY] = "verify",
    [TLS_SECURE] = "secure",
};

int
tls_level_parse(const char *word, enum tls_level *ret)
{
	for (size_t i = 0; i < PP_COUNT(levels); i++) {
		if (str_caseeq(str_of(word), str_of(levels[i]))) {
			*ret = (enum tls_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *
tls_level_word(enum tls_level level)
{
	return levels[level];
}

void
tls_reason(char *to, size_t size, const char *otherwise)
{
	unsigned long e = ERR_get_error();
	const char *text = NULL;
	char buf[128];

	if (e && ERR_SYSTEM_ERROR(e))
		text = strerror_r(ERR_GET_REASON(e), buf, sizeof(buf));
	else if (e)
		text = ERR_reason_error_string(e);
	if (text && (strcmp(text, "no start line") == 0 || strcmp(text, "unsupported") == 0))
		text = "it is not in PEM format";
	snprintf(to, size, "%s", text ? text : otherwise);
	ERR_clear_error();
}

bool
tls_reason_is_version(void)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);

	return ERR_GET_LIB(e) == ERR_LIB_SSL &&
	       (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW ||
		   reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
}

/* The daemon has nobody to ask. */
static int
no_passphrase(char *to, int size, int writing, void *ctx)
{
	ERR_raise_data(ERR_LIB_PEM, PEM_R_BAD_PASSWORD_READ, "encrypted key");
	return -1;
}

static void
context_freed(struct snap *snap)
{
	struct tls_context *c = PP_CONTAINER(snap, struct tls_context, snap);

	SSL_CTX_free(c->ctx);
	BIO_meth_free(c->bio);
	for (size_t i = 0; i < c->file_count; i++)
		mem_free(c->files[i].path);
	for (size_t i = 0; i < c->anchor_count; i++)
		OPENSSL_free(c->anchors[i].der);
	mem_free((char *)(uintptr_t)c->grade);
	mem_free((char *)(uintptr_t)c->exclude);
	mem_free(c);
}

static void
set_manners(struct tls_context *c)
{
	static const unsigned char id[] = "pennypost";

	SSL_CTX_set_options(c->ctx,
	    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
		/* SMTP says itself where a message ends, and many close without an alert. */
		SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_default_passwd_cb(c->ctx, no_passphrase);
	if (c->server) {
		SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
		SSL_CTX_set_session_id_context(c->ctx, id, sizeof(id) - 1);
		SSL_CTX_set_num_tickets(c->ctx, 1);
		SSL_CTX_set_dh_auto(c->ctx, 1);
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL);
	} else {
		SSL_CTX_set_session_cache_mode(
		    c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(c->ctx, stream_tls_new_session);
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, tls_verify);
		PP_ASSERT(SSL_CTX_dane_enable(c->ctx) == 1);
	}
}

int
tls_context_new_blk(const struct tls_options *o, struct tls_context **ret, struct buf *err)
{
	struct tls_context *c;
	struct tls_target to;
	int depth = o->verify_depth > 0 ? o->verify_depth : DEPTH;
	int rc = openssl_load_blk(err);

	if (rc < 0)
		return rc;
	c = MEM_NEW(struct tls_context);
	snap_init(&c->snap, context_freed);
	c->server = o->server;
	c->bio = stream_tls_bio();
	c->ctx = SSL_CTX_new(o->server ? TLS_server_method() : TLS_client_method());
	PP_ASSERT(c->ctx != NULL);
	set_manners(c);
	/* Postfix counts issuers, OpenSSL what lies between the peer and the last of them. */
	SSL_CTX_set_verify_depth(c->ctx, depth - 1);
	to = (struct tls_target){.ctx = c->ctx};
	c->grade = mem_strdup(o->ciphers ? o->ciphers : "");
	c->exclude = mem_strdup(o->exclude_ciphers ? o->exclude_ciphers : "");
	rc = tls_set_protocols(to, o->protocols, &c->old, err);
	if (rc == 0)
		rc = tls_set_ciphers(to, o->ciphers, o->exclude_ciphers, c->old, err);
	if (rc == 0)
		rc = tls_load_identity(c, o, err);
	if (rc == 0)
		rc = tls_load_authorities(c, o, err);
	ERR_clear_error();
	if (rc < 0)
		tls_context_unref(c);
	else
		*ret = c;
	return rc;
}

void
tls_context_ref(struct tls_context *c)
{
	snap_ref(&c->snap);
}

void
tls_context_unref(struct tls_context *c)
{
	if (c)
		snap_unref(&c->snap);
}

bool
tls_context_stale_blk(const struct tls_context *c)
{
	for (size_t i = 0; i < c->file_count; i++) {
		const struct stat *was = &c->files[i].st;
		struct stat is = {0};

		if (stat(c->files[i].path, &is) < 0)
			continue; /* being replaced: what is loaded still works */
		if (is.st_ino != was->st_ino || is.st_dev != was->st_dev ||
		    is.st_size != was->st_size || is.st_mtim.tv_sec != was->st_mtim.tv_sec ||
		    is.st_mtim.tv_nsec != was->st_mtim.tv_nsec)
			return true;
	}
	return false;
}

void
tls_session_unref(struct tls_session *s)
{
	if (s)
		snap_unref(&s->snap);
}
