/*
 * deferlog_test.c - the logs of the corpus come out as they went in; marks go where they belong.
 */
#include <signal.h>
#include <sys/resource.h>
#include "spool_dir.h"
#include "pp/spool/deferlog.h"

static int logs_seen;

static void
check_log(const char *name, const char *file)
{
	struct buf text, again;
	struct arena a = {0};
	struct deferlog_entry *e;
	size_t n;

	if (test_read(&text, "tests/corpus/cases/%s/%s", name, file)) {
		logs_seen++;
		deferlog_parse(buf_str(&text), &a, &e, &n);
		assert_true(n > 0);
		buf_init(&again, 1 << 20);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(deferlog_print(&again, &e[i]), 0);
		if (!str_eq(buf_str(&text), buf_str(&again)))
			fail_msg("%s/%s:\n%s\n%s", name, file, buf_cstr(&text), buf_cstr(&again));
		buf_fini(&again);
		arena_fini(&a);
	}
	buf_fini(&text);
}

static void
check_case(const char *name)
{
	check_log(name, "defer.log");
	check_log(name, "bounce.log");
}

static void
logs_round_trip(void **state)
{
	corpus_each("cases", check_case);
	assert_true(logs_seen > 20);
}

static void
odd_texts(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *recipient, *reason;
	} t[] = {
	    {"", 0, NULL, NULL},
	    {"\n\n\n", 0, NULL, NULL},
	    {"<a@x>: old style\n\n", 1, "a@x", "old style"},
	    {"<a@x>:   old \n\n", 1, "a@x", "old "},
	    {"<a@x>:  \n\n", 1, "a@x", NULL},
	    {"<a@x>: old style", 0, NULL, NULL}, /* not written to its end */
	    {"recipient=a@x\nreason=r\n\nrecipient=b@x\nrea", 1, "a@x", "r"},
	    {"recipient=b@x\nreason=r\nnew_thing=1\n\n", 1, "b@x", "r"},
	    {"recipient = b@x \nreason =  two  words \n\n", 1, "b@x", "two  words"},
	    {"<a@x>: l\nrecipient=\"a b\"@x\nreason=r\n\n", 1, "a b@x", "r"},
	    {"recipient=b@x\nreason=r\n<a@x>: later\n\n", 1, "a@x", "later"},
	    {"recipient=<>\nreason=r\n\n", 1, "", "r"},
	    {"<>: null\n\n", 1, "", "null"},
	    {"reason=r\n\n", 1, "(recipient address unavailable)", "r"},
	    {"recipient=b@x\noffset=-5\nnotify_flags=99\nstatus=junk\n\n", 1, "b@x", NULL},
	    {"<unfinished\n\n", 1, "(recipient address unavailable)", NULL},
	    {"# comment\n=x\nrecipient=c@x\n\n", 1, "c@x", NULL},
	    {"recipient=c@x\nreason=x\nreason=\n\n", 1, "c@x", NULL},
	    {"recipient=c@x\nreason=x\1y\n \n\n", 1, "c@x", "x\1y"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct arena a = {0};
		struct deferlog_entry *e;
		size_t n;

		deferlog_parse(str_of(t[i].text), &a, &e, &n);
		assert_int_equal(n, t[i].n);
		if (n > 0) {
			assert_string_equal(e[0].recipient, t[i].recipient);
			assert_int_equal(e[0].offset, 0);
			assert_string_equal(e[0].status.text,
			    t[i].reason ? t[i].reason : "(description unavailable)");
		}
		arena_fini(&a);
	}
}

/* What a log does not say is what its directory means. */
static void
defaults_of_a_directory(void **state)
{
	static const struct {
		enum queue q;
		const char *path, *dsn, *action;
	} t[] = {{QUEUE_DEFER, "defer/A/ABC", "4.0.0", "delayed"},
	    {QUEUE_BOUNCE, "bounce/ABC", "5.0.0", "failed"},
	    {QUEUE_TRACE, "trace/ABC", "5.0.0", "failed"}};
	char dir[64];
	struct spool *s;

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	assert_int_equal(fsio_mkdir(spool_dirfd(s), "defer/A", 0700), 0);
	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct arena a = {0};
		struct deferlog_entry *e;
		size_t n;

		test_write(spool_dirfd(s), t[i].path, STR("<a@x>: old\n\n"), 0600);
		assert_int_equal(deferlog_read_blk(s, t[i].q, "ABC", &a, &e, &n), 0);
		assert_int_equal(n, 1);
		assert_string_equal(status_dsn(&e[0].status).text, t[i].dsn);
		assert_string_equal(e[0].action, t[i].action);
		arena_fini(&a);
	}
	spool_close(s);
	spool_dir_remove(dir);
}

