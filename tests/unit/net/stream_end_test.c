/*
 * stream_end_test.c - how streams begin and end: connecting, peers that leave, closing.
 */
#include "streams.h"
#include <sys/un.h>

/* -- the end of the peer ----------------------------------------------------------------------- */

static void
quit_start(struct rig *r)
{
	open_one(false);
	a.on_closed = end_here;
	raw_say("DATA\r\nQUIT\r\n");
	raw_close();
	stream_resume(a.s);
}

static void
end_after_input(void **state)
{
	rig_run(quit_start);
	assert_int_equal(a.readables, 1);
	assert_int_equal(a.err, 0);
	assert_string_equal(buf_cstr(&a.got), "DATA\r\nQUIT\r\n");
	side_fini(&a);
}

static void
resume_a(struct timer *t)
{
	assert_int_equal(a.readables, 1);
	assert_int_equal(a.closeds, 0);
	assert_true(stream_in(a.s).n > 0);
	a.on_readable = NULL;
	a.keep = false;
	stream_resume(a.s);
	assert_int_equal(a.readables, 1); /* asynchronously */
}

static void
pause_on_mail(struct side *side)
{
	stream_pause(side->s);
	raw_say("QUIT\r\n");
	raw_close();
	timer_start(rig.loop, &later, 20, resume_a);
}

static void
paused_start(struct rig *r)
{
	open_one(false);
	a.on_closed = end_here;
	a.on_readable = pause_on_mail;
	a.keep = true;
	raw_say("MAIL\r\n");
	stream_resume(a.s);
}

static void
end_waits_for_resume(void **state)
{
	rig_run(paused_start);
	assert_int_equal(a.readables, 2);
	assert_int_equal(a.err, 0);
	assert_string_equal(buf_cstr(&a.got), "MAIL\r\nQUIT\r\n");
	side_fini(&a);
}

static void
half_start(struct rig *r)
{
	open_one(true);
	a.on_readable = answer; /* the peer only closed its own direction: it still reads */
	a.on_closed = end_here;
	raw_say("QUIT\r\n");
	shutdown(raw, SHUT_WR);
	stream_resume(a.s);
}

static void
half_closed_peer_gets_the_reply(void **state)
{
	char got[32] = "";

	rig_run(half_start);
	assert_int_equal(a.err, 0);
	assert_int_equal(read(raw, got, sizeof(got)), 8);
	assert_string_equal(got, "250 ok\r\n");
	assert_int_equal(read(raw, got, sizeof(got)), 0);
	raw_close();
	side_fini(&a);
}

