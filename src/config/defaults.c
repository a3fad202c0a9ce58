/*
 * defaults.c - the defaults that depend on the machine: names, networks, directories.
 *
 * They are texts like the defaults of the tables and take their place before anything is expanded,
 * so `$mydomain` means the same whether somebody set it or not. Without a main.cf nobody has said
 * who may connect, so the answer is: this machine only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "internal.h"

enum { NETWORKS_MAX = 64 << 10 };

static void
set(struct config_data *d, const char *name, const char *value)
{
	const struct param *p = param_find(str_of(name));

	PP_ASSERT(p != NULL);
	d->defaults[param_index(p)] = value;
}

/* What a name expands to so far; "" when it does not. */
static const char *
value_of(struct config_data *d, const char *name)
{
	const struct scope sc = {.d = d};
	const char *raw = scope_lookup((void *)&sc, str_of(name));
	struct buf text;
	const char *ret;

	buf_init(&text, CONFIG_VALUE_MAX);
	ret = raw && scope_expand(&sc, str_of(raw), &text, NULL) == 0
		  ? arena_str(&d->arena, buf_str(&text))
		  : "";
	buf_fini(&text);
	return ret;
}

/* A host name without a dot is completed by the domain; a domain is the host name's without its
 * first label. Each default is made of the other's setting only, so they cannot chase each other.
 */
static void
set_names(struct config_data *d, const struct config_source *src)
{
	char name[256] = "localhost";
	const char *host = name, *mydomain, *dot;

	if (src->hostname)
		host = src->hostname;
	else if (gethostname(name, sizeof(name)) == 0)
		name[sizeof(name) - 1] = '\0';
	if (strchr(host, '.') != NULL)
		set(d, "myhostname", arena_strdup(&d->arena, host));
	else {
		mydomain = value_of(d, "mydomain");
		set(d, "myhostname",
		    arena_printf(&d->arena, "%s.%s", host, *mydomain ? mydomain : "localdomain"));
	}
	dot = strchr(value_of(d, "myhostname"), '.');
	set(d, "mydomain", dot && dot[1] ? dot + 1 : "localdomain");
}

struct networks {
	struct buf text;
	const char *style, *interfaces, *protocols;
};

static bool
lists_word(const char *list, const char *word)
{
	struct str rest = str_of(list), s;

	while (str_token(&rest, ", \t\n", &s))
		if (str_caseeq(s, str_of(word)))
			return true;
	return false;
}

static unsigned
mask_bits(const unsigned char *mask, size_t n)
{
	unsigned bits = 0;

	for (size_t i = 0; i < n && mask[i]; i++)
		bits += (unsigned)__builtin_popcount(mask[i]);
	return bits;
}

/* The network of the class that an address had before 1993; only mynetworks_style = class asks. */
static unsigned
class_bits(unsigned char first)
{
	return first < 128 ? 8 : first < 192 ? 16 : first < 224 ? 24 : 32;
}

static bool
is_listed(const struct networks *n, const char *address, bool is_loopback)
{
	char bracketed[INET6_ADDRSTRLEN + 2];

	if (lists_word(n->interfaces, "all"))
		return true;
	if (is_loopback &&
	    (lists_word(n->interfaces, "loopback-only") || lists_word(n->interfaces, "localhost")))
		return true;
	snprintf(bracketed, sizeof(bracketed), "[%s]", address);
	return lists_word(n->interfaces, address) || lists_word(n->interfaces, bracketed);
}

static void
add_network(struct networks *n, int family, const void *addr, const void *mask)
{
	unsigned char bytes[16];
	size_t size = family == AF_INET ? 4 : 16;
	char text[INET6_ADDRSTRLEN];
	unsigned bits = (unsigned)size * 8;
	bool is_loopback;

	memcpy(bytes, addr, size);
	is_loopback =
	    family == AF_INET ? bytes[0] == 127 : memcmp(addr, &in6addr_loopback, size) == 0;
	inet_ntop(family, addr, text, sizeof(text));
	if (!is_listed(n, text, is_loopback))
		return;
	if (strcmp(n->style, "class") == 0 && family == AF_INET)
		bits = class_bits(bytes[0]);
	else if (strcmp(n->style, "host") != 0 && mask)
		bits = mask_bits(mask, size);
	for (size_t i = 0; i < size; i++)
		if (i * 8 + 8 > bits)
			bytes[i] &= (unsigned char)(bits > i * 8 ? 0xff00u >> (bits - i * 8) : 0);
	inet_ntop(family, bytes, text, sizeof(text));
	buf_printf(&n->text, family == AF_INET ? "%s%s/%u" : "%s[%s]/%u", n->text.n ? " " : "",
	    text, bits);
}

static void
add_networks(struct networks *n, const struct ifaddrs *list, int family)
{
	for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
		const void *addr, *mask = NULL;

		if (!i->ifa_addr || i->ifa_addr->sa_family != family || !(i->ifa_flags & IFF_UP))
			continue;
		if (family == AF_INET) {
			addr = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
			if (i->ifa_netmask)
				mask = &((struct sockaddr_in *)(void *)i->ifa_netmask)->sin_addr;
		} else {
			addr = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
			if (i->ifa_netmask)
				mask = &((struct sockaddr_in6 *)(void *)i->ifa_netmask)->sin6_addr;
		}
		add_network(n, family, addr, mask);
	}
}

static void
set_networks(struct config_data *d)
{
	struct networks n = {.style = value_of(d, "mynetworks_style"),
	    .interfaces = value_of(d, "inet_interfaces"),
	    .protocols = value_of(d, "inet_protocols")};
	struct ifaddrs *list = NULL;
	bool has_all = lists_word(n.protocols, "all");

	buf_init(&n.text, NETWORKS_MAX);
	if (getifaddrs(&list) == 0) {
		if (has_all || lists_word(n.protocols, "ipv4"))
			add_networks(&n, list, AF_INET);
		if (has_all || lists_word(n.protocols, "ipv6"))
			add_networks(&n, list, AF_INET6);
		freeifaddrs(list);
	}
	if (n.text.n == 0)
		buf_adds(&n.text, "127.0.0.1/32");
	set(d, "mynetworks", arena_str(&d->arena, buf_str(&n.text)));
	buf_fini(&n.text);
}

static void
set_directories(struct config_data *d, const struct config_source *src)
{
	char here[PATH_MAX];
	const char *cwd = src->cwd;

	if (src->dir && *src->dir)
		set(d, "config_directory", d->cfg.dir);
	if (cwd == NULL)
		cwd = getcwd(here, sizeof(here));
	if (src->is_root || d->cfg.has_main || cwd == NULL)
		return;
	set(d, "queue_directory", arena_printf(&d->arena, "%s/pennypost-spool", cwd));
	set(d, "data_directory", "$queue_directory/data");
}

void
defaults_compute(struct config_data *d, const struct config_source *src)
{
	const struct param *p;

	d->defaults = arena_alloc(&d->arena, param_count() * sizeof(*d->defaults));
	for (unsigned i = 0; (p = param_at(i)) != NULL; i++)
		d->defaults[i] = p->def;
	set(d, "process_name", "pennypost");
	set(d, "process_id", arena_printf(&d->arena, "%ld", (long)getpid()));
	if (!d->cfg.has_main)
		set(d, "inet_interfaces", "loopback-only");
	set_directories(d, src);
	set_names(d, src);
	if (!src->is_mute)
		set_networks(d);
}
