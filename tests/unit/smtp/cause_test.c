/*
 * Why a destination is in trouble, as the queue manager is told; and the delivery that has nothing
 * to deliver.
 */
#include "fake_dns.h"

#define AUTH_SETTINGS                                                                              \
	"smtp_sasl_auth_enable=yes", "smtp_sasl_password_maps=inline:{127.0.0.1=kate:pw}",         \
	    "smtp_sasl_security_options=noanonymous"

struct cause_case {
	struct fake_rule rules[4];
	const char *settings[5];
	enum delivery_cause want;
	bool throttles;
};

static const struct cause_case cases[] = {
    {.want = CAUSE_NONE},
    {{{"banner", 0, "421 4.3.2 later|CLOSE"}}, .want = CAUSE_TOLD_OFF, .throttles = true},
    {{{"banner", 0, "554 5.7.1 you are listed"}}, .want = CAUSE_TOLD_OFF, .throttles = true},
    {{{"banner", 0, "CLOSE"}}, .want = CAUSE_SESSION, .throttles = true},
    {{{"EHLO", 0, "421 4.7.0 slower|CLOSE"}}, .want = CAUSE_TOLD_OFF, .throttles = true},
    {{{"MAIL", 0, "450 4.7.1 slower"}}, .want = CAUSE_TOLD_OFF},
    {{{"MAIL", 0, "451 4.3.0 disk"}}, .want = CAUSE_NONE},
    {{{"RCPT", 0, "450 4.7.1 grey"}}, .want = CAUSE_TOLD_OFF},
    {{{"RCPT", 0, "452 4.2.2 full"}}, .want = CAUSE_NONE},
    {{{".", 0, "452 4.4.5 your quota"}}, .want = CAUSE_QUOTA},
    {{{"DATA", 0, "CLOSE"}}, .want = CAUSE_SESSION, .throttles = true},
    {{{0}}, {"smtp_tls_security_level=encrypt"}, CAUSE_TLS, true},
    {{{"EHLO", 0, "250-x\n250 AUTH PLAIN"}, {"AUTH", 0, "535 5.7.8 no"}}, {AUTH_SETTINGS},
	CAUSE_AUTH, true},
    {{{"EHLO", 0, "250-x\n250 AUTH PLAIN"}, {"AUTH", 0, "454 4.7.0 later"}}, {AUTH_SETTINGS},
	CAUSE_TOLD_OFF, true},
    {{{"EHLO", 0, "250-x\n250 AUTH GSSAPI"}}, {AUTH_SETTINGS}, CAUSE_AUTH, true},
};

static void
test_causes(void **state)
{
	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct fake_run r;
		char hop[64];

		fake_init(&r);
		fake_configure(&r, cases[i].settings);
		snprintf(hop, sizeof hop, "[127.0.0.1]:%u",
		    fake_listen(&r, "127.0.0.1", 0, cases[i].rules));
		fake_add(&r, hop, 2);
		fake_run(&r);
		if (r.delivery[0].cause != cases[i].want ||
		    (r.delivery[0].hop.cls != STATUS_NONE) != cases[i].throttles)
			fail_msg("case %zu: %d, %s", i, r.delivery[0].cause, fake_result(&r, 0, 0));
		fake_fini(&r);
	}
}

static void
test_nobody_there(void **state)
{
	struct fake_run r;

	fake_init(&r);
	fake_configure(&r, (const char *const[]){NULL});
	fake_add(&r, "[127.0.0.1]:1", 1);
	fake_add(&r, "[127.0.0.1]:1", 0);
	fake_run(&r);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(r.delivery[i].cause, CAUSE_CONNECT);
		assert_int_equal(r.delivery[i].hop.cls, STATUS_TEMP);
	}
	fake_fini(&r);
}

/* Nothing is said but what a session begins with, and what follows uses that session. */
static void
test_probe(void **state)
{
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	r.in_turn = true;
	fake_configure(&r, (const char *const[]){NULL});
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	fake_add(&r, hop, 0);
	fake_add(&r, hop, 1);
	fake_run(&r);
	assert_int_equal(r.delivery[0].hop.cls, STATUS_NONE);
	assert_int_equal(r.delivery[0].cause, CAUSE_NONE);
	assert_string_equal(buf_cstr(&r.server[0].log),
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA | "
	    "QUIT");
	fake_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_causes),
	    cmocka_unit_test(test_nobody_there),
	    cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
