/*
 * stream_test.c - streams over socket pairs and loopback TCP: data, marks, deadlines.
 */
#include "streams.h"
#include "net/stream_internal.h"

/* -- a conversation ---------------------------------------------------------------------------- */

static void
hang_up(struct side *side)
{
	assert_string_equal(buf_cstr(&side->got), "250 ok\r\n");
	side_close(side);
}

static void
talk_start(struct rig *r)
{
	open_both(true);
	b.on_readable = answer;
	b.on_closed = end_here;
	a.on_readable = hang_up;
	stream_resume(a.s);
	stream_resume(b.s);
	assert_string_equal(stream_peer(a.s)->address, "127.0.0.1");
	assert_string_equal(stream_local(a.s)->address, "127.0.0.1");
	assert_int_equal(stream_local(a.s)->port, stream_peer(b.s)->port);
	assert_int_equal(stream_peer(a.s)->family, AF_INET);
	say(&a, "NOOP\r\n");
	assert_int_equal(b.readables, 0);
}

static void
conversation(void **state)
{
	rig_run(talk_start);
	assert_int_equal(b.err, 0);
	assert_int_equal(a.closeds, 0);
	assert_string_equal(buf_cstr(&b.got), "NOOP\r\n");
	fini_both();
}

/* -- buffers are given back -------------------------------------------------------------------- */

static void
check_idle(struct timer *t)
{
	assert_int_equal(a.s->in.cap, 0);
	assert_true(a.s->out.cap <= 512);
	assert_null(a.s->flight);
	assert_true(sizeof(struct stream) <= 1024);
	side_close(&a);
	side_close(&b);
	rig_end();
}

static void
idle_soon(struct side *side)
{
	timer_start(rig.loop, &later, 0, check_idle);
}

static void
idle_start(struct rig *r)
{
	static char big[20000];

	open_both(false);
	b.on_readable = answer;
	a.on_readable = idle_soon;
	stream_resume(a.s);
	stream_resume(b.s);
	memset(big, 'x', sizeof(big) - 1);
	say(&a, big);
}

static void
idle_is_small(void **state)
{
	rig_run(idle_start);
	fini_both();
}

/* -- a large transfer with marks --------------------------------------------------------------- */

enum { BIG = 12 * 1024 * 1024 };
static size_t sent;
static bool saw_full;

static char
pattern(size_t i)
{
	return (char)('a' + (i * 7 + i / 4096) % 26);
}

static void
pump(struct side *side)
{
	while (sent < BIG && !stream_full(side->s)) {
		char chunk[8192];

		for (size_t i = 0; i < sizeof(chunk); i++)
			chunk[i] = pattern(sent + i);
		stream_write(side->s, (struct str){chunk, sizeof(chunk)});
		sent += sizeof(chunk);
		if (sent % 32768 == 0)
			stream_flush(side->s);
		assert_true(buf_str(stream_out(side->s)).n <= STREAM_OUT_HIGH + sizeof(chunk));
	}
	stream_flush(side->s);
	saw_full = saw_full || stream_full(side->s);
	if (sent == BIG)
		side_close(side);
}

static void
resume_b(struct timer *t)
{
	if (b.s)
		stream_resume(b.s);
}

static void
take_slowly(struct side *side)
{
	if (side->readables % 16 == 0) {
		stream_pause(side->s);
		timer_start(rig.loop, &later, 1, resume_b);
	}
}

static void
big_end(struct side *side)
{
	timer_stop(&later);
	end_here(side);
}

static void
big_start(struct rig *r)
{
	sent = 0;
	saw_full = false;
	open_both(true);
	a.on_drained = pump;
	b.on_readable = take_slowly;
	b.on_closed = big_end;
	stream_resume(a.s);
	stream_resume(b.s);
	pump(&a);
}

static void
large_transfer(void **state)
{
	rig_run(big_start);
	assert_int_equal(b.err, 0);
	assert_int_equal(b.got.n, BIG);
	assert_true(saw_full);
	assert_true(a.draineds > 0);
	for (size_t i = 0; i < BIG; i++)
		if (b.got.p[i] != pattern(i))
			fail_msg("byte %zu differs", i);
	fini_both();
}

/* -- the high mark of the input ---------------------------------------------------------------- */

static void
flood(void)
{
	static char block[65536];

	memset(block, 'x', sizeof(block));
	while (send(raw, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
}

static void
check_mark(struct timer *t)
{
	assert_true(stream_in(a.s).n >= STREAM_IN_HIGH);
	assert_true(stream_in(a.s).n <= 2 * STREAM_IN_HIGH);
	assert_false(a.s->reading);
	a.keep = false;
	stream_consume(a.s, stream_in(a.s).n); /* outside readable: reading starts again */
	assert_true(a.s->reading);
	side_close(&a);
	raw_close();
	rig_end();
}

static void
mark_start(struct rig *r)
{
	open_one(true);
	a.keep = true;
	flood();
	stream_resume(a.s);
	timer_start(r->loop, &later, 30, check_mark);
}

static void
input_has_a_mark(void **state)
{
	rig_run(mark_start);
	side_fini(&a);
}

/* -- deadline ---------------------------------------------------------------------------------- */

static void
drip(struct timer *t)
{
	raw_say("x");
	timer_start(rig.loop, &later, 5, drip);
}

static void
drip_over(struct side *side)
{
	timer_stop(&later);
	/* The last word may still be said. */
	say(side, "421 too slow\r\n");
	side_close(side);
	raw_close();
	rig_end();
}

static void
drip_start(struct rig *r)
{
	open_one(false);
	a.on_closed = drip_over;
	stream_deadline(a.s, 5000);
	stream_deadline(a.s, -1);
	stream_deadline(a.s, 60);
	stream_resume(a.s);
	drip(&later);
}

static void
drip_does_not_extend(void **state)
{
	rig_run(drip_start);
	assert_int_equal(a.err, -ETIMEDOUT);
	assert_true(a.readables >= 2);
	side_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(conversation),
	    cmocka_unit_test(idle_is_small),
	    cmocka_unit_test(large_transfer),
	    cmocka_unit_test(input_has_a_mark),
	    cmocka_unit_test(drip_does_not_extend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
