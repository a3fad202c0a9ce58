/*
 * control_test.c - commands over the control socket: answers, errors, watchers, hang-ups.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/control/client.h"
#include "pp/control/server.h"
#include "pp/runtime/post.h"

static struct {
	char dir[256];
	struct loop *loop;
	struct control_server *server;
	struct control_request *kept;
	int gone, sent;
	struct post begin, end;
} t;

static void
hello(void *ctx, struct control_request *r, const char *arg)
{
	control_line(r, "hello %s", arg);
	control_line(r, "second");
	control_end(r);
}

static void
fails(void *ctx, struct control_request *r, const char *arg)
{
	control_line(r, "error it does not work");
	control_end(r);
}

static void
kept_gone(void *ctx)
{
	t.gone++;
	t.kept = NULL;
}

static void
watch(void *ctx, struct control_request *r, const char *arg)
{
	t.kept = r;
	control_keep(r, kept_gone, NULL);
	control_line(r, "watching");
}

static void
nothing(void *ctx)
{
}

/* 500 lines at a time, as the client takes them. */
static void
big_part(void *ctx)
{
	struct control_request *r = t.kept;
	int to = t.sent + 500;

	while (t.sent < to)
		control_line(r, "line %d", t.sent++);
	if (t.sent == 50000) {
		t.kept = NULL;
		control_end(r);
	}
}

static void
big(void *ctx, struct control_request *r, const char *arg)
{
	t.kept = r;
	t.sent = 0;
	control_keep(r, nothing, NULL);
	control_on_drained(r, big_part);
	big_part(NULL);
}

/* More than may wait for a client: it is hung up, and what was sent before is whole. */
static void
flood(void *ctx, struct control_request *r, const char *arg)
{
	control_keep(r, kept_gone, NULL);
	for (t.sent = 0; t.gone == 0 && t.sent < 100000; t.sent++)
		control_line(r, "line %d", t.sent);
}

/* Handed over, not copied, whatever is there already. */
static void
take_over(void *ctx, struct control_request *r, const char *arg)
{
	for (int i = 0; i < 3; i++) {
		struct buf b = {.max = 10000};

		for (int k = 0; k < 100; k++)
			buf_printf(&b, "piece %d %d\n", i, k);
		control_take(r, &b);
		buf_fini(&b);
	}
	control_end(r);
}

static const struct control_command commands[] = {
    {"hello", hello, true},
    {"fails", fails, true},
    {"watch", watch, true},
    {"big", big, true},
    {"flood", flood, true},
    {"take", take_over, true},
};

static void
server_begin(struct post *p)
{
	struct buf err = {.max = 1000};
	char path[300];

	snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, t.dir);
	t.server = control_server_new(t.loop, path, commands, PP_COUNT(commands), NULL, &err);
	assert_non_null(t.server);
	buf_fini(&err);
}

static void
server_end(struct post *p)
{
	control_server_free(t.server);
	loop_stop(t.loop);
}

struct answer {
	int n, stop_after;
	char last[100];
};

static int
take(void *ctx, struct str line)
{
	struct answer *a = ctx;

	snprintf(a->last, sizeof(a->last), "%.*s", STR_FMT(line));
	return ++a->n == a->stop_after ? 1 : 0;
}

static int
ask(const char *command, struct answer *a, char *err, size_t size)
{
	struct buf text = {.max = 1000};
	int rc = control_call(t.dir, command, take, a, &text);

	snprintf(err, size, "%s", buf_cstr(&text));
	buf_fini(&text);
	return rc;
}

static int
setup(void **state)
{
	char sub[300];

	snprintf(t.dir, sizeof(t.dir), "/tmp/control-XXXXXX");
	if (mkdtemp(t.dir) == NULL)
		return -1;
	snprintf(sub, sizeof(sub), "%s/public", t.dir);
	mkdir(sub, 0700);
	t.loop = loop_new("control");
	post_to(t.loop, &t.begin, server_begin);
	return loop_start(t.loop);
}

static int
teardown(void **state)
{
	char sub[300];

	post_to(t.loop, &t.end, server_end);
	loop_join(t.loop);
	loop_free(t.loop);
	snprintf(sub, sizeof(sub), "%s/public", t.dir);
	rmdir(sub);
	return rmdir(t.dir);
}

