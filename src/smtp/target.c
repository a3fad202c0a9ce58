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

/* "[host]" with what follows it, or "host" with it: cuts the host off. False = broken. */
static bool
cut_host(struct str *text, bool *use_mx, struct str *host)
{
	size_t end;

	if (str_starts(*text, STR("["))) {
		end = str_index(*text, ']');
		if (end == text->n)
			return false;
		*use_mx = false;
		*host = str_from(str_head(*text, end), 1);
		if (str_casestarts(*host, STR("ipv6:")))
			*host = str_from(*host, 5);
		*text = str_from(*text, end + 1);
		return text->n == 0 || text->p[0] == ':';
	}
	end = str_index(*text, ':');
	*use_mx = true;
	*host = str_head(*text, end);
	*text = str_from(*text, end);
	return str_index(str_from(*text, 1), ':') + 1 >= text->n;
}

static void
parse_one(struct arena *a, struct str element, const char *known, struct smtp_hop *hop)
{
	struct str rest = element, host;

	hop->host = "";
	if (!cut_host(&rest, &hop->use_mx, &host))
		return;
	if (rest.n > 0) {
		hop->has_port = true;
		hop->port = smtp_target_port(str_from(rest, 1), known);
		if (hop->port == 0)
			return;
	}
	if (host.n > 0 && host.n < RESOLVER_NAME_MAX)
		hop->host = arena_str(a, host);
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
		parse_one(a, element, known, hop);
	}
}

void
smtp_target_parse_lmtp(struct arena *a, const char *known, struct smtp_hop *hops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct smtp_hop *hop = &hops[i];
		struct str text = str_of(hop->text);

		hop->is_unix = str_starts(text, STR("unix:"));
		if (hop->is_unix) {
			hop->host = hop->text + 5;
		} else if (str_starts(text, STR("inet:"))) {
			hop->text += 5; /* the key in tables, too */
			parse_one(a, str_from(text, 5), known, hop);
		}
		hop->use_mx = false;
	}
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
