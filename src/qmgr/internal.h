/*
 * internal.h - the objects of the queue manager. All of them live on its loop.
 */
#pragma once
#include <stdio.h>
#include <sys/queue.h>
#include "pp/base/hash.h"
#include "pp/base/heap.h"
#include "pp/base/sm.h"
#include "pp/bounce/bounce.h"
#include "pp/qmgr/qmgr.h"
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"
#include "pp/runtime/post.h"
#include "pp/spool/body.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/reader.h"
#include "pp/spool/receipts.h"
#include "index.h"
#include "schedule.h"

struct qmgr_message;
struct qmgr_destination;
struct qmgr_slice;

/* Recipients of one message for one destination, at most a delivery's worth. */
struct qmgr_entry {
	struct schedule_entry s;
	TAILQ_ENTRY(qmgr_entry) link; /* while entries are made */
	struct qmgr_message *message;
	struct qmgr_destination *dest;
	struct recipient **rcpt;
	size_t n, room;
	struct qmgr_slice *slice;
	struct qmgr_entry *sibling; /* the next of the slice */
};
TAILQ_HEAD(qmgr_entry_list, qmgr_entry);

/* A transport: a master.cf row with its limits. Lives as long as the configuration it came from. */
struct qmgr_transport {
	UT_hash_handle hh;
	struct qmgr *q;
	const char *name, *program;     /* program: in log lines */
	const struct service *service;  /* NULL: not in master.cf */
	const struct qmgr_agent *agent; /* NULL: no program of ours does it */
	struct schedule_transport s;
	size_t recipient_limit;
	size_t in_memory, memory_limit; /* recipients of its entries without a result */
	struct map *filter;             /* of the statuses of its deliveries, or NULL */
	bool deferred_by_config;        /* in defer_transports */
	struct timer timer;             /* the next time that something may begin */
	struct qmgr_epoch *epoch;
};

/* Everything that hangs on one configuration; freed when its last destination is. */
struct qmgr_epoch {
	struct cleanup_setup setup;
	const struct params *params;
	struct qmgr_transport *transports;
	struct arena arena;
	unsigned destinations;
	uint32_t news; /* it came with this one; 0 = with the start */
	bool current;
};

/* How many it has taken lately. */
struct qmgr_speed {
	int64_t began, since; /* ms: since it had nothing to do; this period */
	unsigned n, before;   /* in this period, in the one before */
};

struct qmgr_destination {
	UT_hash_handle hh;
	char *key; /* "transport\1nexthop" or, with a recipient limit of one, "...\1address" */
	char *nexthop;
	struct qmgr *q;
	struct qmgr_transport *transport;
	struct schedule_destination s;
	TAILQ_ENTRY(qmgr_destination) all;  /* in q->every */
	TAILQ_ENTRY(qmgr_destination) kept; /* in q->kept */
	bool is_kept;                       /* nothing to do, but what it did to us is remembered */
	bool retired;                       /* of an old epoch: no longer found by its key */
	unsigned pins;                      /* entries being assigned: it may not go yet */
	unsigned first_loop;                /* where its deliveries begin */
	unsigned *busy_on;                  /* running deliveries by io loop */
	struct arena arena;                 /* of reason */
	struct status reason;               /* why it is dead */
	struct qmgr_rate *rate;             /* NULL = none */
	struct qmgr_speed speed;
	/* waiting.c */
	unsigned coming;  /* messages being loaded for it */
	uint32_t slot;    /* the walk over deferred mail goes on here */
	uint32_t walked;  /* slots since it found one that waits for us */
	bool is_calling;  /* the walk is under way */
	bool was_dead;    /* since the last news */
	unsigned asked;   /* q->asks when it was revived last for such a message */
	int64_t tried_us; /* loop_wall_us: the delivery that came back last had begun */
	uint32_t news;    /* its last; 0 = none yet */
	struct post call;
	struct timer probe_timer;
	int64_t probe_ms; /* until the next probe */
	bool is_probed;   /* one is under way */
};

/* One line of a defer, bounce or trace log that still has to be written. */
struct qmgr_record {
	STAILQ_ENTRY(qmgr_record) link;
	enum queue log; /* QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE; QUEUE_COUNT = done mark only */
	struct deferlog_entry entry;
	struct qmgr_slice *slice; /* its strings are there */
	bool done;                /* mark the recipient done after the log is synced */
	size_t ordinal;           /* of the recipient in its envelope */
};
STAILQ_HEAD(qmgr_record_list, qmgr_record);

