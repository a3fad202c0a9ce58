/*
 * idset.h - which ids were met, as numbers of 64 bits.
 * THREAD the owner's.  OWNS its places.
 * ERRORS none. Two ids of one number are possible, and taken for the same.
 */
#pragma once
#include "internal.h"

struct idset {
	uint64_t *place; /* 0 = free */
	size_t n, size;
};

void idset_add(struct idset *set, const char *id);
bool idset_has(const struct idset *set, const char *id);
void idset_fini(struct idset *set);
