/*
 * schedule.h - who is delivered next. Pure: it is told the time and what became of a delivery.
 * THREAD one at a time.
 * OWNS   lists and heaps; the objects are the caller's, which embeds them.
 * ERRORS none.
 * SEE    SCHEDULER_README of Postfix, for what its parameters mean.
 *
 * A transport has places for so many deliveries (maxproc). Its destinations that may work take
 * turns; the last places are for those that are known to answer. Within a destination the oldest
 * message goes first, unless a smaller one may overtake.
 */
#pragma once
#include <sys/queue.h>
#include "pp/base/heap.h"
#include "pp/delivery/delivery.h"
#include "rate.h"
#include "window.h"

enum { SCHEDULE_SIZES = 7 }; /* messages of 1..3, 4..15, 16..63, ... deliveries */

/* What is known of a destination when places are scarce. */
enum schedule_trust { SCHEDULE_KNOWN, SCHEDULE_NEW, SCHEDULE_DOUBTFUL, SCHEDULE_TRUSTS };

struct schedule_destination;
TAILQ_HEAD(schedule_ring, schedule_destination);

/* What a transport has of one message. */
struct schedule_job {
	LIST_HEAD(, schedule_entry) entries; /* that wait */
	unsigned size;                       /* deliveries in all */
	unsigned waiting;                    /* of them not begun */
	unsigned begun;
	int64_t lent;  /* places that others took before it */
	int64_t since; /* ms */
	bool is_ahead; /* it has overtaken, and is paid for */
};

/* One delivery that waits. */
struct schedule_entry {
	TAILQ_ENTRY(schedule_entry) line, same;
	LIST_ENTRY(schedule_entry) link;
	struct schedule_job *job;
	struct schedule_destination *dest;
	bool waits;
};
TAILQ_HEAD(schedule_line, schedule_entry);

struct schedule_transport {
	struct window_limits limits;
	struct rate_rule rate;
	int64_t rate_delay;          /* ms between the deliveries of a destination */
	int64_t transport_delay;     /* and of them all */
	int64_t dead_time, dead_max; /* ms: minimal_, maximal_backoff_time */
	int64_t retry_time;          /* after trouble of our own */
	unsigned places;             /* UINT32_MAX = any number */
	bool careful; /* a destination that never took mail gets one delivery at first */
	/* Overtaking; slot_cost 0: never. */
	unsigned slot_cost, slot_loan, slot_discount, slot_minimum;

	unsigned busy;
	int64_t until; /* nothing begins before */
	struct schedule_ring small[SCHEDULE_TRUSTS], large[SCHEDULE_TRUSTS];
	uint64_t turns;
	void (*woke)(struct schedule_destination *d); /* NULL, or told of each; it may free it */
	struct heap sleepers;                         /* destinations with a time */
};

enum schedule_ring_place { SCHEDULE_OUT, SCHEDULE_SMALL, SCHEDULE_LARGE };

struct schedule_destination {
	struct schedule_transport *t;
	struct window window;
	struct schedule_line line, same[SCHEDULE_SIZES];
	unsigned waiting, large_waiting; /* entries; those of messages that can be overtaken */
	unsigned busy;
	TAILQ_ENTRY(schedule_destination) link;
	uint8_t place; /* enum schedule_ring_place */
	uint8_t trust; /* of the ring it is in */
	bool known;    /* it took mail; by the caller, too, who may remember that for longer */
	int64_t heard; /* ms: when it did so last */
	uint64_t turn; /* when it came into its ring */
	struct heap_node wake;
	int64_t until;       /* nothing begins before; INT64_MAX: after one that runs has ended */
	unsigned until_rate; /* the limit behind it + 1; 0 = another reason */
	bool dead;
	bool probing; /* one delivery, and the rest only when it succeeds */
	bool proven;  /* took mail since it was last in trouble */
	bool told_off;
	enum delivery_cause cause; /* why dead */
	unsigned strikes;          /* probes in a row that failed for the same cause */
	struct rate *rate;         /* NULL = no limit */
};

struct schedule_outcome {
	bool failed; /* the destination itself: hop */
	bool sent;   /* somebody got it */
	enum delivery_cause cause;
};

enum schedule_verdict {
	SCHEDULE_AS_BEFORE,
	SCHEDULE_DIED, /* the caller takes all that waits out */
	SCHEDULE_BACK, /* it was in trouble and takes mail again: news */
};

void schedule_transport_init(struct schedule_transport *t); /* limits are set by the caller */
void schedule_transport_fini(struct schedule_transport *t);
void schedule_destination_init(struct schedule_destination *d, struct schedule_transport *t);
/* Nothing of it waits or runs. */
void schedule_destination_fini(struct schedule_destination *d);

/* A message's entries are counted first (job->size), then added. */
void schedule_add(struct schedule_destination *d, struct schedule_entry *e,
    struct schedule_job *job, int64_t now);
void schedule_remove(struct schedule_entry *e);
/* The next delivery, begun by this call; NULL = none may begin now. */
struct schedule_entry *schedule_next(struct schedule_transport *t, int64_t now);
/* end: the time of the end, by the clock of rates. */
enum schedule_verdict schedule_ended(
    struct schedule_destination *d, const struct schedule_outcome *o, int64_t now, int64_t end);
/* Those whose time has come may work again. Returns how long until the next one, INT64_MAX = none
 * waits for a time. */
int64_t schedule_wake(struct schedule_transport *t, int64_t now);
/* Somebody wants it tried now. False: it stays as it is (its credentials are rejected). What told
 * us off, or may do so again, gets one delivery first. */
bool schedule_revive(struct schedule_destination *d, bool by_news, int64_t now);
/* A delivery without mail was begun. */
void schedule_probe(struct schedule_destination *d);
/* How many deliveries it could do with. */
unsigned schedule_wants(const struct schedule_destination *d);

/* Seconds until the next attempt: the age, between min and max. */
int64_t schedule_backoff(int64_t now, int64_t create_time, int64_t min, int64_t max);
bool schedule_expired(int64_t now, int64_t create_time, int64_t lifetime);
