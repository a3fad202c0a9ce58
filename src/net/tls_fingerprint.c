/*
 * tls_fingerprint.c - a certificate, or its public key, known by its digest.
 *
 * No authority, date or name counts then (as in Postfix): the digest alone says who it is.
 */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "tls_internal.h"

enum { HEX_MAX = 2 * EVP_MAX_MD_SIZE };

bool
tls_digest_known(const char *digest)
{
	return EVP_get_digestbyname(digest) != NULL;
}

static void
to_hex(const unsigned char *bytes, unsigned n, char to[HEX_MAX + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < n; i++) {
		to[2 * i] = digits[bytes[i] >> 4];
		to[2 * i + 1] = digits[bytes[i] & 15];
	}
	to[2 * (size_t)n] = '\0';
}

/* Of the whole certificate, and of its subjectPublicKeyInfo. */
static bool
digests(X509 *cert, const EVP_MD *md, char whole[HEX_MAX + 1], char key[HEX_MAX + 1])
{
	unsigned char bytes[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned n = 0;
	int size;
	bool ok;

	if (X509_digest(cert, md, bytes, &n) != 1)
		return false;
	to_hex(bytes, n, whole);
	size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	ok = size > 0 && EVP_Digest(der, (size_t)size, bytes, &n, md, NULL) == 1;
	OPENSSL_free(der);
	if (ok)
		to_hex(bytes, n, key);
	return ok;
}

/* The same digits, whatever colons stand between them. */
static bool
same(struct str word, const char *hex)
{
	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] == ':')
			continue;
		if (*hex == '\0' || str_lower(word.p[i]) != *hex++)
			return false;
	}
	return *hex == '\0';
}

bool
tls_peer_has_fingerprint(
    const struct tls_info *i, const char *digest, const char *words, struct buf *seen)
{
	X509 *cert = (X509 *)(uintptr_t)i->peer;
	const EVP_MD *md = EVP_get_digestbyname(digest);
	char whole[HEX_MAX + 1], key[HEX_MAX + 1];
	struct str rest = str_of(words), word;

	if (!cert || !md || !digests(cert, md, whole, key))
		return false;
	if (seen)
		buf_adds(seen, whole);
	while (str_token(&rest, ", \t\r\n|", &word))
		if (same(word, whole) || same(word, key))
			return true;
	return false;
}
