/*
 * writer_test.c - messages through a real loop and lane: the files are Postfix's byte for byte,
 * an error leaves nothing behind, and backpressure comes and goes.
 */
#include <signal.h>
#include <sys/resource.h>
#include "spool_dir.h"
#include "pp/runtime/loop.h"
#include "pp/spool/reader.h"
#include "pp/spool/writer.h"

struct fixture {
	char dir[64];
	struct spool *spool;
	struct lane *lane;
	struct loop *loop;
	struct post post;
	struct lane_job behind;
	/* Of the run. */
	struct buf *source; /* records to write, from a queue file */
	enum queue queue, later;
	size_t lines; /* or so many lines of 100 bytes */
	size_t line_at;
	struct writer *writer;
	char id[SPOOL_ID_MAX];
	int rc, dones, arrivals, drains;
	bool abort_at_drain, in_call;
	struct spool_arrival *arrival;
};

static void
arrived(void *ctx, struct spool_arrival *a)
{
	struct fixture *f = ctx;

	assert_int_equal(f->dones, 0); /* the hook comes before the answer */
	assert_ptr_equal(loop_current(), f->loop);
	f->arrivals++;
	spool_arrival_free(f->arrival);
	f->arrival = a;
}

static void
committed(void *ctx, int rc)
{
	struct fixture *f = ctx;

	assert_false(f->in_call);
	f->rc = rc;
	f->dones++;
	loop_stop(f->loop);
}

static void
commit(struct fixture *f)
{
	f->in_call = true;
	writer_set_queue(f->writer, f->later);
	writer_commit(f->writer, 0, 0, committed, f);
	f->in_call = false;
}

static void
copy_records(struct fixture *f)
{
	struct reader *r = reader_open_bytes(buf_str(f->source));
	struct record rec;
	off_t at;

	reader_set_raw(r, true);
	while (reader_next(r, &rec, &at) == 0) {
		if (rec.type == REC_SIZE)
			continue;
		assert_int_equal(writer_put(f->writer, rec.type, rec.payload), at);
		if (rec.type == REC_END)
			break;
	}
	reader_close(r);
	commit(f);
}

static void write_lines(struct fixture *f);

/* Jobs of one id run in order: behind the chunk that is being written the removal is asked for,
 * and behind that it is done. */
static void
nothing(struct lane_job *job)
{
}

static void
removal_is_done(struct lane_job *job)
{
	loop_stop(PP_CONTAINER(job, struct fixture, behind)->loop);
}

static void
chunk_is_written(struct lane_job *job)
{
	struct fixture *f = PP_CONTAINER(job, struct fixture, behind);

	lane_run(f->lane, lane_key(f->id), &f->behind, nothing, removal_is_done);
}

static void
drained(void *ctx)
{
	struct fixture *f = ctx;

	f->drains++;
	if (f->abort_at_drain) {
		writer_abort(f->writer);
		lane_run(f->lane, lane_key(f->id), &f->behind, nothing, chunk_is_written);
		return;
	}
	write_lines(f);
}

static void
write_lines(struct fixture *f)
{
	static const char line[100] = "one line of the message";

	while (f->line_at < f->lines) {
		if (writer_put_line(f->writer, (struct str){line, sizeof(line)}, 2048) < 0)
			break;
		f->line_at++;
		if (writer_full(f->writer)) {
			writer_on_drain(f->writer, drained, f);
			return;
		}
	}
	assert_int_equal(writer_content_size(f->writer), f->line_at * 102);
	writer_put(f->writer, REC_EXTRACTED, STR(""));
	writer_put(f->writer, REC_END, STR(""));
	commit(f);
}

static void
begin(struct post *p)
{
	struct fixture *f = PP_CONTAINER(p, struct fixture, post);

	f->writer = writer_new(f->spool, f->queue);
	snprintf(f->id, sizeof(f->id), "%s", writer_id(f->writer));
	if (f->source) {
		copy_records(f);
		return;
	}
	assert_int_equal(writer_content_size(f->writer), 0);
	writer_putf(f->writer, REC_TIME, "%d %d", 1795295131, 5);
	writer_put(f->writer, REC_SENDER, STR("s@x.test"));
	writer_put(f->writer, REC_RCPT, STR("r@x.test"));
	writer_put(f->writer, REC_CONTENT, STR(""));
	write_lines(f);
}

