/*
 * dot_test.c - DATA decoded from every split of the input, smuggling attempts, and encoded again.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/mail/dot.h"

struct result {
	struct buf text; /* pieces: L(..) N(..), END when the end came, what is left behind "<" */
	bool bare_lf, bare_cr;
};

/* Decodes `in`, given in parts that end at `cuts`. */
static void
decode(struct str in, const size_t *cuts, size_t n, size_t limit, enum dot_mode mode,
    struct result *ret)
{
	enum dot_result r = DOT_MORE;
	struct dot_decoder d;
	struct dot_piece p;
	size_t from = 0;

	buf_init(&ret->text, 100000);
	dot_decoder_init(&d, limit, mode);
	for (size_t i = 0; i <= n && r != DOT_END; i++) {
		size_t to = i < n ? cuts[i] : in.n;
		struct str part = {in.p + from, to - from};

		while ((r = dot_decode(&d, &part, &p)) == DOT_PIECE)
			buf_printf(&ret->text, "%c(%.*s)", p.last ? 'N' : 'L', STR_FMT(p.bytes));
		if (r == DOT_END)
			buf_printf(&ret->text, "END<%.*s", (int)(part.n + in.n - to), part.p);
		else
			assert_int_equal(part.n, 0);
		from = to;
	}
	while (r != DOT_END && mode == DOT_RAW && dot_decode_rest(&d, &p))
		buf_printf(&ret->text, "%c(%.*s)", p.last ? 'N' : 'L', STR_FMT(p.bytes));
	ret->bare_lf = d.bare_lf;
	ret->bare_cr = d.bare_cr;
	dot_decoder_fini(&d);
}

static const struct {
	size_t limit;
	enum dot_mode mode;
	const char *in, *want;
	bool bare_lf, bare_cr;
} rows[] = {
    {9, DOT_SMTP, ".\r\n", "END<", false, false},
    {9, DOT_SMTP, "a\r\n\r\nb\r\n.\r\nQUIT\r\n", "N(a)N()N(b)END<QUIT\r\n", false, false},
    {9, DOT_SMTP, "..\r\n..a\r\n.b\r\na.\r\n.\r\n", "N(.)N(.a)N(b)N(a.)END<", false, false},
    {9, DOT_SMTP, "a\r\n.", "N(a)", false, false},
    {9, DOT_SMTP, "a\r\n.\r", "N(a)", false, false},
    /* The end of data smuggled with a bare LF or CR, every way: content, never the end. */
    {9, DOT_SMTP, "a\n.\nb\r\n.\r\n", "N(a)N(.)N(b)END<", true, false},
    {9, DOT_SMTP, "a\n.\r\nb\r\n.\r\n", "N(a)N(.)N(b)END<", true, false},
    {9, DOT_SMTP, "a\r\n.\nb\r\n.\r\n", "N(a)N(.)N(b)END<", true, false},
    {9, DOT_SMTP, ".\nb\r\n.\r\n", "N(.)N(b)END<", true, false},
    {9, DOT_SMTP, "a\r\n.\rb\r\n.\r\n", "N(a)N(\rb)END<", false, true},
    {9, DOT_SMTP, "a\r.\rb\r\n.\r\n", "N(a\r.\rb)END<", false, true},
    {9, DOT_SMTP, "a\r.\r\nb\r\n.\r\n", "N(a\r.)N(b)END<", false, true},
    {9, DOT_SMTP, "a\r\n.\r\r\nb\r\n.\r\n", "N(a)N(\r)N(b)END<", false, true},
    {9, DOT_SMTP, "a\r\r\n.\r\n", "N(a\r)END<", false, true},
    {9, DOT_SMTP, "a\n\r\n.\r\n", "N(a)N()END<", true, false},
    {9, DOT_SMTP, "\n.\r\n.\r\n", "N()N(.)END<", true, false},
    {9, DOT_SMTP, ".\n.\r\n.\r\n", "N(.)N(.)END<", true, false},
    {9, DOT_SMTP, "a\n..\nb\r\n.\r\n", "N(a)N(.)N(b)END<", true, false},
    /* A limit of 4: lines of 3, 4, 5, 8 bytes. */
    {4, DOT_SMTP, "abc\r\nabcd\r\nabcde\r\nabcdefgh\r\n.\r\n",
	"N(abc)L(abcd)N()L(abcd)N(e)L(abcd)L(efgh)N()END<", false, false},
    {4, DOT_SMTP, "abcd\nabc\nabc\r\r\n.\r\n", "L(abcd)N()N(abc)L(abc\r)N()END<", true, true},
    {4, DOT_SMTP, ".abcd\r\n.abc\r\n..abc\r\n.\r\n", "L(abcd)N()N(abc)L(.abc)N()END<", false,
	false},
    /* A dot behind a cut is no dot at the start of a line. */
    {4, DOT_SMTP, "abcd.\r\n.\r\n", "L(abcd)N(.)END<", false, false},
    {4, DOT_SMTP, "abcd..\r\n.\r\n", "L(abcd)N(..)END<", false, false},
    {2, DOT_SMTP, "abc\r\n.\r\n", "L(ab)N(c)END<", false, false},
    {2, DOT_SMTP, ".\r.\r\n.\r\n", "L(\r.)N()END<", false, true},
    {9, DOT_RAW, "..a\r\n.\r\n\n.", "N(..a)N(.)N()N(.)", true, false},
    {4, DOT_RAW, "abcd", "L(abcd)N()", false, false},
    {4, DOT_RAW, "abcdef", "L(abcd)N(ef)", false, false},
    {4, DOT_RAW, "abc\r", "L(abc\r)N()", false, true},
    {4, DOT_RAW, "ab\n", "N(ab)", true, false},
    {4, DOT_RAW, "", "", false, false},
};

