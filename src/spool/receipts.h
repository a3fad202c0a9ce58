/*
 * receipts.h - the file of the receipts. Numbers are those of the machine: it does not outlive the
 * daemon for long.
 */
#pragma once
#include "internal.h"

#define RECEIPTS_FILE SPOOL_JOURNAL "/receipts"
#define RECEIPTS_MAGIC "PPRCPT01"

enum {
	RECEIPTS_SLOTS = 16384,
	RECEIPTS_PLACES = 4, /* recipients in a slot */
	RECEIPTS_HEAD = 4096,
};

struct receipts_slot {
	char id[SPOOL_ID_MAX];
	struct {
		uint64_t offset; /* of the recipient's record */
		uint64_t seal;   /* 0 = not signed */
	} place[RECEIPTS_PLACES];
};

struct receipts_file {
	union {
		struct {
			char magic[8];
			uint64_t salt;
			struct counter last_id; /* the spool's */
		} head;
		char block[RECEIPTS_HEAD];
	};
	struct receipts_slot slot[RECEIPTS_SLOTS];
};

uint64_t receipts_seal(uint64_t salt, const char *id, uint64_t offset);