/* What a command or a hand wants of a message that is being delivered. */
enum qmgr_super {
	SUPER_NONE,
	SUPER_LEAVE,  /* its file is elsewhere already: start nothing more */
	SUPER_EXPIRE, /* return it now */
	SUPER_HOLD,
	SUPER_REQUEUE,
	SUPER_DELETE, /* nothing goes over it */
};

/* Without a file, and with nothing to do: these are not counted as active. */
enum qmgr_rest {
	REST_NONE,
	REST_LOBBY,    /* there is no room among the active */
	REST_SHELVED,  /* from there it becomes a file in incoming/ */
	REST_DEFERRED, /* its round is over */
	REST_KINDS,
};

enum message_state { MESSAGE_LOADING, MESSAGE_DELIVERING, MESSAGE_ENDING, MESSAGE_GONE };

/* A new file of a message that the journal still has. */
struct qmgr_unsynced {
	STAILQ_ENTRY(qmgr_unsynced) link;
	const char *id;
	enum queue queue;
	void (*synced)(struct qmgr_unsynced *u, int rc); /* rc < 0: the file is gone again */
};
STAILQ_HEAD(qmgr_unsynced_list, qmgr_unsynced);

/* slice.c: the recipients of a message that are in memory together; of most messages all. */
struct qmgr_slice {
	LIST_ENTRY(qmgr_slice) link;
	struct qmgr_message *m;
	struct arena arena; /* of entries and records; of further slices the recipients, too */
	struct recipient *rcpt;
	size_t n, counted; /* counted: in q->in_memory */
	struct qmgr_entry *entries;
	unsigned held; /* by entries without a result, records, and who works with it */
	struct lane_job job;
	struct reader_part part;
	struct envelope envelope;
	int rc;
	struct buf why;
};

struct qmgr_message {
	UT_hash_handle hh;
	struct qmgr *q;
	char id[SPOOL_ID_MAX];
	uint8_t state;
	struct arena arena;
	struct envelope envelope;
	struct spool_bytes *bytes;
	/* young.c */
	struct journal_mail *mail; /* it is in the journal and has no file */
	TAILQ_ENTRY(qmgr_message) young;
	int64_t young_until; /* ms of the loop: then it becomes a file */
	TAILQ_ENTRY(qmgr_message) lobby;
	enum qmgr_rest rest;
	int64_t rests_since; /* seconds; 0 = it never did */
	int64_t filed_at;    /* ms of the loop; 0 = it began as a file, or is none yet */
	bool is_listed, is_filing, is_told;
	off_t *marked; /* the job's that makes the file: finished recipients */
	size_t marked_n;
	struct qmgr_unsynced unsynced;
	int64_t active_us;
	size_t open_entries; /* entries without a result */
	LIST_HEAD(, qmgr_slice) slices;
	struct reader_part rest_of; /* recipients that are not in memory yet */
	bool is_sliced;             /* it had more than fit: the envelope has none of them */
	bool is_reading;            /* the next slice */
	size_t freed;               /* places of its recipients since the last was read */
	const char *full;           /* the transport that had no room for more, or NULL */
	struct timer refill_timer;
	unsigned serial;          /* no other one of this run has it */
	unsigned attempts;        /* rounds before this one */
	bool is_seen;             /* the watch has told of its file in active/ */
	enum qmgr_super super;    /* wanted */
	enum qmgr_super leave_as; /* what the job at the end went by */
	unsigned end_step;
	/* outcome of this round */
	bool has_deferred, has_bounced, has_trace, force_expire, is_damaged;
	bool is_stuck, is_stuck_told; /* in active/: where it belongs cannot take it */
	bool is_unwritten;     /* a log could not take its entries: nobody may be told from it */
	bool has_logs;         /* it may have; what came in fresh and was sent at once has none */
	bool is_asked;         /* for by its site or its id: its destinations are revived */
	bool is_flushed;       /* somebody wants it tried now: also by a transport that waits */
	bool again;            /* asked for after its failure: tried again at once */
	bool is_broken_off;    /* a delivery of it, by the stop */
	const char *waits_for; /* key of the destination whose trouble put it off, or NULL */
	uint32_t put_off;      /* the first news that calls it then */
	struct qmgr_destination *coming; /* for which it is loaded */
	bool is_coming;                  /* counted in q->coming */
	unsigned flushes;                /* q->flushes when the first recipient was deferred */
	struct qmgr_record_list records, writing;
	struct receipt *came, *kept; /* of the deliveries that ended; of those in `writing` */
	bool is_writing;
	/* job of the moment */
	struct lane_job job;
	enum queue from; /* where it was loaded from */
	int rc;
	struct stat st;
	struct buf why;
	int64_t next_try; /* seconds */
	struct timer stuck_timer;
};

