/*
 * address.c - IP addresses and ports as text.
 *
 * IPv4 peers of an IPv6 socket are shown as IPv4, because logs, mynetworks and access tables know
 * them only so.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>
#include "address.h"
#include "pp/net/stream.h"

int
net_address_parse(struct str text, unsigned port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;
	struct sockaddr_storage sa = {0};
	char buf[INET6_ADDRSTRLEN];

	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = (struct str){text.p + 1, text.n - 2};
	if (text.n == 0 || text.n >= sizeof(buf) || memchr(text.p, '\0', text.n) != NULL)
		return -EINVAL;
	memcpy(buf, text.p, text.n);
	buf[text.n] = '\0';
	if (inet_pton(AF_INET, buf, &((struct sockaddr_in *)(void *)&sa)->sin_addr) == 1) {
		*ret = sa;
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return 0;
	}
	if (inet_pton(AF_INET6, buf, &((struct sockaddr_in6 *)(void *)&sa)->sin6_addr) == 1) {
		*ret = sa;
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		return 0;
	}
	return -EINVAL;
}

int
net_address_parse_port(struct str text, unsigned port, struct sockaddr_storage *ret)
{
	size_t colon = str_rindex(text, ':');
	int64_t number;

	if (net_address_parse(text, port, ret) == 0)
		return 0;
	if (colon == text.n || str_number(str_from(text, colon + 1), 1, 65535, &number) < 0)
		return -EINVAL;
	/* "::1:53" would be ambiguous: an IPv6 address with a port needs its brackets. */
	if (str_index(text, ':') != colon && text.p[0] != '[')
		return -EINVAL;
	return net_address_parse(str_head(text, colon), (unsigned)number, ret);
}

void
net_address_describe(const struct sockaddr *sa, struct stream_peer *ret)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	*ret = (struct stream_peer){.family = sa->sa_family};
	if (sa->sa_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, ret->address, sizeof(ret->address));
		ret->port = ntohs(v4->sin_port);
	} else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		ret->family = AF_INET;
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ret->address, sizeof(ret->address));
		ret->port = ntohs(v6->sin6_port);
	} else if (sa->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, ret->address, sizeof(ret->address));
		ret->port = ntohs(v6->sin6_port);
	}
}

socklen_t
net_address_size(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return sizeof(struct sockaddr_in);
	if (sa->sa_family == AF_INET6)
		return sizeof(struct sockaddr_in6);
	return sizeof(struct sockaddr_un);
}

bool
net_address_same(const struct sockaddr *a, const struct sockaddr *b)
{
	struct stream_peer x, y;

	net_address_describe(a, &x);
	net_address_describe(b, &y);
	return x.family == y.family && x.address[0] && strcmp(x.address, y.address) == 0;
}

/* RFC 1035 3.5, RFC 3596 2.5. */
void
net_address_reverse(const struct sockaddr *sa, char to[RESOLVER_NAME_MAX])
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;
	uint32_t ip = ntohl(v4->sin_addr.s_addr);
	char *p = to;

	if (sa->sa_family == AF_INET) {
		snprintf(to, RESOLVER_NAME_MAX, "%u.%u.%u.%u.in-addr.arpa", ip & 255, ip >> 8 & 255,
		    ip >> 16 & 255, ip >> 24);
		return;
	}
	for (int i = 15; i >= 0; i--, p += 4)
		snprintf(
		    p, 5, "%x.%x.", v6->sin6_addr.s6_addr[i] & 15, v6->sin6_addr.s6_addr[i] >> 4);
	snprintf(p, sizeof("ip6.arpa"), "ip6.arpa");
}
