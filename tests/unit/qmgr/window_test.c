/*
 * window_test.c - concurrency feedback: what Postfix 3.7 logged with
 * destination_concurrency_feedback_debug, step by step.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "qmgr/window.h"

static const struct window_limits defaults = {
    .initial = 5,
    .limit = 20,
    .cohort_limit = 1,
    .positive = {WINDOW_CONSTANT, 1},
    .negative = {WINDOW_CONSTANT, 1},
};

static void
window_grows_to_its_limit(void **state)
{
	struct window w;

	window_init(&w, &defaults);
	assert_int_equal(w.window, 5);
	window_success(&w, &defaults, 5);
	assert_int_equal(w.window, 6);
	for (int i = 0; i < 100; i++)
		window_success(&w, &defaults, w.window);
	assert_int_equal(w.window, 20);
	/* One that is not used does not grow. */
	window_init(&w, &defaults);
	for (int i = 0; i < 100; i++)
		window_success(&w, &defaults, 1);
	assert_int_equal(w.window, 6);
}

static void
one_cohort_of_failures_kills(void **state)
{
	struct window_limits l = defaults;
	struct window w;
	int n = 0;

	/* The first failure shrinks the window by two, as Postfix's rounding does, each further one
	 * by one: 1/5 + 1/3 + 1/2 > 1. */
	window_init(&w, &l);
	do
		n++;
	while (!window_failure(&w, &l));
	assert_int_equal(n, 3);
	/* A success in between begins a new cohort. */
	window_init(&w, &l);
	assert_false(window_failure(&w, &l));
	assert_false(window_failure(&w, &l));
	window_success(&w, &l, 3);
	assert_false(window_failure(&w, &l));
	/* Limit 0: never dead, never below one. */
	l.cohort_limit = 0;
	for (int i = 0; i < 100; i++)
		assert_false(window_failure(&w, &l));
	assert_int_equal(w.window, 1);
}

static void
feedback_of_fractions(void **state)
{
	struct window_limits l = defaults;
	struct window w;

	l.positive = (struct window_feedback){WINDOW_INVERSE, 1};
	window_init(&w, &l);
	/* 1/5 a success: the window grows once per cohort of five, give or take the half step. */
	for (int i = 0; i < 4; i++)
		window_success(&w, &l, 5);
	assert_int_equal(w.window, 5);
	window_success(&w, &l, 5);
	assert_int_equal(w.window, 6);
}

static void
feedback_texts(void **state)
{
	static const struct {
		const char *text;
		int rc;
		struct window_feedback want;
	} cases[] = {
	    {"1", 0, {WINDOW_CONSTANT, 1}},
	    {"0.5", 0, {WINDOW_CONSTANT, 0.5}},
	    {"1/concurrency", 0, {WINDOW_INVERSE, 1}},
	    {"0.25 / sqrt_concurrency", 0, {WINDOW_INVERSE_SQRT, 0.25}},
	    {"1/10", 0, {WINDOW_CONSTANT, 0.1}},
	    {"1 / 4.0", 0, {WINDOW_CONSTANT, 0.25}},
	    {"2", -1, {0}},
	    {"3/2", -1, {0}},
	    {"1/0", -1, {0}},
	    {"", -1, {0}},
	    {"1/", -1, {0}},
	    {"1/x", -1, {0}},
	    {"-1", -1, {0}},
	    {"1.", -1, {0}},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct window_feedback f = {0};

		assert_int_equal(window_feedback_parse(cases[i].text, &f), cases[i].rc);
		if (cases[i].rc == 0) {
			assert_int_equal(f.law, cases[i].want.law);
			assert_true(f.factor > cases[i].want.factor - 1e-9 &&
				    f.factor < cases[i].want.factor + 1e-9);
		}
	}
}

/* As logged: window, success, failure, fail_cohorts after each delivery. */
struct step {
	int window;
	double success, failure, cohorts;
};

static void
follow(const char *positive, const char *negative, bool fails, const struct step *want, size_t n)
{
	struct window_limits l = defaults;
	struct window w;

	assert_int_equal(window_feedback_parse(positive, &l.positive), 0);
	assert_int_equal(window_feedback_parse(negative, &l.negative), 0);
	l.cohort_limit = 5;
	window_init(&w, &l);
	for (size_t i = 0; i < n; i++) {
		if (fails)
			assert_int_equal(window_failure(&w, &l), want[i].window == 0);
		else
			window_success(&w, &l, w.window);
		if ((want[i].window != 0 && w.window != want[i].window) ||
		    fabs(w.success - want[i].success) > 1e-5 ||
		    fabs(w.failure - want[i].failure) > 1e-5 ||
		    fabs(w.fail_cohorts - want[i].cohorts) > 1e-4)
			fail_msg("%s %s step %zu: window %d success %g failure %g cohorts %g",
			    positive, negative, i, w.window, w.success, w.failure, w.fail_cohorts);
	}
}

static void
traces_of_postfix(void **state)
{
	static const struct step up1[] = {{6, 0, 0, 0}, {7, 0, 0, 0}};
	static const struct step up_half[] = {{5, .5, 0, 0}, {6, 0, 0, 0}};
	static const struct step up_inverse[] = {{5, .2, 0, 0}, {5, .4, 0, 0}, {5, .6, 0, 0},
	    {5, .8, 0, 0}, {6, 0, 0, 0}, {6, .166667, 0, 0}, {6, .333333, 0, 0}, {6, .5, 0, 0},
	    {6, .666667, 0, 0}, {6, .833333, 0, 0}, {7, 0, 0, 0}};
	static const struct step down1[] = {{3, 0, 1, .2}, {2, 0, 1, .533333}, {1, 0, 1, 1.03333},
	    {1, 0, 1, 2.03333}, {1, 0, 1, 3.03333}, {1, 0, 1, 4.03333}, {0, 0, 1, 5.03333}};
	static const struct step down_half[] = {{4, 0, .5, .2}, {3, 0, 1, .45}, {3, 0, .5, .783333},
	    {2, 0, 1, 1.11667}, {2, 0, .5, 1.61667}, {1, 0, 1, 2.11667}, {1, 0, .5, 3.11667},
	    {1, 0, 1, 4.11667}, {0, 0, 1, 5.11667}};
	static const struct step down_inverse[] = {{4, 0, .8, .2}, {4, 0, .55, .45}, {4, 0, .3, .7},
	    {3, 0, 1.05, .95}, {3, 0, .716667, 1.28333}, {3, 0, .383333, 1.61667},
	    {2, 0, 1.05, 1.95}, {2, 0, .55, 2.45}, {1, 0, 1.05, 2.95}, {1, 0, 1.05, 3.95},
	    {1, 0, 1.05, 4.95}, {0, 0, 1.05, 5.95}};

	follow("1", "1", false, up1, PP_COUNT(up1));
	follow("0.5", "1", false, up_half, PP_COUNT(up_half));
	follow("1/2", "1", false, up_half, PP_COUNT(up_half));
	follow("1/concurrency", "1", false, up_inverse, PP_COUNT(up_inverse));
	follow("1", "1", true, down1, PP_COUNT(down1));
	follow("1", "0.5", true, down_half, PP_COUNT(down_half));
	follow("1", "1/concurrency", true, down_inverse, PP_COUNT(down_inverse));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(window_grows_to_its_limit),
	    cmocka_unit_test(one_cohort_of_failures_kills),
	    cmocka_unit_test(feedback_of_fractions),
	    cmocka_unit_test(feedback_texts),
	    cmocka_unit_test(traces_of_postfix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
