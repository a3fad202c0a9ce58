/*
 * index.c - a million deferred messages in memory: slots, a hash table, a heap, details.
 *
 * base/hash.h and base/heap.h keep their handles in the element, 80 bytes and three allocations of
 * it; here a slot is a number, and table and heap are arrays of such numbers. Slots lie in chunks,
 * so none ever moves: a walk that is broken off and taken up again meets each message that stayed
 * exactly once.
 */
#include "index.h"
#include "pp/base/assert.h"

enum {
	CHUNK_BITS = 11, /* of slots: 80 KiB */
	CHUNK = 1 << CHUNK_BITS,
	MALLOC_COST = 16, /* of a packed piece: its header, and half a step of rounding */
};

static const int64_t WHEN_MAX = ((int64_t)1 << 36) - 1;

static bool
hash_of(const void *owner, uint32_t slot, uint32_t *ret)
{
	const struct qmgr_deferred *d = index_at(owner, slot);

	if (d != NULL)
		*ret = d->hash;
	return d != NULL;
}

void
index_init(struct index *ix)
{
	*ix = (struct index){
	    .table = {.hash = hash_of, .owner = ix}, .details_max = INDEX_DETAILS_MAX};
	intern_init(&ix->strings);
}

static struct qmgr_deferred *
slot_ptr(const struct index *ix, uint32_t slot)
{
	return &ix->chunk[slot >> CHUNK_BITS][slot & (CHUNK - 1)];
}

static bool
in_use(const struct qmgr_deferred *d)
{
	return d->id[0] != '\0';
}

uint32_t
index_slots(const struct index *ix)
{
	return ix->used;
}

struct qmgr_deferred *
index_at(const struct index *ix, uint32_t slot)
{
	struct qmgr_deferred *d = slot < ix->used ? slot_ptr(ix, slot) : NULL;

	return d && (d->is_long || in_use(d)) ? d : NULL;
}

uint32_t
index_slot(const struct index *ix, const struct qmgr_deferred *d)
{
	return ix->heap[d->heap_at];
}

static void
heap_set(struct index *ix, uint32_t at, uint32_t slot)
{
	ix->heap[at] = slot;
	slot_ptr(ix, slot)->heap_at = at;
}

static int64_t
heap_key(const struct index *ix, uint32_t at)
{
	return slot_ptr(ix, ix->heap[at])->when;
}

