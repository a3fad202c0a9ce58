/*
 * reader_test.c - every file of the corpus: whole ones are taken, damaged ones refused with the
 * reason and the place, and no pointer leads a reader in circles.
 */
#include "spool_dir.h"
#include "pp/spool/reader.h"

struct parsed {
	struct arena arena;
	struct envelope env;
	struct buf why;
	int rc;
};

static struct parsed
parse(struct str bytes, enum reader_kind kind)
{
	struct parsed p = {0};
	struct reader *r = reader_open_bytes(bytes);

	buf_init(&p.why, 1024);
	p.rc = reader_envelope(r, kind, &p.arena, &p.env, &p.why);
	reader_close(r);
	return p;
}

static void
forget(struct parsed *p)
{
	arena_fini(&p->arena);
	buf_fini(&p->why);
}

/* All records from the start, as pickup reads. */
static int
walk(struct reader *r, struct buf *text)
{
	struct record rec;
	bool in_content = false;
	off_t at;
	int rc;

	while ((rc = reader_next(r, &rec, &at)) == 0 && rec.type != REC_END) {
		if (rec.type == REC_CONTENT || rec.type == REC_EXTRACTED)
			in_content = rec.type == REC_CONTENT;
		else if (in_content && (rec.type == REC_LINE || rec.type == REC_PART))
			buf_add(text, rec.payload);
		if (in_content && rec.type == REC_LINE)
			buf_addc(text, '\n');
	}
	return rc;
}

static void
check_case(const char *name)
{
	struct buf file, want, got;
	struct parsed p;
	struct reader *r;
	bool is_ours;

	assert_true(test_read(&file, "tests/corpus/cases/%s/qfile", name));
	is_ours = file.p[0] == 'C';
	p = parse(buf_str(&file), is_ours ? READER_QUEUE : READER_LISTING);
	if (p.rc != 0)
		fail_msg("%s: %s", name, buf_cstr(&p.why));
	assert_non_null(p.env.sender);
	assert_true(p.env.arrival_us > 1795000000000000 || !is_ours);
	assert_true(p.env.rcpt_count > 0);
	for (size_t i = 0; i < p.env.rcpt_count; i++) {
		const struct recipient *rcpt = &p.env.rcpt[i];

		assert_int_equal(file.p[rcpt->offset], rcpt->done ? 'D' : 'R');
		assert_non_null(rcpt->orig);
	}
	if (is_ours)
		assert_int_equal(file.p[p.env.data_offset + p.env.data_size], 'X');
	forget(&p);

	buf_init(&got, 1 << 20);
	r = reader_open_bytes(buf_str(&file));
	assert_int_equal(walk(r, &got), 0);
	reader_close(r);
	if (test_read(&want, "tests/corpus/cases/%s/expected/postcat-bh.txt", name))
		assert_true(str_eq(buf_str(&want), buf_str(&got)));
	buf_fini(&want);
	buf_fini(&got);
	buf_fini(&file);
}

static void
whole_files_are_taken(void **state)
{
	assert_int_equal(corpus_each("cases", check_case), 82);
}

/* NULL = a delivery takes the file; else what `why` says. */
static const struct {
	const char *name, *why;
	size_t listed; /* recipients a listing shows; -1 = no sender, not listed */
} damaged[] = {
    {"all-done", NULL, 0},
    {"attr-noeq", "bad attribute record: no '=' behind the name at offset 186", 2},
    {"badtype-content", NULL, 2}, /* the body finds it */
    {"badtype-env", "Unexpected record type 'Q' at offset 655", 1},
    {"badtype-extracted", "Unexpected record type 'Q' at offset 1087", 2},
    {"badtype-first", "Unexpected record type 'Z' at offset 0", 2},
    {"dtxt-padding", NULL, 2},
    {"dup-sender", NULL, 2},
    {"len-overflow", "too many length bits, record type 84 at offset 97", (size_t)-1},
    {"len-past-eof", "unexpected EOF in data, record type 88 length 78 at offset 1085", 2},
    {"no-rcpt", "no recipient record at offset ", 0},
    {"no-sender", "missing sender record at offset ", (size_t)-1},
    {"no-time", "missing arrival time record at offset ", 2},
    {"orcpt-orphan", NULL, 2},
    {"ptr-self", "too many reverse jump records at offset ", 2},
    {"ptr-text", "malformed pointer record value: not a number    at offset ", 2},
    {"ptr-zero", NULL, 2},
    {"rcpt-empty", NULL, 3},
    {"rcptcount-high", NULL, 2},
    {"rcptcount-low", NULL, 2},
    {"size-offset-wrong", "Unexpected record type 'N' at offset 743", 2},
    {"size-past-eof", "missing end record at offset ", 2},
    {"size-text", "weird size record at offset 0", 2},
    {"size-too-small", "unexpected EOF in data, record type 32 length 116 at offset 1075", 2},
    {"size-zero", "invalid size record at offset 0", 2},
    {"trailing-garbage", NULL, 2},
    {"trunc-1byte", "unexpected EOF reading length, record type 67 at offset 0", (size_t)-1},
    {"trunc-after-M", "missing end record at offset ", 2},
    {"trunc-after-X", "missing end record at offset ", 2},
    {"trunc-after-sender", "missing end record at offset ", 0},
    {"trunc-after-size", "missing end record at offset 97", (size_t)-1},
    {"trunc-before-X", "missing end record at offset ", 2},
    {"trunc-empty", "missing end record at offset 0", (size_t)-1},
    {"trunc-in-attr", "unexpected EOF in data, record type 65 length 25 at offset ", 0},
    {"trunc-in-content", "missing end record at offset ", 2},
    {"trunc-in-rcpt", "unexpected EOF in data, record type 82 length 15 at offset ", 0},
};

