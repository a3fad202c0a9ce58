/*
 * super.c - what postsuper wants of mail that is being delivered.
 *
 * A delivery that runs cannot be called back: the other side may have taken the mail already. So
 * what was not begun is dropped, what runs ends, its results are written as ever, and only then is
 * done with the file what was asked. An order that comes when the message is just leaving is done
 * to its file afterwards: whoever was told that it was taken can rely on it.
 */
#include <errno.h>
#include <time.h>
#include "internal.h"
#include "pp/spool/hand.h"
#include "pp/spool/pair.h"

static struct status
expired_status(struct arena *a)
{
	return status_make(
	    a, STATUS_TEMP, 4, 7, "expired by the administrator before it was tried");
}

static int
expire_blk(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int fd, rc;

	spool_path(s, q, id, path);
	fd = fsio_open_read(spool_dirfd(s), path);
	if (fd < 0)
		return fd;
	rc = fstat(fd, &st) < 0 ? -errno : fsio_chmod(fd, (st.st_mode & 07777) | 010);
	fsio_close(fd);
	return rc;
}

struct mark {
	struct lane_job job;
	struct qmgr *q;
	char id[SPOOL_ID_MAX];
};

static void
mark_work(struct lane_job *job)
{
	struct mark *k = PP_CONTAINER(job, struct mark, job);

	expire_blk(k->q->spool, QUEUE_ACTIVE, k->id); /* its delivery goes on without it, too */
}

static void
mark_done(struct lane_job *job)
{
	struct mark *k = PP_CONTAINER(job, struct mark, job);
	struct qmgr *q = k->q;

	mem_free(k);
	q->jobs--;
	qmgr_idle_check(q);
}

/* In its file as well: the next run is to know when this one does not end well. */
static void
mark_expired(const struct qmgr_message *m)
{
	struct mark *k = MEM_NEW(struct mark);

	k->q = m->q;
	memcpy(k->id, m->id, sizeof(k->id));
	m->q->jobs++;
	lane_run(m->q->o.disk, lane_key(k->id), &k->job, mark_work, mark_done);
}

static void
cut_slice(struct qmgr_slice *s, const struct status *st)
{
	struct qmgr_message *m = s->m;

	s->held++;
	for (struct qmgr_entry *e = s->entries; e != NULL; e = e->sibling) {
		if (!e->s.waits)
			continue;
		m->has_deferred = true; /* something is left to do */
		e->dest->pins++;
		schedule_remove(&e->s);
		if (m->super == SUPER_EXPIRE) {
			qmgr_defer_entry(e, st);
		} else {
			qmgr_slice_entry_over(e);
			qmgr_slice_release(s);
			m->open_entries--;
		}
		e->dest->pins--;
		qmgr_destination_release(e->dest);
	}
	qmgr_slice_release(s);
}

/* Entries that no agent has seen yet. */
static void
cut(struct qmgr_message *m)
{
	struct arena a = {0};
	struct status st = expired_status(&a);

	m->open_entries++; /* the round ends after the last of them */
	for (struct qmgr_slice *s = LIST_FIRST(&m->slices), *next; s != NULL; s = next) {
		next = LIST_NEXT(s, link);
		cut_slice(s, &st);
	}
	arena_fini(&a);
	qmgr_message_entry_done(m);
}

/* False: it was taken before, and is counted. */
static bool
take(struct qmgr_message *m, enum qmgr_super what)
{
	if (m->super == SUPER_DELETE || m->super == what)
		return false;
	m->super = what;
	if (m->rest == REST_LOBBY) {
		qmgr_young_admit(m);
		return true;
	}
	if (what == SUPER_EXPIRE) {
		if (m->state != MESSAGE_LOADING) /* its lane writes there */
			m->force_expire = true;
		if (m->mail && !m->is_filing)
			qmgr_young_file(m);
		mark_expired(m); /* behind the job that makes the file */
	}
	if (m->state == MESSAGE_DELIVERING)
		cut(m);
	return true;
}

void
qmgr_super_taken(struct qmgr_message *m, enum qmgr_super what)
{
	if (m->super == SUPER_NONE || what == SUPER_DELETE)
		take(m, what);
}

bool
qmgr_super_loaded(struct qmgr_slice *s)
{
	struct qmgr_message *m = s->m;
	struct arena a = {0};
	struct status st = expired_status(&a);
	bool is_wanted = m->super != SUPER_NONE;

	m->force_expire |= m->super == SUPER_EXPIRE;
	if (is_wanted) {
		for (size_t i = 0; m->super == SUPER_EXPIRE && i < s->n; i++)
			if (!s->rcpt[i].done)
				qmgr_message_result(s, &s->rcpt[i], &st);
		m->has_deferred = true;
	}
	arena_fini(&a);
	return is_wanted;
}

static int
make_way(struct qmgr_message *m, enum queue q)
{
	char id[SPOOL_ID_MAX];
	int rc = hand_set_aside_blk(m->q->spool, q, m->id, NULL, id);

	if (rc == 0)
		log_warn("qmgr",
		    "%s: a second file of this queue id was in %s while it was on its way: it is "
		    "on hold as %s",
		    m->id, spool_queue_name(q), id);
	return rc;
}

