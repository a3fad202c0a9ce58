/*
 * assert.c - where a bug ends the process.
 *
 * stderr is written with one write(2): the heap, stdio and the log may be what is broken.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pp/base/assert.h"

void
assert_fail(const char *expr, const char *file, int line)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "pennypost: panic: %s:%d: assertion failed: %s\n",
	    file, line, expr);

	if (n > 0 && write(2, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1) < 0) {
		/* Nobody is left to tell. */
	}
	abort();
}
