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

int
tls_level_parse(const char *word, enum tls_level *ret)
{
	static const char *const words[] = {"none", "may", "encrypt", "verify", "secure"};

	for (size_t i = 0; i < PP_COUNT(words); i++) {
		if (str_caseeq(str_of(word), str_of(words[i]))) {
			*ret = (enum tls_level)i;
			return 0;
		}
	}
	return -EINVAL;
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

static int
fail(struct buf *err, const char *what, const char *path)
{
	char why[160];

	tls_reason(why, sizeof(why), "unknown reason");
	buf_printf(err, "cannot load %s %s: %s", what, path, why);
	return -EINVAL;
}

/* The daemon has nobody to ask. */
static int
no_passphrase(char *to, int size, int writing, void *ctx)
{
	ERR_raise_data(ERR_LIB_PEM, PEM_R_BAD_PASSWORD_READ, "encrypted key");
	return -1;
}

static void
remember(struct tls_context *c, size_t i, const char *path)
{
	if (path == NULL || path[0] == '\0')
		return;
	c->files[i].path = mem_strdup(path);
	if (stat(path, &c->files[i].st) < 0)
		c->files[i].st = (struct stat){0};
}

static int
load_identity(struct tls_context *c, const struct tls_options *o, struct buf *err)
{
	const char *key = o->key_file && o->key_file[0] ? o->key_file : o->cert_file;

	if (o->cert_file == NULL || o->cert_file[0] == '\0') {
		if (!o->server)
			return 0;
		buf_adds(
		    err, "TLS needs a certificate: set smtpd_tls_cert_file and smtpd_tls_key_file");
		return -EINVAL;
	}
	/* Stat before reading: a change in between is then seen as one. */
	remember(c, 0, o->cert_file);
	remember(c, 1, key);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(c->ctx, o->cert_file) != 1)
		return fail(err, "certificate file", o->cert_file);
	if (SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) != 1)
		return fail(err, "key file", key);
	if (SSL_CTX_check_private_key(c->ctx) != 1)
		return fail(err, "key file", key);
	return 0;
}

static int
load_authorities(struct tls_context *c, const struct tls_options *o, struct buf *err)
{
	const char *file = o->ca_file && o->ca_file[0] ? o->ca_file : NULL;
	const char *path = o->ca_path && o->ca_path[0] ? o->ca_path : NULL;
	struct stat st;

	if (o->server)
		return 0; /* no client certificate is asked for */
	if (file == NULL && path == NULL) {
		SSL_CTX_set_default_verify_paths(c->ctx);
		ERR_clear_error();
		return 0;
	}
	remember(c, 2, file);
	ERR_clear_error();
	if (file && SSL_CTX_load_verify_file(c->ctx, file) != 1)
		return fail(err, "CA file", file);
	if (path && (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))) {
		buf_printf(err, "cannot use CA directory %s: it is no directory", path);
		return -EINVAL;
	}
	if (path && SSL_CTX_load_verify_dir(c->ctx, path) != 1)
		return fail(err, "CA directory", path);
	return 0;
}

static void
context_freed(struct snap *snap)
{
	struct tls_context *c = PP_CONTAINER(snap, struct tls_context, snap);

	SSL_CTX_free(c->ctx);
	BIO_meth_free(c->bio);
	for (size_t i = 0; i < TLS_FILES; i++)
		mem_free(c->files[i].path);
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
	}
}

int
tls_context_new_blk(const struct tls_options *o, struct tls_context **ret, struct buf *err)
{
	struct tls_context *c;
	bool old;
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
	rc = tls_set_protocols(c->ctx, o->protocols, &old, err);
	if (rc == 0)
		rc = tls_set_ciphers(c->ctx, o->ciphers, o->exclude_ciphers, old, err);
	if (rc == 0)
		rc = load_identity(c, o, err);
	if (rc == 0)
		rc = load_authorities(c, o, err);
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
	for (size_t i = 0; i < TLS_FILES; i++) {
		const struct stat *was = &c->files[i].st;
		struct stat is = {0};

		if (c->files[i].path == NULL)
			continue;
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
