/*
 * postsuper.h - what the files of the command postsuper share.
 */
#pragma once
#include <signal.h>
#include <time.h>
#include "common.h"

enum action { REQUEUE, DELETE, EXPIRE, HOLD, RELEASE, ACTIONS };

#define IN(q) (1u << (q))
enum {
	MAIL_QUEUES = IN(QUEUE_MAILDROP) | IN(QUEUE_INCOMING) | IN(QUEUE_ACTIVE) |
		      IN(QUEUE_DEFERRED) | IN(QUEUE_HOLD),
	LOG_QUEUES = IN(QUEUE_DEFER) | IN(QUEUE_BOUNCE) | IN(QUEUE_TRACE),
};

/* In the order of the summary. */
struct postsuper_action {
	unsigned queues;
	const char *order; /* as the daemon calls it; NULL = never of mail in active */
	const char *word, *summary;
};
extern const struct postsuper_action postsuper_actions[ACTIONS];

struct postsuper {
	struct command command;
	unsigned queues;                      /* named, or all */
	bool named, verbose, all, delete_all; /* ALL was asked for, and of -d */
	bool failed;                          /* something that was asked for */
	int64_t done[ACTIONS];
	bool asked[ACTIONS];
	int lock; /* what a daemon holds, opened while we may; -errno = there is none */
	/* postsuper_live.c */
	bool deaf;              /* no daemon of ours answers */
	bool is_old;            /* the one that answers takes no orders about mail in active */
	struct buf changed;     /* the order that tells it which ids were changed */
	struct timespec change; /* when the first of them was */
	unsigned told;
	/* postsuper_lock.c */
	int moving; /* the lock of those who move, or -errno */
	sigset_t mask;
};

/* A warning with the reason why nothing was done to `id`. */
void postsuper_complain(struct postsuper *ps, enum action a, const char *id, int rc);

/* postsuper_id.c: `what` is an id, or `-` for ids from standard input. n actions on each. */
void postsuper_ids(struct postsuper *ps, const enum action *a, size_t n, const char *what);
/* postsuper_all.c */
void postsuper_all(struct postsuper *ps, enum action a);
/* What was deleted is freed: by the daemon, or behind our back. */
void postsuper_purge(struct postsuper *ps);

/* postsuper_live.c: keeps a daemon from starting until _let_go; false: one runs. */
bool postsuper_hold_back(struct postsuper *ps);
void postsuper_let_go(struct postsuper *ps);
/* postsuper_lock.c: nobody else moves mail until _done; what a kill has left is settled first.
 * False: this spool has no such lock. */
bool postsuper_alone(struct postsuper *ps);
/* For single messages: not beside somebody who moves whole queues. */
void postsuper_share(struct postsuper *ps);
void postsuper_done(struct postsuper *ps);
/* From here to _unblock a signal that would end us waits; has one come? */
void postsuper_block(struct postsuper *ps);
bool postsuper_is_interrupted(void *ctx);
void postsuper_unblock(struct postsuper *ps);
/* run(), with those signals blocked, where a kill of ours does not reach it. */
struct all;
struct in_child {
	int (*run)(struct all *all, int64_t *count, enum queue *ret_q);
	struct all *all;
	/* what it did */
	int64_t count;
	enum queue q;
	int rc;
	bool failed;
};
void postsuper_in_child(struct postsuper *ps, struct in_child *c);
/* Every message that has a name in hold and another elsewhere, waiting for who moves mail now. */
void postsuper_settle(struct postsuper *ps);

/* Has the daemon do it to what is in active: how many it took, or -ENOSYS when there is none that
 * takes such orders. `what` is an id or ALL. */
int64_t postsuper_order(struct postsuper *ps, enum action a, const char *what);
/* The file of this id was changed; the daemon hears of it soon, and at the next _tell at last. */
void postsuper_changed(struct postsuper *ps, const char *id);
void postsuper_tell(struct postsuper *ps);
/* 0, or -ENOSYS: nobody heard it. */
int postsuper_say(struct postsuper *ps, const char *order);
