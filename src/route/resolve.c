/*
 * resolve.c - from a recipient to a transport and its next hop.
 *
 * One function per step, in Postfix's order: the class of the domain and its transport, the next
 * hop, and last transport_maps, which goes over both. A table that cannot be used is no reason to
 * go another way: the mail waits, with a reason that names it.
 */
#include <errno.h>
#include "internal.h"
#include "pp/map/key.h"

enum { WHY_MAX = 2048 };

struct resolving {
	const struct route *r;
	struct arena *a;
	const char *sender;
	struct str address, domain; /* of the recipient */
	struct route_hop *to;
	bool is_decided; /* not even transport_maps change it */
	struct buf why;  /* a table cannot be used */
};

/* A value of a table, in the arena. 1, 0, -errno. */
static int
look_up(struct resolving *x, enum route_map which, const struct map_keys *keys, struct str *ret)
{
	struct map *m = x->r->maps[which];
	struct buf value;
	int rc;

	if (m == NULL)
		return 0;
	buf_init(&value, MAP_VALUE_MAX);
	rc = map_find_keys_blk(m, keys->a, keys->n, &value, NULL);
	if (rc < 0)
		buf_printf(&x->why, "%s lookup error: %s", route_map_name(which),
		    buf_str(&value).n > 0 ? buf_cstr(&value) : strerror(-rc));
	else if (rc > 0)
		*ret = str_trim(str_of(arena_str(x->a, buf_str(&value))));
	buf_fini(&value);
	return rc;
}

static bool
is_error(const char *transport)
{
	return strcmp(transport, "error") == 0 || strcmp(transport, "retry") == 0;
}

/* "transport:nexthop". Where no transport is named it stays, and so does an empty next hop with it;
 * else the next hop of a host is the recipient's domain. */
static void
use_entry(struct resolving *x, struct str value)
{
	size_t colon = str_index(value, ':');
	struct str transport = str_trim(str_head(value, colon));
	struct str nexthop = str_trim(str_from(value, colon + 1));

	if (transport.n > 0) {
		x->to->transport = arena_str(x->a, transport);
		x->to->nexthop = is_error(x->to->transport) ? "Address is undeliverable"
							    : address_domain_key(x->a, x->domain);
	}
	if (nexthop.n > 0)
		x->to->nexthop = arena_str(x->a, nexthop);
}

static bool
is_dunno(struct str value)
{
	return value.n == 0 || str_caseeq(value, STR("DUNNO"));
}

/* What the sender is looked up as: mail of nobody has a name of its own in each table. */
static int
sender_keys(struct resolving *x, const char *null_key, struct map_keys *keys)
{
	const struct params *p = x->r->config->params;
	struct str sender = str_of(*x->sender ? x->sender : null_key), local, domain;
	enum route_class class = ROUTE_DEFAULT;
	int rc = 0;

	keys->n = 0;
	if (sender.n == 0)
		return 0;
	if (address_split(sender, &local, &domain))
		rc = route_class_blk(x->r, sender, &class, &x->why);
	if (rc < 0)
		return rc;
	key_sender(x->a, sender, p->recipient_delimiter,
	    class == ROUTE_LOCAL || str_caseeq(domain, x->r->rules.myorigin), keys);
	return 0;
}

static int
find_by_sender(struct resolving *x, enum route_map which, const char *null_key, struct str *ret)
{
	struct map_keys keys;
	int rc;

	*ret = STR("");
	if (x->r->maps[which] == NULL)
		return 0;
	rc = sender_keys(x, null_key, &keys);
	return rc < 0 ? rc : look_up(x, which, &keys, ret);
}

/* Off this host: relayhost by sender, relayhost, the recipient's domain. */
static int
find_next_hop(struct resolving *x)
{
	const struct params *p = x->r->config->params;
	struct str relayhost = str_trim(str_of(p->relayhost)), value;
	int rc = find_by_sender(
	    x, ROUTE_SENDER_RELAYHOST, p->empty_address_relayhost_maps_lookup_key, &value);

	if (rc < 0)
		return rc;
	if (rc > 0 && !is_dunno(value))
		relayhost = value;
	x->to->nexthop =
	    relayhost.n > 0 ? arena_str(x->a, relayhost) : address_domain_key(x->a, x->domain);
	return 0;
}

static void
use_channel(struct resolving *x, const struct route_channel *c)
{
	x->to->transport = arena_strdup(x->a, c->transport);
	x->to->nexthop = c->nexthop.n > 0 ? arena_str(x->a, c->nexthop) : NULL;
}

