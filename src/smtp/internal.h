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
#include "pp/map/key.h"
#include "pp/map/matchlist.h"
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
	/* Of dane, once they were looked up. */
	const struct tls_tlsa *tlsa;
	size_t tlsa_count;
	const char *tlsa_base; /* whose they are */
	bool is_half_dane;     /* the MX record was not signed */
};

enum smtp_check {
	SMTP_CHECK_HEADER,
	SMTP_CHECK_MIME,
	SMTP_CHECK_NESTED,
	SMTP_CHECK_BODY,
	SMTP_CHECK_COUNT,
};
extern const char *const smtp_check_name[SMTP_CHECK_COUNT]; /* the parameters */

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
	bool use_dns, use_native, use_dnssec;
	unsigned search; /* RESOLVER_DEFNAMES, RESOLVER_DNSRCH */
	bool is_lmtp;
	struct sockaddr_storage bind4, bind6; /* AF_UNSPEC: none */
	/* setup_maps.c; NULL: none. */
	struct map *checks[SMTP_CHECK_COUNT];
	struct map *generic;
	struct domainlist *local; /* mydestination: whose users generic maps may name alone */
	struct map *reply_filter, *dns_filter;
	struct map *ehlo_keywords; /* smtp_discard_ehlo_keyword_address_maps */
	bool has_checks;
	struct domainlist *mechanisms; /* smtp_sasl_mechanism_filter */
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
/* What it points to, into another arena: a session outlives its delivery. */
void smtp_policy_copy(struct arena *a, struct smtp_policy *po);
/* Tells policies apart, for sessions to resume. */
const char *smtp_policy_key(struct arena *a, const struct smtp_policy *po);

/* setup_maps.c: the tables of a service. 0, or what is wrong in err. */
int smtp_setup_maps_blk(struct smtp_service *sv, struct buf *err);
void smtp_setup_maps_unref(struct smtp_service *sv);

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
	bool is_broken;    /* 421: no further transaction */
	bool is_nonsense;  /* what came of the reply has no code yet */
	int64_t timeout;   /* of the reply that is due */
	int64_t until;     /* loop_now: the whole has to be over by then; 0 = no limit */
	bool is_noted;     /* the warning about missing AUTH was given */
	bool is_auth_sent; /* AUTH: what follows are bare answers */
	bool is_authenticated;
	int bind_error; /* -errno: not from the address that it should come from */
	bool is_own;    /* no connection because of us: out of sockets or memory */
	struct sasl_exchange *sasl;
	struct lane_job filter_job; /* is_asking: the tables of the filter */
	struct buf allowed;         /* of the mechanisms offered; before: what is wrong with one */
	int filter_error;
	struct map_query keywords; /* what is ignored of its EHLO reply */
	struct map_key keywords_key;
	const char *ehlo_lines; /* its reply, while that is asked */
	bool is_asking;
	/* session_filter.c: the line that is read next, and what is asked about it */
	struct buf line, asked;
	struct map_query filter;
	struct map_key filter_key;
	bool is_filtering;
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
/* The time for the reply that is due next. */
void smtp_session_expect(struct smtp_session *ss, int64_t timeout_ms);
/* The time for what is next, within that of the whole. */
void smtp_session_deadline(struct smtp_session *ss, int64_t timeout_ms);
/* Work for one message begins: the time of the whole. */
void smtp_session_begin(struct smtp_session *ss);
/* The connection is set up: EHLO is done, TLS is as it must be. */
void smtp_session_set_up(struct smtp_session *ss);
void smtp_session_helo(struct smtp_session *ss);
void smtp_session_ehlo(struct smtp_session *ss);
/* Set-up failed; the job is told. polite: QUIT first. plain: another try without TLS may do. */
void smtp_session_fail(struct smtp_session *ss, const struct status *st, bool polite, bool plain);
/* After a transaction: into the cache, or to its end. is_dirty: RSET is due before. */
void smtp_session_release(struct smtp_session *ss, bool is_dirty);
/* QUIT, then gone; close: without a word. The job, if any, is not told. */
void smtp_session_quit(struct smtp_session *ss);
void smtp_session_close(struct smtp_session *ss);

/* Calls that may end a session are framed by these, so that it outlives them. */
void smtp_session_enter(struct smtp_session *ss);
void smtp_session_leave(struct smtp_session *ss);

