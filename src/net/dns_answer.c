/*
 * dns_answer.c - reads a DNS answer without believing it.
 *
 * c-ares' parsers turn a lame referral or an echoed query into "no data", and some broken MX
 * records into an empty name that looks like a null MX: a permanent failure out of a broken answer.
 * So header and question are checked first, records count only under the name that was asked or at
 * the end of its aliases, and whatever is odd is a temporary failure (RFC 5321 5.1, RFC 7505, RFC
 * 2308 2.2). Names are expanded by libc's dn_expand.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <resolv.h>
#include "address.h"
#include "dns_answer.h"
#include "pp/base/mem.h"
#include "pp/net/stream.h"
#include "pp/net/tls.h"

enum {
	HEADER_SIZE = 12,
	RECORDS_MAX = 1024, /* of the answer and of the authority section, each */
	ALIASES_MAX = 10,
	NAME_TEXT = 1025, /* an expanded name, with escapes */
	TTL_MAX = 7 * 86400,

	FLAG_QR = 0x8000,
	FLAG_AA = 0x0400,
	FLAG_TC = 0x0200,
	FLAG_RA = 0x0080,
	FLAG_AD = 0x0020,
	MASK_OPCODE = 0x7800,
	MASK_RCODE = 0x000f,
	RCODE_OK = 0,
	RCODE_NXDOMAIN = 3,

	CLASS_IN = 1,
	TYPE_NS = 2,
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
};

struct message {
	const uint8_t *p, *end;
	unsigned flags, answers, authorities;
	size_t first; /* where the answer section begins */
};

struct record {
	char owner[NAME_TEXT];
	unsigned type, class;
	int64_t ttl;
	const uint8_t *data;
	size_t n;
};

static unsigned
be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

