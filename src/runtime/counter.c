/*
 * counter.c - shared numbers.
 *
 * Nothing else is published through them, so relaxed order is enough: a budget may be a moment
 * late, and a sequence only has to be unique.
 */
#include "pp/base/assert.h"
#include "pp/runtime/counter.h"

bool
counter_take(struct counter *c, int64_t n, int64_t limit)
{
	int64_t before = atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);

	PP_ASSERT(n >= 0);
	if (before <= limit - n)
		return true;
	counter_give(c, n);
	return false;
}

void
counter_give(struct counter *c, int64_t n)
{
	int64_t before = atomic_fetch_sub_explicit(&c->value, n, memory_order_relaxed);

	PP_ASSERT(before >= n);
}

int64_t
counter_next(struct counter *c, int64_t floor)
{
	int64_t last = atomic_load_explicit(&c->value, memory_order_relaxed), next;

	do
		next = last < floor ? floor : last + 1;
	while (!atomic_compare_exchange_weak_explicit(
	    &c->value, &last, next, memory_order_relaxed, memory_order_relaxed));
	return next;
}