/* Reads the replies that are there. */
void smtp_session_read(struct smtp_session *ss);
/* The next of them as the table has it; empty: not yet. */
struct str smtp_session_filter(struct smtp_session *ss);
void smtp_session_ehlo_replied(struct smtp_session *ss);
void smtp_session_helo_replied(struct smtp_session *ss);
void smtp_session_starttls_replied(struct smtp_session *ss);
void smtp_session_tls_begin(struct smtp_session *ss);
/* Of the TLS session, to resume it. */
const char *smtp_session_tls_key(struct smtp_session *ss);
void smtp_session_auth(struct smtp_session *ss);
void smtp_session_auth_replied(struct smtp_session *ss);

/* ---- auth_cache.c: logins that were rejected ---- */

/* What the server said of this one, or NULL. */
const struct status *smtp_auth_cache_find(const struct smtp_session *ss);
void smtp_auth_cache_put(const struct smtp_session *ss, const struct status *said);
void smtp_auth_cache_clear(struct smtp *s);

/* ---- cache.c ---- */

struct smtp_session *smtp_cache_take(
    struct smtp *s, const struct smtp_service *svc, const char *hop, const char *identity);
/* False: it cannot stay. */
bool smtp_cache_put(struct smtp_session *ss);
void smtp_cache_drop(struct smtp_session *ss); /* out of the list; it lives on */
void smtp_cache_clear(struct smtp *s);         /* QUIT to all */

/* ---- job.c, lookup.c, prepare.c, transaction.c: one delivery ---- */

/* generic.c: one address is asked for at a time. */
struct smtp_generic {
	struct smtp_job *job;
	void (*done)(void *ctx); /* after -EAGAIN: ask again */
	void *ctx;
	struct map_query query;
	struct map_keys keys;
	bool is_asking, is_answered;
};
/* 1: *ret is the public form; 0: it has none; -EAGAIN; -EIO, and err says why. What it makes lives
 * in the arena, the address too until it is answered. */
int smtp_generic_ask(struct smtp_generic *g, struct arena *a, const char *address, const char **ret,
    struct buf *err);

enum smtp_trouble {
	SMTP_TROUBLE_NONE,
	SMTP_TROUBLE_LOOKUP,  /* no address */
	SMTP_TROUBLE_CONNECT, /* no connection: logged without a queue id */
	SMTP_TROUBLE_SESSION, /* the server does not talk, or stopped talking */
	SMTP_TROUBLE_MESSAGE, /* it said no to this message: the destination is fine */
};

struct smtp_content; /* content.h */

/* ---- international.c: UTF-8 in the envelope ---- */

struct smtp_international;
/* Makes A-labels where they may be needed, then go_on, which is called at once where not. */
void smtp_international_start(struct smtp_job *j, void (*go_on)(struct smtp_job *j));
void smtp_international_free(struct smtp_international *in);
/* The sender (0) or recipient i - 1 in its public form; _for: as this server is told it. */
const char *smtp_envelope(const struct smtp_job *j, size_t i);
const char *smtp_envelope_for(const struct smtp_job *j, size_t i);
bool smtp_envelope_is_utf8(const struct smtp_job *j, size_t i);
/* This server cannot be told of this recipient, who is settled. */
bool smtp_international_refuses(struct smtp_job *j, size_t rcpt);

struct smtp_transaction {
	size_t n;          /* recipients */
	size_t *rcpt;      /* their places in the delivery */
	bool *is_accepted; /* by the server, in this transaction */
	bool *is_answered; /* refused by it: the reason is known */
	size_t sent, got;  /* commands and replies: 0 MAIL, 1..n RCPT, n + 1 DATA or BDAT */
	size_t accepted;
	size_t answered; /* LMTP: of those, by a reply to the dot */
	bool mail_ok, mail_failed;
	bool is_empty; /* the end of data goes out with no recipient: a lone dot, or BDAT */
	bool is_done;  /* nothing more will be sent of it */
	struct body *body;
	struct smtp_content *content; /* NULL: it passes as it is */
	struct dot_encoder encoder;
	bool is_chunked; /* BDAT */
	struct buf chunk;
	bool is_last;      /* the chunk ends the content */
	size_t chunks_due; /* replies to those before it */
	struct body_piece piece;
	bool has_piece;
	bool is_waiting;       /* for the body */
	int64_t left, left_at; /* smtp_per_request_deadline: ms, as of loop_now */
	bool is_broken_line_logged;
};