static void
reset_peer(void)
{
	struct linger hard = {1, 0};

	setsockopt(raw, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	raw_close();
}

static void
reset_start(struct rig *r)
{
	open_one(true);
	a.on_closed = end_here;
	raw_say("552 too big\r\n");
	reset_peer();
	say(&a, "a body nobody wants\r\n");
	assert_int_equal(a.closeds, 0);
	stream_resume(a.s);
}

static void
reply_is_read_before_the_write_error(void **state)
{
	rig_run(reset_start);
	assert_int_equal(a.err, -ECONNRESET);
	assert_string_equal(buf_cstr(&a.got), "552 too big\r\n");
	side_fini(&a);
}

static void
broken_while_paused_start(struct rig *r)
{
	open_one(true);
	a.on_closed = end_here;
	reset_peer();
	say(&a, "x");
	say(&a, "y");
	assert_int_equal(a.closeds, 0);
}

static void
write_error_ends_a_paused_stream(void **state)
{
	rig_run(broken_while_paused_start);
	assert_true(a.err == -ECONNRESET || a.err == -EPIPE);
	side_fini(&a);
}

/* -- closing ----------------------------------------------------------------------------------- */

static void
close_in_callback(struct side *side)
{
	side_close(side);
	if (a.s == NULL && b.s == NULL)
		rig_end();
}

static void
abort_in_callback(struct side *side)
{
	stream_abort(side->s);
	side->s = NULL;
	if (a.s == NULL && b.s == NULL)
		rig_end();
}

static void
callbacks_start(struct rig *r)
{
	open_both(false);
	a.on_readable = close_in_callback; /* with more input waiting */
	b.on_closed = abort_in_callback;
	stream_resume(a.s);
	stream_resume(b.s);
	say(&b, "one\r\n");
	say(&b, "two\r\n");
}

static void
close_inside_callbacks(void **state)
{
	rig_run(callbacks_start);
	assert_int_equal(a.closeds, 0);
	assert_int_equal(a.readables, 1);
	assert_int_equal(b.closeds, 1);
	fini_both();
}

static void
fill(struct side *side)
{
	static char block[65536];

	memset(block, 'f', sizeof(block));
	while (!stream_full(side->s)) {
		stream_write(side->s, (struct str){block, sizeof(block)});
		stream_flush(side->s);
	}
}

static void
drained_start(struct rig *r)
{
	open_both(false);
	a.on_drained = close_in_callback;
	b.on_closed = close_in_callback;
	stream_resume(a.s);
	fill(&a);
	assert_int_equal(a.draineds, 0);
	stream_resume(b.s);
}

static void
close_inside_drained(void **state)
{
	rig_run(drained_start);
	assert_int_equal(a.draineds, 1);
	assert_true(b.got.n > STREAM_OUT_HIGH);
	fini_both();
}

static void
linger_start(struct rig *r)
{
	open_both(true);
	fill(&a);
	stream_write(a.s, STR("the last word"));
	stream_flush(a.s);
	stream_write(a.s, STR("not flushed"));
	side_close(&a);
	b.on_closed = end_here;
	stream_resume(b.s);
}

static void
close_sends_what_is_flushed(void **state)
{
	rig_run(linger_start);
	assert_int_equal(b.err, 0);
	assert_true(str_ends(buf_str(&b.got), STR("fffthe last word")));
	fini_both();
}

/* Input nobody read would make the kernel send a reset: our last reply must come first, and an
 * end of file behind it. */
static void
no_reset_start(struct rig *r)
{
	open_both(true);
	a.keep = true;
	say(&b, "so much that\r\nnobody wants\r\n");
	say(&a, "421 bye\r\n");
	side_close(&a); /* never read a byte */
	b.on_closed = end_here;
	stream_resume(b.s);
}

static void
unread_input_makes_no_reset(void **state)
{
	rig_run(no_reset_start);
	assert_int_equal(b.err, 0);
	assert_string_equal(buf_cstr(&b.got), "421 bye\r\n");
	fini_both();
}

static void
overflow_start(struct rig *r)
{
	static char block[STREAM_OUT_MAX / 4];

	open_one(false);
	a.on_closed = end_here;
	for (int i = 0; i < 5; i++)
		stream_write(a.s, (struct str){block, sizeof(block)});
	assert_true(stream_full(a.s));
	stream_flush(a.s);
	stream_write(a.s, STR("ignored"));
	stream_flush(a.s);
}

static void
output_has_a_maximum(void **state)
{
	rig_run(overflow_start);
	assert_int_equal(a.err, -ENOBUFS);
	raw_close();
	side_fini(&a);
}

/* -- connecting -------------------------------------------------------------------------------- */

static int connect_err, connect_calls, listening;
static struct sockaddr_in target;

static void
connect_done(void *ctx, int err, struct stream *s)
{
	connect_calls++;
	connect_err = err;
	if (err == 0) {
		assert_string_equal(stream_peer(s)->address, ctx ? "" : "127.0.0.1");
		stream_set_ops(s, &side_ops, &a);
		a.s = s;
		a.on_closed = end_here;
		stream_resume(s);
		raw = accept(listening, NULL, NULL);
		raw_say("220 hello\r\n");
		raw_close();
	} else {
		assert_null(s);
		rig_end();
	}
}

static void
listen_here(void)
{
	socklen_t n = sizeof(target);

	side_init(&a);
	connect_calls = 0;
	target = (struct sockaddr_in){.sin_family = AF_INET};
	target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&target, n), 0);
	assert_int_equal(listen(listening, 4), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&target, &n), 0);
}

