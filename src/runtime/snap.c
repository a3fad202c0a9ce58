/*
 * snap.c - reference counting. Release on the way down, acquire before destroying, so that all
 * reads through other references have happened before the memory goes.
 */
#include <stddef.h>
#include "pp/base/assert.h"
#include "pp/runtime/snap.h"

void
snap_init(struct snap *s, void (*destroy)(struct snap *))
{
	atomic_init(&s->refs, 1);
	s->destroy = destroy;
}

void
snap_ref(struct snap *s)
{
	unsigned before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);

	PP_ASSERT(before > 0);
}

void
snap_unref(struct snap *s)
{
	if (s == NULL)
		return;
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		s->destroy(s);
}
