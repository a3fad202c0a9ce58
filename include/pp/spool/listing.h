/*
 * listing.h - what postqueue shows: one entry per message, and Postfix's showq protocol.
 * THREAD listing_*_blk: lanes and commands. Encoding and decoding are pure.
 * OWNS   the strings of an entry live until the callback returns (or as the arena given does).
 * ERRORS 0 or -errno; a callback's non-zero answer ends the walk and is returned.
 *
 * The protocol: a block that names it, a block per message, an empty block. A block is a run of
 * "name NUL value NUL" and a last NUL. The server speaks first and the client says nothing.
 * Extended, which only our own commands ask for, it has next_attempt and attempts behind the
 * sender of deferred mail, and relay and dsn behind the reason of a recipient that was tried.
 */
#pragma once
#include "pp/base/mem.h"
#include "pp/spool/spool.h"

struct listing_recipient {
	const char *address; /* as shown: quoted, controls as `?` */
	const char *reason;  /* why it waits; "" = nothing is known */
	const char *relay;   /* who said so, or "none"; "" = it was not tried */
	const char *dsn;     /* "4.4.1"; "" = it was not tried */
};

struct listing {
	enum queue queue;
	const char *id;
	int64_t arrival; /* seconds */
	int64_t size;
	bool forced_expire;
	const char *sender; /* as shown; MAILER-DAEMON for the null sender */
	const struct listing_recipient *rcpt;
	size_t rcpt_count;
	int64_t next_attempt; /* seconds; 0 = not in deferred, or not said */
	unsigned attempts;    /* rounds that were tried; of deferred mail only */
};

typedef int listing_each(void *ctx, const struct listing *l);

/* The queues that are shown, in the order of showq; QUEUE_COUNT ends. */
extern const enum queue listing_queues[];

/* Of a message that has no file yet, and so no log. */
struct envelope;
void listing_of_envelope(
    struct arena *a, enum queue q, const char *id, const struct envelope *e, struct listing *ret);
/* Of a recipient whose log would say this. */
struct deferlog_entry;
struct listing_recipient listing_of_entry(struct arena *a, const struct deferlog_entry *e);
/* One file that a scan met. 1 = nothing to show (not ready, no sender), -ENOENT = gone. */
int listing_load_blk(
    const struct spool *s, const struct spool_entry *e, struct arena *a, struct listing *ret);
/* All queues, read by so many threads (see crew_threads), told in directory order on the caller's.
 * Memory is that of a few hundred messages. */
int listing_walk_blk(const struct spool *s, unsigned threads, listing_each *each, void *ctx);

/* The same of one queue, so many files at a time, as a slow client takes them: 1 = there is more,
 * 0, -errno, or what each() answered. */
struct listing_walk;
struct listing_walk *listing_walk_new_blk(const struct spool *s, enum queue q);
int listing_walk_some_blk(
    struct listing_walk *w, unsigned threads, size_t files, listing_each *each, void *ctx);
/* NULL is taken. */
void listing_walk_free(struct listing_walk *w);

/* For who reads many by their ids. */
struct listing_reader;
struct listing_reader *listing_reader_new(const struct spool *s);
/* 0, 1 = nothing to show, -ENOENT = it is not there. */
int listing_reader_load_blk(
    struct listing_reader *r, enum queue q, const char *id, struct arena *a, struct listing *ret);
/* The files of n messages, which id() names, will be read soon: unless they are in memory they are
 * asked for at once. */
void listing_reader_ahead_blk(struct listing_reader *r, enum queue q,
    const char *(*id)(void *ctx, size_t i), void *ctx, size_t n);
/* NULL is taken. */
void listing_reader_free(struct listing_reader *r);

int listing_encode_begin(struct buf *to);
int listing_encode(struct buf *to, const struct listing *l, bool extended);
int listing_encode_end(struct buf *to);

/* Takes bytes as they come, extended or not. -EBADMSG: not this protocol. */
struct listing_decoder;
struct listing_decoder *listing_decoder_new(listing_each *each, void *ctx);
int listing_decode(struct listing_decoder *d, struct str bytes);
/* The empty block has come. */
bool listing_decoder_complete(const struct listing_decoder *d);
void listing_decoder_free(struct listing_decoder *d);
