/*
 * body_test.c - the content as a delivery gets it: from memory and through a real lane the same,
 * the same as postcat shows it, and an error for what is damaged.
 */
#include "spool_dir.h"
#include "pp/runtime/loop.h"
#include "pp/spool/body.h"
#include "pp/spool/reader.h"

enum { TURNS_MAX = 100000 };

/* One body, read to its end on a loop. */
struct reading {
	struct post post;
	struct loop *loop;
	struct spool *spool;
	struct spool_bytes *bytes;
	enum queue queue;
	const char *id;
	off_t offset;
	int64_t size;
	struct body *body;
	struct buf text;
	size_t close_after; /* pieces; 0 = never */
	size_t pieces;
	int waits, rc;
};

static void read_more(void *ctx, int rc);

static void
finish(struct reading *r, int rc)
{
	r->rc = rc;
	body_close(r->body);
	loop_stop(r->loop);
}

static void
read_pieces(struct reading *r)
{
	struct body_piece piece;
	int rc;

	while ((rc = body_next(r->body, &piece)) == 1) {
		buf_add(&r->text, piece.bytes);
		if (piece.last)
			buf_addc(&r->text, '\n');
		if (++r->pieces == r->close_after) {
			finish(r, 1);
			return;
		}
	}
	if (rc == -EAGAIN) {
		assert_true(++r->waits < TURNS_MAX);
		body_wait(r->body, read_more, r);
		return;
	}
	finish(r, rc);
}

static void
read_more(void *ctx, int rc)
{
	struct reading *r = ctx;

	(void)rc;
	read_pieces(r);
}

static void
begin(struct post *p)
{
	struct reading *r = PP_CONTAINER(p, struct reading, post);

	r->body = body_open(r->spool, r->queue, r->id, r->bytes, r->offset, r->size);
	read_pieces(r);
}

static void
run(struct reading *r, struct spool *s)
{
	struct lane *lane = lane_new("disk", 2);

	spool_set_lane(s, lane);
	r->spool = s;
	r->queue = QUEUE_ACTIVE;
	r->id = "ABCDEF";
	buf_init(&r->text, 64 << 20);
	r->loop = loop_new("test");
	post_to(r->loop, &r->post, begin);
	loop_run(r->loop);
	lane_free(lane);
	loop_free(r->loop);
}

static void
no_destroy(struct snap *s)
{
}

/* Reads `file` both ways; the results must agree. */
static int
read_both(struct buf *file, off_t offset, int64_t size, struct buf *ret_text)
{
	struct reading from_file = {.offset = offset, .size = size};
	struct reading from_bytes = {.offset = offset, .size = size};
	struct spool_bytes bytes = {.bytes = buf_str(file)};
	struct spool *s;
	char dir[64];

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	test_write(spool_dirfd(s), "active/ABCDEF", buf_str(file), 0700);
	run(&from_file, s);
	snap_init(&bytes.snap, no_destroy);
	from_bytes.bytes = &bytes;
	run(&from_bytes, s);
	assert_int_equal(from_file.rc, from_bytes.rc);
	assert_true(str_eq(buf_str(&from_file.text), buf_str(&from_bytes.text)));
	buf_fini(&from_bytes.text);
	*ret_text = from_file.text;
	spool_close(s);
	spool_dir_remove(dir);
	return from_file.rc;
}

static int
envelope_of(struct buf *file, struct envelope *env)
{
	struct arena arena = {0};
	struct reader *r = reader_open_bytes(buf_str(file));
	struct buf why;
	int rc;

	buf_init(&why, 1024);
	rc = reader_envelope(r, READER_QUEUE, &arena, env, &why);
	reader_close(r);
	buf_fini(&why);
	arena_fini(&arena); /* only numbers are used */
	return rc;
}

static void
check_case(const char *name)
{
	struct envelope env;
	struct buf file, want, text;

	assert_true(test_read(&file, "tests/corpus/cases/%s/qfile", name));
	if (envelope_of(&file, &env) == 0) {
		assert_int_equal(read_both(&file, env.data_offset, env.data_size, &text), 0);
		if (test_read(&want, "tests/corpus/cases/%s/expected/postcat-bh.txt", name))
			assert_true(str_eq(buf_str(&want), buf_str(&text)));
		buf_fini(&want);
		buf_fini(&text);
	} else {
		assert_int_equal(file.p[0], 'T'); /* a submission has no size record */
	}
	buf_fini(&file);
}

static void
content_is_what_postcat_shows(void **state)
{
	corpus_each("cases", check_case);
}

