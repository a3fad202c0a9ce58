/*
 * look.c - one id that something was done to: what lies where, and what follows from it.
 *
 * The look runs on the lane of its id, behind whatever we do to the same files ourselves, so what
 * it finds is not our own work half done. Commands and administrators wait for nobody: a second
 * file is believed only when both are still there after a second look.
 */
#include <errno.h>
#include <unistd.h>
#include "hand.h"
#include "pp/spool/pair.h"
#include "pp/spool/repair.h"

enum result {
	RESULT_FINE,
	RESULT_FOREIGN, /* another owner: cannot be worked with */
	RESULT_HALF,    /* not of the mode that means mail */
	RESULT_DAMAGED, /* in corrupt now */
};

struct look {
	struct lane_job job;
	struct qmgr_hand *hand;
	unsigned came, gone, touched;
	bool was_active, was_known;
	unsigned serial; /* of the active message */
	enum queue path_queue;
	/* what was found */
	struct hand_places places;
	enum queue at; /* QUEUE_COUNT = nowhere */
	enum result result;
	bool moved, was_in_active; /* to where its name belongs; it lay in active/ */
	int rc;
	enum queue second; /* a second file lay there */
	char second_id[SPOOL_ID_MAX];
	char corrupt[SPOOL_PATH_MAX];
	struct buf why;
	char path[SPOOL_PATH_MAX]; /* where it should not lie; "" = where it should */
	char id[SPOOL_ID_MAX];
};

static bool
has(const struct look *k, enum queue q)
{
	return (k->places.found & HAND_BIT(q)) != 0;
}

static void
set_aside(struct look *k, enum queue q, const char *path)
{
	int rc = hand_set_aside_blk(k->hand->q->spool, q, k->id, path, k->second_id);

	if (rc == 0)
		k->second = q;
	else if (rc != -ENOENT)
		k->rc = rc;
}

/* In the directory of another id, or at another depth. */
static void
put_right(struct look *k)
{
	struct spool *s = k->hand->q->spool;
	struct spool_entry e = {
	    .id = k->id, .queue = k->path_queue, .misplaced = true, .path = k->path};
	int rc = fsio_stat(spool_dirfd(s), k->path, &e.st);

	if (rc < 0 || !S_ISREG(e.st.st_mode))
		return;
	rc = spool_adopt_blk(s, &e);
	k->moved |= rc == 0;
	if (rc == -EEXIST)
		set_aside(k, k->path_queue, k->path);
}

/* Who stays where it is when there are several: what is being delivered, then who was there before
 * the event. */
static enum queue
first_of(const struct look *k)
{
	static const enum queue order[] = {
	    QUEUE_ACTIVE, QUEUE_HOLD, QUEUE_DEFERRED, QUEUE_INCOMING};

	if (k->was_active && has(k, QUEUE_ACTIVE))
		return QUEUE_ACTIVE;
	for (size_t i = 0; i < PP_COUNT(order); i++)
		if (has(k, order[i]) && (k->came & HAND_BIT(order[i])) == 0)
			return order[i];
	for (size_t i = 0; i < PP_COUNT(order); i++)
		if (has(k, order[i]))
			return order[i];
	return QUEUE_COUNT;
}

/* One message with two names is no second message: it is held, or a command is just moving it. */
static void
drop_second_names(struct look *k)
{
	static const enum queue others[] = {QUEUE_DEFERRED, QUEUE_INCOMING, QUEUE_ACTIVE};

	for (size_t i = 0; i < PP_COUNT(others) && has(k, QUEUE_HOLD); i++)
		if (has(k, others[i]) && !(k->was_active && others[i] == QUEUE_ACTIVE) &&
		    pair_settle_blk(k->hand->q->spool, others[i], k->id) != 0)
			k->places.found &= ~HAND_BIT(others[i]);
}

static void
find(struct look *k)
{
	const struct spool *s = k->hand->q->spool;
	const unsigned mail = HAND_BIT(QUEUE_ACTIVE) | HAND_BIT(QUEUE_HOLD) |
			      HAND_BIT(QUEUE_DEFERRED) | HAND_BIT(QUEUE_INCOMING);
	struct hand_places again;

	hand_places_blk(s, k->id, &k->places);
	/* In none of them one after the other: it may have been moved meanwhile. */
	if (k->places.found == 0)
		hand_places_blk(s, k->id, &k->places);
	drop_second_names(k);
	k->at = first_of(k);
	if (k->at == QUEUE_COUNT || (k->places.found & mail & ~HAND_BIT(k->at)) == 0)
		return;
	/* Seen here, then there: it may have been moved between the two. */
	hand_places_blk(s, k->id, &again);
	k->places.found &= again.found;
	k->at = first_of(k);
	for (unsigned q = 0; q < HAND_QUEUES && k->at != QUEUE_COUNT; q++)
		if (q != (unsigned)k->at && (mail & HAND_BIT(q)) && has(k, (enum queue)q)) {
			set_aside(k, (enum queue)q, NULL);
			k->places.found &= ~HAND_BIT(q);
		}
}

