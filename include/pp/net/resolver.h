/*
 * resolver.h - DNS for one loop: MX, SRV, addresses, names of clients.
 * THREAD the loop it was made on; one each.
 * OWNS   the answer belongs to the query, the query frees itself after its callback.
 * ERRORS enum resolver_result: only NXDOMAIN, a true NODATA and a well-formed null MX are
 *        permanent; everything odd is temporary. An answer is hostile input.
 * SEE    RFC 5321 5.1, RFC 7505 (null MX), RFC 2308 (denials).
 */
#pragma once
#include <sys/socket.h>
#include "pp/base/buf.h"
#include "pp/runtime/loop.h"

enum resolver_result {
	RESOLVER_OK,
	RESOLVER_NOT_FOUND, /* NXDOMAIN */
	RESOLVER_NO_DATA,   /* the name exists, the type does not */
	RESOLVER_TRY_AGAIN, /* timeout, SERVFAIL, no server */
	RESOLVER_MALFORMED, /* unusable answer: temporary */
	RESOLVER_FILTERED,  /* not of the resolver: who asked has thrown all of it away */
};

enum {
	RESOLVER_MX_MAX = 64,
	RESOLVER_ADDRESS_MAX = 32,
	RESOLVER_NAME_MAX = 254,
	RESOLVER_TLSA_MAX = 16,
	RESOLVER_TLSA_BYTES = 8192, /* of all records together */
};

struct resolver;
/* servers: "127.0.0.1:5353, [::1]:53", NULL or "" = those of /etc/resolv.conf, read again when it
 * changes. timeout_ms bounds a query with all its repetitions. NULL with the reason in `err`. */
struct resolver *
resolver_new(struct loop *l, const char *servers, int64_t timeout_ms, struct buf *err);
/* Open queries end without a callback. NULL is taken. */
void resolver_free(struct resolver *r);

struct resolver_mx { /* MX, or SRV (RFC 2782), whose priority is the same thing */
	unsigned preference;
	char host[RESOLVER_NAME_MAX]; /* "" = no such service (RFC 7505), only ever alone */
	unsigned weight, port;        /* of SRV */
};
struct resolver_address {
	struct sockaddr_storage sa; /* port 0 */
	char text[64];
};
struct tls_tlsa;
struct resolver_answer {
	enum resolver_result result;
	bool is_secure;   /* asked for so, and a validating name server vouches for it (RFC 4035) */
	const char *text; /* Postfix's words for a failure: "Host not found" ...; NULL = none */
	const struct resolver_mx *mx; /* best preference first; equal ones are not shuffled */
	const struct resolver_address *address;
	const struct tls_tlsa *tlsa;
	const char *canonical; /* of an address: the name behind aliases, or NULL */
	const char *name;      /* resolver_name: the confirmed name, or "unknown" */
	const char *reverse;   /* its unconfirmed PTR name, or "unknown" */
	size_t n;
	int64_t ttl; /* seconds; 0 = unknown or not from the DNS */
};

struct resolver_query;
typedef void resolver_done(void *ctx, const struct resolver_answer *a);
enum {
	RESOLVER_NATIVE = 1, /* of addresses: /etc/hosts and "localhost" first */
	RESOLVER_SECURE = 2, /* DNSSEC is asked for; see is_secure */
	/* Of addresses, as res_search(3): the domain of resolv.conf behind a name without a dot;
	 * all of its search domains, also behind one with a dot. */
	RESOLVER_DEFNAMES = 4,
	RESOLVER_DNSRCH = 8,
};
/* The answer is valid during the callback, which never comes inside the call. */
struct resolver_query *resolver_find_mx(
    struct resolver *r, const char *domain, unsigned flags, resolver_done *done, void *ctx);
/* name: "_submission._tcp.example.com". The answer is in mx. */
struct resolver_query *resolver_find_srv(
    struct resolver *r, const char *name, unsigned flags, resolver_done *done, void *ctx);
/* Only a secure answer has records (RFC 7672 2.2). */
struct resolver_query *
resolver_find_tlsa(struct resolver *r, const char *name, resolver_done *done, void *ctx);
/* Is there an answer for `name` ("." = the root) and a type, and does the name server vouch for it?
 * No records come. */
struct resolver_query *
resolver_probe(struct resolver *r, const char *name, unsigned type, resolver_done *done, void *ctx);
/* family AF_INET, AF_INET6 or AF_UNSPEC (both, in one answer, AAAA first; what one family yields
 * counts, whatever became of the other). An address literal, also in brackets, answers itself. */
struct resolver_query *resolver_find_address(struct resolver *r, const char *host, int family,
    unsigned flags, resolver_done *done, void *ctx);
/* Reverse name of a client (/etc/hosts, then PTR), confirmed by its forward look-up. Not confirmed:
 * name is "unknown", result is that of the look-up that failed; NOT_FOUND with text NULL when
 * `reverse` exists and its addresses are others. */
struct resolver_query *
resolver_find_name(struct resolver *r, const char *address, resolver_done *done, void *ctx);
/* Letters, digits, `-`, `_` in labels of 1..63, 253 in all, the last one not a number. */
bool resolver_name_valid(struct str name);
/* No callback comes. Not for a query whose callback came. NULL is taken. */
void resolver_cancel(struct resolver_query *q);
