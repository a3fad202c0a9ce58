/*
 * rate.c - limits that hold for every period, wherever one begins to count.
 *
 * A bucket that fills again lets twice its size through around the moment it is full, and a counter
 * that starts anew each minute does at the turn of it. Neither is what a receiver means by thirty a
 * minute. Here each end is remembered until its period is over, those that lie close together as
 * one, with the time of the last: that errs towards waiting, by a 64th of the period at most, and
 * takes no more memory for ten thousand a day than for thirty.
 */
#include "rate.h"
#include <errno.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"
#include "pp/base/str.h"

enum { PERIOD_S_MAX = 366 * 86400 };

/* "60s", "1d", "90"; in seconds, -1 = neither. */
static int64_t
parse_period(struct str s)
{
	static const struct {
		char unit;
		int64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
	int64_t n, by = 1;

	for (size_t i = 0; i < PP_COUNT(units) && s.n > 0; i++)
		if (str_lower(s.p[s.n - 1]) == units[i].unit) {
			by = units[i].s;
			s.n--;
			break;
		}
	if (str_number(s, 1, PERIOD_S_MAX, &n) < 0 || n * by > PERIOD_S_MAX)
		return -1;
	return n * by;
}

static int
parse_one(struct str one, struct rate_rule *ret, struct buf *err)
{
	size_t slash = str_index(one, '/');
	int64_t n, s;

	if (str_number(str_head(one, slash), 1, INT32_MAX, &n) < 0 || slash == one.n ||
	    (s = parse_period(str_from(one, slash + 1))) < 0) {
		buf_printf(err,
		    "\"%.*s\" is no rate: write NUMBER/TIME, as in 30/60s or 10000/1d, with a "
		    "number "
		    "from 1 to 2147483647 and a time from 1s to 366d",
		    STR_FMT(one));
		return -EINVAL;
	}
	if (ret->count == RATE_LIMITS_MAX) {
		buf_printf(err, "has more than %d limits", RATE_LIMITS_MAX);
		return -EINVAL;
	}
	for (unsigned i = 0; i < ret->count; i++)
		if (ret->limit[i].ms == s * 1000) {
			buf_printf(err, "names the period of %lld s twice", (long long)s);
			return -EINVAL;
		}
	ret->limit[ret->count].n = (unsigned)n;
	ret->limit[ret->count++].ms = s * 1000;
	return 0;
}

int
rate_parse(const char *text, struct rate_rule *ret, struct buf *err)
{
	struct str rest = str_of(text), one;
	int rc = 0;

	*ret = (struct rate_rule){.count = 0};
	while (rc == 0 && str_token(&rest, ", \t\r\n", &one))
		rc = parse_one(one, ret, err);
	return rc;
}

static void
ring_expire(struct rate_ring *g, int64_t now)
{
	while (g->used > 0 && g->mark[g->at].last + g->ms < now) {
		g->sum -= g->mark[g->at].n;
		g->at = (g->at + 1) % g->room;
		g->used--;
	}
}

static struct rate_mark *
ring_mark(const struct rate_ring *g, unsigned i)
{
	return &g->mark[(g->at + i) % g->room];
}

static void
ring_grow(struct rate_ring *g)
{
	unsigned room = g->room ? g->room * 2 : 4;
	struct rate_mark *to = mem_alloc(room * sizeof(*to));

	for (unsigned i = 0; i < g->used; i++)
		to[i] = *ring_mark(g, i);
	mem_free(g->mark);
	g->mark = to;
	g->at = 0;
	g->room = room;
}

static void
ring_add(struct rate_ring *g, int64_t at, uint64_t n)
{
	struct rate_mark *last;

	ring_expire(g, at);
	last = g->used > 0 ? ring_mark(g, g->used - 1) : NULL;
	g->sum += n;
	if (last && (at <= last->last || at - last->first < g->ms / RATE_PARTS ||
			g->used > RATE_PARTS + 1)) {
		last->n += n;
		if (at > last->last)
			last->last = at;
		return;
	}
	if (g->used == g->room)
		ring_grow(g);
	*ring_mark(g, g->used++) = (struct rate_mark){at, at, n};
}

static struct rate_ring *
ring_of(struct rate *r, int64_t ms)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->ring[i].ms == ms)
			return &r->ring[i];
	return NULL;
}

static const struct rate_ring *
longest(const struct rate *r)
{
	const struct rate_ring *best = NULL;

	for (unsigned i = 0; i < r->count; i++)
		if (best == NULL || r->ring[i].ms > best->ms)
			best = &r->ring[i];
	return best;
}

void
rate_follow(struct rate *r, const struct rate_rule *rule)
{
	struct rate to = {.count = rule->count, .running = r->running};

	for (unsigned i = 0; i < rule->count; i++) {
		struct rate_ring *own = ring_of(r, rule->limit[i].ms);
		const struct rate_ring *from = own ? own : longest(r);

		to.ring[i].ms = rule->limit[i].ms;
		for (unsigned k = 0; from && k < from->used; k++)
			ring_add(&to.ring[i], ring_mark(from, k)->last, ring_mark(from, k)->n);
	}
	rate_fini(r);
	*r = to;
}

void
rate_fini(struct rate *r)
{
	for (unsigned i = 0; i < r->count; i++)
		mem_free(r->ring[i].mark);
	*r = (struct rate){.count = 0};
}

/* When enough has gone for one more. */
static int64_t
ring_next(const struct rate_ring *g, uint64_t running, unsigned n)
{
	uint64_t sum = g->sum;

	for (unsigned i = 0; i < g->used; i++) {
		sum -= ring_mark(g, i)->n;
		if (running + sum < n)
			return ring_mark(g, i)->last + g->ms + 1;
	}
	return INT64_MAX;
}

int64_t
rate_next(struct rate *r, const struct rate_rule *rule, int64_t now, unsigned *which)
{
	int64_t when = 0;

	for (unsigned i = 0; i < rule->count; i++) {
		struct rate_ring *g = ring_of(r, rule->limit[i].ms);
		int64_t then = 0;

		if (g == NULL)
			continue;
		ring_expire(g, now);
		if (r->running + g->sum >= rule->limit[i].n)
			then = ring_next(g, r->running, rule->limit[i].n);
		if (then > when) {
			when = then;
			*which = i;
		}
	}
	return when;
}

void
rate_begin(struct rate *r)
{
	r->running++;
}

void
rate_end(struct rate *r, int64_t now)
{
	r->running -= r->running > 0;
	for (unsigned i = 0; i < r->count; i++)
		ring_add(&r->ring[i], now, 1);
}

void
rate_mark(struct rate *r, int64_t period_ms, int64_t at, uint64_t n)
{
	struct rate_ring *g = ring_of(r, period_ms);

	if (g == NULL && r->count < RATE_LIMITS_MAX) {
		g = &r->ring[r->count++];
		*g = (struct rate_ring){.ms = period_ms};
	}
	if (g)
		ring_add(g, at, n);
}

bool
rate_is_idle(struct rate *r, int64_t now)
{
	bool idle = r->running == 0;

	for (unsigned i = 0; i < r->count; i++) {
		ring_expire(&r->ring[i], now);
		idle = idle && r->ring[i].used == 0;
	}
	return idle;
}