static void
check_content(struct look *k)
{
	const struct spool *s = k->hand->q->spool;
	struct arena a = {0};
	struct envelope e;
	struct stat st;
	int rc;

	rc = reader_load_blk(s, k->at, k->id, &a, &e, &st, &k->why);
	arena_fini(&a);
	if (rc == -EACCES)
		k->result = RESULT_FOREIGN;
	if (rc == -EBADMSG && repair_corrupt_blk(s, k->at, k->id, k->corrupt) == 0)
		k->result = RESULT_DAMAGED;
}

/* What nobody delivers at the moment: can it be worked with? */
static void
check(struct look *k)
{
	const struct spool *s = k->hand->q->spool;
	const struct stat *st;
	int rc;

	if (k->at == QUEUE_ACTIVE) {
		rc = spool_move_blk(s, k->id, QUEUE_ACTIVE, QUEUE_INCOMING, -1);
		k->was_in_active = rc == 0;
		k->places.st[QUEUE_INCOMING] = k->places.st[QUEUE_ACTIVE];
		k->at = rc == 0 ? QUEUE_INCOMING : QUEUE_COUNT;
		k->rc = rc;
	}
	if (k->at == QUEUE_COUNT)
		return;
	rc = hand_put_right_blk(s, k->at, k->id);
	k->moved |= rc == 1;
	st = &k->places.st[k->at];
	if (geteuid() != 0 && st->st_uid != geteuid())
		k->result = RESULT_FOREIGN;
	else if (!spool_ready(st))
		k->result = RESULT_HALF;
	else if (k->at == QUEUE_DEFERRED && !k->was_known)
		check_content(k);
	if (k->result == RESULT_FOREIGN && k->at == QUEUE_INCOMING && k->hand->watch)
		watch_add_blk(k->hand->watch, spool_dirfd(s), spool_queue_name(QUEUE_INCOMING),
		    hand_mask(QUEUE_INCOMING, true), QUEUE_INCOMING);
}

static void
settled(void *ctx, const char *path)
{
	log_info("qmgr", "%s: removed: this message is in hold", path);
}

void
hand_settle_blk(const struct spool *s)
{
	if (pair_is_begun_blk(s))
		pair_settle_all_blk(s, false, settled, NULL);
}

static void
look_work(struct lane_job *job)
{
	struct look *k = PP_CONTAINER(job, struct look, job);

	if (*k->path)
		put_right(k);
	find(k);
	if (!k->was_active && k->at != QUEUE_COUNT)
		check(k);
}

/* Once, with what to type. */
static void
say_unusable(struct look *k)
{
	struct qmgr_hand *h = k->hand;
	const struct stat *st = &k->places.st[k->at];
	char path[SPOOL_PATH_MAX], owner[HAND_USER_MAX], us[HAND_USER_MAX];

	spool_path(h->q->spool, k->at, k->id, path);
	if (k->result == RESULT_HALF && k->at == QUEUE_INCOMING)
		return; /* it is being written */
	h->touch_incoming |= k->at == QUEUE_INCOMING;
	if (!hand_odd_first(h, path))
		return;
	if (k->result == RESULT_HALF)
		log_warn("qmgr",
		    "%s: mode %04o is that of a half-written file: if it is whole, type: "
		    "chmod 0700 %s/%s",
		    path, (unsigned)st->st_mode & 07777, spool_directory(h->q->spool), path);
	else
		log_warn("qmgr",
		    "%s: belongs to %s (mode %04o) and cannot be delivered: type: chown %s %s/%s",
		    path, hand_user(st->st_uid, owner), (unsigned)st->st_mode & 07777,
		    hand_user(geteuid(), us), spool_directory(h->q->spool), path);
	qmgr_event(h->q, "unusable", k->id);
}

static void
say(struct look *k)
{
	struct qmgr *q = k->hand->q;
	char path[SPOOL_PATH_MAX];

	if (k->rc < 0)
		log_warn("qmgr", "%s: putting it in order: %s", k->id, strerror(-k->rc));
	if (k->second != QUEUE_COUNT) {
		log_warn("qmgr",
		    "%s: a second file of this queue id was in %s while %s has it: it is on hold "
		    "as %s",
		    k->id, spool_queue_name(k->second), spool_queue_name(k->at), k->second_id);
		qmgr_event(q, "held", k->second_id);
	}
	if (k->at == QUEUE_COUNT)
		return;
	spool_path(q->spool, k->at, k->id, path);
	if (k->moved)
		log_info("qmgr", "%s: moved to where its name belongs", path);
	if (k->result == RESULT_DAMAGED) {
		log_warn("qmgr", "%s: %s", k->id, buf_cstr(&k->why));
		log_warn("qmgr",
		    "saving corrupt file \"%s\" from queue \"%s\" to queue \"corrupt\"", k->id,
		    spool_queue_name(k->at));
		qmgr_event(q, "corrupt", k->id);
	} else if (k->result != RESULT_FINE) {
		say_unusable(k);
	} else {
		hand_odd_over(k->hand, path);
	}
}