bool
resolver_name_valid(struct str name)
{
	struct str rest = name, label = {0};
	bool number = true;

	if (name.n == 0 || name.n >= RESOLVER_NAME_MAX)
		return false;
	while (rest.p != NULL) {
		size_t dot = str_index(rest, '.');

		label = str_head(rest, dot);
		if (label.n == 0 || label.n > 63 || label.p[0] == '-' ||
		    label.p[label.n - 1] == '-')
			return false;
		number = true;
		for (size_t i = 0; i < label.n; i++) {
			if (!str_isalnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
			number = number && str_isdigit(label.p[i]);
		}
		rest = dot < rest.n ? str_from(rest, dot + 1) : (struct str){0};
	}
	return !number; /* 192.0.2.1 is an address, and no top-level domain is a number */
}

void
dns_answer_fail(struct dns_answer *a, enum resolver_result result, const char *text)
{
	static const char *const texts[] = {
	    [RESOLVER_NOT_FOUND] = "Host not found",
	    [RESOLVER_NO_DATA] = "Host found but no data record of requested type",
	    [RESOLVER_TRY_AGAIN] = "Host not found, try again",
	    [RESOLVER_MALFORMED] = "Malformed or unexpected name server reply",
	};

	dns_answer_fini(a);
	a->result = result;
	a->text = text ? text : texts[result];
}

void
dns_answer_fini(struct dns_answer *a)
{
	mem_free(a->mx);
	mem_free(a->address);
	mem_free(a->tlsa);
	*a = (struct dns_answer){0};
}

static void *
copy(const void *p, size_t n)
{
	return p && n > 0 ? memcpy(mem_alloc(n), p, n) : NULL;
}

/* Room for n records and their data in one piece. */
static size_t
tlsa_size(size_t n)
{
	return n * sizeof(struct tls_tlsa) + RESOLVER_TLSA_BYTES;
}

struct dns_answer
dns_answer_copy(const struct dns_answer *a)
{
	struct dns_answer to = *a;

	to.mx = copy(a->mx, a->n * sizeof(*a->mx));
	to.address = copy(a->address, a->n * sizeof(*a->address));
	to.tlsa = copy(a->tlsa, tlsa_size(RESOLVER_TLSA_MAX));
	for (size_t i = 0; to.tlsa && i < a->n; i++)
		to.tlsa[i].data = (uint8_t *)to.tlsa + (a->tlsa[i].data - (const uint8_t *)a->tlsa);
	return to;
}

/* Expands the name at `at` and moves behind it. False when it is broken. */
static bool
read_name(const struct message *m, size_t *at, char to[NAME_TEXT])
{
	size_t size = (size_t)(m->end - m->p);
	int n;

	if (*at >= size)
		return false;
	n = dn_expand(m->p, m->end, m->p + *at, to, NAME_TEXT);
	if (n <= 0 || (size_t)n > size - *at)
		return false;
	*at += (size_t)n;
	return true;
}

static bool
read_record(const struct message *m, size_t *at, struct record *r)
{
	size_t size = (size_t)(m->end - m->p);
	const uint8_t *p;

	if (!read_name(m, at, r->owner) || size - *at < 10)
		return false;
	p = m->p + *at;
	r->type = be16(p);
	r->class = be16(p + 2);
	r->ttl = (int64_t)be16(p + 4) << 16 | be16(p + 6);
	if (r->ttl > TTL_MAX) /* also a negative one (RFC 2181 8) */
		r->ttl = r->ttl > INT32_MAX ? 0 : TTL_MAX;
	r->n = be16(p + 8);
	*at += 10;
	if (size - *at < r->n)
		return false;
	r->data = m->p + *at;
	*at += r->n;
	return true;
}

static bool
same_name(const char *a, const char *b)
{
	return str_caseeq(str_of(a), str_of(b));
}

/* Header and question: is this an answer at all, and to what was asked? */
static bool
read_header(struct message *m, struct str bytes, const char *name, enum dns_type type)
{
	char asked[NAME_TEXT];
	size_t at = HEADER_SIZE;

	m->p = (const uint8_t *)bytes.p;
	m->end = m->p + bytes.n;
	if (bytes.n < HEADER_SIZE)
		return false;
	m->flags = be16(m->p + 2);
	m->answers = be16(m->p + 6);
	m->authorities = be16(m->p + 8);
	if (!(m->flags & FLAG_QR) || (m->flags & MASK_OPCODE) || be16(m->p + 4) != 1 ||
	    m->answers > RECORDS_MAX || m->authorities > RECORDS_MAX)
		return false;
	if (!read_name(m, &at, asked) || bytes.n - at < 4 || !same_name(asked, name) ||
	    be16(m->p + at) != type || be16(m->p + at + 2) != CLASS_IN)
		return false;
	m->first = at + 4;
	return true;
}

/* The authority section. A referral has name servers and no start of authority: who sends one
 * does not know the answer (RFC 2308 2.2.1). */
static bool
read_authority(const struct message *m, size_t at, bool *ret_referral, int64_t *ret_ttl)
{
	struct record r;
	bool ns = false, soa = false;

	*ret_ttl = 0;
	for (unsigned i = 0; i < m->authorities; i++) {
		if (!read_record(m, &at, &r))
			return false;
		if (r.class != CLASS_IN)
			continue;
		ns = ns || r.type == TYPE_NS;
		if (r.type == TYPE_SOA) {
			soa = true;
			*ret_ttl = r.ttl;
		}
	}
	*ret_referral = ns && !soa;
	return true;
}

static bool
matches(const struct record *r, const char *name, unsigned type)
{
	return r->type == type && r->class == CLASS_IN && same_name(r->owner, name);
}

/* Follows aliases to where the records are; `name` becomes that name. False: a loop, a fork, a
 * broken record, or too many. */
static bool
follow(const struct message *m, char name[NAME_TEXT], unsigned type, int64_t *ttl)
{
	for (unsigned depth = 0; depth <= ALIASES_MAX; depth++) {
		char target[NAME_TEXT] = "", other[NAME_TEXT];
		struct record r;
		size_t at = m->first;
		unsigned found = 0, aliases = 0;

		for (unsigned i = 0; i < m->answers; i++) {
			if (!read_record(m, &at, &r))
				return false;
			found += matches(&r, name, type);
			if (!matches(&r, name, TYPE_CNAME))
				continue;
			size_t inside = (size_t)(r.data - m->p);

			if (!read_name(m, &inside, other) || inside != at ||
			    (aliases++ > 0 && !same_name(other, target)))
				return false;
			memcpy(target, other, sizeof(target));
			*ttl = *ttl < r.ttl ? *ttl : r.ttl;
		}
		if (found > 0 || aliases == 0)
			return true;
		memcpy(name, target, sizeof(target));
	}
	return false;
}

static bool
address_usable(const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;
	uint32_t ip = ntohl(v4->sin_addr.s_addr);

	/* 0.0.0.0 would connect to ourselves: a mail loop by somebody else's zone. */
	if (sa->ss_family == AF_INET)
		return ip >> 24 != 0 && ip >> 28 != 14 && ip != 0xffffffffu;
	return !IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) && !IN6_IS_ADDR_MULTICAST(&v6->sin6_addr) &&
	       !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
}

