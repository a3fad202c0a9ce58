/*
 * writer.h - one new message on its way into the spool; the commit that makes "250" true.
 * THREAD the loop that made it; the callback comes on the same loop. writer_*_blk: commands.
 * OWNS   the writer frees itself after its last callback, or after writer_abort.
 * ERRORS the first -errno sticks and is what the commit answers; the half file is removed.
 * SEE    reader.h for what must be in a file.
 *
 * Up to `memory_limit` bytes are built in memory and written in one go at the commit; more streams
 * into incoming/ID with mode 0600. Commit = all bytes, mode 0700, fsync, fsync of the directory.
 * The id is in the content by then, so a file of that name (-EEXIST) fails the commit: ask again.
 * With a journal (journal.h) a message that is built in memory is safe there, and has no file.
 */
#pragma once
#include "pp/runtime/lane.h"
#include "pp/runtime/snap.h"
#include "pp/spool/journal.h"
#include "pp/spool/record.h"
#include "pp/spool/spool.h"

struct writer;

/* The bytes of a whole queue file, shared and immutable: in memory, or where p is NULL in the
 * journal, for the cache is full. NULL when it was too big for either. */
struct spool_bytes {
	struct snap snap;
	const struct spool *spool;
	struct str bytes;
	struct journal_text text;
	bool is_passing; /* in memory, and not counted: not to be kept */
};
/* The same message, read from the journal. */
struct spool_bytes *spool_bytes_in_journal(const struct spool *s, const struct journal_mail *m);
/* Lanes: all of it; *ret_memory is to be freed, or NULL. */
int spool_bytes_load_blk(const struct spool_bytes *b, struct str *ret, char **ret_memory);

/* A message that is now ours. Passed to the commit hook; the receiver owns it. */
struct spool_arrival {
	struct post post;
	char id[SPOOL_ID_MAX];
	enum queue queue;          /* QUEUE_INCOMING or QUEUE_HOLD */
	struct spool_bytes *bytes; /* or NULL: read the file */
	struct journal_mail *mail; /* it is in the journal and has no file, or NULL; has bytes */
};
void spool_arrival_free(struct spool_arrival *a);

/* Called on the writer's loop for each commit, before the commit's own callback. Set once by
 * daemon/ before any writer exists (it leads to qmgr_arrive). */
typedef void spool_commit_hook(void *ctx, struct spool_arrival *arrival);
void spool_set_commit_hook(struct spool *s, spool_commit_hook *hook, void *ctx);

/* The lanes file work runs on. Set once by daemon/, and to NULL before they are freed, when the
 * loops have ended: half files of aborted writers are then removed on the spot. */
void spool_set_lane(struct spool *s, struct lane *disk);
struct lane *spool_lane(const struct spool *s);
/* New messages go there when it takes them. Set by daemon/ before any writer exists, and to NULL
 * when it closes it. */
void spool_set_journal(struct spool *s, struct journal *j);

/* q = QUEUE_INCOMING, QUEUE_HOLD. The id is made here. The size record is the writer's own. */
struct writer *writer_new(struct spool *s, enum queue q);
const char *writer_id(const struct writer *w);
/* The queue may change until the commit (HOLD). */
void writer_set_queue(struct writer *w, enum queue q);

/* Appends one record; remembers where M and X stand and counts R records. Returns its file
 * offset, or -errno. */
off_t writer_put(struct writer *w, int type, struct str payload);
off_t
writer_putf(struct writer *w, int type, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int writer_put_line(struct writer *w, struct str line, size_t limit);
/* Bytes of content so far (field 1). */
int64_t writer_content_size(const struct writer *w);
/* Backpressure: true while more than a high mark waits for the disk; `drained` comes once then. */
bool writer_full(const struct writer *w);
void writer_on_drain(struct writer *w, void (*drained)(void *ctx), void *ctx);

/* utf8: UTF8_ bits, hints: field 4. done(ctx, 0 or -errno) comes once; then w is gone. */
void writer_commit(
    struct writer *w, unsigned utf8, unsigned hints, void (*done)(void *ctx, int rc), void *ctx);
/* Forget it; no callback comes. The half file is removed. */
void writer_abort(struct writer *w);

/* For commands (sendmail): create `path` 0600, write, mode, fsync, fsync of the directory. */
int
writer_file_blk(const struct spool *s, enum queue q, const char *id, struct str bytes, mode_t mode);
/* Lanes: a message that is only in memory becomes a file, mode 0700; the records at these offsets,
 * in order, are finished recipients. Not synced: the caller does that for several at once. */
int writer_file_marked_blk(const struct spool *s, enum queue q, const char *id, struct str bytes,
    const off_t *done, size_t n);
/* Such a file alone. -ENOENT: somebody has moved it. */
int writer_file_sync_blk(const struct spool *s, enum queue q, const char *id);
