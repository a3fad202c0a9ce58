/*
 * intern.h - strings kept once, however many use them, each known by a number.
 * THREAD the owner's.  OWNS the strings, until the last user drops them.
 * ERRORS none.
 */
#pragma once
#include "handles.h"

struct intern_entry {
	char *text; /* NULL = free; may hold NULs, has one behind it */
	uint32_t n, hash;
	uint32_t users; /* or, of a free one: the next free + 1 */
};

struct intern {
	struct handles table;
	struct intern_entry *a;
	uint32_t used, room, free; /* free: the first + 1 */
	size_t bytes;              /* memory of the strings */
};

void intern_init(struct intern *in);
void intern_fini(struct intern *in);
/* HANDLES_NONE = nobody uses it. */
uint32_t intern_find(const struct intern *in, struct str s);
/* One more user of this string. */
uint32_t intern_add(struct intern *in, struct str s);
void intern_drop(struct intern *in, uint32_t handle);

static inline struct str
intern_str(const struct intern *in, uint32_t handle)
{
	return (struct str){in->a[handle].text, in->a[handle].n};
}
