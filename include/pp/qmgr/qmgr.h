/*
 * qmgr.h - the queue manager: which message is active, which destination works, when to try again.
 * THREAD everything inside lives on the qmgr loop. Functions marked "any" post to it.
 * OWNS   all struct qmgr_*; no other thread ever sees one.
 * ERRORS logged by qmgr; a damaged file goes to corrupt/.
 * SEE    qmgr(8) of Postfix for the meaning of the parameters, pennypost-internals(7).
 */
#pragma once
#include "pp/cleanup/cleanup.h"
#include "pp/delivery/delivery.h"

struct qmgr;
struct receipts;
struct journal_kept;

struct qmgr_agent {
	const struct delivery_agent *agent;
	void *const *ctx; /* one per io loop */
};

struct qmgr_options {
	struct loop *loop;
	struct cleanup_setup setup;
	struct lane *disk;
	struct lane *slow;       /* tables of routes */
	struct lane *background; /* two threads: files read for listings, and for the index */
	struct loop *const *io;
	unsigned io_count;
	const struct qmgr_agent *agents;
	size_t agent_count;
	const char *rates_file;    /* NULL: limits of rates do not outlive the run */
	struct receipts *receipts; /* or NULL: then a kill may deliver a little more twice */
	struct journal_kept *kept; /* mail of a run that was killed, or NULL; the queue manager's */
};

struct qmgr *qmgr_new(const struct qmgr_options *o);
/* qmgr loop: recovers active/ into incoming/, scans, delivers. */
void qmgr_start(struct qmgr *q);
/* any: a message was committed. Takes ownership. */
void qmgr_arrive(struct qmgr *q, struct spool_arrival *a);
/* any: new configuration; running deliveries keep the old one. */
void qmgr_reload(struct qmgr *q, const struct cleanup_setup *setup);

enum qmgr_command_kind {
	QMGR_FLUSH, /* everything deferred, dead destinations forgiven */
	QMGR_FLUSH_ID,
	QMGR_FLUSH_SITE,
	QMGR_CHANGING, /* a command is at work on whole queues, until QMGR_CHANGED */
	QMGR_CHANGED,  /* the file of `arg` was moved, removed, changed by a command; "" = many were
			*/
	QMGR_SUPER,    /* "ACTION ID" or "ACTION ALL", ACTION = delete hold requeue expire: what is
			* active; answer: how many were taken */
	QMGR_COUNTS,   /* answer: "incoming N active N deferred N deliveries N" */
};
/* any: answer(ctx, text) comes on the loop that asked. */
void qmgr_command(struct qmgr *q, enum qmgr_command_kind kind, const char *arg,
    void (*answer)(void *ctx, const char *text), void *ctx);

/* A listing of the whole queue, in pieces of at most 64 KiB as the client takes them: Postfix's
 * showq protocol, or the extended one of spool/listing.h. The loop that asks owns it: piece() is
 * called there, never inside a call of these, and may take the bytes by emptying the buffer. last:
 * nothing more comes, and where the queue manager is stopping the protocol has no end. The first
 * two pieces come unasked, then one for each qmgr_listing_more. It is freed at any time, by its
 * owner, before the loop of the queue manager ends. */
struct qmgr_listing;
struct qmgr_listing *qmgr_listing_new(struct qmgr *q, bool extended,
    void (*piece)(void *ctx, struct buf *bytes, bool last), void *ctx);
void qmgr_listing_more(struct qmgr_listing *l);
void qmgr_listing_free(struct qmgr_listing *l);

/* any: start no delivery any more; stopped(ctx) on the loop that asked, when the running ones have
 * ended or after deadline_ms; what is unfinished stays in the spool. */
void qmgr_stop(struct qmgr *q, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx);
void qmgr_free(struct qmgr *q); /* after its loop has ended */

/* What of a configuration only the queue manager can judge: 0, or "PARAMETER: what is wrong". */
int qmgr_check(const struct config *cfg, struct buf *err);

/* Events for tests and watchers: "queued ID", "active ID", "deferred ID", "removed ID",
 * "bounced ID", "corrupt ID", "held ID", "requeued ID"; of what is done by hand: "adopted ID",
 * "changed ID", "gone ID", "taken ID", "unusable ID". Called on the qmgr loop. Set before
 * qmgr_start. */
void qmgr_on_event(struct qmgr *q, void (*event)(void *ctx, const char *line), void *ctx);
/* any: events are made only while somebody watches. */
void qmgr_watch(struct qmgr *q, bool on);