static void
check_damaged(const char *name)
{
	for (size_t i = 0; i < PP_COUNT(damaged); i++)
		if (strcmp(damaged[i].name, name) == 0)
			return;
	/* Beside these only the mode is wrong, or it is a submission: pickup's matter. */
	if (strncmp(name, "drop-", 5) != 0 && strncmp(name, "mode-", 5) != 0)
		fail_msg("%s is in no table", name);
}

static void
damaged_files_are_refused(void **state)
{
	assert_int_equal(corpus_each("damaged", check_damaged), 43);
	for (size_t i = 0; i < PP_COUNT(damaged); i++) {
		struct buf file;
		struct parsed p;

		assert_true(test_read(&file, "tests/corpus/damaged/%s/qfile", damaged[i].name));
		p = parse(buf_str(&file), READER_QUEUE);
		if (damaged[i].why == NULL)
			assert_int_equal(p.rc, 0);
		else if (p.rc != -EBADMSG || !str_starts(buf_str(&p.why), str_of(damaged[i].why)))
			fail_msg("%s: rc %d, %s", damaged[i].name, p.rc, buf_cstr(&p.why));
		forget(&p);

		p = parse(buf_str(&file), READER_LISTING);
		assert_int_equal(p.rc, 0);
		if (p.env.sender == NULL) {
			assert_int_equal(damaged[i].listed, (size_t)-1);
		} else {
			size_t live = 0;

			for (size_t k = 0; k < p.env.rcpt_count; k++)
				live += !p.env.rcpt[k].done;
			if (live != damaged[i].listed)
				fail_msg("%s lists %zu recipients", damaged[i].name, live);
		}
		forget(&p);
		buf_fini(&file);
	}
}

static void
attributes_are_understood(void **state)
{
	struct buf file;
	struct parsed p;

	assert_true(test_read(&file, "tests/corpus/cases/smtp-dsn-all/qfile"));
	p = parse(buf_str(&file), READER_QUEUE);
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.env.ret, RET_HDRS);
	assert_non_null(p.env.envid);
	assert_string_equal(p.env.origin.client_address, "127.0.0.1");
	assert_int_equal(p.env.origin.address_family, 2);
	assert_true(p.env.rcpt[0].notify != 0);
	forget(&p);
	buf_fini(&file);

	assert_true(test_read(&file, "tests/corpus/cases/warn-after/qfile"));
	p = parse(buf_str(&file), READER_QUEUE);
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.env.warn_time, -1);
	assert_int_equal(file.p[p.env.warn_offset], 'W');
	forget(&p);
	buf_fini(&file);

	assert_true(test_read(&file, "tests/corpus/cases/smtp-filter/qfile"));
	p = parse(buf_str(&file), READER_QUEUE);
	assert_int_equal(p.rc, 0);
	assert_non_null(p.env.filter);
	forget(&p);
	buf_fini(&file);
}

static void
an_orphan_applies_to_the_next_recipient_only(void **state)
{
	struct buf b;
	struct parsed p;

	buf_init(&b, 1000);
	record_put(&b, 'T', STR("1 2"));
	record_put(&b, 'S', STR(""));
	record_put(&b, 'A', STR("notify_flags=4"));
	record_put(&b, 'A', STR("dsn_orig_rcpt=rfc822;o@x"));
	record_put(&b, 'O', STR("o@x"));
	record_put(&b, '/', STR("gone@x"));
	record_put(&b, 'R', STR("a\0b@x"));
	record_put(&b, 'E', STR(""));
	p = parse(buf_str(&b), READER_LISTING);
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.env.rcpt_count, 1);
	assert_string_equal(p.env.rcpt[0].address, "a"); /* a NUL cuts, as everywhere */
	assert_string_equal(p.env.rcpt[0].orig, "a");
	assert_null(p.env.rcpt[0].orcpt);
	assert_int_equal(p.env.rcpt[0].notify, 0);
	assert_int_equal(p.env.arrival_us, 1000002);
	forget(&p);
	p = parse(buf_str(&b), READER_QUEUE);
	assert_int_equal(p.rc, -EBADMSG);
	assert_string_equal(buf_cstr(&p.why), "missing size record at offset 0");
	forget(&p);
	buf_fini(&b);
}

