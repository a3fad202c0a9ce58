/*
 * text_test.c - the lines of tables, as postmap and postalias take them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/map/text.h"

struct want {
	int rc, line;
	const char *key, *value;
	enum map_line_fault why;
};

static void
assert_str(struct str got, const char *want)
{
	if (!str_eq(got, str_of(want)))
		fail_msg("\"%.*s\" instead of \"%s\"", STR_FMT(got), want);
}

static void
lines(void **state)
{
	static const char text[] = "# comment\n"
				   "Key value of it\n"
				   "\n"
				   "a   b\n"
				   "# inside\n"
				   "  c\n"
				   "novalue\n"
				   "x\ty \t\n"
				   "\"q k\"@d  v\n"
				   "\"open v\n"
				   "a\\ b v\n"
				   "al: x\n"
				   "last end";
	static const struct want want[] = {
	    {1, 2, "Key", "value of it"},
	    {1, 4, "a", "b  c"},
	    {-EINVAL, 7, "novalue", "", MAP_LINE_NO_PAIR},
	    {1, 8, "x", "y"},
	    {1, 9, "\"q k\"@d", "v"},
	    {-EINVAL, 10, "", "", MAP_LINE_QUOTE},
	    {1, 11, "a\\ b", "v"},
	    {1, 12, "al:", "x"},
	    {1, 13, "last", "end"},
	    {0, 13, "", ""},
	};
	struct str rest = str_of(text);
	struct map_line l = {0};
	struct buf logical;
	int count = 0;

	buf_init(&logical, 100);
	for (size_t i = 0; i < PP_COUNT(want); i++) {
		assert_int_equal(map_line_next(&rest, &count, &logical, &l), want[i].rc);
		assert_int_equal(l.line, want[i].line);
		assert_str(l.key, want[i].key);
		assert_str(l.value, want[i].value);
		if (want[i].rc < 0)
			assert_int_equal(l.why, want[i].why);
	}
	buf_fini(&logical);
}

static void
first_and_long(void **state)
{
	struct str rest = STR(" lonely continuation\nk v\nlong 0123456789012345\nx y\n");
	struct map_line l = {0};
	struct buf logical;
	int count = 0;

	buf_init(&logical, 20);
	assert_int_equal(map_line_next(&rest, &count, &logical, &l), -EINVAL);
	assert_int_equal(l.why, MAP_LINE_BLANK);
	assert_str(l.text, " lonely continuation");
	assert_int_equal(map_line_next(&rest, &count, &logical, &l), 1);
	assert_int_equal(map_line_next(&rest, &count, &logical, &l), -EINVAL);
	assert_int_equal(l.why, MAP_LINE_LONG);
	assert_int_equal(map_line_next(&rest, &count, &logical, &l), 1);
	assert_str(l.key, "x");
	buf_fini(&logical);
}

/* What Postfix's own postalias made of the same lines. */
static void
aliases(void **state)
{
	static const struct {
		const char *text, *key, *value;
		enum map_line_fault why;
	} t[] = {
	    {"al: bob", "al", "bob"},
	    {"Bo: \"|cmd arg\", /file, :include:/x", "Bo", "\"|cmd arg\", /file, :include:/x"},
	    {"nocolon x", NULL, NULL, MAP_LINE_NO_PAIR},
	    {"foo@bar.com: x", NULL, NULL, MAP_LINE_NOT_LOCAL},
	    {"a%b: x", NULL, NULL, MAP_LINE_NOT_LOCAL},
	    {"\"quo ted\": x", "quo ted", "x"},
	    {"empty:", NULL, NULL, MAP_LINE_NO_PAIR},
	    {"a:b c:d", "a", "b c:d"},
	    {":x", NULL, NULL, MAP_LINE_NO_PAIR},
	    {"x y: z", "x y", "z"},
	    {"k (com): v", "k (com)", "v"},
	    {"a1: a,b , c", "a1", "a, b, c"},
	    {"a2:  \"|x y\" , (com) d (e)", "a2", "\"|x y\", (com) d (e)"},
	    {"a3: foo@bar.com,\"f o\"@x.y", "a3", "foo@bar.com, \"f o\"@x.y"},
	    {"a4: x\n y, z", "a4", "x y, z"},
	    {"a6: /file/name, \\root", "a6", "/file/name, root"},
	    {"a7: user+ext <x@y>, Name <a@b>", "a7", "user+ext <x@y>, Name <a@b>"},
	    {"a8: \"unterminated", "a8", "\"unterminated\""},
	    {"a9: [x]", "a9", "[x]"},
	    {"\"\":x", "", "x"},
	    {"a10: \"\"", "a10", "\"\""},
	    {"a11: a;b", "a11", "a;b"},
	    {"A12 : sp", "A12", "sp"},
	    {"a.13: x", "a.13", "x"},
	    {"a,14: y", NULL, NULL, MAP_LINE_NO_PAIR},
	    {"x", NULL, NULL, MAP_LINE_NO_PAIR},
	    {"owner-a: \"a\\\"b\"", "owner-a", "\"a\\\"b\""},
	    {"a15: a=b|c", "a15", "a=b|c"},
	    {"\"a\\\"b\": c", "a\"b", "c"},
	    {"a: b \\", "a", "b \\"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct str rest = str_of(t[i].text);
		struct buf logical, key, value;
		struct map_line l = {0};
		int count = 0, rc;

		buf_init(&logical, 1000);
		buf_init(&key, 1000);
		buf_init(&value, 1000);
		rc = map_alias_next(&rest, &count, &logical, &key, &value, &l);
		if (rc != (t[i].key ? 1 : -EINVAL))
			fail_msg("%s: %d", t[i].text, rc);
		if (t[i].key) {
			assert_str(buf_str(&key), t[i].key);
			assert_str(buf_str(&value), t[i].value);
		} else
			assert_int_equal(l.why, t[i].why);
		assert_int_equal(map_alias_next(&rest, &count, &logical, &key, &value, &l), 0);
		buf_fini(&logical);
		buf_fini(&key);
		buf_fini(&value);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines),
	    cmocka_unit_test(first_and_long),
	    cmocka_unit_test(aliases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
