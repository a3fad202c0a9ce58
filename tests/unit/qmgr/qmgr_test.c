/*
 * qmgr_test.c - the way of a message through the queue manager, by what becomes of it.
 */
#include "qmgr_fixture.h"

static void
sent_is_removed(void **state)
{
	static const char *const to[] = {
	    "ok1@a.test", "ok2@b.test", "ok3@c.test", "ok4@d.test", "ok5@e.test"};

	open_with(NULL);
	put("s@x.test", to, 5);
	run_until("removed", 1);
	assert_int_equal(t.attempts, 2); /* one relay host, at most three recipients each */
	assert_int_equal(t.most_rcpts, 3);
	for (enum queue q = QUEUE_INCOMING; q < QUEUE_COUNT; q++)
		assert_int_equal(files(q), 0);
	run_close(&t.r);
}

static void
mixed_results_are_written_down(void **state)
{
	static const char *const to[] = {"ok@a.test", "temp@a.test", "perm@a.test"};
	struct deferlog_entry *e;
	struct arena a = {0};
	struct stat st;
	char path[SPOOL_PATH_MAX];
	size_t n;

	open_with(NULL);
	put("ok@x.test", to, 3); /* who can take the bounce */
	run_until("deferred", 1);
	assert_int_equal(files(QUEUE_DEFERRED), 1);
	assert_int_equal(open_recipients(t.r.id, QUEUE_DEFERRED), 1);
	assert_int_equal(deferlog_read_blk(t.r.spool, QUEUE_DEFER, t.r.id, &a, &e, &n), 0);
	assert_int_equal(n, 1);
	assert_string_equal(e[0].recipient, "temp@a.test");
	assert_string_equal(e[0].status.text, "said: 451 not now");
	assert_int_equal(files(QUEUE_BOUNCE), 0); /* told, and forgotten */
	assert_non_null(strstr(t.events, "bounced "));
	/* the next attempt is in the file's time: at least minimal_backoff_time ahead */
	spool_path(t.r.spool, QUEUE_DEFERRED, t.r.id, path);
	assert_int_equal(fsio_stat(spool_dirfd(t.r.spool), path, &st), 0);
	assert_true(st.st_mtim.tv_sec >= loop_wall_us() / 1000000 + 290);
	arena_fini(&a);
	run_close(&t.r);
}

/* A destination for each recipient, all with the same next hop. */
static void
one_recipient_at_a_time(void **state)
{
	static const char *const to[] = {"ok1@a.test", "ok2@a.test", "ok3@b.test"};

	open_with("smtp_destination_recipient_limit=1");
	put("s@x.test", to, 3);
	run_until("removed", 1);
	assert_int_equal(t.attempts, 3);
	assert_int_equal(t.most_rcpts, 1);
	run_close(&t.r);
}

static void
null_sender_gets_no_bounce(void **state)
{
	static const char *const to[] = {"perm@a.test"};

	open_with(NULL);
	put("", to, 1);
	run_until("removed", 1);
	for (enum queue q = QUEUE_INCOMING; q < QUEUE_COUNT; q++)
		assert_int_equal(files(q), 0);
	assert_null(strstr(t.events, "queued "));
	run_close(&t.r);
}

/* Age beyond the lifetime: the deferred recipients are returned, the mail ends. */
static void
expired_mail_is_returned(void **state)
{
	static const char *const to[] = {"temp@a.test"};

	open_with("maximal_queue_lifetime=0");
	put("ok@x.test", to, 1);
	run_until("removed", 2); /* the mail, and its bounce, delivered to ok@x.test */
	for (enum queue q = QUEUE_INCOMING; q < QUEUE_COUNT; q++)
		assert_int_equal(files(q), 0);
	run_close(&t.r);
}

/* One delay notice, and the time record says that it went out. */
static void
delay_is_told_once(void **state)
{
	static const char *const to[] = {"temp@a.test"};
	struct arena a = {0};
	struct envelope e;
	struct stat st;
	struct buf why = {.max = 512};

	open_with("delay_warning_time=1s");
	put("ok@x.test", to, 1);
	run_until("removed", 1); /* the notice, delivered */
	assert_int_equal(files(QUEUE_DEFERRED) + files(QUEUE_ACTIVE), 1);
	if (files(QUEUE_ACTIVE)) /* stopped on its way to deferred */
		spool_move_blk(t.r.spool, t.r.id, QUEUE_ACTIVE, QUEUE_DEFERRED, -1);
	assert_int_equal(reader_load_blk(t.r.spool, QUEUE_DEFERRED, t.r.id, &a, &e, &st, &why), 0);
	assert_int_equal(e.warn_time, -1);
	t.after_start = flush_now;
	run_until("deferred", 1);
	assert_null(strstr(t.events, "queued "));
	buf_fini(&why);
	arena_fini(&a);
	run_close(&t.r);
}

