/*
 * text.h - the texts tables are made of, entry by entry: `key value` and, for aliases, `key:
 * value`. THREAD any; pure. OWNS   views of the buffer given; valid until its next change. ERRORS
 * -EINVAL: the line has no entry; *why says what is wrong with it. SEE    postmap(1), postalias(1).
 * Comments, empty and continued lines are dealt with.
 */
#pragma once
#include "pp/base/buf.h"

enum map_line_fault {
	MAP_LINE_BLANK,     /* the first one begins with a blank, and continues nothing */
	MAP_LINE_LONG,      /* longer than the buffer may be */
	MAP_LINE_QUOTE,     /* a quote in the key without its partner */
	MAP_LINE_NO_PAIR,   /* no key, no value, or no colon between them */
	MAP_LINE_NOT_LOCAL, /* an alias for an address with a domain */
};

struct map_line {
	int line; /* where it begins, from 1 */
	struct str text;
	struct str key, value; /* as written; of an alias see map_alias */
	enum map_line_fault why;
};

/* The next entry of *text. 1, 0 at the end, -EINVAL. *count counts lines; start it at 0. A key ends
 * at the first blank outside of quotes, which stay. */
int map_line_next(struct str *text, int *count, struct buf *logical, struct map_line *ret);
/* The same of an alias table; key and value are made in the buffers: the key without its quotes,
 * the value with blanks where they belong. */
int map_alias_next(struct str *text, int *count, struct buf *logical, struct buf *key,
    struct buf *value, struct map_line *ret);
