/*
 * internal.h - what the files of runtime/ share and nobody else sees.
 */
#pragma once
#include <pthread.h>
#include <uv.h>
#include "pp/base/heap.h"
#include "pp/runtime/loop.h"
#include "pp/runtime/post.h"

struct loop {
	uv_loop_t uv;
	uv_async_t wake;  /* posts */
	uv_timer_t alarm; /* fires for the first timer of the heap */
	struct heap timers;
	const char *name;
	uv_thread_t thread;
	bool started; /* loop_start made a thread */
	bool stopping;
	pthread_mutex_t lock; /* guards the post queue only */
	struct post *first, **last;
	struct post *after; /* its own thread's: post_after */
};

/* A thread with a small stack and all signals blocked: they belong to the main loop's signalfd. */
int loop_thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg);
