/*
 * resolver.c - mail exchangers, addresses and names of clients for one loop.
 *
 * A query asks one or two questions of the channel, keeps the answers, and calls back from a timer:
 * never inside the call, nor inside c-ares, so a callback may do anything, also free the resolver.
 * The same timer bounds the whole query, so a server that stalls (also on TCP) costs timeout_ms
 * and nobody else anything. A question that outlives its query is detached from it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include "address.h"
#include "dns_cache.h"
#include "hosts.h"
#include "pp/base/mem.h"
#include "pp/net/stream.h"
#include "resolver_internal.h"

enum { QUERIES_MAX = 4096, LOOK_EVERY_MS = 1000, PARTS = 2, HALF = RESOLVER_ADDRESS_MAX / 2 };

#define UNKNOWN "unknown"

struct resolver {
	struct loop *loop;
	char *servers; /* "" = resolv.conf's */
	char *resolv_conf;
	int64_t timeout_ms, looked, look_every_ms;
	struct stat st;          /* of resolv.conf */
	struct channel *channel; /* from the first question on: it takes more than all the rest */
	struct channel *old;     /* of the resolv.conf before: its questions finish there */
	struct dns_cache *cache;
	struct hosts *hosts;
	LIST_HEAD(, resolver_query) queries;
	unsigned n;
	unsigned generation; /* of channels */
};

struct part {
	struct lookup lookup;
	struct loop *loop;
	struct dns_cache *cache;
	struct resolver_query *query; /* NULL = nobody waits any more */
	unsigned at;
};

struct resolver_query {
	struct resolver *r;
	LIST_ENTRY(resolver_query) link;
	struct timer timer;
	enum { FIND_RECORDS, FIND_ADDRESS, FIND_PTR, FIND_FORWARD } kind;
	bool is_secure;
	int family;
	struct search search;            /* of addresses, where flags ask for one */
	struct sockaddr_storage client;  /* of resolver_find_name */
	char reverse[RESOLVER_NAME_MAX]; /* its PTR name */
	struct part *parts[PARTS];       /* not yet answered */
	struct dns_answer answers[PARTS];
	unsigned used, open;
	resolver_done *done;
	void *ctx;
};

static void query_fired(struct timer *t);

static void
query_free(struct resolver_query *q)
{
	timer_stop(&q->timer);
	for (unsigned i = 0; i < PARTS; i++) {
		if (q->parts[i])
			q->parts[i]->query = NULL;
		dns_answer_fini(&q->answers[i]);
	}
	LIST_REMOVE(q, link);
	q->r->n--;
	mem_free(q);
}

void
resolver_cancel(struct resolver_query *q)
{
	if (q == NULL)
		return;
	PP_ON(q->r->loop);
	query_free(q);
}

static void
deliver_soon(struct resolver_query *q)
{
	timer_start(q->r->loop, &q->timer, 0, query_fired);
}

static struct resolver_query *
query_new(struct resolver *r, int kind, resolver_done *done, void *ctx)
{
	struct resolver_query *q = MEM_NEW(struct resolver_query);

	PP_ON(r->loop);
	q->r = r;
	q->kind = kind;
	q->done = done;
	q->ctx = ctx;
	q->used = 1;
	LIST_INSERT_HEAD(&r->queries, q, link);
	r->n++;
	timer_start(r->loop, &q->timer, r->timeout_ms, query_fired);
	return q;
}

/* An answer that is known without asking. */
static struct resolver_query *
query_answer(struct resolver_query *q, enum resolver_result result, const char *text)
{
	dns_answer_fail(&q->answers[0], result, text);
	deliver_soon(q);
	return q;
}

static struct resolver_query *
query_addresses(struct resolver_query *q, const struct resolver_address *a, size_t n)
{
	q->answers[0].result = RESOLVER_OK;
	q->answers[0].address = mem_alloc(n * sizeof(*a));
	memcpy(q->answers[0].address, a, n * sizeof(*a));
	q->answers[0].n = n;
	deliver_soon(q);
	return q;
}

