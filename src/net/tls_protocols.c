/*
 * tls_protocols.c - Postfix's words for protocol versions and cipher grades.
 *
 * Two syntaxes live side by side: bounds (">=TLSv1.2", "<=TLSv1.3") and lists of what is in or out
 * ("TLSv1.2 TLSv1.3", "!SSLv2, !TLSv1"). Anonymous key exchange is in no grade: TLS 1.3 has none,
 * and opportunistic TLS works with any certificate as well.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include "tls_internal.h"

static const struct {
	const char *name;
	int version;
	uint64_t off; /* the option that switches it off */
} versions[] = {
    {"SSLv2", 0x0002, 0}, /* OpenSSL 3 knows it no longer */
    {"SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3},
    {"TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1},
    {"TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
    {"TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
    {"TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};

enum { VERSIONS = sizeof(versions) / sizeof(*versions), FIRST_MODERN = 4 };

static int
version_of(struct str name, struct buf *err)
{
	for (int i = 0; i < VERSIONS; i++)
		if (str_caseeq(name, str_of(versions[i].name)) ||
		    (i == 2 && str_caseeq(name, STR("TLSv1.0"))))
			return i;
	buf_printf(err,
	    "unknown TLS protocol \"%.*s\"; known are SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3, "
	    "with >=, <= or ! in front",
	    STR_FMT(name));
	return -EINVAL;
}

static int
parse_protocols(const char *protocols, unsigned *ret, struct buf *err)
{
	unsigned in = 0, out = 0, all = (1u << VERSIONS) - 1;
	struct str rest = str_of(protocols), word;
	int floor = 0, ceiling = VERSIONS - 1, v;

	while (str_token(&rest, ", :\t\r\n", &word)) {
		bool is_floor = str_starts(word, STR(">="));
		bool is_ceiling = str_starts(word, STR("<="));
		bool is_out = str_starts(word, STR("!"));

		/* "! TLSv1" and ">= TLSv1" with a blank are common. */
		word = str_from(word, is_floor || is_ceiling ? 2 : is_out ? 1 : 0);
		if (word.n == 0 && !str_token(&rest, ", :\t\r\n", &word))
			word = STR("");
		v = version_of(word, err);
		if (v < 0)
			return v;
		if (is_floor)
			floor = v;
		else if (is_ceiling)
			ceiling = v;
		else if (is_out)
			out |= 1u << v;
		else
			in |= 1u << v;
	}
	if (in == 0)
		in = all;
	in &= ~out & ~1u;
	for (v = 0; v < VERSIONS; v++)
		if (v < floor || v > ceiling)
			in &= ~(1u << v);
	if (in == 0) {
		buf_printf(err, "\"%s\" leaves no TLS protocol", protocols);
		return -EINVAL;
	}
	*ret = in;
	return 0;
}

static bool
set_versions(struct tls_target to, int first, int last)
{
	if (to.ssl)
		return SSL_set_min_proto_version(to.ssl, versions[first].version) == 1 &&
		       SSL_set_max_proto_version(to.ssl, versions[last].version) == 1;
	return SSL_CTX_set_min_proto_version(to.ctx, versions[first].version) == 1 &&
	       SSL_CTX_set_max_proto_version(to.ctx, versions[last].version) == 1;
}

static void
switch_off(struct tls_target to, uint64_t off)
{
	if (to.ssl) {
		SSL_clear_options(to.ssl, SSL_OP_NO_SSL_MASK);
		SSL_set_options(to.ssl, off);
	} else {
		SSL_CTX_clear_options(to.ctx, SSL_OP_NO_SSL_MASK);
		SSL_CTX_set_options(to.ctx, off);
	}
}

int
tls_set_protocols(struct tls_target to, const char *protocols, bool *ret_old, struct buf *err)
{
	unsigned in;
	uint64_t off = 0;
	int first = 0, last = 0, rc;

	/* RFC 8996: nothing below 1.2 unless it is asked for. */
	rc = parse_protocols(protocols && protocols[0] ? protocols : ">=TLSv1.2", &in, err);
	if (rc < 0)
		return rc;
	for (int v = 0; v < VERSIONS; v++) {
		if (in & (1u << v)) {
			first = first ? first : v;
			last = v;
		}
	}
	for (int v = first; v <= last; v++)
		off |= in & (1u << v) ? 0 : versions[v].off;
	switch_off(to, off);
	if (!set_versions(to, first, last)) {
		buf_printf(err, "\"%s\": this OpenSSL lacks one of these protocols", protocols);
		return -EINVAL;
	}
	*ret_old = first < FIRST_MODERN;
	return 0;
}

/* SECLEVEL 1 takes 1024-bit keys, which old servers still have; 0 takes the SHA-1 signatures that
 * TLS 1.0 and 1.1 are made of. */
static const struct {
	const char *grade, *ciphers;
	int level;
} grades[] = {
    {"null", "eNULL:!aNULL", 0},
    {"export", "HIGH:MEDIUM:LOW:!aNULL:!eNULL:@STRENGTH", 0},
    {"low", "HIGH:MEDIUM:LOW:!aNULL:!eNULL:@STRENGTH", 0},
    {"medium", "HIGH:MEDIUM:!aNULL:!eNULL:@STRENGTH", 1},
    {"high", "HIGH:!aNULL:!eNULL:@STRENGTH", 2},
};

static int
find_grade(const char *grade, struct buf *err)
{
	if (grade == NULL || grade[0] == '\0')
		grade = "medium";
	for (size_t i = 0; i < PP_COUNT(grades); i++)
		if (str_caseeq(str_of(grades[i].grade), str_of(grade)))
			return (int)i;
	buf_printf(
	    err, "unknown cipher grade \"%s\"; known are null export low medium high", grade);
	return -EINVAL;
}

int
tls_client_check(const struct tls_client *c, struct buf *err)
{
	unsigned in;
	int rc = c->protocols ? parse_protocols(c->protocols, &in, err) : 0;

	if (rc == 0 && c->ciphers)
		rc = find_grade(c->ciphers, err);
	return rc < 0 ? rc : 0;
}

static bool
set_list(struct tls_target to, int level, const char *list)
{
	if (to.ssl) {
		SSL_set_security_level(to.ssl, level);
		return SSL_set_cipher_list(to.ssl, list) == 1;
	}
	SSL_CTX_set_security_level(to.ctx, level);
	return SSL_CTX_set_cipher_list(to.ctx, list) == 1;
}

int
tls_set_ciphers(
    struct tls_target to, const char *grade, const char *exclude, bool old, struct buf *err)
{
	struct buf list;
	struct str rest = str_of(exclude), word;
	int i = find_grade(grade, err), rc = 0;

	if (i < 0)
		return i;
	buf_init(&list, 4096);
	buf_adds(&list, grades[i].ciphers);
	while (rc == 0 && str_token(&rest, ", :\t\r\n", &word)) {
		for (size_t k = 0; k < word.n; k++)
			if (!str_isalnum(word.p[k]) && !strchr("+-_", word.p[k]))
				rc = -EINVAL;
		buf_printf(&list, ":!%.*s", STR_FMT(word));
	}
	if (rc < 0 || buf_overflowed(&list) ||
	    !set_list(to, old ? 0 : grades[i].level, buf_cstr(&list))) {
		buf_printf(err, "no cipher is left of grade %s without \"%s\"", grades[i].grade,
		    exclude ? exclude : "");
		rc = -EINVAL;
	}
	buf_fini(&list);
	return rc;
}
