/*
 * schedule_test.c - windows, death and retry times, without a clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "qmgr/schedule.h"

static const struct schedule_limits defaults = {
    .initial = 5,
    .limit = 20,
    .cohort_limit = 1,
    .positive = {SCHEDULE_CONSTANT, 1},
    .negative = {SCHEDULE_CONSTANT, 1},
};

static void
window_grows_to_its_limit(void **state)
{
	struct schedule_window w;

	schedule_window_init(&w, &defaults);
	assert_int_equal(w.window, 5);
	schedule_success(&w, &defaults, 5);
	assert_int_equal(w.window, 6);
	for (int i = 0; i < 100; i++)
		schedule_success(&w, &defaults, w.window);
	assert_int_equal(w.window, 20);
	/* One that is not used does not grow. */
	schedule_window_init(&w, &defaults);
	for (int i = 0; i < 100; i++)
		schedule_success(&w, &defaults, 1);
	assert_int_equal(w.window, 6);
}

static void
one_cohort_of_failures_kills(void **state)
{
	struct schedule_limits l = defaults;
	struct schedule_window w;
	int n = 0;

	/* The first failure shrinks the window by two, as Postfix's rounding does, each further one
	 * by one: 1/5 + 1/3 + 1/2 > 1. */
	schedule_window_init(&w, &l);
	do
		n++;
	while (!schedule_failure(&w, &l));
	assert_int_equal(n, 3);
	/* A success in between begins a new cohort. */
	schedule_window_init(&w, &l);
	assert_false(schedule_failure(&w, &l));
	assert_false(schedule_failure(&w, &l));
	schedule_success(&w, &l, 3);
	assert_false(schedule_failure(&w, &l));
	/* Limit 0: never dead, never below one. */
	l.cohort_limit = 0;
	for (int i = 0; i < 100; i++)
		assert_false(schedule_failure(&w, &l));
	assert_int_equal(w.window, 1);
}

static void
feedback_of_fractions(void **state)
{
	struct schedule_limits l = defaults;
	struct schedule_window w;

	l.positive = (struct schedule_feedback){SCHEDULE_INVERSE, 1};
	schedule_window_init(&w, &l);
	/* 1/5 a success: the window grows once per cohort of five, give or take the half step. */
	for (int i = 0; i < 4; i++)
		schedule_success(&w, &l, 5);
	assert_int_equal(w.window, 5);
	schedule_success(&w, &l, 5);
	assert_int_equal(w.window, 6);
}

static void
feedback_texts(void **state)
{
	static const struct {
		const char *text;
		int rc;
		struct schedule_feedback want;
	} cases[] = {
	    {"1", 0, {SCHEDULE_CONSTANT, 1}},
	    {"0.5", 0, {SCHEDULE_CONSTANT, 0.5}},
	    {"1/concurrency", 0, {SCHEDULE_INVERSE, 1}},
	    {"0.25 / sqrt_concurrency", 0, {SCHEDULE_INVERSE_SQRT, 0.25}},
	    {"", -1, {0}},
	    {"1/", -1, {0}},
	    {"1/x", -1, {0}},
	    {"-1", -1, {0}},
	    {"1.", -1, {0}},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct schedule_feedback f = {0};

		assert_int_equal(schedule_feedback_parse(cases[i].text, &f), cases[i].rc);
		if (cases[i].rc == 0) {
			assert_int_equal(f.law, cases[i].want.law);
			assert_true(f.factor > cases[i].want.factor - 1e-9 &&
				    f.factor < cases[i].want.factor + 1e-9);
		}
	}
}

/* Postfix's arithmetic: the age, between 300 and 4000 seconds, so each wait doubles the age. */
static void
five_days_of_retries(void **state)
{
	static const int64_t want[] = {300, 300, 600, 1200, 2400, 4000, 4000};
	int64_t t = 1000000, now = t;
	int attempts = 0;

	for (size_t i = 0; i < PP_COUNT(want); i++) {
		int64_t wait = schedule_backoff(now, t, 300, 4000);

		assert_int_equal(wait, want[i]);
		now += wait;
	}
	now = t;
	while (!schedule_expired(now, t, 5 * 86400)) {
		attempts++;
		now += schedule_backoff(now, t, 300, 4000);
	}
	assert_int_equal(attempts, 112);
	assert_true(schedule_expired(t, t, 0));                        /* lifetime 0: one attempt */
	assert_int_equal(schedule_backoff(t - 50, t, 300, 4000), 300); /* a clock that went back */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(window_grows_to_its_limit),
	    cmocka_unit_test(one_cohort_of_failures_kills),
	    cmocka_unit_test(feedback_of_fractions),
	    cmocka_unit_test(feedback_texts),
	    cmocka_unit_test(five_days_of_retries),
	};

	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
