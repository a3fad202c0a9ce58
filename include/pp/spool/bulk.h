/*
 * bulk.h - whole queues at once: moved, expired, deleted.
 * THREAD bulk_*_blk: lanes and commands.
 * OWNS   nothing between two calls; what a deletion left to be unlinked lies in deleted/.
 * ERRORS 0 or -errno of what ended the walk. What fails for one file is told, and the others go on;
 *        that a file has gone meanwhile is no failure.
 *
 * Deleting is in two steps, because unlinking takes ten times as long as moving: first the mail is
 * taken out of its queue into deleted/, each by one rename, or a whole hash directory by one. That
 * is what counts, for everybody. Then deleted/ is purged, and the logs of what is in it with it; by
 * whom and when does not matter: a purge that was killed is gone on with by the next.
 */
#pragma once
#include "pp/spool/spool.h"

struct bulk {
	const struct spool *spool;
	bool live; /* a daemon runs: a half-written file may still become mail */
	/* The caller has the lock of pair.h alone, and a daemon that runs knows of pairs. */
	bool alone;
	bool (*stop)(void *ctx); /* or NULL: ends a move early, asked on the caller's thread */
	void (*failed)(void *ctx, enum queue q, const char *id, int rc); /* or NULL */
	void *ctx;
};

/* Every message of `from` to where it is hashed in `to`; mtime < 0 leaves it. Adds to *count. One
 * that a killed move has left with a name in both is moved to its end, if we are alone. */
int
bulk_move_blk(const struct bulk *b, enum queue from, enum queue to, int64_t mtime, int64_t *count);
/* Marks those of q that are not marked yet, as postsuper -e. */
int bulk_expire_blk(const struct bulk *b, enum queue q, int64_t *count);
/* Takes every message of q out of it. Where there is no deleted/, or where it cannot be used, the
 * files are unlinked, logs and all. Counts as Postfix: what was ready. */
int bulk_delete_blk(const struct bulk *b, enum queue q, int64_t *count);

/* Makes deleted/ where it is missing: for root, before it becomes the owner. */
int bulk_prepare_blk(const struct spool *s, uid_t uid, gid_t gid);
/* Is there something to purge? */
bool bulk_purge_needed_blk(const struct spool *s);
/* The logs of what lies in deleted/ alone, so that only there is something left to be freed. */
int bulk_purge_logs_blk(const struct spool *s, unsigned threads);
/* Unlinks what lies in deleted/, but for what a deletion or a purge is at work on. Names that are
 * no mail are put back. stop (or NULL) is asked now and then, on the caller's thread. */
int bulk_purge_blk(const struct spool *s, unsigned threads, bool (*stop)(void *ctx), void *ctx);
