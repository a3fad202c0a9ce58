/*
 * bounce.h - who is told what, when: non-delivery, delay and success reports (RFC 3464).
 * THREAD the loop that asks (qmgr); files are read on the disk lane; the notice goes through
 * cleanup. OWNS   the request frees itself after done. ERRORS done(ctx, 0 or -errno): on an error
 * nothing was sent and the logs are kept: try again; -EBADMSG = it will always be refused. SEE RFC
 * 3461 6, RFC 3464, bounce(5) of Postfix.
 */
#pragma once
#include "pp/cleanup/cleanup.h"

enum bounce_kind { BOUNCE_FAILURE, BOUNCE_DELAY, BOUNCE_SUCCESS };

struct bounce_request {
	const char *id; /* of the message in active/ */
	const struct envelope *envelope;
	enum bounce_kind kind;
	bool expired; /* recipients come from the defer log, not the bounce log */
};

/* Reads the log, writes the notice into incoming/, logs "ID: sender non-delivery notification:
 * NEW", removes the log. A null sender, or nobody who wants to know (NOTIFY), ends at once with 0.
 */
void bounce_send(const struct cleanup_setup *setup, struct lane *disk,
    const struct bounce_request *req, void (*done)(void *ctx, int rc), void *ctx);
/* Does this recipient want a notice of this kind? RFC 3461 4.1. */
bool bounce_wanted(unsigned notify, enum bounce_kind kind);
