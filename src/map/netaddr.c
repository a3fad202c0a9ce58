/*
 * netaddr.c - addresses and networks as bytes.
 *
 * IPv4 addresses inside IPv6 (::ffff:a.b.c.d) are unwrapped at the door, in patterns and in what is
 * matched, so that 10.0.0.0/8 means the same on every kind of socket.
 */
#include <arpa/inet.h>
#include <errno.h>
#include "internal.h"

static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void
unwrap(struct netaddr *a)
{
	if (!a->is_v6 || a->bits < 96 || memcmp(a->bytes, mapped, sizeof(mapped)) != 0)
		return;
	memmove(a->bytes, a->bytes + 12, 4);
	memset(a->bytes + 4, 0, 12);
	a->is_v6 = false;
	a->bits = (unsigned char)(a->bits - 96);
}

static bool
parse_address(struct str s, struct netaddr *ret)
{
	char text[INET6_ADDRSTRLEN];

	*ret = (struct netaddr){.bits = 32};
	if (s.n >= sizeof(text) || memchr(s.p, '\0', s.n))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (inet_pton(AF_INET, text, ret->bytes) == 1)
		return true;
	ret->is_v6 = true;
	ret->bits = 128;
	return inet_pton(AF_INET6, text, ret->bytes) == 1;
}

static bool
has_host_bits(const struct netaddr *a)
{
	unsigned size = a->is_v6 ? 16 : 4;

	for (unsigned bit = a->bits; bit < size * 8; bit++)
		if (a->bytes[bit / 8] & 0x80 >> bit % 8)
			return true;
	return false;
}

static void
clear_host_bits(struct netaddr *a)
{
	unsigned size = a->is_v6 ? 16 : 4;

	for (unsigned bit = a->bits; bit < size * 8; bit++)
		a->bytes[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
}

static int
complain_bits(struct str s, struct netaddr net, struct buf *err)
{
	char text[INET6_ADDRSTRLEN];

	clear_host_bits(&net);
	inet_ntop(net.is_v6 ? AF_INET6 : AF_INET, net.bytes, text, sizeof(text));
	buf_printf(err,
	    "\"%.*s\" has bits set behind the length of its network: perhaps \"%s%s%s/%u\"",
	    STR_FMT(s), net.is_v6 ? "[" : "", text, net.is_v6 ? "]" : "", net.bits);
	return -EINVAL;
}

int
netaddr_parse(struct str s, struct netaddr *ret, struct buf *err)
{
	size_t slash = str_rindex(s, '/');
	struct str host = str_head(s, slash);
	int64_t bits;

	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = (struct str){host.p + 1, host.n - 2};
	if (!parse_address(host, ret)) {
		buf_printf(err, "\"%.*s\" is neither an address nor a network", STR_FMT(s));
		return -EINVAL;
	}
	if (slash < s.n) {
		if (str_number(str_from(s, slash + 1), 0, ret->bits, &bits) < 0) {
			buf_printf(err, "\"%.*s\": the length of a network must be from 0 to %u",
			    STR_FMT(s), ret->bits);
			return -EINVAL;
		}
		ret->bits = (unsigned char)bits;
	}
	if (has_host_bits(ret))
		return complain_bits(s, *ret, err);
	unwrap(ret);
	return 0;
}

int
netaddr_parse_host(struct str s, struct netaddr *ret)
{
	size_t scope;

	if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = (struct str){s.p + 1, s.n - 2};
	if (str_casestarts(s, STR("IPv6:")))
		s = str_from(s, 5);
	scope = str_index(s, '%');
	if (!parse_address(str_head(s, scope), ret))
		return -EINVAL;
	unwrap(ret);
	return 0;
}

int
netaddr_of(const struct sockaddr *sa, struct netaddr *ret)
{
	*ret = (struct netaddr){.bits = 32};
	if (sa->sa_family == AF_INET) {
		memcpy(ret->bytes, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
		return 0;
	}
	if (sa->sa_family != AF_INET6)
		return -EAFNOSUPPORT;
	memcpy(ret->bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	ret->is_v6 = true;
	ret->bits = 128;
	unwrap(ret);
	return 0;
}

bool
netaddr_contains(const struct netaddr *net, const struct netaddr *host)
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;

	if (net->is_v6 != host->is_v6 || memcmp(net->bytes, host->bytes, whole) != 0)
		return false;
	return rest == 0 || (net->bytes[whole] ^ host->bytes[whole]) >> (8 - rest) == 0;
}
