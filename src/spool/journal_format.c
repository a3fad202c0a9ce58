/*
 * journal_format.c - the bytes of a segment, without any input or output.
 *
 * A hash says whether an entry arrived on the disk whole. It guards against torn and missing
 * writes, not against an enemy who has the right to write here; so it is a fast one, and from a
 * library.
 */
#define XXH_INLINE_ALL
#include <stddef.h>
#include <stdio.h>
#include <xxhash.h>
#include "journal.h"

static const char magic[8] = {'P', 'P', 'J', 'R', 'N', 'L', '0', '2'};
enum { ENTRY_MAGIC = 0x4c49414d };

static uint64_t
hash_of(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

void
journal_head_fill(struct journal_head *h, uint64_t generation, uint64_t salt)
{
	*h = (struct journal_head){
	    .generation = generation, .salt = salt, .unit = JOURNAL_UNIT, .units = JOURNAL_UNITS};
	memcpy(h->magic, magic, sizeof(magic));
	h->hash = hash_of(h, offsetof(struct journal_head, hash));
}

bool
journal_head_valid(const struct journal_head *h)
{
	return memcmp(h->magic, magic, sizeof(magic)) == 0 && h->unit == JOURNAL_UNIT &&
	       h->units == JOURNAL_UNITS &&
	       h->hash == hash_of(h, offsetof(struct journal_head, hash));
}

bool
journal_head_blank(const struct journal_head *h)
{
	static const struct journal_head blank;

	return memcmp(h, &blank, sizeof(blank)) == 0;
}

/* Whoever writes mail does not know the salt. */
static uint64_t
entry_hash(const struct journal_entry_head *e, uint64_t salt)
{
	return XXH3_64bits_withSeed(e, offsetof(struct journal_entry_head, hash), salt);
}

uint64_t
journal_content_hash(struct str id, struct str file)
{
	return hash_of(id.p, id.n) ^ hash_of(file.p, file.n);
}

uint32_t
journal_entry_units(size_t id_length, size_t length, size_t rcpt_count)
{
	size_t bytes = sizeof(struct journal_entry_head) + id_length + length;
	size_t units = (bytes + JOURNAL_UNIT - 1) / JOURNAL_UNIT;
	size_t marks = 1 + (rcpt_count + JOURNAL_BITS - 1) / JOURNAL_BITS;

	if (units < marks)
		units = marks;
	return units > JOURNAL_UNITS || units * JOURNAL_UNIT - bytes > JOURNAL_PAD_MAX
		   ? 0
		   : (uint32_t)units;
}

void
journal_entry_fill(struct journal_entry_head *e, const struct journal_head *life, uint32_t units,
    uint64_t content, struct str id, size_t length)
{
	*e = (struct journal_entry_head){.magic = ENTRY_MAGIC,
	    .id_length = (uint16_t)id.n,
	    .length = (uint32_t)length,
	    .units = units,
	    .generation = life->generation,
	    .content = content};
	e->hash = entry_hash(e, life->salt);
}

bool
journal_entry_read(struct str units, uint32_t unit, const struct journal_head *life,
    struct journal_entry_head *ret, struct str *ret_id, struct str *ret_file)
{
	struct str s = str_from(units, (size_t)unit * JOURNAL_UNIT);
	struct journal_entry_head e;

	if (s.n < sizeof(e))
		return false;
	memcpy(&e, s.p, sizeof(e));
	s = str_from(s, sizeof(e));
	if (e.magic != ENTRY_MAGIC || e.generation != life->generation ||
	    e.hash != entry_hash(&e, life->salt) || (size_t)e.id_length + e.length > s.n ||
	    e.units == 0 || e.units > JOURNAL_UNITS - unit)
		return false;
	*ret_id = str_head(s, e.id_length);
	*ret_file = str_head(str_from(s, e.id_length), e.length);
	*ret = e;
	return spool_id_valid(*ret_id);
}

void
journal_segment_path(unsigned number, char path[JOURNAL_NAME_MAX])
{
	snprintf(path, JOURNAL_NAME_MAX, SPOOL_JOURNAL "/%u", number);
}
