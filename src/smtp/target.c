/*
 * Where a delivery may go: the syntax of next hops and the order of addresses.
 *
 * Everything here is pure, the random numbers too (the caller brings the seed), so that each rule
 * of the order is a row in a test.
 */
#include "target.h"
#include <arpa/inet.h>
#include <netinet/in.h>

/* known_tcp_ports: elements with names and the number behind the last `=`. */
static unsigned
known_port(struct str text, const char *known)
{
	struct str rest = str_of(known), element, name;
	int64_t port;

	while (str_token(&rest, ", \t", &element)) {
		size_t eq = str_rindex(element, '=');
		struct str names = str_head(element, eq);

		while (str_token(&names, "=", &name))
			if (str_caseeq(name, text) &&
			    str_number(str_from(element, eq + 1), 1, 65535, &port) == 0)
				return (unsigned)port;
	}
	return 0;
}

unsigned
smtp_target_port(struct str text, const char *known)
{
	int64_t port;

	if (str_number(text, 1, 65535, &port) == 0)
		return (unsigned)port;
	return known_port(text, known);
}

static void
parse_one(struct arena *a, struct str element, const char *known, struct smtp_hop *hop)
{
	struct nexthop *parts = &hop->parts;
	bool ok = nexthop_split(element, parts);

	hop->host = "";
	hop->use_mx = !parts->is_literal;
	hop->has_port = parts->service.p != NULL;
	if (hop->has_port)
		hop->port = smtp_target_port(parts->service, known);
	if (ok && hop->port > 0 && parts->host.n < RESOLVER_NAME_MAX)
		hop->host = arena_str(a, parts->host);
}

void
smtp_target_parse(struct arena *a, const char *list, const char *known, unsigned port,
    bool is_fallback, struct smtp_hop *hops, size_t *n)
{
	struct str rest = str_of(list), element;

	while (*n < SMTP_HOPS_MAX && str_token(&rest, ", \t\r\n", &element)) {
		struct smtp_hop *hop = &hops[(*n)++];

		*hop = (struct smtp_hop){
		    .text = arena_str(a, element), .port = port, .is_fallback = is_fallback};
		parse_one(a, str_of(hop->text), known, hop);
	}
}

void
smtp_target_parse_lmtp(
    struct arena *a, const char *known, unsigned port, struct smtp_hop *hops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct smtp_hop *hop = &hops[i];
		struct str text = str_of(hop->text);

		hop->is_unix = str_starts(text, STR("unix:"));
		if (hop->is_unix) {
			hop->host = hop->text + 5;
		} else if (str_starts(text, STR("inet:"))) {
			hop->text += 5; /* the key in tables, too */
			hop->port = port;
			parse_one(a, str_from(text, 5), known, hop);
		}
		hop->use_mx = false;
	}
}

void
smtp_target_use_srv(
    struct arena *a, const char *services, const char *usual, struct smtp_hop *hops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (*hops[i].host && !hops[i].is_unix)
			hops[i].srv = nexthop_srv_name(a, &hops[i].parts, usual, services);
}

/* xorshift64*: enough to spread load. */
static uint64_t
next_random(uint64_t *seed)
{
	uint64_t x = *seed ? *seed : 0x9e3779b97f4a7c15u;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*seed = x;
	return x * 0x2545f4914f6cdd1du >> 16;
}

void
smtp_target_sort_mx(struct resolver_mx *mx, size_t n, uint64_t *seed)
{
	/* Shuffle, then a stable sort (insertion: n <= RESOLVER_MX_MAX). */
	for (size_t i = n; seed && i > 1; i--) {
		size_t j = next_random(seed) % i;
		struct resolver_mx t = mx[i - 1];

		mx[i - 1] = mx[j];
		mx[j] = t;
	}
	for (size_t i = 1; i < n; i++) {
		struct resolver_mx t = mx[i];
		size_t j = i;

		for (; j > 0 && mx[j - 1].preference > t.preference; j--)
			mx[j] = mx[j - 1];
		mx[j] = t;
	}
}

/* One of the n, the more often the greater its weight; those of no weight hardly ever. */
static size_t
pick_by_weight(const struct resolver_mx *mx, size_t n, uint64_t *seed)
{
	uint64_t sum = 0, at;
	size_t i = 0;

	for (size_t k = 0; k < n; k++)
		sum += mx[k].weight;
	/* From 0 to the sum inclusive, and the first whose running sum reaches it: RFC 2782. */
	at = next_random(seed) % (sum + 1);
	for (sum = mx[0].weight; sum < at; sum += mx[i].weight)
		i++;
	return i;
}

void
smtp_target_sort_srv(struct resolver_mx *mx, size_t n, uint64_t *seed)
{
	/* The shuffle is for those of no weight; they must then stand before the others. */
	smtp_target_sort_mx(mx, n, seed);
	for (size_t i = 0; i < n; i++) {
		size_t same = 1, k;
		struct resolver_mx t;

		while (i + same < n && mx[i + same].preference == mx[i].preference)
			same++;
		for (k = i; k < i + same && mx[k].weight > 0;)
			k++;
		if (k < i + same) {
			t = mx[i];
			mx[i] = mx[k];
			mx[k] = t;
		}
		k = i + pick_by_weight(&mx[i], same, seed);
		t = mx[i];
		mx[i] = mx[k];
		mx[k] = t;
	}
}

static void
shuffle(struct smtp_target *t, size_t n, uint64_t *seed)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = next_random(seed) % i;
		struct smtp_target x = t[i - 1];

		t[i - 1] = t[j];
		t[j] = x;
	}
}

/* Moves the first address of `family` at or behind `from` to `from`. */
static void
bring_forward(struct smtp_target *t, size_t n, size_t from, int family)
{
	size_t i = from;

	while (i < n && t[i].sa.ss_family != family)
		i++;
	if (i >= n)
		return;
	struct smtp_target x = t[i];

	for (; i > from; i--)
		t[i] = t[i - 1];
	t[from] = x;
}

void
smtp_target_sort(struct smtp_target *t, size_t n, int family, bool is_balanced, uint64_t *seed)
{
	if (n < 2)
		return;
	if (seed)
		shuffle(t, n, seed);
	for (size_t i = 0; i < n; i++) {
		int wanted = family;

		if (family == AF_UNSPEC && !is_balanced)
			return;
		if (family == AF_UNSPEC && i > 0)
			wanted = t[i - 1].sa.ss_family == AF_INET ? AF_INET6 : AF_INET;
		if (wanted != AF_UNSPEC)
			bring_forward(t, n, i, wanted);
	}
}

void
smtp_target_set_port(struct sockaddr_storage *sa, unsigned port)
{
	if (sa->ss_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)sa)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)(void *)sa)->sin_port = htons((uint16_t)port);
}

size_t
smtp_target_names(struct arena *a, const char *words, const char *hostname, const char *nexthop,
    const char **names, size_t room)
{
	struct str rest = str_of(words), word;
	size_t n = 0;

	while (n < room && str_token(&rest, ", \t:", &word)) {
		if (str_caseeq(word, STR("hostname")))
			names[n++] = hostname;
		else if (str_caseeq(word, STR("nexthop")))
			names[n++] = nexthop;
		else if (str_caseeq(word, STR("dot-nexthop")))
			names[n++] = arena_printf(a, ".%s", nexthop);
		else
			names[n++] = arena_str(a, word);
	}
	return n;
}
