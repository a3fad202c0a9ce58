/*
 * crew.c - a few threads for the length of one call.
 *
 * The pieces form a ring of three marks, taken <= done in front of it <= begun <= made, under one
 * lock; a piece is worth many microseconds, so the lock is never where time goes. Whoever waits for
 * the oldest piece works on one itself: with one processor, or when no thread can be had, the
 * caller does it all. The threads are started when there is a second piece, so that a small queue
 * pays nothing.
 */
#include <sched.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/crew.h"

enum {
	CREW_THREADS_MAX = 16,
	PER_PROCESSOR = 2, /* reading files waits now and then */
};

struct run {
	const struct crew *c;
	pthread_mutex_t lock;
	pthread_cond_t more;         /* a piece was made, or the end */
	pthread_cond_t did;          /* a piece was worked on */
	uint64_t made, begun, taken; /* counts */
	bool *done;                  /* by piece */
	bool ending;
	unsigned threads;
	pthread_t thread[CREW_THREADS_MAX];
};

/* Under the lock, which is given up for the work. */
static void
work_on_next(struct run *r)
{
	unsigned piece = (unsigned)(r->begun++ % r->c->pieces);

	pthread_mutex_unlock(&r->lock);
	r->c->work(r->c->ctx, piece);
	pthread_mutex_lock(&r->lock);
	r->done[piece] = true;
}

static void *
crew_thread(void *arg)
{
	struct run *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->ending) {
		if (r->begun == r->made) {
			pthread_cond_wait(&r->more, &r->lock);
			continue;
		}
		work_on_next(r);
		pthread_cond_signal(&r->did);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void
start(struct run *r)
{
	unsigned wanted = r->c->threads < CREW_THREADS_MAX ? r->c->threads : CREW_THREADS_MAX;

	while (r->threads + 1 < wanted) {
		if (loop_thread_start(&r->thread[r->threads], "crew", crew_thread, r) < 0)
			break;
		r->threads++;
	}
}

/* Makes what there is room for. 0 = go on, 1 = there is no more, or -errno. */
static int
fill(struct run *r)
{
	while (r->made - r->taken < r->c->pieces) {
		unsigned piece = (unsigned)(r->made % r->c->pieces);
		int rc = r->c->make(r->c->ctx, piece);

		if (rc <= 0)
			return rc < 0 ? rc : 1;
		pthread_mutex_lock(&r->lock);
		r->done[piece] = false;
		r->made++;
		pthread_cond_signal(&r->more);
		pthread_mutex_unlock(&r->lock);
		if (r->made == 2)
			start(r);
	}
	return 0;
}

static void
wait_for_oldest(struct run *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->done[r->taken % r->c->pieces]) {
		if (r->begun != r->made)
			work_on_next(r);
		else
			pthread_cond_wait(&r->did, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
}

static void
finish(struct run *r)
{
	pthread_mutex_lock(&r->lock);
	r->ending = true;
	pthread_cond_broadcast(&r->more);
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < r->threads; i++)
		pthread_join(r->thread[i], NULL);
}

int
crew_run_blk(const struct crew *c)
{
	struct run r = {.c = c,
	    .lock = PTHREAD_MUTEX_INITIALIZER,
	    .more = PTHREAD_COND_INITIALIZER,
	    .did = PTHREAD_COND_INITIALIZER};
	int ended = 0, rc = 0;

	PP_ASSERT(c->pieces > 0);
	r.done = mem_alloc(c->pieces * sizeof(*r.done));
	while (rc == 0) {
		if (ended == 0)
			ended = fill(&r);
		if (r.taken == r.made)
			break;
		wait_for_oldest(&r);
		rc = c->take(c->ctx, (unsigned)(r.taken % c->pieces));
		r.taken++;
	}
	finish(&r);
	mem_free(r.done);
	return rc != 0 ? rc : ended < 0 ? ended : 0;
}

unsigned
crew_threads(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n * PER_PROCESSOR < CREW_THREADS_MAX ? (unsigned)n * PER_PROCESSOR
						    : CREW_THREADS_MAX;
}
