/*
 * crew_test.c - pieces are taken in the order they were made, whoever worked on them, and no more
 * of them are under way than there is memory for; ends of all kinds leave no thread behind.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/runtime/crew.h"

enum { PIECES_MAX = 64 };

struct run {
	unsigned pieces, total, fail_make_at;
	unsigned made, taken, stop_at;
	struct {
		unsigned in, out;
		int state; /* 0 free, 1 made, 2 worked on */
	} slot[PIECES_MAX];
};

static int
make(void *ctx, unsigned piece)
{
	struct run *r = ctx;

	if (r->fail_make_at && r->made == r->fail_make_at)
		return -EIO;
	if (r->made == r->total)
		return 0;
	assert_true(piece < r->pieces);
	assert_int_equal(r->slot[piece].state, 0);
	assert_true(r->made - r->taken < r->pieces);
	r->slot[piece].state = 1;
	r->slot[piece].in = r->made++;
	return 1;
}

static void
work(void *ctx, unsigned piece)
{
	struct run *r = ctx;
	unsigned v = r->slot[piece].in;

	PP_ASSERT(r->slot[piece].state == 1);
	for (unsigned i = 0; i < (v % 7) * 100; i++)
		v = v * 1664525 + 1013904223;
	r->slot[piece].out = r->slot[piece].in * 3 + (v == 1);
	r->slot[piece].state = 2;
}

static int
take(void *ctx, unsigned piece)
{
	struct run *r = ctx;

	assert_int_equal(r->slot[piece].state, 2);
	assert_int_equal(r->slot[piece].in, r->taken);
	assert_int_equal(r->slot[piece].out, r->taken * 3);
	r->slot[piece].state = 0;
	return ++r->taken == r->stop_at ? -EPIPE : 0;
}

static int
run(struct run *r, unsigned threads)
{
	const struct crew c = {.threads = threads,
	    .pieces = r->pieces,
	    .make = make,
	    .work = work,
	    .take = take,
	    .ctx = r};

	return crew_run_blk(&c);
}

static void
all_is_taken_in_order(void **state)
{
	static const unsigned threads[] = {0, 1, 2, 3, 8, 100};
	static const unsigned pieces[] = {1, 2, 7, PIECES_MAX};
	static const unsigned totals[] = {0, 1, 2, 3, 1000};

	for (size_t t = 0; t < PP_COUNT(threads); t++)
		for (size_t p = 0; p < PP_COUNT(pieces); p++)
			for (size_t n = 0; n < PP_COUNT(totals); n++) {
				struct run r = {.pieces = pieces[p], .total = totals[n]};

				assert_int_equal(run(&r, threads[t]), 0);
				assert_int_equal(r.taken, totals[n]);
			}
}

static void
a_taker_ends_it(void **state)
{
	for (unsigned at = 1; at < 40; at += 3) {
		struct run r = {.pieces = 8, .total = 1000, .stop_at = at};

		assert_int_equal(run(&r, 4), -EPIPE);
		assert_int_equal(r.taken, at);
		assert_true(r.made <= at + 8);
	}
}

static void
a_failure_comes_behind_what_was_made(void **state)
{
	struct run r = {.pieces = 8, .total = 1000, .fail_make_at = 21}, first = {.pieces = 8};

	assert_int_equal(run(&r, 3), -EIO);
	assert_int_equal(r.taken, 21);
	first.total = 5;
	first.fail_make_at = 1;
	assert_int_equal(run(&first, 1), -EIO);
	assert_int_equal(first.taken, 1);
}

static void
threads_fit_the_machine(void **state)
{
	assert_true(crew_threads() >= 2 && crew_threads() <= 16);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_is_taken_in_order),
	    cmocka_unit_test(a_taker_ends_it),
	    cmocka_unit_test(a_failure_comes_behind_what_was_made),
	    cmocka_unit_test(threads_fit_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
