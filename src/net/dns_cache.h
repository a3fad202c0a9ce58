/*
 * dns_cache.h - answers of the DNS for as long as they say.
 * THREAD the loop of the resolver.
 * OWNS   copies of its own; what it gives is the caller's copy.
 * ERRORS none. Temporary failures are not kept: who asks again wants to know.
 * SEE    RFC 2308 5: denials are kept for the time of their SOA record, too, but not for long.
 */
#pragma once
#include "dns_answer.h"

struct dns_cache;

struct dns_cache *dns_cache_new(void);
void dns_cache_free(struct dns_cache *c);
/* All is forgotten: other servers may know something else. */
void dns_cache_clear(struct dns_cache *c);
/* is_secure: asked for with DNSSEC. now: milliseconds of any clock that does not go back. The time
 * to live of what is found is what is left of it. */
bool dns_cache_find(struct dns_cache *c, const char *name, enum dns_type type, bool is_secure,
    int64_t now, struct dns_answer *ret);
void dns_cache_put(struct dns_cache *c, const char *name, enum dns_type type, bool is_secure,
    int64_t now, const struct dns_answer *a);
