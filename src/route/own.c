/*
 * own.c - which address literals are this machine.
 *
 * user@[1.2.3.4] is local when 1.2.3.4 is an address this mail system listens on or is known by
 * (inet_interfaces, proxy_interfaces). Names in inet_interfaces would have to be looked up, which
 * may block; a list with a name in it is therefore taken as "every address of this machine", which
 * contains the one that was meant.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include "internal.h"

static void
add(struct route_own *own, const struct in6_addr *a)
{
	if (own->n < ROUTE_OWN_MAX)
		own->a[own->n++] = *a;
}

static struct in6_addr
mapped(struct in_addr v4)
{
	struct in6_addr a = {0};

	a.s6_addr[10] = a.s6_addr[11] = 0xff;
	memcpy(&a.s6_addr[12], &v4, sizeof(v4));
	return a;
}

/* "1.2.3.4", "2001:db8::1", "[..]", "IPv6:..": false when it is no address. */
static bool
parse(struct str text, struct in6_addr *ret)
{
	char name[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = (struct str){text.p + 1, text.n - 2};
	if (str_casestarts(text, STR("IPv6:")))
		text = str_from(text, 5);
	if (text.n == 0 || text.n >= sizeof(name) || memchr(text.p, '\0', text.n))
		return false;
	memcpy(name, text.p, text.n);
	name[text.n] = '\0';
	if (inet_pton(AF_INET, name, &v4) == 1) {
		*ret = mapped(v4);
		return true;
	}
	return inet_pton(AF_INET6, name, ret) == 1;
}

static void
add_loopback(struct route_own *own)
{
	struct in_addr v4 = {.s_addr = htonl(INADDR_LOOPBACK)};
	struct in6_addr a = mapped(v4);

	add(own, &a);
	add(own, &in6addr_loopback);
}

static void
add_all(struct route_own *own)
{
	struct ifaddrs *list;

	add_loopback(own);
	if (getifaddrs(&list) != 0)
		return;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP))
			continue;
		if (i->ifa_addr->sa_family == AF_INET) {
			struct in6_addr a =
			    mapped(((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr);
			add(own, &a);
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			add(own, &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr);
		}
	}
	freeifaddrs(list);
}

static void
add_list(struct route_own *own, const char *text)
{
	struct str rest = str_of(text), word;
	struct in6_addr a;

	while (str_token(&rest, ", \t\r\n", &word)) {
		if (parse(word, &a))
			add(own, &a);
		else if (str_caseeq(word, STR("loopback-only")) ||
			 str_caseeq(word, STR("localhost")))
			add_loopback(own);
		else
			add_all(own);
	}
}

void
route_own_init(struct route_own *own, const char *inet_interfaces, const char *proxy)
{
	own->n = 0;
	add_list(own, inet_interfaces);
	add_list(own, proxy);
}

bool
route_own_literal(const struct route_own *own, struct str domain)
{
	struct in6_addr a;

	if (domain.n < 2 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
		return false;
	if (!parse(domain, &a))
		return false;
	for (unsigned i = 0; i < own->n; i++)
		if (memcmp(&own->a[i], &a, sizeof(a)) == 0)
			return true;
	return false;
}
