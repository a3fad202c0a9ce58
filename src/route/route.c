/*
 * route.c - one configuration, compiled into a route; and the classes of addresses.
 *
 * A route is a snapshot. Where none of its lists and tables is a file, resolving never waits and
 * any thread may do it. Tables that are files are asked on a lane, where they notice by themselves
 * that their file has changed.
 */
#include <errno.h>
#include "internal.h"

static void
route_destroy(struct snap *s)
{
	struct route *r = PP_CONTAINER(s, struct route, snap);

	for (unsigned i = 0; i < PP_COUNT(r->lists); i++)
		if (r->lists[i])
			domainlist_unref(r->lists[i]);
	for (unsigned i = 0; i < PP_COUNT(r->names); i++)
		mem_free(r->names[i]);
	for (unsigned i = 0; i < PP_COUNT(r->maps); i++)
		map_unref(r->maps[i]);
	snap_unref(&r->config->snap);
	mem_free(r);
}

void
route_ref(struct route *r)
{
	snap_ref(&r->snap);
}

void
route_unref(struct route *r)
{
	if (r)
		snap_unref(&r->snap);
}

/* "smtp:[relay]:587" -> smtp, [relay]:587. */
static int
set_channel(struct route *r, unsigned class, const char *name, const char *value, struct buf *err)
{
	struct str text = str_trim(str_of(value));
	size_t colon = str_index(text, ':');

	if (colon == 0) {
		buf_printf(err, "%s = %s: a transport name is missing", name, value);
		return -EINVAL;
	}
	r->names[class] = mem_alloc(colon + 1);
	memcpy(r->names[class], text.p, colon);
	r->channels[class].transport = r->names[class];
	r->channels[class].nexthop = str_trim(str_from(text, colon + 1));
	return 0;
}

static int
set_list(
    struct route *r, enum route_class class, const char *name, const char *value, struct buf *err)
{
	struct buf why;
	unsigned flags =
	    domainlist_flags(r->config->params->parent_domain_matches_subdomains, name);
	int rc;

	buf_init(&why, 1024);
	rc = domainlist_new_blk(value, flags, &r->lists[class], &why);
	if (rc < 0)
		buf_printf(err, "%s: %s", name, buf_cstr(&why));
	else if (!domainlist_is_static(r->lists[class]))
		r->is_static = false;
	buf_fini(&why);
	return rc;
}

static int
set_all(struct route *r, struct buf *err)
{
	const struct params *p = r->config->params;
	const struct {
		enum route_class class;
		const char *list, *domains, *name, *transport;
	} rows[] = {
	    {ROUTE_LOCAL, "mydestination", p->mydestination, "local_transport", p->local_transport},
	    {ROUTE_VIRTUAL_ALIAS, "virtual_alias_domains", p->virtual_alias_domains,
		"virtual_alias_domains", "error:5.1.1 User unknown in virtual alias table"},
	    {ROUTE_VIRTUAL_MAILBOX, "virtual_mailbox_domains", p->virtual_mailbox_domains,
		"virtual_transport", p->virtual_transport},
	    {ROUTE_RELAY, "relay_domains", p->relay_domains, "relay_transport", p->relay_transport},
	    {ROUTE_DEFAULT, NULL, NULL, "default_transport", p->default_transport},
	};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < PP_COUNT(rows); i++) {
		rc = set_channel(r, rows[i].class, rows[i].name, rows[i].transport, err);
		if (rc == 0 && rows[i].list)
			rc = set_list(r, rows[i].class, rows[i].list, rows[i].domains, err);
	}
	return rc;
}

const char *
route_map_name(enum route_map which)
{
	static const char *const names[] = {
	    [ROUTE_RELOCATED] = "relocated_maps",
	    [ROUTE_TRANSPORT] = "transport_maps",
	    [ROUTE_SENDER_TRANSPORT] = "sender_dependent_default_transport_maps",
	    [ROUTE_SENDER_RELAYHOST] = "sender_dependent_relayhost_maps",
	};

	return names[which];
}

