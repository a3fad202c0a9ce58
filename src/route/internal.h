/*
 * internal.h - what the files of route/ share.
 * THREAD any: everything in it is immutable after route_new, but for the tables.
 * OWNS   nothing.
 * ERRORS none.
 */
#pragma once
#include <netinet/in.h>
#include "pp/map/matchlist.h"
#include "pp/mail/address.h"
#include "pp/route/route.h"
#include "pp/runtime/snap.h"

/* "transport:nexthop" of one parameter; views of the configuration. */
struct route_channel {
	const char *transport;
	struct str nexthop; /* "" = none: decided by relayhost or the recipient */
};

enum { ROUTE_OWN_MAX = 256 };

/* An own address, as IPv6; IPv4 ones are mapped. */
struct route_own {
	struct in6_addr a[ROUTE_OWN_MAX];
	unsigned n;
};

enum route_map {
	ROUTE_RELOCATED,
	ROUTE_TRANSPORT,
	ROUTE_SENDER_TRANSPORT,
	ROUTE_SENDER_RELAYHOST,
	ROUTE_MAP_COUNT
};

struct route {
	struct snap snap;
	struct config *config;
	struct address_rules rules;
	struct domainlist *lists[ROUTE_DEFAULT]; /* by class; the last class needs none */
	struct route_channel channels[ROUTE_DEFAULT + 1];
	struct route_own own;
	char *names[ROUTE_DEFAULT + 1];    /* the bytes of the channels' transports */
	struct map *maps[ROUTE_MAP_COUNT]; /* NULL: none */
	bool is_static;
	bool is_parents; /* transport_maps: a domain matches its subdomains */
};

/* The addresses mail for which is ours: inet_interfaces and proxy_interfaces. */
void route_own_init(struct route_own *own, const char *inet_interfaces, const char *proxy);
/* The domain "[1.2.3.4]" or "[IPv6:2001:db8::1]": is it one of them? */
bool route_own_literal(const struct route_own *own, struct str domain);

/* The parameter's name. */
const char *route_map_name(enum route_map which);
