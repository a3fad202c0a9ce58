/*
 * client.h - asking the running daemon. For commands; blocks.
 * THREAD commands.  OWNS nothing.
 * ERRORS -ENOENT, -ECONNREFUSED: the daemon is down; -EREMOTEIO: it answered "error TEXT" (in err).
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include "pp/base/buf.h"

/* Below the queue directory; public/ is open to the group of setgid_group. */
#define CONTROL_SOCKET "public/pennypost"

/* Where sendmail hands over what it would put into maildrop: src/pickup/handover.c. */
#define SUBMIT_SOCKET "public/submit"

/* A connected descriptor, or -errno. Each wait on it, also that for the connection, ends after the
 * timeout with -EAGAIN. */
int control_connect(const char *queue_directory, const char *socket, int64_t timeout_ms);
int control_set_timeout(int fd, int64_t ms);

/* Sends one command and calls line() for each line of the answer (a non-zero result hangs up).
 * The socket is CONTROL_SOCKET below the queue directory. */
int control_call(const char *queue_directory, const char *command,
    int (*line)(void *ctx, struct str line), void *ctx, struct buf *err);
/* The same for an answer of plain bytes, handed on as they come. */
int control_stream(const char *queue_directory, const char *command,
    int (*bytes)(void *ctx, struct str bytes), void *ctx, struct buf *err);
/* The process behind the socket as the kernel knows it, in our own numbering of processes: 0 = it
 * lives in another one (a container we cannot look into). */
int control_peer(const char *queue_directory, pid_t *ret_pid);