static void
part_answered(struct lookup *lookup, struct dns_answer *a)
{
	struct part *p = PP_CONTAINER(lookup, struct part, lookup);
	struct resolver_query *q = p->query;

	dns_cache_put(
	    p->cache, lookup->name, lookup->type, lookup->is_secure, loop_now(p->loop), a);
	if (q == NULL) {
		dns_answer_fini(a);
	} else {
		q->parts[p->at] = NULL;
		q->answers[p->at] = *a;
		if (--q->open == 0)
			deliver_soon(q);
	}
	mem_free(p);
}

/* resolv.conf changed: new questions go to a new channel, the open ones finish on the old. */
static void
refresh(struct resolver *r)
{
	int64_t now = loop_now(r->loop);
	struct channel *c = NULL;
	struct stat is = {0};
	struct buf err;

	if (r->servers[0] != '\0' || (r->looked && now - r->looked < r->look_every_ms))
		return;
	r->looked = now;
	if (stat(r->resolv_conf, &is) < 0)
		is = (struct stat){0};
	if (is.st_ino == r->st.st_ino && is.st_size == r->st.st_size &&
	    is.st_mtim.tv_sec == r->st.st_mtim.tv_sec &&
	    is.st_mtim.tv_nsec == r->st.st_mtim.tv_nsec)
		return;
	r->st = is;
	if (r->channel == NULL)
		return;
	buf_init(&err, 256);
	if (channel_new(r->loop, "", r->resolv_conf, r->timeout_ms, &c, &err) == 0) {
		channel_free(r->old);
		r->old = r->channel;
		r->channel = c;
		r->generation++;
		dns_cache_clear(r->cache);
	}
	buf_fini(&err);
}

static bool
has_channel(struct resolver *r)
{
	struct buf err;

	buf_init(&err, 256);
	if (r->channel == NULL)
		channel_new(r->loop, r->servers, r->resolv_conf, r->timeout_ms, &r->channel, &err);
	buf_fini(&err);
	return r->channel != NULL;
}

static void
ask(struct resolver *r, struct lookup *lookup)
{
	struct dns_answer a = {0};

	if (has_channel(r)) {
		channel_ask(r->channel, lookup);
	} else {
		dns_answer_fail(&a, RESOLVER_TRY_AGAIN, NULL);
		part_answered(lookup, &a);
	}
}

static void
query_ask(struct resolver_query *q, unsigned at, const char *name, enum dns_type type)
{
	struct resolver *r = q->r;
	struct part *p;

	if (q->used <= at)
		q->used = at + 1;
	if (dns_cache_find(
		r->cache, name, type, q->is_secure, loop_now(r->loop), &q->answers[at])) {
		if (q->open == 0)
			deliver_soon(q);
		return;
	}
	p = MEM_NEW(struct part);
	p->loop = r->loop;
	p->cache = r->cache;
	p->query = q;
	p->at = at;
	p->lookup.type = type;
	p->lookup.is_secure = q->is_secure;
	p->lookup.answered = part_answered;
	snprintf(p->lookup.name, sizeof(p->lookup.name), "%s", name);
	q->parts[at] = p;
	q->open++;
	ask(r, &p->lookup);
}

static void
query_ask_addresses(struct resolver_query *q, const char *name, int family)
{
	if (family != AF_UNSPEC) {
		query_ask(q, 0, name, family == AF_INET ? DNS_A : DNS_AAAA);
		return;
	}
	/* Counted before, so that an answer inside the call does not finish the query. */
	q->open++;
	query_ask(q, 0, name, DNS_AAAA);
	query_ask(q, 1, name, DNS_A);
	if (--q->open == 0)
		deliver_soon(q);
}

