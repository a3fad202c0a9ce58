/*
 * nexthop.c - the parts of a next hop, and the name under which its SRV records stand.
 *
 * The client that connects and the command that shows routes read them alike.
 */
#include "pp/mail/nexthop.h"

bool
nexthop_split(struct str text, struct nexthop *to)
{
	struct str rest = text;

	*to = (struct nexthop){.is_literal = str_starts(text, STR("["))};
	if (to->is_literal) {
		size_t end = str_index(text, ']');

		if (end == text.n)
			return false;
		to->host = str_from(str_head(text, end), 1);
		if (str_casestarts(to->host, STR("ipv6:")))
			to->host = str_from(to->host, 5);
		rest = str_from(text, end + 1);
		if (rest.n > 0 && rest.p[0] != ':')
			return false;
	} else {
		size_t end = str_index(text, ':');

		to->host = str_head(text, end);
		rest = str_from(text, end);
		if (str_index(str_from(rest, 1), ':') + 1 < rest.n)
			return false; /* an IPv6 address without its brackets */
	}
	if (rest.n > 0)
		to->service = str_from(rest, 1);
	return to->host.n > 0;
}

const char *
nexthop_srv_name(struct arena *a, const struct nexthop *h, const char *usual, const char *services)
{
	struct str service = h->service.p ? h->service : str_of(usual);
	struct str rest = str_of(services), word;

	if (h->is_literal || h->host.n == 0)
		return NULL;
	while (str_token(&rest, ", \t\r\n", &word))
		if (str_caseeq(word, service))
			return arena_printf(
			    a, "_%.*s._tcp.%.*s", STR_FMT(service), STR_FMT(h->host));
	return NULL;
}
