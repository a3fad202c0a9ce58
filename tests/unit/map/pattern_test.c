/*
 * pattern_test.c - regexp:, pcre: and tables made of tables; results as Postfix gives them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/base/fsio.h"
#include "pp/map/map.h"

static char dir[64], file[80];

static struct map *
open_map(const char *spec)
{
	struct map *m = NULL;
	struct buf err;

	buf_init(&err, 1000);
	if (map_open(spec, &m, &err) < 0)
		fail_msg("%s: %s", spec, buf_cstr(&err));
	buf_fini(&err);
	return m;
}

static void
expect(struct map *m, const char *key, int rc, const char *want)
{
	struct buf value;
	int got;

	buf_init(&value, MAP_VALUE_MAX);
	got = map_find_blk(m, str_of(key), &value);
	if (got != rc || (want && !strstr(buf_cstr(&value), want)))
		fail_msg("%s: %d \"%s\"", key, got, buf_cstr(&value));
	if (rc == 1)
		assert_string_equal(buf_cstr(&value), want);
	buf_fini(&value);
}

/* A row: the table's text, a key, its result or NULL. */
static const char *const both[][3] = {
    {"/^a(.*)b$/ got $1 ${1} $(1) $$x\n/x/ y\n", "aXXb", "got XX XX XX $x"},
    {"/^a(.*)b$/ got $1 ${1} $(1) $$x\n/x/ y\n", "AXXB", "got XX XX XX $x"},
    {"/^a(.*)b$/ got $1\n/x/ y\n", "x", "y"},
    {"/^a(.*)b$/ got $1\n/x/ y\n", "zz", NULL},
    {"/^a/i low\n", "a", "low"},
    {"/^a/i low\n", "A", NULL},
    {"!/x/ no\n/y/ yy\n", "a", "no"},
    {"!/x/ no\n/y/ yy\n", "xy", "yy"},
    {"if /a/\n/b/ ab\nendif\n!/b/ nob\n", "ab", "ab"},
    {"if /a/\n/b/ ab\nendif\n!/b/ nob\n", "b", NULL},
    {"if /a/\n/b/ ab\nendif\n!/b/ nob\n", "a", "nob"},
    {"IF !/a/\n/b/ ab\nif /c/\n/d/ cd\nENDIF\nendif\n/d/ d\n", "cd", "cd"},
    {"IF !/a/\n/b/ ab\nif /c/\n/d/ cd\nENDIF\nendif\n/d/ d\n", "acd", "d"},
    {"if/a/\n/a/ A\nendif\n", "a", "A"},
    {"|a/b| slash\n/a\\/c/ esc\n@b@ at\n", "a/b", "slash"},
    {"|a/b| slash\n/a\\/c/ esc\n@b@ at\n", "a/c", "esc"},
    {"|a/b| slash\n/a\\/c/ esc\n@b@ at\n", "b", "at"},
    {"/^b$/m ml\n", "a\nb", "ml"},
    {"/^b$/ ml\n", "a\nb", NULL},
    {"/b/   trail  \n  more  \n", "b", "trail    more"},
    {"/a{2}/ two\n/(a)|(b)/ [$1][$2]\n", "aa", "two"},
    {"/a{2}/ two\n/(a)|(b)/ [$1][$2]\n", "a", "[a][]"},
    {"/a{2}/ two\n/(a)|(b)/ [$1][$2]\n", "b", "[][b]"},
    {"/if/ word\n", "if", "word"},
};

static const char *const perl_only[][3] = {
    {"/a.c/ nl\n", "a\nc", "nl"},
    {"/a.c/s nl\n", "a\nc", NULL},
    {"/a b # c/x ext\n", "ab", "ext"},
    {"/b/A anchored\n", "ab", NULL},
    {"/(a+)/U $1\n", "aaa", "a"},
    {"/^\\d+(?=x)/ digits\n", "12x", "digits"},
    {"/a$/E end\n", "a\n", NULL},
    {"/(a+)+$/ slow\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", NULL},
};

static void
table(const char *type, const char *const row[3])
{
	char spec[120];
	struct map *m;

	snprintf(spec, sizeof(spec), "%s:%s", type, file);
	assert_int_equal(fsio_replace(AT_FDCWD, file, str_of(row[0]), 0600), 0);
	m = open_map(spec);
	expect(m, row[1], row[2] != NULL, row[2]);
	expect(m, row[1], row[2] != NULL, row[2]);
	map_unref(m);
}

static void
patterns(void **state)
{
	for (size_t i = 0; i < PP_COUNT(both); i++) {
		table("regexp", both[i]);
		table("pcre", both[i]);
	}
	for (size_t i = 0; i < PP_COUNT(perl_only); i++)
		table("pcre", perl_only[i]);
	table("regexp", (const char *const[]){"/a+/x basic\n", "a+", "basic"});
	table("regexp", (const char *const[]){"/a+/x basic\n", "aa", NULL});
}

