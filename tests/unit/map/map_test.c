/*
 * map_test.c - tables: every type, changed files, missing files, the asynchronous form.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/fsio.h"
#include "pp/map/map.h"
#include "pp/runtime/loop.h"

static char dir[] = "/tmp/map_test.XXXXXX";

static const char *
path_of(const char *name)
{
	static char path[2][256];
	static unsigned turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static void
put(const char *name, const char *text)
{
	assert_int_equal(fsio_replace(AT_FDCWD, path_of(name), str_of(text), 0600), 0);
}

/* A spec with the directory instead of the @. */
static struct map *
open_map(const char *spec)
{
	struct buf text, err;
	struct map *m = NULL;

	buf_init(&text, 4096);
	buf_init(&err, 4096);
	for (; *spec; spec++)
		if (*spec == '@')
			buf_adds(&text, dir);
		else
			buf_addc(&text, *spec);
	if (map_open(buf_cstr(&text), &m, &err) != 0)
		fail_msg("%s: %s", buf_cstr(&text), buf_cstr(&err));
	buf_fini(&text);
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

static void
text_types(void **state)
{
	static const char *const types[] = {
	    "hash:", "btree:", "lmdb:", "cdb:", "texthash:", "proxy:hash:", ""};

	put("t", "A@Example.com  one\nb two\n three\na@example.com duplicate\nbad\n");
	for (size_t i = 0; i < PP_COUNT(types); i++) {
		char spec[64];
		struct map *m;

		snprintf(spec, sizeof(spec), "%s@/t", types[i]);
		m = open_map(spec);
		assert_false(map_is_empty(m) || map_is_static(m));
		expect(m, "a@example.com", 1, "one");
		expect(m, "A@EXAMPLE.COM", 1, "one");
		expect(m, "b", 1, "two three");
		expect(m, "bad", 0, NULL);
		expect(m, "c", 0, NULL);
		expect(m, "", 0, NULL);
		map_unref(m);
	}
}

static void
changes(void **state)
{
	struct map *m;
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

	put("c", "k one\n");
	m = open_map("hash:@/c");
	expect(m, "k", 1, "one");
	put("c", "k two\n");
	expect(m, "k", 1, "two");
	/* A time stamp from the past counts as a change, too: restored backups have one. */
	put("c", "k six\n");
	assert_int_equal(utimensat(AT_FDCWD, path_of("c"), old, 0), 0);
	expect(m, "k", 1, "six");
	expect(m, "k", 1, "six");
	unlink(path_of("c"));
	expect(m, "k", -ENOENT, "/c: No such file or directory");
	put("c", "k back\n");
	expect(m, "k", 1, "back");
	assert_int_equal(mkdir(path_of("d"), 0700), 0);
	map_unref(m);
	m = open_map("hash:@/d");
	expect(m, "k", -EISDIR, "/d: Is a directory");
	map_unref(m);
}

static void
several(void **state)
{
	struct map *m;

	put("t", "a one\n");
	m = open_map("inline:{b=x}, hash:@/t  static:all");
	expect(m, "b", 1, "x");
	expect(m, "a", 1, "one");
	expect(m, "z", 1, "all");
	map_unref(m);
	/* What cannot be read is no "not found". */
	m = open_map("hash:@/missing static:all");
	expect(m, "b", -ENOENT, "missing");
	map_unref(m);
	m = open_map("");
	assert_true(map_is_empty(m) && map_is_static(m));
	expect(m, "b", 0, NULL);
	map_unref(m);
}

static void
small_types(void **state)
{
	struct map *m = open_map("inline:{ A=1, {b c= long value }, d=}");

	expect(m, "a", 1, "1");
	expect(m, "b c", 1, "long value");
	assert_true(map_is_static(m));
	map_unref(m);
	m = open_map("static:{ a text }");
	expect(m, "anything", 1, "a text");
	map_unref(m);
	setenv("MAP_TEST_X", "env", 1);
	m = open_map("environ:");
	expect(m, "MAP_TEST_X", 1, "env");
	expect(m, "MAP_TEST_NONE", 0, NULL);
	map_unref(m);
	m = open_map("fail:now");
	expect(m, "x", -EAGAIN, "fail:now fails on purpose");
	map_unref(m);
}

static void
cidr(void **state)
{
	struct map *m;

	put("n", "# networks\n"
		 "10.0.0.1 host\n"
		 "10.0.0.0/8 ten\n"
		 "!192.168.0.0/16 not private\n"
		 "if 192.168.1.0/24\n"
		 "192.168.1.7 seven\n"
		 "if !192.168.1.128/25\n"
		 "0.0.0.0/0 low\n"
		 "endif\n"
		 "endif\n"
		 "192.168.0.0/16 private\n");
	m = open_map("cidr:@/n");
	expect(m, "10.0.0.1", 1, "host");
	expect(m, "10.9.9.9", 1, "ten");
	expect(m, "8.8.8.8", 1, "not private");
	expect(m, "2001:db8::1", 1, "not private");
	expect(m, "192.168.1.7", 1, "seven");
	expect(m, "192.168.1.8", 1, "low");
	expect(m, "192.168.1.200", 1, "private");
	expect(m, "192.168.2.1", 1, "private");
	expect(m, "example.com", 0, NULL);
	map_unref(m);
	put("n", "2001:db8::/32 doc\n[::1]/128 me\n::ffff:10.0.0.0/104 mapped\n");
	m = open_map("cidr:@/n");
	expect(m, "2001:db8:1::", 1, "doc");
	expect(m, "::1", 1, "me");
	expect(m, "10.1.2.3", 1, "mapped");
	expect(m, "::ffff:10.1.2.3", 1, "mapped");
	expect(m, "11.1.2.3", 0, NULL);
	map_unref(m);
}

static void
cidr_errors(void **state)
{
	static const char *const cases[][2] = {
	    {"10.0.0.1/8 x\n",
		"line 1: \"10.0.0.1/8\" has bits set behind the length of its network: "
		"perhaps \"10.0.0.0/8\""},
	    {"# c\nexample.com x\n", "line 2: \"example.com\" is neither an address nor a network"},
	    {"10.0.0.0/33 x\n", "must be from 0 to 32"},
	    {"10.0.0.0/8\n", "a network without a result"},
	    {"endif\n", "endif without its if"},
	    {"if 10.0.0.0/8\n10.0.0.1 x\n", "an if without its endif"},
	    {"2001:db8::1/32 x\n", "perhaps \"[2001:db8::]/32\""},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct map *m;

		put("n", cases[i][0]);
		m = open_map("cidr:@/n");
		expect(m, "10.0.0.1", -EINVAL, cases[i][1]);
		expect(m, "10.0.0.1", -EINVAL, cases[i][1]);
		map_unref(m);
	}
}

static void
bad_specs(void **state)
{
	static const char *const cases[][2] = {
	    {"mysql:/x",
		"this version has no table type \"mysql\", only hash btree lmdb cdb texthash"},
	    {"nothing", "\"nothing\" is no table: type:name is expected"},
	    {"hash:relative", "must have an absolute path"},
	    {"inline:x", "bad syntax: \"inline:x\"; need \"inline:{name=value...}\""},
	    {"inline:{}", "bad syntax: \"inline:{}\"; need"},
	    {"inline:{x}", "missing '=' after attribute name: \"inline:{x}\"; need"},
	    {"inline:{a=b", "a brace without its partner"},
	    {"hash:/x inline:{=b}", "missing attribute name: \"inline:{=b}\""},
	    {"regexp:x", "must have an absolute path"},
	    {"unionmap:x", "bad syntax: \"unionmap:x\"; need \"unionmap:{type:name...}\""},
	    {"pipemap:{}", "bad syntax: \"pipemap:{}\"; need \"pipemap:{type:name...}\""},
	    {"randmap:{}", "bad syntax: \"randmap:{}\"; need \"randmap:{value...}\""},
	    {"unionmap:{static:x,nosuch:x}", "no table type \"nosuch\""},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct map *m = NULL;
		struct buf err;

		buf_init(&err, 4096);
		assert_int_equal(map_open(cases[i][0], &m, &err), -EINVAL);
		assert_null(m);
		if (!strstr(buf_cstr(&err), cases[i][1]))
			fail_msg("%s: %s", cases[i][0], buf_cstr(&err));
		buf_fini(&err);
	}
	assert_string_equal(map_type_name(0), "hash");
	assert_null(map_type_name(100));
}

static void
key_forms(void **state)
{
	const struct map_key keys[] = {
	    {STR("mail.example.com"), false}, {STR("example.com"), true}, {STR("10.0.0.1"), false}};
	struct map *m;
	struct buf value;
	unsigned hit = 9;

	put("n", "10.0.0.0/8 ten\n");
	put("t", "example.com dom\n");
	buf_init(&value, 100);
	m = open_map("cidr:@/n");
	assert_int_equal(map_find_keys_blk(m, keys, 3, &value, &hit), 1);
	assert_int_equal(hit, 2);
	assert_string_equal(buf_cstr(&value), "ten");
	map_unref(m);
	m = open_map("hash:@/t");
	assert_int_equal(map_find_keys_blk(m, keys, 3, &value, &hit), 1);
	assert_int_equal(hit, 1);
	map_unref(m);
	/* A table of patterns is asked for the whole key only. */
	m = open_map("static:x");
	assert_int_equal(map_find_keys_blk(m, keys + 1, 1, &value, &hit), 0);
	map_unref(m);
	buf_fini(&value);
}

static void
permissions(void **state)
{
	struct map *m;
	struct buf text, want;

	put("t", "a b\n");
	buf_init(&text, 1000);
	buf_init(&want, 1000);
	m = open_map("hash:@/t static:x");
	assert_int_equal(map_check_permissions_blk(m, &text), 0);
	map_unref(m);
	m = open_map("hash:@/t hash:@/missing static:x");
	assert_int_equal(chmod(path_of("t"), 0644), 0);
	assert_int_equal(map_check_permissions_blk(m, &text), 1);
	buf_printf(&want, "%s is readable by everybody: chmod 600 %s", path_of("t"), path_of("t"));
	buf_printf(&want, "; %s: No such file or directory", path_of("missing"));
	assert_string_equal(buf_cstr(&text), buf_cstr(&want));
	buf_fini(&text);
	buf_fini(&want);
	map_unref(m);
}

struct asking {
	struct map_query q;
	struct map_key key;
	struct post start;
	struct loop *loop;
	struct lane *lane;
	struct map *map;
	bool is_inside;
	int result;
	char value[32];
};

static void
answered(struct map_query *q)
{
	struct asking *a = PP_CONTAINER(q, struct asking, q);

	assert_false(a->is_inside);
	PP_ON(a->loop);
	a->result = q->result;
	snprintf(a->value, sizeof(a->value), "%s", buf_cstr(&q->value));
	map_query_fini(q);
	loop_stop(a->loop);
}

static void
ask(struct post *p)
{
	struct asking *a = PP_CONTAINER(p, struct asking, start);

	a->is_inside = true;
	map_find(a->map, a->lane, &a->q, &a->key, 1, answered);
	map_unref(a->map); /* the query holds its own */
	a->is_inside = false;
}

static void
asynchronous(void **state)
{
	struct asking a = {
	    .key = {STR("k"), false}, .loop = loop_new("test"), .lane = lane_new("slow", 2)};

	put("t", "k value\n");
	a.map = open_map("hash:@/t");
	post_to(a.loop, &a.start, ask);
	loop_run(a.loop);
	assert_int_equal(a.result, 1);
	assert_string_equal(a.value, "value");
	lane_free(a.lane);
	loop_free(a.loop);
}

static int
setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int
teardown(void **state)
{
	static const char *const files[] = {"t", "n", "c"};

	for (size_t i = 0; i < PP_COUNT(files); i++)
		unlink(path_of(files[i]));
	rmdir(path_of("d"));
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_types),
	    cmocka_unit_test(changes),
	    cmocka_unit_test(several),
	    cmocka_unit_test(small_types),
	    cmocka_unit_test(cidr),
	    cmocka_unit_test(cidr_errors),
	    cmocka_unit_test(bad_specs),
	    cmocka_unit_test(key_forms),
	    cmocka_unit_test(permissions),
	    cmocka_unit_test(asynchronous),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
