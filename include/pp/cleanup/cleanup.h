/*
 * cleanup.h - envelope and content in, a queue file out. Every message enters the spool here.
 * THREAD the loop that made it.
 * OWNS   the cleanup frees itself after done, or in cleanup_abort.
 * ERRORS one struct status, the reply to the sender: the first trouble sticks and content after it
 *        is swallowed.
 * SEE    RFC 5321 3.6.3 and 4.4, RFC 5322 3.6; tests/corpus for the order of records.
 *
 * Fed by smtpd, pickup and bounce. Order: cleanup_new, cleanup_sender, cleanup_rcpt..., then
 * cleanup_content, cleanup_line..., cleanup_end.
 */
#pragma once
#include "pp/config/config.h"
#include "pp/mail/envelope.h"
#include "pp/mail/status.h"
#include "pp/route/route.h"
#include "pp/spool/writer.h"

struct cleanup;

/* What all messages of one configuration share. Refcounts are taken. */
struct cleanup_setup {
	struct spool *spool;
	struct config *config;
	struct route *route;
};
/* A copy with references of its own, and its end. */
void cleanup_setup_ref(struct cleanup_setup *to, const struct cleanup_setup *from);
void cleanup_setup_unref(struct cleanup_setup *s);

/* The id exists from the start: cleanup_id. */
struct cleanup *cleanup_new(const struct cleanup_setup *setup);
const char *cleanup_id(const struct cleanup *c);
/* Where it came from and the sender's MAIL parameters: sender, fullname, envid, ret, encoding,
 * utf8, arrival_us (0 = now), trace_flags, verp, filter, sasl_*, origin of `e` are used; strings
 * are copied. Recipients in it are ignored. origin.client_address set = by SMTP; else fullname set
 * ("" = none known) = a local submission; else made here (a notice: no size limit, always
 * completed). */
void cleanup_sender(struct cleanup *c, const struct envelope *e);
/* address, orig (NULL = address), orcpt, notify are used. Also after the last cleanup_line: the
 * recipients that sendmail -t found in the header belong behind the content. */
void cleanup_rcpt(struct cleanup *c, const struct recipient *r);
/* Without the duplicates, which are left out. */
size_t cleanup_rcpt_count(const struct cleanup *c);
/* Ends the envelope. `received` = the whole trace header field without final line end, lines
 * separated by \n; NULL for bounces, which get none. */
void cleanup_content(struct cleanup *c, const char *received);
/* A piece of a line, at most line_length_limit bytes; last = the line ends here. */
void cleanup_line(struct cleanup *c, struct str piece, bool last);
/* To be put on hold instead of delivered. Any time before the end. */
void cleanup_hold(struct cleanup *c);

/* Backpressure, as writer.h: on_drain only while cleanup_full. */
bool cleanup_full(const struct cleanup *c);
void cleanup_on_drain(struct cleanup *c, void (*drained)(void *ctx), void *ctx);

/* The content is complete. done comes once: cls STATUS_OK = it is safe on disk and ours; else the
 * reply (552 5.3.4, 554 5.4.0, 452 4.3.1, 451 4.3.0 ...). id and status are valid during the
 * callback; afterwards c is gone. */
void cleanup_end(
    struct cleanup *c, void (*done)(void *ctx, const struct status *st, const char *id), void *ctx);
/* Before the end: told of the commit before anybody else is (receipts.h). */
struct intake;
void cleanup_intake(struct cleanup *c, struct intake *h);
void cleanup_abort(struct cleanup *c);
/* Trouble known so far, or NULL: a caller may reply early. */
const struct status *cleanup_trouble(const struct cleanup *c);

/* "Sat, 21 Nov 2026 21:16:28 +0000 (UTC)": the time of trace and Date headers, local zone. */
struct cleanup_date {
	char text[64];
};
struct cleanup_date cleanup_date(int64_t seconds);
