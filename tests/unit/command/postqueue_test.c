/*
 * postqueue_test.c - both forms of a listing, local time across changes of the clocks, and output
 * that goes to a full disk or to nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "command/postqueue.h"
#include "pp/base/assert.h"
#include "pp/base/buf.h"

static void
set_zone(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

/* Every time is what ctime(3) says, in whatever order it is asked for. */
static void
times(void **state)
{
	static const char *const zones[] = {
	    "UTC",
	    "Europe/Berlin",
	    "America/St_Johns", /* three and a half hours off */
	    "Asia/Kathmandu",   /* a quarter */
	    "Australia/Lord_Howe" /* goes forward by half an hour */,
	    "Pacific/Apia",        /* left out a day: 30 December 2011 */
	    "Africa/Monrovia",     /* 44 minutes and 30 seconds off, until 1972 */
	    "right/Europe/Berlin", /* counts leap seconds */
	    "AAA-1:00:07BBB,M3.5.0/2:03:01,M10.5.0/3",
	};
	static const int64_t from[] = {0, 63000000, 1325000000, 1774746000 - 20000,
	    1792890000 - 20000, 1795294000, 4102444800, 253402300799 - 40000};
	struct local_clock *c = malloc(sizeof(*c));

	for (size_t z = 0; z < PP_COUNT(zones); z++) {
		set_zone(zones[z]);
		local_clock_init(c);
		for (size_t i = 0; i < PP_COUNT(from); i++) {
			/* 61: no place within a minute is left out; and back again. */
			for (int64_t k = 0; k < 100000; k += 61) {
				time_t t = (time_t)(from[i] + (k & 1 ? k : 100000 - k));
				char got[CLOCK_TEXT + 1] = "", want[32];

				local_clock_text(c, t, got);
				if (ctime_r(&t, want) == NULL)
					snprintf(want, sizeof(want), "%-20s", "?");
				want[CLOCK_TEXT] = '\0';
				if (strcmp(got, want) != 0)
					fail_msg("%s %lld: %s not %s", zones[z], (long long)t, got,
					    want);
			}
		}
	}
	free(c);
	set_zone("UTC");
}

static void
strange_times(void **state)
{
	static const struct {
		int64_t when;
		const char *want;
	} cases[] = {
	    {-1, "Wed Dec 31 23:59:59 "},
	    {INT64_MAX, "?                   "},
	    {INT64_MIN, "?                   "},
	    {253402300799, "Fri Dec 31 23:59:59 "},
	};
	struct local_clock *c = malloc(sizeof(*c));
	char got[CLOCK_TEXT + 1] = "";

	set_zone("UTC");
	local_clock_init(c);
	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		local_clock_text(c, cases[i].when, got);
		assert_string_equal(got, cases[i].want);
	}
	free(c);
}

/* What the entries print, up to the end of a listing. */
static void
check(bool long_ids, bool json, const struct listing *l, size_t n, const char *want)
{
	struct printer p = {.long_ids = long_ids};
	char got[400000];
	int fds[2];
	size_t have = 0;
	ssize_t k;

	assert_int_equal(pipe(fds), 0);
	fcntl(fds[1], F_SETPIPE_SZ, 1024 * 1024);
	output_init(&p.out, fds[1]);
	local_clock_init(&p.clock);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(
		    (json ? postqueue_print_json : postqueue_print_entry)(&p, &l[i]), 0);
	if (!json)
		postqueue_print_end(&p);
	assert_int_equal(output_end(&p.out), 0);
	output_fini(&p.out);
	close(fds[1]);
	while ((k = read(fds[0], got + have, sizeof(got) - 1 - have)) > 0)
		have += (size_t)k;
	got[have] = '\0';
	close(fds[0]);
	assert_string_equal(got, want);
}

static const struct listing_recipient two[] = {
    {"a@one.test", "host said: \"no\"", "mx.one.test", "4.2.0"},
    {"b@two.test", "", "", ""},
};

