/*
 * hand.h - what is done to the spool by hand while the queue manager runs. All on its loop.
 */
#pragma once
#include "internal.h"
#include "pp/runtime/watch.h"
#include "pp/spool/hand.h"

#define HAND_BIT(q) (1u << (q))
enum {
	HAND_LOOKS_MAX = 2000, /* more than this at once is a case for a walk */
	HAND_USER_MAX = 256,
};

struct qmgr_hand {
	struct qmgr *q;
	struct watch *watch; /* NULL: not to be had, or not yet */
	bool is_told;        /* that it is not to be had */
	bool walk;           /* a walk is wanted when the batch has been told */
	bool touch_incoming; /* something in incoming/ waits for its owner to be changed */
	struct hand_note *notes, *later;
	struct timer later_timer;
	unsigned looks; /* under way */
	struct hand_odd *odd;
	struct hand_gone *gone;
	unsigned gone_n;
	struct timer gone_timer;
	int64_t gone_since; /* loop time of the first line of this minute */
	unsigned gone_said, gone_unsaid;
	struct hand_quiet *quiet;
	int64_t quiet_until; /* for all */
	bool is_changing;    /* a command has said that it begins, and perhaps is not through */
	unsigned batch_looks;
	struct timer calm_timer; /* a flood of changes is going on */
	int64_t flood_since;
};

/* What an event or a walk said of an id. Bits are HAND_BIT(queue). */
struct hand_note {
	UT_hash_handle hh;
	unsigned came, gone, touched;
	unsigned was;  /* came, whatever happened then */
	unsigned half; /* made, and not closed yet */
	enum queue at; /* of path */
	char *path;    /* not where it is hashed; NULL = where it is */
	char id[SPOOL_ID_MAX];
};

/* look.c: asks the disk, then does what is to be done. */
void hand_look(struct qmgr_hand *h, const struct hand_note *n);
/* Messages that a killed command has left with a name in hold and one elsewhere. */
void hand_settle_blk(const struct spool *s);
/* hand.c: true = for the first time. */
bool hand_odd_first(struct qmgr_hand *h, const char *name);
void hand_odd_over(struct qmgr_hand *h, const char *name);
void hand_path_free(struct hand_note *n);
/* The name of a user, or the number. */
const char *hand_user(uid_t uid, char text[HAND_USER_MAX]);
unsigned hand_mask(enum queue q, bool touch_incoming);

/* gone.c: one line for each that vanished, but a bounded number of them, and none for what a
 * command did, which says so itself. */
void hand_gone(struct qmgr_hand *h, const char *id, enum queue from);
void hand_gone_fini(struct qmgr_hand *h);
/* Is a command at work on whole queues? */
bool hand_all_quiet(struct qmgr_hand *h);
