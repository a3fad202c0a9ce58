/*
 * rate.h - "30/60s, 10000/1d": no more than so many in any period of that length. Pure.
 * THREAD one at a time.  OWNS what rate_fini frees.
 * ERRORS rate_parse says what is wrong.
 *
 * What is limited is what the receiver sees, and all we know of that is between the beginning of a
 * delivery and its end. So one counts from its beginning until the period after its end is over:
 * whatever happened in between, no period at the receiver holds more.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "pp/base/buf.h"

enum {
	RATE_LIMITS_MAX = 4,
	RATE_PARTS = 64, /* of a period: what ended in the same one is kept as one number */
};

struct rate_rule {
	struct {
		unsigned n;
		int64_t ms;
	} limit[RATE_LIMITS_MAX];
	unsigned count;
};

struct rate_mark {
	int64_t first, last; /* ms of a clock that never steps */
	uint64_t n;
};

/* The ends of one period. */
struct rate_ring {
	int64_t ms;
	struct rate_mark *mark;
	unsigned at, used, room;
	uint64_t sum;
};

struct rate {
	struct rate_ring ring[RATE_LIMITS_MAX];
	unsigned count;
	unsigned running;
};

/* 0, or -EINVAL with the reason. "" = no limit. */
int rate_parse(const char *text, struct rate_rule *ret, struct buf *err);
/* Periods that r has already keep what they know; others begin with what the longest one knows. */
void rate_follow(struct rate *r, const struct rate_rule *rule);
void rate_fini(struct rate *r);

/* 0 = one may begin now; else when it may; INT64_MAX: after one of the running has ended. which:
 * the limit that says so. */
int64_t rate_next(struct rate *r, const struct rate_rule *rule, int64_t now, unsigned *which);
void rate_begin(struct rate *r);
/* now: not before the end, whatever clock is used. */
void rate_end(struct rate *r, int64_t now);
/* So many ended at that time in the period of this length, and are known from elsewhere. */
void rate_mark(struct rate *r, int64_t period_ms, int64_t at, uint64_t n);
/* Nothing counts any more. */
bool rate_is_idle(struct rate *r, int64_t now);
