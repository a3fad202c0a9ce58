/*
 * dirs.h - the directories files of a queue are hashed to, open, for long rows of moves.
 */
#pragma once
#include "internal.h"

struct dirs_one;
struct dirs {
	const struct spool *spool;
	enum queue queue;
	struct dirs_one *set, *last;
	unsigned n;
};

void dirs_init(struct dirs *d, const struct spool *s, enum queue q);
void dirs_fini(struct dirs *d);
/* The directory of an id; the descriptor is valid until the next call. make: where it is missing.
 * ret_path, when not NULL: below the queue directory, as long as the descriptor. */
int dirs_get(struct dirs *d, const char *id, bool make, const char **ret_path);
/* Forgets all: one of them turned out to be no more. */
void dirs_forget(struct dirs *d);
