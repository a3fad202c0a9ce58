/*
 * resolver_search.c - which names are tried for a short one, in the order of res_search(3).
 *
 * A name with a dot is tried as it is first, one without at last. c-ares could do it, but not for
 * questions that ask for DNSSEC, and not for two families with one verdict.
 */
#include <stdio.h>
#include <string.h>
#include "pp/net/resolver.h"
#include "resolver_internal.h"

/* The next search domain that makes a name. */
static bool
next_domain(struct search *s, const struct channel *c, char to[RESOLVER_NAME_MAX])
{
	char domain[RESOLVER_NAME_MAX];
	bool has_dot = strchr(s->name, '.') != NULL;

	while (s->flags & (has_dot ? RESOLVER_DNSRCH : RESOLVER_DEFNAMES)) {
		if ((s->domain > 0 && !(s->flags & RESOLVER_DNSRCH)) ||
		    !channel_domain(c, s->domain, domain))
			return false;
		s->domain++;
		if (snprintf(to, RESOLVER_NAME_MAX, "%s.%s", s->name, domain) < RESOLVER_NAME_MAX &&
		    resolver_name_valid(str_of(to)))
			return true;
	}
	return false;
}

bool
search_next(struct search *s, const struct channel *c, char to[RESOLVER_NAME_MAX])
{
	bool is_first = strchr(s->name, '.') != NULL;

	if ((s->is_tried || !is_first) && next_domain(s, c, to))
		return true;
	if (s->is_tried)
		return false;
	s->is_tried = true;
	memcpy(to, s->name, sizeof(s->name));
	return true;
}