/* A loop through many recipients: without the budget, 10000 rounds of them would fill memory. */
static void
pointer_loops_end_early(void **state)
{
	struct buf b;
	struct parsed p;

	buf_init(&b, 1 << 20);
	record_put(&b, 'T', STR("1"));
	record_put(&b, 'S', STR("s@x"));
	for (int i = 0; i < 10000; i++)
		record_put(&b, 'R', STR("r@x"));
	record_put(&b, 'p', STR("              8"));
	p = parse(buf_str(&b), READER_QUEUE);
	assert_int_equal(p.rc, -EBADMSG);
	assert_true(str_starts(buf_str(&p.why), STR("too many reverse jump records")));
	assert_true(p.arena.used < 16u << 20);
	forget(&p);
	buf_fini(&b);
}

static void
a_file_gives_the_same_as_its_bytes(void **state)
{
	static const char *const names[] = {"smtp-longline", "smtp-500rcpt", "milter-body-twice"};

	for (size_t i = 0; i < PP_COUNT(names); i++) {
		char path[1024];
		struct buf bytes, a, b;
		struct reader *r;

		assert_true(test_read(&bytes, "tests/corpus/cases/%s/qfile", names[i]));
		snprintf(path, sizeof(path), "%s/tests/corpus/cases/%s/qfile", test_root, names[i]);
		buf_init(&a, 1 << 20);
		buf_init(&b, 1 << 20);
		r = reader_open_fd(fsio_open_read(AT_FDCWD, path));
		assert_int_equal(walk(r, &a), 0);
		reader_close(r);
		r = reader_open_bytes(buf_str(&bytes));
		assert_int_equal(walk(r, &b), 0);
		reader_close(r);
		assert_true(a.n > 0 && str_eq(buf_str(&a), buf_str(&b)));
		buf_fini(&bytes);
		buf_fini(&a);
		buf_fini(&b);
	}
}

static void
loading_by_id(void **state)
{
	char dir[64];
	struct spool *s;
	struct buf file, why;
	struct arena arena = {0};
	struct envelope env;
	struct stat st;

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	buf_init(&why, 1024);
	assert_true(test_read(&file, "tests/corpus/cases/defer-mixed/qfile"));
	/* At the wrong depth: deferred is hashed by one letter here. */
	test_write(spool_dirfd(s), "deferred/892FBA8CB7B", buf_str(&file), 0700);
	assert_int_equal(
	    reader_load_blk(s, QUEUE_DEFERRED, "892FBA8CB7B", &arena, &env, &st, &why), 0);
	assert_int_equal(env.rcpt_count, 6);
	assert_int_equal(env.content_length, 291);
	assert_int_equal(st.st_size, (off_t)file.n);
	assert_int_equal(
	    reader_load_blk(s, QUEUE_ACTIVE, "892FBA8CB7B", &arena, &env, &st, &why), -ENOENT);
	assert_int_equal(mkdirat(spool_dirfd(s), "active/DDDDDD", 0700), 0);
	assert_int_equal(
	    reader_load_blk(s, QUEUE_ACTIVE, "DDDDDD", &arena, &env, &st, &why), -EBADMSG);
	assert_string_equal(buf_cstr(&why), "not a regular file");
	assert_int_equal(symlinkat("../deferred/892FBA8CB7B", spool_dirfd(s), "active/LLLLLL"), 0);
	assert_int_equal(
	    reader_load_blk(s, QUEUE_ACTIVE, "LLLLLL", &arena, &env, &st, &why), -ELOOP);
	arena_fini(&arena);
	buf_fini(&file);
	buf_fini(&why);
	spool_close(s);
	spool_dir_remove(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_files_are_taken),
	    cmocka_unit_test(damaged_files_are_refused),
	    cmocka_unit_test(attributes_are_understood),
	    cmocka_unit_test(an_orphan_applies_to_the_next_recipient_only),
	    cmocka_unit_test(pointer_loops_end_early),
	    cmocka_unit_test(a_file_gives_the_same_as_its_bytes),
	    cmocka_unit_test(loading_by_id),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
