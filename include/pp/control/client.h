/*
 * client.h - asking the running daemon. For commands; blocks.
 * THREAD commands.  OWNS nothing.
 * ERRORS -ENOENT, -ECONNREFUSED: the daemon is down; -EREMOTEIO: it answered "error TEXT" (in err).
 */
#pragma once
#include "pp/base/buf.h"

/* Below the queue directory; public/ is open to the group of setgid_group. */
#define CONTROL_SOCKET "public/pennypost"

/* Sends one command and calls line() for each line of the answer (a non-zero result hangs up).
 * The socket is CONTROL_SOCKET below the queue directory. */
int control_call(const char *queue_directory, const char *command,
    int (*line)(void *ctx, struct str line), void *ctx, struct buf *err);
