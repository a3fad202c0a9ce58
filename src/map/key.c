/*
 * key.c - which forms of an address or name each kind of table is asked for.
 *
 * The orders are the interface: administrators rely on the most specific entry winning. They stand
 * here side by side, as lists of forms, so that they can be compared with the manuals line by line.
 */
#include "pp/map/key.h"

static void
add(struct map_keys *to, struct str key, bool is_partial)
{
	if (to->n < MAP_KEYS_MAX && key.n > 0)
		to->a[to->n++] = (struct map_key){key, is_partial};
}

static struct str
join(struct arena *a, struct str x, const char *between, struct str y)
{
	struct str s = {arena_printf(a, "%.*s%s%.*s", STR_FMT(x), between, STR_FMT(y)),
	    x.n + strlen(between) + y.n};

	return s;
}

/* a.b.c -> b.c, c; or .b.c, .c */
static void
add_parents(struct map_keys *to, struct str name, bool is_bare)
{
	if (name.n && name.p[0] == '[')
		return; /* an address literal has no parents */
	for (size_t i = 1; i < name.n; i++)
		if (name.p[i] == '.')
			add(to, str_from(name, is_bare ? i + 1 : i), true);
}

static void
add_network(struct map_keys *to, struct str addr)
{
	char sep = str_index(addr, ':') < addr.n ? ':' : '.';

	add(to, addr, false);
	for (size_t i = addr.n; i-- > 1;)
		if (addr.p[i] == sep && addr.p[i - 1] != sep)
			add(to, str_head(addr, i), true);
}

void
key_client(struct arena *a, struct str name, struct str addr, bool is_parents, struct map_keys *to)
{
	struct map_keys net;

	key_domain(a, name, is_parents, to);
	key_network(a, addr, &net);
	for (unsigned i = 0; i < net.n; i++)
		add(to, net.a[i].text, net.a[i].is_partial);
}

void
key_domain(struct arena *a, struct str name, bool is_parents, struct map_keys *to)
{
	to->n = 0;
	name = arena_lower(a, name);
	add(to, name, false);
	add_parents(to, name, is_parents);
}

void
key_network(struct arena *a, struct str addr, struct map_keys *to)
{
	to->n = 0;
	if (addr.n >= 2 && addr.p[0] == '[' && addr.p[addr.n - 1] == ']')
		addr = (struct str){addr.p + 1, addr.n - 2};
	if (str_casestarts(addr, STR("IPv6:")))
		addr = str_from(addr, 5);
	add_network(to, arena_lower(a, addr));
}

struct parts {
	struct str whole, user, plain, domain; /* plain: user without its extension, or user */
	bool has_extension, has_domain;
};

/* Names that hold a delimiter of their own are not split: owner-list, list-request. */
static bool
is_whole(struct str user, struct str delimiters)
{
	if (str_caseeq(user, STR("mailer-daemon")) || str_caseeq(user, STR("double-bounce")))
		return true;
	return str_index(delimiters, '-') < delimiters.n &&
	       (str_casestarts(user, STR("owner-")) ||
		   (user.n >= 8 && str_caseeq(str_from(user, user.n - 8), STR("-request"))));
}

static struct parts
split(struct str address, const char *delimiters)
{
	struct parts p = {.whole = address};
	size_t at = str_rindex(p.whole, '@');
	struct str set = str_of(delimiters ? delimiters : "");

	p.user = p.plain = str_head(p.whole, at);
	p.has_domain = at < p.whole.n;
	p.domain = str_from(p.whole, at + 1);
	for (size_t i = 1; i < p.user.n && !is_whole(p.user, set); i++) {
		if (str_index(set, p.user.p[i]) == set.n)
			continue;
		p.plain = str_head(p.user, i);
		p.has_extension = true;
		break;
	}
	return p;
}

/* user+ext@dom, user@dom */
static void
add_whole(struct arena *a, struct map_keys *to, const struct parts *p)
{
	add(to, p->whole, false);
	if (p->has_extension && p->has_domain)
		add(to, join(a, p->plain, "@", p->domain), true);
}

void
key_access_address(struct arena *a, struct str address, const char *delimiters, bool is_parents,
    const char *null_key, struct map_keys *to)
{
	struct parts p = split(arena_lower(a, address), delimiters);

	to->n = 0;
	if (address.n == 0) {
		add(to, str_of(null_key), false);
		return;
	}
	add_whole(a, to, &p);
	if (p.has_domain) {
		add(to, p.domain, true);
		add_parents(to, p.domain, is_parents);
	}
	add(to, join(a, p.user, "@", STR("")), true);
	if (p.has_extension)
		add(to, join(a, p.plain, "@", STR("")), true);
}

void
key_transport(struct arena *a, struct str address, const char *delimiters, bool is_parents,
    struct map_keys *to)
{
	struct parts p = split(address, delimiters);

	to->n = 0;
	add_whole(a, to, &p);
	if (p.has_domain) {
		add(to, p.domain, true);
		add_parents(to, p.domain, is_parents);
	}
	add(to, STR("*"), false); /* Postfix asks patterns for it, too */
}

static void
add_address(struct arena *a, struct map_keys *to, const struct parts *p, bool is_local)
{
	to->n = 0;
	add_whole(a, to, p);
	if (is_local && p->has_domain)
		add(to, p->user, true);
	if (p->has_extension && (is_local || !p->has_domain))
		add(to, p->plain, true);
	if (p->has_domain)
		add(to, join(a, STR(""), "@", p->domain), true);
}

void
key_address(
    struct arena *a, struct str address, const char *delimiters, bool is_local, struct map_keys *to)
{
	struct parts p = split(arena_lower(a, address), delimiters);

	add_address(a, to, &p, is_local);
}

void
key_sender(
    struct arena *a, struct str address, const char *delimiters, bool is_local, struct map_keys *to)
{
	struct parts p = split(address, delimiters);

	add_address(a, to, &p, is_local);
}

void
key_tls_policy(struct arena *a, struct str nexthop, struct map_keys *to)
{
	struct str s = arena_lower(a, nexthop);

	to->n = 0;
	add(to, s, false);
	if (s.n && s.p[0] != '[' && str_index(s, ':') == s.n)
		add_parents(to, s, false);
}
