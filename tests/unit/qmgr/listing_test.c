/*
 * listing_test.c - listings of a running queue manager: from memory, from files, of slow readers.
 *
 * The defer logs are removed once memory has them, so what is listed of them was in memory.
 */
#include "cleanup_run.h"
#include "pp/base/assert.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/listing.h"
#include "qmgr/internal.h"

enum { MAILS = 60, TEXT = 400 /* recipients */ };

static struct {
	struct cleanup_run r;
	struct loop *loop;
	struct qmgr *q;
	struct lane *disk, *background;
	struct post begin;
	struct timer timer;
	void (*ready)(void);
	struct qmgr_listing *listing;
	struct listing_decoder *decoder;
	size_t messages, from_memory, recipients, pieces, most;
	size_t free_after, stop_after, hold_after; /* pieces */
	bool asks;                                 /* for more in the moment it leaves */
	bool complete, ended;
} t;

static void
stopped(void *ctx)
{
	loop_stop(t.loop);
}

static void
stopped_first(void *ctx)
{
}

static int
take(void *ctx, const struct listing *l)
{
	t.messages++;
	t.recipients += l->rcpt_count;
	assert_int_equal(l->queue, QUEUE_DEFERRED);
	assert_true(l->next_attempt > 0);
	t.from_memory += strstr(l->rcpt[0].reason, "<u0@many.test> said no") != NULL;
	if (*l->rcpt[0].reason) {
		assert_string_equal(l->rcpt[0].relay, "mx.test");
		assert_string_equal(l->rcpt[0].dsn, "4.2.1");
	}
	return 0;
}

static void
listing_ended(void)
{
	t.complete = listing_decoder_complete(t.decoder);
	listing_decoder_free(t.decoder);
	qmgr_listing_free(t.listing);
	t.listing = NULL;
	t.ended = true;
	qmgr_stop(t.q, 5000, stopped, NULL);
}

static void
held_on(struct timer *timer)
{
	/* Two came unasked, and no more without asking. */
	assert_int_equal(t.pieces, t.hold_after);
	qmgr_listing_more(t.listing);
	qmgr_listing_more(t.listing);
}

static void
piece(void *ctx, struct buf *bytes, bool last)
{
	struct str s = buf_str(bytes);

	assert_false(t.ended);
	t.pieces++;
	if (s.n > t.most)
		t.most = s.n;
	assert_int_equal(listing_decode(t.decoder, s), 0);
	if (t.asks && t.pieces == t.free_after)
		qmgr_listing_more(t.listing);
	if (last || t.pieces == t.free_after) {
		listing_ended();
	} else if (t.pieces == t.stop_after) {
		qmgr_stop(t.q, 5000, stopped_first, NULL);
		qmgr_listing_more(t.listing);
	} else if (t.pieces == t.hold_after) {
		timer_start(t.loop, &t.timer, 50, held_on);
	} else if (t.pieces > t.hold_after) {
		qmgr_listing_more(t.listing);
	}
}

static void
listing_begin(void)
{
	t.decoder = listing_decoder_new(take, NULL);
	t.listing = qmgr_listing_new(t.q, true, piece, NULL);
}

static void
wait_loaded(struct timer *timer)
{
	if (!qmgr_deferred_complete(t.q) || t.q->wanted_n > 0 || t.q->loading[0] || t.q->loading[1])
		timer_start(t.loop, &t.timer, 5, wait_loaded);
	else
		t.ready();
}

static void
begin(struct post *p)
{
	static struct qmgr_agent agents[1];
	struct qmgr_options o = {.loop = t.loop,
	    .setup = {t.r.spool, t.r.config, t.r.route},
	    .disk = t.disk,
	    .slow = t.background,
	    .background = t.background,
	    .io = &t.loop,
	    .io_count = 1,
	    .agents = agents,
	    .agent_count = 0};

	t.q = qmgr_new(&o);
	qmgr_start(t.q);
	wait_loaded(&t.timer);
}

static void
run(void (*ready)(void))
{
	t.ready = ready;
	t.disk = lane_new("disk", 2);
	t.background = lane_new("background", 2);
	t.loop = loop_new("all");
	t.messages = t.from_memory = t.recipients = t.pieces = t.most = 0;
	t.ended = t.complete = false;
	post_to(t.loop, &t.begin, begin);
	loop_run(t.loop);
	lane_free(t.disk);
	lane_free(t.background);
	qmgr_free(t.q);
	loop_free(t.loop);
}

/* A deferred mail with a log of all its recipients. */
static void
put(size_t n)
{
	static struct recipient rcpt[TEXT];
	static char address[TEXT][32];
	static struct deferlog_entry log[TEXT];
	struct envelope e = {.sender = "s@x.test",
	    .rcpt = rcpt,
	    .rcpt_count = n,
	    .fullname = "",
	    .origin = {.local = true}};

	for (size_t i = 0; i < n; i++) {
		snprintf(address[i], sizeof(address[i]), "u%zu@many.test", i);
		rcpt[i] =
		    (struct recipient){.address = address[i], .orig = address[i], .offset = -1};
		log[i] = (struct deferlog_entry){
		    .recipient = address[i], .action = "delayed", .offset = 100};
		log[i].status = status_make(&t.r.arena, STATUS_TEMP, 2, 1,
		    "host mx.test: <%s> said no, and gave a long explanation of it, %0200d",
		    address[i], 0);
		log[i].status.remote = "mx.test";
	}
	t.r.envelope = &e;
	t.r.received = "Received: by test id x; now";
	run_set_text(&t.r, STR("Subject: x\nFrom: a@b.test\n\nbody\n"));
	run_message(&t.r);
	assert_int_equal(t.r.status.cls, STATUS_OK);
	assert_int_equal(deferlog_append_blk(t.r.spool, QUEUE_DEFER, t.r.id, log, n), 0);
	assert_int_equal(
	    spool_move_blk(t.r.spool, t.r.id, QUEUE_INCOMING, QUEUE_DEFERRED, 4000000000), 0);
}

