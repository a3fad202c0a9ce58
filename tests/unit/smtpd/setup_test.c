/*
 * setup_test.c - what a listener refuses to start with, and what it says then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "smtpd_fixture.h"
#include "smtpd/internal.h"

#define MASTER(options) "127.0.0.1:0 inet n - n - - smtpd" options "\n"

static const struct {
	const char *main_cf, *master_cf;
	const char *wants[3]; /* in the error; none: it is taken */
} cases[] = {
    {"", NULL, {NULL}},
    /* Open relays. */
    {"smtpd_relay_restrictions =\n", NULL, {"open relay", "reject_unauth_destination"}},
    {"smtpd_relay_restrictions = permit\n", NULL, {"open relay"}},
    {"smtpd_relay_restrictions = permit_mynetworks\n", NULL, {"open relay"}},
    {"smtpd_relay_restrictions = permit, reject_unauth_destination\n", NULL, {"open relay"}},
    {"smtpd_relay_restrictions = warn_if_reject reject_unauth_destination\n", NULL, {"open relay"}},
    {"smtpd_relay_restrictions = check_client_access static:OK\n", NULL, {"open relay"}},
    {"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, "
     "reject_unauth_destination\n",
	NULL, {NULL}},
    {"smtpd_relay_restrictions = reject\n", NULL, {NULL}},
    {"smtpd_relay_restrictions = defer\n", NULL, {NULL}},
    {"smtpd_relay_restrictions = defer_if_permit, permit\n", NULL, {NULL}},
    {"smtpd_relay_restrictions = defer_unauth_destination\n", NULL, {NULL}},
    {"", MASTER(" -o smtpd_relay_restrictions=permit"), {"open relay"}},
    /* Names. */
    {"smtpd_recipient_restrictions = reject_unauth_destinaton\n", NULL,
	{"smtpd_recipient_restrictions", "reject_unauth_destinaton",
	    "did you mean reject_unauth_destination?"}},
    {"smtpd_client_restrictions = permit_my_networks\n", NULL,
	{"main.cf", "did you mean permit_mynetworks?"}},
    {"smtpd_client_restrictions = xyzzy\n", NULL, {"unknown restriction \"xyzzy\""}},
    {"smtpd_client_restrictions = reject_rbl_client zen.example\n", NULL,
	{"reject_rbl_client", "does not do"}},
    {"smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:1\n", NULL,
	{"check_policy_service", "does not do"}},
    {"", MASTER(" -o smtpd_helo_restrictions=nonsense"),
	{"master.cf, line 1: -o smtpd_helo_restrictions", "nonsense"}},
    /* Tables. */
    {"smtpd_client_restrictions = check_client_access\n", NULL, {"needs an argument"}},
    {"smtpd_client_restrictions = check_client_access nonsense:/x\n", NULL,
	{"smtpd_client_restrictions", "nonsense"}},
    {"smtpd_client_restrictions = texthash:/nowhere, permit\n", NULL, {NULL}},
    {"smtpd_data_restrictions = texthash:/nowhere\n", NULL, {"texthash:/nowhere"}},
    {"smtpd_sender_restrictions = check_sender_access inline:{ {a@b=REJECT no, never} }, "
     "reject_non_fqdn_sender\n",
	NULL, {NULL}},
    /* Classes. */
    {"smtpd_restriction_classes = a\na = permit_mynetworks, reject\n"
     "smtpd_client_restrictions = a\n",
	NULL, {NULL}},
    {"smtpd_restriction_classes = a\n", NULL, {"a has no setting"}},
    {"smtpd_restriction_classes = a, b\na = b\nb = permit, a\n", NULL, {"leads back to itself"}},
    {"smtpd_restriction_classes = a\na = rejekt\n", NULL, {"rejekt", "did you mean reject?"}},
    /* What would protect nobody. */
    {"smtpd_tls_security_level = encrypt\n", NULL, {"smtpd_tls_security_level", "clear"}},
    {"smtpd_tls_security_level = may\n", NULL, {NULL}},
    {"", MASTER(" -o smtpd_tls_wrappermode=yes"), {"smtpd_tls_wrappermode"}},
    /* Others. */
    {"smtpd_forbidden_commands = CONNECT, GET regexp:{{/^[^A-Z]/ Bogus}} POST\n", NULL, {NULL}},
    {"smtpd_forbidden_commands = regexp:/etc/x\n", NULL, {"smtpd_forbidden_commands"}},
    {"local_header_rewrite_clients = permit_mynetworks, check_address_map hash:/x\n", NULL,
	{"local_header_rewrite_clients"}},
    {"smtpd_client_event_limit_exceptions = hash:/x\n", NULL,
	{"smtpd_client_event_limit_exceptions"}},
};

