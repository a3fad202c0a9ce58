/*
 * nexthop.h - one next hop as it is written: `host`, `host:service`, `[host]`, `[host]:service`.
 * THREAD any; pure.
 * OWNS   the parts point into the text; names live in the arena.
 * SEE    transport(5) for the syntax, RFC 2782 for SRV.
 */
#pragma once
#include "pp/base/mem.h"
#include "pp/base/str.h"

struct nexthop {
	struct str host;    /* without brackets; empty = the text is no next hop */
	struct str service; /* a port or its name; .p NULL = none was given */
	bool is_literal;    /* brackets: the host itself, no MX and no SRV */
};

/* False = the text is no next hop. */
bool nexthop_split(struct str text, struct nexthop *to);
/* "_submission._tcp.example.com" when `services` (commas, blanks) names the service, `usual` if the
 * next hop has none; else NULL. */
const char *
nexthop_srv_name(struct arena *a, const struct nexthop *h, const char *usual, const char *services);
