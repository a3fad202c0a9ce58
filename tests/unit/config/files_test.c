/*
 * files_test.c - the grammars of main.cf and master.cf, and what they say of bad lines.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "config/internal.h"
#include "pp/config/lines.h"
#include "pp/config/list.h"

/* The report as one text, "w3: text|e4: text|". */
static void
notes(const struct config_report *r, struct buf *to)
{
	buf_clear(to);
	for (const struct config_note *n = r->first; n; n = n->next)
		buf_printf(to, "%c%d: %s|", n->is_error ? 'e' : 'w', n->line, n->text);
}

static void
main_cf(void **state)
{
	static const struct {
		const char *text, *settings, *notes;
	} cases[] = {
	    {"", "", ""},
	    {"a = b\n", "a=b@1;", ""},
	    {"\xef\xbb\xbf"
	     "a = b\n",
		"a=b@1;", ""},
	    {"a=b", "a=b@1;", ""},
	    {"a =   b c \t \n", "a=b c@1;", ""},
	    {"a =\n", "a=@1;", ""},
	    {"# c\n  # c\n\na = b\r\n", "a=b@4;", ""},
	    {"a = b,\n c\n# com\n\n\td\ne = f\n", "a=b, c\td@1;e=f@6;", ""},
	    {"a = b # no comment\n", "a=b # no comment@1;", ""},
	    {"a = x = y\n", "a=x = y@1;", ""},
	    {"a = 1\nb = 2\na = 3\n", "a=3@3;b=2@2;", "w3: overriding earlier entry: a=1|"},
	    {"foo\n", "", "e1: missing '=' after attribute name: \"foo\"|"},
	    {"a = 1\na b = 2\n= 3\n", "a=1@1;",
		"e2: missing '=' after attribute name: \"a b = 2\"|"
		"e3: missing attribute name: \"= 3\"|"},
	    {" x = y\na = b\n", "a=b@2;",
		"w1: logical line must not start with whitespace; it is ignored|"},
	    {"a =\n  b\n", "a=b@1;", ""},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct settings set = {0};
		struct arena a = {0};
		struct config_report r;
		struct buf got;

		buf_init(&got, 10000);
		config_report_init(&r);
		maincf_parse(str_of(cases[i].text), "main.cf", &set, &a, &r);
		for (struct setting_entry *e = set.hash; e; e = e->hh.next)
			buf_printf(
			    &got, "%s=%s@%d;", e->setting.name, e->setting.value, e->setting.line);
		assert_string_equal(buf_cstr(&got), cases[i].settings);
		notes(&r, &got);
		assert_string_equal(buf_cstr(&got), cases[i].notes);
		buf_fini(&got);
		config_report_fini(&r);
		settings_fini(&set);
		arena_fini(&a);
	}
}

static void
main_cf_is_text(void **state)
{
	struct settings set = {0};
	struct arena a = {0};
	struct config_report r;
	struct buf big;

	config_report_init(&r);
	assert_int_equal(maincf_parse(STR("a = b\0c\n"), "main.cf", &set, &a, &r), -EINVAL);
	buf_init(&big, 1 << 20);
	buf_adds(&big, "a = ");
	while (big.n < CONFIG_VALUE_MAX + 10)
		buf_adds(&big, "0123456789abcdef");
	buf_adds(&big, "\nb = 1\n");
	assert_int_equal(maincf_parse(buf_str(&big), "main.cf", &set, &a, &r), -EINVAL);
	assert_int_equal(r.errors, 2);
	assert_non_null(settings_find(&set, STR("b")));
	buf_fini(&big);
	config_report_fini(&r);
	settings_fini(&set);
	arena_fini(&a);
}

