/*
 * internal.h - pickup's scan, one submission, and the parsing of its file.
 * THREAD struct pickup: its loop. struct submission: its loop, or the lane while a job runs.
 * OWNS   a submission frees itself after its last job and then tells submission_done.
 * ERRORS see enum pickup_result.
 */
#pragma once
#include "pp/base/hash.h"
#include "pp/pickup/pickup.h"
#include "pp/runtime/lane.h"
#include "pp/runtime/loop.h"
#include "pp/spool/reader.h"

enum {
	PICKUP_BATCH = 64 * 1024,             /* bytes of records read in one go */
	PICKUP_RECORD_MAX = 17 * 1024 * 1024, /* more than a reader ever gives */
	PICKUP_RCPT_MAX = 1000 * 1000,
};

/* The file of a submission as the lane sees it. Owned by the lane while a job runs. */
struct pickup_file {
	const struct spool *spool;
	const char *id;
	size_t line_limit;
	uid_t daemon_uid;
	struct reader *reader;
	struct arena arena;
	struct envelope envelope;
	uid_t uid;
	struct stat st;
	bool requeued; /* by postsuper -r: a complete file of ours */
	bool in_content, ended;
	bool no_mail;       /* a directory, a link, a pipe: nothing to keep */
	struct buf records; /* checked records, framed, for the loop */
	char why[256];      /* what is wrong with it */
};

/* All block. 0; -EBADMSG = malformed (see why), -ESTALE = not (yet) a submission, or -errno. */
int pickup_file_open_blk(struct pickup_file *f);
/* The next records of content and extracted segment into `records`. */
int pickup_file_read_blk(struct pickup_file *f);
void pickup_file_close(struct pickup_file *f);

enum pickup_result {
	PICKUP_TAKEN,     /* in the queue, and gone from maildrop */
	PICKUP_DISCARDED, /* malformed or refused: gone from maildrop */
	PICKUP_LEFT,      /* in the queue, but the file could not be removed */
	PICKUP_KEPT,      /* some trouble with this file: later again */
	PICKUP_TROUBLE,   /* trouble that others would meet as well */
};

struct submission;
/* Takes `id` in, if its owner is one of `users` (NULL: everybody is); done comes once, on this
 * loop, later. */
void submission_start(const struct cleanup_setup *setup, struct lane *disk, const char *id,
    struct userlist *users, void (*done)(void *ctx, const char *id, enum pickup_result r),
    void *ctx);
/* Only removes the file, of which the mail is in the queue already. */
void submission_remove(const struct cleanup_setup *setup, struct lane *disk, const char *id,
    void (*done)(void *ctx, const char *id, enum pickup_result r), void *ctx);
