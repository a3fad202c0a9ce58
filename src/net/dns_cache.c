/*
 * dns_cache.c - a table of answers, the oldest of which make room for new ones.
 *
 * A relay host is looked up for every connection otherwise, and a mailing list asks the same
 * domains within a second. A name server on the same machine would do as well; many have none.
 */
#include <stdio.h>
#include "dns_cache.h"
#include "pp/base/hash.h"
#include "pp/base/mem.h"

enum {
	KEY_MAX = RESOLVER_NAME_MAX + 8,
	ANSWERS_MAX = 4096,
	DENIAL_MS = 300 * 1000, /* a domain that was mistyped in the DNS is soon put right */
};

struct entry {
	UT_hash_handle hh;
	int64_t until;
	struct dns_answer answer;
	char key[KEY_MAX]; /* "15 example.com", "15+ example.com" */
};

struct dns_cache {
	struct entry *entries; /* in the order they came */
};

struct dns_cache *
dns_cache_new(void)
{
	return MEM_NEW(struct dns_cache);
}

static void
drop(struct dns_cache *c, struct entry *e)
{
	HASH_DEL(c->entries, e);
	dns_answer_fini(&e->answer);
	mem_free(e);
}

void
dns_cache_clear(struct dns_cache *c)
{
	struct entry *e, *next;

	HASH_ITER (hh, c->entries, e, next)
		drop(c, e);
}

void
dns_cache_free(struct dns_cache *c)
{
	if (c == NULL)
		return;
	dns_cache_clear(c);
	mem_free(c);
}

static void
key_of(char key[KEY_MAX], const char *name, enum dns_type type, bool is_secure)
{
	int n = snprintf(key, KEY_MAX, "%u%s ", (unsigned)type, is_secure ? "+" : "");

	for (key += n; *name; name++)
		*key++ = str_lower(*name);
	*key = '\0';
}

bool
dns_cache_find(struct dns_cache *c, const char *name, enum dns_type type, bool is_secure,
    int64_t now, struct dns_answer *ret)
{
	char key[KEY_MAX];
	struct entry *e;

	key_of(key, name, type, is_secure);
	HASH_FIND_STR(c->entries, key, e);
	if (e && e->until <= now) {
		drop(c, e);
		e = NULL;
	}
	if (e == NULL)
		return false;
	*ret = dns_answer_copy(&e->answer);
	ret->ttl = (e->until - now + 999) / 1000;
	return true;
}

static int64_t
keep_ms(const struct dns_answer *a)
{
	switch (a->result) {
	case RESOLVER_OK:
		return a->ttl * 1000;
	case RESOLVER_NOT_FOUND:
	case RESOLVER_NO_DATA:
		return a->ttl * 1000 < DENIAL_MS ? a->ttl * 1000 : DENIAL_MS;
	default:
		return 0;
	}
}

void
dns_cache_put(struct dns_cache *c, const char *name, enum dns_type type, bool is_secure,
    int64_t now, const struct dns_answer *a)
{
	int64_t keep = keep_ms(a);
	struct entry *e, *old;

	if (keep <= 0)
		return;
	e = MEM_NEW(struct entry);
	key_of(e->key, name, type, is_secure);
	e->until = now + keep;
	e->answer = dns_answer_copy(a);
	HASH_FIND_STR(c->entries, e->key, old);
	if (old == NULL && HASH_COUNT(c->entries) >= ANSWERS_MAX)
		old = c->entries;
	if (old)
		drop(c, old);
	HASH_ADD_STR(c->entries, key, e);
}
