/*
 * Logins that a server has rejected (535), so that the same one is not tried again and again: some
 * providers lock an account for that (smtp_sasl_auth_cache_name).
 *
 * Postfix keeps them in a table on the disk; here they live as long as the loop, which is long
 * enough for what they are for, and a corrected password is another login at once.
 */
#include "internal.h"
#include "pp/base/hash.h"

enum { REJECTED_MAX = 512 };

struct smtp_rejected {
	UT_hash_handle hh;
	int64_t when; /* loop_now */
	struct arena arena;
	struct status said;
	size_t n;
	char login[]; /* host, user and password, each with its NUL; wiped */
};

static void
drop(struct smtp *s, struct smtp_rejected *r)
{
	HASH_DEL(s->rejected, r);
	arena_fini(&r->arena);
	explicit_bzero(r->login, r->n);
	mem_free(r);
}

/* An entry of this login, to look for or to keep. */
static struct smtp_rejected *
make(const struct smtp_session *ss)
{
	const char *parts[] = {ss->o.target->host, ss->o.user, ss->o.password};
	struct smtp_rejected *r;
	size_t n = 0;

	for (size_t i = 0; i < PP_COUNT(parts); i++)
		n += strlen(parts[i]) + 1;
	r = mem_alloc(sizeof *r + n);
	for (size_t i = 0; i < PP_COUNT(parts); i++) {
		size_t size = strlen(parts[i]) + 1;

		memcpy(r->login + r->n, parts[i], size);
		r->n += size;
	}
	return r;
}

static struct smtp_rejected *
find(const struct smtp_session *ss)
{
	struct smtp_rejected *key = make(ss), *r;

	HASH_FIND(hh, ss->smtp->rejected, key->login, key->n, r);
	explicit_bzero(key->login, key->n);
	mem_free(key);
	return r;
}

const struct status *
smtp_auth_cache_find(const struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;
	struct smtp_rejected *r;

	if (!*p->smtp_sasl_auth_cache_name)
		return NULL;
	r = find(ss);
	if (r && loop_now(ss->smtp->loop) - r->when >= p->smtp_sasl_auth_cache_time) {
		drop(ss->smtp, r);
		r = NULL;
	}
	return r ? &r->said : NULL;
}

void
smtp_auth_cache_put(const struct smtp_session *ss, const struct status *said)
{
	struct smtp *s = ss->smtp;
	struct smtp_rejected *r;

	if (!*ss->o.svc->p->smtp_sasl_auth_cache_name || !ss->o.password)
		return;
	r = find(ss);
	if (r)
		drop(s, r);
	else if (HASH_COUNT(s->rejected) >= REJECTED_MAX)
		drop(s, s->rejected); /* the oldest */
	r = make(ss);
	r->when = loop_now(s->loop);
	r->said = status_copy(&r->arena, said);
	HASH_ADD_KEYPTR(hh, s->rejected, r->login, r->n, r);
}

void
smtp_auth_cache_clear(struct smtp *s)
{
	while (s->rejected)
		drop(s, s->rejected);
}
