/*
 * last.h - the end of a process that cannot end: something it waits for never answers.
 * THREAD any.  OWNS nothing.
 * ERRORS none.
 */
#pragma once
#include <stdint.h>

/* If the process is still there after so many milliseconds, too_late is called on a thread of its
 * own, has a moment to say why, and the process ends with this code, whatever its threads do.
 * Called again: the later time counts. */
void last_resort(int64_t ms, int code, void (*too_late)(void));