static void
ten_thousand_entries(void **state)
{
	enum { ENTRIES = 10000 };
	struct deferlog_entry *all = mem_alloc(ENTRIES * sizeof(*all)), *got;
	struct arena a = {0};
	struct spool *s;
	char dir[64];
	size_t n;

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	for (size_t i = 0; i < ENTRIES; i++)
		all[i] =
		    (struct deferlog_entry){.recipient = arena_printf(&a, "user%zu@dest.test", i),
			.offset = (off_t)(100 + 30 * i),
			.action = "delayed",
			.status = status_make(&a, STATUS_TEMP, 4, 1, "connect to host %zu", i)};
	/* In two rounds: the second is appended. */
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "ABC", all, ENTRIES / 2), 0);
	assert_int_equal(
	    deferlog_append_blk(s, QUEUE_DEFER, "ABC", all + ENTRIES / 2, ENTRIES / 2), 0);
	assert_int_equal(deferlog_read_blk(s, QUEUE_DEFER, "ABC", &a, &got, &n), 0);
	assert_int_equal(n, ENTRIES);
	for (size_t i = 0; i < n; i += 999) {
		assert_string_equal(got[i].recipient, all[i].recipient);
		assert_int_equal(got[i].offset, all[i].offset);
		assert_string_equal(got[i].status.text, all[i].status.text);
	}
	mem_free(all);
	arena_fini(&a);
	spool_close(s);
	spool_dir_remove(dir);
}

/* A remote server's text must not become lines of the log. */
static void
nothing_is_injected(void **state)
{
	struct arena a = {0};
	struct deferlog_entry *got;
	size_t n;
	struct deferlog_entry e = {.recipient = "a\nb@x",
	    .orig = "o\n\nrecipient=evil@x",
	    .orcpt = "rfc822;x\nstatus=2.0.0",
	    .offset = 300,
	    .action = "delayed",
	    .notify = 4};
	struct buf text;

	e.status = status_make(&a, STATUS_TEMP, 4, 1, "%s", "x\n\nrecipient=evil@x\n\n");
	e.status.diagnostic = "450 4.1.1 a\r\nb";
	e.status.remote = "host\n";
	buf_init(&text, 10000);
	assert_int_equal(deferlog_print(&text, &e), 0);
	deferlog_parse(buf_str(&text), &a, &got, &n);
	assert_int_equal(n, 1);
	assert_int_equal(got[0].offset, 300);
	assert_int_equal(got[0].notify, 4);
	assert_int_equal(got[0].status.cls, STATUS_TEMP);
	assert_string_equal(got[0].status.diagnostic, "450 4.1.1 a  b");
	buf_fini(&text);
	buf_init(&text, 20);
	assert_int_equal(deferlog_print(&text, &e), -ENOBUFS);
	buf_fini(&text);
	arena_fini(&a);
}

static struct deferlog_entry
entry(struct arena *a, const char *recipient)
{
	return (struct deferlog_entry){.recipient = recipient,
	    .action = "delayed",
	    .offset = 100,
	    .status = status_make(a, STATUS_TEMP, 4, 1, "connection refused")};
}

