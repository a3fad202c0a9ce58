/*
 * deferlog_read.h - the blocks of a log as views of its text.
 */
#pragma once
#include "internal.h"
#include "pp/spool/deferlog.h"

/* p = NULL: not given; recipient and reason always are, if only in words that say so. */
struct deferlog_block {
	struct str recipient, orig, offset, orcpt, notify, status, action, diagnostic, remote,
	    reason;
};

/* The next block that ends with an empty line. */
bool deferlog_next(struct str *text, struct deferlog_block *ret);
/* Internal form of what stands in a log. */
const char *deferlog_address(struct arena *a, struct str text);
/* The whole text, up to a limit. -ENOENT. */
int deferlog_text_blk(const struct spool *s, enum queue q, const char *id, struct buf *to);