static bool
take_address(struct dns_answer *a, const struct record *r)
{
	struct sockaddr_storage sa = {0};
	struct sockaddr_in *v4 = (void *)&sa;
	struct sockaddr_in6 *v6 = (void *)&sa;
	struct resolver_address *to;
	struct stream_peer text;

	if (r->n != (r->type == DNS_A ? 4u : 16u))
		return false;
	sa.ss_family = r->type == DNS_A ? AF_INET : AF_INET6;
	if (r->type == DNS_A)
		memcpy(&v4->sin_addr, r->data, 4);
	else
		memcpy(&v6->sin6_addr, r->data, 16);
	if (!address_usable(&sa))
		return false;
	if (a->n == RESOLVER_ADDRESS_MAX)
		return true; /* more than anybody will try */
	to = &a->address[a->n++];
	to->sa = sa;
	net_address_describe((struct sockaddr *)&sa, &text);
	memcpy(to->text, text.address, sizeof(to->text));
	return true;
}

/* Keeps the best RESOLVER_MX_MAX in order of preference. */
static void
insert_mx(struct dns_answer *a, const struct resolver_mx *mx)
{
	size_t at = a->n;

	while (at > 0 && a->mx[at - 1].preference > mx->preference)
		at--;
	if (at == RESOLVER_MX_MAX)
		return;
	if (a->n < RESOLVER_MX_MAX)
		a->n++;
	memmove(&a->mx[at + 1], &a->mx[at], (a->n - 1 - at) * sizeof(*a->mx));
	a->mx[at] = *mx;
}

/* MX, and SRV, which has weight and port behind the preference (RFC 2782). */
static bool
take_mx(struct dns_answer *a, const struct message *m, const struct record *r, bool *null_mx)
{
	size_t fixed = r->type == DNS_SRV ? 6 : 2;
	size_t at = (size_t)(r->data - m->p), end = at + r->n;
	struct resolver_mx mx = {0};
	char host[NAME_TEXT];

	at += fixed;
	if (r->n <= fixed || !read_name(m, &at, host) || at != end)
		return false;
	if (host[0] == '\0') {
		*null_mx = *null_mx || r->n == fixed + 1;
		return r->n == fixed + 1;
	}
	if (!resolver_name_valid(str_of(host)))
		return false;
	mx.preference = be16(r->data);
	if (r->type == DNS_SRV) {
		mx.weight = be16(r->data + 2);
		mx.port = be16(r->data + 4);
		if (mx.port == 0)
			return false;
	}
	memcpy(mx.host, host, strlen(host) + 1);
	insert_mx(a, &mx);
	return true;
}

/* RFC 6698 2.1. What there is no room for counts as unusable. */
static bool
take_tlsa(struct dns_answer *a, const struct record *r)
{
	uint8_t *to = (uint8_t *)a->tlsa + tlsa_size(RESOLVER_TLSA_MAX) - RESOLVER_TLSA_BYTES;
	uint8_t *end = to + RESOLVER_TLSA_BYTES;

	if (r->n < 4)
		return false;
	if (a->n > 0)
		to += a->tlsa[a->n - 1].data + a->tlsa[a->n - 1].n - to;
	if (a->n == RESOLVER_TLSA_MAX || (size_t)(end - to) < r->n - 3)
		return true;
	memcpy(to, r->data + 3, r->n - 3);
	a->tlsa[a->n++] = (struct tls_tlsa){.usage = r->data[0],
	    .selector = r->data[1],
	    .type = r->data[2],
	    .data = to,
	    .n = r->n - 3};
	return true;
}

static bool
take_ptr(struct dns_answer *a, const struct message *m, const struct record *r)
{
	char host[NAME_TEXT];
	size_t at = (size_t)(r->data - m->p), end = at + r->n;

	if (!read_name(m, &at, host) || at != end || !resolver_name_valid(str_of(host)))
		return false;
	if (a->n == 0)
		memcpy(a->name, host, strlen(host) + 1);
	a->n = 1;
	return true;
}

/* Takes the records under `name`. *ret_seen counts them, the unusable ones too; *ret_foreign
 * those of the type under other names. */