static void
test_refusals(void **state)
{
	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct fixture f = {0};
		struct buf err;
		int rc;

		buf_init(&err, 8192);
		rc = fixture_config(&f, cases[i].main_cf, cases[i].master_cf, &err)
			 ? fixture_setup(&f, &err)
			 : -EINVAL;
		if ((rc == 0) != (cases[i].wants[0] == NULL))
			fail_msg("case %zu: %d %s", i, rc, buf_cstr(&err));
		for (unsigned k = 0; k < PP_COUNT(cases[i].wants) && cases[i].wants[k]; k++)
			if (strstr(buf_cstr(&err), cases[i].wants[k]) == NULL)
				fail_msg("case %zu: no \"%s\" in: %s", i, cases[i].wants[k],
				    buf_cstr(&err));
		buf_fini(&err);
		fixture_clean(&f);
	}
}

static void
test_too_many_words(void **state)
{
	struct fixture f = {0};
	struct buf text, err;

	buf_init(&text, 65536);
	buf_init(&err, 8192);
	buf_adds(&text, "smtpd_client_restrictions =");
	for (unsigned i = 0; i <= RESTRICT_LIST_MAX; i++)
		buf_adds(&text, " permit");
	buf_adds(&text, "\n");
	assert_true(fixture_config(&f, buf_cstr(&text), NULL, &err));
	assert_int_equal(fixture_setup(&f, &err), -E2BIG);
	assert_non_null(strstr(buf_cstr(&err), "more than"));
	fixture_clean(&f);
	buf_fini(&text);
	buf_fini(&err);
}

static void
limit_of(const char *master_cf, int64_t want)
{
	struct fixture f = {0};
	struct buf err;

	buf_init(&err, 8192);
	assert_true(fixture_config(&f, "", master_cf, &err));
	assert_int_equal(fixture_setup(&f, &err), 0);
	assert_int_equal(f.setup->session_limit, want);
	fixture_clean(&f);
	buf_fini(&err);
}

static void
test_session_limit(void **state)
{
	limit_of("127.0.0.1:0 inet n - n - - smtpd\n", SMTPD_SESSIONS_DEFAULT);
	limit_of("127.0.0.1:0 inet n - n - 7 smtpd\n", 7);
	limit_of("127.0.0.1:0 inet n - n - 0 smtpd\n", INT32_MAX);
}

static const struct {
	const char *main_cf, *want;
} ehlos[] = {
    {"smtputf8_enable = yes\n",
	"250-mail.pennypost.test\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n"
	"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"},
    {"smtputf8_enable = no\nmessage_size_limit = 0\ndisable_vrfy_command = yes\n"
     "mailbox_size_limit = 0\n",
	"250-mail.pennypost.test\r\n250-PIPELINING\r\n250-SIZE\r\n"
	"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n"},
    {"smtputf8_enable = no\nsmtpd_discard_ehlo_keywords = pipelining, size vrfy, "
     "enhancedstatuscodes, 8bitmime, dsn, etrn\n",
	"250 mail.pennypost.test\r\n"},
};

static void
test_ehlo(void **state)
{
	for (size_t i = 0; i < PP_COUNT(ehlos); i++) {
		struct fixture f = {0};
		struct buf err;

		buf_init(&err, 8192);
		assert_true(fixture_config(&f, ehlos[i].main_cf, NULL, &err));
		assert_int_equal(fixture_setup(&f, &err), 0);
		assert_string_equal(f.setup->ehlo_reply.p, ehlos[i].want);
		assert_string_equal(f.setup->greeting, "220 mail.pennypost.test ESMTP Postfix\r\n");
		fixture_clean(&f);
		buf_fini(&err);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_too_many_words),
	    cmocka_unit_test(test_session_limit),
	    cmocka_unit_test(test_ehlo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