/* Both families in one: what was found counts, else what may still be found, else the denial. */
static void
merge(const struct resolver_query *q, struct dns_answer *to)
{
	static const int weight[] = {
	    [RESOLVER_OK] = 4,
	    [RESOLVER_TRY_AGAIN] = 3,
	    [RESOLVER_MALFORMED] = 2,
	    [RESOLVER_NO_DATA] = 1,
	    [RESOLVER_NOT_FOUND] = 0,
	};
	const struct dns_answer *best = &q->answers[0];

	if (q->used == 2 && weight[q->answers[1].result] > weight[best->result])
		best = &q->answers[1];
	*to = (struct dns_answer){.result = best->result, .text = best->text, .ttl = best->ttl};
	if (best->result != RESOLVER_OK)
		return;
	to->address = mem_alloc(RESOLVER_ADDRESS_MAX * sizeof(*to->address));
	to->is_secure = true;
	memcpy(to->name, best->name, sizeof(to->name));
	for (unsigned i = 0; i < q->used; i++) {
		const struct dns_answer *a = &q->answers[i], *other = &q->answers[1 - i];
		size_t rest = other->n < HALF ? RESOLVER_ADDRESS_MAX - other->n : HALF;

		/* One family must not push the other out. */
		for (size_t k = 0; k < a->n && k < rest; k++)
			to->address[to->n++] = a->address[k];
		if (a->n > 0 && a->ttl < to->ttl)
			to->ttl = a->ttl;
		to->is_secure = to->is_secure && (a->is_secure || a->n == 0);
	}
}

/* The first name to ask for, or the one behind. False: there are no more. */
static bool
ask_next_name(struct resolver_query *q)
{
	char name[RESOLVER_NAME_MAX];

	if (!has_channel(q->r) || !search_next(&q->search, q->r->channel, name))
		return false;
	q->used = 1;
	timer_start(q->r->loop, &q->timer, q->r->timeout_ms, query_fired);
	query_ask_addresses(q, name, q->family);
	return true;
}

/* This name has no answer: true = another is asked for. */
static bool
search_on(struct resolver_query *q, struct dns_answer *a)
{
	if (q->search.flags == 0 || a->result == RESOLVER_OK)
		return false;
	if (a->result > q->search.worst) { /* a doubt outweighs a denial */
		q->search.worst = a->result;
		q->search.text = a->text;
	}
	for (unsigned i = 0; i < PARTS; i++)
		dns_answer_fini(&q->answers[i]);
	if (ask_next_name(q))
		return true;
	*a = (struct dns_answer){.result = q->search.worst, .text = q->search.text};
	return false;
}

/* The PTR name is known: does it lead back? */
static void
look_forward(struct resolver_query *q, const char *name)
{
	struct resolver_address found[RESOLVER_ADDRESS_MAX];
	size_t n;

	snprintf(q->reverse, sizeof(q->reverse), "%s", name);
	q->kind = FIND_FORWARD;
	dns_answer_fini(&q->answers[0]);
	n = hosts_find(q->r->hosts, str_of(name), q->family, found, RESOLVER_ADDRESS_MAX);
	if (n > 0) {
		query_addresses(q, found, n);
		return;
	}
	timer_start(q->r->loop, &q->timer, q->r->timeout_ms, query_fired);
	query_ask(q, 0, q->reverse, q->family == AF_INET ? DNS_A : DNS_AAAA);
}

static void
finish_name(struct resolver_query *q, struct resolver_answer *answer)
{
	const struct dns_answer *a = &q->answers[0];
	bool confirmed = false;

	for (size_t i = 0; q->kind == FIND_FORWARD && i < a->n; i++)
		confirmed =
		    confirmed || net_address_same((const struct sockaddr *)&a->address[i].sa,
				     (const struct sockaddr *)&q->client);
	answer->reverse = q->kind == FIND_FORWARD ? q->reverse : UNKNOWN;
	answer->name = confirmed ? q->reverse : UNKNOWN;
	if (answer->result == RESOLVER_OK && !confirmed)
		answer->result = RESOLVER_NOT_FOUND; /* its addresses are others: no text */
	answer->n = confirmed;
}