static int
setup(void **state)
{
	static const char *const extra[] = {"relayhost=[relay.test]", "mydestination=", NULL};

	memset(&t, 0, sizeof(t));
	run_open(&t.r, extra);
	for (size_t i = 0; i < MAILS; i++)
		put(i % 20 == 19 ? TEXT : 1 + i % 20);
	return 0;
}

static int
teardown(void **state)
{
	run_close(&t.r);
	return 0;
}

static int
remove_log(void *ctx, const struct spool_entry *e)
{
	return deferlog_remove_blk(t.r.spool, QUEUE_DEFER, e->id);
}

static void
without_logs(void)
{
	spool_scan_blk(t.r.spool, QUEUE_DEFERRED, remove_log, NULL);
	listing_begin();
}

static void
from_memory(void **state)
{
	run(without_logs);
	assert_true(t.complete);
	assert_int_equal(t.messages, MAILS);
	/* Those of 400 recipients are read from their files, where no reason is left. */
	assert_int_equal(t.from_memory, MAILS - MAILS / 20);
	assert_int_equal(t.recipients, MAILS / 20 * (19 * 20 / 2 + TEXT));
	assert_true(t.most <= 64 * 1024);
}

/* Nothing is in memory: all from the files. */
static void
forget_details(void)
{
	for (uint32_t i = 0; i < index_slots(&t.q->index); i++)
		index_unkeep(&t.q->index, index_at(&t.q->index, i));
	assert_int_equal(t.q->index.strings.bytes, 0);
	listing_begin();
}

static void
from_files(void **state)
{
	run(forget_details);
	assert_true(t.complete);
	assert_int_equal(t.messages, MAILS);
	assert_int_equal(t.from_memory, MAILS);
	assert_true(t.most <= 64 * 1024);
	assert_true(t.pieces > 8);
}

static void
slow_reader(void **state)
{
	t.hold_after = 2;
	run(listing_begin);
	assert_true(t.complete);
	assert_int_equal(t.messages, MAILS);
}

static void
reader_leaves(void **state)
{
	for (t.free_after = 1; t.free_after < 4; t.free_after++) {
		run(listing_begin);
		assert_int_equal(t.pieces, t.free_after);
		assert_false(t.complete);
		run(forget_details);
		assert_int_equal(t.pieces, t.free_after);
	}
}

/* So a slice and a job are on their way when it ends: it waits for both of them. */
static void
reader_asks_and_leaves(void **state)
{
	t.asks = true;
	do {
		t.free_after++;
		run(listing_begin);
	} while (!t.complete);
	assert_true(t.free_after > 4);
}

static void
leave_at_once(void)
{
	qmgr_listing_free(qmgr_listing_new(t.q, false, piece, NULL));
	listing_begin();
	qmgr_listing_more(t.listing);
}

static void
reader_leaves_at_once(void **state)
{
	run(leave_at_once);
	assert_int_equal(t.messages, MAILS);
}

/* A listing that a stop breaks off says that it is not whole by its end. */
static void
stop_breaks_off(void **state)
{
	t.stop_after = 2;
	run(forget_details);
	assert_true(t.ended);
	assert_false(t.complete);
}

static void
sites_done(void *ctx)
{
	size_t due = t.q->active_count; /* some are under way already */

	for (uint32_t i = 0; i < index_slots(&t.q->index); i++) {
		struct qmgr_deferred *d = index_at(&t.q->index, i);

		due += d && qmgr_deferred_when(d) < 4000000000;
	}
	assert_int_equal(due, t.messages);
	if (t.messages == 0) {
		t.messages = MAILS;
		qmgr_site_flush(t.q, "MANY.test", sites_done, NULL);
		return;
	}
	qmgr_stop(t.q, 5000, stopped, NULL);
}

static void
flush_sites(void)
{
	for (uint32_t i = 0; i < index_slots(&t.q->index); i += 2)
		index_unkeep(&t.q->index, index_at(&t.q->index, i));
	qmgr_site_flush(t.q, "x.test", sites_done, NULL);
}

static void
sites(void **state)
{
	run(flush_sites);
	assert_int_equal(t.messages, MAILS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(from_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(from_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(slow_reader, setup, teardown),
	    cmocka_unit_test_setup_teardown(reader_leaves, setup, teardown),
	    cmocka_unit_test_setup_teardown(reader_asks_and_leaves, setup, teardown),
	    cmocka_unit_test_setup_teardown(reader_leaves_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(stop_breaks_off, setup, teardown),
	    cmocka_unit_test_setup_teardown(sites, setup, teardown),
	};

	return cmocka_run_group_tests_name("listing", tests, NULL, NULL);
}
