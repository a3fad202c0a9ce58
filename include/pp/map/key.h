/*
 * key.h - the forms of a key that each kind of table is asked for, most specific first.
 * THREAD any; pure.
 * OWNS   keys point into the arguments or into the arena. Everything is lower-cased
 *        but where it says so: tables of fixed keys do that by themselves.
 * ERRORS none: what would be more than MAP_KEYS_MAX forms is left out at the end.
 * SEE    access(5), transport(5), virtual(5), canonical(5).
 */
#pragma once
#include "pp/base/mem.h"
#include "pp/map/map.h"

struct map_keys {
	struct map_key a[MAP_KEYS_MAX];
	unsigned n;
};

/* access, client: name, parent domains, then 1.2.3.4, 1.2.3, 1.2, 1 (IPv6 by groups). An empty or
 * "unknown" name is asked for as it is, without parents. is_parents: bare parents match (see
 * parent_domain_matches_subdomains, smtpd_access_maps), else they are asked for as ".parent". */
void
key_client(struct arena *a, struct str name, struct str addr, bool is_parents, struct map_keys *to);
/* access, a host name alone (HELO), and an address alone. */
void key_domain(struct arena *a, struct str name, bool is_parents, struct map_keys *to);
void key_network(struct arena *a, struct str addr, struct map_keys *to);
/* access, mail address: user+ext@dom user@dom dom parents user+ext@ user@; null_key for <>. */
void key_access_address(struct arena *a, struct str address, const char *delimiters,
    bool is_parents, const char *null_key, struct map_keys *to);
/* transport: user+ext@dom user@dom dom .parents `*`. The case stays, for tables of patterns. */
void key_transport(struct arena *a, struct str address, const char *delimiters, bool is_parents,
    struct map_keys *to);
/* virtual, canonical, generic, relocated: user+ext@dom user@dom, user+ext and user when is_local
 * (the domain is myorigin, mydestination or an own address), @dom. */
void key_address(struct arena *a, struct str address, const char *delimiters, bool is_local,
    struct map_keys *to);
/* sender_dependent_relayhost_maps: the same. The case stays, for tables of patterns. */
void key_sender(struct arena *a, struct str address, const char *delimiters, bool is_local,
    struct map_keys *to);
/* smtp_tls_policy_maps: next hop as given, the domain without brackets only when it had none,
 * then its .parents. */
void key_tls_policy(struct arena *a, struct str nexthop, struct map_keys *to);
