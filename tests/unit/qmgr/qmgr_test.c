/*
 * qmgr_test.c - the queue manager with a real spool, loop and lanes, and an agent of the test's.
 *
 * The agent decides by the recipient's local part: ok, temp, perm; `down` is a destination in
 * trouble. A run ends when a wanted number of events has come, so nothing here waits by the clock.
 */
#include "cleanup_run.h"
#include "pp/qmgr/qmgr.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/journal.h"
#include "pp/spool/writer.h"

enum { TEXT_MAX = 4096 };

static struct {
	struct cleanup_run r;
	struct loop *io;
	struct qmgr *q;
	struct lane *disk;
	char events[TEXT_MAX];
	const char *until; /* the event that ends the run */
	int until_count;
	unsigned attempts, most_rcpts, trace_flags;
	int filed;            /* files of messages at an attempt, most */
	char order[TEXT_MAX]; /* of first recipients */
	struct post begin;
	void (*before_start)(void);
	void (*after_start)(void);
	void (*after_first)(void); /* attempt */
	/* Deliveries that take a moment: how many recipients were out at once? */
	bool is_slow;
	struct delivery *slow[100];
	size_t slow_count;
	unsigned out, most_out, asked;
	struct timer timer;
} t;

static int
count_files_of(void *ctx, const struct spool_entry *e)
{
	++*(int *)ctx;
	return 0;
}

static int
files(enum queue q)
{
	int n = 0;

	spool_scan_blk(t.r.spool, q, count_files_of, &n);
	return n;
}

static void
settle(struct delivery *d, struct delivery_rcpt *rc)
{
	struct str a = str_of(rc->rcpt.address);
	struct status st;

	if (str_starts(a, STR("ok")))
		st = status_make(&d->arena, STATUS_OK, 0, 0, "250 taken");
	else if (str_starts(a, STR("perm")))
		st = status_make(&d->arena, STATUS_PERM, 1, 1, "said: 550 no such user");
	else
		st = status_make(&d->arena, STATUS_TEMP, 4, 1, "said: 451 not now");
	delivery_settle(d, rc, &st);
	if (str_starts(a, STR("down")))
		d->hop = st;
}

static void
settle_all(struct delivery *d)
{
	for (size_t i = 0; i < d->rcpt_count; i++)
		settle(d, &d->rcpt[i]);
	delivery_done(d);
}

static void
slow_fired(struct timer *timer)
{
	t.out = 0;
	while (t.slow_count > 0)
		settle_all(t.slow[--t.slow_count]);
}

static void
take_slowly(struct delivery *d)
{
	t.slow[t.slow_count++] = d;
	t.out += (unsigned)d->rcpt_count;
	t.asked += (unsigned)d->rcpt_count;
	if (t.out > t.most_out)
		t.most_out = t.out;
	if (t.slow_count == 1)
		timer_start(t.io, &t.timer, 3, slow_fired);
}

static void
fake_deliver(void *ctx, struct delivery *d)
{
	PP_ASSERT(ctx == &t);
	size_t n = strlen(t.order);
	int filed = files(QUEUE_INCOMING) + files(QUEUE_ACTIVE);

	if (filed > t.filed)
		t.filed = filed;
	PP_ASSERT(strcmp(d->nexthop, "[relay.test]") == 0);
	snprintf(t.order + n, sizeof(t.order) - n, "%s ", d->rcpt[0].rcpt.address);
	t.attempts++;
	if (d->rcpt_count > t.most_rcpts)
		t.most_rcpts = (unsigned)d->rcpt_count;
	if (t.is_slow) {
		take_slowly(d);
		return;
	}
	settle_all(d);
	if (t.attempts == 1 && t.after_first)
		t.after_first();
}

static const struct delivery_agent fake = {"smtp", fake_deliver};

static void
stopped(void *ctx)
{
	loop_stop(t.io);
}

static void
event(void *ctx, const char *line)
{
	size_t n = strlen(t.events);

	snprintf(t.events + n, sizeof(t.events) - n, "%s\n", line);
	if (t.until && str_starts(str_of(line), str_of(t.until)) && --t.until_count == 0)
		qmgr_stop(t.q, 5000, stopped, NULL);
}

static void
commit(void *ctx, struct spool_arrival *a)
{
	qmgr_arrive(t.q, a);
}

/* Everything on one loop: the queue manager's, the io loop and the one that waits. */
static void
begin(struct post *p)
{
	static void *const ctx[] = {&t};
	static struct qmgr_agent agents[1];
	struct qmgr_options o = {.loop = t.io,
	    .setup = {t.r.spool, t.r.config, t.r.route},
	    .disk = t.disk,
	    .slow = t.disk,
	    .background = t.disk,
	    .io = &t.io,
	    .io_count = 1,
	    .agents = agents,
	    .agent_count = 1};

	agents[0] = (struct qmgr_agent){&fake, ctx};
	t.q = qmgr_new(&o);
	spool_set_commit_hook(t.r.spool, commit, NULL);
	qmgr_on_event(t.q, event, NULL);
	qmgr_watch(t.q, true);
	if (t.before_start)
		t.before_start();
	qmgr_start(t.q);
	if (t.after_start)
		t.after_start();
}

