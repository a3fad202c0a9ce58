/*
 * internal.h - what the files of the SMTP client share.
 * THREAD a struct smtp and all that hangs on it: its loop. A setup is an immutable snapshot.
 * OWNS   a delivery owns its session while it uses it; in between the cache does.
 * ERRORS statuses made by errors.h travel up to job.c, which alone settles what is left over.
 */
#pragma once
#include "errors.h"
#include "pp/mail/dot.h"
#include "pp/mail/esmtp.h"
#include "pp/map/map.h"
#include "pp/net/sasl.h"
#include "pp/net/tls.h"
#include "pp/smtp/smtp.h"
#include "pp/spool/body.h"
#include "target.h"

/* ---- setup.c: one configuration, compiled ---- */

/* A distinct set of TLS options; transports with the same settings share one context. */
struct smtp_tls {
	struct tls_options options;
	struct tls_context *context; /* NULL: made when first needed */
};

/* What a connection must prove. Strings NULL: what the parameters say. */
struct smtp_policy {
	enum tls_level level;
	const char *protocols, *ciphers, *exclude;
	const char *match;         /* names or fingerprints */
	const char *servername;    /* SNI */
	const char *trust_anchors; /* files */
	bool is_reused;            /* the connection may serve other mail */
};

struct smtp_service {
	const char *name;    /* of the row */
	const char *program; /* "smtp", "relay/smtp": of the log lines */
	const struct service *row;
	const struct params *p;
	struct smtp_policy policy; /* where no table says otherwise */
	struct map *policies;      /* smtp_tls_policy_maps, or NULL */
	size_t tls_may, tls_must;  /* in setup->tls: opportunistic, mandatory */
	struct map *passwords;     /* NULL: no AUTH */
	unsigned port;             /* smtp_tcp_port */
	int family;                /* AF_INET, AF_INET6, AF_UNSPEC: inet_protocols */
	int prefer;                /* the same: smtp_address_preference */
	bool use_dns, use_native;
	bool is_lmtp;
	struct sockaddr_storage bind4, bind6; /* AF_UNSPEC: none */
};

struct smtp_setup {
	struct snap snap;
	struct arena arena;
	struct config *config;
	struct smtp_service *services;
	size_t service_count;
	struct smtp_tls *tls;
	size_t tls_count;
	const char **own_addresses;
	size_t own_address_count;
	unsigned *own_ports;
	size_t own_port_count;
};

/* The row by its pointer, or by its name when the delivery comes from an older configuration. */
const struct smtp_service *smtp_setup_find(const struct smtp_setup *su, const struct delivery *d);
bool smtp_setup_owns(const struct smtp_setup *su, const char *address);
bool smtp_setup_listens(const struct smtp_setup *su, unsigned port);

/* setup_tls.c: fills in what of a service is about TLS. */
int smtp_setup_tls_blk(struct smtp_setup *su, struct smtp_service *sv, struct buf *err);

/* ---- policy.c ---- */

/* Reads an entry of smtp_tls_policy_maps; strings live in the arena. NULL, or what is wrong. */
const char *smtp_policy_parse(
    struct arena *a, const struct smtp_service *sv, struct str text, struct smtp_policy *po);
/* The names or fingerprints that the level asks for. */
const char *smtp_policy_match(const struct smtp_policy *po, const struct params *p);
/* Tells policies apart, for sessions to resume. */
const char *smtp_policy_key(struct arena *a, const struct smtp_policy *po);

/* ---- tls_slot.c: contexts of this loop, re-made when files change; TLS sessions to resume ---- */

struct smtp_tls_slot;
struct smtp_tls_wait { /* embedded in who waits for a context */
	struct smtp_tls_wait *next;
	/* A context, or the reason why not, or neither: ask again. */
	void (*done)(struct smtp_tls_wait *w, struct tls_context *c, const char *error);
	struct smtp_tls_slot *slot; /* while it waits */
};
void smtp_tls_slots_new(struct smtp *s);
/* Returns who still waits: to be called with neither context nor error when there are new slots. */
struct smtp_tls_wait *smtp_tls_slots_free(struct smtp *s);
/* The context at hand, or NULL: then done comes later (c NULL: error says why). The context is the
 * slot's: take a reference to keep it over a return to the loop. anchors: files of a policy, or
 * NULL. */
struct tls_context *
smtp_tls_slot_get(struct smtp *s, size_t index, const char *anchors, struct smtp_tls_wait *w);
void smtp_tls_slot_cancel(struct smtp_tls_wait *w);
/* NULL = none. The result is the store's. */
struct tls_session *smtp_tls_resume(struct smtp *s, const char *key);
/* Takes the reference. */
void smtp_tls_remember(struct smtp *s, const char *key, struct tls_session *ts);

/* ---- session.c, session_tls.c, session_auth.c: one connection ---- */