/* Keys of the background lane: what nobody waits for has a thread of its own. */
enum { LANE_LISTING, LANE_DETAILS, LANE_SYNC, LANE_ORPHANS };

enum { QMGR_KEPT_MAX = 5000, QMGR_KNOWN_MAX = 4096 };

enum { WANTED_BATCHES = 2 };

struct qmgr {
	struct qmgr_options o;
	struct loop *loop;
	struct qmgr_epoch *epoch;
	struct spool *spool;
	struct qmgr_message *active;           /* by id */
	unsigned active_count, retried_count;  /* retried: those of them that came from deferred/ */
	unsigned coming;                       /* of these: on their way to their destinations */
	size_t in_memory, resting_rcpts;       /* recipients: of the active, of those that rest */
	struct qmgr_destination *destinations; /* by key, of the current epoch */
	TAILQ_HEAD(, qmgr_destination) every;  /* the retired too */
	TAILQ_HEAD(, qmgr_destination) kept;   /* that have nothing to do, the longest ago first */
	unsigned kept_count;
	uint32_t
	    known[QMGR_KNOWN_MAX]; /* hashes of their keys: those that took mail when last seen */
	struct rates *rates;       /* NULL: nothing has a limit */
	char *rates_file;
	struct qmgr_secrets *secrets; /* secrets.c: NULL while no credentials are rejected */
	unsigned probes;
	uint32_t news;       /* waiting.c: the last that a destination had */
	int64_t name_probed; /* ms of the loop */
	unsigned deliveries, jobs;
	TAILQ_HEAD(, qmgr_message) young; /* the oldest first, but for those that failed */
	struct timer young_timer;
	struct qmgr_unsynced_list unsynced, syncing; /* sync.c; the second is the job's */
	struct lane_job sync_job;
	bool is_syncing;
	int sync_rc;
	TAILQ_HEAD(, qmgr_message) lobby;
	unsigned resting[REST_KINDS];
	bool is_admitting;
	int64_t tick_since, rush_until; /* ms of the loop */
	unsigned tick_count;            /* arrivals since then */
	unsigned filing;
	bool is_full;              /* the disk had no room for the last file of a young message */
	int64_t files_again;       /* ms of the loop: until then none is made, but for who asks */
	struct qmgr_relay *relays; /* that are in trouble */
	struct index index;        /* deferred mail */
	uint32_t *wanted; /* slots of it whose details are to be read, from wanted_at to wanted_n */
	size_t wanted_at, wanted_n, wanted_room;
	bool loading[WANTED_BATCHES]; /* batches of them that are being read */
	LIST_HEAD(, qmgr_listing) listings;
	struct post aside_post;
	bool is_aside_posted;
	struct timer aside_timer;
	struct post due_post; /* qmgr_deferred_due goes on */
	bool is_due_posted;
	struct timer due_timer, scan_timer, details_timer;
	struct qmgr_hand *hand;
	unsigned generation, serial;
	bool is_in_order; /* every file lies where its name belongs, since the start */
	bool started;     /* active/ is recovered: from here on what lies there is ours */
	struct post *early, **early_last; /* commands that wait for o.kept */
	bool scanning, rescan, has_scanned, incoming_waits, stopping;
	struct timer stop_timer;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
	struct loop *stopped_home;
	bool changed;     /* a command has changed many files: the next walk tells memory */
	bool is_telling;  /* that walk is under way */
	bool flushing;    /* what the next walk finds is due at once */
	unsigned flushes; /* how many were asked for */
	unsigned asks;    /* and how many of a site or an id */
	bool watched;     /* somebody wants events */
	void (*event)(void *ctx, const char *line);
	void *event_ctx;
};

/* qmgr.c */
void qmgr_event(struct qmgr *q, const char *what, const char *id);
/* Those that wait for o.kept. */
void qmgr_commands_go_on(struct qmgr *q);
/* After anything ended: is a stop complete? */
void qmgr_idle_check(struct qmgr *q);
int64_t qmgr_now(void); /* wall clock seconds */