static void
check(size_t i, const size_t *cuts, size_t n)
{
	struct result r;

	decode(str_of(rows[i].in), cuts, n, rows[i].limit, rows[i].mode, &r);
	assert_string_equal(buf_cstr(&r.text), rows[i].want);
	assert_int_equal(r.bare_lf, rows[i].bare_lf);
	assert_int_equal(r.bare_cr, rows[i].bare_cr);
	buf_fini(&r.text);
}

/* Whole, in two and three parts of every size, and byte by byte. */
static void
test_decode_every_split(void **state)
{
	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		size_t n = strlen(rows[i].in), all[100], cuts[2];

		check(i, NULL, 0);
		for (size_t k = 0; k < n; k++)
			all[k] = k;
		check(i, all, n);
		for (cuts[0] = 0; cuts[0] <= n; cuts[0]++)
			for (cuts[1] = cuts[0]; cuts[1] <= n; cuts[1]++)
				check(i, cuts, 2);
	}
}

static void
test_decode_nul_and_8bit(void **state)
{
	struct result r;

	decode(STR("a\xff\r\n.\r\n"), NULL, 0, 9, DOT_SMTP, &r);
	assert_string_equal(buf_cstr(&r.text), "N(a\xff)END<");
	buf_fini(&r.text);
}

/* Views point into the input: nothing is copied when lines are whole. */
static void
test_decode_zero_copy(void **state)
{
	struct str all = STR("hello\r\nworld\r\n.\r\n"), in = all;
	struct dot_decoder d;
	struct dot_piece p;

	dot_decoder_init(&d, 2048, DOT_SMTP);
	assert_int_equal(dot_decode(&d, &in, &p), DOT_PIECE);
	assert_ptr_equal(p.bytes.p, all.p);
	assert_int_equal(dot_decode(&d, &in, &p), DOT_PIECE);
	assert_ptr_equal(p.bytes.p, all.p + 7);
	assert_int_equal(dot_decode(&d, &in, &p), DOT_END);
	assert_null(d.carry.p);
	dot_decoder_fini(&d);
}

