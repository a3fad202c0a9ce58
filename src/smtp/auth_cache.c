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
	unsigned char key[SASL_DIGEST_SIZE];
	int64_t when; /* loop_now */
	struct arena arena;
	struct status said;
};

static void
drop(struct smtp *s, struct smtp_rejected *r)
{
	HASH_DEL(s->rejected, r);
	arena_fini(&r->arena);
	mem_free(r);
}

static struct smtp_rejected *
find(const struct smtp_session *ss, unsigned char key[SASL_DIGEST_SIZE])
{
	struct smtp_rejected *r;

	sasl_digest(ss->o.target->host, ss->o.user, ss->o.password, key);
	HASH_FIND(hh, ss->smtp->rejected, key, SASL_DIGEST_SIZE, r);
	return r;
}

const struct status *
smtp_auth_cache_find(const struct smtp_session *ss)
{
	unsigned char key[SASL_DIGEST_SIZE];
	const struct params *p = ss->o.svc->p;
	struct smtp_rejected *r;

	if (!*p->smtp_sasl_auth_cache_name)
		return NULL;
	r = find(ss, key);
	if (r && loop_now(ss->smtp->loop) - r->when >= p->smtp_sasl_auth_cache_time) {
		drop(ss->smtp, r);
		r = NULL;
	}
	return r ? &r->said : NULL;
}

void
smtp_auth_cache_put(const struct smtp_session *ss, const struct status *said)
{
	unsigned char key[SASL_DIGEST_SIZE];
	struct smtp *s = ss->smtp;
	struct smtp_rejected *r;

	if (!*ss->o.svc->p->smtp_sasl_auth_cache_name || !ss->o.password)
		return;
	r = find(ss, key);
	if (r)
		drop(s, r);
	else if (HASH_COUNT(s->rejected) >= REJECTED_MAX)
		drop(s, s->rejected); /* the oldest */
	r = MEM_NEW(struct smtp_rejected);
	memcpy(r->key, key, sizeof r->key);
	r->when = loop_now(s->loop);
	r->said = status_copy(&r->arena, said);
	HASH_ADD(hh, s->rejected, key, SASL_DIGEST_SIZE, r);
}

void
smtp_auth_cache_clear(struct smtp *s)
{
	while (s->rejected)
		drop(s, s->rejected);
}
