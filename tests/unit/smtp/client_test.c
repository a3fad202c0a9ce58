/*
 * What the client does beside decisions: log lines, content from memory and file, parameters of the
 * commands, idle connections, stopping. The decisions are in dialog_test.c.
 */
#include "fake_dns.h"
#include "smtp/internal.h"
#include "spool_dir.h"

#define SENT "2.0.0 sent 250 2.0.0 Ok: queued as X"
#define LOST(phase) "4.4.2 deferred lost connection with H while " phase
#define LATE(phase) "4.4.2 deferred conversation with H timed out while " phase
#define SAID(dsn, class, text, command)                                                            \
	dsn " " class " host H said: " text " (in reply to " command " command)"

/* What the log says of a delivery. */
static void
test_log_lines(void **state)
{
	static const struct fake_rule rules[] = {{"RCPT", 2, "550 5.1.1 nope"}, {0}};
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, rules));
	fake_add(&r, hop, 2);
	fake_run(&r);
	const char *log = fake_text(&r, buf_cstr(&r.log));

	assert_non_null(strstr(log, "QID0: to=<r1@there.test>, relay=H:P, delay=0"));
	assert_non_null(strstr(log, "dsn=5.1.1, status=bounced (host H said: 550 5.1.1 nope (in "
				    "reply to RCPT TO command))\n"
				    "QID0: to=<r0@there.test>, relay=H:P, "));
	assert_non_null(strstr(log, "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)\n"));
	assert_null(strstr(log, "conn_use"));
	assert_string_equal(r.delivery[0].rcpt[1].status.remote, "127.0.0.1");
	assert_string_equal(r.delivery[0].rcpt[1].status.diagnostic, "550 5.1.1 nope");
	assert_true(r.delivery[0].connect_us > 0 && r.delivery[0].transmit_us > 0);
	fake_fini(&r);
}

static void
test_content(void **state)
{
	static const struct {
		const char *text, *want;
	} table[] = {
	    {"Subject: x\n\nhello\n.dot\n\nlast\n",
		"Subject: x\r\n\r\nhello\r\n..dot\r\n\r\nlast\r\n"},
	    {"a: b\n\n0123456789012345678901234567890\n",
		"a: b\r\n\r\n01234567890123456789\r\n 01234567890\r\n"},
	};

	for (size_t i = 0; i < PP_COUNT(table); i++) {
		static const char *const settings[] = {"smtp_line_length_limit=20", NULL};
		struct fake_run r;
		char hop[64];

		fake_init(&r);
		fake_configure(&r, i ? settings : NULL);
		snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
		fake_add(&r, hop, 1);
		fake_message(&r, table[i].text);
		fake_run(&r);
		assert_string_equal(fake_result(&r, 0, 0), SENT);
		assert_string_equal(buf_cstr(&r.server[0].body), table[i].want);
		assert_int_equal(strstr(buf_cstr(&r.log),
				     "QID0: breaking line > 20 bytes with <CR><LF>SPACE") != NULL,
		    i == 1);
		/* Content and dot came together. */
		assert_int_equal(r.server[0].body_reads, 1);
		fake_fini(&r);
	}
}

/* Ten megabytes through a stream that takes a quarter of one at a time. */
static void
test_big_content(void **state)
{
	enum { LINES = 100000 };
	struct fake_run r;
	char hop[64], *text = malloc(LINES * 101 + 1);

	for (size_t i = 0; i < LINES; i++)
		snprintf(text + i * 101, 102, "%0100zu\n", i);
	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	fake_add(&r, hop, 1);
	fake_message(&r, text);
	fake_run(&r);
	assert_string_equal(fake_result(&r, 0, 0), SENT);
	assert_int_equal(buf_str(&r.server[0].body).n, LINES * 102);
	fake_fini(&r);
	free(text);
}

/* A server that stops reading, or goes, in the middle of much content. */
static void
test_content_stuck(void **state)
{
	static const struct {
		struct fake_rule rules[2];
		const char *want, *settings[2];
	} table[] = {
	    {{{"DATA", 0, "354 go|SILENCE"}}, LATE("sending message body"),
		{"smtp_data_xfer_timeout=100ms"}},
	    {{{"DATA", 0, "354 go|CLOSE"}}, LOST("sending message body"), {NULL}},
	};
	enum { LINES = 300000 };
	char *text = malloc(LINES * 101 + 1);

	for (size_t i = 0; i < LINES; i++)
		snprintf(text + i * 101, 102, "%0100zu\n", i);
	for (size_t i = 0; i < PP_COUNT(table); i++) {
		struct fake_run r;
		char hop[64];

		fake_init(&r);
		fake_configure(&r, table[i].settings);
		snprintf(hop, sizeof hop, "[127.0.0.1]:%u",
		    fake_listen(&r, "127.0.0.1", 0, table[i].rules));
		fake_add(&r, hop, 1);
		fake_message(&r, text);
		fake_run(&r);
		assert_string_equal(fake_result(&r, 0, 0), table[i].want);
		assert_int_equal(r.delivery[0].hop.cls, STATUS_TEMP);
		fake_fini(&r);
	}
	free(text);
}

