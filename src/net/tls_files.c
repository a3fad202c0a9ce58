/*
 * tls_files.c - certificates, keys, authorities and trust anchors of a context, from their files.
 *
 * Each file is looked at before it is read, so that a change in between is seen as one later.
 * Directories count as files: a new authority changes the time of its directory.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "pp/base/mem.h"
#include "tls_internal.h"

static int
fail(struct buf *err, const char *what, const char *path)
{
	char why[160];

	tls_reason(why, sizeof(why), "unknown reason");
	buf_printf(err, "cannot load %s %s: %s", what, path, why);
	return -EINVAL;
}

static void
remember(struct tls_context *c, const char *path)
{
	struct tls_file *f = &c->files[c->file_count];

	if (c->file_count == TLS_FILES)
		return;
	c->file_count++;
	f->path = mem_strdup(path);
	if (stat(path, &f->st) < 0)
		f->st = (struct stat){0};
}

static bool
given(const char *path)
{
	return path && path[0];
}

/* calls each(c, path, arg, err) for the elements of a list. */
static int
for_each_file(struct tls_context *c, const char *list,
    int (*each)(struct tls_context *c, const char *path, void *arg, struct buf *err), void *arg,
    struct buf *err)
{
	struct str rest = str_of(list), word;
	int rc = 0;

	while (rc == 0 && str_token(&rest, ", \t\r\n", &word)) {
		char *path = mem_alloc(word.n + 1);

		memcpy(path, word.p, word.n);
		remember(c, path);
		ERR_clear_error();
		rc = each(c, path, arg, err);
		mem_free(path);
	}
	return rc;
}

static int
load_pair(struct tls_context *c, const char *cert, const char *key, struct buf *err)
{
	if (!given(cert))
		return 0;
	if (!given(key))
		key = cert;
	remember(c, cert);
	remember(c, key);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(c->ctx, cert) != 1)
		return fail(err, "certificate file", cert);
	if (SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) != 1)
		return fail(err, "key file", key);
	if (SSL_CTX_check_private_key(c->ctx) != 1)
		return fail(err, "key file", key);
	return 0;
}

/* What smtp_tls_chain_files has read so far: a key, then its certificate, then their issuers. */
struct chain {
	EVP_PKEY *key;
	X509 *cert;
	STACK_OF(X509) * issuers;
	unsigned pairs;
};

static int
end_pair(struct tls_context *c, struct chain *ch, const char *path, struct buf *err)
{
	int ok = 1;

	if (ch->key && !ch->cert) {
		buf_printf(err, "cannot load %s: a key without a certificate behind it", path);
		return -EINVAL;
	}
	if (ch->key)
		ok = SSL_CTX_use_cert_and_key(c->ctx, ch->cert, ch->key, ch->issuers, 1);
	ch->pairs += ch->key != NULL;
	EVP_PKEY_free(ch->key);
	X509_free(ch->cert);
	sk_X509_pop_free(ch->issuers, X509_free);
	*ch = (struct chain){.pairs = ch->pairs};
	return ok == 1 ? 0 : fail(err, "key and certificate of", path);
}

static int
take_object(
    struct tls_context *c, struct chain *ch, X509_INFO *i, const char *path, struct buf *err)
{
	int rc;

	if (i->x_pkey && i->x_pkey->dec_pkey) {
		rc = end_pair(c, ch, path, err);
		if (rc < 0)
			return rc;
		ch->key = i->x_pkey->dec_pkey;
		EVP_PKEY_up_ref(ch->key);
	}
	if (!i->x509)
		return 0;
	if (!ch->key) {
		buf_printf(err, "cannot load %s: a certificate without a key before it", path);
		return -EINVAL;
	}
	X509_up_ref(i->x509);
	if (!ch->cert) {
		ch->cert = i->x509;
		return 0;
	}
	if (!ch->issuers)
		ch->issuers = sk_X509_new_null();
	return sk_X509_push(ch->issuers, i->x509) > 0 ? 0 : -ENOMEM;
}

static X509_INFO *
one_object(BIO *bio)
{
	char *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	const unsigned char *p;
	X509_INFO *i = X509_INFO_new();
	long n;

	PP_ASSERT(i != NULL);
	if (PEM_read_bio(bio, &name, &header, &data, &n) != 1) {
		X509_INFO_free(i);
		return NULL;
	}
	p = data;
	if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0) {
		i->x509 = d2i_X509(NULL, &p, n);
	} else if (strstr(name, PEM_STRING_PKCS8INF) || strstr(name, "PRIVATE KEY")) {
		i->x_pkey = X509_PKEY_new();
		i->x_pkey->dec_pkey = d2i_AutoPrivateKey(NULL, &p, n);
	}
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_clear_free(data, (size_t)n);
	return i;
}

