/*
 * session_test.c - sessions on a real loop: what a conversation in text cannot show. Replies in one
 * write, answers that come late, clients that leave at the wrong moment, limits, stopping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "smtpd_fixture.h"

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Waits for the first byte, then takes what is there: one write of the server. */
static const char *
hear_once(int fd)
{
	static char text[65536];
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&pfd, 1, FIXTURE_WAIT_MS), 1);
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void
hear(int fd, const char *want)
{
	assert_string_equal(hear_once(fd), want);
}

static void
hear_start(int fd, const char *want)
{
	const char *got = hear_once(fd);

	if (strncmp(got, want, strlen(want)) != 0)
		fail_msg("wanted %s, got %s", want, got);
}

#define HELLO "220 mail.pennypost.test ESMTP Postfix\r\n"
#define ENVELOPE "MAIL FROM:<a@ok.test>\r\nRCPT TO:<b@ok.test>\r\nDATA\r\n"
#define ENVELOPE_OK "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"

static int
greeted(struct fixture *f)
{
	int fd = fixture_connect_tcp(f);

	hear(fd, HELLO);
	say(fd, "EHLO c.test\r\n");
	hear_start(fd, "250-mail.pennypost.test\r\n");
	return fd;
}

static char *
slurp(const char *path)
{
	static char text[1 << 20];
	FILE *file = fopen(path, "r");
	size_t n;

	assert_non_null(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\0')
			text[i] = ' ';
	return text;
}

static void
assert_logged(struct fixture *f, const char *want)
{
	if (strstr(slurp(f->log), want) == NULL)
		fail_msg("\"%s\" is not in the log:\n%s", want, slurp(f->log));
}

/* The replies to a group leave together, and the queue file holds what was said. */
static void
test_message(void **state)
{
	struct fixture f;
	char path[256];
	char *file;
	int fd;

	fixture_start(&f, "");
	f.is_kept = true;
	fd = greeted(&f);
	say(fd, "MAIL FROM:<a@ok.test> BODY=8BITMIME ENVID=e1 RET=HDRS\r\n"
		"RCPT TO:<b@ok.test> NOTIFY=NEVER\r\nDATA\r\n");
	hear(fd, ENVELOPE_OK);
	say(fd, "Subject: hello\r\n\r\n..dot\r\nbare\nline\r\n.\r\nNOOP\r\n");
	hear_start(fd, "250 2.0.0 Ok: queued as ");
	assert_int_equal(f.commits, 1);
	snprintf(path, sizeof(path), "%s/spool/incoming/%s", f.dir, f.last_id);
	file = slurp(path);
	assert_non_null(strstr(file, "Received: from c.test (localhost [127.0.0.1])"));
	assert_non_null(strstr(file, "for <b@ok.test>; "));
	assert_non_null(strstr(file, "Subject: hello"));
	assert_non_null(strstr(file, ".dot"));
	assert_null(strstr(file, "..dot"));
	assert_non_null(strstr(file, "bare"));
	assert_non_null(strstr(file, "helo_name=c.test"));
	assert_non_null(strstr(file, "encoding=8bit"));
	assert_non_null(strstr(file, "envelope_id=e1"));
	assert_non_null(strstr(file, "rewrite_context=local"));
	close(fd);
	fixture_stop(&f);
}

static void
test_hold(void **state)
{
	struct fixture f;
	char path[256];
	int fd;

	fixture_start(&f, "smtpd_sender_restrictions = check_sender_access static:HOLD\n");
	f.is_kept = true;
	fd = greeted(&f);
	say(fd, ENVELOPE);
	hear(fd, ENVELOPE_OK);
	say(fd, "x\r\n.\r\n");
	hear_start(fd, "250 2.0.0 Ok: queued as ");
	snprintf(path, sizeof(path), "%s/spool/hold/%s", f.dir, f.last_id);
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	fixture_stop(&f);
}

/* Answers of tables in files come from a lane; the group is still answered in order, and DATA goes
 * on with its content. */
static void
test_slow_tables(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f,
	    "smtpd_recipient_restrictions = check_recipient_access "
	    "texthash:$queue_directory/../access\n"
	    "smtpd_data_restrictions = check_sender_access texthash:$queue_directory/../access\n"
	    "smtpd_end_of_data_restrictions = check_sender_access "
	    "texthash:$queue_directory/../access\n");
	fixture_write(&f, "access", "no@ok.test REJECT never\n");
	fd = greeted(&f);
	say(fd, "MAIL FROM:<a@ok.test>\r\nRCPT TO:<no@ok.test>\r\nRCPT TO:<b@ok.test>\r\nDATA\r\n");
	hear(fd, "250 2.1.0 Ok\r\n"
		 "554 5.7.1 <no@ok.test>: Recipient address rejected: never\r\n"
		 "250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
	say(fd, "x\r\n.\r\n");
	hear_start(fd, "250 2.0.0 Ok: queued as ");
	close(fd);
	fixture_stop(&f);
}

/* A table that cannot be read defers, and says so in the log. */
static void
test_broken_table(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(
	    &f, "smtpd_recipient_restrictions = check_recipient_access texthash:/nowhere/x\n");
	fd = greeted(&f);
	say(fd, "MAIL FROM:<a@ok.test>\r\nRCPT TO:<b@ok.test>\r\n");
	hear(fd, "250 2.1.0 Ok\r\n451 4.3.5 <b@ok.test>: Recipient address rejected: "
		 "Server configuration error\r\n");
	assert_logged(&f, "warning: texthash:/nowhere/x: table lookup problem: ");
	close(fd);
	fixture_stop(&f);
}

/* The client leaves while an answer is on its way: nothing may be left behind. */
static void
test_sudden_end(void **state)
{
	static const char *const talks[] = {
	    "",
	    "EHLO c\r\nMAIL FROM:<a@ok.test>\r\n",
	    "EHLO c\r\nMAIL FROM:<a@ok.test>\r\nRCPT TO:<b@ok.test>\r\n",
	    "EHLO c\r\n" ENVELOPE,
	    "EHLO c\r\n" ENVELOPE "half a message",
	    "EHLO c\r\n" ENVELOPE "message\r\n.\r\n",
	};
	struct fixture f;

	fixture_start(&f,
	    "smtpd_forbid_unauth_pipelining = no\n"
	    "smtpd_client_event_limit_exceptions =\nsmtpd_client_connection_count_limit = 100\n"
	    "smtpd_recipient_restrictions = check_recipient_access "
	    "texthash:$queue_directory/../access\n");
	fixture_write(&f, "access", "no@ok.test REJECT never\n");
	for (unsigned round = 0; round < 60; round++) {
		int fd = round % 2 ? fixture_connect_tcp(&f) : fixture_connect(&f);
		struct linger reset = {.l_onoff = 1};

		say(fd, talks[round % PP_COUNT(talks)]);
		if (round % 3 == 0)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	}
	fixture_stop(&f);
}

static void
test_client_limit(void **state)
{
	struct fixture f;
	int fd[3];

	fixture_start(&f, "smtpd_client_connection_count_limit = 2\n"
			  "smtpd_client_event_limit_exceptions =\n");
	fd[0] = fixture_connect_tcp(&f);
	hear(fd[0], HELLO);
	fd[1] = fixture_connect_tcp(&f);
	hear(fd[1], HELLO);
	fd[2] = fixture_connect_tcp(&f);
	hear(fd[2], "421 4.7.0 mail.pennypost.test Error: too many connections from 127.0.0.1\r\n");
	assert_logged(&f, "Connection concurrency limit exceeded: 3 from localhost[127.0.0.1] for "
			  "service 127.0.0.1:0");
	hear(fd[2], "");
	close(fd[2]);
	/* One leaves: there is room again. */
	say(fd[0], "QUIT\r\n");
	hear(fd[0], "221 2.0.0 Bye\r\n");
	hear(fd[0], "");
	fd[2] = fixture_connect_tcp(&f);
	hear(fd[2], HELLO);
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
	fixture_stop(&f);
}

static void
test_client_rate(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, "smtpd_client_connection_rate_limit = 1\n"
			  "smtpd_client_event_limit_exceptions =\n");
	fd = fixture_connect_tcp(&f);
	hear(fd, HELLO);
	close(fd);
	fd = fixture_connect_tcp(&f);
	hear_start(fd, "421 4.7.0 ");
	close(fd);
	fixture_stop(&f);
}

