/*
 * stream_connect.c - a connection attempt with a time limit, which becomes a stream.
 *
 * The stream is made before the connection, because libuv connects on the handle that will read and
 * write: no second registration. What fails at once (no descriptors, a bad source address) is told
 * by a timer of 0 ms, as everything else is told by an event.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include "address.h"
#include "pp/base/mem.h"
#include "stream_internal.h"

struct stream_connect {
	struct loop *loop;
	struct stream *stream; /* NULL when nothing can come of it */
	uv_connect_t req;
	struct timer timer;
	bool waiting; /* libuv still owes an answer to req: then the answer frees this */
	int err, bind_error;
	void (*done)(void *ctx, int err, struct stream *s);
	void *ctx;
};

static void
release(struct stream_connect *c)
{
	timer_stop(&c->timer);
	if (c->stream)
		stream_abort(c->stream);
	c->stream = NULL;
	c->done = NULL;
	if (!c->waiting)
		mem_free(c);
}

static void
finish(struct stream_connect *c, int err)
{
	void (*done)(void *, int, struct stream *) = c->done;
	void *ctx = c->ctx;
	struct stream *s = c->stream;

	if (err == 0)
		c->stream = NULL;
	release(c);
	done(ctx, err, err == 0 ? s : NULL);
}

static void
connected(uv_connect_t *req, int status)
{
	struct stream_connect *c = PP_CONTAINER(req, struct stream_connect, req);

	c->waiting = false;
	if (c->done == NULL)
		mem_free(c); /* cancelled or timed out before */
	else
		finish(c, status);
}

static void
fired(struct timer *t)
{
	struct stream_connect *c = PP_CONTAINER(t, struct stream_connect, timer);

	finish(c, c->err);
}

static int
open_socket(struct stream_connect *c, const struct sockaddr *to, const struct sockaddr *local)
{
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, rc;

	if (fd < 0)
		return -errno;
	/* Replies and commands are gathered by stream_flush; Nagle would only add its delay. */
	if (to->sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (local && bind(fd, local, net_address_size(local)) < 0) {
		rc = c->bind_error = -errno;
		close(fd);
		return rc;
	}
	/* A UNIX socket connects at once or not at all. */
	if (to->sa_family == AF_UNIX && connect(fd, to, net_address_size(to)) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = uv_tcp_open(&c->stream->tcp, fd);
	if (rc < 0)
		close(fd);
	return rc;
}

struct stream_connect *
stream_connect(struct loop *l, const struct sockaddr *to, const struct sockaddr *local,
    int64_t timeout_ms, void (*done)(void *ctx, int err, struct stream *s), void *ctx)
{
	struct stream_connect *c = MEM_NEW(struct stream_connect);

	PP_ON(l);
	c->loop = l;
	c->done = done;
	c->ctx = ctx;
	c->stream = stream_make(l);
	net_address_describe(to, &c->stream->peer);
	c->err = open_socket(c, to, local);
	if (c->err == 0 && to->sa_family != AF_UNIX) {
		c->err = uv_tcp_connect(&c->req, &c->stream->tcp, to, connected);
		c->waiting = c->err == 0;
	}
	if (c->waiting)
		c->err = -ETIMEDOUT; /* what it is when the timer fires */
	timer_start(l, &c->timer, c->waiting ? timeout_ms : 0, fired);
	return c;
}

int
stream_connect_bind_error(const struct stream_connect *c)
{
	return c->bind_error;
}

void
stream_connect_cancel(struct stream_connect *c)
{
	if (c == NULL)
		return;
	PP_ON(c->loop);
	release(c);
}
