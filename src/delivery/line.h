/*
 * line.h - the log line of one recipient, as text.
 * THREAD any; pure.  OWNS nothing.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/delivery/delivery.h"

enum { DELIVERY_LINE_MAX = 8192, DELIVERY_RESOLUTION = 2 /* delay_logging_resolution_limit */ };

/* now_us: counts when d->transmit_us is 0. */
void delivery_line(
    const struct delivery *d, const struct delivery_rcpt *r, int64_t now_us, struct buf *to);
/* filter.c: asks, then delivery_settled. */
void delivery_filter(struct delivery *d, struct delivery_rcpt *r);
/* Its status is what it will be: the log. */
void delivery_settled(struct delivery *d, struct delivery_rcpt *r);
