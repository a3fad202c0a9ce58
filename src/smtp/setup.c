/*
 * One configuration, compiled for the client: per transport its levels, TLS contexts, password
 * table and numbers, each with the `-o` of its row.
 *
 * All that can be wrong is found here, at start or reload, and named by its parameter; deliveries
 * then work on a snapshot and have no configuration errors left to report.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include "internal.h"

enum { OWN_MAX = 256 };

static void
unref_maps(struct smtp_service *sv)
{
	map_unref(sv->passwords);
	map_unref(sv->policies);
}

static void
destroy(struct snap *snap)
{
	struct smtp_setup *su = PP_CONTAINER(snap, struct smtp_setup, snap);

	for (size_t i = 0; i < su->service_count; i++) {
		unref_maps(&su->services[i]);
		smtp_setup_maps_unref(&su->services[i]);
	}
	for (size_t i = 0; i < su->tls_count; i++)
		if (su->tls[i].context)
			tls_context_unref(su->tls[i].context);
	snap_unref(&su->config->snap);
	arena_fini(&su->arena);
	mem_free(su);
}

void
smtp_setup_ref(struct smtp_setup *su)
{
	snap_ref(&su->snap);
}

void
smtp_setup_unref(struct smtp_setup *su)
{
	if (su)
		snap_unref(&su->snap);
}

static int
parse_family(const char *words)
{
	struct str rest = str_of(words), word;
	bool v4 = false, v6 = false;

	while (str_token(&rest, ", \t", &word)) {
		v4 = v4 || str_caseeq(word, STR("ipv4")) || str_caseeq(word, STR("all"));
		v6 = v6 || str_caseeq(word, STR("ipv6")) || str_caseeq(word, STR("all"));
	}
	return v4 == v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
}

static int
parse_bind(
    const char *name, const char *text, int family, struct sockaddr_storage *to, struct buf *err)
{
	void *raw = family == AF_INET ? (void *)&((struct sockaddr_in *)(void *)to)->sin_addr
				      : (void *)&((struct sockaddr_in6 *)(void *)to)->sin6_addr;

	if (!*text)
		return 0;
	if (inet_pton(family, text, raw) != 1) {
		buf_printf(err, "%s = %s: not an %s address", name, text,
		    family == AF_INET ? "IPv4" : "IPv6");
		return -EINVAL;
	}
	to->ss_family = (sa_family_t)family;
	return 0;
}

static int
check_options(const char *name, const char *options, struct buf *err)
{
	struct buf text;
	int rc;

	buf_init(&text, 512);
	rc = sasl_security_options_check(options, &text);
	if (rc < 0)
		buf_printf(err, "%s: %s", name, buf_cstr(&text));
	buf_fini(&text);
	return rc;
}

static int
open_passwords_blk(struct smtp_service *sv, struct buf *err)
{
	const struct params *p = sv->p;
	struct buf text;
	int rc;

	if (!p->smtp_sasl_auth_enable)
		return 0;
	buf_init(&text, 1024);
	if (!*p->smtp_sasl_password_maps) {
		buf_adds(err, "smtp_sasl_auth_enable = yes needs smtp_sasl_password_maps");
		rc = -EINVAL;
		goto out;
	}
	rc = map_open(p->smtp_sasl_password_maps, &sv->passwords, &text);
	if (rc < 0) {
		buf_printf(err, "smtp_sasl_password_maps: %s", buf_cstr(&text));
		goto out;
	}
	rc = check_options("smtp_sasl_security_options", p->smtp_sasl_security_options, err);
	if (rc == 0)
		rc = check_options(
		    "smtp_sasl_tls_security_options", p->smtp_sasl_tls_security_options, err);
	if (rc == 0)
		rc = check_options("smtp_sasl_tls_verified_security_options",
		    p->smtp_sasl_tls_verified_security_options, err);
	if (rc == 0 && (rc = sasl_load_blk(&text)) < 0)
		buf_printf(err, "smtp_sasl_auth_enable: %s", buf_cstr(&text));
out:
	buf_fini(&text);
	return rc;
}

static int
compile_blk(struct smtp_setup *su, const struct service *row, struct buf *err)
{
	struct smtp_service *sv = &su->services[su->service_count++];
	const struct params *p = row->params;
	char name[RESOLVER_NAME_MAX];
	const char *why;
	unsigned type;
	int rc;

	sv->name = row->name;
	sv->row = row;
	sv->p = p;
	sv->program = config_service_program(su->config, row, &su->arena);
	sv->is_lmtp = str_eq(str_of(row->command), STR("lmtp"));
	sv->family = parse_family(p->inet_protocols);
	sv->prefer = parse_family(p->smtp_address_preference);
	sv->use_dns =
	    !p->disable_dns_lookups && !str_eq(str_of(p->smtp_dns_support_level), STR("disabled"));
	sv->use_dnssec = sv->use_dns && str_eq(str_of(p->smtp_dns_support_level), STR("dnssec"));
	sv->use_native = !sv->use_dns || strstr(p->smtp_host_lookup, "native") != NULL;
	if (strcasestr(p->smtp_dns_resolver_options, "res_defnames"))
		sv->search |= RESOLVER_DEFNAMES;
	if (strcasestr(p->smtp_dns_resolver_options, "res_dnsrch"))
		sv->search |= RESOLVER_DNSRCH;
	sv->port = smtp_target_port(str_of(p->smtp_tcp_port), p->known_tcp_ports);
	if (sv->port == 0) {
		buf_printf(err, "smtp_tcp_port = %s: no such port", p->smtp_tcp_port);
		return -EINVAL;
	}
	if (*p->dnssec_probe && (why = smtp_dnssec_probe_parse(p->dnssec_probe, &type, name))) {
		buf_printf(err, "dnssec_probe = %s: %s", p->dnssec_probe, why);
		return -EINVAL;
	}
	rc = parse_bind("smtp_bind_address", p->smtp_bind_address, AF_INET, &sv->bind4, err);
	if (rc == 0)
		rc = parse_bind(
		    "smtp_bind_address6", p->smtp_bind_address6, AF_INET6, &sv->bind6, err);
	if (rc == 0)
		rc = smtp_setup_tls_blk(su, sv, err);
	if (rc == 0)
		rc = open_passwords_blk(sv, err);
	if (rc == 0)
		rc = smtp_setup_maps_blk(sv, err);
	return rc;
}

static void
add_own_address(struct smtp_setup *su, const char *text)
{
	if (su->own_address_count < OWN_MAX)
		su->own_addresses[su->own_address_count++] = arena_strdup(&su->arena, text);
}

/* inet_interfaces and proxy_interfaces: a mail exchanger at one of these is this machine. */
static void
find_own_addresses_blk(struct smtp_setup *su)
{
	const struct params *p = su->config->params;
	struct str rest = str_of(p->proxy_interfaces), word;
	struct ifaddrs *all = NULL;
	char text[INET6_ADDRSTRLEN];

	su->own_addresses = arena_alloc(&su->arena, OWN_MAX * sizeof *su->own_addresses);
	while (str_token(&rest, ", \t", &word))
		add_own_address(su, arena_str(&su->arena, word));
	rest = str_of(p->inet_interfaces);
	while (str_token(&rest, ", \t", &word))
		add_own_address(su, arena_str(&su->arena, word));
	if (!str_caseeq(str_of(p->inet_interfaces), STR("all")) &&
	    !str_caseeq(str_of(p->inet_interfaces), STR("loopback-only")))
		return;
	if (getifaddrs(&all) < 0)
		return;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		const void *raw = NULL;

		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
			raw = &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
		else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6)
			raw = &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
		if (raw && inet_ntop(i->ifa_addr->sa_family, raw, text, sizeof text))
			add_own_address(su, text);
	}
	freeifaddrs(all);
}

