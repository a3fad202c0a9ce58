/*
 * certs.h - certificates made on the spot, for the TLS tests.
 */
#pragma once
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pp/net/tls.h"

struct cert {
	X509 *x509;
	EVP_PKEY *key;
	char file[96]; /* certificate and key, PEM */
};

static char cert_dir[] = "/tmp/tls_test.XXXXXX";

static void
cert_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

/* ca NULL: signed by itself. san: "DNS:a,IP:1.2.3.4" or NULL. days: validity from now on, negative
 * = it is over. rsa: an RSA key, else P-256. */
static inline struct cert
cert_make(const char *name, const char *san, const struct cert *ca, bool is_ca, int days, bool rsa)
{
	static long serial = 1;
	struct cert c = {.x509 = X509_new()};
	X509_NAME *subject = X509_NAME_new();
	FILE *f;

	c.key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509_set_version(c.x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
	X509_gmtime_adj(X509_getm_notBefore(c.x509), -10L * 86400);
	X509_gmtime_adj(X509_getm_notAfter(c.x509), days * 86400L);
	X509_NAME_add_entry_by_txt(
	    subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_subject_name(c.x509, subject);
	X509_set_issuer_name(c.x509, ca ? X509_get_subject_name(ca->x509) : subject);
	X509_NAME_free(subject);
	X509_set_pubkey(c.x509, c.key);
	cert_extend(c.x509, ca ? ca->x509 : c.x509, NID_basic_constraints,
	    is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (san)
		cert_extend(c.x509, ca ? ca->x509 : c.x509, NID_subject_alt_name, san);
	assert_true(X509_sign(c.x509, ca ? ca->key : c.key, EVP_sha256()) > 0);
	snprintf(c.file, sizeof(c.file), "%s/%ld.pem", cert_dir, serial);
	f = fopen(c.file, "w");
	assert_non_null(f);
	PEM_write_X509(f, c.x509);
	PEM_write_PrivateKey(f, c.key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	return c;
}

static inline void
cert_fini(struct cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	unlink(c->file);
}

static inline struct tls_context *
context(bool is_server, const char *cert, const char *ca_file, const char *protocols)
{
	struct tls_options o = {.server = is_server,
	    .cert_file = cert,
	    .ca_file = ca_file,
	    .protocols = protocols,
	    .ciphers = "medium"};
	struct tls_context *c = NULL;
	struct buf err;

	buf_init(&err, 1000);
	if (tls_context_new_blk(&o, &c, &err) != 0)
		fail_msg("%s", buf_cstr(&err));
	buf_fini(&err);
	return c;
}