static void
master_cf(void **state)
{
	static const struct {
		const char *text, *rows, *notes;
	} cases[] = {
	    {"smtp inet n - y - - smtpd\n", "smtp/inet smtpd 1 max -1 wake 0 [] {}", ""},
	    {"127.0.0.1:2525 inet n - n - 7 smtpd -v\n -o a=b\n -o c=d\n",
		"127.0.0.1:2525/inet smtpd 1 max 7 wake 0 [-v ] {a=b;c=d;}", ""},
	    {"[::1]:0 inet n - n - 0 smtpd -o { a = b c } -ox=y\n",
		"[::1]:0/inet smtpd 1 max 0 wake 0 [] {a=b c;x=y;}", ""},
	    {"pickup fifo n - n 60? 1 pickup\n", "pickup/fifo pickup 1 max 1 wake 60000? [] {}",
		""},
	    {"p unix - n n - - pipe\n  flags=R user=x argv=/bin/y -o z ${a}\n",
		"p/unix pipe 0 max -1 wake 0 [flags=R user=x argv=/bin/y -o z ${a} ] {}", ""},
	    {"a unix - - n - - smtp\nb unix - - n - - smtp\na unix - - n - 3 smtp\n",
		"a/unix smtp 1 max 3 wake 0 [] {}b/unix smtp 1 max -1 wake 0 [] {}",
		"w3: overriding earlier entry: a/unix of line 1|"},
	    {"x unix - - n - - frobnicate\n", "x/unix frobnicate 0 max -1 wake 0 [] {}",
		"w1: unknown command \"frobnicate\": the service x is ignored|"},
	    {"smtp inet n - n - 1 postscreen\n", "smtp/inet postscreen 0 max 1 wake 0 [] {}",
		"w1: there is no postscreen in this version of pennypost: nothing will listen on "
		"smtp|"},
	    {"smtp inet n\n", "",
		"e1: 3 columns where 8 are expected: service type private unprivileged chroot "
		"wakeup maxproc command|"},
	    {"\n# c\nsmtp tcp n - n - - smtpd\n", "",
		"e3: type \"tcp\" must be inet, unix, fifo, pass or unix-dgram|"},
	    {"smtp inet x - n - - smtpd\n", "", "e1: private \"x\" must be y, n or -|"},
	    {"smtp inet n - Y - - smtpd\n", "", "e1: chroot \"Y\" must be y, n or -|"},
	    {"smtp inet n - n 5m - smtpd\n", "",
		"e1: wakeup time \"5m\" must be a number of seconds, perhaps with a ? behind it, "
		"or -|"},
	    {"smtp inet n - n - many smtpd\n", "",
		"e1: process limit \"many\" must be a number or -|"},
	    {"70000 inet n - n - - smtpd\n", "",
		"e1: service \"70000\" must be a port from 0 to 65535, a service name, or "
		"host:port|"},
	    {"::1:25 inet n - n - - smtpd\n", "",
		"e1: service \"::1:25\" must have its IPv6 address in brackets: [::1]:25|"},
	    {"smtp inet n - n - - smtpd -o\n", "", "e1: -o \"\" must be followed by name=value|"},
	    {"smtp inet n - n - - smtpd -o foo\n", "",
		"e1: -o \"foo\" must be followed by name=value or { name = value }|"},
	    {"smtp inet n - n - - smtpd -o { a = b\n", "",
		"e1: argument \"{ a = b\" has a { without its }|"},
	    {" smtp inet n - n - - smtpd\n", "",
		"e1: a line that begins with a blank continues a row, but there is none before "
		"it|"},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct config_data d = {0};
		struct config_report r;
		struct buf got;

		buf_init(&got, 10000);
		config_report_init(&r);
		mastercf_parse(str_of(cases[i].text), "master.cf", &d, &r);
		for (struct service_entry *e = d.services; e; e = e->next) {
			buf_printf(&got, "%s/%s %s %d max %d wake %d%s [", e->service.name,
			    e->service.type, e->service.command, e->service.is_available,
			    (int)e->service.maxproc, (int)e->service.wakeup,
			    e->service.wakeup_if_used ? "?" : "");
			for (size_t j = 0; e->service.args[j]; j++)
				buf_printf(&got, "%s ", e->service.args[j]);
			buf_adds(&got, "] {");
			for (struct service_option *o = e->options; o;
			     o = (struct service_option *)o->next)
				buf_printf(&got, "%s=%s;", o->name, o->value);
			buf_adds(&got, "}");
			settings_fini(&e->overrides);
		}
		assert_string_equal(buf_cstr(&got), cases[i].rows);
		notes(&r, &got);
		assert_string_equal(buf_cstr(&got), cases[i].notes);
		buf_fini(&got);
		config_report_fini(&r);
		arena_fini(&d.arena);
	}
}

static void
lists(void **state)
{
	static const struct {
		const char *text, *want;
		int rc;
	} cases[] = {
	    {"", "", 0},
	    {"a, b\tc,,d ", "<a><b><c><d>", 0},
	    {"inline:{a=b, {c = d e}} x", "<inline:{a=b, {c = d e}}><x>", 0},
	    {"{ a b } c", "<{ a b }><c>", 0},
	    {"a {b", "<a>", -EINVAL},
	    {"a} b", "", -EINVAL},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct str rest = str_of(cases[i].text), s;
		struct buf got;
		int rc;

		buf_init(&got, 1000);
		while ((rc = list_next(&rest, &s)) > 0)
			buf_printf(&got, "<%.*s>", STR_FMT(s));
		assert_int_equal(rc, cases[i].rc);
		assert_string_equal(buf_cstr(&got), cases[i].want);
		buf_fini(&got);
	}
	assert_true(str_eq(list_unbrace(STR("{ a b }")), STR("a b")));
	assert_true(str_eq(list_unbrace(STR("a b}")), STR("a b}")));
}

static void
reports_are_bounded(void **state)
{
	struct config_report r;
	struct buf text;
	unsigned kept = 0;

	config_report_init(&r);
	for (int i = 0; i < REPORT_NOTES_MAX + 10; i++)
		config_report_warn(&r, "f", 1, "%d", i);
	for (const struct config_note *n = r.first; n; n = n->next)
		kept++;
	assert_int_equal(kept, REPORT_NOTES_MAX);
	assert_int_equal(r.warnings, REPORT_NOTES_MAX + 10);
	buf_init(&text, 100);
	config_note_text(r.first, &text);
	assert_string_equal(buf_cstr(&text), "f, line 1: 0");
	buf_fini(&text);
	config_report_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(main_cf),
	    cmocka_unit_test(main_cf_is_text),
	    cmocka_unit_test(master_cf),
	    cmocka_unit_test(lists),
	    cmocka_unit_test(reports_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
