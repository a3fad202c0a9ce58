/*
 * watch.c - inotify on a loop.
 *
 * After a read the descriptor is left alone for a moment, whatever comes meanwhile: the kernel
 * gathers, and thousands of events cost a few reads. A directory is known by its inode, so one
 * that was renamed or exchanged is dropped and its owner told to look: what its path names now is
 * another one. Directories may be added while a lane walks them, hence the lock around the table.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/hash.h"
#include "pp/runtime/watch.h"

enum {
	PAUSE_MS = 100,
	BYTES = 128 * 1024, /* read at once; the kernel holds 16384 events by default */
};

/* Only the loop drops one, so it may look at one without the lock. */
struct directory {
	UT_hash_handle hh;
	int wd, tag;
	bool dead;
	char path[];
};

struct watch {
	struct loop *loop;
	struct watch_calls calls;
	void *ctx;
	int fd;
	uv_poll_t poll;
	struct timer timer;
	pthread_mutex_t lock; /* the table, stopped */
	struct directory *table;
	bool stopped;
	bool closed, freed; /* memory goes with the later of the two */
};

static const struct {
	unsigned what;
	uint32_t mask;
} masks[] = {
    {WATCH_MADE, IN_CREATE},
    {WATCH_WRITTEN, IN_CLOSE_WRITE},
    {WATCH_TOUCHED, IN_ATTRIB},
    {WATCH_CAME, IN_MOVED_TO},
    {WATCH_WENT, IN_MOVED_FROM},
    {WATCH_REMOVED, IN_DELETE},
};

static struct directory *
find(struct watch *w, int wd)
{
	struct directory *d;

	HASH_FIND_INT(w->table, &wd, d);
	return d;
}

static void
drop(struct watch *w, struct directory *d)
{
	pthread_mutex_lock(&w->lock);
	HASH_DEL(w->table, d);
	pthread_mutex_unlock(&w->lock);
	mem_free(d);
}

/* Its path names something else now, or nothing. */
static void
bury(struct watch *w, struct directory *d)
{
	pthread_mutex_lock(&w->lock);
	d->dead = true;
	pthread_mutex_unlock(&w->lock);
	w->calls.lost(w->ctx, d->tag, d->path);
	if (!w->stopped)
		inotify_rm_watch(w->fd, d->wd); /* IN_IGNORED ends it */
}

static void
tell_names(struct watch *w, const struct directory *d, const struct inotify_event *in)
{
	struct watch_event e = {
	    .is_dir = (in->mask & IN_ISDIR) != 0, .tag = d->tag, .path = d->path, .name = in->name};

	for (size_t i = 0; i < PP_COUNT(masks); i++) {
		if ((in->mask & masks[i].mask) == 0)
			continue;
		e.what = masks[i].what;
		w->calls.event(w->ctx, &e);
	}
}

static void
tell(struct watch *w, const struct inotify_event *in)
{
	struct directory *d;

	if (in->mask & IN_Q_OVERFLOW) {
		w->calls.lost(w->ctx, 0, NULL);
		return;
	}
	pthread_mutex_lock(&w->lock);
	d = find(w, in->wd);
	pthread_mutex_unlock(&w->lock);
	if (d == NULL)
		return;
	if (in->mask & (IN_IGNORED | IN_UNMOUNT)) {
		if (!d->dead)
			w->calls.lost(w->ctx, d->tag, d->path);
		drop(w, d);
	} else if (d->dead) {
		return;
	} else if (in->mask & (IN_MOVE_SELF | IN_DELETE_SELF)) {
		bury(w, d);
	} else if (in->len > 0) {
		tell_names(w, d, in);
	}
}

static void
tell_all(struct watch *w, const char *bytes, ssize_t n)
{
	for (ssize_t at = 0; at < n && !w->stopped;) {
		const struct inotify_event *in =
		    (const struct inotify_event *)(const void *)(bytes + at);

		at += (ssize_t)(sizeof(*in) + in->len);
		tell(w, in);
	}
}

/* All there is at this moment, in memory just for it. False = there was nothing. */
static bool
take(struct watch *w)
{
	bool any = false;
	int n = BYTES;

	while (!w->stopped && n >= BYTES && ioctl(w->fd, FIONREAD, &n) == 0 && n > 0) {
		size_t room = n < BYTES ? (size_t)n : BYTES;
		char *bytes = mem_alloc(room);
		ssize_t got = read(w->fd, bytes, room);

		any = any || got > 0;
		tell_all(w, bytes, got);
		mem_free(bytes);
	}
	if (any && !w->stopped)
		w->calls.settled(w->ctx);
	return any;
}

