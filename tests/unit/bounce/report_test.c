/*
 * report_test.c - the text of notices, and who wants one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "bounce/report.h"

static struct envelope envelope = {
    .sender = "sender@ok.test",
    .envid = "id+with",
    .arrival_us = 1795295892000000,
};

static struct deferlog_entry entries[] = {
    {.recipient = "bounceme@ok.test",
	.orig = "alias@ok.test",
	.orcpt = "rfc822;alias@ok.test",
	.action = "failed",
	.status = {STATUS_PERM, 1, 1, 550,
	    "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <bounceme>: Recipient address rejected: "
	    "User unknown (in reply to RCPT TO command)",
	    "127.0.0.1", "550 5.1.1 <bounceme>: Recipient address rejected: User unknown"}},
    {.recipient = "odd \"one\"@ok.test",
	.orig = "odd \"one\"@ok.test",
	.action = "failed",
	.status = {STATUS_PERM, 4, 6, 0, "mail for ok.test loops back to myself", NULL, NULL}},
};

static struct report
report_make(enum bounce_kind kind)
{
	return (struct report){
	    .kind = kind,
	    .id = "C6F70A8CB24",
	    .myhostname = "mail.pennypost.test",
	    .myorigin = "pennypost.test",
	    .mail_name = "Pp",
	    .envelope = &envelope,
	    .entries = entries,
	    .n = 2,
	    .now = 1795295892,
	    .retry_until = 1795295892 + 432000,
	};
}

static int
utc(void **state)
{
	setenv("TZ", "UTC", 1);
	return 0;
}

static void
has(const struct buf *b, const char *text)
{
	if (strstr(buf_cstr(b), text) == NULL)
		fail_msg("missing: %s\nin:\n%s", text, buf_cstr(b));
}

static void
failure_notice(void **state)
{
	struct report r = report_make(BOUNCE_FAILURE);
	struct buf b = {.max = 100000};

	report_head(&r, &b);
	report_tail(&r, &b);
	has(&b, "Date: Sat, 21 Nov 2026 21:18:12 +0000 (UTC)\n"
		"From: Mail Delivery System <MAILER-DAEMON@pennypost.test>\n"
		"Subject: Undelivered Mail Returned to Sender\nTo: sender@ok.test\n"
		"Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
		"Content-Type: multipart/report; report-type=delivery-status;\n"
		"\tboundary=\"C6F70A8CB24.1795295892/mail.pennypost.test\"\n");
	has(&b, "<bounceme@ok.test> (expanded from <alias@ok.test>): host");
	has(&b, "Reporting-MTA: dns; mail.pennypost.test\nOriginal-Envelope-Id: id+with\n"
		"X-Pp-Queue-ID: C6F70A8CB24\nX-Pp-Sender: rfc822; sender@ok.test\n"
		"Arrival-Date: Sat, 21 Nov 2026 21:18:12 +0000 (UTC)\n"
		"\nFinal-Recipient: rfc822; bounceme@ok.test\n"
		"Original-Recipient: rfc822;alias@ok.test\nAction: failed\nStatus: 5.1.1\n"
		"Remote-MTA: dns; 127.0.0.1\nDiagnostic-Code: smtp; 550 5.1.1 ");
	has(&b,
	    "Final-Recipient: rfc822; \"odd \\\"one\\\"\"@ok.test\nAction: failed\nStatus: 5.4.6\n"
	    "Diagnostic-Code: X-Pp; mail for ok.test loops back to myself\n");
	has(&b, "Content-Description: Undelivered Message\nContent-Type: message/rfc822\n\n"
		"Return-Path: <sender@ok.test>\n");
	has(&b, "\n--C6F70A8CB24.1795295892/mail.pennypost.test--\n");
	buf_fini(&b);
}

static void
delay_and_success(void **state)
{
	struct report r = report_make(BOUNCE_DELAY);
	struct buf b = {.max = 100000};

	r.headers_only = true;
	report_head(&r, &b);
	has(&b, "Subject: Delayed Mail (still being retried)\n");
	has(&b, "Action: delayed\n");
	has(&b, "Will-Retry-Until: Thu, 26 Nov 2026 21:18:12 +0000 (UTC)\n");
	has(&b, "Content-Description: Undelivered Message Headers\nContent-Type: "
		"text/rfc822-headers\n");
	buf_clear(&b);
	r = report_make(BOUNCE_SUCCESS);
	report_head(&r, &b);
	has(&b, "Subject: Successful Mail Delivery Report\n");
	has(&b, "Content-Description: Message\n");
	buf_fini(&b);
}

static void
eight_bit(void **state)
{
	struct report r = report_make(BOUNCE_FAILURE);
	struct buf b = {.max = 100000};

	envelope.encoding = BODY_8BIT;
	report_head(&r, &b);
	envelope.encoding = BODY_UNKNOWN;
	has(&b, "charset=utf-8\nContent-Transfer-Encoding: 8bit\n");
	buf_fini(&b);
}

static void
no_line_is_too_long(void **state)
{
	struct report r = report_make(BOUNCE_FAILURE);
	struct buf b = {.max = 100000};
	struct str rest, line;

	report_head(&r, &b);
	rest = buf_str(&b);
	while (str_token(&rest, "\n", &line))
		assert_true(line.n <= 79);
	buf_clear(&b);
	report_wrap(&b, STR("a bb " /* an overlong word stays whole */
			    "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
			    "cccccccccccccccc d"));
	assert_string_equal(buf_cstr(&b),
	    "a bb\n    "
	    "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "cccccccc\n    d\n");
	buf_fini(&b);
}

/* RFC 3461 4.1: NEVER excludes the rest; nothing given means failure and delay. */
static void
who_wants_what(void **state)
{
	static const struct {
		unsigned notify;
		bool failure, delay, success;
	} cases[] = {
	    {0, true, true, false},
	    {NOTIFY_NEVER, false, false, false},
	    {NOTIFY_FAILURE, true, false, false},
	    {NOTIFY_DELAY, false, true, false},
	    {NOTIFY_SUCCESS, false, false, true},
	    {NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, true, true, true},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		assert_int_equal(bounce_wanted(cases[i].notify, BOUNCE_FAILURE), cases[i].failure);
		assert_int_equal(bounce_wanted(cases[i].notify, BOUNCE_DELAY), cases[i].delay);
		assert_int_equal(bounce_wanted(cases[i].notify, BOUNCE_SUCCESS), cases[i].success);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(failure_notice),
	    cmocka_unit_test(delay_and_success),
	    cmocka_unit_test(eight_bit),
	    cmocka_unit_test(no_line_is_too_long),
	    cmocka_unit_test(who_wants_what),
	};

	return cmocka_run_group_tests_name("report", tests, utc, NULL);
}
