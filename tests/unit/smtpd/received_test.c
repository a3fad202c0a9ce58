/*
 * received_test.c - the trace header, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include "smtpd/internal.h"

static const struct {
	struct received r;
	const char *want;
} cases[] = {
    {{.helo = "c.test",
	 .name = "localhost",
	 .address = "127.0.0.1",
	 .hostname = "mail.pennypost.test",
	 .mail_name = "Postfix",
	 .protocol = "ESMTP",
	 .id = "45F29A8CB23",
	 .rcpt = "a@ok.test",
	 .now_s = 1795295788},
	"Received: from c.test (localhost [127.0.0.1])\n"
	"\tby mail.pennypost.test (Postfix) with ESMTP id 45F29A8CB23\n"
	"\tfor <a@ok.test>; Sat, 21 Nov 2026 21:16:28 +0000 (UTC)"},
    {{.helo = "c.test",
	 .name = "localhost",
	 .address = "127.0.0.1",
	 .hostname = "h",
	 .mail_name = "M",
	 .protocol = "SMTP",
	 .id = "X",
	 .now_s = 1795295788},
	"Received: from c.test (localhost [127.0.0.1])\n"
	"\tby h (M) with SMTP id X;\n"
	"\tSat, 21 Nov 2026 21:16:28 +0000 (UTC)"},
    {{.name = "unknown",
	 .address = "2001:db8::1",
	 .hostname = "h",
	 .mail_name = "M",
	 .protocol = "UTF8SMTP",
	 .id = "X",
	 .rcpt = "\"a b\"@c",
	 .now_s = 0},
	"Received: from unknown (unknown [IPv6:2001:db8::1])\n"
	"\tby h (M) with UTF8SMTP id X\n"
	"\tfor <\"a b\"@c>; Thu,  1 Jan 1970 00:00:00 +0000 (UTC)"},
};

static void
test_print(void **state)
{
	struct buf b;

	setenv("TZ", "UTC", 1);
	tzset();
	buf_init(&b, 4096);
	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		buf_clear(&b);
		received_print(&cases[i].r, &b);
		assert_string_equal(buf_cstr(&b), cases[i].want);
	}
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_print)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
