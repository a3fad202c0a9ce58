/*
 * signal.c - libuv's signal handles, so that nothing ever runs in a signal handler of ours.
 */
#include <signal.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/signal.h"

struct signal_watch {
	uv_signal_t uv;
	void (*came)(void *ctx, int signum);
	void *ctx;
};

static void
fired(uv_signal_t *uv, int signum)
{
	struct signal_watch *w = uv->data;

	w->came(w->ctx, signum);
}

struct signal_watch *
signal_watch(struct loop *l, int signum, void (*came)(void *ctx, int signum), void *ctx)
{
	struct signal_watch *w = MEM_NEW(struct signal_watch);

	w->came = came;
	w->ctx = ctx;
	w->uv.data = w;
	PP_ASSERT(uv_signal_init(&l->uv, &w->uv) == 0);
	PP_ASSERT(uv_signal_start(&w->uv, fired, signum) == 0);
	return w;
}

static void
closed(uv_handle_t *h)
{
	mem_free(h->data);
}

void
signal_unwatch(struct signal_watch *w)
{
	if (w)
		uv_close((uv_handle_t *)&w->uv, closed);
}

void
signal_ignore(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
}
