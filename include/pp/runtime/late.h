/*
 * late.h - a shared library that is loaded when it is first needed, instead of at every start.
 * THREAD any; what was loaded may be called by every thread that hears of it through a post, a job
 *        or a snapshot.
 * OWNS   nothing; a library stays for the life of the process.
 * ERRORS -ELIBACC with file and reason in `err`.
 *
 * Most runs of this program are short commands, and an idle daemon needs no TLS: OpenSSL costs each
 * start more than all the rest of it. Who uses a library includes its header here instead of its
 * own (src/net/openssl.h), and calls functions by their own names.
 */
#pragma once
#include "pp/base/buf.h"

enum { LATE_MAX = 256 }; /* functions of one library */

struct late {
	const char *files; /* to be tried in turn, each ended by a NUL, an empty one ends all */
	const char *names; /* of the functions, in the same way, in the order of `calls` */
	void **calls;
};

/* Does nothing the second time. Blocks. */
int late_load_blk(const struct late *l, struct buf *err);