/* epoch.c */
struct qmgr_epoch *qmgr_epoch_new(struct qmgr *q, const struct cleanup_setup *setup);
void qmgr_epoch_unref(struct qmgr_epoch *e);
struct qmgr_transport *qmgr_transport_get(struct qmgr *q, const char *name);
void qmgr_transport_fired(struct timer *t);

/* message.c: load, results, end of a round */
struct qmgr_message *
qmgr_message_load(struct qmgr *q, const char *id, enum queue from, struct spool_bytes *bytes);
/* A young one: the rest follows in this call, and it may be gone after it. */
void qmgr_message_take(struct qmgr *q, struct spool_arrival *a);
/* Its envelope is known, and there is room for it: it begins. */
void qmgr_message_loaded(struct qmgr_message *m);
void qmgr_message_settled(struct qmgr_message *m, struct qmgr_entry *e, struct delivery *d);
void qmgr_message_result(struct qmgr_slice *s, const struct recipient *r, const struct status *st);
void qmgr_message_entry_done(struct qmgr_message *m);
size_t qmgr_rcpt_open(const struct envelope *e);
void qmgr_message_abandon(struct qmgr_message *m);
/* assign.c: recipients to destinations; the caller has one open entry, which is done with it */
void qmgr_assign(struct qmgr_slice *s);
/* slice.c. The one slice of a message that is in memory whole. */
struct qmgr_slice *qmgr_slice_whole(struct qmgr_message *m);
/* Has the queue room for so many recipients of one message? */
bool qmgr_slice_fits(const struct qmgr *q, size_t rcpts);
/* It rests, or no longer does. */
void qmgr_slice_count(struct qmgr_slice *s, bool is_active);
void qmgr_slice_release(struct qmgr_slice *s);
/* Reads more when something is left and there is room; then the message has one entry more. */
void qmgr_slice_refill(struct qmgr_message *m);
/* What is not read yet is left for another round, or for nobody. */
void qmgr_slice_stop(struct qmgr_message *m, bool is_left_over);
/* An entry has its result, or will have none. */
void qmgr_slice_entry_over(struct qmgr_entry *e);
void qmgr_slices_free(struct qmgr_message *m);
enum { QMGR_SLICE = 1000 }; /* recipients of the largest */
/* ending.c */
void qmgr_message_end(struct qmgr_message *m);
bool qmgr_message_expired(const struct qmgr_message *m);
void qmgr_message_free(struct qmgr_message *m);

/* destination.c; `own` is the recipient it is kept for alone, or NULL */
struct qmgr_destination *
qmgr_destination_get(struct qmgr *q, const char *transport, const char *nexthop, const char *own);
void qmgr_destination_add(struct qmgr_destination *d, struct qmgr_entry *e);
void qmgr_destination_release(struct qmgr_destination *d);
void qmgr_destinations_revive(struct qmgr *q);
/* For a message that was asked for by its site or its id; once for each such order, so that not
 * every one of thousands of them finds it alive that the first have seen die. */
void qmgr_destination_asked(struct qmgr_destination *d);
void qmgr_defer_entry(struct qmgr_entry *e, const struct status *why);
void qmgr_destination_free(struct qmgr_destination *d);
/* "rate limit 30/60s of smtp:[host], next at 12:00:05", or NULL. */
const char *qmgr_rate_reason(const struct qmgr_destination *d, struct arena *a);
/* One that is dead: what waits is put off. */
void qmgr_destination_dies(struct qmgr_destination *d, const struct status *why);

/* dispatch.c: sends out whatever may run now. */
void qmgr_dispatch(struct qmgr *q, struct qmgr_transport *t);
/* A delivery with nothing to deliver: does it answer? */
void qmgr_probe(struct qmgr_destination *d);

/* waiting.c: deferred mail that waits for a destination rather than for its time. */
void qmgr_waiting_begin(struct qmgr_destination *d);
void qmgr_waiting_put_off(struct qmgr_message *m, const struct qmgr_destination *d);
/* Due, but its destination could do nothing with it: it is due later. */
bool qmgr_waiting_holds(struct qmgr *q, struct qmgr_deferred *slot);
/* It is being loaded; it has reached its destination, or will not. */
void qmgr_waiting_comes(struct qmgr_message *m, const struct qmgr_deferred *slot);
void qmgr_waiting_loaded(struct qmgr_message *m);
/* It could do with more: mail that waits for it comes, as much as it can take. */
void qmgr_waiting_call(struct qmgr_destination *d);
/* It has died, or came back from `was`. */
void qmgr_waiting_died(struct qmgr_destination *d);
void qmgr_waiting_back(struct qmgr_destination *d, enum delivery_cause was);
void qmgr_waiting_probed(struct qmgr_destination *d);

