/*
 * resolver.h - DNS for one loop: MX, addresses, names of clients.
 * THREAD the loop it was made on; one each.
 * OWNS   the answer belongs to the query, the query frees itself after its callback.
 * ERRORS enum resolver_result: only NXDOMAIN, a true NODATA and a well-formed null MX are permanent;
 *        everything odd is temporary. An answer is hostile input.
 * SEE    RFC 5321 5.1, RFC 7505 (null MX), shared security.md 7, delivery.md 4 (DNS texts).
 */
#pragma once
#include <sys/socket.h>
#include "pp/base/buf.h"
#include "pp/runtime/loop.h"

enum resolver_result {
	RESOLVER_OK,
	RESOLVER_NOT_FOUND,   /* NXDOMAIN */
	RESOLVER_NO_DATA,     /* the name exists, the type does not */
	RESOLVER_TRY_AGAIN,   /* timeout, SERVFAIL, no server */
	RESOLVER_MALFORMED,   /* unusable answer: temporary */
};

enum { RESOLVER_MX_MAX = 64, RESOLVER_ADDRESS_MAX = 32, RESOLVER_NAME_MAX = 254 };

struct resolver;
/* servers: "127.0.0.1:5353, [::1]:53", NULL or "" = the system's; hosts: also look into /etc/hosts
 * for addresses (smtp_host_lookup native). */
struct resolver *resolver_new(struct loop *l, const char *servers, int64_t timeout_ms, struct buf *err);
void resolver_free(struct resolver *r);

struct resolver_mx {
	unsigned preference;
	char host[RESOLVER_NAME_MAX]; /* "" = null MX, only ever alone */
};
struct resolver_address {
	struct sockaddr_storage sa; /* port 0 */
	char text[64];
};
struct resolver_answer {
	enum resolver_result result;
	const char *text;      /* Postfix's words for a failure: "Host not found" ... */
	const struct resolver_mx *mx;
	const struct resolver_address *address;
	const char *name;      /* resolver_name: the confirmed name, or "unknown" */
	const char *reverse;   /* its unconfirmed PTR name, or "unknown" */
	size_t n;
	int64_t ttl;           /* seconds */
};

struct resolver_query;
typedef void resolver_done(void *ctx, const struct resolver_answer *a);
/* The answer is valid during the callback, which never comes inside the call. */
struct resolver_query *resolver_find_mx(struct resolver *r, const char *domain, resolver_done *done, void *ctx);
/* family AF_INET, AF_INET6 or AF_UNSPEC (both, in one answer, AAAA first). An address literal
 * answers itself. native: /etc/hosts and "localhost" first. */
struct resolver_query *resolver_find_address(struct resolver *r, const char *host, int family,
    bool native, resolver_done *done, void *ctx);
/* Reverse name of a client, confirmed by its forward look-up. */
struct resolver_query *resolver_find_name(struct resolver *r, const char *address, resolver_done *done, void *ctx);
/* No callback comes. */
void resolver_cancel(struct resolver_query *q);
