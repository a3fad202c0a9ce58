/*
 * address.h - IP addresses and ports as text, for the files of net/.
 * THREAD any.  OWNS nothing.
 * ERRORS -EINVAL; nothing is looked up here.
 */
#pragma once
#include <sys/socket.h>
#include "pp/net/resolver.h"

struct stream_peer;

/* "127.0.0.1" or "::1", also in brackets. */
int net_address_parse(struct str text, unsigned port, struct sockaddr_storage *ret);
/* "127.0.0.1:53", "[::1]:53", an address alone gets the default port. */
int net_address_parse_port(struct str text, unsigned port, struct sockaddr_storage *ret);
/* What is no address is family AF_UNIX or AF_UNSPEC with an empty text. */
void net_address_describe(const struct sockaddr *sa, struct stream_peer *ret);
socklen_t net_address_size(const struct sockaddr *sa);
/* Same address, the ports do not matter. */
bool net_address_same(const struct sockaddr *a, const struct sockaddr *b);
/* "1.0.0.127.in-addr.arpa", "...ip6.arpa" */
void net_address_reverse(const struct sockaddr *sa, char to[RESOLVER_NAME_MAX]);
