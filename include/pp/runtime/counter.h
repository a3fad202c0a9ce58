/*
 * counter.h - one number that several threads share: a budget, or a sequence.
 * THREAD any.  OWNS nothing. {0} is a valid counter.
 * ERRORS none.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct counter {
	_Atomic int64_t value;
};

/* A budget: takes n when the sum stays within limit; counter_give returns it. */
bool counter_take(struct counter *c, int64_t n, int64_t limit);
void counter_give(struct counter *c, int64_t n);
/* A sequence: the next number, at least `floor`; no number is given twice, none goes back. */
int64_t counter_next(struct counter *c, int64_t floor);