/* All answers are there, or the time is over. */
static void
query_fired(struct timer *t)
{
	struct resolver_query *q = PP_CONTAINER(t, struct resolver_query, timer);
	struct resolver_answer answer = {0};
	struct dns_answer a;

	for (unsigned i = 0; i < PARTS; i++) {
		if (q->parts[i] == NULL)
			continue;
		q->parts[i]->query = NULL;
		q->parts[i] = NULL;
		dns_answer_fail(&q->answers[i], RESOLVER_TRY_AGAIN,
		    "Host not found, try again (no name server answered in time)");
	}
	q->open = 0;
	a = q->answers[0];
	if (q->kind == FIND_PTR && a.result == RESOLVER_OK && a.n > 0) {
		look_forward(q, a.name);
		return;
	}
	if (q->kind == FIND_ADDRESS)
		merge(q, &a);
	if (search_on(q, &a))
		return;
	answer = (struct resolver_answer){.result = a.result,
	    .text = a.text,
	    .mx = a.mx,
	    .address = a.address,
	    .tlsa = a.tlsa,
	    .canonical = q->kind == FIND_ADDRESS && a.name[0] ? a.name : NULL,
	    .is_secure = q->is_secure && a.is_secure,
	    .n = a.n,
	    .ttl = a.ttl};
	/* Out of the list, so that a resolver freed inside the callback does not free it too. */
	LIST_REMOVE(q, link);
	q->r->n--;
	if (q->kind == FIND_PTR || q->kind == FIND_FORWARD)
		finish_name(q, &answer);
	q->done(q->ctx, &answer);
	if (q->kind == FIND_ADDRESS)
		mem_free(a.address);
	for (unsigned i = 0; i < PARTS; i++)
		dns_answer_fini(&q->answers[i]);
	mem_free(q);
}

/* Whether the query is answered without the network: too many, or no name at all. */
static bool
refuse(struct resolver_query *q, struct str name)
{
	if (q->r->n > QUERIES_MAX) {
		query_answer(
		    q, RESOLVER_TRY_AGAIN, "Host not found, try again (too many look-ups at once)");
		return true;
	}
	if (!resolver_name_valid(name)) {
		query_answer(q, RESOLVER_NOT_FOUND, "Invalid host or domain name");
		return true;
	}
	refresh(q->r);
	return false;
}

/* Without the final dot, as a C string; too long or with a NUL: "". */
static struct str
plain_name(const char *name, char to[RESOLVER_NAME_MAX])
{
	struct str s = str_of(name);

	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	if (s.n >= RESOLVER_NAME_MAX)
		s.n = 0;
	memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	return (struct str){to, s.n};
}

static struct resolver_query *
find_records(struct resolver *r, const char *of, enum dns_type type, bool is_secure,
    resolver_done *done, void *ctx)
{
	struct resolver_query *q = query_new(r, FIND_RECORDS, done, ctx);
	char name[RESOLVER_NAME_MAX];

	q->is_secure = is_secure;
	if (!refuse(q, plain_name(of, name)))
		query_ask(q, 0, name, type);
	return q;
}

struct resolver_query *
resolver_find_mx(
    struct resolver *r, const char *domain, unsigned flags, resolver_done *done, void *ctx)
{
	return find_records(r, domain, DNS_MX, flags & RESOLVER_SECURE, done, ctx);
}

struct resolver_query *
resolver_find_srv(
    struct resolver *r, const char *name, unsigned flags, resolver_done *done, void *ctx)
{
	return find_records(r, name, DNS_SRV, flags & RESOLVER_SECURE, done, ctx);
}

struct resolver_query *
resolver_find_tlsa(struct resolver *r, const char *name, resolver_done *done, void *ctx)
{
	return find_records(r, name, DNS_TLSA, true, done, ctx);
}

struct resolver_query *
resolver_probe(struct resolver *r, const char *name, unsigned type, resolver_done *done, void *ctx)
{
	struct resolver_query *q;

	if (strcmp(name, ".") != 0)
		return find_records(r, name, (enum dns_type)type, true, done, ctx);
	q = query_new(r, FIND_RECORDS, done, ctx);
	q->is_secure = true;
	refresh(r);
	query_ask(q, 0, "", (enum dns_type)type);
	return q;
}

