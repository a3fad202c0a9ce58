/*
 * address_list_test.c - addresses out of header values, and completing them in place.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/mail/address_list.h"

static const struct address_rules rules = {{"orig.test", 9}, {"dom.test", 8}, true, true};

/* value; the addresses joined by "|"; the value rewritten (NULL = unchanged). */
static const struct {
	const char *value, *addresses, *rewritten;
} rows[] = {
    {"", "", NULL},
    {" ", "", NULL},
    {"(c)", "", NULL},
    {",,", "", NULL},
    {" a", "a", " a@orig.test"},
    {" a, b@c, d@e.f", "a|b@c|d@e.f", " a@orig.test, b@c.dom.test, d@e.f"},
    {"John Doe <jd>", "jd", "John Doe <jd@orig.test>"},
    {"\"John, Doe\" <jd>, (c) x (d)", "jd|x", "\"John, Doe\" <jd@orig.test>, (c) x@orig.test (d)"},
    {"John Doe", "John|Doe", "John@orig.test Doe@orig.test"},
    {"J. R. Doe <j@k.l>", "j@k.l", NULL},
    {"Group: a, b@c.d;, c", "a|b@c.d|c", "Group: a@orig.test, b@c.d;, c@orig.test"},
    {"undisclosed-recipients:;", "", NULL},
    {"x:y:a;", "a", "x:y:a@orig.test;"},
    {"g: n <d@e.f>;", "d@e.f", NULL},
    {"<a>, <>", "a|", "<a@orig.test>, <>"},
    {"a <>", "", NULL},
    {"<@x,@y:a>", "a", "<@x,@y:a@orig.test>"},
    {"<@x,@y:a@b.c>, d@e.f", "a@b.c|d@e.f", NULL},
    {"<@x,@y", "", NULL},
    {"a (very (nested) comment), b", "a|b", "a@orig.test (very (nested) comment), b@orig.test"},
    {"\"q s\"", "q s", "\"q s\"@orig.test"},
    {"\"a@b\"", "a@b", "a@b.dom.test"},
    {"\"a.b\"@c", "a.b@c", "a.b@c.dom.test"},
    {"=?utf-8?q?J=2C?= <j>", "j", "=?utf-8?q?J=2C?= <j@orig.test>"},
    {"a;b", "a|b", "a@orig.test;b@orig.test"},
    {"a,,b", "a|b", "a@orig.test,,b@orig.test"},
    {"a.b. c @ d . e", "a.b.c@d.e", NULL},
    {"Foo <a> bar", "a|bar", "Foo <a@orig.test> bar@orig.test"},
    {"a@[1.2.3.4], b", "a@[1.2.3.4]|b", "a@[1.2.3.4], b@orig.test"},
    {"a@[IPv6:::1]", "a@[IPv6:::1]", NULL},
    {"a@b.", "a@b.", "a@b"},
    {"a@", "", NULL},
    {"@b", "", NULL},
    {"a <b", "b", "a <b@orig.test"},
    {"a <b, c", "b|c", "a <b@orig.test, c@orig.test"},
    {"a> b", "a|b", "a@orig.test> b@orig.test"},
    {"\"unterminated", "", NULL},
    {"(unterminated a", "", NULL},
    {"a\\", "", NULL},
    {" a,\n b,\n\tc", "a|b|c", " a@orig.test,\n b@orig.test,\n\tc@orig.test"},
    {"\"a\r\n b\"@c.d", "a b@c.d", NULL},
    {"a@b@c", "a@b@c", "a@b@c.dom.test"},
    {"a\\,b@c.d", "a,b@c.d", NULL},
    {"a\\,b", "a,b", "\"a,b\"@orig.test"},
    {"a..b", "a..b", "a..b@orig.test"},
    {"a b c <d>;", "d", "a b c <d@orig.test>;"},
    {"a <b> <c>", "b|c", "a <b@orig.test> <c@orig.test>"},
    {"a@b c@d", "a@b|c@d", "a@b.dom.test c@d.dom.test"},
    {"<a b>, c@d.e", "c@d.e", NULL},
    {"<a,b>", "a|b", "<a@orig.test,b@orig.test>"},
    {"a(c)@b(d)", "a@b", "a(c)@b.dom.test(d)"},
    {"N (c) <a (d) @ b (e)>", "a@b", "N (c) <a (d) @ b.dom.test (e)>"},
    {"a[b]c@d.e", "a|c@d.e", "a@orig.test [b]c@d.e"},
    {"\"a@b\"c@d.e\"f\"", "a@b|c@d.e|f", "a@b.dom.test c@d.e f@orig.test"},
    {"\"\" <a@b.c>", "a@b.c", NULL},
    {"\"\"", "", NULL},
    {"\"a\"\"b\"@c.d", "a|b@c.d", "a@orig.test \"b\"@c.d"},
    {"a\x01z, b@c.d", "b@c.d", NULL},
    {"\xc3\xa9", "\xc3\xa9", "\xc3\xa9@orig.test"},
    {"\xe9, b@c.d", "b@c.d", NULL},
    {"))))", "", NULL},
    {"]]]][[[[", "", NULL},
};