static void
damage_in_the_content(void **state)
{
	static const struct {
		const char *name;
		off_t offset;
		int64_t size;
		int want;
	} t[] = {
	    {"badtype-content", 743, 342, -EBADMSG},
	    {"dtxt-padding", 743, 345, 0},
	    {"size-too-small", 743, 332, -EBADMSG},
	    {"trunc-before-X", 743, 342, -EBADMSG},
	    {"trunc-in-content", 743, 342, -EBADMSG},
	    {"trunc-after-M", 743, 342, -EBADMSG},
	    {"size-past-eof", 743, 100000, -EBADMSG},
	    {"trunc-empty", 743, 342, -EBADMSG},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct envelope env;
		struct buf file, text;
		int64_t size = t[i].size;

		assert_true(test_read(&file, "tests/corpus/damaged/%s/qfile", t[i].name));
		if (envelope_of(&file, &env) == 0)
			size = env.data_size;
		if (read_both(&file, t[i].offset, size, &text) != t[i].want)
			fail_msg("%s", t[i].name);
		buf_fini(&file);
		buf_fini(&text);
	}
}

/* Lines of many lengths, so that records cross chunks at every part of their head. */
static void
records_cross_chunks(void **state)
{
	struct buf file, want, text;
	char line[4096];
	off_t start;

	memset(line, 'y', sizeof(line));
	buf_init(&file, 16 << 20);
	buf_init(&want, 16 << 20);
	record_put(&file, 'M', STR(""));
	start = (off_t)file.n;
	for (size_t i = 0; i < 3000; i++) {
		size_t n = i * 7 % sizeof(line);

		line[i % sizeof(line)] = (char)('a' + i % 26);
		record_put_line(&file, (struct str){line, n}, 2048);
		buf_add(&want, (struct str){line, n});
		buf_addc(&want, '\n');
		if (i % 5 == 0)
			record_put(&file, 'p', STR("              0"));
		if (i % 11 == 0)
			record_put(&file, 'w', STR("   "));
	}
	record_put(&file, 'X', STR(""));
	record_put(&file, 'E', STR(""));
	assert_true(file.n > 5u << 20);
	assert_int_equal(read_both(&file, start, (int64_t)file.n - 4 - start, &text), 0);
	assert_true(str_eq(buf_str(&want), buf_str(&text)));
	buf_fini(&file);
	buf_fini(&want);
	buf_fini(&text);
}

static void
pointers_jump_across_chunks_and_never_for_ever(void **state)
{
	struct buf file, text;
	char far[200000];
	off_t start, jump, x;

	memset(far, 'z', sizeof(far));
	buf_init(&file, 16 << 20);
	record_put(&file, 'M', STR(""));
	start = (off_t)file.n;
	record_put(&file, 'N', STR("first"));
	jump = (off_t)file.n;
	record_put(&file, 'p', STR("              0"));
	record_put(&file, 'N', (struct str){far, sizeof(far)});
	x = (off_t)file.n;
	record_put(&file, 'X', STR(""));
	record_put(&file, 'E', STR(""));
	snprintf(file.p + jump + 2, 16, "%15lld", (long long)file.n);
	file.p[jump + 17] = 'N';
	record_put(&file, 'N', STR("inserted"));
	record_putf(&file, 'p', "%15lld", (long long)x);
	assert_int_equal(read_both(&file, start, x - start, &text), 0);
	assert_string_equal(buf_cstr(&text), "first\ninserted\n");
	buf_fini(&text);

	snprintf(file.p + jump + 2, 16, "%15lld", (long long)start);
	file.p[jump + 17] = 'N';
	assert_int_equal(read_both(&file, start, x - start, &text), -EBADMSG);
	assert_true(text.n < 4u << 20);
	buf_fini(&text);
	memcpy(file.p + jump + 2, "no number at all", 15);
	assert_int_equal(read_both(&file, start, x - start, &text), -EBADMSG);
	buf_fini(&text);
	buf_fini(&file);
}

static void
errors_and_early_ends(void **state)
{
	struct reading gone = {.offset = 10, .size = 10};
	struct reading left = {.offset = 2, .size = 300000, .close_after = 1};
	struct spool *s;
	struct buf file;
	char dir[64];

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	run(&gone, s);
	assert_int_equal(gone.rc, -ENOENT);
	buf_init(&file, 1 << 20);
	record_put(&file, 'M', STR(""));
	for (int i = 0; i < 30000; i++)
		record_put(&file, 'N', STR("12345678"));
	record_put(&file, 'X', STR(""));
	test_write(spool_dirfd(s), "active/ABCDEF", buf_str(&file), 0700);
	run(&left, s); /* closed while the chunk ahead is being read */
	assert_int_equal(left.rc, 1);
	assert_string_equal(buf_cstr(&left.text), "12345678\n");
	buf_fini(&left.text);
	buf_fini(&gone.text);
	buf_fini(&file);
	spool_close(s);
	spool_dir_remove(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(content_is_what_postcat_shows),
	    cmocka_unit_test(damage_in_the_content),
	    cmocka_unit_test(records_cross_chunks),
	    cmocka_unit_test(pointers_jump_across_chunks_and_never_for_ever),
	    cmocka_unit_test(errors_and_early_ends),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