/* The file of a message that is being delivered is somewhere else, or nowhere. */
static void
taken_away(struct look *k, struct qmgr_message *m)
{
	/* In the journal it has no file to be taken; one that could not be made was removed by us.
	 */
	if (m->mail || has(k, QUEUE_ACTIVE) || m->state != MESSAGE_DELIVERING)
		return;
	if (k->places.found == 0)
		hand_gone(k->hand, k->id, QUEUE_ACTIVE);
	else
		qmgr_event(k->hand->q, "taken", k->id);
	qmgr_super_taken(m, k->places.found == 0 ? SUPER_DELETE
			    : has(k, QUEUE_HOLD) ? SUPER_HOLD
						 : SUPER_LEAVE);
}

static void
forget(struct look *k)
{
	struct qmgr *q = k->hand->q;
	struct qmgr_deferred *d = qmgr_deferred_find(q, k->id);

	if (d)
		qmgr_deferred_drop(q, d);
	if (k->places.found != 0 || k->result == RESULT_DAMAGED)
		return;
	if (d)
		hand_gone(k->hand, k->id, QUEUE_DEFERRED);
	else if (k->gone & HAND_BIT(QUEUE_HOLD))
		hand_gone(k->hand, k->id, QUEUE_HOLD);
	else if (k->gone & HAND_BIT(QUEUE_INCOMING))
		hand_gone(k->hand, k->id, QUEUE_INCOMING);
}

static void
take_in(struct look *k)
{
	struct qmgr *q = k->hand->q;
	int64_t when = k->places.st[k->at].st_mtim.tv_sec;
	struct qmgr_deferred *d = qmgr_deferred_find(q, k->id);

	if (k->at == QUEUE_DEFERRED) {
		if (d)
			when = qmgr_deferred_time(q, d, when);
		if (d == NULL || k->touched || qmgr_deferred_when(d) != when)
			qmgr_deferred_add(q, k->id, when, NULL, 0);
		qmgr_event(q, d ? "changed" : "adopted", k->id);
		return;
	}
	if (d)
		qmgr_deferred_drop(q, d);
	if (k->at == QUEUE_HOLD)
		qmgr_event(q, "held", k->id);
	if (k->at != QUEUE_INCOMING)
		return;
	if (k->was_in_active)
		log_info("qmgr", "%s: was put into active: tried now", k->id);
	if (qmgr_has_room(q, QUEUE_INCOMING))
		qmgr_message_load(q, k->id, QUEUE_INCOMING, NULL);
	else
		qmgr_incoming_waits(q);
}

static void
look_done(struct lane_job *job)
{
	struct look *k = PP_CONTAINER(job, struct look, job);
	struct qmgr *q = k->hand->q;
	struct qmgr_message *m;

	q->jobs--;
	k->hand->looks--;
	HASH_FIND_STR(q->active, k->id, m);
	if (!q->stopping) {
		say(k);
		if (m && k->was_active && m->serial == k->serial)
			taken_away(k, m);
		else if (m == NULL && k->at != QUEUE_COUNT && k->result == RESULT_FINE)
			take_in(k);
		else if (m == NULL)
			forget(k);
	}
	buf_fini(&k->why);
	mem_free(k);
	qmgr_idle_check(q);
}

void
hand_look(struct qmgr_hand *h, const struct hand_note *n)
{
	struct look *k = MEM_NEW(struct look);
	struct qmgr *q = h->q;
	struct qmgr_message *m;

	k->hand = h;
	k->came = n->came;
	k->gone = n->gone;
	k->touched = n->touched;
	k->at = k->second = QUEUE_COUNT;
	buf_init(&k->why, 512);
	snprintf(k->id, sizeof(k->id), "%s", n->id);
	if (n->path) {
		snprintf(k->path, sizeof(k->path), "%s", n->path);
		k->path_queue = n->at;
	}
	HASH_FIND_STR(q->active, n->id, m);
	k->was_active = m != NULL;
	k->serial = m ? m->serial : 0;
	k->was_known = qmgr_deferred_find(q, n->id) != NULL;
	h->looks++;
	q->jobs++;
	lane_run(q->o.disk, lane_key(k->id), &k->job, look_work, look_done);
}