/* aside.c: the active queue is full. Whoever fills it and is slow gives places back, soon. */
void qmgr_make_room(struct qmgr *q);
/* Something lies in incoming/ and has no place. */
void qmgr_incoming_waits(struct qmgr *q);
void qmgr_speed_began(struct qmgr_destination *d, int64_t now);
void qmgr_speed_ended(struct qmgr_destination *d, bool sent, int64_t now);
bool qmgr_is_slow(const struct qmgr_destination *d, int64_t now);

/* secrets.c: the password file of a destination that rejects our credentials; when it changes, all
 * of these are tried again. */
void qmgr_secrets_watch(struct qmgr_destination *d);
void qmgr_secrets_stop(struct qmgr *q);

/* rates.c: how often something was sent, kept over a restart. */
struct qmgr_rate;
struct rates *rates_open(const char *path, int64_t now);
void rates_close(struct rates *r);
/* What is known of this destination; kept until rates_put. */
struct qmgr_rate *
rates_get(struct rates *r, const char *key, const struct rate_rule *rule, int64_t now);
void rates_put(struct rates *r, struct qmgr_rate *x, int64_t now);
struct rate *rates_rate(struct qmgr_rate *x);
/* Written before it begins, and behind its end. */
void rates_began(struct rates *r, struct qmgr_rate *x, int64_t now);
void rates_ended(struct rates *r, struct qmgr_rate *x, int64_t end);

/* relays.c. Before a delivery: which next hops of its list it leaves out; after it: how they were;
 * and each may be tried again at once. */
void qmgr_relays_ask(struct qmgr *q, struct delivery *d);
void qmgr_relays_told(struct qmgr *q, const struct delivery *d);
void qmgr_relays_revive(struct qmgr *q);
void qmgr_relays_fini(struct qmgr *q);

/* deferred.c. Adding one that is known moves it, and reads its details again. waits_for:
 * the key of a destination, whose news calls it from put_off on; NULL = as it was. */
void qmgr_deferred_add(
    struct qmgr *q, const char *id, int64_t when, const char *waits_for, uint32_t put_off);
/* A pointer to one is good until that one is dropped. */
struct qmgr_deferred *qmgr_deferred_find(struct qmgr *q, const char *id);
void qmgr_deferred_drop(struct qmgr *q, struct qmgr_deferred *d);
/* When it is tried, now that its file has this time, set by hand. */
int64_t qmgr_deferred_time(const struct qmgr *q, const struct qmgr_deferred *d, int64_t mtime);
int64_t qmgr_deferred_when(const struct qmgr_deferred *d);
/* A walk met its file: known as it is, but for its mode, which tells of `postsuper -e`. What no
 * walk since q->generation grew has met is forgotten by the other, some slots from *slot on:
 * true = those were the last. */
void qmgr_deferred_seen(struct qmgr *q, struct qmgr_deferred *d, mode_t mode);
bool qmgr_deferred_forget_unseen(struct qmgr *q, uint32_t *slot);
unsigned qmgr_deferred_count(const struct qmgr *q);
/* May one more from this queue become active? When mail of both kinds waits each gets half of the
 * places: a heap of retries does not keep new mail out, nor the other way round. */
bool qmgr_has_room(const struct qmgr *q, enum queue from);
/* What the active queue's limit counts. */
unsigned qmgr_working_count(const struct qmgr *q);
void qmgr_deferred_flush(struct qmgr *q);
void qmgr_deferred_due(struct qmgr *q);
/* One that was due has reached its destinations, or will not. */
void qmgr_deferred_came(struct qmgr_message *m);
/* Due at once, where it stands; asked for by its site or id, also where its destination is dead. */
void qmgr_deferred_retry(struct qmgr *q, struct qmgr_deferred *d);
void qmgr_deferred_ask(struct qmgr *q, struct qmgr_deferred *d);
void qmgr_deferred_stop(struct qmgr *q);
void qmgr_deferred_fini(struct qmgr *q);
/* Does the index tell of all that is in deferred/? Who lists or searches it waits until then. */
bool qmgr_deferred_complete(const struct qmgr *q);
/* wanted.c: its details are to be read, again when they are there. */
void qmgr_details_want(struct qmgr *q, struct qmgr_deferred *d);
/* listing.c: while stopping none goes on. */
void qmgr_listings_stop(struct qmgr *q);
/* A message leaves its queue for active/, past the walks of those under way. */
void qmgr_listings_move(struct qmgr *q, const char *id, enum queue from);
/* site.c: all that wait for a recipient there are due; answered once they are. */
void qmgr_site_flush(struct qmgr *q, const char *site, void (*done)(void *ctx), void *ctx);

