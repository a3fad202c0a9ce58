/*
 * route.h - addresses to canonical form; recipients to transport and next hop.
 * THREAD any: a route is an immutable snapshot made from one configuration.
 * OWNS   refcounted; results are copied into the arena given.
 * ERRORS a recipient that cannot be routed gets a status (5.1.x, 5.4.x), never silence.
 * SEE    transport(5) and the address classes of Postfix; RFC 5321 4.1.3 (address literals).
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/base/mem.h"
#include "pp/config/config.h"
#include "pp/mail/status.h"

struct route;
int route_new(struct config *cfg, struct route **ret, struct buf *err);
void route_ref(struct route *r);
void route_unref(struct route *r);

/* Address classes, in the order they are tried. */
enum route_class {
	ROUTE_LOCAL,
	ROUTE_VIRTUAL_ALIAS,
	ROUTE_VIRTUAL_MAILBOX,
	ROUTE_RELAY,
	ROUTE_DEFAULT,
};
/* Class of the domain of an address in internal form; no domain = local. */
enum route_class route_class(const struct route *r, struct str address);

/* Internal form, completed: `user` -> user@myorigin, and user@host -> user@host.mydomain where
 * append_dot_mydomain says so. "" stays "". */
const char *route_complete(const struct route *r, struct arena *a, struct str address);

struct route_hop {
	const char *transport; /* master.cf service name: "smtp", "relay", "local", "error" */
	const char *nexthop;   /* "[relay]:587", "example.com", for error: the text */
};
void route_resolve(const struct route *r, struct arena *a, const char *sender,
    const char *recipient, struct route_hop *ret);
