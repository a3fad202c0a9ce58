/*
 * body.h - the content of a queue file, piece by piece, for a delivery.
 * THREAD the loop that opened it; file reads run on the disk lane.
 * OWNS   body_close ends it, also while a read is under way (no callback comes then).
 * ERRORS ready(ctx, -EBADMSG or -errno): the file is damaged or gone; the delivery defers.
 */
#pragma once
#include "pp/spool/writer.h"

struct body;

/* bytes: the message in memory (a reference is taken), or NULL: read the file. */
struct body *body_open(struct spool *s, enum queue q, const char *id, struct spool_bytes *bytes,
    off_t data_offset, int64_t data_size);

/* One piece of a line, without line end. `last` = the line ends here. */
struct body_piece {
	struct str bytes; /* valid until the next body call */
	bool last;
};
/* 1 = a piece, 0 = the content is complete, -EAGAIN = ask body_wait, -EBADMSG = damaged. */
int body_next(struct body *b, struct body_piece *ret);
/* Reads ahead; ready(ctx, 0 or -errno) comes once. */
void body_wait(struct body *b, void (*ready)(void *ctx, int rc), void *ctx);
/* After -EBADMSG: what is wrong, and at which offset. */
const char *body_error(const struct body *b);
void body_close(struct body *b);
