/*
 * handles.c - a hash table of 32-bit numbers.
 *
 * The queue manager must know a million deferred messages in little memory, and uthash keeps 56
 * bytes of pointers in each element; here it is 4 bytes at a load of 3/8 to 3/4. Open addressing
 * with linear steps; a removal closes its gap, so there are no gravestones to be swept.
 */
#include "handles.h"
#include "pp/base/mem.h"

enum { FIRST_SIZE = 64 };

/* FNV-1a, mixed: names of one second differ in few bits. It guards nothing. */
uint32_t
handles_hash(struct str s)
{
	uint64_t h = 1469598103934665603u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return (uint32_t)(h >> 32);
}

static void
place(struct handles *t, uint32_t handle, uint32_t hash)
{
	uint32_t at = hash & t->mask;

	while (t->place[at] != 0)
		at = (at + 1) & t->mask;
	t->place[at] = handle + 1;
}

/* In the order of the numbers: what they stand for is met as it lies in memory, which for a million
 * is the faster way. */
static void
grow(struct handles *t)
{
	uint32_t hash, size = t->place ? t->mask + 1 : 0;

	mem_free(t->place);
	t->mask = (size ? size * 2 : FIRST_SIZE) - 1;
	t->place = mem_alloc(((size_t)t->mask + 1) * sizeof(*t->place));
	for (uint32_t i = 0; i < t->top; i++)
		if (t->hash(t->owner, i, &hash))
			place(t, i, hash);
}

void
handles_add(struct handles *t, uint32_t handle, uint32_t hash)
{
	bool is_full = t->place == NULL || t->n >= (t->mask + 1) / 4 * 3;

	t->n++;
	if (handle >= t->top)
		t->top = handle + 1;
	if (is_full)
		grow(t); /* with this one */
	else
		place(t, handle, hash);
}

void
handles_drop(struct handles *t, uint32_t handle, uint32_t hash)
{
	uint32_t gap = hash & t->mask, at;

	while (t->place[gap] != handle + 1)
		gap = (gap + 1) & t->mask;
	/* Whoever stands behind the gap and might have stood in it moves up. */
	for (at = (gap + 1) & t->mask; t->place[at] != 0; at = (at + 1) & t->mask) {
		uint32_t home = 0;

		t->hash(t->owner, t->place[at] - 1, &home);
		home &= t->mask;
		if (((at - home) & t->mask) < ((at - gap) & t->mask))
			continue;
		t->place[gap] = t->place[at];
		gap = at;
	}
	t->place[gap] = 0;
	if (--t->n == 0)
		handles_fini(t);
}

void
handles_fini(struct handles *t)
{
	mem_free(t->place);
	t->place = NULL;
	t->n = t->mask = t->top = 0;
}
