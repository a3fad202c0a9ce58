/*
 * details.c - one message of a listing in some fifty bytes.
 *
 * Numbers are in base 128, domains are kept once for all, and so are reasons: an address that a
 * reason repeats ("450 <user@example.com>: try later") is replaced by a mark, or each would be its
 * own. Local parts stand as they are, since most differ.
 */
#include <errno.h>
#include "details.h"
#include "pp/base/assert.h"

enum {
	MARK_RCPT = 1, /* in an interned reason */
	MARK_SENDER = 2,
	MARK_MIN = 3, /* a shorter address is not looked for */
	HELD_MAX = 1 + 2 * DETAILS_RCPT_MAX,
	OUTCOME_MAX = DETAILS_REASON_MAX + 500,
};

struct pack {
	struct intern *in;
	const struct listing *l;
	char p[DETAILS_MAX];
	size_t n;
	bool overflow;
	uint32_t held[HELD_MAX];
	size_t held_n;
	char outcome[OUTCOME_MAX];
};

static void
put_bytes(struct pack *k, const char *p, size_t n)
{
	if (n > sizeof(k->p) - k->n)
		k->overflow = true;
	if (k->overflow)
		return;
	memcpy(k->p + k->n, p, n);
	k->n += n;
}

static void
put_number(struct pack *k, uint64_t v)
{
	char text[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		text[n++] = (char)(v | 0x80);
	text[n++] = (char)v;
	put_bytes(k, text, n);
}

static void
put_string(struct pack *k, struct str s)
{
	uint32_t handle = intern_add(k->in, s);

	PP_ASSERT(k->held_n < HELD_MAX);
	k->held[k->held_n++] = handle;
	put_number(k, (uint64_t)handle + 1);
}

static void
put_address(struct pack *k, struct str a)
{
	size_t at = str_rindex(a, '@');

	put_number(k, at);
	put_bytes(k, a.p, at);
	if (at < a.n)
		put_string(k, str_from(a, at + 1));
	else
		put_number(k, 0);
}

/* Copies `from` with `address` as the mark. */
static size_t
put_marked(char *to, const char *from, size_t n, struct str address, char mark)
{
	const char *end = from + n, *hit;
	size_t k = 0;

	while (address.n >= MARK_MIN &&
	       (hit = memmem(from, (size_t)(end - from), address.p, address.n)) != NULL) {
		memmove(to + k, from, (size_t)(hit - from));
		k += (size_t)(hit - from);
		to[k++] = mark;
		from = hit + address.n;
	}
	memmove(to + k, from, (size_t)(end - from));
	return k + (size_t)(end - from);
}

static void
put_outcome(struct pack *k, const struct listing_recipient *r)
{
	size_t reason = strlen(r->reason), relay = strlen(r->relay), dsn = strlen(r->dsn), n;
	char *p = k->outcome;

	if (reason + relay + dsn == 0) {
		put_number(k, 0);
		return;
	}
	if (reason > DETAILS_REASON_MAX || reason + relay + dsn + 3 > sizeof(k->outcome) ||
	    memchr(r->reason, MARK_RCPT, reason) || memchr(r->reason, MARK_SENDER, reason)) {
		k->overflow = true;
		return;
	}
	n = put_marked(p, r->reason, reason, str_of(r->address), MARK_RCPT);
	n = put_marked(p, p, n, str_of(k->l->sender), MARK_SENDER);
	p[n++] = '\0';
	memcpy(p + n, r->relay, relay + 1);
	n += relay + 1;
	memcpy(p + n, r->dsn, dsn);
	n += dsn;
	put_string(k, (struct str){p, n});
}

int
details_pack(struct intern *in, const struct listing *l, char **ret, size_t *ret_n)
{
	struct pack k;

	if (l->rcpt_count > DETAILS_RCPT_MAX)
		return -ENOBUFS;
	k.in = in;
	k.l = l;
	k.n = k.held_n = 0;
	k.overflow = false;
	put_number(&k, (uint64_t)l->arrival);
	put_number(&k, (uint64_t)l->size);
	put_number(&k, (uint64_t)l->attempts << 1 | l->forced_expire);
	put_number(&k, l->rcpt_count);
	put_address(&k, str_of(l->sender));
	for (size_t i = 0; i < l->rcpt_count && !k.overflow; i++) {
		put_address(&k, str_of(l->rcpt[i].address));
		put_outcome(&k, &l->rcpt[i]);
	}
	if (k.overflow) {
		while (k.held_n > 0)
			intern_drop(in, k.held[--k.held_n]);
		return -ENOBUFS;
	}
	*ret = memcpy(mem_alloc(k.n), k.p, k.n);
	*ret_n = k.n;
	return 0;
}

static uint64_t
get_number(const char **p)
{
	uint64_t v = 0;
	unsigned shift = 0;

	while (**p & 0x80) {
		v |= (uint64_t)(**p & 0x7f) << shift;
		shift += 7;
		++*p;
	}
	v |= (uint64_t)(unsigned char)**p << shift;
	++*p;
	return v;
}

/* The local part; *ret_domain: a handle + 1, or 0. */
static struct str
get_address(const char **p, uint32_t *ret_domain)
{
	struct str local = {.n = (size_t)get_number(p)};

	local.p = *p;
	*p += local.n;
	*ret_domain = (uint32_t)get_number(p);
	return local;
}

static const char *
join_address(const struct intern *in, const char **p, struct arena *a)
{
	uint32_t handle;
	struct str local = get_address(p, &handle), domain = {0};
	char *to;

	if (handle > 0)
		domain = intern_str(in, handle - 1);
	to = arena_alloc(a, local.n + domain.n + 2);
	memcpy(to, local.p, local.n);
	if (handle > 0) {
		to[local.n] = '@';
		memcpy(to + local.n + 1, domain.p, domain.n);
	}
	return to;
}

/* The reason with its addresses put back. */
static const char *
join_reason(const char *marked, const char *rcpt, const char *sender, struct arena *a)
{
	size_t n = strlen(marked) + 1, rcpt_n, sender_n;
	char *to, *start;

	if (strpbrk(marked, "\1\2") == NULL)
		return marked;
	rcpt_n = strlen(rcpt);
	sender_n = strlen(sender);
	for (const char *p = marked; *p; p++)
		n += *p == MARK_RCPT ? rcpt_n : *p == MARK_SENDER ? sender_n : 0;
	start = to = arena_alloc(a, n);
	for (const char *p = marked; *p; p++)
		if (*p == MARK_RCPT)
			to = (char *)memcpy(to, rcpt, rcpt_n) + rcpt_n;
		else if (*p == MARK_SENDER)
			to = (char *)memcpy(to, sender, sender_n) + sender_n;
		else
			*to++ = *p;
	return start;
}

void
details_unpack(const struct intern *in, const char *p, struct arena *a, struct listing *l)
{
	struct listing_recipient *to;
	uint64_t attempts;

	l->arrival = (int64_t)get_number(&p);
	l->size = (int64_t)get_number(&p);
	attempts = get_number(&p);
	l->attempts = (unsigned)(attempts >> 1);
	l->forced_expire = (attempts & 1) != 0;
	l->rcpt_count = (size_t)get_number(&p);
	l->sender = join_address(in, &p, a);
	l->rcpt = to = arena_alloc(a, (l->rcpt_count + 1) * sizeof(*to));
	for (size_t i = 0; i < l->rcpt_count; i++, to++) {
		uint32_t handle;

		to->address = join_address(in, &p, a);
		to->reason = to->relay = to->dsn = "";
		handle = (uint32_t)get_number(&p);
		if (handle > 0) {
			const char *text = intern_str(in, handle - 1).p;

			to->reason = join_reason(text, to->address, l->sender, a);
			to->relay = text + strlen(text) + 1;
			to->dsn = to->relay + strlen(to->relay) + 1;
		}
	}
}

/* What stands before the addresses. */
static size_t
skip_numbers(const char **p)
{
	get_number(p);
	get_number(p);
	get_number(p);
	return (size_t)get_number(p);
}

void
details_free(struct intern *in, char *packed)
{
	const char *p = packed;
	uint32_t domain, outcome;
	size_t n;

	if (packed == NULL)
		return;
	n = skip_numbers(&p);
	get_address(&p, &domain);
	if (domain > 0)
		intern_drop(in, domain - 1);
	for (; n > 0; n--) {
		get_address(&p, &domain);
		outcome = (uint32_t)get_number(&p);
		if (domain > 0)
			intern_drop(in, domain - 1);
		if (outcome > 0)
			intern_drop(in, outcome - 1);
	}
	mem_free(packed);
}

bool
details_at_site(const struct intern *in, const char *p, struct str site)
{
	uint32_t domain;
	size_t n = skip_numbers(&p);

	get_address(&p, &domain);
	for (; n > 0; n--) {
		get_address(&p, &domain);
		get_number(&p);
		if (domain > 0 && str_caseeq(intern_str(in, domain - 1), site))
			return true;
	}
	return false;
}