static void
run_until(const char *what, int count)
{
	t.events[0] = t.order[0] = '\0';
	t.until = what;
	t.until_count = count;
	t.attempts = t.most_rcpts = 0;
	t.filed = 0;
	t.out = t.most_out = t.asked = 0;
	t.disk = lane_new("disk", 2);
	spool_set_lane(t.r.spool, t.disk);
	t.io = loop_new("all");
	post_to(t.io, &t.begin, begin);
	loop_run(t.io);
	lane_free(t.disk);
	qmgr_free(t.q);
	loop_free(t.io);
}

static void
run_slowly(const char *what, int count)
{
	t.is_slow = true;
	run_until(what, count);
	t.is_slow = false;
}

static const char *const extra[] = {
    "relayhost=[relay.test]", "mydestination=", "smtp_destination_recipient_limit=3", NULL};

static void
open_with_more(const char *more, const char *other, const char *third)
{
	const char *names[8] = {extra[0], extra[1], extra[2], more, other, third};

	t.before_start = t.after_start = NULL;
	run_open(&t.r, names);
}

static void
open_with(const char *more)
{
	open_with_more(more, NULL, NULL);
}

/* A message in incoming/, made by cleanup. */
static void
put(const char *sender, const char *const *to, size_t n)
{
	struct recipient rcpt[60] = {{0}};
	struct envelope e = {.sender = sender,
	    .rcpt = rcpt,
	    .rcpt_count = n,
	    .fullname = "",
	    .origin = {.local = true},
	    .trace_flags = t.trace_flags};

	for (size_t i = 0; i < n; i++)
		rcpt[i] = (struct recipient){.address = to[i], .orig = to[i], .offset = -1};
	t.r.envelope = &e;
	t.r.received = "Received: by test id x; now";
	run_set_text(&t.r, STR("Subject: x\nFrom: a@b.test\n\nbody\n"));
	spool_set_commit_hook(t.r.spool, NULL, NULL);
	run_message(&t.r);
	assert_int_equal(t.r.status.cls, STATUS_OK);
}

static size_t
open_recipients(const char *id, enum queue q)
{
	struct arena a = {0};
	struct envelope e;
	struct stat st;
	struct buf why = {.max = 512};
	size_t n = 0;

	assert_int_equal(reader_load_blk(t.r.spool, q, id, &a, &e, &st, &why), 0);
	for (size_t i = 0; i < e.rcpt_count; i++)
		n += !e.rcpt[i].done;
	buf_fini(&why);
	arena_fini(&a);
	return n;
}

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

static void
flush_now(void)
{
	qmgr_command(t.q, QMGR_FLUSH, "", NULL, NULL);
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

/* Recipients that have no room are read part by part: each is tried once and has its own result,
 * and no more of them are out than the limit says. */
static void
recipients_in_slices(void **state)
{
	char names[60][24];
	const char *to[60];
	struct deferlog_entry *e;
	struct arena a = {0};
	size_t n;

	for (unsigned i = 0; i < 60; i++) {
		snprintf(names[i], sizeof names[i], "%s%u@d%u.test",
		    i % 10 == 3   ? "temp"
		    : i % 10 == 7 ? "perm"
				  : "ok",
		    i, i % 7);
		to[i] = names[i];
	}
	open_with_more("qmgr_message_recipient_limit=8", "qmgr_message_recipient_minimum=2", NULL);
	put("", to, 60);
	run_slowly("deferred", 1);
	assert_true(t.most_out <= 8);
	assert_int_equal(t.asked, 60);
	assert_int_equal(open_recipients(t.r.id, QUEUE_DEFERRED), 6);
	assert_int_equal(deferlog_read_blk(t.r.spool, QUEUE_DEFER, t.r.id, &a, &e, &n), 0);
	assert_int_equal(n, 6);
	for (size_t i = 0; i < n; i++)
		assert_true(str_starts(str_of(e[i].recipient), STR("temp")));
	arena_fini(&a);
	/* Those that are left are tried again, and no others. */
	t.after_start = flush_now;
	run_slowly("deferred", 1);
	assert_int_equal(t.asked, 6);
	run_close(&t.r);
}

static const char *const many[] = {"ok1@a.test", "ok2@a.test", "ok3@a.test", "ok4@a.test",
    "ok5@a.test", "ok6@a.test", "ok7@a.test", "ok8@a.test", "ok9@a.test"};

/* However full memory is, each message has its minimum, so that one does not wait for another. */
static void
minimum_for_each(void **state)
{
	open_with_more("qmgr_message_recipient_limit=1", "qmgr_message_recipient_minimum=2", NULL);
	for (int i = 0; i < 3; i++)
		put("s@x.test", many, 9);
	run_slowly("removed", 3);
	assert_int_equal(t.asked, 27);
	assert_true(t.most_out <= 6);
	run_close(&t.r);
}

/* A transport that has its share in memory gets no more, whatever room there is. */
static void
transport_has_a_limit(void **state)
{
	open_with_more("qmgr_message_recipient_minimum=2", "qmgr_message_recipient_limit=6",
	    "smtp_recipient_limit=2");
	put("s@x.test", many, 9);
	run_slowly("removed", 1);
	assert_int_equal(t.asked, 9);
	assert_int_equal(
	    t.attempts, 4); /* 3 and 3, for it was not known yet whose they are; 2; 1 */
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
	    cmocka_unit_test(recipients_in_slices),
	    cmocka_unit_test(minimum_for_each),
	    cmocka_unit_test(transport_has_a_limit),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests_name("qmgr", tests, NULL, NULL);
}
