/*
 * route.c - the classes of addresses, and from a recipient to a transport and its next hop.
 *
 * One function per step, in Postfix's order: class of the domain, the transport of that class, then
 * the next hop. Maps that override a step (transport_maps, sender_dependent_relayhost_maps, ..)
 * come in as one more step between them. A route is a snapshot, so resolving never waits and any
 * thread may do it; a match list that names a table cannot be answered that way and says so at the
 * start.
 */
#include <errno.h>
#include "internal.h"
#include "pp/runtime/log.h"

struct route {
	struct snap snap;
	struct config *config;
	struct address_rules rules;
	struct domainlist *lists[ROUTE_DEFAULT]; /* by class; the last class needs none */
	struct route_channel channels[ROUTE_DEFAULT + 1];
	struct route_own own;
	char *names[ROUTE_DEFAULT + 1]; /* the bytes of the channels' transports */
};

static void
route_destroy(struct snap *s)
{
	struct route *r = PP_CONTAINER(s, struct route, snap);

	for (unsigned i = 0; i < PP_COUNT(r->lists); i++)
		if (r->lists[i])
			domainlist_unref(r->lists[i]);
	for (unsigned i = 0; i < PP_COUNT(r->names); i++)
		mem_free(r->names[i]);
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
	else if (domainlist_match(r->lists[class], STR("table.invalid")) == -EAGAIN)
		log_warn("route",
		    "%s: tables in this list are not looked up; name the domains here "
		    "or in a /file",
		    name);
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

int
route_new(struct config *cfg, struct route **ret, struct buf *err)
{
	struct route *r = MEM_NEW(struct route);
	const struct params *p = cfg->params;
	int rc;

	snap_init(&r->snap, route_destroy);
	snap_ref(&cfg->snap);
	r->config = cfg;
	r->rules = (struct address_rules){
	    .myorigin = str_trim(str_of(p->myorigin)),
	    .mydomain = str_trim(str_of(p->mydomain)),
	    .append_at_myorigin = p->append_at_myorigin,
	    .append_dot_mydomain = p->append_dot_mydomain,
	};
	route_own_init(&r->own, p->inet_interfaces, p->proxy_interfaces);
	rc = set_all(r, err);
	if (rc < 0) {
		route_unref(r);
		return rc;
	}
	*ret = r;
	return 0;
}

static bool
listed(const struct route *r, enum route_class class, struct str domain)
{
	return domainlist_match(r->lists[class], domain) > 0;
}

enum route_class
route_class(const struct route *r, struct str address)
{
	struct str local, domain;

	if (!address_split(address, &local, &domain))
		return ROUTE_LOCAL;
	if (domain.n > 1 && domain.p[domain.n - 1] == '.')
		domain.n--;
	if (domain.n > 0 && domain.p[0] == '[')
		return route_own_literal(&r->own, domain) ? ROUTE_LOCAL : ROUTE_DEFAULT;
	for (unsigned class = ROUTE_LOCAL; class < ROUTE_DEFAULT; class ++)
		if (listed(r, (enum route_class) class, domain))
			return (enum route_class) class;
	return ROUTE_DEFAULT;
}

const char *
route_complete(const struct route *r, struct arena *a, struct str address)
{
	return address_qualify(a, address, &r->rules);
}

/* The next hop when the parameter of the transport names none. */
static const char *
next_hop(const struct route *r, struct arena *a, enum route_class class, struct str domain)
{
	struct str relayhost = str_trim(str_of(r->config->params->relayhost));

	if ((class == ROUTE_RELAY || class == ROUTE_DEFAULT) && relayhost.n > 0)
		return arena_str(a, relayhost);
	if (domain.n == 0)
		return r->config->params->myhostname;
	return address_domain_key(a, domain);
}

void
route_resolve(const struct route *r, struct arena *a, const char *sender, const char *recipient,
    struct route_hop *ret)
{
	struct str address = str_of(recipient), local, domain;
	const struct route_channel *channel;
	enum route_class class;

	if (address.n == 0)
		address = str_of(
		    route_complete(r, a, str_of(r->config->params->empty_address_recipient)));
	if (!address_valid(address)) {
		ret->transport = "error";
		ret->nexthop = "5.1.3 bad address syntax";
		return;
	}
	address_split(address, &local, &domain);
	class = route_class(r, address);
	channel = &r->channels[class];
	ret->transport = arena_strdup(a, channel->transport);
	if (channel->nexthop.n > 0)
		ret->nexthop = arena_str(a, channel->nexthop);
	else
		ret->nexthop = next_hop(r, a, class, domain);
}
