/*
 * receipts.h - the file of the receipts. Numbers are those of the machine: it does not outlive the
 * daemon for long.
 */
#pragma once
#include "internal.h"

#define RECEIPTS_FILE SPOOL_JOURNAL "/receipts"
#define RECEIPTS_MAGIC "PPRCPT01"

enum {
	/* More than run at once: 100 deliveries of 50 recipients need 1,300. */
	RECEIPTS_SLOTS = 4096,
	RECEIPTS_PLACES = 4, /* recipients in a slot */
	RECEIPTS_HEAD = 4096,
	RECEIPTS_INTAKES = 16, /* more than pickup has at once */
};

struct receipts_slot {
	char id[SPOOL_ID_MAX];
	struct {
		uint64_t offset; /* of the recipient's record */
		uint64_t seal;   /* 0 = not signed */
	} place[RECEIPTS_PLACES];
};

enum { INTAKE_BEGUN = 1, INTAKE_DONE = 2 };

struct intake {
	char file[SPOOL_ID_MAX], id[SPOOL_ID_MAX];
	uint64_t inode;
	int64_t mtime;        /* ns */
	uint64_t begun, done; /* seals; done = 0: begun alone */
};

struct receipts_file {
	union {
		struct {
			char magic[8];
			uint64_t salt;
			struct counter last_id; /* the spool's */
			char boot[64];          /* of the machine, when it was made */
			struct intake intake[RECEIPTS_INTAKES];
		} head;
		char block[RECEIPTS_HEAD];
	};
	struct receipts_slot slot[RECEIPTS_SLOTS];
};

uint64_t receipts_seal(uint64_t salt, const char *id, uint64_t offset);
uint64_t intake_seal(uint64_t salt, const struct intake *h, uint64_t which);
/* Another one after each start of the machine; "" = not known. */
void receipts_boot_blk(char boot[64]);
