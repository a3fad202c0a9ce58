/*
 * window.h - how many deliveries a destination gets at a time. Pure.
 * THREAD any.  OWNS nothing.  ERRORS none.
 * SEE    SCHEDULER_README of Postfix: concurrency feedback.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* How a window answers to success and failure: n, n/concurrency or n/sqrt_concurrency. */
enum window_law { WINDOW_CONSTANT, WINDOW_INVERSE, WINDOW_INVERSE_SQRT };
struct window_feedback {
	enum window_law law;
	double factor;
};

struct window_limits {
	int initial;         /* initial_destination_concurrency */
	int limit;           /* destination_concurrency_limit, 0 = none */
	double cohort_limit; /* failed_cohort_limit, 0 = never dead */
	struct window_feedback positive, negative;
};

struct window {
	int window;
	double success, failure, fail_cohorts;
};

/* "1", "1/10", "1/concurrency", "0.5/sqrt_concurrency", of 0 to 1; 0 or -1. */
int window_feedback_parse(const char *text, struct window_feedback *ret);

void window_init(struct window *w, const struct window_limits *l);
/* What one success or failure counts at this size. */
double window_feedback_value(const struct window_feedback *f, int window);
/* busy = deliveries that ran, the one that ended included. */
void window_success(struct window *w, const struct window_limits *l, int busy);
/* True: the destination is dead now. */
bool window_failure(struct window *w, const struct window_limits *l);