/* From active/, through the disk lane. */
static void
test_content_from_file(void **state)
{
	enum { LINES = 100000 };
	struct lane *disk = lane_new("disk", 1);
	char dir[64], path[SPOOL_PATH_MAX], hop[64], *text = malloc(LINES * 101 + 1);
	struct fake_run r;

	for (size_t i = 0; i < LINES; i++)
		snprintf(text + i * 101, 102, "%0100zu\n", i);
	spool_dir_make(dir);
	fake_init(&r);
	fake_configure(&r, NULL);
	r.spool = spool_dir_open(dir, false, 0);
	spool_set_lane(r.spool, disk);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	fake_add(&r, hop, 1)->bytes = NULL;
	fake_add(&r, hop, 1)->bytes = NULL;
	fake_message(&r, text);
	spool_path(r.spool, QUEUE_ACTIVE, "QID0", path);
	test_write(spool_dirfd(r.spool), path, r.message->bytes, 0700);
	fake_run(&r);
	assert_string_equal(fake_result(&r, 0, 0), SENT);
	assert_int_equal(buf_str(&r.server[0].body).n, LINES * 102);
	/* Of the other there is no file. */
	assert_string_equal(fake_result(&r, 1, 0),
	    "4.3.0 deferred cannot read the message file: No such file or directory");
	lane_free(disk);
	spool_close(r.spool);
	spool_dir_remove(dir);
	fake_fini(&r);
	free(text);
}

static void
test_damaged_content(void **state)
{
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	fake_add(&r, hop, 2);
	r.delivery[0].data_size -= 3; /* X is not where it should be */
	fake_run(&r);
	assert_string_equal(fake_result(&r, 0, 0), "4.3.0 deferred message file is damaged");
	assert_true(r.delivery[0].is_file_damaged);
	assert_int_equal(r.delivery[0].hop.cls, STATUS_NONE);
	/* No dot was sent: the server does not take half a message. */
	assert_null(strstr(buf_cstr(&r.server[0].log), "QUIT"));
	fake_fini(&r);
}

static void
test_parameters(void **state)
{
	static const struct fake_rule rules[] = {
	    {"EHLO", 0,
		"250-fake.test\n250-8BITMIME\n250-DSN\n250-SMTPUTF8\n250-SIZE\n250 PIPELINING"},
	    {0}};
	static const char *const utf8[] = {"smtputf8_enable=yes", NULL};
	struct fake_run r;
	struct delivery *d;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, utf8);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, rules));
	d = fake_add(&r, hop, 2);
	d->encoding = BODY_8BIT;
	d->utf8 = UTF8_REQUESTED;
	d->envid = "a b+c";
	d->ret = RET_HDRS;
	d->sender = "";
	d->rcpt[0].rcpt.notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
	d->rcpt[0].rcpt.orcpt = "rfc822;first@there.test";
	d->rcpt[1].rcpt.address = "\xc3\xa4 b@there.test";
	d->rcpt[1].rcpt.orig = "";
	fake_run(&r);
	assert_string_equal(fake_result(&r, 0, 1), SENT);
	assert_string_equal(buf_cstr(&r.server[0].log),
	    "+ | EHLO mail.here.test | MAIL FROM:<> SIZE=35 BODY=8BITMIME SMTPUTF8 RET=HDRS "
	    "ENVID=a+20b+2Bc | RCPT TO:<r0@there.test> NOTIFY=SUCCESS,DELAY "
	    "ORCPT=rfc822;first@there.test "
	    "| "
	    "RCPT TO:<\"\xc3\xa4 b\"@there.test> | DATA | QUIT");
	fake_fini(&r);
}

static void
test_utf8_refused(void **state)
{
	struct delivery *d;
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	d = fake_add(&r, hop, 1);
	d->sender = "\xc3\xa4@here.test";
	d->utf8 = UTF8_REQUESTED | UTF8_SENDER;
	fake_add(&r, hop, 1)->utf8 = UTF8_REQUESTED | UTF8_HEADER; /* no address needs it */
	fake_run(&r);
	assert_string_equal(fake_result(&r, 0, 0),
	    "5.6.7 bounced SMTPUTF8 is required, but was not offered by host H");
	assert_string_equal(fake_result(&r, 1, 0), SENT);
	fake_fini(&r);
}

/* Idle connections. */
static void
test_reuse(void **state)
{
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	for (size_t i = 0; i < 3; i++)
		fake_add(&r, hop, 1);
	r.in_turn = true;
	fake_run(&r);
	assert_int_equal(r.server[0].connections, 1);
	assert_int_equal(r.delivery[2].conn_use, 3);
	assert_non_null(strstr(buf_cstr(&r.log), ", conn_use=2, delay="));
	assert_int_equal(r.delivery[1].connect_us, r.delivery[1].start_us);
	fake_fini(&r);
}