/* super.c: what postsuper wants of active mail. Entries that were not begun are dropped, running
 * ones end. */
void qmgr_super(struct qmgr *q, const char *order, char *answer, size_t n);
/* Its file was taken out of active/ by hand. */
void qmgr_super_taken(struct qmgr_message *m, enum qmgr_super what);
/* Before its deliveries begin: true = there will be none. */
bool qmgr_super_loaded(struct qmgr_slice *s);
/* Disk lane, for a message of which something is left to do: 1 = not for us. */
int qmgr_super_leave_blk(struct qmgr_message *m);
/* Ordered when it had left already: done to its file, wherever it is. */
void qmgr_super_late(struct qmgr *q, const char *id, enum qmgr_super what);

/* hand.c, look.c, gone.c: what is done to the spool by hand. Watching begins after the recovery. */
void qmgr_hand_start(struct qmgr *q);
void qmgr_hand_stop(struct qmgr *q);
void qmgr_hand_free(struct qmgr *q);
/* Disk lane: every directory there is now. 0 or the first -errno, and a directory that is closed to
 * us, to be told to the other. */
int qmgr_hand_watch_blk(const struct qmgr *q, bool touch_incoming, char denied[SPOOL_PATH_MAX]);
void qmgr_hand_watched(struct qmgr *q, int rc, const char *denied);
/* Something is not as expected with a file that was met there: looks and puts it right. */
void qmgr_look(struct qmgr *q, const char *id, enum queue at);
/* Reads what happened to the files up to now; whether some of it is still being looked at. */
void qmgr_hand_catch_up(struct qmgr *q);
bool qmgr_hand_looks(const struct qmgr *q);
bool qmgr_may_look(const struct qmgr *q);
/* It has vanished from deferred/. */
void qmgr_gone(struct qmgr *q, const char *id);
/* A command did something to this one and says so itself. */
void qmgr_quiet(struct qmgr *q, const char *id);
/* It is about to do something to whole queues, or has done it. */
void qmgr_quiet_all(struct qmgr *q, bool is_over);

/* young.c: messages without a file */
void qmgr_young_add(struct qmgr_message *m, struct journal_mail *mail);
/* There is no room for it now: the lobby, or a file in incoming/ for a walk to find. */
void qmgr_young_wait(struct qmgr_message *m);
/* Its recipients are too many for memory: a file, and read from there. */
void qmgr_young_shelve(struct qmgr_message *m);
/* Out of the lobby: this one, or those there is room for. */
void qmgr_young_admit(struct qmgr_message *m);
void qmgr_young_admit_some(struct qmgr *q);
/* Its results are to be written down: true = later, it can rest without a file. */
bool qmgr_young_rests(struct qmgr_message *m);
/* Deferred mail that rests is tried again. */
void qmgr_young_flush(struct qmgr *q);
/* Becomes a file in active/; then qmgr_message_entry_done, or _end when it was there before. Out
 * of the lobby: in incoming/, and out of memory. */
void qmgr_young_file(struct qmgr_message *m);
/* Nothing but finished recipients is to be written down: done, in the journal. */
bool qmgr_young_marks(struct qmgr_message *m);
void qmgr_young_done(struct qmgr_message *m);
/* Out of memory: it stays in the journal. */
void qmgr_young_leave(struct qmgr_message *m);
/* No more tries: what is in the journal stays there, but what has failed goes to deferred/. */
void qmgr_young_stop(struct qmgr *q);
/* The disk has no room: files are put off. */
void qmgr_young_no_room(struct qmgr *q);

/* kept.c: what the last run left in the journal arrives; commands wait for that. */
void qmgr_kept_take(struct qmgr *q);

/* sync.c: u->synced comes later, once the file is safe. */
void qmgr_sync(struct qmgr *q, struct qmgr_unsynced *u);

/* scan.c */
void qmgr_scan(struct qmgr *q);
/* First of all: what lies in active/ was being delivered by a run that ended. Then scans. */
void qmgr_recover(struct qmgr *q);
