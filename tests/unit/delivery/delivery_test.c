/*
 * The log line of a recipient is what every tool that reads Postfix's log reads, so the expected
 * lines here are those a real Postfix 3.7 wrote.
 *
 * The pure part (text) is tested by tables; settling and the way home on a real loop.
 */
#include "delivery/line.h"
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void
test_format_delay(void **state)
{
	static const struct {
		int64_t us;
		unsigned resolution;
		const char *want;
	} table[] = {
	    {0, 2, "0"},
	    {-5000000, 2, "0"},
	    {4000, 2, "0"},
	    {5000, 2, "0.01"},
	    {50000, 2, "0.05"},
	    {123456, 2, "0.12"},
	    {500000, 2, "0.5"},
	    {996000, 2, "1"},
	    {1000000, 2, "1"},
	    {1160000, 2, "1.2"},
	    {3100000, 2, "3.1"},
	    {9960000, 2, "10"},
	    {12300000, 2, "12"},
	    {25500000, 2, "26"},
	    {541000000, 2, "541"},
	    {1874600000, 2, "1875"},
	    {4294967296000000, 2, "4294967296"},
	    {12345, 6, "0.012"},
	    {1234567, 6, "1.2"},
	    {123, 6, "0.00012"},
	    {1, 6, "0.000001"},
	    {1400000, 0, "1"},
	};
	char text[24];

	for (size_t i = 0; i < PP_COUNT(table); i++) {
		delivery_format_delay(text, sizeof text, table[i].us, table[i].resolution);
		assert_string_equal(text, table[i].want);
	}
}

enum { S = 1000000 };

/* Times are relative to the arrival. */
struct line_case {
	const char *to, *orig, *relay;
	unsigned conn_use;
	int64_t active, start, connect, now;
	struct status st;
	const char *want;
};

static const struct line_case line_cases[] = {
    {"bounceme@ok.test", "bounceme@ok.test", "127.0.0.1[127.0.0.1]:22101", 1, 20000, 40000, 40000,
	60000,
	{STATUS_PERM, 1, 1, 550,
	    "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <bounceme>: Recipient address rejected: "
	    "User unknown (in reply to RCPT TO command)"},
	"067DDA8CB1A: to=<bounceme@ok.test>, relay=127.0.0.1[127.0.0.1]:22101, delay=0.06, "
	"delays=0.02/0.02/0/0.02, dsn=5.1.1, status=bounced (host 127.0.0.1[127.0.0.1] said: 550 "
	"5.1.1 <bounceme>: Recipient address rejected: User unknown (in reply to RCPT TO "
	"command))"},
    {"x@refused.test", "x@refused.test", NULL, 0, 541 * (int64_t)S, 541 * (int64_t)S + 30000, 0,
	541 * (int64_t)S + 30000,
	{STATUS_TEMP, 4, 1, 0, "connect to 127.0.0.1[127.0.0.1]:22102: Connection refused"},
	"067DDA8CB1A: to=<x@refused.test>, relay=none, delay=541, delays=541/0.03/0/0, dsn=4.4.1, "
	"status=deferred (connect to 127.0.0.1[127.0.0.1]:22102: Connection refused)"},
    {"a@ok.test", "Alias@ok.test", "127.0.0.1[127.0.0.1]:22101", 2, 0, 0, 25 * (int64_t)S,
	25 * (int64_t)S, {STATUS_OK, 0, 0, 250, "250 2.0.0 Ok: queued as SINK1"},
	"067DDA8CB1A: to=<a@ok.test>, orig_to=<Alias@ok.test>, relay=127.0.0.1[127.0.0.1]:22101, "
	"conn_use=2, delay=25, delays=0/0/25/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as "
	"SINK1)"},
    {"A@ok.test", "a@OK.test", NULL, 1, 1 * S, 0, 0, 2 * S, {STATUS_TEMP, 3, 0, 0, "later"},
	"067DDA8CB1A: to=<A@ok.test>, relay=none, delay=2, delays=1/1/0/0, dsn=4.3.0, "
	"status=deferred (later)"},
    {"a b@ok.test", "", NULL, 1, 0, 0, 0, 0, {STATUS_OK, 0, 0, 0, "delivered to maildir"},
	"067DDA8CB1A: to=<\"a b\"@ok.test>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, "
	"status=sent (delivered to maildir)"},
    {"", "", NULL, 1, 0, 0, 0, 0, {STATUS_PERM, 1, 3, 0, NULL},
	"067DDA8CB1A: to=<>, relay=none, delay=0, delays=0/0/0/0, dsn=5.1.3, status=bounced ()"},
};

