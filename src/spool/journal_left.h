/*
 * journal_left.h - what a run that ended has left in the journal, read entry by entry.
 * THREAD the owner's; *_blk only.  OWNS its list and one segment's memory.
 * ERRORS -errno; nothing is logged here.
 * SEE    journal.h for the format.
 */
#pragma once
#include "idset.h"
#include "journal.h"

enum { JOURNAL_OLD_MAX = 4096 };

struct journal_old {
	unsigned number;
	struct journal_head head;
};

struct journal_left {
	const struct spool *spool;
	struct journal_old old[JOURNAL_OLD_MAX]; /* the oldest first */
	size_t n;
	unsigned damaged;   /* segments that were set aside */
	char *segment;      /* the one that is read */
	struct idset filed; /* names in the queues, once one was asked for */
	bool knows_filed;
};

/* Good until the next segment is read. */
struct journal_left_entry {
	char id[SPOOL_ID_MAX];
	uint32_t unit;
	struct str file; /* the queue file as it was committed */
	char *map;       /* its bytes of the map, as many as it has units */
	size_t units;
};

/* Each segment by its number: not 0 = enough, and the answer. */
int
journal_each_segment_blk(const struct spool *s, int (*each)(void *ctx, unsigned number), void *ctx);
/* Sets aside what is no segment of ours. *ret may be had on an error, too. */
int journal_left_new_blk(const struct spool *s, struct journal_left **ret);
void journal_left_free(struct journal_left *l);
/* Each entry of that segment that is not done. */
int journal_left_each_blk(struct journal_left *l, const struct journal_old *o,
    int (*each)(void *ctx, struct journal_left_entry *e), void *ctx);
/* Its file with the recipients done that are marked. *memory is empty, or to be freed. */
int journal_left_file(const struct journal_left_entry *e, struct buf *memory, struct str *ret_file);
/* Does a file have it? 1, 0, or -errno. Half of one is removed. */
int journal_left_is_file_blk(struct journal_left *l, const char *id, struct str file);