static void
open_fixture(struct fixture *f, int64_t cache)
{
	*f = (struct fixture){.queue = QUEUE_INCOMING, .later = QUEUE_INCOMING};
	spool_dir_make(f->dir);
	f->spool = spool_dir_open(f->dir, false, cache);
	spool_set_commit_hook(f->spool, arrived, f);
}

static void
run(struct fixture *f)
{
	f->dones = f->arrivals = f->drains = 0;
	f->line_at = 0;
	f->rc = 1;
	f->lane = lane_new("disk", 2);
	spool_set_lane(f->spool, f->lane);
	f->loop = loop_new("test");
	post_to(f->loop, &f->post, begin);
	loop_run(f->loop);
	lane_free(f->lane);
	loop_free(f->loop);
}

static void
close_fixture(struct fixture *f)
{
	spool_arrival_free(f->arrival);
	spool_close(f->spool);
	spool_dir_remove(f->dir);
}

static int
count_one(void *ctx, const struct spool_entry *e)
{
	++*(int *)ctx;
	return 0;
}

static int
count(struct fixture *f, enum queue q)
{
	int n = 0;

	assert_int_equal(spool_scan_blk(f->spool, q, count_one, &n), 0);
	return n;
}

/* The file of the id as it is on disk. */
static void
read_file(struct fixture *f, enum queue q, struct buf *to)
{
	char path[SPOOL_PATH_MAX];

	spool_path(f->spool, q, f->id, path);
	if (!test_read(to, "%s/%s", f->dir, path))
		fail_msg("no file %s", path);
}

static struct fixture shared;

