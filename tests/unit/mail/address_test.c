/*
 * address_test.c - SMTP paths, quoting, parts and completion of addresses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/mail/address.h"

static void
test_path(void **state)
{
	static const struct {
		const char *args;
		enum address_error error;
		const char *address, *rest;
	} rows[] = {
	    {"FROM:<a@b.c>", ADDRESS_OK, "a@b.c", ""},
	    {"from:<a@b.c> SIZE=1  X ", ADDRESS_OK, "a@b.c", "SIZE=1  X"},
	    {"FROM: \t <a@b.c>\tSIZE=1", ADDRESS_OK, "a@b.c", "SIZE=1"},
	    {"FROM:a@b.c SIZE=1", ADDRESS_OK, "a@b.c", "SIZE=1"},
	    {"FROM:\"a b\"@b.c x", ADDRESS_OK, "a b@b.c", "x"},
	    {"FROM:<>", ADDRESS_OK, "", ""},
	    {"FROM:< > RET=FULL", ADDRESS_OK, "", "RET=FULL"},
	    {"FROM:< a@b.c >", ADDRESS_OK, "a@b.c", ""},
	    {"FROM:<@x,@y:a@b.c>", ADDRESS_OK, "a@b.c", ""},
	    {"FROM:<@[1.2.3.4]:a@b.c>", ADDRESS_OK, "a@b.c", ""},
	    {"FROM:<\"a b\"@c.d>", ADDRESS_OK, "a b@c.d", ""},
	    {"FROM:<\"a\\\"b\"@c.d>", ADDRESS_OK, "a\"b@c.d", ""},
	    {"FROM:<\"a>b\"@c.d>", ADDRESS_OK, "a>b@c.d", ""},
	    {"FROM:<a\\b@c.d>", ADDRESS_OK, "ab@c.d", ""},
	    {"FROM:<a\\ b@c.d>", ADDRESS_OK, "a b@c.d", ""},
	    {"FROM:<a..b@c.d>", ADDRESS_OK, "a..b@c.d", ""},
	    {"FROM:<.a.@c.d>", ADDRESS_OK, ".a.@c.d", ""},
	    {"FROM:<a @ c . d>", ADDRESS_OK, "a@c.d", ""},
	    {"FROM:<(x)a(y (z))@c.d>", ADDRESS_OK, "a@c.d", ""},
	    {"FROM:<a@b@c>", ADDRESS_OK, "a@b@c", ""},
	    {"FROM:<a:b@c.d>", ADDRESS_OK, "a:b@c.d", ""},
	    {"FROM:<a!b%c@d>", ADDRESS_OK, "a!b%c@d", ""},
	    {"FROM:<a>", ADDRESS_OK, "a", ""},
	    {"FROM:<a@b_c.d.>", ADDRESS_OK, "a@b_c.d.", ""},
	    {"FROM:<a@[1.2.3.4]>", ADDRESS_OK, "a@[1.2.3.4]", ""},
	    {"FROM:<a@[IPv6:::1]>", ADDRESS_OK, "a@[IPv6:::1]", ""},
	    {"FROM:<a@[ipv6:::ffff:1.2.3.4]>", ADDRESS_OK, "a@[ipv6:::ffff:1.2.3.4]", ""},
	    {"FROM:<\"a\".b@c.d>", ADDRESS_OK, "a.b@c.d", ""},
	    {"FROM:<a@\"b\">", ADDRESS_OK, "a@b", ""},
	    {"", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"FROM", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"FROM:", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"FROM:  ", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"FROM :<a@b.c>", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"TO:<a@b.c>", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"FROMX:<a@b.c>", ADDRESS_NO_KEYWORD, NULL, NULL},
	    {"FROM:<a@b.c", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@b.c>x", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@b.c>SIZE=1", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:a@b.c>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<<a@b.c>>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a b@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\"a\rb\"@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:\"a\r\"@c.d", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@b\r.c>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a,b@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a;b@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a(x)b@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<@b>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<@>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<@x:>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<()>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\"\">", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\"\"@b.c>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\"a@b.c>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a\\>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:a\\", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<(a@b.c>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[foo bar]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[foo.test]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[300.2.3.4]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[1.2.3]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[::1]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[IPv6:]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[IPv6:1::2::3]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[IPv6:1.2.3.4]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[x]y>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@[x].y>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@x[y]>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@b..c>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@-b>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@b->", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a@1.2.3.4>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<-a@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a\x01@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\"a\x7f\"@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\"a\tb\"@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a\\\rb@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<a\xff@c.d>", ADDRESS_SYNTAX, NULL, NULL},
	    {"FROM:<\xc3\xa9@c.d>", ADDRESS_NOT_ASCII, NULL, NULL},
	    {"FROM:<a@\xc3\xa9.d>", ADDRESS_NOT_ASCII, NULL, NULL},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct address_path p = {"unchanged", {"x", 1}};
		struct arena a = {0};
		enum address_error e = address_path(&a, str_of(rows[i].args), "FROM", 0, &p);

		if (e != rows[i].error)
			print_message("%s\n", rows[i].args);
		assert_int_equal(e, rows[i].error);
		assert_string_equal(p.address, e == ADDRESS_OK ? rows[i].address : "unchanged");
		assert_true(str_eq(p.rest, str_of(e == ADDRESS_OK ? rows[i].rest : "x")));
		arena_fini(&a);
	}
}

static void
test_path_utf8_and_nul(void **state)
{
	struct address_path p;
	struct arena a = {0};

	assert_int_equal(
	    address_path(&a, STR("TO:<\xc3\xa9@\xc3\xa9.d>"), "TO", ADDRESS_UTF8, &p), ADDRESS_OK);
	assert_string_equal(p.address, "\xc3\xa9@\xc3\xa9.d");
	assert_int_equal(
	    address_path(&a, STR("TO:<\xc0\xaf@d>"), "TO", ADDRESS_UTF8, &p), ADDRESS_SYNTAX);
	assert_int_equal(address_path(&a, STR("TO:<a\0b@d>"), "TO", 0, &p), ADDRESS_SYNTAX);
	assert_int_equal(address_path(&a, STR("TO:<a@d\0>"), "TO", 0, &p), ADDRESS_SYNTAX);
	arena_fini(&a);
}

static void
test_lengths(void **state)
{
	static const struct {
		size_t local, label, labels;
		bool valid;
	} rows[] = {
	    {64, 63, 1, true},
	    {900, 3, 1, true},
	    {1, 64, 1, false},
	    {1, 50, 5, true}, /* 254 */
	    {1, 50, 6, false},
	    {ADDRESS_MAX - 2, 1, 1, true},
	    {ADDRESS_MAX - 1, 1, 1, false},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct address_path p;
		struct arena a = {0};
		struct buf b;

		buf_init(&b, 8192);
		buf_adds(&b, "TO:<");
		for (size_t n = 0; n < rows[i].local; n++)
			buf_addc(&b, 'a');
		for (size_t n = 0; n < rows[i].labels; n++) {
			buf_addc(&b, n ? '.' : '@');
			for (size_t k = 0; k < rows[i].label; k++)
				buf_addc(&b, 'b');
		}
		buf_addc(&b, '>');
		assert_int_equal(address_path(&a, buf_str(&b), "TO", 0, &p),
		    rows[i].valid ? ADDRESS_OK : ADDRESS_SYNTAX);
		buf_fini(&b);
		arena_fini(&a);
	}
}

