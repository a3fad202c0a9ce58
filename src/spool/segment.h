/*
 * segment.h - the journal while it is open: its segments, and what is on its way into one.
 * THREAD the journal's loop, but for what is done to a mail and its segment's references.
 * OWNS   a segment its descriptor and its mapping.
 * ERRORS -errno; nothing is logged here.
 * SEE    journal.h for the format.
 */
#pragma once
#include <sys/queue.h>
#include "journal.h"
#include "pp/runtime/snap.h"

enum {
	JOURNAL_PARTS = 3,   /* head and id, file, padding */
	JOURNAL_BATCH = 256, /* messages in one write */
};

struct segment {
	TAILQ_ENTRY(segment) link;
	struct snap snap; /* one reference for each message, and one while it is written to */
	struct post post;
	struct journal *journal;
	unsigned number;
	int fd;
	struct journal_head life;
	char *front;    /* head and map: pages of the file */
	uint32_t next;  /* unit */
	uint32_t ready; /* units that lie on the disk */
	bool is_wiped;  /* the map of this life is safe */
	bool is_free;
};

struct journal_mail {
	struct segment *segment;
	uint32_t unit;
	uint32_t n; /* bytes of the queue file, at `at` */
	off_t at;
};

/* Written, not synced yet. */
struct journal_run {
	struct journal_commit *commit[JOURNAL_BATCH];
	struct {
		struct journal_entry_head head;
		char id[SPOOL_ID_MAX];
	} entry[JOURNAL_BATCH];
	struct iovec part[JOURNAL_BATCH * JOURNAL_PARTS];
	size_t n;
	uint32_t first; /* unit */
};

struct journal {
	struct spool *spool;
	struct loop *loop;
	struct journal_options o;
	struct counter broken; /* 1 = an error of the disk: files from then on */
	struct counter used;   /* segments that are not free */
	uint64_t generation;   /* the last one; older ones are only those that were adopted */
	TAILQ_HEAD(, segment) segments; /* oldest first */
	struct segment *head;           /* the one that is written to, or NULL */
	unsigned count, limit, number;
	struct post *waiting, **last; /* commits */
	bool is_waiting;
	struct post flush;
	struct timer marks;
	bool is_marks_due;
	struct journal_run *run; /* from the first commit on */
};

static inline char *
segment_map(const struct segment *g)
{
	return g->front + JOURNAL_HEAD;
}

static inline off_t
segment_offset(uint32_t unit)
{
	return JOURNAL_FRONT + (off_t)unit * JOURNAL_UNIT;
}

/* Nobody needs it any more; any thread. */
void segment_unused(struct snap *snap);
void segment_free(struct segment *g);
/* Its front becomes memory. */
int segment_map_front(struct segment *g);
