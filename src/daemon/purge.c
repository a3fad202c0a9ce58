/*
 * purge.c - frees what postsuper has deleted, when there is nothing better to do.
 *
 * Deleting a hundred thousand messages takes a moment, unlinking their files half a minute. It has
 * a thread of its own that gives way to all others, and exists only while there is something to
 * unlink. A stop of the daemon does not wait for the end: the next start goes on.
 */
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/counter.h"
#include "pp/spool/bulk.h"

struct daemon_purge {
	struct lane_job job;
	struct daemon *daemon;
	struct lane *lane;
	struct counter stop; /* 1 = now */
	bool again;
};

static bool
is_stopped(void *ctx)
{
	return !counter_take(ctx, 0, 0);
}

static void
work(struct lane_job *job)
{
	struct daemon_purge *p = PP_CONTAINER(job, struct daemon_purge, job);

	lane_give_way();
	bulk_purge_blk(p->daemon->spool, 1, is_stopped, &p->stop);
}

static void
done(struct lane_job *job)
{
	struct daemon_purge *p = PP_CONTAINER(job, struct daemon_purge, job);

	if (p->again && p->lane) {
		p->again = false;
		lane_run(p->lane, 0, &p->job, work, done);
		return;
	}
	if (p->lane)
		lane_free(p->lane);
	p->daemon->purge = NULL;
	mem_free(p);
}

void
daemon_purge(struct daemon *d)
{
	struct daemon_purge *p = d->purge;

	if (d->stopping)
		return;
	if (p) {
		p->again = true;
		return;
	}
	p = d->purge = MEM_NEW(struct daemon_purge);
	p->daemon = d;
	p->lane = lane_new("purge", 1);
	lane_run(p->lane, 0, &p->job, work, done);
}

void
daemon_purge_at_start(struct daemon *d)
{
	if (bulk_purge_needed_blk(d->spool))
		daemon_purge(d);
}

void
daemon_purge_end(struct daemon *d)
{
	struct daemon_purge *p = d->purge;

	if (p == NULL)
		return;
	counter_next(&p->stop, 1);
	lane_free(p->lane);
	p->lane = NULL; /* done comes yet */
}
