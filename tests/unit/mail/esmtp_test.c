/*
 * esmtp_test.c - parameters of MAIL and RCPT read and written, xtext, HELO, EHLO answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/mail/esmtp.h"

enum { ALL = ESMTP_SIZE | ESMTP_8BITMIME | ESMTP_DSN | ESMTP_SMTPUTF8 | ESMTP_AUTH };

#define TEN(x) x x x x x x x x x x

static void
test_command(void **state)
{
	static const struct {
		const char *line, *verb, *args;
	} rows[] = {
	    {"QUIT", "QUIT", ""},
	    {" mail \t FROM:<a> x ", "mail", "FROM:<a> x"},
	    {"MAIL\tFROM:<a>\r\n", "MAIL", "FROM:<a>"},
	    {"", NULL, NULL},
	    {" \t", NULL, NULL},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct str verb, args;
		bool any = esmtp_command(str_of(rows[i].line), &verb, &args);

		assert_int_equal(any, rows[i].verb != NULL);
		if (any) {
			assert_true(str_eq(verb, str_of(rows[i].verb)));
			assert_true(str_eq(args, str_of(rows[i].args)));
		}
	}
}

/* reply: "" = accepted, else the reply. again: what the client would print; NULL = the same. */
static const struct {
	const char *in, *reply, *again;
} mail_rows[] = {
    {"", "", NULL},
    {"SIZE=1", "", NULL},
    {"size=007", "", "SIZE=7"},
    {"SIZE=999999999999999999", "", NULL},
    {"SIZE=1000000000000000000", "552 5.3.4 Message size exceeds fixed limit", NULL},
    {"SIZE=99999999999999999999999999999999999999", "552 5.3.4 Message size exceeds fixed limit",
	NULL},
    {"SIZE=abc", "501 5.5.4 Bad message size syntax", NULL},
    {"SIZE=", "501 5.5.4 Bad message size syntax", NULL},
    {"SIZE=-1", "501 5.5.4 Bad message size syntax", NULL},
    {"SIZE=+1", "501 5.5.4 Bad message size syntax", NULL},
    {"SIZE", "555 5.5.4 Unsupported option: SIZE", NULL},
    {"SIZE=1 SIZE=2", "", "SIZE=2"},
    {"BODY=8BITMIME", "", NULL},
    {"body=7bit", "", "BODY=7BIT"},
    {"BODY=9BIT", "555 5.5.4 Unsupported option: BODY=9BIT", NULL},
    {"BODY=", "555 5.5.4 Unsupported option: BODY=", NULL},
    {"RET=FULL", "", NULL},
    {"RET=hdrs", "", "RET=HDRS"},
    {"RET=X", "501 5.5.4 Bad RET parameter syntax", NULL},
    {"RET=FULL RET=FULL", "501 5.5.4 Bad RET parameter syntax", NULL},
    {"ENVID=a", "", NULL},
    {"ENVID=a+2Bb+3D", "", NULL},
    {"ENVID=a+2bb", "", "ENVID=a+2Bb"},
    {"ENVID=a+20b", "", NULL},
    {"ENVID=a=b", "", "ENVID=a+3Db"},
    {"ENVID=", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+2", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+zz", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+0A", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+0D", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+00", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+7F", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a+FF", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=\xc3\xa9", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=a ENVID=b", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"ENVID=" TEN(TEN("a")), "", NULL},
    {"ENVID=" TEN(TEN("+2B")), "", NULL},
    {"ENVID=" TEN(TEN("a")) "a", "501 5.5.4 Bad ENVID parameter syntax", NULL},
    {"SMTPUTF8", "", NULL},
    {"SMTPUTF8=1", "555 5.5.4 Unsupported option: SMTPUTF8=1", NULL},
    {"AUTH=<>", "", NULL},
    {"AUTH=e+3Dmc2@x.y", "", NULL},
    {"AUTH=", "", ""},
    {"AUTH=+0A", "", ""},
    {"AUTH", "555 5.5.4 Unsupported option: AUTH", NULL},
    {"FOO=1", "555 5.5.4 Unsupported option: FOO=1", NULL},
    {"FOO", "555 5.5.4 Unsupported option: FOO", NULL},
    {"=", "555 5.5.4 Unsupported option: =", NULL},
    {"SIZE=1 <x>", "555 5.5.4 Unsupported option: <x>", NULL},
    {"NOTIFY=NEVER", "555 5.5.4 Unsupported option: NOTIFY=NEVER", NULL},
    {"a\x01z", "555 5.5.4 Unsupported option: a?z", NULL},
    {TEN(TEN("x")) "y", "555 5.5.4 Unsupported option: " TEN(TEN("x")), NULL},
    {"SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<>", "", NULL},
};

static void
assert_reply(struct arena *a, enum esmtp_error e, struct str bad, const char *want)
{
	char got[256] = "";

	if (e != ESMTP_OK) {
		struct status s = esmtp_error_status(a, e, bad);

		snprintf(got, sizeof(got), "%u %s %s", s.smtp, status_dsn(&s).text, s.text);
	}
	assert_string_equal(got, want);
}

static void
assert_printed(const struct buf *b, const char *command, const char *in, const char *again)
{
	char want[512];

	if (again == NULL)
		again = in;
	snprintf(want, sizeof(want), "%s%s%s\r\n", command, *again ? " " : "", again);
	assert_string_equal(buf_cstr(b), want);
}

static void
test_mail(void **state)
{
	for (size_t i = 0; i < PP_COUNT(mail_rows); i++) {
		struct esmtp_mail m = {.address = "a b@c.d", .size = 42};
		struct str bad = {"", 0};
		struct arena a = {0};
		enum esmtp_error e = esmtp_mail_params(&a, str_of(mail_rows[i].in), ALL, &m, &bad);
		struct buf b;

		buf_init(&b, 1000);
		assert_reply(&a, e, bad, mail_rows[i].reply);
		if (e == ESMTP_OK) {
			assert_int_equal(esmtp_print_mail(&b, &m, ALL), 0);
			assert_printed(
			    &b, "MAIL FROM:<\"a b\"@c.d>", mail_rows[i].in, mail_rows[i].again);
		} else {
			assert_int_equal(m.size, 42);
		}
		buf_fini(&b);
		arena_fini(&a);
	}
}

static const struct {
	const char *in, *reply, *again;
} rcpt_rows[] = {
    {"", "", NULL},
    {"NOTIFY=NEVER", "", NULL},
    {"notify=delay,success,FAILURE", "", "NOTIFY=SUCCESS,FAILURE,DELAY"},
    {"NOTIFY=SUCCESS,SUCCESS", "", "NOTIFY=SUCCESS"},
    {"NOTIFY=,SUCCESS,", "", "NOTIFY=SUCCESS"},
    {"NOTIFY=", "501 5.5.4 Error: Bad NOTIFY parameter syntax", NULL},
    {"NOTIFY=,", "501 5.5.4 Error: Bad NOTIFY parameter syntax", NULL},
    {"NOTIFY=X", "501 5.5.4 Error: Bad NOTIFY parameter syntax", NULL},
    {"NOTIFY=NEVER,SUCCESS", "501 5.5.4 Error: Bad NOTIFY parameter syntax", NULL},
    {"NOTIFY=NEVER NOTIFY=DELAY", "501 5.5.4 Error: Bad NOTIFY parameter syntax", NULL},
    {"NOTIFY=SUCCESS FAILURE", "555 5.5.4 Unsupported option: FAILURE", NULL},
    {"NOTIFY", "555 5.5.4 Unsupported option: NOTIFY", NULL},
    {"ORCPT=rfc822;a+2Bb@c.d", "", NULL},
    {"ORCPT=RFC822;a=b", "", "ORCPT=RFC822;a+3Db"},
    {"ORCPT=rfc822;", "", NULL},
    {"ORCPT=x400;a;b", "", NULL},
    {"ORCPT=utf-8;\xc3\xa9@x", "", "ORCPT=utf-8;\\x{E9}@x"},
    {"ORCPT=utf-8;a\\x{20AC}\\x{1F4A9}\\x{5C}b", "", NULL},
    {"ORCPT=utf-8;a\\x{2B}b", "", NULL},
    {"ORCPT=utf-8;a\\y", "", "ORCPT=utf-8;a\\x{5C}y"},
    {"ORCPT=a@b", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=;a", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=r+2Bf;a", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=rfc822;a+zz", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=rfc822;a+0A", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=rfc822;a+FF", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=utf-8;a\\x{0A}", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=utf-8;a\\x{110000}", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=utf-8;a\\x{D800}", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=utf-8;a\\x{}", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=utf-8;a\\x{41", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=utf-8;a\\x{0000041}", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=rfc822;a ORCPT=rfc822;b", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=" TEN(TEN("a")) ";a", "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"ORCPT=rfc822;" TEN(TEN("aaaaaa")), "501 5.5.4 Error: Bad ORCPT parameter syntax", NULL},
    {"SIZE=1", "555 5.5.4 Unsupported option: SIZE=1", NULL},
    {"NOTIFY=DELAY ORCPT=rfc822;a@b", "", NULL},
};

static void
test_rcpt(void **state)
{
	for (size_t i = 0; i < PP_COUNT(rcpt_rows); i++) {
		struct esmtp_rcpt r = {.address = "a@b"};
		struct str bad = {"", 0};
		struct arena a = {0};
		enum esmtp_error e = esmtp_rcpt_params(&a, str_of(rcpt_rows[i].in), ALL, &r, &bad);
		struct buf b;

		buf_init(&b, 1000);
		assert_reply(&a, e, bad, rcpt_rows[i].reply);
		if (e == ESMTP_OK) {
			assert_int_equal(esmtp_print_rcpt(&b, &r, ALL), 0);
			assert_printed(&b, "RCPT TO:<a@b>", rcpt_rows[i].in, rcpt_rows[i].again);
		} else {
			assert_null(r.orcpt);
		}
		buf_fini(&b);
		arena_fini(&a);
	}
}

/* What is not offered is neither accepted nor sent. */
static void
test_extensions_off(void **state)
{
	static const char *const in[] = {"SIZE=1", "BODY=7BIT", "RET=FULL", "ENVID=a", "SMTPUTF8"};
	struct esmtp_mail m = {
	    .address = "",
	    .size = 5,
	    .encoding = BODY_8BIT,
	    .ret = RET_FULL,
	    .envid = "x",
	    .smtputf8 = true,
	    .auth = "<>",
	};
	struct esmtp_rcpt r = {.address = "a", .notify = NOTIFY_NEVER, .orcpt = "rfc822;a"};
	struct arena a = {0};
	struct str bad;
	struct buf b;

	for (size_t i = 0; i < PP_COUNT(in); i++)
		assert_int_equal(
		    esmtp_mail_params(&a, str_of(in[i]), 0, &m, &bad), ESMTP_UNSUPPORTED);
	assert_int_equal(esmtp_rcpt_params(&a, STR("NOTIFY=NEVER"), ALL & ~ESMTP_DSN, &r, &bad),
	    ESMTP_UNSUPPORTED);
	buf_init(&b, 1000);
	assert_int_equal(esmtp_print_mail(&b, &m, 0), 0);
	assert_int_equal(esmtp_print_rcpt(&b, &r, 0), 0);
	assert_string_equal(buf_cstr(&b), "MAIL FROM:<>\r\nRCPT TO:<a>\r\n");
	buf_fini(&b);
	arena_fini(&a);
}

static void
test_print_errors(void **state)
{
	struct esmtp_rcpt bad = {.address = "a\r\nDATA"};
	struct esmtp_rcpt odd = {.address = "a@b", .orcpt = "no type"};
	struct esmtp_rcpt huge = {.address = "a@b"};
	char orcpt[4000] = "rfc822;";
	struct buf b;

	buf_init(&b, 20);
	assert_int_equal(esmtp_print_rcpt(&b, &bad, ALL), -EINVAL);
	assert_int_equal(buf_str(&b).n, 0);
	assert_int_equal(esmtp_print_rcpt(&b, &odd, ALL), 0);
	assert_string_equal(buf_cstr(&b), "RCPT TO:<a@b>\r\n");
	assert_int_equal(esmtp_print_rcpt(&b, &odd, ALL), -ENOBUFS);
	assert_string_equal(buf_cstr(&b), "RCPT TO:<a@b>\r\n");
	memset(orcpt + 7, 'x', sizeof(orcpt) - 8);
	huge.orcpt = orcpt;
	buf_clear(&b);
	assert_int_equal(esmtp_print_rcpt(&b, &huge, ALL), 0);
	assert_string_equal(buf_cstr(&b), "RCPT TO:<a@b>\r\n");
	buf_fini(&b);
}

static void
test_helo(void **state)
{
	static const struct {
		const char *name;
		bool valid, fqdn;
	} rows[] = {
	    {"mail.example.com", true, true},
	    {"mail.example.com.", true, true},
	    {"localhost", true, false},
	    {"host.", true, false},
	    {"a_b.c", true, true},
	    {"[1.2.3.4]", true, true},
	    {"[IPv6:fe80::1%eth0]", true, true},
	    {"1.2.3.4", false, false},
	    {"123", false, false},
	    {"", false, false},
	    {".", false, false},
	    {"a..b", false, false},
	    {"-a.b", false, false},
	    {"a-.b", false, false},
	    {"a b", false, false},
	    {"a.b\xc3\xa9", false, false},
	    {"[]", false, false},
	    {"[1.2.3.4", false, false},
	    {"[a b]", false, false},
	    {TEN("abcdef") "abc.d", true, true},
	    {TEN("abcdef") "abcd.d", false, false},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		assert_int_equal(esmtp_helo_valid(str_of(rows[i].name)), rows[i].valid);
		assert_int_equal(esmtp_helo_fqdn(str_of(rows[i].name)), rows[i].fqdn);
	}
}

static void
test_ehlo(void **state)
{
	static const struct {
		const char *lines, *discard;
		unsigned ext;
		int64_t size;
		const char *mechs, *host;
	} rows[] = {
	    {"250 x.y", "", 0, 0, "", "x.y"},
	    {"250-x.y Hello you\n250-PIPELINING\n250-SIZE 10240000\n250-8bitmime\n250 DSN", "",
		ESMTP_PIPELINING | ESMTP_SIZE | ESMTP_8BITMIME | ESMTP_DSN, 10240000, "", "x.y"},
	    {"250-PIPELINING\n250-STARTTLS\n250-SMTPUTF8\n250-CHUNKING\n250-ENHANCEDSTATUSCODES\n"
	     "250-XCLIENT A\n250-ETRN\n250 VRFY",
		"",
		ESMTP_STARTTLS | ESMTP_SMTPUTF8 | ESMTP_CHUNKING | ESMTP_ENHANCED | ESMTP_XCLIENT |
		    ESMTP_ETRN | ESMTP_VRFY,
		0, "", "PIPELINING"},
	    {"250-x\n250-AUTH PLAIN login\n250 AUTH=LOGIN CRAM-MD5", "", ESMTP_AUTH, 0,
		"PLAIN LOGIN CRAM-MD5", "x"},
	    {"250-x\n250-AUTH\n250 SIZE", "", ESMTP_AUTH | ESMTP_SIZE, 0, "", "x"},
	    {"250-x\n250-AUTH a(b) " TEN("verylong") " \xc3\xa9 X_1\n250 SIZE 1x", "",
		ESMTP_AUTH | ESMTP_SIZE, 0, "X_1", "x"},
	    {"250-x\n250 SIZE 99999999999999999999", "", ESMTP_SIZE, 0, "", "x"},
	    {"250-x\n250 XFORWARD NAME ADDR source BOGUS", "",
		ESMTP_XFORWARD_NAME | ESMTP_XFORWARD_ADDR | ESMTP_XFORWARD_SOURCE, 0, "", "x"},
	    {"250-x\n250-PIPELINING\n250-DSN\n250-AUTH PLAIN\n250 SIZE 5",
		"silent, pipelining,AUTH", ESMTP_DSN | ESMTP_SIZE, 5, "", "x"},
	    {"250-x\n250-\n250-=\n250- DSN\n250-AUTHX\n250 DSNX", "", ESMTP_DSN, 0, "", "x"},
	    {"250 ", "", 0, 0, "", ""},
	    {"", "", 0, 0, "", ""},
	    {"250 x\x01y", "", 0, 0, "", "x?y"},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct esmtp_ehlo e;
		struct arena a = {0};

		esmtp_ehlo_parse(&a, str_of(rows[i].lines), str_of(rows[i].discard), &e);
		assert_int_equal(e.ext, rows[i].ext);
		assert_int_equal(e.size_limit, rows[i].size);
		assert_string_equal(e.mechs, rows[i].mechs);
		assert_string_equal(e.host, rows[i].host);
		arena_fini(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_command),
	    cmocka_unit_test(test_mail),
	    cmocka_unit_test(test_rcpt),
	    cmocka_unit_test(test_extensions_off),
	    cmocka_unit_test(test_print_errors),
	    cmocka_unit_test(test_helo),
	    cmocka_unit_test(test_ehlo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