/* Port 25 and those of our own inet services. */
static void
find_own_ports(struct smtp_setup *su)
{
	const char *known = su->config->params->known_tcp_ports;

	su->own_ports = arena_alloc(&su->arena, OWN_MAX * sizeof *su->own_ports);
	su->own_ports[su->own_port_count++] = 25;
	for (const struct service *row = NULL; (row = config_service_next(su->config, row));) {
		struct str name = str_of(row->name);
		size_t colon = str_rindex(name, ':');
		unsigned port;

		if (!str_eq(str_of(row->type), STR("inet")) || su->own_port_count == OWN_MAX)
			continue;
		port = smtp_target_port(colon < name.n ? str_from(name, colon + 1) : name, known);
		if (port)
			su->own_ports[su->own_port_count++] = port;
	}
}

/* A next hop that cannot be read would only be noticed by the first mail, and defer all of them. */
static int
check_hops(const char *name, const char *list, const char *known, struct buf *err)
{
	struct smtp_hop hops[SMTP_HOPS_MAX];
	struct arena a = {0};
	size_t n = 0;
	int rc = 0;

	smtp_target_parse(&a, list, known, 25, false, hops, &n);
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (hops[i].host[0] != '\0')
			continue;
		buf_printf(err,
		    "%s: \"%s\" must be [host], [host]:port, host or host:port, with a port from "
		    "1 to 65535 or a name of known_tcp_ports",
		    name, hops[i].text);
		rc = -EINVAL;
	}
	arena_fini(&a);
	return rc;
}

