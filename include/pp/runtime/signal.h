/*
 * signal.h - signals as callbacks of a loop.
 * THREAD the main loop's. All other threads block every signal (see loop_start, lane_new).
 * OWNS   signal_watch's result; signal_unwatch frees it.
 * ERRORS none.
 */
#pragma once
#include "pp/runtime/loop.h"

struct signal_watch;
struct signal_watch *
signal_watch(struct loop *l, int signum, void (*came)(void *ctx, int signum), void *ctx);
/* NULL is taken. */
void signal_unwatch(struct signal_watch *w);
/* What a daemon ignores: SIGPIPE. Once, before threads. */
void signal_ignore(void);
