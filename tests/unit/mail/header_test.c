/*
 * header_test.c - header lines, their names, the collector; Content-Transfer-Encoding; UTF-8.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/mail/header.h"
#include "pp/mail/mime.h"
#include "pp/mail/utf8.h"

static void
test_parse(void **state)
{
	static const struct {
		const char *line, *name, *value; /* NULL = no header */
	} rows[] = {
	    {"To: a", "To", " a"},
	    {"to:a", "to", "a"},
	    {"X-Foo!#:", "X-Foo!#", ""},
	    {"Subject \t : x: y", "Subject", " x: y"},
	    {"", NULL, NULL},
	    {":", NULL, NULL},
	    {" To: a", NULL, NULL},
	    {"To", NULL, NULL},
	    {"hello world: x", NULL, NULL},
	    {"From me Sat Nov 21 21:16:28 2026", NULL, NULL},
	    {"T\xc3\xb6: a", NULL, NULL},
	    {"T\x01: a", NULL, NULL},
	    {"T\x7f: a", NULL, NULL},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct header h;
		bool is = header_parse(str_of(rows[i].line), &h);

		assert_int_equal(is, rows[i].name != NULL);
		assert_int_equal(header_parse(str_of(rows[i].line), NULL), is);
		if (is) {
			assert_true(str_eq(h.name, str_of(rows[i].name)));
			assert_true(str_eq(h.value, str_of(rows[i].value)));
			assert_int_equal(h.id, header_id(h.name));
		}
	}
	assert_false(header_parse(STR("T\0: a"), NULL));
}

static void
test_names(void **state)
{
	for (unsigned id = HDR_OTHER + 1; id < HDR_COUNT; id++)
		assert_int_equal(header_id(str_of(header_name((enum header_id)id))), id);
	assert_int_equal(header_id(STR("message-ID")), HDR_MESSAGE_ID);
	assert_int_equal(header_id(STR("X-To")), HDR_OTHER);
	assert_int_equal(header_id(STR("")), HDR_OTHER);
	assert_string_equal(header_name(HDR_OTHER), "");
	assert_true(header_flags(HDR_RESENT_BCC) & HDR_IS_RESENT);
	assert_true(header_flags(HDR_BCC) & HDR_IS_EXTRACT);
	assert_false(header_flags(HDR_SUBJECT) & (HDR_IS_SENDER | HDR_IS_RECIPIENT));
	assert_true(header_is_mailbox_line(STR("From me")));
	assert_true(header_is_mailbox_line(STR(">>From me")));
	assert_false(header_is_mailbox_line(STR("From: me")));
}

/* Pieces are separated by "|" when the line goes on, by newline when it ends. Headers that come out
 * are printed in brackets; E = the end, with the piece that was not taken. */
static void
collect(const char *input, size_t limit, struct buf *got)
{
	struct header_collector c;
	struct str rest = str_of(input);
	bool more = true;

	header_collector_init(&c, limit);
	while (more && rest.n) {
		size_t at = 0;
		enum header_event e;

		while (at < rest.n && rest.p[at] != '|' && rest.p[at] != '\n')
			at++;
		e = header_push(&c, str_head(rest, at), at == rest.n || rest.p[at] == '\n');
		if (e == HEADER_READY)
			buf_printf(got, "[%s%s]", buf_cstr(&c.text), c.cut ? "!" : "");
		else if (e == HEADER_END)
			buf_printf(got, "E%.*s", (int)at, rest.p);
		else
			rest = str_from(rest, at + 1);
		more = e != HEADER_END;
	}
	if (header_finish(&c))
		buf_printf(got, "[%s%s]", buf_cstr(&c.text), c.cut ? "!" : "");
	assert_false(header_finish(&c));
	header_collector_fini(&c);
}

