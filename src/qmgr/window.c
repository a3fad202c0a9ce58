/*
 * window.c - concurrency feedback.
 *
 * Postfix's arithmetic to the last digit, so that who has tuned it finds it again: a window grows
 * by one at the end of 1/feedback successes, shrinks by one at the begin of as many failures, and a
 * whole cohort of failures means that the destination is dead.
 */
#include <math.h>
#include "pp/base/str.h"
#include "window.h"

double
window_feedback_value(const struct window_feedback *f, int window)
{
	double w = window > 0 ? window : 1;

	switch (f->law) {
	case WINDOW_INVERSE:
		return f->factor / w;
	case WINDOW_INVERSE_SQRT:
		return f->factor / sqrt(w);
	default:
		return f->factor;
	}
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
window_feedback_parse(const char *text, struct window_feedback *ret)
{
	struct str s = str_trim(str_of(text));
	size_t slash = str_index(s, '/');
	struct str law = str_trim(str_from(s, slash + 1));
	struct window_feedback f = {WINDOW_CONSTANT, 1};
	double by = 1;

	if (parse_factor(str_trim(str_head(s, slash)), &f.factor) < 0)
		return -1;
	if (slash == s.n)
		f.law = WINDOW_CONSTANT;
	else if (str_eq(law, STR("concurrency")))
		f.law = WINDOW_INVERSE;
	else if (str_eq(law, STR("sqrt_concurrency")))
		f.law = WINDOW_INVERSE_SQRT;
	else if (parse_factor(law, &by) < 0 || by <= 0)
		return -1;
	f.factor /= by;
	if (f.factor > 1)
		return -1;
	*ret = f;
	return 0;
}

void
window_init(struct window *w, const struct window_limits *l)
{
	*w = (struct window){.window = l->initial > 0 ? l->initial : 1};
	if (l->limit > 0 && w->window > l->limit)
		w->window = l->limit;
}

void
window_success(struct window *w, const struct window_limits *l, int busy)
{
	double f = window_feedback_value(&l->positive, w->window);

	w->fail_cohorts = 0;
	/* Grow only what is used: a window far above the running deliveries says nothing. */
	if (w->window >= busy + l->initial || (l->limit > 0 && w->window >= l->limit))
		return;
	w->success += f;
	while (f > 0 && w->success + f / 2 >= 1) {
		w->window++;
		w->success -= 1;
		w->failure = 0;
	}
	if (l->limit > 0 && w->window > l->limit)
		w->window = l->limit;
}

bool
window_failure(struct window *w, const struct window_limits *l)
{
	double f = window_feedback_value(&l->negative, w->window);

	w->fail_cohorts += 1.0 / (w->window > 0 ? w->window : 1);
	if (l->cohort_limit > 0 && w->fail_cohorts >= l->cohort_limit)
		return true;
	w->failure -= f;
	while (w->failure - f / 2 < 0) {
		w->window--;
		w->success = 0;
		w->failure += 1;
	}
	/* At one the cycle goes on, so that failures go on cancelling successes. */
	if (w->window < 1)
		w->window = 1;
	return false;
}