static int
open_maps(struct route *r, struct buf *err)
{
	const struct params *p = r->config->params;
	const char *const specs[] = {
	    [ROUTE_RELOCATED] = p->relocated_maps,
	    [ROUTE_TRANSPORT] = p->transport_maps,
	    [ROUTE_SENDER_TRANSPORT] = p->sender_dependent_default_transport_maps,
	    [ROUTE_SENDER_RELAYHOST] = p->sender_dependent_relayhost_maps,
	};
	struct buf why;
	int rc = 0;

	buf_init(&why, 1024);
	for (unsigned i = 0; rc == 0 && i < ROUTE_MAP_COUNT; i++) {
		if (str_trim(str_of(specs[i])).n == 0)
			continue;
		rc = map_open(specs[i], &r->maps[i], &why);
		if (rc < 0)
			buf_printf(
			    err, "%s: %s", route_map_name((enum route_map)i), buf_cstr(&why));
		else if (!map_is_static(r->maps[i]))
			r->is_static = false;
	}
	buf_fini(&why);
	return rc;
}

int
route_new(struct config *cfg, struct route **ret, struct buf *err)
{
	struct route *r = MEM_NEW(struct route);
	const struct params *p = cfg->params;
	int rc;

	snap_init(&r->snap, route_destroy);
	snap_ref(&cfg->snap);
	r->config = cfg;
	r->is_static = true;
	r->is_parents =
	    domainlist_flags(p->parent_domain_matches_subdomains, "transport_maps") != 0;
	r->rules = (struct address_rules){
	    .myorigin = str_trim(str_of(p->myorigin)),
	    .mydomain = str_trim(str_of(p->mydomain)),
	    .append_at_myorigin = p->append_at_myorigin,
	    .append_dot_mydomain = p->append_dot_mydomain,
	};
	route_own_init(&r->own, p->inet_interfaces, p->proxy_interfaces);
	rc = set_all(r, err);
	if (rc == 0)
		rc = open_maps(r, err);
	if (rc < 0) {
		route_unref(r);
		return rc;
	}
	*ret = r;
	return 0;
}

bool
route_is_static(const struct route *r)
{
	return r->is_static;
}

uint64_t
route_lane_key(const struct route *r)
{
	return (uint64_t)(uintptr_t)r >> 6;
}

/* -EAGAIN: not without asking a table. */
static int
find_class(
    const struct route *r, struct str address, bool may_block, int *ret_class, struct buf *why)
{
	struct str local, domain;

	*ret_class = ROUTE_LOCAL;
	if (!address_split(address, &local, &domain))
		return 0;
	if (domain.n > 1 && domain.p[domain.n - 1] == '.')
		domain.n--;
	if (domain.n > 0 && domain.p[0] == '[') {
		if (!route_own_literal(&r->own, domain))
			*ret_class = ROUTE_DEFAULT;
		return 0;
	}
	for (; *ret_class < ROUTE_DEFAULT; ++*ret_class) {
		const struct domainlist *l = r->lists[*ret_class];
		int rc =
		    may_block ? domainlist_match_blk(l, domain, why) : domainlist_match(l, domain);

		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	return 0;
}

bool
route_class(const struct route *r, struct str address, enum route_class *ret)
{
	int class;

	if (find_class(r, address, false, &class, NULL) < 0)
		return false;
	*ret = (enum route_class) class;
	return true;
}

int
route_class_blk(const struct route *r, struct str address, enum route_class *ret, struct buf *why)
{
	static const char *const names[] = {
	    "mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"};
	struct buf text;
	int class, rc;

	buf_init(&text, 1024);
	rc = find_class(r, address, true, &class, &text);
	if (rc < 0)
		buf_printf(why, "%s: %s", names[class],
		    buf_str(&text).n > 0 ? buf_cstr(&text) : strerror(-rc));
	else
		*ret = (enum route_class) class;
	buf_fini(&text);
	return rc;
}

static void
class_work(struct lane_job *job)
{
	struct route_query *q = PP_CONTAINER(job, struct route_query, job);
	enum route_class class = ROUTE_DEFAULT;

	q->result = route_class_blk(q->route, q->address, &class, &q->why);
	if (q->result == 0)
		q->result = class;
}

static void
class_done(struct lane_job *job)
{
	struct route_query *q = PP_CONTAINER(job, struct route_query, job);
	struct route *r = q->route;

	q->done(q);
	route_unref(r);
}

void
route_find_class(struct route *r, struct lane *slow, struct route_query *q, struct str address,
    void (*done)(struct route_query *))
{
	route_ref(r);
	q->route = r;
	q->address = address;
	q->done = done;
	buf_init(&q->why, 2048);
	lane_run(slow, route_lane_key(r), &q->job, class_work, class_done);
}

const char *
route_complete(const struct route *r, struct arena *a, struct str address)
{
	return address_qualify(a, address, &r->rules);
}