static void
test_parse(void **state)
{
	const char *address = NULL;
	struct arena a = {0};

	assert_int_equal(address_parse(&a, STR(" <a@b.c> "), 0, &address), ADDRESS_OK);
	assert_string_equal(address, "a@b.c");
	assert_int_equal(address_parse(&a, STR("postmaster"), 0, &address), ADDRESS_OK);
	assert_string_equal(address, "postmaster");
	assert_int_equal(address_parse(&a, STR("a b"), 0, &address), ADDRESS_SYNTAX);
	assert_int_equal(address_parse(&a, STR("<a> b"), 0, &address), ADDRESS_SYNTAX);
	assert_int_equal(address_parse(&a, STR(""), 0, &address), ADDRESS_SYNTAX);
	assert_string_equal(address, "postmaster");
	arena_fini(&a);
}

static void
test_quote(void **state)
{
	static const struct {
		const char *internal, *external; /* NULL = -EINVAL */
	} rows[] = {
	    {"", ""},
	    {"a@b", "a@b"},
	    {"a", "a"},
	    {"a.b+c=d!e%f@g", "a.b+c=d!e%f@g"},
	    {"a b@c", "\"a b\"@c"},
	    {"a b", "\"a b\""},
	    {"a..b@c", "\"a..b\"@c"},
	    {".a@c", "\".a\"@c"},
	    {"a.@c", "\"a.\"@c"},
	    {"a\"b\\c@d", "\"a\\\"b\\\\c\"@d"},
	    {"a@b@c", "\"a@b\"@c"},
	    {"a,b@c", "\"a,b\"@c"},
	    {"a>b@c", "\"a>b\"@c"},
	    {"a[b@c", "\"a[b\"@c"},
	    {"@c", "\"\"@c"},
	    {"a@", "a@"},
	    {"\xc3\xa9@c", "\xc3\xa9@c"},
	    {"a@[1.2.3.4]", "a@[1.2.3.4]"},
	    {"a\nb@c", NULL},
	    {"a\rb@c", NULL},
	    {"a\tb@c", NULL},
	    {"a\x7f@c", NULL},
	    {"a@b> SIZE=1", NULL},
	    {"a@b c", NULL},
	    {"a@[b c]", NULL},
	    {"a@b\"", NULL},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct arena a = {0};
		const char *q = address_quoted(&a, str_of(rows[i].internal));
		struct buf b;

		buf_init(&b, 100);
		buf_adds(&b, "x");
		if (rows[i].external == NULL) {
			assert_null(q);
			assert_int_equal(address_quote(&b, str_of(rows[i].internal)), -EINVAL);
			assert_string_equal(buf_cstr(&b), "x");
		} else {
			assert_string_equal(q, rows[i].external);
			assert_int_equal(address_quote(&b, str_of(rows[i].internal)), 0);
			assert_string_equal(buf_cstr(&b) + 1, rows[i].external);
		}
		buf_fini(&b);
		arena_fini(&a);
	}
}

