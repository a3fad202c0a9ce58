/*
 * listing_notes.h - what a listing remembers of single messages while others move.
 * THREAD the owner's.  OWNS the notes; a reason is the caller's.
 * ERRORS none: beyond a hundred thousand nothing more is noted.
 * SEE    listing.c.
 */
#pragma once
#include <stdbool.h>
#include "pp/base/hash.h"

struct note {
	UT_hash_handle hh;
	bool is_shown;
	const char *reason; /* why it waits for a rate, or NULL */
	char id[];
};

/* NULL = there is none. */
struct note *note_find(struct note *notes, const char *id);
/* The one there is, or a new one; NULL when there are too many. */
struct note *note_add(struct note **notes, const char *id);
void note_drop(struct note **notes, struct note *n);
void note_forget_all(struct note **notes);