static int
leave_once(struct qmgr_message *m)
{
	struct spool *s = m->q->spool;

	switch (m->leave_as) {
	case SUPER_HOLD:
		return spool_move_blk(s, m->id, QUEUE_ACTIVE, QUEUE_HOLD, -1);
	case SUPER_REQUEUE:
		return spool_move_blk(s, m->id, QUEUE_ACTIVE, QUEUE_MAILDROP, qmgr_now());
	default:
		return spool_defer_blk(s, m->id, m->next_try, m->attempts + 1);
	}
}

int
qmgr_super_leave_blk(struct qmgr_message *m)
{
	int rc = leave_once(m);

	if (rc == -EEXIST && m->leave_as != SUPER_REQUEUE &&
	    make_way(m, m->leave_as == SUPER_HOLD ? QUEUE_HOLD : QUEUE_DEFERRED) == 0)
		rc = leave_once(m);
	return rc;
}

struct late {
	struct lane_job job;
	struct qmgr *q;
	enum qmgr_super what;
	enum queue at;
	int rc;
	char id[SPOOL_ID_MAX];
};

/* Its other name may be in hold already, by a postsuper that has not come to the end of its ALL. */
static int
late_hold(const struct spool *s, const struct late *l)
{
	int rc = spool_move_blk(s, l->id, l->at, QUEUE_HOLD, -1), pair;

	if (rc != -EEXIST)
		return rc;
	pair = pair_settle_blk(s, l->at, l->id);
	return pair == 1 || pair == -EWOULDBLOCK ? 0 : rc;
}

static void
late_work(struct lane_job *job)
{
	static const enum queue places[] = {QUEUE_DEFERRED, QUEUE_INCOMING, QUEUE_COUNT};
	struct late *l = PP_CONTAINER(job, struct late, job);
	struct spool *s = l->q->spool;
	struct stat st;

	l->rc = spool_find_blk(s, l->id, places, &l->at, &st);
	if (l->rc < 0)
		return; /* it was the last of it */
	if (l->what == SUPER_DELETE)
		l->rc = spool_remove_blk(s, l->at, l->id);
	else if (l->what == SUPER_HOLD)
		l->rc = late_hold(s, l);
	else if (l->what == SUPER_REQUEUE)
		l->rc = spool_move_blk(s, l->id, l->at, QUEUE_MAILDROP, qmgr_now());
	else
		l->rc = expire_blk(s, l->at, l->id);
}

static void
late_done(struct lane_job *job)
{
	struct late *l = PP_CONTAINER(job, struct late, job);
	struct qmgr *q = l->q;
	struct qmgr_deferred *d = qmgr_deferred_find(q, l->id);

	q->jobs--;
	if (l->rc < 0 && l->rc != -ENOENT)
		log_warn("qmgr", "%s: it is in %s, and there it stays: %s", l->id,
		    spool_queue_name(l->at), strerror(-l->rc));
	if (l->rc == 0 && l->what == SUPER_EXPIRE)
		qmgr_message_load(q, l->id, l->at, NULL);
	if (l->rc == 0 && d)
		qmgr_deferred_drop(q, d);
	mem_free(l);
	qmgr_idle_check(q);
}

void
qmgr_super_late(struct qmgr *q, const char *id, enum qmgr_super what)
{
	struct late *l = MEM_NEW(struct late);

	l->q = q;
	l->what = what;
	snprintf(l->id, sizeof(l->id), "%s", id);
	q->jobs++;
	lane_run(q->o.disk, lane_key(l->id), &l->job, late_work, late_done);
}

static enum qmgr_super
action_find(struct str word)
{
	static const struct {
		const char *word;
		enum qmgr_super what;
	} table[] = {{"delete", SUPER_DELETE}, {"hold", SUPER_HOLD}, {"requeue", SUPER_REQUEUE},
	    {"expire", SUPER_EXPIRE}};

	for (size_t i = 0; i < PP_COUNT(table); i++)
		if (str_eq(word, str_of(table[i].word)))
			return table[i].what;
	return SUPER_NONE;
}

void
qmgr_super(struct qmgr *q, const char *order, char *answer, size_t n)
{
	struct str rest = str_of(order), word, id;
	char name[SPOOL_ID_MAX];
	struct qmgr_message *m, *next;
	enum qmgr_super what;
	unsigned taken = 0;

	what = str_token(&rest, " ", &word) ? action_find(word) : SUPER_NONE;
	if (what == SUPER_NONE || !str_token(&rest, " ", &id) || !spool_id_valid(id)) {
		snprintf(answer, n, "error super: bad action or queue id");
		return;
	}
	snprintf(name, sizeof(name), "%.*s", STR_FMT(id));
	if (str_eq(id, STR("ALL"))) {
		qmgr_quiet_all(q, false);
		HASH_ITER (hh, q->active, m, next) {
			taken += take(m, what);
		}
	} else {
		qmgr_quiet(q, name);
		HASH_FIND_STR(q->active, name, m);
		taken = m != NULL && take(m, what);
	}
	snprintf(answer, n, "%u", taken);
}