static void
test_collect(void **state)
{
	static const struct {
		size_t limit;
		const char *input, *want;
	} rows[] = {
	    {100, "A: b\nC: d\n\nbody\n", "[A: b][C: d]E"},
	    {100, "A: b\n  c\n\td\nE: f\n\n", "[A: b\n  c\n\td][E: f]E"},
	    {100, "A: b|c|d\n e|f\n\n", "[A: bcd\n ef]E"},
	    {100, "A: b\nbody: no\nno header\n", "[A: b][body: no]Eno header"},
	    {100, "no header\n", "Eno header"},
	    {100, " folded first\n", "E folded first"},
	    {100, "\nbody", "E"},
	    {100, "A: b", "[A: b]"},
	    {100, "A: b\n c", "[A: b\n c]"},
	    {100, "", ""},
	    {100, "A: b|nope: c\nD: e\n", "[A: bnope: c][D: e]"},
	    {100, "A: b\n \nC: d\n", "[A: b\n ][C: d]"},
	    {6, "A: bcdef\nG: h\n", "[A: bcd!][G: h]"},
	    {6, "A: b\n cd\nG: h\n", "[A: b\n !][G: h]"},
	    {5, "A: b\n cd\n e\nG: h\n", "[A: b!][G: h]"},
	    {4, "A: b\n cd\n e\nG: h\n", "[A: b!][G: h]"},
	    {4, "A: b\nG: h\n", "[A: b][G: h]"},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct buf got;

		buf_init(&got, 1000);
		collect(rows[i].input, rows[i].limit, &got);
		assert_string_equal(buf_cstr(&got), rows[i].want);
		buf_fini(&got);
	}
}

static void
test_encoding(void **state)
{
	static const struct {
		const char *value;
		enum body_encoding want;
	} rows[] = {
	    {" 8bit", BODY_8BIT},
	    {"\n (c) BINARY ", BODY_8BIT},
	    {"7bit", BODY_7BIT},
	    {"Quoted-Printable;x", BODY_7BIT},
	    {" base64 (x)", BODY_7BIT},
	    {"8bits", BODY_UNKNOWN},
	    {"", BODY_UNKNOWN},
	    {"\"8bit\"", BODY_UNKNOWN},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++)
		assert_int_equal(mime_encoding(str_of(rows[i].value)), rows[i].want);
}

static void
test_utf8(void **state)
{
	static const struct {
		const char *text;
		bool valid;
		const char *clean;
	} rows[] = {
	    {"", true, ""},
	    {"abc", true, "abc"},
	    {"\xc3\xa9", true, "\xc3\xa9"},
	    {"\xe2\x82\xac", true, "\xe2\x82\xac"},
	    {"\xf0\x9f\x92\xa9", true, "\xf0\x9f\x92\xa9"},
	    {"\xf4\x8f\xbf\xbf", true, "\xf4\x8f\xbf\xbf"},
	    {"\xf4\x90\x80\x80", false, "????"},
	    {"\xc0\xaf", false, "??"},
	    {"\xe0\x80\xaf", false, "???"},
	    {"\xed\xa0\x80", false, "???"},
	    {"\xf0\x80\x80\xaf", false, "????"},
	    {"\xe2\x82", false, "??"},
	    {"a\x80z", false, "a?z"},
	    {"\xff", false, "?"},
	    {"a\r\n\t\x7f\x01z", true, "a?????z"},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		char text[32] = "";

		assert_int_equal(utf8_valid(str_of(rows[i].text)), rows[i].valid);
		memcpy(text, rows[i].text, strlen(rows[i].text));
		utf8_clean(text, strlen(rows[i].text));
		assert_string_equal(text, rows[i].clean);
	}
	assert_false(utf8_has_8bit(STR("0123456789")));
	assert_true(utf8_has_8bit(STR("0123\x80"
				      "56789")));
	assert_true(utf8_has_8bit(STR("0123456789\x80")));
	assert_false(utf8_has_8bit(STR("")));
	assert_true(utf8_has_control(STR("a\0b")));
	assert_false(utf8_has_control(STR("a b\xc2\x85")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_collect),
	    cmocka_unit_test(test_encoding),
	    cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
