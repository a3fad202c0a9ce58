/*
 * walk.h - a scan that can be broken off and taken up again: for a listing whose reader is slow.
 * THREAD lanes and commands, one at a time.
 * OWNS   one open directory per hash level, until spool_walk_free.
 * ERRORS -errno; what vanishes meanwhile is passed over.
 * SEE    spool_scan_blk, which goes through in one call.
 */
#pragma once
#include "pp/spool/spool.h"

struct spool_walk;

struct spool_walk *spool_walk_new(const struct spool *s, enum queue q);
/* The next file with a valid id, in directory order: 1, 0 = there is no more, or -errno (ENOENT: no
 * such queue). Strings of *ret are valid until the next call. */
int spool_walk_next_blk(struct spool_walk *w, struct spool_entry *ret);
/* NULL is taken. */
void spool_walk_free(struct spool_walk *w);
