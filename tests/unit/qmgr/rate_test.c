/*
 * rate_test.c - limits per period: their syntax, and that no period ever sees more, whenever it
 * begins and however long the deliveries take.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "qmgr/rate.h"

#define TAIL                                                                                       \
	"as in 30/60s or 10000/1d, with a number from 1 to 2147483647 and a time from 1s to 366d"

static void
syntax(void **state)
{
	static const struct {
		const char *text;
		unsigned count, n;
		int64_t ms;
		const char *error;
	} cases[] = {
	    {"", 0, 0, 0, NULL},
	    {"30/60s", 1, 30, 60000, NULL},
	    {" 30/60s, 10000/1d", 2, 30, 60000, NULL},
	    {"5/2", 1, 5, 2000, NULL},
	    {"1/1H", 1, 1, 3600000, NULL},
	    {"1/1w", 1, 1, 604800000, NULL},
	    {"30", 0, 0, 0, "\"30\" is no rate: write NUMBER/TIME, " TAIL},
	    {"0/60s", 0, 0, 0, "\"0/60s\" is no rate: write NUMBER/TIME, " TAIL},
	    {"30/", 0, 0, 0, "\"30/\" is no rate: write NUMBER/TIME, " TAIL},
	    {"30/0s", 0, 0, 0, "\"30/0s\" is no rate: write NUMBER/TIME, " TAIL},
	    {"1/60s 2/1m", 1, 1, 60000, "names the period of 60 s twice"},
	    {"1/1 1/2 1/3 1/4 1/5", 4, 1, 1000, "has more than 4 limits"},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct rate_rule rule;
		struct buf err;

		buf_init(&err, 1000);
		assert_int_equal(
		    rate_parse(cases[i].text, &rule, &err), cases[i].error ? -EINVAL : 0);
		assert_string_equal(buf_cstr(&err), cases[i].error ? cases[i].error : "");
		assert_int_equal(rule.count, cases[i].count);
		if (rule.count > 0) {
			assert_int_equal(rule.limit[0].n, cases[i].n);
			assert_int_equal(rule.limit[0].ms, cases[i].ms);
		}
		buf_fini(&err);
	}
}

enum { SENDS = 4000, SIDE = 8 };

/* Deliveries that take from 0 to `longest` ms, each seen by the receiver at some moment of it;
 * returns how long it took to send all. */
static int64_t
run(const char *text, int64_t longest, unsigned restart_every, unsigned seed)
{
	static int64_t seen[SENDS];
	struct {
		int64_t end, at;
	} running[SIDE];
	unsigned n = 0, side = 0, began = 0, which;
	struct rate_rule rule;
	struct rate r = {.count = 0};
	struct buf err;
	int64_t now = 0;

	buf_init(&err, 100);
	assert_int_equal(rate_parse(text, &rule, &err), 0);
	buf_fini(&err);
	rate_follow(&r, &rule);
	while (n < SENDS) {
		int64_t next = INT64_MAX, when;

		while (began < SENDS && side < SIDE && rate_next(&r, &rule, now, &which) <= now) {
			int64_t takes = longest > 0 ? rand_r(&seed) % longest : 0;

			rate_begin(&r);
			running[side].end = now + takes;
			running[side++].at = now + (takes > 0 ? rand_r(&seed) % (takes + 1) : 0);
			if (++began % (restart_every + 1) == restart_every)
				rate_follow(&r, &rule); /* a reload */
		}
		for (unsigned i = 0; i < side; i++)
			if (running[i].end < next)
				next = running[i].end;
		when = rate_next(&r, &rule, now, &which);
		if (began < SENDS && side < SIDE && when > now && when < next)
			next = when;
		assert_true(next < INT64_MAX);
		now = next;
		for (unsigned i = 0; i < side;) {
			if (running[i].end > now) {
				i++;
				continue;
			}
			seen[n++] = running[i].at;
			rate_end(&r, running[i].end);
			running[i] = running[--side];
		}
	}
	/* Sorted, no period holds more: of n + 1 in a row the last comes at least a period after.
	 */
	for (unsigned i = 1; i < SENDS; i++)
		for (unsigned k = i; k > 0 && seen[k] < seen[k - 1]; k--) {
			int64_t x = seen[k];

			seen[k] = seen[k - 1];
			seen[k - 1] = x;
		}
	for (unsigned l = 0; l < rule.count; l++)
		for (unsigned i = 0; i + rule.limit[l].n < SENDS; i++)
			assert_true(seen[i + rule.limit[l].n] - seen[i] >= rule.limit[l].ms);
	rate_fini(&r);
	return now;
}

static void
no_period_sees_more(void **state)
{
	for (unsigned seed = 1; seed <= 5; seed++) {
		run("30/60s", 0, 0, seed);
		run("30/60s", 20000, 50, seed);
		run("30/60s", 90000, 0, seed);
		run("7/10s 40/90s", 3000, 13, seed);
		run("1/1s", 1500, 0, seed);
		run("500/1h", 10, 100, seed);
	}
	/* And it is not far from what is allowed: 4000 at 500 an hour take 7 full hours. */
	assert_in_range(run("500/1h", 10, 0, 1), 7LL * 3600000, 7LL * 3700000);
}

static void
memory_is_bounded(void **state)
{
	struct rate_rule rule;
	struct rate r = {.count = 0};
	struct buf err;
	unsigned which;

	buf_init(&err, 100);
	assert_int_equal(rate_parse("100000/1d", &rule, &err), 0);
	rate_follow(&r, &rule);
	for (int64_t now = 0; now < 3LL * 86400000; now += 900)
		if (rate_next(&r, &rule, now, &which) <= now) {
			rate_begin(&r);
			rate_end(&r, now);
		}
	assert_in_range(r.ring[0].room, 4, 128);
	assert_false(rate_is_idle(&r, 3LL * 86400000));
	assert_true(rate_is_idle(&r, 5LL * 86400000));
	rate_fini(&r);
	buf_fini(&err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(syntax),
	    cmocka_unit_test(no_period_sees_more),
	    cmocka_unit_test(memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
