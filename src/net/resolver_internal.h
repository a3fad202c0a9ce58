/*
 * resolver_internal.h - what resolver.c and resolver_channel.c share, and a door for tests.
 * THREAD the loop of the resolver.
 * OWNS   a channel is freed outside its own callbacks; open questions are answered then.
 */
#pragma once
#include "dns_answer.h"

struct channel;
struct lookup;

/* servers: "addr:port, ...", "" = those of the file resolv_conf. */
int channel_new(struct loop *l, const char *servers, const char *resolv_conf, int64_t timeout_ms,
    struct channel **ret, struct buf *err);
/* Whether servers may be used, without a channel. 0 or -EINVAL. */
int channel_check(const char *servers, struct buf *err);
/* Answers what is open with RESOLVER_TRY_AGAIN. */
void channel_free(struct channel *c);

/* answered(lookup, answer): from an event or inside the call; the answer's records are the
 * callee's. The lookup lies in the caller's memory until then. */
struct lookup {
	struct channel *channel;
	enum dns_type type;
	bool is_secure; /* DNSSEC is asked for */
	char name[RESOLVER_NAME_MAX];
	void (*answered)(struct lookup *lookup, struct dns_answer *answer);
};
void channel_ask(struct channel *c, struct lookup *lookup);
/* The i-th search domain; false: there are no more. */
bool channel_domain(const struct channel *c, int i, char to[RESOLVER_NAME_MAX]);

/* resolver_search.c: the names to be tried for one that somebody has typed. */
struct search {
	char name[RESOLVER_NAME_MAX];
	unsigned flags;             /* RESOLVER_DEFNAMES, RESOLVER_DNSRCH */
	int domain;                 /* the next */
	bool is_tried;              /* as it is */
	enum resolver_result worst; /* so far; OK = none */
	const char *text;
};
/* The next one; false: that was the last. */
bool search_next(struct search *s, const struct channel *c, char to[RESOLVER_NAME_MAX]);

/* For tests: other files, and how often resolv.conf is looked at. */
void resolver_set_files(
    struct resolver *r, const char *hosts, const char *resolv_conf, int64_t look_every_ms);
/* How often a changed resolv.conf made a new channel. */
unsigned resolver_generation(const struct resolver *r);
