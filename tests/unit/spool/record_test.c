/*
 * record_test.c - framing: every length class, the splitting of lines, the size record.
 */
#include "spool_dir.h"
#include "pp/spool/record.h"

static void
lengths_round_trip(void **state)
{
	static const struct {
		size_t n;
		const char *head;
		size_t head_n;
	} t[] = {
	    {0, "N\x00", 2},
	    {1, "N\x01", 2},
	    {127, "N\x7f", 2},
	    {128, "N\x80\x01", 3},
	    {5000, "N\x88\x27", 3},
	    {16383, "N\xff\x7f", 3},
	    {16384, "N\x80\x80\x01", 4},
	    {70000, "N\xf0\xa2\x04", 4},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		char *text = mem_alloc(t[i].n + 1);
		struct buf b;
		struct record rec;
		size_t used;

		memset(text, 'x', t[i].n);
		buf_init(&b, 100000);
		assert_int_equal(record_put(&b, REC_LINE, (struct str){text, t[i].n}), 0);
		assert_int_equal(buf_str(&b).n, t[i].head_n + t[i].n);
		assert_memory_equal(b.p, t[i].head, t[i].head_n);
		assert_int_equal(record_get(buf_str(&b), &rec, &used), 0);
		assert_int_equal(used, t[i].head_n + t[i].n);
		assert_int_equal(rec.type, 'N');
		assert_true(str_eq(rec.payload, (struct str){text, t[i].n}));
		/* Every shorter piece asks for more. */
		assert_int_equal(record_get(str_head(buf_str(&b), used - 1), &rec, &used),
		    used == 0 ? 1 : -EAGAIN);
		buf_fini(&b);
		mem_free(text);
	}
}

static void
bad_framing_is_refused(void **state)
{
	static const struct {
		struct str in;
		int want;
	} t[] = {
	    {{"", 0}, 1},
	    {{"C", 1}, -EAGAIN},
	    {{"T\x80", 2}, -EAGAIN},
	    {{"T\x80\x80\x80\x80\x80", 6}, -EBADMSG},
	    {{"T\x80\x80\x80\x80\x80\x01", 7}, -EBADMSG},
	    {{"T\xff\xff\xff\xff\x0f", 6}, -EBADMSG}, /* more than 31 bits */
	    {{"T\xff\xff\xff\xff\x07", 6}, -EAGAIN},
	    {{"R\x05"
	      "abcd",
		 6},
		-EAGAIN},
	};
	struct record rec;
	size_t used;

	for (size_t i = 0; i < PP_COUNT(t); i++)
		assert_int_equal(record_get(t[i].in, &rec, &used), t[i].want);
}

static void
lines_split_like_postfix(void **state)
{
	static const struct {
		size_t n;
		const char *want; /* type and length of each record */
	} t[] = {
	    {0, "N0 "},
	    {2047, "N2047 "},
	    {2048, "L2048 N0 "},
	    {2049, "L2048 N1 "},
	    {4096, "L2048 L2048 N0 "},
	    {5000, "L2048 L2048 N904 "},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		char *text = mem_alloc(t[i].n + 1);
		struct buf b, got;
		struct str in;
		struct record rec;
		size_t used;

		buf_init(&b, 100000);
		buf_init(&got, 1000);
		assert_int_equal(record_put_line(&b, (struct str){text, t[i].n}, 2048), 0);
		for (in = buf_str(&b); record_get(in, &rec, &used) == 0; in = str_from(in, used))
			buf_printf(&got, "%c%zu ", rec.type, rec.payload.n);
		assert_string_equal(buf_cstr(&got), t[i].want);
		buf_fini(&b);
		buf_fini(&got);
		mem_free(text);
	}
}

static void
size_record(void **state)
{
	static const struct {
		const char *in;
		int rc;
		struct record_size want;
	} t[] = {
	    {"266 543 5 0 266 0", 0, {266, 543, 5, 0, 266, 0}},
	    {"            266             543               5               0             270      "
	     "         7",
		0, {266, 543, 5, 0, 270, 7}},
	    {"10 20 30", 0, {10, 20, 30, 0, 10, 0}},
	    {"10 20 30 x", 0, {10, 20, 30, 0, 10, 0}},
	    {"-1 20 30", 0, {-1, 20, 30, 0, -1, 0}},
	    {"10 20", -EINVAL, {0}},
	    {"10 a 30", -EINVAL, {0}},
	    {"", -EINVAL, {0}},
	    {"9999999999999999999999 1 1", -EINVAL, {0}},
	};
	struct buf b;
	struct record rec;
	size_t used;

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct record_size got = {0};

		assert_int_equal(record_get_size(str_of(t[i].in), &got), t[i].rc);
		assert_memory_equal(&got, &t[i].want, sizeof(got));
	}
	buf_init(&b, 1000);
	assert_int_equal(record_put_size(&b, &t[0].want), 0);
	assert_int_equal(buf_str(&b).n, 2 + RECORD_SIZE_PAYLOAD);
	assert_int_equal(record_get(buf_str(&b), &rec, &used), 0);
	assert_int_equal(rec.type, REC_SIZE);
	buf_fini(&b);
}

static void
puts_are_whole_or_not_at_all(void **state)
{
	struct buf b;

	buf_init(&b, 10);
	assert_int_equal(record_put(&b, 'N', STR("12345678")), 0);
	assert_int_equal(record_put(&b, 'N', STR("1")), -ENOBUFS);
	assert_int_equal(buf_str(&b).n, 10);
	assert_int_equal(record_putf(&b, 'N', "%d", 5), -ENOBUFS);
	buf_fini(&b);
	buf_init(&b, 4000);
	assert_int_equal(
	    record_putf(&b, 'A', "%s=%0900d", "x", 7), 0); /* longer than the stack's */
	assert_int_equal(buf_str(&b).n, 3 + 902);
	buf_fini(&b);
	assert_string_equal(record_name('R'), "recipient");
	assert_null(record_name('?'));
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lengths_round_trip),
	    cmocka_unit_test(bad_framing_is_refused),
	    cmocka_unit_test(lines_split_like_postfix),
	    cmocka_unit_test(size_record),
	    cmocka_unit_test(puts_are_whole_or_not_at_all),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
