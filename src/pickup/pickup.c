/*
 * pickup.c - looks into maildrop and takes in what lies there, a few at a time.
 *
 * A scan lists a bounded number of names, then those are worked off, then it scans again while
 * there was more. Names that cannot be taken now are remembered until the next round, so that files
 * somebody made unreadable do not hide the mail behind them; a mail that is in the queue but whose
 * file would not go away is remembered until it does, or it would be delivered again every minute.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/map/userlist.h"
#include "pp/runtime/log.h"
#include "pp/runtime/watch.h"

enum {
	INTERVAL_MS = 60 * 1000,
	SCAN_MAX = 1000, /* names of one scan */
	AT_ONCE = 8,     /* submissions under way */
	REMEMBER_MAX = 100 * 1000,
};

/* A name that a scan must not give again. */
struct memory {
	UT_hash_handle hh;
	bool is_taken; /* its mail is in the queue: only the file is left */
	char id[SPOOL_ID_MAX];
};

struct name {
	struct name *next;
	char id[SPOOL_ID_MAX];
};

struct pickup {
	struct loop *loop;
	struct lane *disk;
	struct cleanup_setup setup;
	struct userlist *users; /* who may submit; NULL = everybody */
	struct spool *spool;    /* the same all its life, so a scan may read it during a reload */
	struct timer timer;
	struct watch *watch; /* NULL: the clock and those who submit must do */
	bool is_watched;     /* since the last settled event something came */
	struct lane_job scan;
	struct post stop_post;
	bool scanning, again, stopping, troubled, is_told;
	struct pickup_door *door; /* NULL: maildrop only */
	unsigned busy;
	struct memory *memory; /* the lane's while scanning */
	struct name *names;
	size_t name_count;
	bool more;
	int scan_rc;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};

static void work_off(struct pickup *p);

static struct memory *
recall(struct pickup *p, const char *id)
{
	struct memory *m;

	HASH_FIND_STR(p->memory, id, m);
	return m;
}

static void
remember(struct pickup *p, const char *id, bool is_taken)
{
	struct memory *m = recall(p, id);

	if (m == NULL) {
		if (HASH_COUNT(p->memory) >= REMEMBER_MAX && !is_taken)
			return;
		m = MEM_NEW(struct memory);
		snprintf(m->id, sizeof(m->id), "%s", id);
		HASH_ADD_STR(p->memory, id, m);
	}
	m->is_taken |= is_taken;
}

/* A new round: what was kept is tried again. */
static void
forget(struct pickup *p, bool also_taken)
{
	struct memory *m, *next;

	HASH_ITER (hh, p->memory, m, next) {
		if (m->is_taken && !also_taken)
			continue;
		HASH_DEL(p->memory, m);
		mem_free(m);
	}
}

static int
scan_entry(void *ctx, const struct spool_entry *e)
{
	struct pickup *p = ctx;
	struct name *n;

	if ((S_ISREG(e->st.st_mode) && !spool_ready(&e->st)) || strlen(e->id) >= SPOOL_ID_MAX ||
	    recall(p, e->id))
		return 0;
	if (p->name_count >= SCAN_MAX) {
		p->more = true;
		return 1;
	}
	n = MEM_NEW(struct name);
	memcpy(n->id, e->id, strlen(e->id) + 1);
	n->next = p->names;
	p->names = n;
	p->name_count++;
	return 0;
}

static void
work_scan(struct lane_job *job)
{
	struct pickup *p = PP_CONTAINER(job, struct pickup, scan);

	/* Each time: the directory may be another one by now. */
	if (p->watch)
		watch_add_blk(p->watch, spool_dirfd(p->spool), spool_queue_name(QUEUE_MAILDROP),
		    WATCH_CAME | WATCH_WRITTEN | WATCH_TOUCHED, 0);
	p->scan_rc = spool_scan_blk(p->spool, QUEUE_MAILDROP, scan_entry, p);
}

static void
scanned(struct lane_job *job)
{
	struct pickup *p = PP_CONTAINER(job, struct pickup, scan);

	p->scanning = false;
	if (p->scan_rc < 0)
		log_warn("pickup", "scan maildrop: %s", strerror(-p->scan_rc));
	work_off(p);
}

static void
scan_start(struct pickup *p)
{
	p->scanning = true;
	p->again = p->more = false;
	lane_run(p->disk, lane_key("maildrop"), &p->scan, work_scan, scanned);
}

static void
drop_names(struct pickup *p)
{
	while (p->names) {
		struct name *n = p->names;

		p->names = n->next;
		mem_free(n);
	}
	p->name_count = 0;
}

static void
submission_done(void *ctx, const char *id, enum pickup_result r)
{
	struct pickup *p = ctx;
	struct memory *m;

	p->busy--;
	if (r == PICKUP_LEFT || r == PICKUP_KEPT)
		remember(p, id, r == PICKUP_LEFT);
	if (r == PICKUP_TROUBLE)
		p->troubled = true;
	m = r == PICKUP_TAKEN ? recall(p, id) : NULL;
	if (m) {
		HASH_DEL(p->memory, m);
		mem_free(m);
	}
	work_off(p);
}

static void
tell_stopped(struct post *post)
{
	struct pickup *p = PP_CONTAINER(post, struct pickup, stop_post);

	p->stopped(p->stopped_ctx);
}

