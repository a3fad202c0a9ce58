/*
 * target.h - next hops as text, and the order in which addresses are tried.
 * THREAD any; pure.
 * OWNS   results live in the arena or array given.
 * SEE    RFC 5321 5.1, transport(5) for the syntax of next hops.
 */
#pragma once
#include <sys/socket.h>
#include "pp/mail/nexthop.h"
#include "pp/net/resolver.h"

enum { SMTP_HOPS_MAX = 64 };

/* One element of a next hop: `host`, `host:port`, `[host]`, `[host]:port`; of LMTP also
 * `inet:` before these, and `unix:path`. */
struct smtp_hop {
	const char *text; /* as given: key of passwords and of idle connections */
	const char *host; /* without brackets and port; "" = the text is no next hop */
	unsigned port;
	bool has_port;    /* the port was given */
	bool use_mx;      /* no brackets, and not LMTP */
	bool is_unix;     /* host is the path of a socket */
	bool is_fallback; /* from smtp_fallback_relay */
	const char *srv;  /* where its SRV records stand; NULL: they are not asked for */
	struct nexthop parts;
};

/* Appends the elements of a list (commas, blanks) to hops; what has no room is left out. known:
 * "lmtp=24, smtp=25, smtps=submissions=465" (known_tcp_ports). */
void smtp_target_parse(struct arena *a, const char *list, const char *known, unsigned port,
    bool is_fallback, struct smtp_hop *hops, size_t *n);
/* After it: the words of LMTP; without MX records, which are for SMTP (RFC 2033 5). */
void smtp_target_parse_lmtp(
    struct arena *a, const char *known, unsigned port, struct smtp_hop *hops, size_t n);
/* After both: those whose service is one of use_srv_lookup; `usual`: of those that name none. */
void smtp_target_use_srv(
    struct arena *a, const char *services, const char *usual, struct smtp_hop *hops, size_t n);
/* "25" or a known name; 0 = neither. */
unsigned smtp_target_port(struct str text, const char *known);

struct smtp_target {
	struct sockaddr_storage sa; /* with the port */
	unsigned port;
	char text[112]; /* an IP address, or a path that fits into sockaddr_un */
	const char *host;
	const char *canonical; /* the name behind its aliases, or NULL */
	bool is_secure;        /* a validating name server vouches for the address */
};

/* Best preference first; equals in the order given, or shuffled when seed is not NULL. */
void smtp_target_sort_mx(struct resolver_mx *mx, size_t n, uint64_t *seed);
/* SRV records: best priority first, equals by lot, as their weights ask (RFC 2782). */
void smtp_target_sort_srv(struct resolver_mx *mx, size_t n, uint64_t *seed);
/* Addresses of one preference: shuffled when seed is not NULL, then the preferred family first.
 * AF_UNSPEC: when balanced the families take turns, so that a limit on addresses meets both. */
void
smtp_target_sort(struct smtp_target *t, size_t n, int family, bool is_balanced, uint64_t *seed);
void smtp_target_set_port(struct sockaddr_storage *sa, unsigned port);

/* The names a certificate may carry: words of smtp_tls_*_cert_match ("hostname", "nexthop",
 * "dot-nexthop" or a name). Returns how many. */
size_t smtp_target_names(struct arena *a, const char *words, const char *hostname,
    const char *nexthop, const char **names, size_t room);
