/*
 * journal.h - young messages, durable without a file each: one append and one sync for all that
 * wait at a moment.
 * THREAD each function says. The journal's own loop writes and syncs, so it is nobody else's.
 * OWNS   a journal_mail is its holder's until journal_done or journal_leave.
 * ERRORS -errno; nothing is logged here.
 * SEE    pennypost-internals(7) for the format, writer.h for who commits.
 *
 * A message is either in the journal or in a file, and for a moment in both: the file is safe
 * before journal_done is called. What is done is marked in memory that is a page of the journal's
 * file, so a mark costs no system call and outlives the process from the moment it is made.
 */
#pragma once
#include "pp/runtime/loop.h"
#include "pp/runtime/post.h"
#include "pp/spool/spool.h"

struct journal;
struct journal_mail;
struct spool_bytes;

struct journal_options {
	/* The disk has failed: from now on all are files. Once, on the journal's loop; may be NULL.
	 */
	void (*failed)(int rc);
	int64_t size_limit;    /* bytes of all segments; what has no room becomes a file */
	int64_t message_limit; /* bytes of a message's queue file; a longer one becomes a file */
};

/* At start, when journal_replay_blk has emptied it, or journal_adopt_blk follows. Segments are made
 * when they are needed, on `loop`, on which nothing else may run: it blocks. */
struct journal *journal_new(struct spool *s, struct loop *loop, const struct journal_options *o);
/* When all loops have ended: messages that are still in it become files in incoming/, the segments
 * are removed. On an error they stay for the next start. */
int journal_close(struct journal *j);

/* One message on its way into the journal; embedded in its writer. */
struct journal_commit {
	struct post post;
	struct loop *home;
	struct journal *journal;
	struct spool_bytes *bytes; /* the whole queue file; the commit holds no reference */
	const char *id;
	size_t rcpt_count;
	void (*done)(struct journal_commit *c); /* on the loop that asked */
	int rc;                    /* 0, or -errno: it is not in the journal, make a file */
	struct journal_mail *mail; /* rc = 0: the caller's */
	uint64_t hash;
};
/* Any thread: would it be taken? */
bool journal_takes(const struct journal *j, size_t bytes);
/* A loop. done comes once it is safe. */
void journal_append(struct journal *j, struct journal_commit *c);

/* The queue file of a message as it stands in the journal, to be read there. It is not overwritten
 * before it is given back, whatever becomes of the message. Any thread. */
struct journal_text {
	struct segment *segment;
	off_t at;
	size_t n;
};
void journal_text_take(const struct journal_mail *m, struct journal_text *ret);
void journal_text_give(struct journal_text *t);
/* As fsio_pread, from `at` of the queue file. */
ssize_t journal_text_read_blk(const struct journal_text *t, char *to, size_t n, off_t at);
/* Three quarters of what it may hold are taken: time to make files. Any thread. */
bool journal_is_filling(const struct journal_mail *m);

/* The n-th recipient record of the message is finished. One thread at a time. */
void journal_mark(struct journal_mail *m, size_t n);
/* Delivered, or safe in a file: the journal has nothing more to do with it. Any thread; frees m. */
void journal_done(struct journal_mail *m);
/* It stays, for journal_close or the next start. Frees m. */
void journal_leave(struct journal_mail *m);

/* Is there a journal of a run that was killed, or receipts? Any thread. */
bool journal_is_left_blk(const struct spool *s);
/* Under the spool's lock, with no journal open: what such a run left becomes files in incoming/,
 * its finished recipients marked; then the segments are removed. Returns how many messages, or the
 * first -errno: then all is as it was. uid, gid: whose the files are to be when this process is
 * root, or -1. A segment whose head is damaged, or of another version, is renamed to N.damaged:
 * *ret_damaged, which may be NULL, says how many. Then the receipts. */
int64_t journal_replay_blk(const struct spool *s, uid_t uid, gid_t gid, unsigned *ret_damaged);

/* A start makes no files of it: the journal goes on being where that mail is. First what is in a
 * file, or was received, is marked. Returns how many messages are left, or -errno;
 * *ret_damaged as above. */
int64_t journal_put_in_order_blk(const struct spool *s, unsigned *ret_damaged);
/* Then, before the loop of the new journal begins: its oldest segments are those. A segment that
 * cannot be opened stays for journal_close; the first such -errno is returned. */
struct journal_kept;
int journal_adopt_blk(struct journal *j, struct journal_kept **ret);
/* And the mail of the next segment, as it arrives when it is new; `each` owns it. 1, 0 = that was
 * all, or -errno: the rest of that segment stays for journal_close. One thread at a time. */
struct spool_arrival;
int journal_kept_next_blk(
    struct journal_kept *k, void (*each)(void *ctx, struct spool_arrival *a), void *ctx);
/* What was not taken stays for journal_close. NULL is taken. */
void journal_kept_free(struct journal_kept *k);
