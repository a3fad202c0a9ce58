/*
 * route.h - addresses to canonical form; recipients to transport and next hop.
 * THREAD any: a route is an immutable snapshot made from one configuration, but for its tables:
 *        what ends in _blk runs on the lane under route_lane_key, in a command, or, when
 *        route_is_static, anywhere.
 * OWNS   refcounted; results are copied into the arena given.
 * ERRORS a recipient that cannot be routed gets a status (5.1.x, 5.4.x; 4.3.0 when a table cannot
 *        be used), never silence.
 * SEE    transport(5) and the address classes of Postfix; RFC 5321 4.1.3 (address literals).
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/base/mem.h"
#include "pp/config/config.h"
#include "pp/mail/status.h"
#include "pp/runtime/lane.h"

struct route;
/* Opens no file but the /lists of main.cf. */
int route_new(struct config *cfg, struct route **ret, struct buf *err);
void route_ref(struct route *r);
void route_unref(struct route *r);
/* Whether every answer stands in memory. */
bool route_is_static(const struct route *r);
uint64_t route_lane_key(const struct route *r);

/* Address classes, in the order they are tried. */
enum route_class {
	ROUTE_LOCAL,
	ROUTE_VIRTUAL_ALIAS,
	ROUTE_VIRTUAL_MAILBOX,
	ROUTE_RELAY,
	ROUTE_DEFAULT,
};
/* Class of the domain of an address in internal form; no domain = local. False: a table of a list
 * has to be asked for it. */
bool route_class(const struct route *r, struct str address, enum route_class *ret);
/* -errno: a table cannot be used; why says what is wrong. */
int
route_class_blk(const struct route *r, struct str address, enum route_class *ret, struct buf *why);

struct route_query {
	struct lane_job job;
	struct route *route;
	struct str address; /* the caller's until done */
	int result;         /* an enum route_class, or -errno: why */
	struct buf why;     /* freed by done */
	void (*done)(struct route_query *q);
};
/* done comes once, on this loop, never inside. The query holds a reference to the route. */
void route_find_class(struct route *r, struct lane *slow, struct route_query *q, struct str address,
    void (*done)(struct route_query *));

/* Internal form, completed: `user` -> user@myorigin, and user@host -> user@host.mydomain where
 * append_dot_mydomain says so. "" stays "". */
const char *route_complete(const struct route *r, struct arena *a, struct str address);

struct route_hop {
	const char *transport; /* master.cf service name: "smtp", "relay", "local", "error" */
	const char *nexthop;   /* "[relay]:587", "example.com", for error: the text */
};
void route_resolve_blk(const struct route *r, struct arena *a, const char *sender,
    const char *recipient, struct route_hop *ret);