/* Moves what stands at `at` to where it belongs. */
static void
heap_sift(struct index *ix, uint32_t at, uint32_t n)
{
	uint32_t slot = ix->heap[at], child;
	int64_t key = slot_ptr(ix, slot)->when;

	while (at > 0 && heap_key(ix, (at - 1) / 2) > key) {
		heap_set(ix, at, ix->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	while ((child = at * 2 + 1) < n) {
		if (child + 1 < n && heap_key(ix, child + 1) < heap_key(ix, child))
			child++;
		if (heap_key(ix, child) >= key)
			break;
		heap_set(ix, at, ix->heap[child]);
		at = child;
	}
	heap_set(ix, at, slot);
}

struct qmgr_deferred *
index_first(const struct index *ix)
{
	return ix->count > 0 ? slot_ptr(ix, ix->heap[0]) : NULL;
}

static void
set_when(struct qmgr_deferred *d, int64_t when)
{
	d->when = when > WHEN_MAX ? WHEN_MAX : when < -WHEN_MAX ? -WHEN_MAX : when;
}

void
index_move(struct index *ix, struct qmgr_deferred *d, int64_t when)
{
	set_when(d, when);
	heap_sift(ix, d->heap_at, ix->count);
}

void
index_all_due(struct index *ix, int64_t when)
{
	/* Equal keys keep any heap in order, so no sifting is needed. */
	for (uint32_t i = 0; i < ix->count; i++)
		if (heap_key(ix, i) > when)
			set_when(slot_ptr(ix, ix->heap[i]), when);
}

struct qmgr_deferred *
index_find(const struct index *ix, const char *id)
{
	uint32_t hash = handles_hash(str_of(id)), at = hash, slot;

	while ((slot = handles_next(&ix->table, &at)) != HANDLES_NONE) {
		struct qmgr_deferred *d = slot_ptr(ix, slot);

		if (d->hash == hash && strcmp(index_id(d), id) == 0)
			return d;
	}
	return NULL;
}

static uint32_t
slot_new(struct index *ix)
{
	uint32_t slot = ix->free;

	if (slot > 0) {
		ix->free = slot_ptr(ix, slot - 1)->heap_at;
		return slot - 1;
	}
	if (ix->used == ix->chunks * CHUNK) {
		ix->chunk =
		    mem_realloc(ix->chunk, (ix->chunks + 1) * sizeof(struct qmgr_deferred *));
		ix->chunk[ix->chunks++] = mem_alloc(CHUNK * sizeof(struct qmgr_deferred));
	}
	return ix->used++;
}

struct qmgr_deferred *
index_add(struct index *ix, const char *id, int64_t when)
{
	uint32_t slot = slot_new(ix);
	struct qmgr_deferred *d = slot_ptr(ix, slot);
	size_t n = strlen(id);

	PP_ASSERT(n > 0 && ix->used < HANDLES_NONE);
	*d = (struct qmgr_deferred){
	    .is_long = n >= INDEX_SHORT_ID, .hash = handles_hash(str_of(id))};
	if (d->is_long)
		d->long_id = mem_strdup(id);
	else
		memcpy(d->id, id, n + 1);
	set_when(d, when);
	handles_add(&ix->table, slot, d->hash);
	if (ix->count == ix->heap_room) {
		ix->heap_room = ix->heap_room ? ix->heap_room * 2 : CHUNK;
		ix->heap = mem_realloc(ix->heap, ix->heap_room * sizeof(*ix->heap));
	}
	heap_set(ix, ix->count++, slot);
	heap_sift(ix, d->heap_at, ix->count);
	return d;
}

void
index_drop(struct index *ix, struct qmgr_deferred *d)
{
	uint32_t slot = index_slot(ix, d), at = d->heap_at, last = ix->heap[--ix->count];

	if (at < ix->count) {
		heap_set(ix, at, last);
		heap_sift(ix, at, ix->count);
	}
	handles_drop(&ix->table, slot, d->hash);
	index_unkeep(ix, d);
	index_wait_for(ix, d, NULL);
	if (d->is_long)
		mem_free(d->long_id);
	*d = (struct qmgr_deferred){.heap_at = ix->free};
	ix->free = slot + 1;
	if (ix->count == 0)
		index_fini(ix);
}

void
index_wait_for(struct index *ix, struct qmgr_deferred *d, const char *key)
{
	uint32_t to = key && *key ? intern_add(&ix->strings, str_of(key)) + 1 : 0;

	if (d->waits_for)
		intern_drop(&ix->strings, d->waits_for - 1);
	d->waits_for = to;
}

uint32_t
index_waiting(const struct index *ix, const char *key, uint32_t *ret_handle)
{
	*ret_handle = intern_find(&ix->strings, str_of(key));
	return *ret_handle == HANDLES_NONE ? 0 : ix->strings.a[*ret_handle].users;
}

void
index_unkeep(struct index *ix, struct qmgr_deferred *d)
{
	if (d->details == NULL)
		return;
	ix->details_bytes -= d->details_n + MALLOC_COST;
	details_free(&ix->strings, d->details);
	d->details = NULL;
	d->details_n = 0;
}

void
index_keep(struct index *ix, struct qmgr_deferred *d, const struct listing *l)
{
	size_t n;
	char *packed;

	index_unkeep(ix, d);
	if (details_pack(&ix->strings, l, &packed, &n) < 0)
		return;
	if (ix->details_bytes + ix->strings.bytes + n + MALLOC_COST > ix->details_max) {
		details_free(&ix->strings, packed);
		return;
	}
	d->details = packed;
	d->is_expired = l->forced_expire;
	d->details_n = n & DETAILS_MAX;
	ix->details_bytes += n + MALLOC_COST;
}

void
index_listing(
    const struct index *ix, const struct qmgr_deferred *d, struct arena *a, struct listing *ret)
{
	*ret =
	    (struct listing){.queue = QUEUE_DEFERRED, .id = index_id(d), .next_attempt = d->when};
	details_unpack(&ix->strings, d->details, a, ret);
}

/* Empty again, and its memory given back. */
void
index_fini(struct index *ix)
{
	size_t details_max = ix->details_max;

	for (uint32_t i = 0; i < ix->used; i++) {
		struct qmgr_deferred *d = slot_ptr(ix, i);

		mem_free(d->details);
		if (d->is_long)
			mem_free(d->long_id);
	}
	for (uint32_t i = 0; i < ix->chunks; i++)
		mem_free(ix->chunk[i]);
	mem_free(ix->chunk);
	mem_free(ix->heap);
	handles_fini(&ix->table);
	intern_fini(&ix->strings);
	index_init(ix);
	ix->details_max = details_max;
}
