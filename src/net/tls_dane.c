/*
 * tls_dane.c - whom one connection trusts in place of the authorities: TLSA records (RFC 7672), or
 * the trust anchors of its context, which are the same to OpenSSL as records of usage 2.
 *
 * OpenSSL does the checking; this file only decides which records count, and hands them over.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include "tls_internal.h"

enum { DANE_TA = 2, DANE_EE = 3, SHA256_SIZE = 32, SHA512_SIZE = 64 };

static bool
is_der(const struct tls_tlsa *t)
{
	const unsigned char *p = t->data;
	X509 *x = t->selector == 0 ? d2i_X509(NULL, &p, (long)t->n) : NULL;
	EVP_PKEY *key = t->selector == 1 ? d2i_PUBKEY(NULL, &p, (long)t->n) : NULL;
	bool ok = (x || key) && p == t->data + t->n;

	X509_free(x);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

bool
tls_tlsa_usable(const struct tls_tlsa *t)
{
	if ((t->usage != DANE_TA && t->usage != DANE_EE) || t->selector > 1)
		return false;
	switch (t->type) {
	case 0:
		return is_der(t);
	case 1:
		return t->n == SHA256_SIZE;
	case 2:
		return t->n == SHA512_SIZE;
	default:
		return false;
	}
}

int
tls_use_anchors(
    SSL *ssl, const struct tls_context *c, const struct tls_client *client, struct buf *err)
{
	size_t records = client ? client->tlsa_count : 0, used = 0;

	if (records == 0 && c->anchor_count == 0)
		return 0;
	/* Without a name: names are compared by tls_peer.c, and SNI is the caller's. */
	if (SSL_dane_enable(ssl, NULL) != 1)
		goto bad;
	for (size_t i = 0; i < records; i++) {
		const struct tls_tlsa *t = &client->tlsa[i];

		used += tls_tlsa_usable(t) &&
			SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->type, t->data, t->n) == 1;
	}
	for (size_t i = 0; records == 0 && i < c->anchor_count; i++)
		used += SSL_dane_tlsa_add(ssl, DANE_TA, c->anchors[i].is_key, 0, c->anchors[i].der,
			    c->anchors[i].n) == 1;
	ERR_clear_error();
	if (used > 0)
		return 0;
bad:
	ERR_clear_error();
	buf_adds(err, "no usable trust anchor");
	return -EINVAL;
}