int
smtp_setup_new_blk(struct config *cfg, struct smtp_setup **ret, struct buf *err)
{
	struct smtp_setup *su = MEM_NEW(struct smtp_setup);
	size_t rows = 0;
	const struct params *p = cfg->params;
	int rc = check_hops("relayhost", p->relayhost, p->known_tcp_ports, err);

	if (rc == 0)
		rc = check_hops(
		    "smtp_fallback_relay", p->smtp_fallback_relay, p->known_tcp_ports, err);
	snap_init(&su->snap, destroy);
	snap_ref(&cfg->snap);
	su->config = cfg;
	for (const struct service *row = NULL; (row = config_service_next(cfg, row));)
		rows++;
	su->services = arena_alloc(&su->arena, (rows + 1) * sizeof *su->services);
	su->tls = arena_alloc(&su->arena, (2 * rows + 1) * sizeof *su->tls);
	find_own_addresses_blk(su);
	find_own_ports(su);
	for (const struct service *row = NULL; rc == 0 && (row = config_service_next(cfg, row));)
		if (str_eq(str_of(row->command), STR("smtp")) ||
		    str_eq(str_of(row->command), STR("lmtp")))
			rc = compile_blk(su, row, err);
	if (rc < 0)
		snap_unref(&su->snap);
	else
		*ret = su;
	return rc;
}

void
smtp_setup_check_blk(const struct smtp_setup *su, struct buf *warn)
{
	struct buf text;

	buf_init(&text, 1024);
	if (*su->config->params->smtp_tls_per_site)
		buf_adds(warn, "smtp_tls_per_site is not used: write its entries into a table of "
			       "smtp_tls_policy_maps\n");
	for (size_t i = 0; i < su->service_count; i++) {
		const struct smtp_service *sv = &su->services[i];

		if ((sv->policy.level != TLS_DANE && sv->policy.level != TLS_DANE_ONLY) ||
		    sv->use_dnssec || strstr(buf_cstr(warn), "smtp_dns_support_level"))
			continue;
		buf_printf(warn,
		    "smtp_tls_security_level = %s has no effect without smtp_dns_support_level = "
		    "dnssec and a name server that validates\n",
		    tls_level_word(sv->policy.level));
	}
	for (size_t i = 0; i < su->service_count; i++) {
		const struct map *m = su->services[i].passwords;

		/* Most services share one table: each is named once. */
		buf_clear(&text);
		if (m && map_check_permissions_blk(m, &text) > 0 &&
		    !memmem(buf_cstr(warn), buf_str(warn).n, buf_cstr(&text), buf_str(&text).n))
			buf_printf(warn, "smtp_sasl_password_maps: %s\n", buf_cstr(&text));
	}
	buf_fini(&text);
}

const struct smtp_service *
smtp_setup_find(const struct smtp_setup *su, const struct delivery *d)
{
	for (size_t i = 0; i < su->service_count; i++)
		if (su->services[i].row == d->service)
			return &su->services[i];
	for (size_t i = 0; i < su->service_count; i++)
		if (str_eq(str_of(su->services[i].name), str_of(d->transport)))
			return &su->services[i];
	return NULL;
}

bool
smtp_setup_owns(const struct smtp_setup *su, const char *address)
{
	for (size_t i = 0; i < su->own_address_count; i++)
		if (str_caseeq(str_of(su->own_addresses[i]), str_of(address)))
			return true;
	return false;
}

bool
smtp_setup_listens(const struct smtp_setup *su, unsigned port)
{
	for (size_t i = 0; i < su->own_port_count; i++)
		if (su->own_ports[i] == port)
			return true;
	return false;
}
