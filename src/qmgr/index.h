/*
 * index.h - the index of deferred mail: when each is due, and what a listing says of it.
 * THREAD the owner's.  OWNS everything in it.
 * ERRORS none. index_keep keeps nothing when it would be too much: then the file is read.
 */
#pragma once
#include "details.h"

enum {
	INDEX_SHORT_ID = 16,                 /* with its NUL: all but long ids of large inodes */
	INDEX_DETAILS_MAX = 76 * 1024 * 1024 /* a million fit in 150 MiB, process and all */
};

/* One message: 48 bytes. With its place in heap and table, and details of fifty bytes, it takes
 * some 125 in all. */
struct qmgr_deferred {
	int64_t when : 37;       /* seconds of the next attempt */
	uint64_t is_flushed : 1; /* somebody wants it tried now */
	uint64_t is_asked : 1;   /* by its site or its id: its destination is revived for it */
	uint64_t is_held : 1;    /* it was due, and its destination could not have it */
	uint64_t generation : 8; /* of the last scan that saw it */
	uint64_t details_n : 11;
	uint64_t is_long : 1;    /* the id is long.p */
	uint64_t is_wanted : 1;  /* its details are to be read */
	uint64_t loading : 2;    /* the batch that they are being read in, or 0 */
	uint64_t is_expired : 1; /* they say that it was told to expire */
	char *details;           /* NULL = not in memory */
	union {
		char id[INDEX_SHORT_ID];
		char *long_id;
	};
	uint32_t hash;
	uint32_t waits_for; /* of strings, + 1: the destination it waits for; 0 = its time alone */
	union {
		uint32_t held_since; /* is_held: seconds, modulo 2^32 */
		uint32_t put_off;    /* otherwise: the first news that calls it */
	};
	uint32_t heap_at; /* or, of a free one: the next free + 1 */
};

struct index {
	struct qmgr_deferred **chunk;
	uint32_t chunks, used, free; /* free: the first + 1 */
	uint32_t count;
	uint32_t *heap; /* slots; .n = count */
	uint32_t heap_room;
	struct handles table;
	struct intern strings;
	size_t details_bytes, details_max;
};

void index_init(struct index *ix);
void index_fini(struct index *ix);
struct qmgr_deferred *index_find(const struct index *ix, const char *id);
/* It must not be there yet. The pointer is good until this one is dropped. */
struct qmgr_deferred *index_add(struct index *ix, const char *id, int64_t when);
void index_move(struct index *ix, struct qmgr_deferred *d, int64_t when);
void index_drop(struct index *ix, struct qmgr_deferred *d);
/* Who is due first; NULL = there is none. */
struct qmgr_deferred *index_first(const struct index *ix);
/* NULL or "": nothing but its time. */
void index_wait_for(struct index *ix, struct qmgr_deferred *d, const char *key);
/* How many wait for it. */
uint32_t index_waiting(const struct index *ix, const char *key, uint32_t *ret_handle);
/* All that are due later are due at `when`. */
void index_all_due(struct index *ix, int64_t when);

/* A walk: slots 0 .. index_slots() - 1, each NULL or a message, which keeps its slot. */
uint32_t index_slots(const struct index *ix);
struct qmgr_deferred *index_at(const struct index *ix, uint32_t slot);
uint32_t index_slot(const struct index *ix, const struct qmgr_deferred *d);

void index_keep(struct index *ix, struct qmgr_deferred *d, const struct listing *l);
void index_unkeep(struct index *ix, struct qmgr_deferred *d);
/* What was kept, with all of struct listing set. */
void index_listing(
    const struct index *ix, const struct qmgr_deferred *d, struct arena *a, struct listing *ret);

static inline const char *
index_id(const struct qmgr_deferred *d)
{
	return d->is_long ? d->long_id : d->id;
}
