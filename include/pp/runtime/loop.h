/*
 * loop.h - an event loop with its thread, timers on it, and the clocks.
 * THREAD each function says. A loop's objects are touched by its own thread only: PP_ON.
 * OWNS   loop_new's result is freed by loop_free, after the loop has ended. Timers lie in the
 *        caller's memory and must be stopped before it goes.
 * ERRORS bugs only.
 * SEE    post.h for the way into a loop, lane.h for the way out to blocking work.
 */
#pragma once
#include "pp/base/assert.h"
#include "pp/base/heap.h"

struct loop;
struct uv_loop_s;

/* Any thread. The name is shown in the thread list ("io0") and must outlive the loop. */
struct loop *loop_new(const char *name);
/* Run it: in a thread of its own, or in this one. loop_run returns after loop_stop. */
int loop_start(struct loop *l);
void loop_run(struct loop *l);
/* Any thread: the loop ends once it has no handles but its own; what is left open is closed by
 * its owners first. loop_join waits for the thread of loop_start. */
void loop_stop(struct loop *l);
void loop_join(struct loop *l);
void loop_free(struct loop *l);

/* This thread's loop, NULL on lanes and in commands. */
struct loop *loop_current(void);
/* For net/, control/ and status/, which speak libuv. */
struct uv_loop_s *loop_uv(struct loop *l);

#define PP_ON(l) PP_ASSERT((l) == loop_current())

/* Monotonic milliseconds, read once per turn of the loop. Owner thread. */
int64_t loop_now(struct loop *l);
/* Monotonic and wall clock microseconds, read now. Any thread. */
int64_t loop_monotonic_us(void);
int64_t loop_wall_us(void);

struct timer {
	struct heap_node node;
	void (*fire)(struct timer *t);
	struct loop *loop; /* while it runs */
};

/* Owner thread of the loop. Starting a running timer moves it. Fires once. */
void timer_start(struct loop *l, struct timer *t, int64_t in_ms, void (*fire)(struct timer *));
/* Nothing happens when it does not run. */
void timer_stop(struct timer *t);
