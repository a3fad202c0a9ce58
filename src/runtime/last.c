/*
 * last.c - a thread that waits for nothing but the time.
 *
 * A thread that hangs in the kernel, for a disk that does not answer, can neither be joined nor
 * called off. Who would say so may hang as well, if the log lies on that disk: so it is said by
 * another thread, and nobody waits for that.
 */
#include <time.h>
#include <unistd.h>
#include "internal.h"
#include "pp/runtime/last.h"

enum { SAY_MS = 300 };

static struct {
	pthread_mutex_t lock;
	bool is_started;
	int64_t until; /* ms, monotonic */
	int code;
	void (*too_late)(void);
} last = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
nap(int64_t ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

static void *
say(void *arg)
{
	last.too_late();
	return NULL;
}

static void *
wait_for_it(void *arg)
{
	pthread_t speaker;
	int64_t left;

	for (;;) {
		pthread_mutex_lock(&last.lock);
		left = last.until - loop_monotonic_us() / 1000;
		pthread_mutex_unlock(&last.lock);
		if (left <= 0)
			break;
		nap(left);
	}
	if (loop_thread_start(&speaker, "last words", say, NULL) == 0) {
		pthread_detach(speaker);
		nap(SAY_MS);
	}
	_exit(last.code);
}

void
last_resort(int64_t ms, int code, void (*too_late)(void))
{
	int64_t until = loop_monotonic_us() / 1000 + ms;
	pthread_t thread;

	pthread_mutex_lock(&last.lock);
	if (last.until < until)
		last.until = until;
	last.code = code;
	last.too_late = too_late;
	if (!last.is_started && loop_thread_start(&thread, "last", wait_for_it, NULL) == 0) {
		last.is_started = true;
		pthread_detach(thread);
	}
	pthread_mutex_unlock(&last.lock);
}
