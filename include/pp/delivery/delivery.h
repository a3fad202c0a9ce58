/*
 * delivery.h - the contract between the queue manager and the delivery agents: a request goes down,
 *        one status per recipient comes up.
 * THREAD the request is the agent's from deliver() to delivery_done(), which posts it home.
 * OWNS   everything it points to lives in its arena, or is a reference it holds.
 * ERRORS a recipient without a status at delivery_done is a bug.
 * SEE    RFC 3463, and the samples in tests/unit/delivery for the log line.
 */
#pragma once
#include "pp/mail/envelope.h"
#include "pp/mail/status.h"
#include "pp/runtime/post.h"
#include "pp/runtime/snap.h"

struct delivery_agent;
struct service;
struct spool_bytes;
struct params;
struct receipt;

/* Why the destination itself is in trouble; what qmgr does about it follows from this. */
enum delivery_cause {
	CAUSE_NONE,
	CAUSE_NAME,    /* the name service does not answer, or has no address */
	CAUSE_CONNECT, /* refused, unreachable, timed out */
	CAUSE_SESSION, /* it stopped talking, talks no SMTP, or cannot do what is needed */
	CAUSE_TLS,
	CAUSE_AUTH,     /* it rejects our credentials: one attempt per interval, which grows */
	CAUSE_TOLD_OFF, /* it sent us away on purpose (421, 4.7.x): one attempt first, then the rest
			 */
	CAUSE_QUOTA,    /* what we may send through it is used up */
	CAUSE_OWN,      /* nothing of its own: we have no socket or memory, for nobody */
};

struct delivery_rcpt {
	struct recipient rcpt;
	struct status status;
	bool logged;
};

struct delivery {
	struct post post;
	struct arena arena;
	/* The request: written by qmgr, read by the agent. */
	char queue_id[64];
	const char *sender; /* "" = null sender */
	const char *envid;
	unsigned ret;
	enum body_encoding encoding;
	unsigned utf8;
	int64_t arrival_us; /* T record */
	int64_t create_time;
	off_t data_offset;
	int64_t data_size, content_length;
	struct spool_bytes *bytes; /* or NULL: read active/ID */
	const char *transport;     /* master.cf name and key: "smtp" */
	const char *program;       /* of the log lines: "smtp", "relay/smtp"; NULL = transport */
	const char *nexthop;
	/* Of a list of next hops, by place, as bits: to be passed over; being tried again after
	 * trouble (qmgr's own note). */
	uint64_t hops_left_out, hops_probed;
	struct snap *config; /* keeps `service` alive; struct config * is its first member */
	const struct service *service; /* its master.cf row with its parameters */
	struct map *filter;            /* of statuses; NULL: none */
	struct lane *slow;             /* where it is asked */
	struct delivery_rcpt *rcpt;
	size_t rcpt_count; /* 0: a probe, which only sets up a session and tells how it went */
	/* What outlives a kill of who has received it; set both, or none. */
	struct receipt *receipt;
	void (*sign)(struct receipt *r, size_t rcpt);
	/* Times, microseconds of loop_wall_us, 0 = not reached: in the active queue; handed to the
	 * agent (qmgr, at deliver()); session ready (none: the agent had nothing to connect); all
	 * was sent (none: the time of logging counts). */
	int64_t active_us, start_us, connect_us, transmit_us;
	/* The result. hop: set when the destination itself is in trouble (delivery.md 4): it
	 * throttles. cause: what it was; without hop, too, where it told this message off: that
	 * does not throttle, but a flush is careful then. */
	struct status hop;
	enum delivery_cause cause;
	/* Of a list: those that took a message, and, by place, why one could not be used, or NULL;
	 * the array may be NULL. */
	uint64_t hops_worked;
	const char **hops_trouble;
	bool is_file_damaged; /* its content cannot be read: qmgr moves it to corrupt/ */
	bool is_broken_off;   /* by our own stop: nobody has failed */
	unsigned conn_use;
	const char *relay; /* "host[addr]:port" or "none" */
	/* Who delivers, and the instance of its loop. */
	const struct delivery_agent *agent;
	void *agent_ctx;
	unsigned filtering; /* recipients whose status the filter is asked about */
	bool is_done;       /* when it has answered, it goes home */
	/* The way home. */
	struct loop *home;
	void (*done)(struct delivery *d);
	void *owner;
	unsigned loop_index; /* of the io loop it ran on */
};

/* A delivery agent: a row of daemon/'s table. deliver runs on an io loop; ctx is that loop's
 * instance of the agent. */
struct delivery_agent {
	const char *command; /* the master.cf command: "smtp", "lmtp", "error" ... */
	void (*deliver)(void *ctx, struct delivery *d);
};

/* The receiver has taken it for this one: noted at once. To be called for all whom a final reply is
 * for when it has been read, before anything else: who is killed from then on does not deliver to
 * them again. */
void delivery_taken(const struct delivery *d, const struct delivery_rcpt *r);
/* Settles one recipient: copies the status into d's arena and logs its line
 * ("ID: to=<r>, relay=R, delay=.., delays=a/b/c/d, dsn=.., status=sent (text)"). */
void delivery_settle(struct delivery *d, struct delivery_rcpt *r, const struct status *st);
/* All recipients that have no status yet. hop is the agent's to set. */
void delivery_settle_rest(struct delivery *d, const struct status *st);
/* Sends it home. Every recipient must be settled. */
void delivery_done(struct delivery *d);

/* "0.05", "1.2", "541": two significant digits, at most `resolution` decimals (delay= and delays=);
 * to: 24 bytes of room. A negative time (a clock that was set back) counts as 0. */
void delivery_format_delay(char *to, size_t size, int64_t us, unsigned resolution);
/* The log line of one recipient; also for recipients settled without an agent (program "qmgr" ->
 * the name Postfix would use: "error"). */
void delivery_log(const struct delivery *d, const struct delivery_rcpt *r, const char *program);
