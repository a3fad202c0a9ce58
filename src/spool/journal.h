/*
 * journal.h - the segments of the journal: files of a fixed size, written from front to end.
 *
 *	head     one block: magic, generation, sizes, hash
 *	map      one byte per unit: what is done of the entry that begins there
 *	units    entries; each begins at a unit: entry head, queue id, queue file, padding
 *
 * An entry is of this life of its segment when it has the generation of the head and a hash that
 * was made with the salt of the head, which nobody can know: the body of a mail, left over from an
 * earlier life, cannot pass for an entry. It counts when the hash of its content is right, and
 * nothing behind the first that does not. Bit 0 of its first byte in the map says that all of it is
 * done, the bits of the following bytes which recipients are. Numbers are those of the machine: a
 * journal does not outlive the daemon for long.
 */
#pragma once
#include "internal.h"
#include "pp/spool/journal.h"

enum {
	JOURNAL_UNIT = 64,
	JOURNAL_UNITS = 131072,
	JOURNAL_HEAD = 4096,
	JOURNAL_FRONT = JOURNAL_HEAD + JOURNAL_UNITS, /* where units begin */
	JOURNAL_SIZE = JOURNAL_FRONT + JOURNAL_UNITS * JOURNAL_UNIT,
	JOURNAL_BITS = 8,
	JOURNAL_PAD_MAX = 4096,
	JOURNAL_NAME_MAX = 24,
};

enum { JOURNAL_ALL_DONE = 1 }; /* bit of an entry's first byte in the map */

struct journal_head {
	char magic[8];
	uint64_t generation;
	uint64_t salt;
	uint32_t unit, units;
	uint64_t hash; /* of what stands before it */
};

struct journal_entry_head {
	uint32_t magic;
	uint16_t id_length;
	uint16_t unused;
	uint32_t length; /* of the queue file */
	uint32_t units;  /* of all of it */
	uint64_t generation;
	uint64_t content; /* hash of id and queue file */
	uint64_t hash;    /* of what stands before it, with the salt */
};

void journal_head_fill(struct journal_head *h, uint64_t generation, uint64_t salt);
bool journal_head_valid(const struct journal_head *h);
/* Nothing but zeros: it was never begun. */
bool journal_head_blank(const struct journal_head *h);
uint64_t journal_content_hash(struct str id, struct str file);
/* Units, or 0: no entry is that big. */
uint32_t journal_entry_units(size_t id_length, size_t length, size_t rcpt_count);
void journal_entry_fill(struct journal_entry_head *e, const struct journal_head *life,
    uint32_t units, uint64_t content, struct str id, size_t length);
/* Of the entry at `unit`, in the bytes of all units. False: no entry of this life. Its content is
 * whole when journal_content_hash agrees. */
bool journal_entry_read(struct str units, uint32_t unit, const struct journal_head *life,
    struct journal_entry_head *ret, struct str *ret_id, struct str *ret_file);
/* "journal/3" */
void journal_segment_path(unsigned number, char path[JOURNAL_NAME_MAX]);
/* The names in the journal's directory are safe. */
int journal_sync_dir_blk(const struct spool *s);