static void
check_case(const char *name)
{
	struct fixture *f = &shared;
	char path[SPOOL_PATH_MAX];
	struct buf want, got;
	struct stat st;
	size_t end;

	if (strncmp(name, "milter-", 7) == 0)
		return; /* records appended behind E, counts before the edits */
	assert_true(test_read(&want, "tests/corpus/cases/%s/qfile", name));
	if (want.p[0] == 'C') {
		/* As it was before the first delivery. */
		struct reader *r = reader_open_bytes(buf_str(&want));
		struct record rec;
		off_t at;

		while (reader_next(r, &rec, &at) == 0 && rec.type != REC_END)
			if (rec.type == REC_DONE)
				want.p[at] = REC_RCPT;
		end = (size_t)at + 2;
		reader_close(r);
		f->source = &want;
		f->queue = QUEUE_HOLD;
		f->later = QUEUE_INCOMING;
		run(f);
		assert_int_equal(f->rc, 0);
		assert_int_equal(f->arrivals, 1);
		assert_int_equal(f->dones, 1);
		read_file(f, QUEUE_INCOMING, &got);
		assert_true(str_eq(buf_str(&got), f->arrival->bytes->bytes));
		/* Hints and SMTPUTF8 flags are the caller's to say. */
		memset(want.p + 2 + 48, ' ', 15);
		memset(got.p + 2 + 48, ' ', 15);
		memset(want.p + 2 + 80, ' ', 15);
		memset(got.p + 2 + 80, ' ', 15);
		if (!str_eq(str_head(buf_str(&want), end), buf_str(&got)))
			fail_msg("%s: %.97s\n%.97s", name, want.p, got.p);
		spool_path(f->spool, QUEUE_INCOMING, f->id, path);
		assert_int_equal(fsio_stat(spool_dirfd(f->spool), path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		buf_fini(&got);
	}
	buf_fini(&want);
}

static void
files_are_postfix_files(void **state)
{
	open_fixture(&shared, 10 << 20);
	corpus_each("cases", check_case);
	close_fixture(&shared);
}

static void
big_messages_stream(void **state)
{
	struct fixture f;
	struct buf got, why;
	struct arena arena = {0};
	struct envelope env;
	struct reader *r;

	open_fixture(&f, 100 << 20);
	f.lines = 100000;
	f.later = QUEUE_HOLD; /* the file was made in incoming by then */
	run(&f);
	assert_int_equal(f.rc, 0);
	assert_true(f.drains > 1);
	assert_int_equal(f.arrival->queue, QUEUE_HOLD);
	assert_null(f.arrival->bytes);
	assert_int_equal(count(&f, QUEUE_INCOMING), 0);
	read_file(&f, QUEUE_HOLD, &got);
	buf_init(&why, 1024);
	r = reader_open_bytes(buf_str(&got));
	assert_int_equal(reader_envelope(r, READER_QUEUE, &arena, &env, &why), 0);
	assert_int_equal(env.data_size, 100000 * 102);
	assert_int_equal(env.rcpt_count, 1);
	reader_close(r);
	arena_fini(&arena);
	buf_fini(&got);
	buf_fini(&why);
	close_fixture(&f);
}

static void
the_cache_is_bounded(void **state)
{
	struct fixture f;
	struct spool_arrival *first;

	open_fixture(&f, 15000);
	f.lines = 100;
	run(&f);
	assert_non_null(f.arrival->bytes);
	first = f.arrival;
	f.arrival = NULL;
	run(&f);
	assert_int_equal(f.rc, 0);
	assert_null(f.arrival->bytes);
	spool_arrival_free(first);
	run(&f);
	assert_non_null(f.arrival->bytes);
	close_fixture(&f);
}

static void
a_failing_disk_leaves_nothing(void **state)
{
	static const size_t lines[] = {2000, 20000}; /* in memory, and streaming */
	const struct rlimit small = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY};
	struct rlimit before;
	struct fixture f;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	for (size_t i = 0; i < PP_COUNT(lines); i++) {
		open_fixture(&f, 1 << 20);
		f.lines = lines[i];
		setrlimit(RLIMIT_FSIZE, &small);
		run(&f);
		setrlimit(RLIMIT_FSIZE, &before);
		assert_int_equal(f.rc, -EFBIG);
		assert_int_equal(f.dones, 1);
		assert_int_equal(f.arrivals, 0);
		assert_int_equal(count(&f, QUEUE_INCOMING), 0);
		close_fixture(&f);
	}
}

static void
a_missing_queue_is_an_error(void **state)
{
	struct fixture f;

	open_fixture(&f, 1 << 20);
	assert_int_equal(fsio_rmdir(spool_dirfd(f.spool), "incoming"), 0);
	f.lines = 10;
	run(&f);
	assert_int_equal(f.rc, -ENOENT);
	f.lines = 20000;
	run(&f);
	assert_int_equal(f.rc, -ENOENT);
	close_fixture(&f);
}

static void
abort_removes_the_half_file(void **state)
{
	struct fixture f;

	open_fixture(&f, 1 << 20);
	f.lines = 100000;
	f.abort_at_drain = true;
	run(&f);
	assert_int_equal(f.dones, 0);
	assert_int_equal(f.drains, 1);
	assert_int_equal(count(&f, QUEUE_INCOMING), 0);
	close_fixture(&f);
}

static void
files_for_commands(void **state)
{
	struct fixture f;
	struct stat st;

	open_fixture(&f, 0);
	assert_int_equal(writer_file_blk(f.spool, QUEUE_MAILDROP, "ABCDEF", STR("text"), 0744), 0);
	assert_int_equal(
	    writer_file_blk(f.spool, QUEUE_MAILDROP, "ABCDEF", STR("other"), 0744), -EEXIST);
	assert_int_equal(fsio_stat(spool_dirfd(f.spool), "maildrop/ABCDEF", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0744);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(writer_file_blk(f.spool, QUEUE_DEFERRED, "ABCDEF", STR("text"), 0700), 0);
	assert_int_equal(fsio_stat(spool_dirfd(f.spool), "deferred/A/ABCDEF", &st), 0);
	close_fixture(&f);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_are_postfix_files),
	    cmocka_unit_test(big_messages_stream),
	    cmocka_unit_test(the_cache_is_bounded),
	    cmocka_unit_test(a_failing_disk_leaves_nothing),
	    cmocka_unit_test(a_missing_queue_is_an_error),
	    cmocka_unit_test(abort_removes_the_half_file),
	    cmocka_unit_test(files_for_commands),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