struct resolver_query *
resolver_find_address(struct resolver *r, const char *host, int family, unsigned flags,
    resolver_done *done, void *ctx)
{
	struct resolver_query *q = query_new(r, FIND_ADDRESS, done, ctx);
	struct resolver_address found[RESOLVER_ADDRESS_MAX] = {0};
	char name[RESOLVER_NAME_MAX];
	struct str plain = plain_name(host, name);
	struct stream_peer text;
	size_t n = 0;

	q->family = family;
	q->is_secure = flags & RESOLVER_SECURE;
	if (net_address_parse(str_of(host), 0, &found[0].sa) == 0) {
		net_address_describe((struct sockaddr *)&found[0].sa, &text);
		memcpy(found[0].text, text.address, sizeof(text.address));
		if (family == AF_UNSPEC || family == found[0].sa.ss_family)
			return query_addresses(q, found, 1);
		return query_answer(q, RESOLVER_NO_DATA, NULL);
	}
	if (flags & RESOLVER_NATIVE) {
		hosts_refresh(r->hosts, loop_now(r->loop));
		n = hosts_find(r->hosts, plain, family, found, RESOLVER_ADDRESS_MAX);
	}
	if (n > 0)
		return query_addresses(q, found, n);
	if (refuse(q, plain))
		return q;
	if (host[plain.n] == '\0') /* a dot at the end: it is whole */
		q->search.flags = flags & (RESOLVER_DEFNAMES | RESOLVER_DNSRCH);
	memcpy(q->search.name, name, sizeof(name));
	if (q->search.flags == 0 || !ask_next_name(q))
		query_ask_addresses(q, name, family);
	return q;
}

struct resolver_query *
resolver_find_name(struct resolver *r, const char *address, resolver_done *done, void *ctx)
{
	struct resolver_query *q = query_new(r, FIND_PTR, done, ctx);
	const char *known;
	char name[RESOLVER_NAME_MAX];

	if (net_address_parse(str_of(address), 0, &q->client) < 0)
		return query_answer(q, RESOLVER_NOT_FOUND, "Invalid host or domain name");
	q->family = q->client.ss_family;
	hosts_refresh(r->hosts, loop_now(r->loop));
	known = hosts_name(r->hosts, (struct sockaddr *)&q->client);
	if (known) {
		/* As if a PTR record had said so; the forward look-up follows. */
		snprintf(q->answers[0].name, sizeof(q->answers[0].name), "%s", known);
		q->answers[0].n = 1;
		deliver_soon(q);
		return q;
	}
	net_address_reverse((struct sockaddr *)&q->client, name);
	if (!refuse(q, str_of(name)))
		query_ask(q, 0, name, DNS_PTR);
	return q;
}

struct resolver *
resolver_new(struct loop *l, const char *servers, int64_t timeout_ms, struct buf *err)
{
	struct resolver *r = MEM_NEW(struct resolver);

	PP_ON(l);
	r->loop = l;
	r->servers = mem_strdup(servers ? servers : "");
	r->resolv_conf = mem_strdup("/etc/resolv.conf");
	r->timeout_ms = timeout_ms;
	r->look_every_ms = LOOK_EVERY_MS;
	r->hosts = hosts_new("/etc/hosts");
	r->cache = dns_cache_new();
	LIST_INIT(&r->queries);
	if (stat(r->resolv_conf, &r->st) < 0)
		r->st = (struct stat){0};
	if (channel_check(r->servers, err) < 0) {
		resolver_free(r);
		return NULL;
	}
	return r;
}

void
resolver_set_files(
    struct resolver *r, const char *hosts, const char *resolv_conf, int64_t look_every_ms)
{
	hosts_free(r->hosts);
	r->hosts = hosts_new(hosts);
	mem_free(r->resolv_conf);
	r->resolv_conf = mem_strdup(resolv_conf);
	r->st = (struct stat){0};
	r->looked = 0;
	r->look_every_ms = look_every_ms;
}

unsigned
resolver_generation(const struct resolver *r)
{
	return r->generation;
}

void
resolver_free(struct resolver *r)
{
	if (r == NULL)
		return;
	PP_ON(r->loop);
	while (!LIST_EMPTY(&r->queries))
		query_free(LIST_FIRST(&r->queries));
	channel_free(r->channel);
	channel_free(r->old);
	dns_cache_free(r->cache);
	hosts_free(r->hosts);
	mem_free(r->servers);
	mem_free(r->resolv_conf);
	mem_free(r);
}
