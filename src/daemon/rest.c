/*
 * rest.c - gives memory back when nothing happens.
 *
 * What a start, a rush or a listing has left over is free memory and pages of the program that
 * nobody needs now. Whether the process rests is told by its processor time alone, so no part has
 * to say that it works or has ended. It is looked at once a minute, just behind the look into
 * maildrop, and more often only while there is something to wait for: the end of a start, of work.
 */
#include <time.h>
#include "internal.h"
#include "pp/base/mem.h"

enum {
	LOOK_MS = 500,
	BUSY_US = 5000, /* of processor time in between: it works */
	REST_MS = 60000,
};

static int64_t
spent_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void
look(struct timer *t)
{
	struct daemon *d = PP_CONTAINER(t, struct daemon, rest.timer);
	int64_t spent = spent_us(), before = d->rest.spent_us;

	d->rest.spent_us = spent;
	if (spent - before > BUSY_US) {
		timer_start(d->main, t, LOOK_MS, look);
		return;
	}
	timer_start(d->main, t, REST_MS, look);
	mem_trim();
}

void
daemon_rest_start(struct daemon *d)
{
	d->rest.spent_us = spent_us();
	timer_start(d->main, &d->rest.timer, LOOK_MS, look);
}

void
daemon_rest_end(struct daemon *d)
{
	timer_stop(&d->rest.timer);
}
