/*
 * matchlist.h - match lists: mynetworks (addresses) and mydestination, relay_domains (names).
 * THREAD netlist: any, immutable. domainlist: immutable but for its tables, see each function.
 * OWNS   _new_blk gives the caller one reference, _ref and _unref count them.
 * ERRORS -EINVAL or the errno of a /file; err says which element is wrong.
 */
#pragma once
#include <sys/socket.h>
#include "pp/map/map.h"

struct netlist;

/* Elements: 1.2.3.4, 1.2.3.0/24, [2001:db8::]/32, [::1], 2001:db8::/32, !element, /file; separated
 * by commas and blanks; the first match decides. A type:table is refused: nobody would look in it.
 */
int netlist_new_blk(const char *text, struct netlist **ret, struct buf *err);
void netlist_ref(struct netlist *l);
void netlist_unref(struct netlist *l);
/* An IPv4 address inside IPv6 (::ffff:1.2.3.4) counts as the IPv4 address. */
bool netlist_match(const struct netlist *l, const struct sockaddr *addr);
/* The same for "1.2.3.4", "2001:db8::1", "[2001:db8::1]", "IPv6:2001:db8::1". */
bool netlist_match_text(const struct netlist *l, struct str addr);

struct domainlist;

enum {
	DOMAINLIST_PARENTS = 1 << 0, /* example.com also matches sub.example.com */
	DOMAINLIST_WHOLE = 1 << 1,   /* no domains: a name with dots has no parents (users) */
};

/* Elements: example.com, .example.com (its subdomains), !element, /file, !/file, type:table, `*`?
 * no: a table `static:all` matches everything. */
int domainlist_new_blk(const char *text, unsigned flags, struct domainlist **ret, struct buf *err);
void domainlist_ref(struct domainlist *l);
void domainlist_unref(struct domainlist *l);
/* Whether every answer stands in memory. */
bool domainlist_is_static(const struct domainlist *l);
/* 1, 0, or -EAGAIN when the answer stands in a table: ask domainlist_find. Any thread. */
int domainlist_match(const struct domainlist *l, struct str domain);
/* On the lane under domainlist_lane_key, or in a command. 1, 0, -errno; why (may be NULL) then says
 * what is wrong with the table. */
int domainlist_match_blk(const struct domainlist *l, struct str domain, struct buf *why);
uint64_t domainlist_lane_key(const struct domainlist *l);

struct domainlist_query {
	struct lane_job job;
	struct domainlist *list;
	struct str domain; /* the caller's until done */
	int result;        /* 1, 0, -errno */
	void (*done)(struct domainlist_query *q);
};

/* done comes once, on this loop, never inside. */
void domainlist_find(struct domainlist *l, struct lane *slow, struct domainlist_query *q,
    struct str domain, void (*done)(struct domainlist_query *));
/* Whether the list `name` is in the text of parent_domain_matches_subdomains: DOMAINLIST_PARENTS.
 */
unsigned domainlist_flags(const char *parent_domain_matches_subdomains, const char *name);
