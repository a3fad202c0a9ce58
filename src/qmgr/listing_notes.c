/*
 * listing_notes.c - notes on messages, by their ids.
 *
 * A listing of a million keeps none of most of them: it notes what is active or on its way there,
 * which is what may be met in two places, or in none.
 */
#include <string.h>
#include "listing_notes.h"

enum { NOTES_MAX = 100000 }; /* some 10 MB */

struct note *
note_find(struct note *notes, const char *id)
{
	struct note *n;

	HASH_FIND_STR(notes, id, n);
	return n;
}

struct note *
note_add(struct note **notes, const char *id)
{
	struct note *n = note_find(*notes, id);

	if (n || HASH_COUNT(*notes) >= NOTES_MAX)
		return n;
	n = mem_alloc(sizeof(*n) + strlen(id) + 1);
	memcpy(n->id, id, strlen(id) + 1);
	HASH_ADD_KEYPTR(hh, *notes, n->id, strlen(n->id), n);
	return n;
}

void
note_drop(struct note **notes, struct note *n)
{
	HASH_DEL(*notes, n);
	mem_free(n);
}

void
note_forget_all(struct note **notes)
{
	struct note *n, *next;

	HASH_ITER (hh, *notes, n, next)
		note_drop(notes, n);
}
