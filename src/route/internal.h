/*
 * internal.h - what the files of route/ share.
 * THREAD any: everything in it is immutable after route_new.
 * OWNS   nothing.
 * ERRORS none.
 */
#pragma once
#include <netinet/in.h>
#include "pp/map/matchlist.h"
#include "pp/mail/address.h"
#include "pp/route/route.h"

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

/* The addresses mail for which is ours: inet_interfaces and proxy_interfaces. */
void route_own_init(struct route_own *own, const char *inet_interfaces, const char *proxy);
/* The domain "[1.2.3.4]" or "[IPv6:2001:db8::1]": is it one of them? */
bool route_own_literal(const struct route_own *own, struct str domain);