static void
test_service_limit(void **state)
{
	struct fixture f = {0};
	struct buf err;
	int fd[2];

	buf_init(&err, 4096);
	assert_true(fixture_config(&f, "", "127.0.0.1:0 inet n - n - 1 smtpd\n", &err));
	assert_int_equal(fixture_setup(&f, &err), 0);
	fixture_begin(&f);
	fd[0] = fixture_connect(&f);
	hear(fd[0], HELLO);
	fd[1] = fixture_connect(&f);
	hear_start(fd[1], "421 4.3.2 mail.pennypost.test ");
	assert_logged(&f, "has reached its limit of 1 sessions");
	close(fd[0]);
	close(fd[1]);
	fixture_stop(&f);
	buf_fini(&err);
}

static void
test_no_space(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, "queue_minfree = 900000000000000000\n");
	fd = greeted(&f);
	say(fd, "MAIL FROM:<a@ok.test>\r\nNOOP\r\n");
	hear(fd, "452 4.3.1 Insufficient system storage\r\n250 2.0.0 Ok\r\n");
	assert_logged(&f, "warning: not enough free space in mail queue");
	assert_logged(&f,
	    "NOQUEUE: reject: MAIL from localhost[127.0.0.1]: 452 4.3.1 "
	    "Insufficient system storage; from=<a@ok.test> proto=ESMTP helo=<c.test>");
	close(fd);
	fixture_stop(&f);
}

