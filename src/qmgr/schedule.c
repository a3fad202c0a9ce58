/*
 * schedule.c - concurrency feedback and retry times.
 *
 * No clock, no I/O, no state but what is passed: five days of retries or a thousand dead hosts are
 * tested in microseconds. The feedback is Postfix's: a window grows by one after a pseudo-cohort of
 * successes, shrinks likewise, and a whole cohort of failures means the destination is dead.
 */
#include <math.h>
#include "pp/base/str.h"
#include "schedule.h"

static double
feedback(const struct schedule_feedback *f, int window)
{
	double w = window > 0 ? window : 1;

	switch (f->law) {
	case SCHEDULE_INVERSE:
		return f->factor / w;
	case SCHEDULE_INVERSE_SQRT:
		return f->factor / sqrt(w);
	default:
		return f->factor;
	}
}

/* Reacting to fractions is done in whole steps: one step per unit of feedback gathered. */
static double
hysteresis(const struct schedule_feedback *f)
{
	if (f->law != SCHEDULE_CONSTANT || f->factor >= 1)
		return 1;
	return f->factor > 0 ? f->factor : 1;
}

/* "0.25": digits and one dot, which is all main.cf documents. */
static int
parse_factor(struct str s, double *ret)
{
	size_t dot = str_index(s, '.');
	int64_t whole = 0, part = 0;
	double scale = 1;

	if (dot > 0 && str_number(str_head(s, dot), 0, 1000, &whole) < 0)
		return -1;
	if (dot < s.n) {
		struct str tail = str_from(s, dot + 1);

		if (str_number(tail, 0, 999999999, &part) < 0)
			return -1;
		for (size_t i = 0; i < tail.n; i++)
			scale *= 10;
	}
	*ret = (double)whole + (double)part / scale;
	return s.n > 0 && dot != s.n - 1 ? 0 : -1;
}

int
schedule_feedback_parse(const char *text, struct schedule_feedback *ret)
{
	struct str s = str_trim(str_of(text));
	size_t slash = str_index(s, '/');
	struct str law = str_trim(str_from(s, slash + 1));
	struct schedule_feedback f = {SCHEDULE_CONSTANT, 1};

	if (parse_factor(str_trim(str_head(s, slash)), &f.factor) < 0)
		return -1;
	if (slash == s.n)
		f.law = SCHEDULE_CONSTANT;
	else if (str_eq(law, STR("concurrency")))
		f.law = SCHEDULE_INVERSE;
	else if (str_eq(law, STR("sqrt_concurrency")))
		f.law = SCHEDULE_INVERSE_SQRT;
	else
		return -1;
	*ret = f;
	return 0;
}

void
schedule_window_init(struct schedule_window *w, const struct schedule_limits *l)
{
	*w = (struct schedule_window){.window = l->initial > 0 ? l->initial : 1};
	if (l->limit > 0 && w->window > l->limit)
		w->window = l->limit;
}

void
schedule_success(struct schedule_window *w, const struct schedule_limits *l, int busy)
{
	double step = hysteresis(&l->positive), f = feedback(&l->positive, w->window);

	w->fail_cohorts = 0;
	/* Grow only what is used: a window far above the running deliveries says nothing. */
	if (w->window >= busy + l->initial || (l->limit > 0 && w->window >= l->limit))
		return;
	w->success += f;
	while (f > 0 && w->success + f / 2 >= step) {
		w->window += (int)step > 0 ? (int)step : 1;
		w->success -= step;
		w->failure = 0;
	}
	if (l->limit > 0 && w->window > l->limit)
		w->window = l->limit;
}

bool
schedule_failure(struct schedule_window *w, const struct schedule_limits *l)
{
	double step = hysteresis(&l->negative), f = feedback(&l->negative, w->window);

	w->fail_cohorts += 1.0 / (w->window > 0 ? w->window : 1);
	if (l->cohort_limit > 0 && w->fail_cohorts >= l->cohort_limit)
		return true;
	w->failure -= f;
	while (w->failure - f / 2 < 0) {
		w->window -= (int)step > 0 ? (int)step : 1;
		w->success = 0;
		w->failure += step;
		if (w->window < 1) {
			w->window = 1;
			w->failure = 0;
			break;
		}
	}
	return false;
}

int64_t
schedule_backoff(int64_t now, int64_t create_time, int64_t min, int64_t max)
{
	int64_t age = now - create_time;

	return age < min ? min : age > max ? max : age;
}

bool
schedule_expired(int64_t now, int64_t create_time, int64_t lifetime)
{
	return now >= create_time + lifetime;
}