enum smtp_state {
	SMTP_CONNECT,
	SMTP_GREETING,
	SMTP_EHLO,
	SMTP_HELO,
	SMTP_STARTTLS,
	SMTP_TLS,
	SMTP_AUTH,
	SMTP_READY, /* between transactions */
	SMTP_MAIL,  /* MAIL, RCPT and DATA: replies are due */
	SMTP_BODY,
	SMTP_DOT,
	SMTP_RSET,
	SMTP_QUIT,
	SMTP_DEAD,
};

/* What a session is to be like. Strings and credentials are copied. */
struct smtp_session_options {
	const struct smtp_service *svc;
	const struct smtp_hop *hop;
	const struct smtp_target *target;
	const char *identity;        /* whose credentials: the sender, or "" */
	const char *user, *password; /* NULL: no AUTH */
	struct smtp_policy policy;
	bool implicit_tls;
	struct tls_context *tls; /* NULL: no TLS, whatever is offered */
};

struct smtp_session {
	struct smtp *smtp;
	struct smtp_setup *setup;
	struct arena arena;
	struct smtp_session_options o;
	struct smtp_job *job; /* who uses it; NULL: idle or ending */
	uint8_t state;
	unsigned depth; /* of calls that still touch it */
	struct stream_connect *connecting;
	struct stream *stream;
	struct reply reply;
	struct smtp_peer peer;
	const char *address; /* "H[A]:P" */
	struct esmtp_ehlo ehlo;
	bool is_verified;  /* TLS, and the name was proved as the level asks */
	bool is_broken;    /* 421 or garbage: no further transaction */
	bool is_noted;     /* the warning about missing AUTH was given */
	bool is_auth_sent; /* AUTH: what follows are bare answers */
	bool is_own;       /* no connection because of us: out of sockets, memory, ports */
	struct sasl_exchange *sasl;
	unsigned uses;
	int64_t created; /* loop_now */
	struct timer idle;
	struct smtp_session *next, *prev; /* in the cache, or among those that end */
	bool is_listed, is_cached;
};

/* Calls back smtp_job_connected, then smtp_job_ready or smtp_job_session_failed. */
struct smtp_session *
smtp_session_new(struct smtp *s, struct smtp_job *job, const struct smtp_session_options *o);
void smtp_session_move(struct smtp_session *ss, enum smtp_state to);
/* Writes "LINE\r\n" (and flushes), then expects a reply within the time. */
void smtp_session_command(struct smtp_session *ss, int64_t timeout_ms, const char *fmt, ...)
    PP_PRINTF(3, 4);
/* The connection is set up: EHLO is done, TLS is as it must be. */
void smtp_session_set_up(struct smtp_session *ss);
void smtp_session_ehlo(struct smtp_session *ss);
/* Set-up failed; the job is told. polite: QUIT first. plain: another try without TLS may do. */
void smtp_session_fail(struct smtp_session *ss, const struct status *st, bool polite, bool plain);
/* After a transaction: into the cache, or to its end. is_dirty: RSET is due before. */
void smtp_session_release(struct smtp_session *ss, bool is_dirty);
/* QUIT, then gone; close: without a word. The job, if any, is not told. */
void smtp_session_quit(struct smtp_session *ss);
void smtp_session_close(struct smtp_session *ss);

void smtp_session_starttls_replied(struct smtp_session *ss);
void smtp_session_tls_begin(struct smtp_session *ss);
/* Of the TLS session, to resume it. */
const char *smtp_session_tls_key(struct smtp_session *ss);
void smtp_session_auth(struct smtp_session *ss);
void smtp_session_auth_replied(struct smtp_session *ss);

/* ---- cache.c ---- */

struct smtp_session *smtp_cache_take(
    struct smtp *s, const struct smtp_service *svc, const char *hop, const char *identity);
/* False: it cannot stay. */
bool smtp_cache_put(struct smtp_session *ss);
void smtp_cache_drop(struct smtp_session *ss); /* out of the list; it lives on */
void smtp_cache_clear(struct smtp *s);         /* QUIT to all */

/* ---- job.c, lookup.c, prepare.c, transaction.c: one delivery ---- */

enum smtp_trouble {
	SMTP_TROUBLE_NONE,
	SMTP_TROUBLE_LOOKUP,  /* no address */
	SMTP_TROUBLE_CONNECT, /* no connection: logged without a queue id */
	SMTP_TROUBLE_SESSION, /* the server does not talk, or stopped talking */
	SMTP_TROUBLE_MESSAGE, /* it said no to this message: the destination is fine */
};

struct smtp_transaction {
	size_t n;          /* recipients */
	size_t *rcpt;      /* their places in the delivery */
	bool *is_accepted; /* by the server, in this transaction */
	bool *is_answered; /* refused by it: the reason is known */
	size_t sent, got;  /* commands and replies: 0 MAIL, 1..n RCPT, n + 1 DATA */
	size_t accepted;
	size_t answered; /* LMTP: of those, by a reply to the dot */
	bool mail_ok, mail_failed;
	bool is_empty; /* DATA was accepted with no recipient: a lone dot ends it */
	bool is_done;  /* nothing more will be sent of it */
	struct body *body;
	struct dot_encoder encoder;
	struct body_piece piece;
	bool has_piece;
	bool is_waiting; /* for the body */
	bool is_broken_line_logged;
};

