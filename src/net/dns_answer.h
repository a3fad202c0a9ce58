/*
 * dns_answer.h - reads a DNS answer without believing it. Pure: bytes in, values out.
 * THREAD any.
 * OWNS   the records of an answer, until dns_answer_fini.
 * ERRORS enum resolver_result; permanent only what is proved (see resolver.h).
 */
#pragma once
#include "pp/net/resolver.h"

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_MX = 15, DNS_AAAA = 28, DNS_SRV = 33, DNS_TLSA = 52 };

struct dns_answer {
	enum resolver_result result;
	const char *text; /* NULL when OK */
	size_t n;
	struct resolver_mx *mx;           /* DNS_MX, DNS_SRV: best preference first */
	struct resolver_address *address; /* DNS_A, DNS_AAAA */
	struct tls_tlsa *tlsa;            /* DNS_TLSA: their data lies behind the records */
	char name[RESOLVER_NAME_MAX];     /* DNS_PTR: the first valid one; else the last alias */
	int64_t ttl;
	bool is_secure; /* the name server says so; whether it was asked is the caller's matter */
};

/* What a whole message says about `name` (as it was asked, without a final dot) and `type`. */
void
dns_answer_read(struct dns_answer *a, struct str message, const char *name, enum dns_type type);
/* An answer that is a failure; text NULL = the usual one. */
void dns_answer_fail(struct dns_answer *a, enum resolver_result result, const char *text);
void dns_answer_fini(struct dns_answer *a);
struct dns_answer dns_answer_copy(const struct dns_answer *a);
