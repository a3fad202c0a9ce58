/*
 * internal.h - pickup's scan, one submission, the parsing of its records, and the door for others.
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

/* The file of a submission as the lane sees it, owned by the lane while a job runs; or, without a
 * reader, what came through the socket. */
struct pickup_file {
	const struct spool *spool;
	const char *id;
	size_t line_limit;
	uid_t daemon_uid;
	struct reader *reader;
	struct arena arena;
	struct envelope envelope;
	uid_t uid;
	bool requeued; /* by postsuper -r: a complete file of ours */
	bool in_envelope, in_content, ended;
	struct recipient next_rcpt; /* what was said of it so far */
	size_t rcpt_room;
	bool no_mail;       /* a directory, a link, a pipe: nothing to keep */
	struct buf records; /* checked records, framed, for the loop */
	char why[256];      /* what is wrong with it */
};

/* All block. 0; -EBADMSG = malformed (see why), -ESTALE = not (yet) a submission, or -errno. */
int pickup_file_open_blk(struct pickup_file *f);
/* The next records of content and extracted segment into `records`. */
int pickup_file_read_blk(struct pickup_file *f);
void pickup_file_close(struct pickup_file *f);
/* Records that come from elsewhere, in order; `at` is where it stands, for `why`. Nothing blocks.
 */
enum pickup_use {
	PICKUP_SKIP,          /* nothing for cleanup */
	PICKUP_ENVELOPE_ENDS, /* `envelope` is complete: pickup_feed_envelope */
	PICKUP_FEED,          /* pickup_feed_record */
};
void pickup_file_expect(struct pickup_file *f);
int pickup_file_take(struct pickup_file *f, const struct record *rec, off_t at);

/* feed.c: the way into cleanup. Owned by its submission, like the cleanup in it. */
struct pickup_feed {
	struct cleanup *cleanup;
	const struct params *params;
	size_t line_limit;
	unsigned notify; /* of the next extracted recipient */
	bool extracted;
};
/* The params live as long as the cleanup. */
void pickup_feed_open(struct pickup_feed *f, const struct cleanup_setup *setup);
void pickup_feed_envelope(struct pickup_feed *f, const struct pickup_file *file);
void pickup_feed_record(struct pickup_feed *f, const struct record *rec);
/* Without asking anybody: root and the daemon's own user always, others where all may. */
bool pickup_may_submit(const struct userlist *users, uid_t uid, uid_t daemon_uid);

/* handover.c: submissions through a socket. fd listens and stays the caller's. */
struct pickup_door;
struct pickup_door *pickup_door_new(struct pickup *p, struct loop *l, struct lane *disk, int fd);
/* No more; what is being committed ends, then pickup_door_left is called. */
void pickup_door_stop(struct pickup_door *d);
bool pickup_door_is_empty(const struct pickup_door *d);
void pickup_door_free(struct pickup_door *d);
/* pickup.c, for it: a session has ended; what holds now. */
void pickup_door_left(struct pickup *p);
const struct cleanup_setup *pickup_setup(const struct pickup *p);
struct userlist *pickup_users(const struct pickup *p);

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
