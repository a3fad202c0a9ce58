/*
 * pair.h - for the tests of net/: a loop in this thread, and a side that records what a stream
 * says. The loop is run by rig_run(start): start runs on it, rig_end lets it end.
 */
#pragma once
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/mem.h"
#include "pp/net/stream.h"
#include "pp/runtime/post.h"

enum { RIG_GUARD_MS = 20000, NOT_CLOSED = 1 };

struct rig {
	struct loop *loop;
	struct timer guard;
	struct post post;
	void (*start)(struct rig *r);
	bool ended;
	void (*after)(void); /* between the end of the loop and its freeing */
};

static struct rig rig;

static void
rig_expired(struct timer *t)
{
	fprintf(stderr, "the test hangs\n");
	abort();
}

static void
rig_started(struct post *p)
{
	struct rig *r = PP_CONTAINER(p, struct rig, post);

	timer_start(r->loop, &r->guard, RIG_GUARD_MS, rig_expired);
	r->start(r);
}

static inline void
rig_run(void (*start)(struct rig *r))
{
	signal(SIGPIPE, SIG_IGN);
	rig = (struct rig){.loop = loop_new("test"), .start = start, .after = rig.after};
	post_to(rig.loop, &rig.post, rig_started);
	loop_run(rig.loop);
	if (rig.after)
		rig.after();
	loop_free(rig.loop);
	assert_true(rig.ended);
}

static inline void
rig_end(void)
{
	assert_false(rig.ended);
	rig.ended = true;
	timer_stop(&rig.guard);
	loop_stop(rig.loop);
}

/* One end: what came, how often it was called. The hooks are what a test adds. */
struct side {
	struct stream *s;
	struct buf got;
	unsigned readables, draineds, closeds;
	int err;
	bool keep; /* leave the input unconsumed */
	void (*on_readable)(struct side *side);
	void (*on_drained)(struct side *side);
	void (*on_closed)(struct side *side);
	void *data;
};

static void
side_readable(void *ctx)
{
	struct side *side = ctx;

	side->readables++;
	assert_int_equal(side->closeds, 0);
	if (!side->keep) {
		struct str in = stream_in(side->s);

		assert_int_equal(buf_add(&side->got, in), 0);
		stream_consume(side->s, in.n);
	}
	if (side->on_readable)
		side->on_readable(side);
}

static void
side_drained(void *ctx)
{
	struct side *side = ctx;

	side->draineds++;
	assert_int_equal(side->closeds, 0);
	if (side->on_drained)
		side->on_drained(side);
}

static void
side_closed(void *ctx, int err)
{
	struct side *side = ctx;

	side->closeds++;
	side->err = err;
	assert_int_equal(side->closeds, 1);
	if (side->on_closed)
		side->on_closed(side);
}

static const struct stream_ops side_ops = {side_readable, side_drained, side_closed};

static inline void
side_init(struct side *side)
{
	*side = (struct side){.err = NOT_CLOSED};
	buf_init(&side->got, 64u << 20);
}

static inline void
side_open(struct side *side, int fd)
{
	side->s = stream_new(rig.loop, fd, &side_ops, side);
}

static inline void
side_close(struct side *side)
{
	stream_close(side->s);
	side->s = NULL;
}

static inline void
side_fini(struct side *side)
{
	assert_null(side->s);
	buf_fini(&side->got);
}

static inline void
say(struct side *side, const char *text)
{
	stream_write(side->s, str_of(text));
	stream_flush(side->s);
}
