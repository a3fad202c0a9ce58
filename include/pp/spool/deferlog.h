/*
 * deferlog.h - the per-message logs in defer/, bounce/ and trace/, and done marks.
 * THREAD *_blk: lanes and commands. parse and print are pure.
 * OWNS   strings of what is read go into the arena given.
 * ERRORS 0 or -errno.
 * SEE    mark_done comes behind append. The order is the guarantee: the log is synced before
 *        an R becomes a D.
 */
#pragma once
#include "pp/mail/envelope.h"
#include "pp/mail/status.h"
#include "pp/spool/spool.h"

struct deferlog_entry {
	const char *recipient; /* internal form; "" = null address */
	const char *orig;      /* NULL when the same */
	const char *orcpt;
	unsigned notify;
	off_t offset;         /* 0 = not given */
	const char *action;   /* delayed failed expanded relayed delivered */
	struct status status; /* text = reason, diagnostic, remote */
};

/* Appends all entries, one write, one fsync. q = QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE. */
int deferlog_append_blk(
    const struct spool *s, enum queue q, const char *id, const struct deferlog_entry *e, size_t n);
/* -ENOENT when there is none. Unknown names are skipped; the old one-line form is read. */
int deferlog_read_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct deferlog_entry **ret, size_t *ret_n);
void deferlog_parse(struct str text, struct arena *a, struct deferlog_entry **ret, size_t *ret_n);
int deferlog_print(struct buf *to, const struct deferlog_entry *e);
/* A log with something in it? */
bool deferlog_exists_blk(const struct spool *s, enum queue q, const char *id);
int deferlog_remove_blk(const struct spool *s, enum queue q, const char *id);

/* R -> D at the offsets given, after checking that an R stands there (-EBADMSG otherwise). */
int deferlog_mark_done_blk(
    const struct spool *s, enum queue q, const char *id, const off_t *offsets, size_t n);
/* W := -1. */
int deferlog_mark_warned_blk(const struct spool *s, enum queue q, const char *id, off_t offset);