static void
text(void **state)
{
	const struct listing_recipient same[] = {
	    {"a@x.test", "later", "none", "4.0.0"}, {"b@x.test", "later", "none", "4.0.0"}};
	const struct listing l[] = {
	    {.queue = QUEUE_ACTIVE,
		.id = "067DDA8CB1A",
		.arrival = 1795294915,
		.size = 266,
		.sender = "s@x.test",
		.rcpt = two,
		.rcpt_count = 2},
	    {.queue = QUEUE_HOLD,
		.id = "3Pn1Yx2Zz9z0jL",
		.arrival = 0,
		.size = 12345678,
		.forced_expire = true,
		.sender = "\xc3\xa9\xff\x7f@x.test",
		.rcpt = same,
		.rcpt_count = 2},
	};

	set_zone("UTC");
	check(false, false, NULL, 0, "Mail queue is empty\n");
	check(false, false, l, 2,
	    "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
	    "067DDA8CB1A*     266 Sat Nov 21 21:01:55  s@x.test\n"
	    "                                                             (host said: \"no\")\n"
	    "                                         a@one.test\n"
	    "                                                          (reason unavailable)\n"
	    "                                         b@two.test\n"
	    "\n"
	    "3Pn1Yx2Zz9z0jL!# 12345678 Thu Jan  1 00:00:00  \xc3\xa9??@x.test\n"
	    "                                                                       (later)\n"
	    "                                         a@x.test\n"
	    "                                         b@x.test\n"
	    "\n-- 12056 Kbytes in 2 Requests.\n");
	check(true, false, l, 1,
	    "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
	    "067DDA8CB1A*           266 Sat Nov 21 21:01:55 s@x.test\n"
	    "                                                             (host said: \"no\")\n"
	    "                                               a@one.test\n"
	    "                                                          (reason unavailable)\n"
	    "                                               b@two.test\n"
	    "\n-- 0 Kbytes in 1 Request.\n");
}

static void
json(void **state)
{
	const struct listing_recipient odd[] = {
	    {"\x01\b\f\n\r\t\"\\\x1f\x7f\xe2\x82\xac\xe2\x82@x", "\xff", "none", ""}};
	const struct listing l[] = {
	    {.queue = QUEUE_DEFERRED,
		.id = "067DDA8CB1A",
		.arrival = 1795294915,
		.size = 266,
		.sender = "s@x.test",
		.rcpt = two,
		.rcpt_count = 2,
		.next_attempt = 1795295915,
		.attempts = 3},
	    {.queue = QUEUE_HOLD,
		.id = "1",
		.forced_expire = true,
		.sender = "MAILER-DAEMON",
		.rcpt = two,
		.rcpt_count = 0,
		.next_attempt = 5,
		.attempts = 1},
	    {.queue = QUEUE_DEFERRED, .id = "2", .sender = "", .rcpt = odd, .rcpt_count = 1},
	};

	check(false, true, NULL, 0, "");
	check(false, true, l, 3,
	    "{\"queue_name\": \"deferred\", \"queue_id\": \"067DDA8CB1A\", \"arrival_time\": "
	    "1795294915, \"message_size\": 266, \"forced_expire\": false, \"sender\": "
	    "\"s@x.test\", \"recipients\": [{\"address\": \"a@one.test\", \"delay_reason\": "
	    "\"host said: \\\"no\\\"\", \"next_attempt\": 1795295915, \"attempts\": 3, "
	    "\"relay\": \"mx.one.test\", \"dsn\": \"4.2.0\"}, {\"address\": \"b@two.test\", "
	    "\"next_attempt\": 1795295915, \"attempts\": 3}]}\n"
	    "{\"queue_name\": \"hold\", \"queue_id\": \"1\", \"arrival_time\": 0, "
	    "\"message_size\": 0, \"forced_expire\": true, \"sender\": \"MAILER-DAEMON\", "
	    "\"recipients\": []}\n"
	    "{\"queue_name\": \"deferred\", \"queue_id\": \"2\", \"arrival_time\": 0, "
	    "\"message_size\": 0, \"forced_expire\": false, \"sender\": \"\", \"recipients\": "
	    "[{\"address\": \"\\u0001\\b\\f\\n\\r\\t\\\"\\\\\\u001F?\xe2\x82\xac??@x\", "
	    "\"delay_reason\": \"?\", \"relay\": \"none\"}]}\n");
}

