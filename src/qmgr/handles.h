/*
 * handles.h - a hash table of numbers: where in an array of the owner's the thing lies.
 * THREAD the owner's.  OWNS its places; what the numbers mean is the owner's.
 * ERRORS none.
 */
#pragma once
#include <stdint.h>
#include "pp/base/str.h"

struct handles {
	uint32_t *place;       /* 0 = free, else handle + 1 */
	uint32_t n, mask, top; /* top: above all handles there ever were */
	/* The hash an owner keeps with the thing: asked for when the table grows or closes a gap.
	 * False: there is none of that number. The one that is being added is there already. */
	bool (*hash)(const void *owner, uint32_t handle, uint32_t *ret);
	const void *owner;
};

#define HANDLES_NONE UINT32_MAX

uint32_t handles_hash(struct str s);
void handles_add(struct handles *t, uint32_t handle, uint32_t hash);
void handles_drop(struct handles *t, uint32_t handle, uint32_t hash);
void handles_fini(struct handles *t);

/* Those that may have this hash, one after the other; HANDLES_NONE ends. *at = hash at first. */
static inline uint32_t
handles_next(const struct handles *t, uint32_t *at)
{
	uint32_t found;

	if (t->place == NULL)
		return HANDLES_NONE;
	found = t->place[*at & t->mask];
	++*at;
	return found == 0 ? HANDLES_NONE : found - 1;
}
