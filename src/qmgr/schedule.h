/*
 * schedule.h - the arithmetic of scheduling. Pure: takes the time, gives numbers.
 * THREAD any.  OWNS nothing.  ERRORS none.
 * SEE    SCHEDULER_README of Postfix.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* How a window answers to success and failure: n, n/concurrency or n/sqrt_concurrency. */
enum schedule_law { SCHEDULE_CONSTANT, SCHEDULE_INVERSE, SCHEDULE_INVERSE_SQRT };
struct schedule_feedback {
	enum schedule_law law;
	double factor;
};

struct schedule_limits {
	int initial;         /* initial_destination_concurrency */
	int limit;           /* destination_concurrency_limit, 0 = none */
	double cohort_limit; /* failed_cohort_limit, 0 = never dead */
	struct schedule_feedback positive, negative;
};

struct schedule_window {
	int window;
	double success, failure, fail_cohorts;
};

/* "1", "1/concurrency", "0.5/sqrt_concurrency"; 0 or -1. */
int schedule_feedback_parse(const char *text, struct schedule_feedback *ret);

void schedule_window_init(struct schedule_window *w, const struct schedule_limits *l);
/* busy = deliveries that ran, the one that ended included. */
void schedule_success(struct schedule_window *w, const struct schedule_limits *l, int busy);
/* True: the destination is dead now. */
bool schedule_failure(struct schedule_window *w, const struct schedule_limits *l);

/* Seconds until the next attempt: the age, between min and max. */
int64_t schedule_backoff(int64_t now, int64_t create_time, int64_t min, int64_t max);
bool schedule_expired(int64_t now, int64_t create_time, int64_t lifetime);