static void
test_encode(void **state)
{
	/* Pieces: "|" ends one with last = false, newline with last = true. */
	static const struct {
		size_t limit;
		const char *pieces, *want;
		unsigned broken;
	} cases[] = {
	    {0, "", ".\r\n", 0},
	    {0, "a\n\nb\n", "a\r\n\r\nb\r\n.\r\n", 0},
	    {0, ".\n..\n.a\n", "..\r\n...\r\n..a\r\n.\r\n", 0},
	    {0, "a|.b|.\n", "a.b.\r\n.\r\n", 0},
	    {0, "|.b\n", "..b\r\n.\r\n", 0},
	    {0, "a|", "a\r\n.\r\n", 0},
	    {0, "a\rb\r\n", "a b \r\n.\r\n", 0},
	    {5, "abcde\n", "abcde\r\n.\r\n", 0},
	    {5, "abcdef\n", "abcde\r\n f\r\n.\r\n", 1},
	    {5, "abcdefghij\n", "abcde\r\n fghi\r\n j\r\n.\r\n", 2},
	    {5, "abc|def\n", "abcde\r\n f\r\n.\r\n", 1},
	    {5, "abcde|f\n", "abcde\r\n f\r\n.\r\n", 1},
	    {5, "abcde|\n", "abcde\r\n.\r\n", 0},
	    {5, "abcde|.f\n", "abcde\r\n .f\r\n.\r\n", 1},
	    {5, ".bcdef\n.\n", "..bcde\r\n f\r\n..\r\n.\r\n", 1},
	    {2, "abc\n", "ab\r\n c\r\n.\r\n", 1},
	    {1, "abc\n", "ab\r\n c\r\n.\r\n", 1},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct str rest = str_of(cases[i].pieces), part;
		struct dot_encoder e;
		struct buf b;

		buf_init(&b, 1000);
		dot_encoder_init(&e, cases[i].limit, DOT_SMTP);
		while (rest.n) {
			size_t end = 0;

			while (rest.p[end] != '|' && rest.p[end] != '\n')
				end++;
			part = str_head(rest, end);
			assert_int_equal(dot_encode(&e, &b, part, rest.p[end] == '\n'), 0);
			rest = str_from(rest, end + 1);
		}
		assert_int_equal(dot_encode_end(&e, &b), 0);
		assert_string_equal(buf_cstr(&b), cases[i].want);
		assert_int_equal(e.broken, cases[i].broken);
		buf_fini(&b);
	}
}

static void
test_encode_lf_inside(void **state)
{
	struct dot_encoder e;
	struct buf b;

	buf_init(&b, 1000);
	dot_encoder_init(&e, 998, DOT_SMTP);
	assert_int_equal(dot_encode(&e, &b, STR("a\r\n.\r\nb\n"), true), 0);
	assert_string_equal(buf_cstr(&b), "a  .  b \r\n");
	buf_fini(&b);
}

/* A full buffer: nothing happens, and the same piece goes after it was sent. */
static void
test_encode_full(void **state)
{
	struct dot_encoder e;
	struct buf b;

	buf_init(&b, 16);
	dot_encoder_init(&e, 0, DOT_SMTP);
	assert_int_equal(dot_encode(&e, &b, STR("abcdefgh"), true), 0);
	assert_int_equal(dot_encode(&e, &b, STR("."), true), -ENOBUFS);
	assert_int_equal(dot_encode_end(&e, &b), -ENOBUFS);
	assert_string_equal(buf_cstr(&b), "abcdefgh\r\n");
	assert_false(buf_overflowed(&b));
	buf_consume(&b, buf_str(&b).n);
	assert_int_equal(dot_encode(&e, &b, STR("."), true), 0);
	buf_consume(&b, buf_str(&b).n);
	assert_int_equal(dot_encode_end(&e, &b), 0);
	assert_string_equal(buf_cstr(&b), ".\r\n");
	buf_fini(&b);
}

/* BDAT: neither stuffed nor ended by a dot. */
static void
test_encode_raw(void **state)
{
	struct dot_encoder e;
	struct buf b;

	buf_init(&b, 1000);
	dot_encoder_init(&e, 5, DOT_RAW);
	assert_int_equal(dot_encode(&e, &b, STR("."), true), 0);
	assert_int_equal(dot_encode(&e, &b, STR(".abcdef"), true), 0);
	assert_int_equal(dot_encode(&e, &b, STR("open"), false), 0);
	assert_int_equal(dot_encode_end(&e, &b), 0);
	assert_string_equal(buf_cstr(&b), ".\r\n.abcd\r\n ef\r\nopen\r\n");
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_decode_every_split),
	    cmocka_unit_test(test_decode_nul_and_8bit),
	    cmocka_unit_test(test_decode_zero_copy),
	    cmocka_unit_test(test_encode),
	    cmocka_unit_test(test_encode_lf_inside),
	    cmocka_unit_test(test_encode_raw),
	    cmocka_unit_test(test_encode_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