static void pause_ended(struct timer *t);

static void
readable(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;

	if (!take(w) || w->stopped)
		return;
	uv_poll_stop(&w->poll);
	timer_start(w->loop, &w->timer, PAUSE_MS, pause_ended);
}

static void
pause_ended(struct timer *t)
{
	struct watch *w = PP_CONTAINER(t, struct watch, timer);
	bool any = take(w);

	if (w->stopped)
		return;
	if (any)
		timer_start(w->loop, &w->timer, PAUSE_MS, pause_ended);
	else
		uv_poll_start(&w->poll, UV_READABLE, readable);
}

void
watch_catch_up(struct watch *w)
{
	if (w == NULL)
		return;
	PP_ON(w->loop);
	take(w);
}

struct watch *
watch_new(struct loop *l, const struct watch_calls *calls, void *ctx, int *ret_rc)
{
	struct watch *w;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	PP_ON(l);
	if (fd < 0) {
		*ret_rc = -errno;
		return NULL;
	}
	w = MEM_NEW(struct watch);
	w->loop = l;
	w->calls = *calls;
	w->ctx = ctx;
	w->fd = fd;
	pthread_mutex_init(&w->lock, NULL);
	PP_ASSERT(uv_poll_init(&l->uv, &w->poll, fd) == 0);
	w->poll.data = w;
	uv_poll_start(&w->poll, UV_READABLE, readable);
	return w;
}

/* The lock is held. */
static int
add(struct watch *w, const char *where, const char *path, uint32_t mask, int tag)
{
	int wd = inotify_add_watch(w->fd, where, mask);
	struct directory *d = wd < 0 ? NULL : find(w, wd);
	size_t n = strlen(path) + 1;

	if (wd < 0)
		return -errno;
	if (d && !d->dead && d->tag == tag && strcmp(d->path, path) == 0)
		return 0;
	if (d) {
		/* The same directory under another path: a new watch with a new number. */
		d->dead = true;
		inotify_rm_watch(w->fd, wd);
		wd = inotify_add_watch(w->fd, where, mask);
		if (wd < 0)
			return -errno;
	}
	d = mem_alloc(sizeof(*d) + n);
	*d = (struct directory){.wd = wd, .tag = tag};
	memcpy(d->path, path, n);
	HASH_ADD_INT(w->table, wd, d);
	return 0;
}

int
watch_add_blk(struct watch *w, int dirfd, const char *path, unsigned what, int tag)
{
	uint32_t mask = IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK;
	char where[PATH_MAX];
	int rc, n;

	for (size_t i = 0; i < PP_COUNT(masks); i++)
		if (what & masks[i].what)
			mask |= masks[i].mask;
	n = dirfd == AT_FDCWD ? snprintf(where, sizeof(where), "%s", path)
			      : snprintf(where, sizeof(where), "/proc/self/fd/%d/%s", dirfd, path);
	if ((size_t)n >= sizeof(where))
		return -ENAMETOOLONG;
	pthread_mutex_lock(&w->lock);
	rc = w->stopped ? -ECANCELED : add(w, where, path, mask, tag);
	pthread_mutex_unlock(&w->lock);
	return rc;
}

static void
memory_end(struct watch *w)
{
	struct directory *d, *next;

	if (!w->closed || !w->freed)
		return;
	HASH_ITER (hh, w->table, d, next) {
		HASH_DEL(w->table, d);
		mem_free(d);
	}
	pthread_mutex_destroy(&w->lock);
	mem_free(w);
}

static void
poll_closed(uv_handle_t *h)
{
	struct watch *w = h->data;

	close(w->fd);
	w->closed = true;
	memory_end(w);
}

void
watch_stop(struct watch *w)
{
	if (w == NULL)
		return;
	PP_ON(w->loop);
	if (w->stopped)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopped = true;
	pthread_mutex_unlock(&w->lock);
	timer_stop(&w->timer);
	uv_close((uv_handle_t *)&w->poll, poll_closed);
}

void
watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	PP_ASSERT(w->stopped);
	w->freed = true;
	memory_end(w);
}
