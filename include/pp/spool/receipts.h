/*
 * receipts.h - who has received what of the deliveries that run: notes that outlive a kill.
 * THREAD receipts_new, receipt_new and receipt_drop: the loop that schedules; receipt_sign: who has
 *        the delivery. *_blk: before and after all loops, and commands.
 * OWNS   a receipt is its holder's until receipt_drop.
 * ERRORS -errno; nothing is logged here.
 * SEE    delivery.h for who signs, pennypost-internals(7) for the order of things.
 *
 * Between the final reply of a receiver and the moment when that is written down where it belongs,
 * in the journal or the queue file, lie other threads and the disk. The note lies in memory that is
 * a page of a file, so it is made by one store, without a system call, by the thread that has read
 * the reply. It is not synced: a loss of power may take it back.
 */
#pragma once
#include "pp/mail/envelope.h"
#include "pp/spool/spool.h"

struct receipts;

/* Of one delivery. */
struct receipt {
	struct receipt *next; /* the holder's: a list */
	struct receipt *more; /* the part that is behind this one */
	struct receipts *all;
	unsigned slot; /* of the file */
};

/* At start, when receipts_replay_blk has removed what was there. From here on the ids of the spool
 * are remembered in that file, too. */
int receipts_new_blk(struct spool *s, struct receipts **ret);
/* The file stays, for receipts_replay_blk. NULL is taken. */
void receipts_free(struct receipts *rs);

/* For n recipients of a message; the places of their records are copied. NULL when there is no room
 * for it, and from NULL. */
struct receipt *
receipt_new(struct receipts *rs, const char *id, struct recipient *const *rcpt, size_t n);
/* The receiver has it: recipient n of those. Another time changes nothing. */
void receipt_sign(struct receipt *r, size_t n);
/* It is written down where it belongs. The whole list; NULL is taken. */
void receipt_drop(struct receipt *r);

/* A file of maildrop on its way into the queue: so that a kill does not have it taken in twice. */
struct intake;
/* The loop of pickup. It becomes the message of this id. NULL when there is no room. */
struct intake *intake_new(struct spool *s, const char *file, const struct stat *st, const char *id);
/* The message is committed, and nobody has been told of it yet. NULL is taken. */
void intake_done(struct intake *h);
/* The file is gone, or stays one. NULL is taken. */
void intake_drop(struct intake *h);

/* Did a run that was killed leave any? */
bool receipts_left_blk(const struct spool *s);
/* Under the spool's lock: recipients who have signed are marked done in the queue files, wherever
 * these are now; who asked for a notice of success gets it. Files of maildrop whose message is
 * committed are removed. Then the receipts are. */
int receipts_replay_blk(const struct spool *s);
