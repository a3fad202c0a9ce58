/*
 * receipts.h - the file of the receipts. Numbers are those of the machine: it does not outlive the
 * daemon for long.
 */
#pragma once
#include "internal.h"
#include "journal_left.h"

#define RECEIPTS_FILE SPOOL_JOURNAL "/receipts"
#define RECEIPTS_MAGIC "PPRCPT02"

enum {
	/* More than run at once: 100 deliveries of 50 recipients need 1,300. */
	RECEIPTS_SLOTS = 4096,
	RECEIPTS_PLACES = 4, /* recipients in a slot */
	RECEIPTS_HEAD = 8 * 4096,
	RECEIPTS_INTAKES = 176, /* more than pickup has at once, and those of the last run */
};

struct receipts_slot {
	char id[SPOOL_ID_MAX];
	struct {
		uint64_t offset; /* of the recipient's record */
		uint64_t seal;   /* 0 = not signed */
	} place[RECEIPTS_PLACES];
};

enum { INTAKE_BEGUN = 1, INTAKE_DONE = 2 };
enum { INTAKE_HANDED = -1 }; /* as mtime: there is no file; inode = the user who may make it */

struct intake {
	char file[SPOOL_ID_MAX], id[SPOOL_ID_MAX];
	uint64_t inode;
	int64_t mtime;        /* ns */
	uint64_t begun, done; /* seals; done = 0: begun alone */
	uint32_t at;          /* its place in the table */
	bool is_old;          /* of the last run: its place is free for who needs it */
};

/* What the last run had taken without that its client has heard so: the file may come yet. */
struct intakes_left {
	struct intake of[RECEIPTS_INTAKES];
	size_t n;
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
/* What a run that was killed has left: *ret is to be freed. NULL: nothing, or no table that was
 * ever finished, so nothing was delivered by it. Its slots in use stand first. */
int receipts_read_blk(const struct spool *s, struct receipts_file **ret);
/* Marks who has signed in the map of an entry that stays in the journal: true = there are some. Who
 * asked for a notice of success gets none that way. NULL is taken. */
bool receipts_mark(const struct receipts_file *f, struct journal_left_entry *e);
/* Is there such a one? Then the entry is to become a file. NULL is taken. */
bool receipts_owe_notice(const struct receipts_file *f, struct journal_left_entry *e);
