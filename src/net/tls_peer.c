/*
 * tls_peer.c - what was negotiated, and who the peer proved to be.
 *
 * Names are compared by OpenSSL (X509_check_host), which knows the traps: embedded NULs, wildcards
 * that span labels, a common name beside alternative names. The words of `details` are those of
 * Postfix's log line, which prints them for TLS 1.3 only.
 */
#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include "pp/base/mem.h"
#include "tls_internal.h"

enum { SEEN_MAX = 8 };

/* Goes on after an error, but keeps the first one: a chain without a known root produces two or
 * three, and only the first says what to do. */
int
tls_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	long first = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;

	if (ok)
		return 1;
	if (first == X509_V_OK && ssl)
		SSL_set_verify_result(ssl, X509_STORE_CTX_get_error(store));
	else if (first != X509_V_OK)
		X509_STORE_CTX_set_error(store, (int)first);
	return 1;
}

static void
describe_key(EVP_PKEY *key, bool pss, char *to, size_t size)
{
	char curve[64] = "";

	switch (EVP_PKEY_base_id(key)) {
	case EVP_PKEY_RSA:
		snprintf(to, size, "%s (%d bits)", pss ? "RSA-PSS" : "RSA", EVP_PKEY_bits(key));
		break;
	case EVP_PKEY_RSA_PSS:
		snprintf(to, size, "RSA-PSS (%d bits)", EVP_PKEY_bits(key));
		break;
	case EVP_PKEY_EC:
		EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL);
		snprintf(to, size, "ECDSA (%s)", curve);
		break;
	default:
		snprintf(to, size, "%s", OBJ_nid2sn(EVP_PKEY_base_id(key)));
	}
}

static void
describe_exchange(EVP_PKEY *key, char *to, size_t size)
{
	char curve[64] = "";

	switch (EVP_PKEY_base_id(key)) {
	case EVP_PKEY_DH:
		snprintf(to, size, "DHE (%d bits)", EVP_PKEY_bits(key));
		break;
	case EVP_PKEY_EC:
		EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL);
		snprintf(to, size, "ECDHE (%s)", curve);
		break;
	default:
		snprintf(to, size, "%s", OBJ_nid2sn(EVP_PKEY_base_id(key)));
	}
}

static void
describe_details(SSL *ssl, struct tls_info *ret)
{
	bool server = SSL_is_server(ssl);
	char exchange[80] = "", key[96] = "";
	EVP_PKEY *group = NULL, *own = NULL;
	X509 *cert = server ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
	int type = NID_undef, digest = NID_undef, n;

	if (SSL_version(ssl) < TLS1_3_VERSION)
		return;
	if (SSL_get_peer_tmp_key(ssl, &group)) {
		describe_exchange(group, exchange, sizeof(exchange));
		EVP_PKEY_free(group);
	}
	n = snprintf(ret->details, sizeof(ret->details), " key-exchange %s", exchange);
	if (SSL_session_reused(ssl) || cert == NULL || n < 0 || (size_t)n >= sizeof(ret->details))
		return; /* a resumed session is not signed again */
	if (server) {
		SSL_get_signature_type_nid(ssl, &type);
		SSL_get_signature_nid(ssl, &digest);
	} else {
		SSL_get_peer_signature_type_nid(ssl, &type);
		SSL_get_peer_signature_nid(ssl, &digest);
	}
	own = X509_get0_pubkey(cert);
	if (own)
		describe_key(own, type == EVP_PKEY_RSA_PSS, key, sizeof(key));
	if (digest != NID_undef)
		snprintf(ret->details + n, sizeof(ret->details) - (size_t)n,
		    " server-signature %s server-digest %s", key, OBJ_nid2sn(digest));
	else
		snprintf(ret->details + n, sizeof(ret->details) - (size_t)n, " server-signature %s",
		    key);
}

/* Who signed the last certificate that was shown: the authority that is not known here. A name out
 * of a certificate is hostile: it goes into a log line. */
static void
describe_issuer(SSL *ssl, char *to, size_t size)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
	int n = sk_X509_num(chain);

	if (n <= 0)
		return;
	X509_NAME_oneline(X509_get_issuer_name(sk_X509_value(chain, n - 1)), to, (int)size);
	for (; *to; to++)
		if ((unsigned char)*to < ' ' || (unsigned char)*to > '~')
			*to = '?';
}

