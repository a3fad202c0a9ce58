/*
 * received.c - the Received field that a message gets here.
 *
 * Pure, so that its shape can be tested byte by byte: programs read it (spamassassin, mail loops,
 * hop counting), and they know Postfix's. RFC 5321 4.4: "for" only with one recipient, since it
 * would tell each of several about the others.
 */
#include "internal.h"

void
received_print(const struct received *r, struct buf *to)
{
	const char *ipv6 = strchr(r->address, ':') ? "IPv6:" : "";

	buf_printf(to, "Received: from %s (%s [%s%s])\n", r->helo ? r->helo : r->name, r->name,
	    ipv6, r->address);
	buf_printf(to, "\tby %s (%s) with %s id %s", r->hostname, r->mail_name, r->protocol, r->id);
	if (r->rcpt)
		buf_printf(to, "\n\tfor <%s>; ", r->rcpt);
	else
		buf_adds(to, ";\n\t");
	buf_adds(to, cleanup_date(r->now_s).text);
}
