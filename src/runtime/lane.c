/*
 * lane.c - threads that run blocking jobs, in order per key.
 *
 * A key always maps to the same thread, which is the whole ordering guarantee: the steps of one
 * queue file cannot overtake each other, and an object used only under its own key (a lookup table)
 * has one owner without a lock. The first thread is there from the start, the others when they have
 * something to do: a daemon that idles is small. Where the system refuses one the first does its
 * work, too, which keeps the order.
 */
#include <stdio.h>
#include <sys/resource.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/lane.h"

enum { LANE_THREADS_MAX = 16, GIVE_WAY = 10 };

struct lane_thread {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct lane_job *first, **last;
	enum { UNUSED, STARTED, REFUSED } state; /* REFUSED: the first does its work, for good */
	bool ending;
};

struct lane {
	const char *name;
	unsigned n;
	struct lane_thread t[LANE_THREADS_MAX];
};

static void
job_answered(struct post *p)
{
	struct lane_job *job = PP_CONTAINER(p, struct lane_job, post);

	job->done(job);
}

static void *
lane_thread(void *arg)
{
	struct lane_thread *t = arg;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct lane_job *job = t->first;

		if (job == NULL) {
			if (t->ending)
				break;
			pthread_cond_wait(&t->more, &t->lock);
			continue;
		}
		t->first = job->next;
		if (t->first == NULL)
			t->last = &t->first;
		pthread_mutex_unlock(&t->lock);
		job->next = NULL;
		job->work(job);
		post_to(job->origin, &job->post, job_answered);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void
start(struct lane *l, struct lane_thread *t)
{
	char name[16];

	snprintf(name, sizeof(name), l->n == 1 ? "%s" : "%s%u", l->name, (unsigned)(t - l->t));
	t->state = loop_thread_start(&t->thread, name, lane_thread, t) == 0 ? STARTED : REFUSED;
}

struct lane *
lane_new(const char *name, unsigned threads)
{
	struct lane *l = MEM_NEW(struct lane);

	PP_ASSERT(threads > 0 && threads <= LANE_THREADS_MAX);
	l->name = name;
	l->n = threads;
	for (unsigned i = 0; i < threads; i++) {
		struct lane_thread *t = &l->t[i];

		pthread_mutex_init(&t->lock, NULL);
		pthread_cond_init(&t->more, NULL);
		t->last = &t->first;
	}
	start(l, &l->t[0]);
	PP_ASSERT(l->t[0].state == STARTED);
	return l;
}

/* With its lock. */
static struct lane_thread *
thread_of(struct lane *l, uint64_t key)
{
	struct lane_thread *t = &l->t[key % l->n];

	pthread_mutex_lock(&t->lock);
	if (t->state == UNUSED)
		start(l, t);
	if (t->state == STARTED)
		return t;
	pthread_mutex_unlock(&t->lock);
	pthread_mutex_lock(&l->t[0].lock);
	return &l->t[0];
}

void
lane_run(struct lane *l, uint64_t key, struct lane_job *job, void (*work)(struct lane_job *),
    void (*done)(struct lane_job *))
{
	struct lane_thread *t;

	job->work = work;
	job->done = done;
	job->next = NULL;
	job->origin = loop_current();
	PP_ASSERT(job->origin != NULL);
	t = thread_of(l, key);
	PP_ASSERT(!t->ending);
	*t->last = job;
	t->last = &job->next;
	pthread_cond_signal(&t->more);
	pthread_mutex_unlock(&t->lock);
}

void
lane_free(struct lane *l)
{
	if (l == NULL)
		return;
	for (unsigned i = 0; i < l->n; i++) {
		struct lane_thread *t = &l->t[i];

		pthread_mutex_lock(&t->lock);
		t->ending = true;
		pthread_cond_signal(&t->more);
		pthread_mutex_unlock(&t->lock);
		if (t->state == STARTED)
			pthread_join(t->thread, NULL);
		pthread_cond_destroy(&t->more);
		pthread_mutex_destroy(&t->lock);
	}
	mem_free(l);
}

void
lane_give_way(void)
{
	setpriority(PRIO_PROCESS, 0, GIVE_WAY); /* 0: on Linux the calling thread alone */
}

uint64_t
lane_key(const char *name)
{
	uint64_t h = 1469598103934665603u; /* FNV-1a: spreads ids over threads, guards nothing */

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211u;
	return h ^ h >> 32;
}