static void
appending_and_reading(void **state)
{
	const struct rlimit small = {.rlim_cur = 300, .rlim_max = RLIM_INFINITY};
	struct rlimit before;
	struct arena a = {0};
	struct deferlog_entry list[2] = {entry(&a, "one@x"), entry(&a, "two@x")}, *got;
	struct spool *s;
	struct stat st, st2;
	char dir[64];
	size_t n;

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	assert_int_equal(deferlog_read_blk(s, QUEUE_DEFER, "ABCDEF", &a, &got, &n), -ENOENT);
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "ABCDEF", list, 2), 0);
	assert_int_equal(fsio_stat(spool_dirfd(s), "defer/A/ABCDEF", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* A full disk: the half entry is taken back. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "ABCDEF", list, 2), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(fsio_stat(spool_dirfd(s), "defer/A/ABCDEF", &st2), 0);
	assert_int_equal(st2.st_size, st.st_size);
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "ABCDEF", list, 1), 0);
	assert_int_equal(deferlog_read_blk(s, QUEUE_DEFER, "ABCDEF", &a, &got, &n), 0);
	assert_int_equal(n, 3);
	assert_string_equal(got[1].recipient, "two@x");
	assert_string_equal(got[2].recipient, "one@x");
	assert_int_equal(deferlog_remove_blk(s, QUEUE_DEFER, "ABCDEF"), 0);
	assert_int_equal(deferlog_remove_blk(s, QUEUE_DEFER, "ABCDEF"), -ENOENT);
	arena_fini(&a);
	spool_close(s);
	spool_dir_remove(dir);
}

static void
marks(void **state)
{
	struct spool *s;
	struct buf file, got;
	char dir[64];
	off_t warn = 0;

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	assert_true(test_read(&file, "tests/corpus/cases/warn-before/qfile"));
	for (size_t i = 0; i + 1 < file.n && warn == 0; i++)
		if (file.p[i] == 'W' && file.p[i + 1] == 15)
			warn = (off_t)i;
	test_write(spool_dirfd(s), "active/ABCDEF", buf_str(&file), 0700);
	assert_int_equal(deferlog_mark_warned_blk(s, QUEUE_ACTIVE, "ABCDEF", 0), -EBADMSG);
	assert_int_equal(deferlog_mark_warned_blk(s, QUEUE_ACTIVE, "ABCDEF", warn + 1), -EBADMSG);
	assert_int_equal(deferlog_mark_warned_blk(s, QUEUE_ACTIVE, "ABCDEF", 1 << 20), -EBADMSG);
	assert_int_equal(deferlog_mark_warned_blk(s, QUEUE_ACTIVE, "ABCDEF", warn), 0);
	assert_true(test_read(&got, "%s/active/ABCDEF", dir));
	assert_memory_equal(got.p + warn, "W\x0f             -1", 17);
	memcpy(file.p + warn + 2, "             -1", 15);
	assert_true(str_eq(buf_str(&file), buf_str(&got)));
	buf_fini(&got);
	buf_fini(&file);

	assert_true(test_read(&file, "tests/corpus/cases/defer-mixed/qfile"));
	test_write(spool_dirfd(s), "active/BBCDEF", buf_str(&file), 0700);
	assert_int_equal(
	    deferlog_mark_done_blk(s, QUEUE_ACTIVE, "BBCDEF", (off_t[]){441, 228, 511}, 3), 0);
	/* A wrong one does not keep the others from being marked. */
	assert_int_equal(
	    deferlog_mark_done_blk(s, QUEUE_ACTIVE, "BBCDEF", (off_t[]){442, 294, 0}, 3), -EBADMSG);
	assert_true(test_read(&got, "%s/active/BBCDEF", dir));
	file.p[441] = file.p[511] = file.p[294] = 'D';
	assert_true(str_eq(buf_str(&file), buf_str(&got)));
	buf_fini(&got);
	buf_fini(&file);
	assert_int_equal(
	    deferlog_mark_done_blk(s, QUEUE_ACTIVE, "NOSUCH", (off_t[]){441}, 1), -ENOENT);
	assert_int_equal(deferlog_mark_warned_blk(s, QUEUE_ACTIVE, "NOSUCH", 5), -ENOENT);
	spool_close(s);
	spool_dir_remove(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(logs_round_trip),
	    cmocka_unit_test(odd_texts),
	    cmocka_unit_test(defaults_of_a_directory),
	    cmocka_unit_test(ten_thousand_entries),
	    cmocka_unit_test(nothing_is_injected),
	    cmocka_unit_test(appending_and_reading),
	    cmocka_unit_test(marks),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