struct smtp_job {
	struct smtp *smtp;
	struct smtp_job *next, *prev;
	struct smtp_setup *setup;
	const struct smtp_service *svc;
	struct delivery *d;
	struct arena arena;
	const char *identity;
	/* Where to. */
	struct smtp_hop hops[SMTP_HOPS_MAX];
	size_t hop_count, hop;
	size_t list_count; /* of the hops: those of the list, the fallback ones come behind */
	bool is_hop_bad;   /* it is in trouble, whatever the message */
	struct resolver_mx *mx;
	size_t mx_count, mx_next; /* hosts; the first not looked up */
	size_t group_end;         /* of the preference being looked up */
	bool is_mx;               /* the hosts came from MX records */
	bool mx_tried;            /* addresses were found before this preference */
	struct resolver_query *query;
	struct smtp_target *targets;
	size_t target_count, target;  /* target: the next to try */
	unsigned addresses, sessions; /* tried at this hop */
	struct status lookup;         /* why a host gave no address */
	/* What a session needs. */
	struct map_query question; /* to the table of policies, then to that of passwords */
	struct map_key keys[MAP_KEYS_MAX + 3];
	bool is_asking;            /* the question runs */
	struct smtp_policy policy; /* of this hop, when has_policy */
	bool has_policy;
	char *user, *password; /* found; wiped when handed on */
	struct smtp_tls_wait tls_wait;
	bool is_plain; /* this address once more, without TLS */
	bool is_fresh; /* no idle connection: one just turned out dead */
	struct smtp_session *session;
	struct smtp_transaction t;
	/* How it went: per recipient the last trouble, and that of the delivery. */
	struct status *last;
	struct status trouble;
	enum smtp_trouble kind;
	enum delivery_cause cause; /* of the last trouble */
	bool is_dead;              /* settled; waits for an answer */
};

static inline struct smtp_hop *
smtp_job_hop(struct smtp_job *j)
{
	return &j->hops[j->hop];
}
/* What a reply with this status means for the destination, or `otherwise`. */
enum delivery_cause smtp_cause_of(const struct status *st, enum delivery_cause otherwise);
bool smtp_job_open(const struct smtp_job *j, size_t rcpt);
size_t smtp_job_open_count(const struct smtp_job *j);
/* A decision about one recipient or all open ones: soft_bounce, then settled or kept for the next
 * host. */
void smtp_job_decide(struct smtp_job *j, size_t rcpt, const struct status *st);
void smtp_job_decide_all(struct smtp_job *j, const struct status *st);

void smtp_job_new(struct smtp *s, struct delivery *d);
void smtp_job_free(struct smtp_job *j);
/* lookup.c: addresses were found, or not. */
void smtp_job_addresses(struct smtp_job *j, const struct status *failed);
/* The session tells. */
void smtp_job_connected(struct smtp_job *j);
void smtp_job_ready(struct smtp_job *j);
void smtp_job_session_failed(
    struct smtp_job *j, const struct status *st, enum smtp_trouble kind, bool plain);
/* transaction.c: it is over, the session was given back. What is open has a trouble in last[]. */
void smtp_job_transaction_done(struct smtp_job *j, enum smtp_trouble kind);
/* A reused connection was dead: once more, from the start of this hop. */
void smtp_job_again(struct smtp_job *j);
/* Settles what is open with st and ends, whatever was tried. CAUSE_NONE: only this message. */
void smtp_job_give_up(struct smtp_job *j, const struct status *st, enum delivery_cause cause);
void smtp_job_break_off(struct smtp_job *j);

void smtp_lookup_start(struct smtp_job *j);
/* The next preference; false: there is none. */
bool smtp_lookup_more(struct smtp_job *j);
bool smtp_lookup_has_more(const struct smtp_job *j);

/* Finds credentials and TLS context for the target, then starts a session. */
void smtp_prepare(struct smtp_job *j);

void smtp_transaction_start(struct smtp_job *j);
void smtp_transaction_replied(struct smtp_job *j);
void smtp_transaction_drained(struct smtp_job *j);
void smtp_transaction_lost(struct smtp_job *j, int err);
/* Frees what it holds. */
void smtp_transaction_end(struct smtp_job *j);

/* ---- agent.c ---- */

struct smtp_resumable;
struct smtp {
	struct loop *loop;
	struct spool *spool;
	struct resolver *resolver;
	struct lane *slow, *sasl;
	struct smtp_setup *setup;
	struct smtp_tls_slot *slots; /* one per setup->tls */
	struct smtp_tls_slot *more;  /* for trust anchors of policies, newest first */
	struct smtp_resumable *resumable;
	struct smtp_job *jobs;
	struct smtp_session *idle; /* newest first */
	size_t idle_count;
	struct smtp_session *ending; /* RSET or QUIT is under way */
	uint64_t seed;
	bool is_stopping, is_reported;
	struct timer stop_timer;
	struct post stop_post;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};
/* A job ended: when stopping, the last one reports. */
void smtp_agent_job_ended(struct smtp *s);