static void
errors(void **state)
{
	static const char *const t[][2] = {
	    {"/b/ x\n/a\n", "line 2: the pattern has no end"},
	    {"/a/\n", "line 1: a pattern without a result"},
	    {"/(/ x\n", "line 1: "},
	    {"/a/q x\n", "line 1: unknown flag \"q\""},
	    {"/a/ $2\n", "$ without the number of a group"},
	    {"/a/ $x\n", "$ without the number of a group"},
	    {"/a/ $0\n", "$ without the number of a group"},
	    {"/(a)/ ${1\n", "$ without the number of a group"},
	    {"/(a)/ $1x\n", "$ without the number of a group"},
	    {"!/(a)/ $1\n", "$ in the result of a negated pattern"},
	    {"# c\nendif\n", "line 2: endif without its if"},
	    {"if /b/\n/b/ ok\n", "an if without its endif"},
	    {"if /b/ text\n/b/ ok\nendif\n", "line 1: text behind the pattern of an if"},
	    {"foo bar\n", "line 1: a pattern between two equal characters"},
	    {"  /lead/ x\n", "line 1: the first line begins with a blank"},
	    {"if\n", "a pattern between"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++)
		for (int perl = 0; perl < 2; perl++) {
			char spec[120];
			struct map *m;

			snprintf(spec, sizeof(spec), "%s:%s", perl ? "pcre" : "regexp", file);
			assert_int_equal(fsio_replace(AT_FDCWD, file, str_of(t[i][0]), 0600), 0);
			m = open_map(spec);
			expect(m, "b", -EINVAL, t[i][1]);
			expect(m, "b", -EINVAL, file);
			map_unref(m);
		}
}

static void
nesting(void **state)
{
	struct buf spec, err;
	struct map *m = NULL;

	for (int depth = 2; depth < 40; depth += 30) {
		buf_init(&spec, 10000);
		buf_init(&err, 1000);
		for (int i = 0; i < depth; i++)
			buf_adds(&spec, "unionmap:{");
		buf_adds(&spec, "static:x");
		for (int i = 0; i < depth; i++)
			buf_addc(&spec, '}');
		assert_int_equal(map_open(buf_cstr(&spec), &m, &err), depth < 10 ? 0 : -EINVAL);
		if (depth < 10) {
			expect(m, "any", 1, "x");
			map_unref(m);
		} else
			assert_non_null(strstr(buf_cstr(&err), "bad syntax"));
		buf_fini(&spec);
		buf_fini(&err);
	}
}

static void
many(void **state)
{
	struct map *m = open_map("unionmap:{static:one,inline:{a=x},static:two}");
	const struct map_key partial = {STR("a"), true};
	struct buf value;
	bool was_seen[3] = {false};

	expect(m, "a", 1, "one,x,two");
	expect(m, "b", 1, "one,two");
	assert_true(map_is_static(m));
	/* One of them is a pattern: all are asked for whole keys only. */
	buf_init(&value, 100);
	assert_int_equal(map_find_keys_blk(m, &partial, 1, &value, NULL), 0);
	map_unref(m);
	m = open_map("unionmap:{inline:{a=b},inline:{zz=1},{inline:{zz=2}}}");
	expect(m, "zz", 1, "1,2");
	expect(m, "y", 0, NULL);
	assert_int_equal(map_find_keys_blk(m, &partial, 1, &value, NULL), 1);
	map_unref(m);
	m = open_map("pipemap:{inline:{a=b},inline:{b=c}}");
	expect(m, "a", 1, "c");
	expect(m, "b", 0, NULL);
	map_unref(m);
	m = open_map("unionmap:{static:a,fail:x}");
	expect(m, "a", -EAGAIN, "fails on purpose");
	map_unref(m);
	m = open_map("unionmap:{static:a,hash:/nonexistent/x}");
	assert_false(map_is_static(m));
	expect(m, "a", -ENOENT, "/nonexistent/x");
	map_unref(m);
	m = open_map("randmap:{0,1,{2}}");
	for (int i = 0; i < 10000 && !(was_seen[0] && was_seen[1] && was_seen[2]); i++) {
		assert_int_equal(map_find_blk(m, STR("x"), &value), 1);
		was_seen[buf_cstr(&value)[0] - '0'] = true;
	}
	assert_true(was_seen[0] && was_seen[1] && was_seen[2]);
	map_unref(m);
	buf_fini(&value);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(patterns),
	    cmocka_unit_test(errors),
	    cmocka_unit_test(many),
	    cmocka_unit_test(nesting),
	};
	int rc;

	snprintf(dir, sizeof(dir), "/tmp/pattern-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(file, sizeof(file), "%s/table", dir);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(file);
	rmdir(dir);
	return rc;
}
