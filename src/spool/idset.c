/*
 * idset.c - a set of queue ids in some sixteen bytes each.
 *
 * To know which of a million names are in another queue takes one walk over each this way, and
 * no system call per name. Numbers stand for the ids, so who would do harm by taking one id for
 * another asks the file system as well.
 */
#include "idset.h"

enum { FIRST_SIZE = 1024 };

/* FNV-1a, mixed; never 0. */
static uint64_t
number_of(const char *id)
{
	uint64_t h = 1469598103934665603u;

	for (; *id; id++)
		h = (h ^ (unsigned char)*id) * 1099511628211u;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	h ^= h >> 32;
	return h ? h : 1;
}

/* Where it stands, or the free place where it would. */
static size_t
find(const struct idset *set, uint64_t number)
{
	size_t at = (size_t)number & (set->size - 1);

	while (set->place[at] != 0 && set->place[at] != number)
		at = (at + 1) & (set->size - 1);
	return at;
}

static void
grow(struct idset *set)
{
	struct idset old = *set;

	set->size = old.size ? old.size * 2 : FIRST_SIZE;
	set->place = mem_alloc(set->size * sizeof(*set->place));
	for (size_t i = 0; i < old.size; i++)
		if (old.place[i] != 0)
			set->place[find(set, old.place[i])] = old.place[i];
	mem_free(old.place);
}

void
idset_add(struct idset *set, const char *id)
{
	uint64_t number = number_of(id);
	size_t at;

	if (set->n >= set->size / 4 * 3)
		grow(set);
	at = find(set, number);
	set->n += set->place[at] == 0;
	set->place[at] = number;
}

bool
idset_has(const struct idset *set, const char *id)
{
	return set->n > 0 && set->place[find(set, number_of(id))] != 0;
}

void
idset_fini(struct idset *set)
{
	mem_free(set->place);
	*set = (struct idset){0};
}
