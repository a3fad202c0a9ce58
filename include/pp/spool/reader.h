/*
 * reader.h - queue files in: validated as the queue manager does, or record by record.
 * THREAD those that may block (lanes, commands); reader_parse is pure.
 * OWNS   strings of an envelope go into the arena given.
 * ERRORS 0 or -errno; -EBADMSG = damaged, with what is wrong and at which offset in `why`.
 * SEE    body.h for the content; tests/corpus for the whole and the damaged files it is held to.
 */
#pragma once
#include "pp/mail/envelope.h"
#include "pp/spool/record.h"
#include "pp/spool/spool.h"

/* What to accept beside complete cleanup-made files. */
enum reader_kind {
	READER_QUEUE,   /* what qmgr needs: C, T, S, X where C says, E */
	READER_LISTING, /* what showq needs: stops quietly at the first bad record */
};

/* A source of file bytes: an open file, or bytes in memory. */
struct reader;
struct reader *reader_open_fd(int fd); /* the fd becomes the reader's */
struct reader *reader_open_bytes(struct str bytes);
void reader_close(struct reader *r);
/* Next record; follows pointers with a limit on backward jumps, skips nothing else.
 * 0 record, 1 end of file at a boundary, -EBADMSG with a text in reader_error. The payload is
 * valid until the next call. offset = where its type byte stands. */
int reader_next(struct reader *r, struct record *ret, off_t *ret_offset);
/* raw: pointers are returned like any record. */
void reader_set_raw(struct reader *r, bool raw);
/* Small files that lead in circles are read as often as Postfix does, to show what it shows. */
void reader_set_patient(struct reader *r);
/* A longer payload is damage, found before it is read: for files that strangers wrote. */
void reader_set_limit(struct reader *r, size_t payload);
int reader_seek(struct reader *r, off_t offset);
/* Goes on n bytes further, to the end of the file at most; unlike a seek it stays within the same
 * pass over the file. */
void reader_skip(struct reader *r, int64_t n);
off_t reader_tell(const struct reader *r); /* where the next record is read */
off_t reader_size(const struct reader *r); /* of the file, when it was opened */
/* For raw readers: goes where a pointer's payload says; 0 goes on behind it. */
int reader_follow(struct reader *r, struct str payload);
const char *reader_error(const struct reader *r);

/* The envelope (both segments). why: at least 256 bytes of room; also what is odd in a file that is
 * taken (READER_QUEUE). */
int reader_envelope(struct reader *r, enum reader_kind kind, struct arena *a, struct envelope *ret,
    struct buf *why);
int reader_load_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct envelope *ret, struct stat *ret_stat, struct buf *why);

/* Recipients by parts, for those that are too many to be held at once: only who is not done. */
struct reader_part {
	size_t max;  /* in: at most so many */
	off_t next;  /* in and out: where to go on; 0 = at the beginning */
	size_t left; /* out: so many are not read yet; of reader_more some number above 0 */
};
/* The envelope, checked whole, with the first part of its recipients (READER_QUEUE). */
int reader_envelope_part(struct reader *r, struct arena *a, struct reader_part *part,
    struct envelope *ret, struct buf *why);
/* The next part. env: as it was read before; its recipients are replaced. */
int reader_more_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct reader_part *part, struct envelope *env, struct buf *why);
/* As reader_load_blk. */
int reader_load_part_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct reader_part *part, struct envelope *ret, struct stat *ret_stat, struct buf *why);
