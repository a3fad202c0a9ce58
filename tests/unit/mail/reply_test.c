/*
 * reply_test.c - SMTP replies of good and hostile servers; outcomes (status.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/mail/reply.h"

static void
test_replies(void **state)
{
	static const struct {
		const char *bytes;
		enum reply_state state;
		unsigned code;
		const char *dsn, *text;
		size_t left; /* bytes not used */
	} rows[] = {
	    {"250 2.1.0 Ok\r\n", REPLY_DONE, 250, "2.1.0", "250 2.1.0 Ok", 0},
	    {"250 Ok\n", REPLY_DONE, 250, "2.0.0", "250 Ok", 0},
	    {"250\r\n", REPLY_DONE, 250, "2.0.0", "250", 0},
	    {"250 \r\n", REPLY_DONE, 250, "2.0.0", "250 ", 0},
	    {"354 go\r\n", REPLY_DONE, 354, "2.0.0", "354 go", 0},
	    {"354 2.0.0 go\r\n", REPLY_DONE, 354, "2.0.0", "354 2.0.0 go", 0},
	    {"550-5.1.1 no\r\n550 5.7.1 such user\r\n", REPLY_DONE, 550, "5.7.1",
		"550-5.1.1 no 550 5.7.1 such user", 0},
	    {"550-5.1.1 no\r\n550 x\r\n", REPLY_DONE, 550, "5.0.0", "550-5.1.1 no 550 x", 0},
	    {"450 5.1.1 class differs\r\n", REPLY_DONE, 450, "4.0.0", "450 5.1.1 class differs", 0},
	    {"550  5.1.1 two blanks\r\n", REPLY_DONE, 550, "5.1.1", "550  5.1.1 two blanks", 0},
	    {"550 5.1.1x\r\n", REPLY_DONE, 550, "5.0.0", "550 5.1.1x", 0},
	    {"550 5.1\r\n", REPLY_DONE, 550, "5.0.0", "550 5.1", 0},
	    {"250 a\r\n250 b\r\n", REPLY_DONE, 250, "2.0.0", "250 a", 7},
	    {"250 a\x01z\x80\r\r\n", REPLY_DONE, 250, "2.0.0", "250 a?z??", 0},
	    {"250 \xc3\xa9\r\n", REPLY_DONE, 250, "2.0.0", "250 \xc3\xa9", 0},
	    {"", REPLY_MORE, 0, NULL, NULL, 0},
	    {"250", REPLY_MORE, 0, NULL, NULL, 0},
	    {"250-x\r\n", REPLY_MORE, 250, NULL, NULL, 0},
	    /* No code: text of the reply that follows. */
	    {"\r\n", REPLY_MORE, 0, "5.5.0", "", 0},
	    {"hello\r\n", REPLY_MORE, 0, "5.5.0", "hello", 0},
	    {"25 x\r\n", REPLY_MORE, 0, "5.5.0", "25 x", 0},
	    {"2500 x\r\n", REPLY_MORE, 0, "5.5.0", "2500 x", 0},
	    {"150 x\r\n", REPLY_MORE, 0, "5.5.0", "150 x", 0},
	    {"650 x\r\n", REPLY_MORE, 0, "5.5.0", "650 x", 0},
	    {"250\tx\r\n", REPLY_MORE, 0, "5.5.0", "250?x", 0},
	    {" 250 x\r\n", REPLY_MORE, 0, "5.5.0", " 250 x", 0},
	    {"HTTP/1.0 400 Bad\r\n\r\n", REPLY_MORE, 0, "5.5.0", "HTTP/1.0 400 Bad ", 0},
	    {"huh\r\n250 2.1.0 a\r\n", REPLY_DONE, 250, "2.1.0", "huh 250 2.1.0 a", 0},
	    {"250-a\r\nhuh\r\n", REPLY_MORE, 250, "5.5.0", "250-a huh", 0},
	    {"250-a\r\nhuh\r\n250 2.1.0 b\r\n", REPLY_DONE, 250, "2.1.0", "250-a huh 250 2.1.0 b",
		0},
	    /* The last code counts. */
	    {"250-a\r\n550 5.7.1 b\r\n", REPLY_DONE, 550, "5.7.1", "250-a 550 5.7.1 b", 0},
	    {"220-a\r\n250 b\r\n", REPLY_DONE, 250, "2.0.0", "220-a 250 b", 0},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		/* Whole, and byte by byte. */
		for (size_t step = 1; step <= 1000; step += 999) {
			struct str in = str_of(rows[i].bytes);
			struct arena a = {0};
			struct reply r;
			size_t used;

			reply_init(&r);
			while (in.n && r.state == REPLY_MORE) {
				reply_feed(&r, str_head(in, step), &used);
				in = str_from(in, used);
			}
			assert_int_equal(r.state, rows[i].state);
			assert_int_equal(in.n, rows[i].left);
			assert_int_equal(r.code, rows[i].code);
			if (rows[i].dsn) {
				struct status s = reply_status(&a, &r);

				assert_string_equal(status_dsn(&s).text, rows[i].dsn);
				assert_string_equal(s.text, rows[i].text);
				assert_int_equal(s.smtp, rows[i].code);
			}
			reply_fini(&r);
			arena_fini(&a);
		}
	}
}