static void
check_stopped(struct pickup *p)
{
	if (p->scanning || p->busy > 0 || (p->door && !pickup_door_is_empty(p->door)) || p->is_told)
		return;
	p->is_told = true;
	post_to(p->loop, &p->stop_post, tell_stopped);
}

/* Starts what may be started; at the end of the list looks whether there is more. */
static void
work_off(struct pickup *p)
{
	if (p->stopping || p->troubled)
		drop_names(p);
	while (p->names && p->busy < AT_ONCE) {
		struct name *n = p->names;

		p->names = n->next;
		p->busy++;
		submission_start(&p->setup, p->disk, n->id, p->users, submission_done, p);
		mem_free(n);
	}
	if (p->names || p->busy > 0 || p->scanning)
		return;
	p->name_count = 0;
	if (p->stopping)
		check_stopped(p);
	else if (!p->troubled && (p->more || p->again))
		scan_start(p);
}

/* Files whose mail was taken: away with them, now that it may work. */
static void
remove_left(struct pickup *p)
{
	struct memory *m, *next;

	HASH_ITER (hh, p->memory, m, next) {
		if (p->busy >= AT_ONCE)
			return;
		p->busy++;
		submission_remove(&p->setup, p->disk, m->id, submission_done, p);
	}
}

void
pickup_wake(struct pickup *p)
{
	PP_ON(p->loop);
	if (p->stopping)
		return;
	if (p->scanning || p->busy > 0) {
		p->again = true;
		return;
	}
	p->troubled = false;
	forget(p, false);
	scan_start(p);
}

static void
tick(struct timer *t)
{
	struct pickup *p = PP_CONTAINER(t, struct pickup, timer);

	timer_start(p->loop, t, INTERVAL_MS, tick);
	if (!p->scanning && p->busy == 0) {
		p->troubled = false;
		forget(p, false);
		remove_left(p);
	}
	pickup_wake(p);
}

/* Dropped by another program, by hand, or mended: whatever it is, it is looked for. */
static void
name_came(void *ctx, const struct watch_event *e)
{
	struct pickup *p = ctx;

	p->is_watched |= !e->is_dir && spool_id_valid(str_of(e->name));
}

static void
names_lost(void *ctx, int tag, const char *path)
{
	struct pickup *p = ctx;

	p->is_watched = true;
}

static void
names_settled(void *ctx)
{
	struct pickup *p = ctx;

	if (p->is_watched)
		pickup_wake(p);
	p->is_watched = false;
}

static void
watch_start(struct pickup *p)
{
	static const struct watch_calls calls = {name_came, names_lost, names_settled};
	int rc = 0;

	p->watch = watch_new(p->loop, &calls, p, &rc);
	if (p->watch == NULL)
		log_warn("pickup",
		    "maildrop cannot be watched: %s: what others put there is found every minute",
		    strerror(-rc));
}

struct pickup *
pickup_new(struct loop *l, struct lane *disk, const struct cleanup_setup *setup)
{
	struct pickup *p = MEM_NEW(struct pickup);

	p->loop = l;
	p->disk = disk;
	cleanup_setup_ref(&p->setup, setup);
	p->spool = setup->spool;
	watch_start(p);
	/* The first look is soon: mail may lie there since the last run. */
	timer_start(l, &p->timer, 0, tick);
	return p;
}

void
pickup_submitters(struct pickup *p, struct userlist *users)
{
	struct userlist *old = p->users;

	PP_ON(p->loop);
	userlist_ref(users);
	p->users = users;
	userlist_unref(old);
}

void
pickup_reload(struct pickup *p, const struct cleanup_setup *setup)
{
	struct cleanup_setup old = p->setup;

	PP_ON(p->loop);
	PP_ASSERT(setup->spool == p->spool);
	cleanup_setup_ref(&p->setup, setup);
	cleanup_setup_unref(&old);
}

void
pickup_stop(struct pickup *p, void (*stopped)(void *ctx), void *ctx)
{
	PP_ON(p->loop);
	PP_ASSERT(!p->stopping);
	p->stopping = true;
	p->stopped = stopped;
	p->stopped_ctx = ctx;
	timer_stop(&p->timer);
	watch_stop(p->watch);
	if (p->door)
		pickup_door_stop(p->door);
	check_stopped(p);
}

void
pickup_listen(struct pickup *p, int fd)
{
	PP_ON(p->loop);
	PP_ASSERT(p->door == NULL);
	p->door = pickup_door_new(p, p->loop, p->disk, fd);
}

void
pickup_door_left(struct pickup *p)
{
	if (p->stopping)
		check_stopped(p);
}

const struct cleanup_setup *
pickup_setup(const struct pickup *p)
{
	return &p->setup;
}

struct userlist *
pickup_users(const struct pickup *p)
{
	return p->users;
}

void
pickup_free(struct pickup *p)
{
	if (p == NULL)
		return;
	PP_ASSERT(!p->scanning && p->busy == 0);
	timer_stop(&p->timer);
	watch_stop(p->watch);
	watch_free(p->watch);
	if (p->door)
		pickup_door_free(p->door);
	drop_names(p);
	forget(p, true);
	userlist_unref(p->users);
	cleanup_setup_unref(&p->setup);
	mem_free(p);
}