/* Each byte at each place in a word, against a look at that byte alone. */
static void
every_byte(void **state)
{
	for (int c = 1; c < 256; c++) {
		for (size_t at = 0; at < 17; at++) {
			char address[18] = "abcdefghijklmnopq", want[400], shown[8];
			const struct listing_recipient r = {address, "", "", ""};
			const struct listing l = {
			    .id = "1", .sender = "", .rcpt = &r, .rcpt_count = 1};
			const char *special = strchr("\bb\ff\nn\rr\tt\"\"\\\\", c);

			address[at] = (char)c;
			if (special && (c < ' ' || c == '"' || c == '\\'))
				snprintf(shown, sizeof(shown), "\\%c", special[1]);
			else if (c < ' ')
				snprintf(shown, sizeof(shown), "\\u%04X", (unsigned)c);
			else
				snprintf(shown, sizeof(shown), "%c", c < 0x7f ? c : '?');
			snprintf(want, sizeof(want),
			    "{\"queue_name\": \"%s\", \"queue_id\": \"1\", \"arrival_time\": 0, "
			    "\"message_size\": 0, \"forced_expire\": false, \"sender\": \"\", "
			    "\"recipients\": [{\"address\": \"%.*s%s%s\"}]}\n",
			    spool_queue_name(0), (int)at, "abcdefghijklmnopq", shown,
			    &"abcdefghijklmnopq"[at + 1]);
			check(false, true, &l, 1, want);
		}
	}
}

/* Pieces of every length around the size of the buffer come out whole. */
static void
pieces(void **state)
{
	static const size_t sizes[] = {1, 65535, 1, 65536, 65537, 3, 131072, 200000, 1};
	char path[] = "/tmp/postqueue-XXXXXX", *all = malloc(1000000), *back = malloc(1000000);
	int fd = mkstemp(path);
	struct output o;
	size_t at = 0;

	unlink(path);
	for (size_t i = 0; i < 1000000; i++)
		all[i] = (char)('a' + i % 23);
	output_init(&o, fd);
	for (size_t i = 0; i < PP_COUNT(sizes); i++) {
		output_put(&o, all + at, sizes[i]);
		at += sizes[i];
	}
	assert_int_equal(output_end(&o), 0);
	output_fini(&o);
	assert_int_equal(pread(fd, back, 1000000, 0), at);
	assert_memory_equal(all, back, at);
	close(fd);
	free(all);
	free(back);
}

static void
full_disk(void **state)
{
	struct printer p = {0};
	const struct listing l = {.id = "1", .sender = "s"};

	output_init(&p.out, open("/dev/full", O_WRONLY));
	for (int i = 0; i < 10000 && postqueue_print_json(&p, &l) == 0; i++)
		;
	assert_int_equal(postqueue_print_json(&p, &l), 1);
	assert_int_equal(output_end(&p.out), -ENOSPC);
	close(p.out.fd);
	output_fini(&p.out);
}

static void
reader_has_gone(void **state)
{
	struct output o;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	output_init(&o, fds[1]);
	output_put(&o, "x", 1);
	assert_int_equal(output_end(&o), 0);
	assert_int_equal(o.error, EPIPE);
	close(fds[1]);
	output_fini(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(times),
	    cmocka_unit_test(strange_times),
	    cmocka_unit_test(text),
	    cmocka_unit_test(json),
	    cmocka_unit_test(every_byte),
	    cmocka_unit_test(pieces),
	    cmocka_unit_test(full_disk),
	    cmocka_unit_test(reader_has_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