static int
load_chain(struct tls_context *c, const char *path, void *arg, struct buf *err)
{
	struct chain *ch = arg;
	BIO *bio = BIO_new_file(path, "r");
	X509_INFO *i;
	int rc = 0, found = 0;

	if (!bio)
		return fail(err, "chain file", path);
	while (rc == 0 && (i = one_object(bio)) != NULL) {
		found += i->x509 != NULL || i->x_pkey != NULL;
		rc = take_object(c, ch, i, path, err);
		X509_INFO_free(i);
	}
	BIO_free(bio);
	if (rc == 0 && found == 0)
		return fail(err, "chain file", path);
	ERR_clear_error();
	return rc;
}

int
tls_load_identity(struct tls_context *c, const struct tls_options *o, struct buf *err)
{
	struct chain ch = {0};
	int rc;

	if (given(o->chain_files)) {
		rc = for_each_file(c, o->chain_files, load_chain, &ch, err);
		if (rc == 0)
			rc = end_pair(c, &ch, o->chain_files, err);
		ch.key = rc < 0 ? ch.key : NULL;
		EVP_PKEY_free(ch.key);
		X509_free(ch.cert);
		sk_X509_pop_free(ch.issuers, X509_free);
		return rc;
	}
	if (o->server && !given(o->cert_file) && !given(o->ec_cert_file)) {
		buf_adds(
		    err, "TLS needs a certificate: set smtpd_tls_cert_file and smtpd_tls_key_file");
		return -EINVAL;
	}
	rc = load_pair(c, o->cert_file, o->key_file, err);
	if (rc == 0)
		rc = load_pair(c, o->ec_cert_file, o->ec_key_file, err);
	if (rc == 0)
		rc = load_pair(c, o->dsa_cert_file, o->dsa_key_file, err);
	return rc;
}

/* One of both. */
static int
add_anchor(struct tls_context *c, X509 *x, EVP_PKEY *key)
{
	unsigned char *der = NULL;
	int n;

	if (c->anchor_count == TLS_ANCHORS)
		return -EINVAL;
	n = x ? i2d_X509(x, &der) : i2d_PUBKEY(key, &der);
	if (n <= 0)
		return -EINVAL;
	c->anchors[c->anchor_count++] = (struct tls_anchor){x == NULL, der, (size_t)n};
	return 0;
}

/* Certificates and public keys; what else the file holds is passed over. */
static int
load_anchor_file(struct tls_context *c, const char *path, void *arg, struct buf *err)
{
	size_t before = c->anchor_count;
	char *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	BIO *bio = BIO_new_file(path, "r");
	long n;
	int rc = 0;

	if (!bio)
		return fail(err, "trust anchor file", path);
	while (rc == 0 && PEM_read_bio(bio, &name, &header, &data, &n) == 1) {
		const unsigned char *p = data;
		X509 *x = NULL;
		EVP_PKEY *key = NULL;

		if (strcmp(name, PEM_STRING_X509) == 0)
			x = d2i_X509(NULL, &p, n);
		else if (strcmp(name, PEM_STRING_PUBLIC) == 0)
			key = d2i_PUBKEY(NULL, &p, n);
		if (x || key)
			rc = add_anchor(c, x, key);
		X509_free(x);
		EVP_PKEY_free(key);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(data);
	}
	BIO_free(bio);
	if (rc < 0)
		buf_printf(err, "more than %d trust anchors", TLS_ANCHORS);
	else if (c->anchor_count == before)
		rc = fail(err, "trust anchor file", path);
	ERR_clear_error();
	return rc;
}

static void
load_default_authorities(struct tls_context *c)
{
	remember(c, X509_get_default_cert_file());
	remember(c, X509_get_default_cert_dir());
	SSL_CTX_set_default_verify_paths(c->ctx);
	ERR_clear_error();
}

int
tls_load_authorities(struct tls_context *c, const struct tls_options *o, struct buf *err)
{
	struct stat st;

	if (o->server)
		return 0; /* no client certificate is asked for */
	if (given(o->trust_anchors))
		return for_each_file(c, o->trust_anchors, load_anchor_file, NULL, err);
	if ((!given(o->ca_file) && !given(o->ca_path)) || o->append_default_ca)
		load_default_authorities(c);
	ERR_clear_error();
	if (given(o->ca_file)) {
		remember(c, o->ca_file);
		if (SSL_CTX_load_verify_file(c->ctx, o->ca_file) != 1)
			return fail(err, "CA file", o->ca_file);
	}
	if (!given(o->ca_path))
		return 0;
	remember(c, o->ca_path);
	if (stat(o->ca_path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		buf_printf(err, "cannot use CA directory %s: it is no directory", o->ca_path);
		return -EINVAL;
	}
	if (SSL_CTX_load_verify_dir(c->ctx, o->ca_path) != 1)
		return fail(err, "CA directory", o->ca_path);
	return 0;
}
