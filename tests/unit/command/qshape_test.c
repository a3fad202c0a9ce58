/*
 * qshape_test.c - the table: every file of the corpus as Postfix shows it, and its arithmetic.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "command/qshape.h"
#include "pp/base/fsio.h"
#include "pp/runtime/loop.h"

static const char *root;
static char scratch[64];

static const struct qshape_options plain = {
    .buckets = 10, .width = 80, .min_subdomains = 5, .tick = 5};

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Rows of equal count have no order in the original: lines behind the head are sorted. */
static void
sorted(struct arena *a, struct str text, struct buf *to)
{
	char *lines[2000], *head = NULL;
	size_t n = 0;
	struct str line;

	while (str_token(&text, "\n", &line) && n < PP_COUNT(lines)) {
		char *one = arena_str(a, line);

		if (head == NULL)
			head = one;
		else
			lines[n++] = one;
	}
	qsort(lines, n, sizeof(char *), by_text);
	buf_printf(to, "%s\n", head ? head : "");
	for (size_t i = 0; i < n; i++)
		buf_printf(to, "%s\n", lines[i]);
}

static void
assert_table(const struct qshape_options *o, int64_t now, struct str messages, struct str want,
    const char *name)
{
	struct buf got = {.max = 1 << 20}, ours = {.max = 1 << 20}, theirs = {.max = 1 << 20};
	struct arena a = {0};
	struct qshape_table t;

	qshape_table_init(&t, o, now);
	qshape_count_all(&t, messages);
	qshape_print(&t, &got);
	sorted(&a, buf_str(&got), &ours);
	sorted(&a, want, &theirs);
	if (strcmp(buf_cstr(&ours), buf_cstr(&theirs)) != 0)
		print_message("%s\n", name);
	assert_string_equal(buf_cstr(&ours), buf_cstr(&theirs));
	qshape_table_fini(&t);
	buf_fini(&got);
	buf_fini(&ours);
	buf_fini(&theirs);
	arena_fini(&a);
}

static int64_t
field(const struct buf *meta, const char *name, int64_t otherwise)
{
	const char *p = strstr(buf_cstr(meta), name);
	struct str s = str_of(p ? p + strlen(name) : "");
	size_t n = 0;
	int64_t value = otherwise;

	while (s.n && !str_isdigit(s.p[0]) && s.p[0] != '\n')
		s = str_from(s, 1);
	while (n < s.n && str_isdigit(s.p[n]))
		n++;
	return str_number(str_head(s, n), 0, INT64_MAX / 2, &value) == 0 ? value : otherwise;
}

static mode_t
mode_of(const struct buf *meta)
{
	int64_t decimal = field(meta, "\"mode\"", 700);

	return (mode_t)(decimal % 10 + decimal / 10 % 10 * 8 + decimal / 100 % 10 * 64);
}

static bool
read_file(const char *folder, const char *name, struct buf *to)
{
	char path[1024];

	buf_clear(to);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return fsio_read_all(AT_FDCWD, path, to) >= 0;
}

static void
one_case(const char *folder, bool is_whole)
{
	static const struct {
		const char *whole, *damaged;
		bool by_sender, with_parents;
	} kinds[] = {{"expected/qshape.txt", "qshape.out", false, false},
	    {"expected/qshape-s.txt", "none", true, false},
	    {"expected/qshape-p.txt", "none", false, true}};
	struct buf meta = {.max = 1 << 20}, text = {.max = 8 << 20}, want = {.max = 1 << 20};
	char path[200];

	assert_true(read_file(folder, "meta.json", &meta));
	assert_true(read_file(folder, "qfile", &text));
	snprintf(path, sizeof(path), "%s/ABCDEF", scratch);
	assert_int_equal(fsio_replace(AT_FDCWD, path, buf_str(&text), mode_of(&meta)), 0);
	fsio_set_mtime(AT_FDCWD, path, field(&meta, "\"mtime\"", 1795296000));
	for (size_t i = 0; i < PP_COUNT(kinds); i++) {
		struct qshape_options o = plain;
		struct buf messages = {.max = 1 << 20};

		o.by_sender = kinds[i].by_sender;
		o.with_parents = kinds[i].with_parents;
		o.min_subdomains = o.with_parents ? 2 : 5;
		qshape_file(path, o.by_sender, &messages);
		/* Empty: the original did not come to an end. */
		if (read_file(folder, is_whole ? kinds[i].whole : kinds[i].damaged, &want) &&
		    want.n)
			assert_table(&o, field(&meta, "\"qshape_now\"", 0), buf_str(&messages),
			    buf_str(&want), folder);
		buf_fini(&messages);
	}
	assert_int_equal(unlink(path), 0);
	buf_fini(&meta);
	buf_fini(&text);
	buf_fini(&want);
}

