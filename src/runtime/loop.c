/*
 * loop.c - an event loop: libuv's, plus timers without handles and a queue of posts.
 *
 * Timers lie in a heap behind one uv_timer_t. A uv_timer_t each would cost 150 bytes and an
 * asynchronous close in every object that has a deadline; these are stopped at once and freed with
 * their owner. The thread's loop is thread-local, so PP_ON can check every entry.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>
#include "internal.h"
#include "pp/base/mem.h"

enum { STACK_SIZE = 512 * 1024 };

static _Thread_local struct loop *current;

void
post_after(struct post *p, void (*run)(struct post *))
{
	struct loop *l = current;

	p->run = run;
	p->next = l->after;
	l->after = p;
}

static void
posts_run(uv_async_t *wake)
{
	struct loop *l = wake->data;
	struct post *p;

	pthread_mutex_lock(&l->lock);
	p = l->first;
	l->first = NULL;
	l->last = &l->first;
	pthread_mutex_unlock(&l->lock);
	while (p != NULL) {
		struct post *next = p->next;

		p->next = NULL;
		p->run(p); /* may free p */
		p = next;
	}
	while ((p = l->after) != NULL) {
		l->after = p->next;
		p->run(p);
	}
}

void
post_to(struct loop *l, struct post *p, void (*run)(struct post *))
{
	bool was_empty;

	p->run = run;
	p->next = NULL;
	pthread_mutex_lock(&l->lock);
	was_empty = l->first == NULL;
	*l->last = p;
	l->last = &p->next;
	/* Under the lock, so that a loop which is being freed is not woken after its last post. */
	if (was_empty)
		uv_async_send(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

static void alarm_fired(uv_timer_t *alarm);

static void
alarm_set(struct loop *l)
{
	struct heap_node *first = heap_first(&l->timers);
	int64_t now = (int64_t)uv_now(&l->uv);

	if (uv_is_closing((uv_handle_t *)&l->alarm))
		return;
	if (first == NULL)
		uv_timer_stop(&l->alarm);
	else
		uv_timer_start(
		    &l->alarm, alarm_fired, first->key > now ? (uint64_t)(first->key - now) : 0, 0);
}

static void
alarm_fired(uv_timer_t *alarm)
{
	struct loop *l = alarm->data;
	int64_t now = (int64_t)uv_now(&l->uv);
	struct heap_node *first;

	while ((first = heap_first(&l->timers)) != NULL && first->key <= now) {
		struct timer *t = PP_CONTAINER(first, struct timer, node);

		heap_drop(&l->timers, first);
		t->loop = NULL;
		t->fire(t);
	}
	alarm_set(l);
}

void
timer_start(struct loop *l, struct timer *t, int64_t in_ms, void (*fire)(struct timer *))
{
	PP_ON(l);
	PP_ASSERT(t->loop == NULL || t->loop == l);
	t->fire = fire;
	t->loop = l;
	heap_put(&l->timers, &t->node, (int64_t)uv_now(&l->uv) + (in_ms > 0 ? in_ms : 0));
	if (heap_first(&l->timers) == &t->node)
		alarm_set(l);
}

void
timer_stop(struct timer *t)
{
	struct loop *l = t->loop;

	if (l == NULL)
		return;
	PP_ON(l);
	heap_drop(&l->timers, &t->node);
	t->loop = NULL;
	/* The alarm may now fire once for nothing; cheaper than setting it at each stop. */
}

struct loop *
loop_new(const char *name)
{
	struct loop *l = MEM_NEW(struct loop);

	PP_ASSERT(uv_loop_init(&l->uv) == 0);
	PP_ASSERT(uv_async_init(&l->uv, &l->wake, posts_run) == 0);
	PP_ASSERT(uv_timer_init(&l->uv, &l->alarm) == 0);
	l->wake.data = l->alarm.data = l->uv.data = l;
	uv_unref((uv_handle_t *)&l->alarm);
	l->name = name;
	l->last = &l->first;
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

void
loop_run(struct loop *l)
{
	struct loop *before = current;

	current = l;
	uv_run(&l->uv, UV_RUN_DEFAULT);
	current = before;
}

static void *
loop_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

int
loop_thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	rc = pthread_create(ret, &attr, run, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		pthread_setname_np(*ret, name);
	return -rc;
}

int
loop_start(struct loop *l)
{
	int rc = loop_thread_start(&l->thread, l->name, loop_thread, l);

	l->started = rc == 0;
	return rc;
}

struct stop_post {
	struct post post;
	struct loop *loop;
};

static void
stop_run(struct post *p)
{
	struct stop_post *s = PP_CONTAINER(p, struct stop_post, post);
	struct loop *l = s->loop;

	mem_free(s);
	if (l->stopping)
		return;
	l->stopping = true;
	/* Its own handles no longer keep the loop alive; wake still takes posts until the end. */
	uv_unref((uv_handle_t *)&l->wake);
}

void
loop_stop(struct loop *l)
{
	struct stop_post *s = MEM_NEW(struct stop_post);

	s->loop = l;
	post_to(l, &s->post, stop_run);
}

void
loop_join(struct loop *l)
{
	if (l->started)
		pthread_join(l->thread, NULL);
	l->started = false;
}

void
loop_free(struct loop *l)
{
	struct loop *before = current;

	if (l == NULL)
		return;
	/* Posts that came after the loop's end still own their memory: run them here. */
	current = l;
	posts_run(&l->wake);
	uv_close((uv_handle_t *)&l->wake, NULL);
	uv_close((uv_handle_t *)&l->alarm, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	current = before;
	PP_ASSERT(uv_loop_close(&l->uv) == 0);
	heap_fini(&l->timers);
	pthread_mutex_destroy(&l->lock);
	mem_free(l);
}

struct loop *
loop_current(void)
{
	return current;
}

struct uv_loop_s *
loop_uv(struct loop *l)
{
	return &l->uv;
}

int64_t
loop_now(struct loop *l)
{
	PP_ON(l);
	return (int64_t)uv_now(&l->uv);
}

static int64_t
clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t
loop_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t
loop_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}
