/*
 * expand.h - $name, ${name?text} and the rest of the macro language of main.cf.
 * THREAD any.  OWNS nothing.
 * ERRORS -EINVAL for broken syntax, -ELOOP for a loop (the text names the chain), -ENOBUFS when
 *        the result outgrows `to`; err then holds a text.
 * SEE    shared by parameters, reply templates and command lines: each brings its own lookup.
 */
#pragma once
#include "pp/base/buf.h"

enum { EXPAND_DEPTH_MAX = 100 };

struct expand_env {
	/* The raw text of a name, to be expanded in turn, or NULL: then it counts as empty. */
	const char *(*lookup)(void *arg, struct str name);
	void *arg;
	bool is_final; /* values that lookup gives are not expanded again: they are data */
};

/* Appends the expansion of `text` to `to`. */
int expand(struct str text, const struct expand_env *env, struct buf *to, struct buf *err);
/* Calls `each` for every name that `text` mentions, however deep. Broken syntax ends it. */
void expand_names(struct str text, void (*each)(void *arg, struct str name), void *arg);
/* Compares two compatibility levels ("3.6", "2"): -1, 0, 1; bad ones count as 0. */
int expand_level_compare(struct str a, struct str b);
