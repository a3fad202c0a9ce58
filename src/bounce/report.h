/*
 * report.h - the text of a notice: multipart/report of RFC 3462 and 3464. Pure.
 * THREAD any.  OWNS nothing.
 * ERRORS the buffer's.
 */
#pragma once
#include "pp/bounce/bounce.h"
#include "pp/spool/deferlog.h"

struct report {
	enum bounce_kind kind;
	bool expired;
	bool headers_only; /* of the original */
	const char *id;    /* of the original */
	const char *myhostname, *myorigin, *mail_name;
	const struct envelope *envelope;
	const struct deferlog_entry *entries;
	size_t n;
	int64_t now;         /* seconds; part of the boundary and the Date field */
	int64_t retry_until; /* seconds, for delays */
};

/* Header and all parts up to where the original begins, lines ended by \n. */
void report_head(const struct report *r, struct buf *to);
/* The closing boundary. */
void report_tail(const struct report *r, struct buf *to);
/* "<a@b>: reason", cut in lines of at most 79 bytes, further lines indented by four blanks. */
void report_wrap(struct buf *to, struct str text);
/* The first word of the log line: "sender non-delivery" ... */
const char *report_name(enum bounce_kind kind);