static void
corpus(void **state)
{
	static const char *const kinds[] = {"cases", "damaged"};
	size_t n = 0;

	for (size_t i = 0; i < PP_COUNT(kinds); i++) {
		char folder[512], one[1024];
		struct dirent *d;
		DIR *dir;

		snprintf(folder, sizeof(folder), "%s/tests/corpus/%s", root, kinds[i]);
		dir = opendir(folder);
		assert_non_null(dir);
		while ((d = readdir(dir)) != NULL) {
			snprintf(one, sizeof(one), "%s/%s/qfile", folder, d->d_name);
			if (d->d_name[0] == '.' || access(one, R_OK) < 0)
				continue;
			one[strlen(one) - strlen("/qfile")] = '\0';
			one_case(one, i == 0);
			n++;
		}
		closedir(dir);
	}
	assert_true(n > 100);
}

static void
domains(void **state)
{
	static const struct {
		const char *address, *domain;
	} t[] = {
	    {"", "MAILER-DAEMON"},
	    {"User@Example.COM", "example.com"},
	    {"a@b@c.test", "c.test"},
	    {"local", "local"},
	    {"x@", ""},
	    {"x@.a..b.test.", "a.b.test"},
	    {"x@.", "."},
	    {"x@a...b", "a..b"},
	    {"x@y\nz", "y\nz"},
	    {"a\nx@y", "a\nx@y"},
	    {"x@\xc3\x84.test", "\xc3\x84.test"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		char to[QSHAPE_ADDRESS_MAX + 1];
		struct str s = qshape_domain(str_of(t[i].address), to);

		assert_true(str_eq(s, str_of(t[i].domain)));
	}
}

static void
put(struct buf *to, int64_t time, const char *address)
{
	size_t at = qshape_put_begin(to, time);

	qshape_put(to, str_of(address));
	qshape_put_end(to, at, 1);
}

static void
ages(void **state)
{
	struct qshape_options o = {.buckets = 4, .width = 50, .min_subdomains = 2, .tick = 1};
	struct buf m = {.max = 1 << 20};
	static const int64_t seconds[] = {-100, 0, 59, 60, 119, 120, 239, 240, 100000};

	for (size_t i = 0; i < PP_COUNT(seconds); i++)
		put(&m, 1000000 - seconds[i], "x@a.test");
	assert_table(&o, 1000000, buf_str(&m),
	    STR("                                     T  1  2  4 4+\n"
		"                              TOTAL  9  3  2  2  2\n"
		"                             a.test  9  3  2  2  2\n"),
	    "geometric");
	o.is_linear = true;
	assert_table(&o, 1000000, buf_str(&m),
	    STR("                                     T  1  2  3 3+\n"
		"                              TOTAL  9  3  2  1  3\n"
		"                             a.test  9  3  2  1  3\n"),
	    "linear");
	o = (struct qshape_options){.buckets = 3, .width = 40, .min_subdomains = 5, .tick = 0.5};
	assert_table(&o, 1000000, (struct str){0},
	    STR("                             T 0.5  1 1+\n"
		"                      TOTAL  0   0  0  0\n"),
	    "half a minute");
	o.buckets = 1;
	assert_table(&o, 1000000, (struct str){0},
	    STR("                                    T 0+\n"
		"                             TOTAL  0  0\n"),
	    "one");
	buf_fini(&m);
}

static void
names_are_cut(void **state)
{
	struct qshape_options o = {
	    .buckets = 10, .width = 10, .min_subdomains = 2, .tick = 5, .with_parents = true};
	struct buf m = {.max = 1 << 20};

	put(&m, 0, "x@a.very-long-name.domain.test");
	put(&m, 0, "x@b.very-long-name.domain.test");
	put(&m, 0, "x@a.short.test");
	assert_table(&o, 0, buf_str(&m),
	    STR("                    T  5 10 20 40 80 160 320 640 1280 1280+\n"
		"             TOTAL  3  3  0  0  0  0   0   0   0    0     0\n"
		"      a.short.test  1  1  0  0  0  0   0   0   0    0     0\n"
		"+-name.domain.test  1  1  0  0  0  0   0   0   0    0     0\n"
		"+-name.domain.test  1  1  0  0  0  0   0   0   0    0     0\n"
		".+name.domain.test  2  2  0  0  0  0   0   0   0    0     0\n"),
	    "cut");
	buf_fini(&m);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(corpus),
	    cmocka_unit_test(domains),
	    cmocka_unit_test(ages),
	    cmocka_unit_test(names_are_cut),
	};

	root = argc > 1 ? argv[1] : ".";
	snprintf(scratch, sizeof(scratch), "/tmp/qshape-XXXXXX");
	if (mkdtemp(scratch) == NULL)
		return 1;
	argc = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(scratch);
	return argc;
}
