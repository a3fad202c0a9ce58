/*
 * crew.h - the same work on many pieces, by several threads, taken by the caller in order.
 * THREAD any that may block: lanes and commands. make and take run on the caller's thread, work
 *        on any thread of the crew, the caller's included.
 * OWNS   nothing: the pieces are the caller's memory, numbered 0 .. pieces - 1. A piece belongs to
 *        make, then to one work, then to take, and is then made anew: none of it needs a lock.
 * ERRORS what make or take answer.
 */
#pragma once
#include "pp/base/assert.h"

struct crew {
	unsigned threads; /* in all; 0 and 1: the caller's alone */
	unsigned pieces;  /* at most so many are made and not yet taken */
	/* Fills a piece: 1 = made, 0 = there is no more, or -errno. */
	int (*make)(void *ctx, unsigned piece);
	void (*work)(void *ctx, unsigned piece);
	/* In the order of making. Non-zero ends. */
	int (*take)(void *ctx, unsigned piece);
	void *ctx;
};

/* 0, the -errno of make (what was made before is taken first), or what take answered: what was
 * made after that is not taken, and may or may not have been worked on. No thread is left. */
int crew_run_blk(const struct crew *c);
/* How many threads reading or moving files are worth having here. */
unsigned crew_threads(void);