/* Three failures of the destination and it is left alone: the fourth mail is not even tried. */
static void
dead_destination_suspends(void **state)
{
	static const char *const to[] = {"down@a.test"};
	struct deferlog_entry *e;
	struct arena a = {0};
	size_t n;

	open_with("initial_destination_concurrency=1");
	put("s@x.test", to, 1);
	put("s@x.test", to, 1);
	put("s@x.test", to, 1);
	run_until("deferred", 3);
	assert_int_equal(files(QUEUE_DEFERRED), 3);
	assert_int_equal(t.attempts, 1);
	assert_int_equal(deferlog_read_blk(t.r.spool, QUEUE_DEFER, t.r.id, &a, &e, &n), 0);
	assert_true(
	    strcmp(e[0].status.text, "delivery temporarily suspended: said: 451 not now") == 0 ||
	    strcmp(e[0].status.text, "said: 451 not now") == 0);
	arena_fini(&a);
	run_close(&t.r);
}

static void
restart_keeps_and_flush_tries(void **state)
{
	static const char *const to[] = {"temp@a.test"};

	open_with(NULL);
	put("s@x.test", to, 1);
	run_until("deferred", 1);
	t.after_start = flush_now;
	run_until("deferred", 1);
	assert_int_equal(t.attempts, 1);
	assert_int_equal(files(QUEUE_DEFERRED), 1);
	run_close(&t.r);
}

/* A flush that comes when the mail has failed but is not back in deferred/ yet. */
static void
flush_finds_what_just_failed(void **state)
{
	static const char *const to[] = {"temp@a.test"};

	open_with(NULL);
	put("s@x.test", to, 1);
	t.after_first = flush_now;
	run_until("deferred", 2);
	t.after_first = NULL;
	assert_int_equal(t.attempts, 2);
	run_close(&t.r);
}

/* Retries that fill active/ do not keep a new mail out until the last of them was tried. */
static void
retries_leave_room(void **state)
{
	static const char *const old[] = {"temp@a.test"}, *const new[] = {"ok@a.test"};
	char *at;

	open_with("qmgr_message_active_limit=2");
	for (int i = 0; i < 20; i++)
		put("s@x.test", old, 1);
	run_until("deferred", 20);
	put("s@x.test", new, 1);
	t.after_start = flush_now;
	run_until("deferred", 20);
	at = strstr(t.order, "ok@");
	assert_non_null(at);
	assert_true(at - t.order < (ptrdiff_t)(10 * strlen("temp@a.test ")));
	run_close(&t.r);
}

/* What a kill left in active/ is delivered by the next run. */
static void
active_is_recovered(void **state)
{
	static const char *const to[] = {"ok@a.test"};

	open_with(NULL);
	put("s@x.test", to, 1);
	assert_int_equal(spool_move_blk(t.r.spool, t.r.id, QUEUE_INCOMING, QUEUE_ACTIVE, -1), 0);
	run_until("removed", 1);
	assert_int_equal(files(QUEUE_ACTIVE), 0);
	run_close(&t.r);
}

static void
damaged_goes_to_corrupt(void **state)
{
	static const char *const to[] = {"ok@a.test"};
	char path[SPOOL_PATH_MAX];
	int fd;

	open_with(NULL);
	put("s@x.test", to, 1);
	spool_path(t.r.spool, QUEUE_INCOMING, t.r.id, path);
	fd = fsio_open_update(spool_dirfd(t.r.spool), path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 300), 0);
	fsio_close(fd);
	run_until("corrupt", 1);
	assert_int_equal(files(QUEUE_CORRUPT), 1);
	assert_int_equal(t.attempts, 0);
	run_close(&t.r);
}