/* A message that is announced bigger than what is free. */
static void
test_no_space_for_size(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, "message_size_limit = 0\nmailbox_size_limit = 0\n");
	fd = greeted(&f);
	say(fd, "MAIL FROM:<a@ok.test> SIZE=900000000000000000\r\n");
	hear(fd, "452 4.3.1 Insufficient system storage\r\n");
	say(fd, "MAIL FROM:<a@ok.test> SIZE=1000\r\n");
	hear(fd, "250 2.1.0 Ok\r\n");
	close(fd);
	fixture_stop(&f);
}

/* 20 MB: more than any buffer, so every brake on the way is used. */
static void
test_big_message(void **state)
{
	static char line[1000];
	struct fixture f;
	int fd;

	fixture_start(&f, "message_size_limit = 50000000\nmailbox_size_limit = 0\n");
	memset(line, 'x', sizeof(line));
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	fd = greeted(&f);
	say(fd, ENVELOPE);
	hear(fd, ENVELOPE_OK);
	for (unsigned i = 0; i < 20000; i++)
		assert_int_equal(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
	say(fd, ".\r\n");
	hear_start(fd, "250 2.0.0 Ok: queued as ");
	close(fd);
	fixture_stop(&f);
}

/* Content that drips is ended, although there is always something coming. */
static void
test_drip(void **state)
{
	struct fixture f;
	struct pollfd pfd;
	unsigned drops = 0;

	fixture_start(&f, "smtpd_timeout = 300ms\n");
	pfd = (struct pollfd){.fd = greeted(&f), .events = POLLIN};
	say(pfd.fd, ENVELOPE);
	hear(pfd.fd, ENVELOPE_OK);
	while (poll(&pfd, 1, 20) == 0 && drops++ < 1000)
		say(pfd.fd, "x");
	assert_in_range(drops, 5, 900);
	hear(pfd.fd, "421 4.4.2 mail.pennypost.test Error: timeout exceeded\r\n");
	close(pfd.fd);
	fixture_stop(&f);
}

/* So is a command that drips. */
static void
test_drip_command(void **state)
{
	struct fixture f;
	struct pollfd pfd;
	unsigned drops = 0;

	fixture_start(&f, "smtpd_timeout = 300ms\n");
	pfd = (struct pollfd){.fd = greeted(&f), .events = POLLIN};
	while (poll(&pfd, 1, 20) == 0 && drops++ < 1000)
		say(pfd.fd, "x");
	assert_in_range(drops, 5, 900);
	hear(pfd.fd, "421 4.4.2 mail.pennypost.test Error: timeout exceeded\r\n");
	close(pfd.fd);
	fixture_stop(&f);
}

static void
test_error_sleep(void **state)
{
	struct fixture f;
	int64_t before;
	int fd;

	fixture_start(&f, "smtpd_soft_error_limit = 1\nsmtpd_error_sleep_time = 200ms\n");
	fd = greeted(&f);
	before = loop_monotonic_us();
	say(fd, "FOO\r\n");
	hear_start(fd, "500 ");
	assert_true(loop_monotonic_us() - before < 150000);
	before = loop_monotonic_us();
	say(fd, "FOO\r\nNOOP\r\n");
	hear(fd, "500 5.5.2 Error: command not recognized\r\n");
	assert_true(loop_monotonic_us() - before >= 190000);
	hear(fd, "250 2.0.0 Ok\r\n");
	close(fd);
	fixture_stop(&f);
}

/* Stopping: idle ones are told at once, a message that is being received may be finished. */
static void
test_stop(void **state)
{
	struct fixture f;
	int idle, busy, lazy, late;

	fixture_start(&f, "");
	idle = greeted(&f);
	busy = greeted(&f);
	lazy = greeted(&f);
	say(busy, ENVELOPE);
	hear(busy, ENVELOPE_OK);
	say(lazy, ENVELOPE);
	hear(lazy, ENVELOPE_OK);
	f.stop_ms = 400;
	fixture_post(&f, fixture_stop_post);
	hear(idle, "421 4.3.2 mail.pennypost.test Service is shutting down\r\n");
	hear(idle, "");
	late = fixture_connect(&f);
	hear(late, "421 4.3.2 mail.pennypost.test Service is shutting down\r\n");
	say(busy, "x\r\n.\r\n");
	hear_start(busy, "250 2.0.0 Ok: queued as ");
	hear(lazy, "421 4.3.2 mail.pennypost.test Service is shutting down\r\n");
	fixture_wait_done(&f);
	close(idle);
	close(busy);
	close(lazy);
	close(late);
	fixture_end(&f);
}

/* Half-closed, as `printf .. | nc` does: everything is still answered. */
static void
test_half_close(void **state)
{
	struct fixture f;
	char text[4096] = "";
	size_t n = 0;
	ssize_t did;
	int fd;

	fixture_start(&f, "smtpd_forbid_unauth_pipelining = no\n");
	fd = fixture_connect_tcp(&f);
	say(fd, "HELO c\r\n" ENVELOPE "x\r\n.\r\nNOOP\r\n");
	shutdown(fd, SHUT_WR);
	while ((did = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0)
		n += (size_t)did;
	assert_non_null(strstr(text, "queued as"));
	assert_non_null(strstr(text, "\r\n250 2.0.0 Ok\r\n"));
	close(fd);
	fixture_stop(&f);
}

/* The same before the 220 is out, because a table had to be asked first: it only comes later. */
static void
test_half_close_early(void **state)
{
	struct fixture f;
	int fd[2];

	fixture_start(&f,
	    "smtpd_forbid_unauth_pipelining = no\nsmtpd_delay_reject = no\n"
	    "smtpd_client_event_limit_exceptions =\n"
	    "smtpd_client_restrictions = check_client_access texthash:$queue_directory"
	    "/../main.cf\n");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(fcntl(fd[1], F_SETFL, O_NONBLOCK), 0);
	say(fd[0], "HELO c\r\nQUIT\r\n");
	shutdown(fd[0], SHUT_WR);
	fixture_give(&f, fd[1]);
	hear(fd[0], HELLO "250 mail.pennypost.test\r\n221 2.0.0 Bye\r\n");
	hear(fd[0], "");
	close(fd[0]);
	fixture_stop(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_message),
	    cmocka_unit_test(test_hold),
	    cmocka_unit_test(test_slow_tables),
	    cmocka_unit_test(test_broken_table),
	    cmocka_unit_test(test_sudden_end),
	    cmocka_unit_test(test_client_limit),
	    cmocka_unit_test(test_client_rate),
	    cmocka_unit_test(test_service_limit),
	    cmocka_unit_test(test_no_space),
	    cmocka_unit_test(test_no_space_for_size),
	    cmocka_unit_test(test_big_message),
	    cmocka_unit_test(test_drip),
	    cmocka_unit_test(test_drip_command),
	    cmocka_unit_test(test_error_sleep),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_half_close_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