static void
test_next(void **state)
{
	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct address_list it;
		struct address_mailbox m;
		struct arena a = {0};
		struct buf got;
		int n = 0;

		buf_init(&got, 1000);
		address_list_init(&it, str_of(rows[i].value));
		while (address_list_next(&it, &a, &m) == 1) {
			assert_true(m.from <= m.to && m.to <= strlen(rows[i].value));
			buf_printf(&got, "%s%s", n++ ? "|" : "", m.address);
		}
		if (strcmp(buf_cstr(&got), rows[i].addresses) != 0)
			print_message("%s\n", rows[i].value);
		assert_string_equal(buf_cstr(&got), rows[i].addresses);
		assert_int_equal(address_list_next(&it, &a, &m), 0);
		buf_fini(&got);
		arena_fini(&a);
	}
}

static void
test_rewrite(void **state)
{
	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		const char *want = rows[i].rewritten ? rows[i].rewritten : rows[i].value;
		struct buf b;

		buf_init(&b, 1000);
		assert_int_equal(address_list_rewrite(&b, str_of(rows[i].value), &rules),
		    rows[i].rewritten != NULL);
		assert_string_equal(buf_cstr(&b), want);
		buf_fini(&b);
	}
}

static void
test_mailbox(void **state)
{
	struct str text = STR(" \"J, D\" (x)\n <j@k.l> , (c) m@n.o (d)");
	struct address_list it;
	struct address_mailbox m;
	struct arena a = {0};

	address_list_init(&it, text);
	assert_int_equal(address_list_next(&it, &a, &m), 1);
	assert_true(str_eq(m.phrase, STR("\"J, D\" (x)")));
	assert_true(str_eq((struct str){text.p + m.from, m.to - m.from}, STR("j@k.l")));
	assert_int_equal(address_list_next(&it, &a, &m), 1);
	assert_int_equal(m.phrase.n, 0);
	assert_true(str_eq((struct str){text.p + m.from, m.to - m.from}, STR("m@n.o")));
	assert_int_equal(address_list_next(&it, &a, &m), 0);
	arena_fini(&a);
}

/* Hostile depth and number: it ends, with an answer, in linear time. */
static void
test_limits(void **state)
{
	struct address_list it;
	struct address_mailbox m;
	struct arena a = {0};
	struct buf b, out;
	int rc, n = 0;

	buf_init(&b, 1 << 20);
	buf_init(&out, 1 << 20);
	for (int i = 0; i < 100000; i++)
		buf_addc(&b, '(');
	address_list_init(&it, buf_str(&b));
	assert_int_equal(address_list_next(&it, &a, &m), 0);
	buf_clear(&b);
	for (int i = 0; i < 100000; i++)
		buf_adds(&b, i % 2 ? "<\"" : "[:");
	assert_int_equal(address_list_rewrite(&out, buf_str(&b), &rules), 0);
	buf_clear(&b);
	buf_clear(&out);
	for (int i = 0; i < ADDRESS_LIST_MAX + 1; i++)
		buf_adds(&b, "a,");
	address_list_init(&it, buf_str(&b));
	while ((rc = address_list_next(&it, &a, &m)) == 1)
		n++;
	assert_int_equal(rc, -E2BIG);
	assert_int_equal(n, ADDRESS_LIST_MAX);
	assert_int_equal(address_list_rewrite(&out, buf_str(&b), &rules), 1);
	assert_int_equal(buf_str(&out).n, 12 * ADDRESS_LIST_MAX + 2);
	buf_fini(&out);
	buf_init(&out, 100);
	assert_int_equal(address_list_rewrite(&out, buf_str(&b), &rules), -ENOBUFS);
	assert_int_equal(buf_str(&out).n, 0);
	buf_fini(&out);
	buf_fini(&b);
	arena_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_next),
	    cmocka_unit_test(test_rewrite),
	    cmocka_unit_test(test_mailbox),
	    cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