/* The default transport of this sender. */
static int
use_sender_transport(struct resolving *x)
{
	const struct params *p = x->r->config->params;
	struct str value;
	int rc = find_by_sender(
	    x, ROUTE_SENDER_TRANSPORT, p->empty_address_default_transport_maps_lookup_key, &value);

	if (rc <= 0 || is_dunno(value))
		return rc < 0 ? rc : 0;
	if (value.p[0] == ':') {
		buf_printf(&x->why, "%s: \"%.*s\": null transport is not allowed",
		    route_map_name(ROUTE_SENDER_TRANSPORT), STR_FMT(str_head(value, 200)));
		return -EINVAL;
	}
	use_entry(x, value);
	if (str_index(value, ':') + 1 >= value.n && !is_error(x->to->transport))
		x->to->nexthop = NULL; /* relayhost has its say */
	return 0;
}

/* The class of the recipient, its transport, the next hop. */
static int
use_class(struct resolving *x)
{
	const struct params *p = x->r->config->params;
	enum route_class class;
	int rc = route_class_blk(x->r, x->address, &class, &x->why);

	if (rc < 0)
		return rc;
	use_channel(x, &x->r->channels[class]);
	x->is_decided = class == ROUTE_VIRTUAL_ALIAS;
	if (class == ROUTE_DEFAULT)
		rc = use_sender_transport(x);
	if (rc < 0 || x->to->nexthop != NULL)
		return rc;
	if (class == ROUTE_RELAY || class == ROUTE_DEFAULT)
		return find_next_hop(x);
	x->to->nexthop = x->domain.n > 0 ? address_domain_key(x->a, x->domain) : p->myhostname;
	return 0;
}

static int
use_relocated(struct resolving *x)
{
	const struct params *p = x->r->config->params;
	struct map_keys keys;
	enum route_class class;
	struct str value;
	int rc;

	if (x->r->maps[ROUTE_RELOCATED] == NULL)
		return 0;
	rc = route_class_blk(x->r, x->address, &class, &x->why);
	if (rc < 0)
		return rc;
	key_sender(x->a, x->address, p->recipient_delimiter,
	    class == ROUTE_LOCAL || str_caseeq(x->domain, x->r->rules.myorigin), &keys);
	rc = look_up(x, ROUTE_RELOCATED, &keys, &value);
	if (rc <= 0)
		return rc;
	x->to->transport = "error";
	x->to->nexthop = arena_printf(x->a, "5.1.6 User has moved to %.*s", STR_FMT(value));
	x->is_decided = true;
	return 0;
}

static int
use_transport_maps(struct resolving *x)
{
	struct map_keys keys;
	struct str value;
	int rc;

	if (x->r->maps[ROUTE_TRANSPORT] == NULL)
		return 0;
	key_transport(
	    x->a, x->address, x->r->config->params->recipient_delimiter, x->r->is_parents, &keys);
	rc = look_up(x, ROUTE_TRANSPORT, &keys, &value);
	if (rc > 0)
		use_entry(x, value);
	return rc;
}

static int
resolve(struct resolving *x)
{
	int rc;

	if (!address_valid(x->address)) {
		x->to->transport = "error";
		x->to->nexthop = "5.1.3 bad address syntax";
		return 0;
	}
	address_split(x->address, &(struct str){0}, &x->domain);
	rc = use_class(x);
	if (rc == 0)
		rc = use_relocated(x);
	if (rc == 0 && !x->is_decided)
		rc = use_transport_maps(x);
	return rc;
}

/* Of this host, not of myorigin. */
static struct str
empty_recipient(const struct route *r, struct arena *a)
{
	const struct params *p = r->config->params;
	const char *name = p->empty_address_recipient;

	if (strchr(name, '@') == NULL)
		name = arena_printf(a, "%s@%s", name, p->myhostname);
	return str_of(name);
}

void
route_resolve_blk(const struct route *r, struct arena *a, const char *sender, const char *recipient,
    struct route_hop *ret)
{
	struct resolving x = {
	    .r = r, .a = a, .sender = sender, .address = str_of(recipient), .to = ret};

	buf_init(&x.why, WHY_MAX);
	if (x.address.n == 0)
		x.address = empty_recipient(r, a);
	if (resolve(&x) < 0) {
		ret->transport = "retry";
		ret->nexthop = arena_printf(a, "4.3.0 %s", buf_cstr(&x.why));
	}
	buf_fini(&x.why);
}