static void
take_records(struct dns_answer *a, const struct message *m, const char *name, enum dns_type type,
    unsigned *ret_seen, unsigned *ret_foreign)
{
	size_t at = m->first;
	bool null_mx = false;

	*ret_seen = *ret_foreign = 0;
	for (unsigned i = 0; i < m->answers; i++) {
		struct record r;

		if (!read_record(m, &at, &r))
			return; /* cannot be: follow() has read them all */
		if (!matches(&r, name, type)) {
			*ret_foreign += r.type == type;
			continue;
		}
		(*ret_seen)++;
		if (type == DNS_MX || type == DNS_SRV)
			take_mx(a, m, &r, &null_mx);
		else if (type == DNS_PTR)
			take_ptr(a, m, &r);
		else if (type == DNS_TLSA)
			take_tlsa(a, &r);
		else if (type == DNS_A || type == DNS_AAAA)
			take_address(a, &r);
		else
			a->n = 1; /* resolver_probe: what it says is nobody's matter */
		a->ttl = a->ttl < r.ttl ? a->ttl : r.ttl;
	}
	/* RFC 7505 3, RFC 2782: a null MX stands alone. Beside others it is a mistake of theirs. */
	if (null_mx && *ret_seen == 1)
		a->n = 1;
}

/* Nothing under the name: is that the truth? */
static void
conclude_empty(struct dns_answer *a, const struct message *m, size_t authority)
{
	enum resolver_result result =
	    (m->flags & MASK_RCODE) == RCODE_NXDOMAIN ? RESOLVER_NOT_FOUND : RESOLVER_NO_DATA;
	bool referral;
	int64_t ttl;

	if (!read_authority(m, authority, &referral, &ttl)) {
		dns_answer_fail(a, RESOLVER_MALFORMED, NULL);
	} else if (referral || !(m->flags & (FLAG_AA | FLAG_RA))) {
		/* Who neither knows the zone nor asks others cannot deny anything. */
		dns_answer_fail(a, RESOLVER_TRY_AGAIN, NULL);
	} else {
		dns_answer_fail(a, result, NULL);
		a->ttl = ttl;
	}
}

void
dns_answer_read(struct dns_answer *a, struct str message, const char *name, enum dns_type type)
{
	struct message m;
	struct record r;
	char last[NAME_TEXT] = "";
	unsigned rcode, seen, foreign;
	size_t at;

	*a = (struct dns_answer){.ttl = TTL_MAX};
	if (strlen(name) >= RESOLVER_NAME_MAX || !read_header(&m, message, name, type) ||
	    (m.flags & FLAG_TC)) {
		dns_answer_fail(a, RESOLVER_MALFORMED, NULL);
		return;
	}
	rcode = m.flags & MASK_RCODE;
	if (rcode != RCODE_OK && rcode != RCODE_NXDOMAIN) {
		dns_answer_fail(a, RESOLVER_TRY_AGAIN, NULL);
		return;
	}
	memcpy(last, name, strlen(name) + 1);
	at = m.first;
	for (unsigned i = 0; i < m.answers; i++) {
		if (!read_record(&m, &at, &r)) {
			dns_answer_fail(a, RESOLVER_MALFORMED, NULL);
			return;
		}
	}
	if (!follow(&m, last, type, &a->ttl)) {
		dns_answer_fail(a, RESOLVER_MALFORMED, NULL);
		return;
	}
	if (type == DNS_MX || type == DNS_SRV)
		a->mx = mem_alloc(RESOLVER_MX_MAX * sizeof(*a->mx));
	else if (type == DNS_TLSA)
		a->tlsa = mem_alloc(tlsa_size(RESOLVER_TLSA_MAX));
	else if (type == DNS_A || type == DNS_AAAA)
		a->address = mem_alloc(RESOLVER_ADDRESS_MAX * sizeof(*a->address));
	if (type != DNS_PTR && !same_name(last, name) && resolver_name_valid(str_of(last)))
		memcpy(a->name, last, strlen(last) + 1);
	take_records(a, &m, last, type, &seen, &foreign);
	if (seen == 0 && foreign == 0)
		conclude_empty(a, &m, at);
	else if (a->n == 0 || rcode != RCODE_OK)
		dns_answer_fail(a, RESOLVER_MALFORMED, NULL);
	a->is_secure = (m.flags & FLAG_AD) != 0;
}
