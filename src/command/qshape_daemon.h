/*
 * qshape_daemon.h - what the running daemon says of its queues, for qshape.
 * ERRORS none: what it does not say is read from the files.
 */
#pragma once
#include "pp/base/str.h"

/* Tells `counted` about those of the queues that the daemon knows by heart, when one of them may be
 * long, and takes them off the list. Returns how many are left. */
size_t qshape_daemon(const char *queue_directory, bool by_sender, char **queues, size_t n,
    void (*counted)(void *ctx, struct str messages), void *ctx);
