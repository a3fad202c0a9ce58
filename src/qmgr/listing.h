/*
 * listing.h - a listing under way. listing.c goes through the queues, listing_read.c reads them.
 * THREAD the queue manager's loop, but for what is a job's while that is out.
 * OWNS   see there.  ERRORS none.
 * SEE    include/pp/spool/listing.h, for what is shown.
 */
#pragma once
#include "internal.h"
#include "listing_notes.h"

enum {
	LISTING_PIECE = 64 * 1024,
	LISTING_PIECE_FULL = LISTING_PIECE - 2048, /* what comes next would rarely fit */
	LISTING_FILES = 64,                        /* read by one job for their ids */
	LISTING_WAITS_MAX = 250, /* times: who changes files without end gets what there is */
};

struct qmgr_listing {
	struct qmgr *q;
	struct loop *home;
	bool extended;
	/* home's */
	bool closed;
	void (*piece)(void *ctx, struct buf *bytes, bool last);
	void *ctx;
	/* the queue manager's */
	LIST_ENTRY(qmgr_listing) link;
	struct post post; /* the first, the next slice, and the last */
	struct timer timer;
	unsigned waited; /* for looks, times */
	unsigned wanted; /* pieces */
	bool sliced;     /* a slice is to come */
	bool working;    /* a job is out */
	bool finished, ended;
	const enum queue *queue; /* in listing_queues */
	uint32_t slot;
	struct buf out;
	/* the job's, while it is out */
	struct lane_job job;
	struct listing_reader *reader;
	struct listing_walk *walk; /* of the queue it is at */
	int64_t walk_began;        /* ms of the loop */
	struct note *seen;         /* shown from files, or from the active ones */
	struct note *rated;        /* what waits for its turn at a rate, and the words for it */
	struct arena rated_arena;
	bool from_files; /* deferred mail, too: memory does not have it yet */
	size_t ids;      /* messages whose details are in their files */
	struct listing_id {
		enum queue queue;
		char id[SPOOL_ID_MAX];
	} id[LISTING_FILES];
	size_t lost; /* of these: not there any more */
	struct listing_id lost_id[LISTING_FILES];
	/* the queue manager's again */
	struct note *moved; /* into active/ or out of it, since the walk over it began */
};

enum listing_found { LISTING_MORE, LISTING_WAIT, LISTING_END };

/* Before the walk of active/: what waits for its turn at a rate. */
void listing_find_rated(struct qmgr_listing *l);
/* Lane: some of the queue it is at, or the files of l->id. */
void listing_read_work(struct lane_job *job);
/* Behind the walk of active/: what it cannot have seen. */
void listing_put_young(struct qmgr_listing *l);
/* A piece of deferred mail from memory. */
enum listing_found listing_memory(struct qmgr_listing *l);
/* Behind all walks: a piece of what has moved past them. */
enum listing_found listing_moved(struct qmgr_listing *l);
