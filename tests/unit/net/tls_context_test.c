/*
 * tls_context_test.c - TLS contexts good and bad, protocol lists, names in certificates.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "certs.h"
#include "net/tls_internal.h"

static struct cert ca, good, expired;

/* -- contexts ---------------------------------------------------------------------------------- */

static void
put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
bad_contexts(void **state)
{
	char garbage[100], locked[100];
	FILE *f;

	snprintf(garbage, sizeof(garbage), "%s/garbage.pem", cert_dir);
	put(garbage, "this is no certificate\n");
	snprintf(locked, sizeof(locked), "%s/locked.pem", cert_dir);
	f = fopen(locked, "w");
	PEM_write_PrivateKey(
	    f, good.key, EVP_aes_128_cbc(), (const unsigned char *)"x", 1, NULL, NULL);
	fclose(f);
	const struct {
		struct tls_options o;
		const char *error;
	} t[] = {
	    {{.server = true}, "TLS needs a certificate"},
	    {{.server = true, .cert_file = "/nonexistent.pem"},
		"cannot load certificate file /nonexistent.pem: No such file or directory"},
	    {{.server = true, .cert_file = garbage}, "it is not in PEM format"},
	    {{.server = true, .cert_file = good.file, .key_file = expired.file},
		"cannot load key file"},
	    {{.server = true, .cert_file = good.file, .key_file = locked}, "cannot load key file"},
	    {{.server = true, .cert_file = good.file, .key_file = garbage},
		"it is not in PEM format"},
	    {{.ca_file = "/nonexistent.pem"},
		"cannot load CA file /nonexistent.pem: No such file or directory"},
	    {{.ca_file = garbage}, "cannot load CA file"},
	    {{.ca_path = "/nonexistent"},
		"cannot use CA directory /nonexistent: it is no directory"},
	    {{.protocols = "TLSv1.2 TLSv9"}, "unknown TLS protocol \"TLSv9\""},
	    {{.protocols = ">="}, "unknown TLS protocol \"\""},
	    {{.protocols = ">=TLSv1.3 <=TLSv1.2"}, "leaves no TLS protocol"},
	    {{.protocols = "TLSv1.2 !TLSv1.2"}, "leaves no TLS protocol"},
	    {{.ciphers = "best"}, "unknown cipher grade \"best\""},
	    {{.exclude_ciphers = "AES;rm"}, "no cipher is left"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct tls_context *c = NULL;
		struct buf err;

		buf_init(&err, 1000);
		assert_int_equal(tls_context_new_blk(&t[i].o, &c, &err), -EINVAL);
		assert_null(c);
		if (strstr(buf_cstr(&err), t[i].error) == NULL)
			fail_msg("case %zu: %s", i, buf_cstr(&err));
		buf_fini(&err);
	}
	unlink(garbage);
	unlink(locked);
}

static void
protocols(void **state)
{
	static const struct {
		const char *text;
		long min, max;
		uint64_t off;
		int level;
	} t[] = {
	    {NULL, TLS1_2_VERSION, TLS1_3_VERSION, 0, 1},
	    {"", TLS1_2_VERSION, TLS1_3_VERSION, 0, 1},
	    {">=TLSv1.2", TLS1_2_VERSION, TLS1_3_VERSION, 0, 1},
	    {">=TLSv1", TLS1_VERSION, TLS1_3_VERSION, 0, 0},
	    {"!SSLv2, !SSLv3", TLS1_VERSION, TLS1_3_VERSION, 0, 0},
	    {"!SSLv2,!SSLv3,!TLSv1,!TLSv1.1", TLS1_2_VERSION, TLS1_3_VERSION, 0, 1},
	    {"TLSv1.2 TLSv1.3", TLS1_2_VERSION, TLS1_3_VERSION, 0, 1},
	    {"TLSv1.1:tlsv1.3", TLS1_1_VERSION, TLS1_3_VERSION, SSL_OP_NO_TLSv1_2, 0},
	    {">= TLSv1.2, <= TLSv1.2", TLS1_2_VERSION, TLS1_2_VERSION, 0, 1},
	    {"! TLSv1.3 >=TLSv1.2", TLS1_2_VERSION, TLS1_2_VERSION, 0, 1},
	    {">=TLSv1.0", TLS1_VERSION, TLS1_3_VERSION, 0, 0},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct tls_context *c = context(false, NULL, ca.file, t[i].text);

		assert_int_equal(SSL_CTX_get_min_proto_version(c->ctx), t[i].min);
		assert_int_equal(SSL_CTX_get_max_proto_version(c->ctx), t[i].max);
		assert_int_equal(SSL_CTX_get_options(c->ctx) & SSL_OP_NO_SSL_MASK, t[i].off);
		assert_int_equal(SSL_CTX_get_security_level(c->ctx), t[i].level);
		assert_true(SSL_CTX_get_options(c->ctx) & SSL_OP_NO_RENEGOTIATION);
		assert_true(SSL_CTX_get_options(c->ctx) & SSL_OP_NO_COMPRESSION);
		tls_context_unref(c);
	}
}

static void
stale(void **state)
{
	struct cert c = cert_make("x", NULL, NULL, false, 10, false);
	struct tls_context *ctx = context(true, c.file, NULL, NULL);

	assert_false(tls_context_stale_blk(ctx));
	put(c.file, "half written");
	assert_true(tls_context_stale_blk(ctx));
	unlink(c.file);
	assert_false(tls_context_stale_blk(ctx)); /* gone: what is loaded still works */
	tls_context_unref(ctx);
	cert_fini(&c);
}

static void
names(void **state)
{
	static const struct {
		const char *cn, *san, *name;
		bool match;
	} t[] = {
	    {"x", "DNS:mx.example.com", "mx.example.com", true},
	    {"x", "DNS:mx.example.com", "MX.Example.COM", true},
	    {"x", "DNS:mx.example.com", "mx.example.com.", true},
	    {"x", "DNS:mx.example.com", "example.com", false},
	    {"x", "DNS:mx.example.com", "a.mx.example.com", false},
	    {"x", "DNS:*.example.com", "mx.example.com", true},
	    {"x", "DNS:*.example.com", "example.com", false},
	    {"x", "DNS:*.example.com", "a.b.example.com", false},
	    {"x", "DNS:m*.example.com", "mx.example.com", false}, /* partial wildcard */
	    {"x", "DNS:*", "mx", false},
	    {"x", "DNS:*.com", "example.com", false},
	    {"x", "DNS:mx.*.com", "mx.example.com", false},
	    {"x", "DNS:mx.example.com", ".example.com", true}, /* dot-nexthop */
	    {"x", "DNS:a.b.example.com", ".example.com", true},
	    {"x", "DNS:*.example.com", ".example.com", true},
	    {"x", "DNS:example.com", ".example.com", false},
	    {"x", "DNS:badexample.com", ".example.com", false},
	    {"x", "DNS:mx.example.com", "", false},
	    {"x", "DNS:mx.example.com", ".", false},
	    {"mx.example.com", NULL, "mx.example.com", true}, /* common name without others */
	    {"mx.example.com", "DNS:other.example.com", "mx.example.com", false},
	    {"x", "IP:192.0.2.1", "192.0.2.1", true},
	    {"x", "IP:192.0.2.1", "192.0.2.2", false},
	    {"192.0.2.1", NULL, "192.0.2.1", false},
	    {"x", "IP:2001:db8::1", "2001:db8:0::1", true},
	    {"x", "DNS:192.0.2.1", "192.0.2.1", false},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct cert c = cert_make(t[i].cn, t[i].san, NULL, false, 10, false);
		struct tls_info info = {.peer = c.x509};

		if (tls_peer_matches(&info, &t[i].name, 1, false, NULL) != t[i].match)
			fail_msg("case %zu: %s against %s", i, t[i].name, t[i].san);
		cert_fini(&c);
	}
}

static void
names_of_a_list(void **state)
{
	static const char *const list[] = {"nexthop.example", ".example.com"};
	struct cert c = cert_make("bad\tname\x1b[2J", NULL, NULL, false, 10, false);
	struct tls_info info = {.peer = good.x509}, none = {0}, odd = {.peer = c.x509};
	struct buf seen;

	buf_init(&seen, 100);
	assert_true(tls_peer_matches(&info, list, 2, false, NULL));
	assert_false(tls_peer_matches(&info, list, 1, false, NULL));
	assert_false(tls_peer_matches(&info, list, 0, false, NULL));
	assert_false(tls_peer_matches(&none, list, 2, false, &seen));
	assert_string_equal(buf_cstr(&seen), "");
	assert_false(tls_peer_matches(&odd, list, 2, false, &seen)); /* clean enough for a log */
	assert_string_equal(buf_cstr(&seen), "bad?name?[2J");
	buf_fini(&seen);
	cert_fini(&c);
}

static void
levels(void **state)
{
	enum tls_level level = TLS_NONE;

	assert_int_equal(tls_level_parse("verify", &level), 0);
	assert_int_equal(level, TLS_VERIFY);
	assert_int_equal(tls_level_parse("MAY", &level), 0);
	assert_int_equal(level, TLS_MAY);
	assert_int_equal(tls_level_parse("maybe", &level), -EINVAL);
	assert_int_equal(level, TLS_MAY);
}

static int
setup(void **state)
{
	assert_non_null(mkdtemp(cert_dir));
	ca = cert_make("Test CA", NULL, NULL, true, 10, false);
	good = cert_make("x", "DNS:mx.example.com", &ca, false, 10, true);
	expired = cert_make("x", "DNS:mx.example.com", &ca, false, -1, false);
	return 0;
}

static int
teardown(void **state)
{
	cert_fini(&ca);
	cert_fini(&good);
	cert_fini(&expired);
	rmdir(cert_dir);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bad_contexts),
	    cmocka_unit_test(protocols),
	    cmocka_unit_test(stale),
	    cmocka_unit_test(names),
	    cmocka_unit_test(names_of_a_list),
	    cmocka_unit_test(levels),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