static void
test_line(void **state)
{
	const int64_t arrival = 1763759000000000;

	for (size_t i = 0; i < PP_COUNT(line_cases); i++) {
		const struct line_case *c = &line_cases[i];
		struct delivery d = {.queue_id = "067DDA8CB1A",
		    .relay = c->relay,
		    .conn_use = c->conn_use,
		    .arrival_us = arrival};
		struct delivery_rcpt r = {
		    .rcpt = {.address = c->to, .orig = c->orig}, .status = c->st};
		struct buf b;

		d.active_us = arrival + c->active;
		d.start_us = c->start || c->connect ? arrival + c->start : 0;
		d.connect_us = c->connect ? arrival + c->connect : 0;
		buf_init(&b, DELIVERY_LINE_MAX);
		delivery_line(&d, &r, arrival + c->now, &b);
		assert_string_equal(buf_cstr(&b), c->want);
		/* The end of transmission, once known, counts more than the time of logging. */
		buf_clear(&b);
		d.transmit_us = arrival + c->now;
		delivery_line(&d, &r, arrival + c->now + 77 * (int64_t)S, &b);
		assert_string_equal(buf_cstr(&b), c->want);
		buf_fini(&b);
	}
}

/* An endless text cannot grow the line without bound. */
static void
test_line_is_bounded(void **state)
{
	char *text = malloc(100000);
	struct delivery d = {.queue_id = "1"};
	struct delivery_rcpt r = {.rcpt = {.address = "a@b"}};
	struct buf b;

	memset(text, 'x', 99999);
	text[99999] = 0;
	r.status = (struct status){STATUS_TEMP, 0, 0, 0, text};
	buf_init(&b, DELIVERY_LINE_MAX);
	delivery_line(&d, &r, 1, &b);
	assert_true(buf_str(&b).n <= DELIVERY_LINE_MAX);
	buf_fini(&b);
	free(text);
}

static void
came_home(struct delivery *d)
{
	PP_ON(d->home);
	*(struct delivery **)d->owner = d;
	loop_stop(d->home);
}

static void
test_settle_and_done(void **state)
{
	char path[] = "/tmp/delivery_test.XXXXXX", text[4096];
	int fd = mkstemp(path);
	struct log_options lo = {.syslog_name = "postfix", .host = "mail", .file = path};
	struct delivery_rcpt rcpt[2] = {
	    {.rcpt = {.address = "a@b.test", .orig = "a@b.test"}},
	    {.rcpt = {.address = "c@b.test", .orig = "c@b.test"}},
	};
	struct delivery *home = NULL;
	struct delivery d = {.queue_id = "ABC",
	    .transport = "smtp",
	    .rcpt = rcpt,
	    .rcpt_count = 2,
	    .home = loop_new("home"),
	    .done = came_home,
	    .owner = &home};
	struct arena a = {0};

	assert_true(fd >= 0);
	assert_int_equal(log_setup(&lo), 0);
	struct status st = status_make(&a, STATUS_PERM, 1, 1, "%s", "no such user");
	delivery_settle(&d, &rcpt[0], &st);
	st = status_make(&a, STATUS_OK, 0, 0, "%s", "taken");
	d.program = "relay/smtp";
	delivery_settle_rest(&d, &st);
	arena_fini(&a); /* the texts were copied */
	assert_string_equal(rcpt[0].status.text, "no such user");
	assert_int_equal(rcpt[1].status.cls, STATUS_OK);
	assert_true(rcpt[0].logged && rcpt[1].logged);

	delivery_done(&d);
	assert_null(home); /* never inside the call */
	loop_run(d.home);
	assert_ptr_equal(home, &d);

	ssize_t n = read(fd, text, sizeof text - 1);
	assert_true(n > 0);
	text[n] = 0;
	assert_non_null(strstr(text, " mail postfix/smtp["));
	assert_non_null(strstr(text, "]: ABC: to=<a@b.test>, relay=none, "));
	assert_non_null(strstr(text, "dsn=5.1.1, status=bounced (no such user)\n"));
	assert_non_null(strstr(text, " mail postfix/relay/smtp["));
	loop_free(d.home);
	arena_fini(&d.arena);
	close(fd);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format_delay),
	    cmocka_unit_test(test_line),
	    cmocka_unit_test(test_line_is_bounded),
	    cmocka_unit_test(test_settle_and_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