/* A connection attempt, and the place of its address in the job's list. */
struct smtp_racer {
	struct smtp_session *session;
	size_t at;
};
enum { SMTP_RACERS = 2 };

struct smtp_job {
	struct smtp *smtp;
	struct smtp_job *next, *prev;
	struct smtp_setup *setup;
	const struct smtp_service *svc;
	struct delivery *d;
	struct arena arena;
	const char *identity;
	struct smtp_generic generic;
	const char **mapped; /* by smtp_generic_maps: the sender, then each recipient; NULL: none */
	size_t mapped_count;
	struct smtp_international *international; /* NULL: all is ASCII */
	/* Where to. */
	struct smtp_hop hops[SMTP_HOPS_MAX];
	size_t hop_count, hop;
	size_t list_count; /* of the hops: those of the list, the fallback ones come behind */
	bool is_hop_bad;   /* it is in trouble, whatever the message */
	struct resolver_mx *mx;
	size_t mx_count, mx_next; /* hosts; the first not looked up */
	size_t group_end;         /* of the preference being looked up */
	bool is_mx;               /* the hosts came from MX or SRV records */
	bool is_srv;              /* from SRV records */
	bool is_mx_secure;        /* signed ones */
	bool mx_tried;            /* addresses were found before this preference */
	struct resolver_query *query;
	struct smtp_dns_question *dns_question; /* about what it answered; NULL: none */
	struct smtp_target *targets;
	size_t target_count, target;  /* target: the next to try */
	unsigned addresses, sessions; /* tried at this hop */
	struct status lookup;         /* why a host gave no address */
	/* What a session needs. */
	struct map_query question; /* to the table of policies, then to that of passwords */
	struct map_key keys[MAP_KEYS_MAX + 3];
	bool is_asking;            /* the question runs */
	bool is_preparing;         /* somebody waits for it, or for what comes behind it */
	bool is_again;             /* its answer is of no use any more: ask once more */
	struct smtp_policy policy; /* of this hop, when has_policy */
	bool has_policy;
	struct smtp_policy effective; /* for this address: dane has become what it asks for */
	const char *tlsa_base, *tlsa_name;
	bool is_half_dane;
	char *user, *password; /* found; wiped when handed on */
	struct smtp_tls_wait tls_wait;
	bool is_plain;     /* this address once more, without TLS */
	bool is_unchunked; /* BDAT was offered but not understood */
	bool is_fresh;     /* no idle connection: one just turned out dead */
	struct smtp_racer racers[SMTP_RACERS];
	size_t racer_count;
	struct timer race_timer;
	struct smtp_session *session; /* connected */
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
/* The limits of this hop on addresses and sessions. */
bool smtp_job_may_try_more(const struct smtp_job *j);
void smtp_job_free(struct smtp_job *j);
/* lookup.c: addresses were found, or not. */
void smtp_job_addresses(struct smtp_job *j, const struct status *failed);
/* The address cannot be used; the next is tried. */
void smtp_job_address_failed(struct smtp_job *j, const struct status *st);
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

/* Maps the envelope, then smtp_job_mapped. */
void smtp_generic_start(struct smtp_job *j);
void smtp_job_mapped(struct smtp_job *j);

/* dnssec_probe.c: an answer came that the name server may have vouched for. */
void smtp_dnssec_seen(struct smtp_job *j, const struct resolver_answer *a);
/* "ns:." NULL when it is fine; else what is wrong. */
const char *
smtp_dnssec_probe_parse(const char *text, unsigned *ret_type, char ret_name[RESOLVER_NAME_MAX]);

/* dns_filter.c: takes the answer to j->query; done with what the table leaves of it, at once or
 * later. */
void smtp_dns_answer(struct smtp_job *j, const char *name, const char *type,
    const struct resolver_answer *a, resolver_done *done);
void smtp_dns_filter_cancel(struct smtp_job *j);

void smtp_lookup_start(struct smtp_job *j);
/* The next preference; false: there is none. */
bool smtp_lookup_more(struct smtp_job *j);
bool smtp_lookup_has_more(const struct smtp_job *j);

/* Finds credentials and TLS context for the target, then starts a session. */
void smtp_prepare(struct smtp_job *j);
/* What is under way comes to nothing. */
void smtp_prepare_stop(struct smtp_job *j);

/* race.c: attempts to connect, from smtp_session_new until one is connected. */
void smtp_race_add(struct smtp_job *j, struct smtp_session *ss);
/* It failed. */
void smtp_race_leave(struct smtp_job *j, struct smtp_session *ss);
/* Whether another is under way; begins one that waited for its time. */
bool smtp_race_goes_on(struct smtp_job *j);
/* The session becomes the job's, the others go. */
void smtp_race_won(struct smtp_job *j, struct smtp_session *ss);
void smtp_race_end(struct smtp_job *j);
/* dane.c: turns level dane into what the server's records ask for, then goes on. */
void smtp_dane_start(struct smtp_job *j);
void smtp_prepare_go_on(struct smtp_job *j);

/* The session cannot go on: it stopped inside a command or the content. */
void smtp_transaction_abandon(struct smtp_job *j, enum smtp_trouble kind);
/* A verdict on the recipients that the server took. */
void smtp_transaction_decide(struct smtp_job *j, const struct status *st);
/* Once more on a new connection, from the start of this hop. */
void smtp_transaction_again(struct smtp_job *j);
/* Sends what may be sent now of MAIL, RCPT, DATA and BDAT. */
void smtp_transaction_go_on(struct smtp_job *j);
/* transaction_body.c: the content, up to its end. */
void smtp_transaction_body_open(struct smtp_job *j);
void smtp_transaction_body_go_on(struct smtp_job *j);
/* The stream takes no more for now. */
bool smtp_transaction_is_full(struct smtp_job *j);
/* What was said before the content was sent; false: nothing. */
bool smtp_transaction_spoke_early(struct smtp_job *j);
void smtp_transaction_start(struct smtp_job *j);
void smtp_transaction_replied(struct smtp_job *j);
void smtp_transaction_drained(struct smtp_job *j);
/* The server spoke while the content is being sent. */
void smtp_transaction_spoken(struct smtp_job *j);
/* Replies that are due. */
size_t smtp_transaction_due(const struct smtp_job *j);
void smtp_transaction_lost(struct smtp_job *j, int err);
/* Frees what it holds. */
void smtp_transaction_end(struct smtp_job *j);

/* ---- transaction_chunk.c: BDAT ---- */

enum { SMTP_CHUNK = 64 * 1024 };
void smtp_chunk_init(struct smtp_job *j);
/* Where the content is written to: the chunk, or the stream. */
struct buf *smtp_transaction_out(struct smtp_job *j);
/* May the first chunk follow the commands now? smtp_chunk_start appends it. */
bool smtp_chunk_may_start(const struct smtp_job *j);
void smtp_chunk_start(struct smtp_job *j);
/* The chunk is full and cannot leave yet, or the transaction may be gone: return to the loop. */
bool smtp_chunk_hold(struct smtp_job *j);
/* The content is complete; also to be called again until the chunk has left. */
void smtp_chunk_end(struct smtp_job *j);
/* All but the reply to the last chunk is there. */
void smtp_chunk_await(struct smtp_job *j);
/* The reply is consent to a chunk that was not the last. */
bool smtp_chunk_was_taken(struct smtp_job *j);
/* The server offers what it, or something before it, does not know, or nobody knows which of its
 * replies is which: then DATA is used. True: the transaction is gone. */
bool smtp_chunk_went_wrong(struct smtp_job *j);

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
	struct smtp_rejected *rejected; /* auth_cache.c */
	struct smtp_job *jobs;
	struct smtp_session *idle; /* newest first */
	size_t idle_count;
	struct smtp_session *ending; /* RSET or QUIT is under way */
	uint64_t seed;
	struct resolver_query *probe; /* dnssec_probe.c */
	bool is_validated;            /* or a probe was sent */
	bool is_stopping, is_reported;
	struct timer stop_timer;
	struct post stop_post;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};
/* A job ended: when stopping, the last one reports. */
void smtp_agent_job_ended(struct smtp *s);