static void
test_no_reuse(void **state)
{
	static const char *const settings[][2] = {{"smtp_connection_cache_on_demand=no"},
	    {"smtp_connection_reuse_count_limit=1"}, {"smtp_connection_cache_time_limit=0s"},
	    {"smtp_connection_reuse_time_limit=0s"}};

	for (size_t i = 0; i < PP_COUNT(settings); i++) {
		struct fake_run r;
		char hop[64];

		fake_init(&r);
		fake_configure(&r, settings[i]);
		snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, NULL));
		fake_add(&r, hop, 1);
		fake_add(&r, hop, 1);
		r.in_turn = true;
		fake_run(&r);
		assert_int_equal(r.server[0].connections, 2);
		assert_int_equal(r.delivery[1].conn_use, 1);
		fake_fini(&r);
	}
}

/* A connection that died while it was idle is no reason to defer. */
static void
test_dead_reuse(void **state)
{
	static const struct fake_rule scripts[][2] = {
	    {{"MAIL", 2, "CLOSE"}}, {{"MAIL", 2, "421 4.4.2 idle too long|CLOSE"}}};

	for (size_t i = 0; i < PP_COUNT(scripts); i++) {
		struct fake_run r;
		char hop[64];

		fake_init(&r);
		fake_configure(&r, NULL);
		snprintf(
		    hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, scripts[i]));
		fake_add(&r, hop, 1);
		fake_add(&r, hop, 1);
		r.in_turn = true;
		fake_run(&r);
		assert_string_equal(fake_result(&r, 1, 0), SENT);
		assert_int_equal(r.server[0].connections, 2);
		assert_int_equal(r.delivery[1].conn_use, 1);
		fake_fini(&r);
	}
}

/* RSET, when a transaction was left half way; then the connection is as good as new. */
static void
poll_idle(struct timer *t)
{
	if (fake->smtp->idle_count == 0)
		timer_start(fake->loop, t, 1, poll_idle);
	else
		fake_deliver(fake, 1);
}

static void
wait_for_idle(struct fake_run *r, struct delivery *d)
{
	if (d == &r->delivery[0])
		poll_idle(&r->step);
	else
		fake_stop();
}

static void
begin_first(struct fake_run *r)
{
	fake_deliver(r, 0);
}

static void
test_reuse_after_rset(void **state)
{
	static const struct fake_rule rules[] = {{"DATA", 1, "451 4.3.0 not now"}, {0}};
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, rules));
	fake_add(&r, hop, 1);
	fake_add(&r, hop, 1);
	r.by_hand = true;
	r.started = begin_first;
	r.finished = wait_for_idle;
	fake_run(&r);
	assert_string_equal(
	    fake_result(&r, 0, 0), SAID("4.3.0", "deferred", "451 4.3.0 not now", "DATA"));
	assert_string_equal(fake_result(&r, 1, 0), SENT);
	assert_int_equal(r.server[0].connections, 1);
	assert_non_null(strstr(buf_cstr(&r.server[0].log), "DATA | RSET | MAIL"));
	fake_fini(&r);
}

/* Stopping: what runs is broken off at the deadline, what comes later is not begun. */
static void
begin_and_stop(struct fake_run *r)
{
	fake_deliver(r, 0);
	smtp_stop(r->smtp, 50, fake_stopped, NULL);
	fake_deliver(r, 1);
	assert_int_equal(r->done, 0); /* never inside the call */
}

static void
test_stop(void **state)
{
	static const struct fake_rule rules[] = {{".", 0, "SILENCE"}, {0}};
	struct fake_run r;
	char hop[64];

	fake_init(&r);
	fake_configure(&r, NULL);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, rules));
	fake_add(&r, hop, 2);
	fake_add(&r, hop, 1);
	r.started = begin_and_stop;
	r.by_hand = true;
	fake_run(&r);
	for (size_t i = 0; i < 2; i++)
		assert_string_equal(fake_result(&r, i, 0),
		    "4.3.2 deferred delivery broken off: mail system is shutting down");
	assert_int_equal(r.delivery[0].hop.cls, STATUS_NONE);
	fake_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_log_lines),
	    cmocka_unit_test(test_content),
	    cmocka_unit_test(test_big_content),
	    cmocka_unit_test(test_content_stuck),
	    cmocka_unit_test(test_content_from_file),
	    cmocka_unit_test(test_damaged_content),
	    cmocka_unit_test(test_parameters),
	    cmocka_unit_test(test_utf8_refused),
	    cmocka_unit_test(test_reuse),
	    cmocka_unit_test(test_no_reuse),
	    cmocka_unit_test(test_dead_reuse),
	    cmocka_unit_test(test_reuse_after_rset),
	    cmocka_unit_test(test_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
