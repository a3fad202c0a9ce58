/*
 * fake_dns.h - a name service that follows a table; it replaces net/resolver.c in these programs.
 */
#pragma once
#include "fake.h"

struct fake_dns {
	const char *name, *type; /* "MX", "A" */
	enum resolver_result result;
	const char *values; /* "10 mx1.test, 20 mx2.test", "127.0.0.1, ::1" */
};
static const struct fake_dns *fake_zone; /* ends with a NULL name */
static unsigned fake_queries;

struct resolver_query {
	struct post post;
	char name[RESOLVER_NAME_MAX], type[5];
	int family;
	bool cancelled;
	resolver_done *done;
	void *ctx;
};

static size_t
fake_values(struct resolver_query *q, const char *values, struct resolver_mx *mx,
    struct resolver_address *address)
{
	struct str rest = str_of(values), word;
	size_t n = 0;

	while (str_token(&rest, ",", &word)) {
		word = str_trim(word);
		if (q->type[0] == 'M') {
			size_t blank = str_index(word, ' ');
			int64_t preference;

			assert_int_equal(
			    str_number(str_head(word, blank), 0, 65535, &preference), 0);
			mx[n].preference = (unsigned)preference;
			snprintf(mx[n].host, sizeof mx[n].host, "%.*s",
			    STR_FMT(str_from(word, blank + 1)));
			n++;
			continue;
		}
		struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&address[n].sa;
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&address[n].sa;

		snprintf(address[n].text, sizeof address[n].text, "%.*s", STR_FMT(word));
		if (inet_pton(AF_INET, address[n].text, &v4->sin_addr) == 1 &&
		    q->family != AF_INET6)
			v4->sin_family = AF_INET;
		else if (inet_pton(AF_INET6, address[n].text, &v6->sin6_addr) == 1 &&
			 q->family != AF_INET)
			v6->sin6_family = AF_INET6;
		else
			continue;
		n++;
	}
	return n;
}

static void
fake_answer(struct post *p)
{
	struct resolver_query *q = PP_CONTAINER(p, struct resolver_query, post);
	static struct resolver_mx mx[RESOLVER_MX_MAX];
	static struct resolver_address address[RESOLVER_ADDRESS_MAX];
	struct resolver_answer a = {.result = RESOLVER_NOT_FOUND, .mx = mx, .address = address};
	struct in_addr literal;

	memset(address, 0, sizeof address);
	memset(mx, 0, sizeof mx);
	if (q->type[0] == 'A' && inet_pton(AF_INET, q->name, &literal) == 1) {
		a.result = RESOLVER_OK;
		a.n = fake_values(q, q->name, mx, address);
	}
	for (const struct fake_dns *d = fake_zone; d && d->name; d++) {
		if (strcmp(d->name, q->name) != 0)
			continue;
		if (a.result == RESOLVER_NOT_FOUND)
			a.result = RESOLVER_NO_DATA;
		if (strcmp(d->type, q->type) != 0)
			continue;
		a.result = d->result;
		a.n = d->values ? fake_values(q, d->values, mx, address) : 0;
	}
	a.text = a.result == RESOLVER_NOT_FOUND ? "Host not found"
		 : a.result == RESOLVER_NO_DATA ? "Host found but no data record of requested type"
		 : a.result == RESOLVER_TRY_AGAIN ? "Host not found, try again"
						  : "Malformed or unexpected name server reply";
	if (!q->cancelled)
		q->done(q->ctx, &a);
	free(q);
}

static struct resolver_query *
fake_query(const char *name, const char *type, int family, resolver_done *done, void *ctx)
{
	struct resolver_query *q = calloc(1, sizeof *q);

	fake_queries++;
	snprintf(q->name, sizeof q->name, "%s", name);
	snprintf(q->type, sizeof q->type, "%s", type);
	q->family = family;
	q->done = done;
	q->ctx = ctx;
	post_to(fake->loop, &q->post, fake_answer);
	return q;
}

struct resolver_query *
resolver_find_mx(
    struct resolver *r, const char *domain, unsigned flags, resolver_done *done, void *ctx)
{
	return fake_query(domain, "MX", AF_UNSPEC, done, ctx);
}

struct resolver_query *
resolver_find_srv(
    struct resolver *r, const char *name, unsigned flags, resolver_done *done, void *ctx)
{
	return fake_query(name, "SRV", AF_UNSPEC, done, ctx);
}

struct resolver_query *
resolver_find_address(struct resolver *r, const char *host, int family, unsigned flags,
    resolver_done *done, void *ctx)
{
	return fake_query(host, "A", family, done, ctx);
}

struct resolver_query *
resolver_find_tlsa(struct resolver *r, const char *name, resolver_done *done, void *ctx)
{
	return fake_query(name, "TLSA", AF_UNSPEC, done, ctx);
}

struct resolver_query *
resolver_probe(struct resolver *r, const char *name, unsigned type, resolver_done *done, void *ctx)
{
	return fake_query(name, "probe", AF_UNSPEC, done, ctx);
}

void
resolver_cancel(struct resolver_query *q)
{
	if (q)
		q->cancelled = true;
}