/* The server may still be binding: its thread has just begun. */
static void
ready(void)
{
	char err[100];
	int rc;

	do
		rc = ask("hello", &(struct answer){0}, err, sizeof(err));
	while (rc == -ENOENT || rc == -ECONNREFUSED);
	assert_int_equal(rc, 0);
}

static void
answers(void **state)
{
	struct answer a = {0};
	char err[100];

	ready();
	assert_int_equal(ask("hello  big world ", &a, err, sizeof(err)), 0);
	assert_int_equal(a.n, 2);
	assert_string_equal(a.last, "second");
	a = (struct answer){.stop_after = 1};
	assert_int_equal(ask("hello x y", &a, err, sizeof(err)), 1);
	assert_string_equal(a.last, "hello x y");
	a = (struct answer){0};
	assert_int_equal(ask("big", &a, err, sizeof(err)), 0);
	assert_int_equal(a.n, 50000);
	a = (struct answer){0};
	assert_int_equal(ask("take", &a, err, sizeof(err)), 0);
	assert_int_equal(a.n, 300);
	assert_string_equal(a.last, "piece 2 99");
}

/* Who does not read in time is hung up; what is kept for it is bounded. */
static void
bounded(void **state)
{
	struct answer a = {0};
	char err[100];

	ready();
	t.gone = 0;
	ask("flood", &a, err, sizeof(err));
	assert_true(a.n < 100000);
	assert_int_equal(ask("hello again", &(struct answer){0}, err, sizeof(err)), 0);
	assert_int_equal(t.gone, 1);
	assert_in_range(t.sent, 10000, 60000);
}

static void
errors(void **state)
{
	struct answer a = {0};
	char err[100];

	ready();
	assert_int_equal(ask("fails", &a, err, sizeof(err)), -EREMOTEIO);
	assert_string_equal(err, "it does not work");
	assert_int_equal(ask("nosuch thing", &a, err, sizeof(err)), -EREMOTEIO);
	assert_string_equal(err, "unknown command: nosuch");
	assert_int_equal(
	    control_call("/nonexistent", "x", NULL, NULL, &(struct buf){.max = 1}), -ENOENT);
}

static int
add_bytes(void *ctx, struct str bytes)
{
	return buf_add(ctx, bytes);
}

static void
streams(void **state)
{
	struct buf got = {.max = 1 << 20}, err = {.max = 1000};

	ready();
	assert_int_equal(control_stream(t.dir, "big", add_bytes, &got, &err), 0);
	assert_int_equal(got.n, 538890);
	assert_true(str_starts(buf_str(&got), STR("line 0\nline 1\n")));
	assert_true(str_ends(buf_str(&got), STR("line 49999\n")));
	/* What the taker answers ends it. */
	assert_int_equal(control_stream(t.dir, "big", add_bytes, &got, &err), -ENOBUFS);
	assert_int_equal(control_stream(t.dir, "fails", add_bytes, &got, &err), -EREMOTEIO);
	assert_string_equal(buf_cstr(&err), "it does not work");
	assert_int_equal(control_stream("/nonexistent", "x", add_bytes, &got, &err), -ENOENT);
	buf_fini(&got);
	buf_fini(&err);
}

/* A watcher that hangs up is noticed; one that stays is ended with the server. */
static void
watchers(void **state)
{
	struct answer a = {.stop_after = 1};
	char err[100];

	ready();
	t.gone = 0;
	assert_int_equal(ask("watch", &a, err, sizeof(err)), 1);
	assert_string_equal(a.last, "watching");
	/* hung up by the return: the next answer comes after the server has seen it or not; both
	 * must work, and teardown frees it if it was not seen */
	assert_int_equal(ask("hello again", &(struct answer){0}, err, sizeof(err)), 0);
}

/* A command without an end, and one far too long. */
static void
half_commands(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char big_line[8192];
	ssize_t n;
	int fd;

	ready();
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.80s/" CONTROL_SOCKET, t.dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	memset(big_line, 'x', sizeof(big_line));
	send(fd, big_line, sizeof(big_line), MSG_NOSIGNAL);
	n = recv(fd, big_line, sizeof(big_line), 0); /* closed, no answer */
	assert_true(n <= 0);
	close(fd);
	ready();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(answers, setup, teardown),
	    cmocka_unit_test_setup_teardown(bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(errors, setup, teardown),
	    cmocka_unit_test_setup_teardown(streams, setup, teardown),
	    cmocka_unit_test_setup_teardown(watchers, setup, teardown),
	    cmocka_unit_test_setup_teardown(half_commands, setup, teardown),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