static void
test_quote_full(void **state)
{
	struct buf b;

	buf_init(&b, 6);
	assert_int_equal(address_quote(&b, STR("a b@c")), -ENOBUFS);
	assert_int_equal(buf_str(&b).n, 0);
	assert_int_equal(address_quote(&b, STR("abc@de")), 0);
	assert_string_equal(buf_cstr(&b), "abc@de");
	buf_fini(&b);
}

static void
test_parts(void **state)
{
	struct str local, domain;
	struct arena a = {0};

	assert_true(address_split(STR("a@b@C.d"), &local, &domain));
	assert_true(str_eq(local, STR("a@b")) && str_eq(domain, STR("C.d")));
	assert_string_equal(address_domain_key(&a, domain), "c.d");
	assert_string_equal(address_domain_key(&a, STR("X.")), "x");
	assert_string_equal(address_domain_key(&a, STR("")), "");
	assert_false(address_split(STR("a"), &local, &domain));
	assert_true(str_eq(local, STR("a")) && domain.n == 0);
	assert_true(address_eq(STR("a@B.c"), STR("a@b.C")));
	assert_false(address_eq(STR("A@b"), STR("a@b")));
	assert_false(address_eq(STR("a"), STR("a@")));
	arena_fini(&a);
}

static void
test_valid(void **state)
{
	assert_true(address_valid(STR("a")));
	assert_true(address_valid(STR("a@b")));
	assert_false(address_valid(STR("")));
	assert_false(address_valid(STR("a@")));
	assert_false(address_valid(STR("@b")));
	assert_false(address_valid(STR("a\0@b")));
	assert_false(address_valid(STR("a@b\r\nRCPT TO:<c>")));
}

static void
test_qualify(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
	    {"", ""},
	    {"a", "a@orig.test"},
	    {"a b", "a b@orig.test"},
	    {"a@host", "a@host.dom.test"},
	    {"a@b.c", "a@b.c"},
	    {"a@b.c.", "a@b.c"},
	    {"a@b.", "a@b"},
	    {"a@b..", "a@b.."},
	    {"a@.", "a@."},
	    {"a@", "a@"},
	    {"a@[1.2.3.4]", "a@[1.2.3.4]"},
	    {"a@b@c", "a@b@c.dom.test"},
	};
	static const struct address_rules all = {
	    {"orig.test", 9},
	    {"dom.test", 8},
	    true,
	    true,
	};
	static const struct address_rules none = {{"orig.test", 9}, {"dom.test", 8}, false, false};
	static const struct address_rules empty = {{"", 0}, {"", 0}, true, true};
	struct arena a = {0};

	for (size_t i = 0; i < PP_COUNT(rows); i++)
		assert_string_equal(address_qualify(&a, str_of(rows[i].in), &all), rows[i].want);
	assert_string_equal(address_qualify(&a, STR("a"), &none), "a");
	assert_string_equal(address_qualify(&a, STR("a@b"), &none), "a@b");
	assert_string_equal(address_qualify(&a, STR("a"), &empty), "a");
	assert_string_equal(address_qualify(&a, STR("a@b"), &empty), "a@b");
	arena_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_path),
	    cmocka_unit_test(test_path_utf8_and_nul),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_quote),
	    cmocka_unit_test(test_quote_full),
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_valid),
	    cmocka_unit_test(test_qualify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
