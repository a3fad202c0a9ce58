/*
 * post.h - a message to a loop: the only way to touch what another thread owns.
 * THREAD post_to from any thread; run is called by the loop's thread, in the order of posting.
 * OWNS   posting moves ownership of the message (which embeds its struct post) to the loop.
 * ERRORS none.
 */
#pragma once
#include <stddef.h>
#include "pp/base/assert.h"

struct loop;

struct post {
	struct post *next;
	void (*run)(struct post *p);
};

/* One wake-up per batch: the loop is woken only when its queue was empty. */
void post_to(struct loop *l, struct post *p, void (*run)(struct post *));
/* Only inside the run of a post: once more, when all posts that are at hand now have run. For what
 * is done once for all of them. */
void post_after(struct post *p, void (*run)(struct post *));
