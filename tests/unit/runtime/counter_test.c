/*
 * counter_test.c - a budget that is never overdrawn and a sequence that never repeats, with
 * threads.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/runtime/counter.h"

enum { THREADS = 4, ROUNDS = 20000, LIMIT = 1000 };

static struct counter budget, sequence;
static unsigned char given[THREADS * ROUNDS + 1];

static void *
spend(void *arg)
{
	size_t got = 0;

	for (int i = 0; i < ROUNDS; i++) {
		int64_t n = counter_next(&sequence, 1);

		PP_ASSERT(n >= 1 && n <= THREADS * ROUNDS && given[n]++ == 0);
		if (!counter_take(&budget, 400, LIMIT))
			continue;
		got++;
		counter_give(&budget, 400);
	}
	return (void *)got;
}

static void
shared_by_threads(void **state)
{
	pthread_t t[THREADS];
	size_t got = 0;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, spend, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		void *its;

		pthread_join(t[i], &its);
		got += (size_t)its; /* one alone may find others that sleep with theirs */
	}
	assert_true(got > 0);
	assert_true(counter_take(&budget, LIMIT, LIMIT)); /* all was given back */
	assert_false(counter_take(&budget, 1, LIMIT));
	assert_true(counter_take(&budget, 0, LIMIT));
}

static void
a_sequence_never_goes_back(void **state)
{
	struct counter c = {0};

	assert_int_equal(counter_next(&c, 100), 100);
	assert_int_equal(counter_next(&c, 100), 101);
	assert_int_equal(counter_next(&c, 50), 102);
	assert_int_equal(counter_next(&c, 200), 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shared_by_threads),
	    cmocka_unit_test(a_sequence_never_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
