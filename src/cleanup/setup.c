/*
 * setup.c - references to what all messages of one configuration share.
 */
#include "pp/cleanup/cleanup.h"

void
cleanup_setup_ref(struct cleanup_setup *to, const struct cleanup_setup *from)
{
	*to = *from;
	snap_ref(&from->config->snap);
	route_ref(from->route);
}

void
cleanup_setup_unref(struct cleanup_setup *s)
{
	if (s->config == NULL)
		return;
	route_unref(s->route);
	snap_unref(&s->config->snap);
	*s = (struct cleanup_setup){0};
}