static void
test_reuse(void **state)
{
	struct str in = STR("250-a\r\n250 2.1.5 b\r\n451 c\r\n");
	struct reply r;
	size_t used;

	reply_init(&r);
	assert_int_equal(reply_feed(&r, in, &used), REPLY_DONE);
	assert_true(r.enhanced);
	assert_true(str_eq(reply_lines(&r), STR("250-a\n250 2.1.5 b")));
	in = str_from(in, used);
	reply_clear(&r);
	assert_int_equal(reply_feed(&r, in, &used), REPLY_DONE);
	assert_int_equal(used, in.n);
	assert_int_equal(reply_class(&r), 4);
	assert_false(r.enhanced);
	assert_true(str_eq(reply_lines(&r), STR("451 c")));
	reply_fini(&r);
}

static void
test_nul(void **state)
{
	struct arena a = {0};
	struct reply r;
	size_t used;

	reply_init(&r);
	assert_int_equal(reply_feed(&r, STR("250 a\0b\r\n"), &used), REPLY_DONE);
	assert_string_equal(reply_text(&a, &r), "250 a?b");
	reply_fini(&r);
	arena_fini(&a);
}

/* A line without end, too many lines, much text: bounded, and the code still counts. */
static void
test_bounds(void **state)
{
	struct arena a = {0};
	struct reply r;
	struct buf b;
	size_t used;

	reply_init(&r);
	buf_init(&b, 1 << 20);
	buf_adds(&b, "250 ");
	for (int i = 0; i < 100000; i++)
		buf_addc(&b, 'x');
	assert_int_equal(reply_feed(&r, buf_str(&b), &used), REPLY_MORE);
	assert_int_equal(used, buf_str(&b).n);
	assert_int_equal(reply_feed(&r, STR("\r\n"), &used), REPLY_DONE);
	assert_int_equal(reply_lines(&r).n, REPLY_LINE_MAX);
	assert_int_equal(strlen(reply_text(&a, &r)), REPLY_TEXT_MAX);

	for (int lines = REPLY_LINES_MAX - 1; lines <= REPLY_LINES_MAX; lines++) {
		reply_clear(&r);
		buf_clear(&b);
		buf_adds(&b, "550-");
		for (int k = 0; k < 300; k++)
			buf_addc(&b, 'x');
		buf_addc(&b, '\n');
		for (int i = 1; i < lines; i++)
			reply_feed(&r, buf_str(&b), &used);
		buf_adds(&b, "550 5.7.1 end\n");
		assert_int_equal(reply_feed(&r, buf_str(&b), &used),
		    lines < REPLY_LINES_MAX ? REPLY_DONE : REPLY_BAD);
		assert_true(reply_lines(&r).n <= REPLY_KEEP_MAX);
		assert_int_equal(strlen(reply_text(&a, &r)), 6 * 305 - 1);
	}
	assert_int_equal(reply_feed(&r, STR("250 ok\n"), &used), REPLY_BAD);
	assert_int_equal(used, 0);
	reply_fini(&r);
	buf_fini(&b);
	arena_fini(&a);
}

static void
test_status(void **state)
{
	struct arena a = {0}, b = {0};
	struct status s, t;

	s = status_make(&a, STATUS_PERM, 1, 1, "<%s>: unknown\r\nx", "a@b\x01");
	assert_string_equal(s.text, "<a@b?>: unknown??x");
	assert_string_equal(status_dsn(&s).text, "5.1.1");
	assert_int_equal(s.smtp, 0);
	s.remote = "h";
	s.smtp = 550;
	t = status_copy(&b, &s);
	arena_fini(&a);
	assert_string_equal(t.text, "<a@b?>: unknown??x");
	assert_string_equal(t.remote, "h");
	assert_null(t.diagnostic);
	assert_int_equal(t.smtp, 550);
	arena_fini(&b);
}

static void
test_dsn(void **state)
{
	static const struct {
		const char *text;
		size_t used;
		const char *dsn;
	} rows[] = {
	    {"5.1.1", 5, "5.1.1"},
	    {"4.71.255 x", 8, "4.71.255"},
	    {"2.0.0\tx", 5, "2.0.0"},
	    {"3.0.0", 0, NULL},
	    {"5.1.", 0, NULL},
	    {"5..1", 0, NULL},
	    {"5.1.1.1", 0, NULL},
	    {"5.1000.1", 0, NULL},
	    {"5.1.1000", 0, NULL},
	    {"5.1", 0, NULL},
	    {"5.111", 0, NULL},
	    {"", 0, NULL},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct status s = {0};

		assert_int_equal(status_parse_dsn(str_of(rows[i].text), &s), rows[i].used);
		if (rows[i].used)
			assert_string_equal(status_dsn(&s).text, rows[i].dsn);
		else
			assert_int_equal(s.cls, STATUS_NONE);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replies),
	    cmocka_unit_test(test_reuse),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_status),
	    cmocka_unit_test(test_dsn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