/* No agent, no transport: deferred with a reason, never lost. */
static void
missing_agent_defers(void **state)
{
	static const char *const to[] = {"root@mail.pennypost.test"};
	struct deferlog_entry *e;
	struct arena a = {0};
	size_t n;

	open_with("mydestination=mail.pennypost.test");
	put("s@x.test", to, 1);
	run_until("deferred", 1);
	assert_int_equal(deferlog_read_blk(t.r.spool, QUEUE_DEFER, t.r.id, &a, &e, &n), 0);
	assert_non_null(strstr(e[0].status.text, "local"));
	arena_fini(&a);
	run_close(&t.r);
}

/* sendmail -bv */
static void
verification_is_not_delivered(void **state)
{
	static const char *const to[] = {"ok@a.test"};

	open_with(NULL);
	t.trace_flags = 512;
	put("s@x.test", to, 1);
	t.trace_flags = 0;
	run_until("removed", 1);
	assert_int_equal(t.attempts, 0);
	run_close(&t.r);
}

/* The recovery of active/, kept from ending until a message has come. */
static struct {
	struct lane_job job;
	int gate[2];
} late;

static void
late_work(struct lane_job *job)
{
	char c;

	PP_ASSERT(read(late.gate[0], &c, 1) == 1);
}

static void
late_done(struct lane_job *job)
{
}

static void
recover_late(void)
{
	lane_run(t.disk, lane_key("scan"), &late.job, late_work, late_done);
}

/* Runs before the answer of the job that it lets go can. */
static void
commit_early(void *ctx, struct spool_arrival *a)
{
	assert_non_null(a->mail);
	commit(ctx, a);
	assert_int_equal(write(late.gate[1], "", 1), 1);
}

static void
committed(void *ctx, int rc)
{
	assert_int_equal(rc, 0);
}

static void
write_young(void)
{
	struct writer *w = writer_new(t.r.spool, QUEUE_INCOMING);

	spool_set_commit_hook(t.r.spool, commit_early, NULL);
	writer_putf(w, REC_TIME, "%lld", (long long)(loop_wall_us() / 1000000));
	writer_put(w, REC_SENDER, STR("s@x.test"));
	writer_put(w, REC_RCPT, STR("ok@a.test"));
	writer_put(w, REC_CONTENT, STR(""));
	writer_put(w, REC_LINE, STR("Subject: x"));
	writer_put(w, REC_EXTRACTED, STR(""));
	writer_put(w, REC_END, STR(""));
	writer_commit(w, 0, 0, committed, NULL);
}

/* New mail that meets a start which is still busy waits for it in the journal, as for a place. */
static void
start_makes_no_files(void **state)
{
	const struct journal_options o = {.size_limit = 1 << 30, .message_limit = 1 << 20};
	struct loop *loop = loop_new("journal");
	struct journal *j;

	open_with("journal_linger=60s");
	j = journal_new(t.r.spool, loop, &o);
	spool_set_journal(t.r.spool, j);
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(pipe(late.gate), 0);
	t.before_start = recover_late;
	t.after_start = write_young;
	run_until("removed", 1);
	assert_int_equal(t.attempts, 1);
	assert_int_equal(t.filed, 0);
	close(late.gate[0]);
	close(late.gate[1]);
	loop_stop(loop);
	loop_join(loop);
	loop_free(loop);
	spool_set_journal(t.r.spool, NULL);
	assert_int_equal(journal_close(j), 0);
	run_close(&t.r);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sent_is_removed),
	    cmocka_unit_test(mixed_results_are_written_down),
	    cmocka_unit_test(one_recipient_at_a_time),
	    cmocka_unit_test(null_sender_gets_no_bounce),
	    cmocka_unit_test(expired_mail_is_returned),
	    cmocka_unit_test(delay_is_told_once),
	    cmocka_unit_test(dead_destination_suspends),
	    cmocka_unit_test(restart_keeps_and_flush_tries),
	    cmocka_unit_test(flush_finds_what_just_failed),
	    cmocka_unit_test(retries_leave_room),
	    cmocka_unit_test(active_is_recovered),
	    cmocka_unit_test(damaged_goes_to_corrupt),
	    cmocka_unit_test(missing_agent_defers),
	    cmocka_unit_test(verification_is_not_delivered),
	    cmocka_unit_test(start_makes_no_files),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests_name("qmgr", tests, NULL, NULL);
}