static void
connect_start(struct rig *r)
{
	struct sockaddr_in from = {.sin_family = AF_INET};

	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listen_here();
	stream_connect(r->loop, (struct sockaddr *)&target, (struct sockaddr *)&from, 5000,
	    connect_done, NULL);
	assert_int_equal(connect_calls, 0);
}

static void
refused_start(struct rig *r)
{
	listen_here();
	close(listening);
	stream_connect(r->loop, (struct sockaddr *)&target, NULL, 5000, connect_done, NULL);
	assert_int_equal(connect_calls, 0);
}

static void
timeout_start(struct rig *r)
{
	listen_here();
	/* 0 ms: the timer comes before the kernel's answer is looked at. */
	stream_connect(r->loop, (struct sockaddr *)&target, NULL, 0, connect_done, NULL);
}

static void
source_start(struct rig *r)
{
	struct sockaddr_in from = {.sin_family = AF_INET};

	from.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1: not ours */
	listen_here();
	stream_connect(r->loop, (struct sockaddr *)&target, (struct sockaddr *)&from, 5000,
	    connect_done, NULL);
	assert_int_equal(connect_calls, 0);
}

static void
cancel_later(struct timer *t)
{
	rig_end();
}

static void
cancel_start(struct rig *r)
{
	struct stream_connect *c;

	listen_here();
	c = stream_connect(r->loop, (struct sockaddr *)&target, NULL, 5000, connect_done, NULL);
	stream_connect_cancel(c);
	target.sin_family = AF_UNSPEC; /* fails at once, and is cancelled as well */
	c = stream_connect(r->loop, (struct sockaddr *)&target, NULL, 5000, connect_done, NULL);
	stream_connect_cancel(c);
	timer_start(r->loop, &later, 20, cancel_later);
}

static void
connecting(void **state)
{
	static const struct {
		void (*start)(struct rig *r);
		int err, calls;
	} t[] = {
	    {connect_start, 0, 1},
	    {refused_start, -ECONNREFUSED, 1},
	    {timeout_start, -ETIMEDOUT, 1},
	    {source_start, -EADDRNOTAVAIL, 1},
	    {cancel_start, 77, 0},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		connect_err = 77;
		rig_run(t[i].start);
		assert_int_equal(connect_err, t[i].err);
		assert_int_equal(connect_calls, t[i].calls);
		if (t[i].err == 0)
			assert_string_equal(buf_cstr(&a.got), "220 hello\r\n");
		if (t[i].start != refused_start)
			close(listening);
		side_fini(&a);
	}
}

static struct sockaddr_un unix_target;

static void
unix_start(struct rig *r)
{
	side_init(&a);
	connect_calls = 0;
	stream_connect(r->loop, (struct sockaddr *)&unix_target, NULL, 5000, connect_done, &a);
	assert_int_equal(connect_calls, 0);
}

static void
connecting_to_a_unix_socket(void **state)
{
	char dir[] = "/tmp/stream_test.XXXXXX";

	assert_non_null(mkdtemp(dir));
	unix_target.sun_family = AF_UNIX;
	snprintf(unix_target.sun_path, sizeof(unix_target.sun_path), "%s/s", dir);
	rig_run(unix_start);
	assert_int_equal(connect_err, -ENOENT);
	side_fini(&a);
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&unix_target, sizeof(unix_target)), 0);
	assert_int_equal(listen(listening, 4), 0);
	rig_run(unix_start);
	assert_int_equal(connect_err, 0);
	side_fini(&a);
	close(listening);
	unlink(unix_target.sun_path);
	rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(end_after_input),
	    cmocka_unit_test(end_waits_for_resume),
	    cmocka_unit_test(half_closed_peer_gets_the_reply),
	    cmocka_unit_test(reply_is_read_before_the_write_error),
	    cmocka_unit_test(write_error_ends_a_paused_stream),
	    cmocka_unit_test(close_inside_callbacks),
	    cmocka_unit_test(close_inside_drained),
	    cmocka_unit_test(close_sends_what_is_flushed),
	    cmocka_unit_test(unread_input_makes_no_reset),
	    cmocka_unit_test(output_has_a_maximum),
	    cmocka_unit_test(connecting),
	    cmocka_unit_test(connecting_to_a_unix_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