void
tls_describe(SSL *ssl, struct tls_info *ret)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	long verdict = SSL_get_verify_result(ssl);
	uint8_t usage = 0;

	*ret = (struct tls_info){0};
	snprintf(ret->protocol, sizeof(ret->protocol), "%s", SSL_get_version(ssl));
	snprintf(ret->cipher, sizeof(ret->cipher), "%s", SSL_CIPHER_get_name(cipher));
	ret->bits_used = SSL_CIPHER_get_bits(cipher, &ret->bits_all);
	ret->resumed = SSL_session_reused(ssl);
	ret->peer = SSL_get0_peer_certificate(ssl);
	ret->peer_present = ret->peer != NULL;
	ret->peer_trusted = ret->peer_present && verdict == X509_V_OK;
	if (!ret->peer_present)
		snprintf(ret->trust_error, sizeof(ret->trust_error), "no certificate was shown");
	else if (!ret->peer_trusted)
		snprintf(ret->trust_error, sizeof(ret->trust_error), "%s",
		    X509_verify_cert_error_string(verdict));
	/* RFC 7671 5.1: a certificate that its own record names needs no other name. OpenSSL tells
	 * nothing of a resumed session, which was good when it was made. */
	ret->by_name = !ret->resumed;
	if (SSL_get0_dane_tlsa(ssl, &usage, NULL, NULL, NULL, NULL) >= 0)
		ret->by_name = usage != 3;
	describe_issuer(ssl, ret->issuer, sizeof(ret->issuer));
	describe_details(ssl, ret);
}

/* A name out of a certificate is hostile: it goes into a log line. */
static void
add_seen(struct buf *seen, const unsigned char *name, int n)
{
	if (buf_str(seen).n > 0)
		buf_adds(seen, ", ");
	for (int i = 0; i < n && i < 255; i++)
		buf_addc(seen, name[i] > ' ' && name[i] < 0x7f ? (char)name[i] : '?');
}

static void
list_names(X509 *cert, struct buf *seen)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1), listed = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && listed < SEEN_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char text[INET6_ADDRSTRLEN];

		if (name->type == GEN_DNS) {
			add_seen(seen, ASN1_STRING_get0_data(name->d.dNSName),
			    ASN1_STRING_length(name->d.dNSName));
			listed++;
		} else if (name->type == GEN_IPADD) {
			const ASN1_OCTET_STRING *ip = name->d.iPAddress;
			int n = ASN1_STRING_length(ip);

			if ((n != 4 && n != 16) ||
			    !inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text,
				sizeof(text)))
				continue;
			add_seen(seen, (const unsigned char *)text, (int)strlen(text));
			listed++;
		}
	}
	if (listed == 0 && at >= 0) {
		ASN1_STRING *cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));

		add_seen(seen, ASN1_STRING_get0_data(cn), ASN1_STRING_length(cn));
	}
	GENERAL_NAMES_free(names);
}

bool
tls_peer_matches(
    const struct tls_info *i, const char *const *names, size_t n, bool is_wide, struct buf *seen)
{
	X509 *cert = (X509 *)(uintptr_t)i->peer;
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			 (is_wide ? X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS : 0);

	if (cert == NULL)
		return false;
	if (seen)
		list_names(cert, seen);
	for (size_t k = 0; k < n; k++) {
		struct in6_addr ip;
		struct str name = str_of(names[k]);

		if (name.n > 1 && name.p[name.n - 1] == '.')
			name.n--; /* "mx.example.com." is the same host */
		if (name.n == 0 || (name.n == 1 && name.p[0] == '.'))
			continue;
		if (inet_pton(AF_INET, names[k], &ip) == 1 ||
		    inet_pton(AF_INET6, names[k], &ip) == 1) {
			if (X509_check_ip_asc(cert, names[k], 0) == 1)
				return true;
			continue;
		}
		if (X509_check_host(cert, name.p, name.n, flags, NULL) == 1)
			return true;
	}
	return false;
}
