/*
 * hand.h - files that an administrator moved, copied or removed: where they are, and what to do.
 * THREAD hand_*_blk: lanes.  OWNS nothing.
 * ERRORS -errno.
 */
#pragma once
#include "pp/spool/spool.h"

enum { HAND_QUEUES = QUEUE_HOLD + 1 }; /* those that hold mail */

struct hand_places {
	unsigned found; /* 1 << queue, of all in which there is a file of this id */
	struct stat st[HAND_QUEUES];
};
/* Looks at the hash path and at the other depths of the id's own letters. */
void hand_places_blk(const struct spool *s, const char *id, struct hand_places *ret);
/* A second file of an id: into hold under a new id, so that it is neither lost nor sent. Where it
 * lies in q, or at `path` if that is not NULL. */
int hand_set_aside_blk(
    struct spool *s, enum queue q, const char *id, const char *path, char new_id[SPOOL_ID_MAX]);
/* To where it is hashed, from wherever it lies in q. 1 = moved, 0 = it lies there. */
int hand_put_right_blk(const struct spool *s, enum queue q, const char *id);
/* The directories of q, each before those below it; a non-zero answer ends the walk. */
int hand_directories_blk(
    const struct spool *s, enum queue q, int (*each)(void *ctx, const char *path), void *ctx);
