/*
 * stream.c - a byte stream on libuv: buffers, marks, one deadline, an end that comes once.
 *
 * A flush writes at once and asks libuv to wait only for what the kernel did not take; a pause does
 * not unregister the descriptor before something really arrives. So a command and its reply cost
 * one read and one write and nothing else. Callbacks run from events only (stream_deliver); what
 * falls due inside a stream call is put off by a timer of 0 ms, which costs no system call.
 */
#include <errno.h>
#include <unistd.h>
#include "address.h"
#include "pp/base/mem.h"
#include "stream_internal.h"

enum {
	CHUNK_MIN = 4 * 1024 - 1, /* with the NUL of struct buf a round size */
	CHUNK_MAX = STREAM_IN_HIGH - 1,
	IDLE_KEEP = 512, /* an empty output buffer of this size is not given back */
};

static size_t
waiting(const struct buf *b)
{
	return b->n - b->head;
}

static size_t
pending(const struct stream *s)
{
	return waiting(&s->out) + uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp) +
	       stream_tls_pending(s);
}

static void
freed(uv_handle_t *h)
{
	struct stream *s = h->data;

	PP_ASSERT(s->flight == NULL);
	stream_tls_free(s);
	buf_fini(&s->in);
	buf_fini(&s->out);
	mem_free(s->local);
	mem_free(s);
}

static void
destroy(struct stream *s)
{
	if (s->destroyed)
		return;
	s->destroyed = true;
	timer_stop(&s->deadline);
	timer_stop(&s->kick);
	uv_close((uv_handle_t *)&s->tcp, freed);
}

static void
read_stop(struct stream *s)
{
	if (s->reading)
		uv_read_stop((uv_stream_t *)&s->tcp);
	s->reading = false;
}

static void
on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *to)
{
	struct stream *s = h->data;
	struct buf *b = stream_tls_target(s);

	if (s->closing)
		buf_clear(b); /* reading away what nobody wants */
	to->base = buf_reserve(b, s->chunk);
	to->len = to->base ? s->chunk : 0;
}

static void
on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *to)
{
	struct stream *s = tcp->data;

	if (n == 0)
		return;
	if (n < 0) {
		read_stop(s);
		s->end = n == UV_EOF ? 0 : (int)n;
		if (s->closing)
			destroy(s);
		else
			stream_deliver(s);
		return;
	}
	if (s->closing)
		return;
	if ((size_t)n == s->chunk && s->chunk < CHUNK_MAX)
		s->chunk = s->chunk * 4 < CHUNK_MAX ? s->chunk * 4 : CHUNK_MAX;
	else if ((size_t)n < s->chunk / 8)
		s->chunk = CHUNK_MIN;
	buf_commit(stream_tls_target(s), (size_t)n);
	if (s->tls == NULL)
		s->fresh = true;
	if (s->paused && !stream_tls_handshaking(s))
		read_stop(s);
	stream_deliver(s);
}

/* Reading goes on, or stops, as the state asks; empty buffers are given back. A pause alone does
 * not stop it: on_read does, once something came. */
void
stream_settle(struct stream *s)
{
	bool handshaking = stream_tls_handshaking(s);

	if (s->closing)
		return;
	if (s->end != STREAM_END_NONE || s->ended ||
	    (!handshaking && waiting(&s->in) >= STREAM_IN_HIGH))
		read_stop(s);
	else if (!s->reading && (handshaking || !s->paused))
		s->reading = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) == 0;
	if (waiting(&s->in) == 0)
		buf_shrink(&s->in);
	if (waiting(&s->out) == 0 && s->out.cap > IDLE_KEEP)
		buf_shrink(&s->out);
	stream_tls_settle(s);
}

/* Whether closed is due, and with what. A reply that the peer sent before it broke the connection
 * is read first: only then the write error counts. */
static bool
verdict(const struct stream *s, int *ret)
{
	if (s->ended)
		return false;
	if (s->broken && (s->paused || s->end != STREAM_END_NONE)) {
		*ret = s->broken == -EPIPE && s->end == 0 ? 0 : s->broken; /* it just left */
		return true;
	}
	if (s->end == STREAM_END_NONE || s->paused || stream_tls_waiting(s))
		return false;
	*ret = s->end;
	return true;
}

void
stream_deliver(struct stream *s)
{
	int err;

	if (s->closing || s->ended)
		return;
	if (s->tls)
		stream_tls_step(s);
	if (s->closing || s->ended)
		return;
	if (stream_tls_handshaking(s)) {
		stream_settle(s);
		return;
	}
	if (s->fresh && !s->paused && waiting(&s->in) > 0) {
		s->fresh = false;
		s->calling = true;
		s->ops->readable(s->ctx);
		s->calling = false;
	}
	if (!s->closing && s->want_drained && pending(s) <= STREAM_OUT_LOW && !s->broken) {
		s->want_drained = false;
		s->ops->drained(s->ctx);
	}
	if (!s->closing && verdict(s, &err)) {
		s->ended = true;
		timer_stop(&s->deadline);
		read_stop(s);
		s->ops->closed(s->ctx, err);
	}
	/* What was decrypted only as far as the high mark may go on. */
	if (stream_tls_waiting(s) && !s->paused && waiting(&s->in) < STREAM_IN_HIGH)
		stream_kick(s);
	stream_settle(s);
}

static void
kicked(struct timer *t)
{
	stream_deliver(PP_CONTAINER(t, struct stream, kick));
}

void
stream_kick(struct stream *s)
{
	if (!s->closing && !s->ended && s->kick.loop == NULL)
		timer_start(s->loop, &s->kick, 0, kicked);
}

struct stream *
stream_make(struct loop *l)
{
	struct stream *s = MEM_NEW(struct stream);

	PP_ON(l);
	s->loop = l;
	s->tcp.data = s;
	s->end = STREAM_END_NONE;
	s->paused = true;
	s->chunk = CHUNK_MIN;
	buf_init(&s->in, (size_t)2 * STREAM_IN_HIGH);
	buf_init(&s->out, STREAM_OUT_MAX);
	PP_ASSERT(uv_tcp_init(loop_uv(l), &s->tcp) == 0);
	return s;
}

struct stream *
stream_new(struct loop *l, int fd, const struct stream_ops *ops, void *ctx)
{
	struct stream *s = stream_make(l);
	struct sockaddr_storage sa = {0};
	socklen_t n = sizeof(sa);
	int rc;

	s->ops = ops;
	s->ctx = ctx;
	if (getpeername(fd, (struct sockaddr *)&sa, &n) == 0)
		net_address_describe((struct sockaddr *)&sa, &s->peer);
	rc = uv_tcp_open(&s->tcp, fd);
	if (rc < 0) {
		close(fd);
		s->end = rc;
	}
	return s;
}

void
stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx)
{
	PP_ON(s->loop);
	s->ops = ops;
	s->ctx = ctx;
}

struct str
stream_in(const struct stream *s)
{
	PP_ON(s->loop);
	return buf_str(&s->in);
}

void
stream_consume(struct stream *s, size_t n)
{
	PP_ON(s->loop);
	buf_consume(&s->in, n);
	if (s->calling)
		return; /* stream_deliver settles what follows from it */
	if (stream_tls_waiting(s))
		stream_kick(s);
	stream_settle(s);
}

void
stream_pause(struct stream *s)
{
	PP_ON(s->loop);
	s->paused = true;
}

void
stream_resume(struct stream *s)
{
	PP_ON(s->loop);
	if (!s->paused || s->closing)
		return;
	s->paused = false;
	s->fresh = waiting(&s->in) > 0;
	if (s->fresh || s->end != STREAM_END_NONE || stream_tls_waiting(s))
		stream_kick(s);
	stream_settle(s);
}

void
stream_write(struct stream *s, struct str bytes)
{
	PP_ON(s->loop);
	buf_add(&s->out, bytes);
}

struct buf *
stream_out(struct stream *s)
{
	PP_ON(s->loop);
	return &s->out;
}

void
stream_break(struct stream *s, int err)
{
	if (s->broken == 0)
		s->broken = err;
	buf_shrink(&s->out);
	s->flushed = 0;
	s->want_drained = false;
}

static void expired(struct timer *t);

/* Everything is sent. Closing a socket with unread input sends a reset, which may overtake our
 * last reply (RFC 1122 4.2.2.13): then the input is read away, until the deadline. */
static void
finish_close(struct stream *s)
{
	bool unread = waiting(&s->in) > 0 || !s->reading || stream_tls_waiting(s);
	uv_os_fd_t fd;

	if (s->broken || s->end != STREAM_END_NONE || !unread ||
	    uv_fileno((uv_handle_t *)&s->tcp, &fd) < 0 || shutdown(fd, SHUT_WR) < 0) {
		destroy(s);
		return;
	}
	if (!s->reading)
		s->reading = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) == 0;
	if (!s->reading)
		destroy(s);
	else if (s->deadline.loop == NULL)
		timer_start(s->loop, &s->deadline, STREAM_LINGER_MS, expired);
}

static void
on_written(uv_write_t *req, int status)
{
	struct stream_flight *f = PP_CONTAINER(req, struct stream_flight, req);
	struct stream *s = f->stream;

	s->flight = NULL;
	buf_fini(&f->bytes);
	mem_free(f);
	if (s->destroyed)
		return;
	if (status < 0)
		stream_break(s, status);
	else
		stream_transmit(s);
	if (!s->closing) {
		stream_deliver(s);
	} else if (s->flight == NULL) {
		finish_close(s);
	}
}

/* Leaves n bytes of b to libuv. */
static void
fly(struct stream *s, struct buf *b, size_t n)
{
	struct stream_flight *f = MEM_NEW(struct stream_flight);
	uv_buf_t bytes;
	int rc;

	f->stream = s;
	if (waiting(b) == n) {
		f->bytes = *b;
		*b = (struct buf){.max = b->max};
	} else {
		buf_init(&f->bytes, n);
		buf_add(&f->bytes, str_head(buf_str(b), n));
		buf_consume(b, n);
	}
	bytes = uv_buf_init((char *)(uintptr_t)buf_str(&f->bytes).p, (unsigned)n);
	rc = uv_write(&f->req, (uv_stream_t *)&s->tcp, &bytes, 1, on_written);
	if (rc == 0) {
		s->flight = f;
		return;
	}
	buf_fini(&f->bytes);
	mem_free(f);
	stream_break(s, rc);
	stream_kick(s);
}

void
stream_transmit(struct stream *s)
{
	while (s->flight == NULL && s->broken == 0 && !s->destroyed) {
		struct buf *b = s->tls ? stream_tls_encrypt(s) : &s->out;
		size_t n = s->tls ? waiting(b) : s->flushed;
		uv_buf_t bytes = uv_buf_init((char *)(uintptr_t)buf_str(b).p, (unsigned)n);
		int rc;

		if (n == 0 || s->broken)
			break;
		rc = uv_try_write((uv_stream_t *)&s->tcp, &bytes, 1);
		if (rc == UV_EAGAIN)
			rc = 0;
		if (rc < 0) {
			stream_break(s, rc);
			stream_kick(s);
			return;
		}
		buf_consume(b, (size_t)rc);
		if (s->tls == NULL)
			s->flushed = 0;
		if ((size_t)rc < n)
			fly(s, b, n - (size_t)rc);
	}
	if (waiting(&s->out) == 0 && s->out.cap > IDLE_KEEP)
		buf_shrink(&s->out);
}

void
stream_flush(struct stream *s)
{
	bool was_full = waiting(&s->out) > STREAM_OUT_HIGH;

	PP_ON(s->loop);
	if (s->closing)
		return;
	if (buf_overflowed(&s->out) && !s->broken) {
		stream_break(s, -ENOBUFS);
		s->end = -ENOBUFS;
		stream_kick(s);
	}
	if (s->broken) {
		buf_shrink(&s->out);
		return;
	}
	s->flushed = waiting(&s->out);
	stream_transmit(s);
	s->want_drained = s->want_drained || was_full || pending(s) > STREAM_OUT_HIGH;
	if (s->want_drained && pending(s) <= STREAM_OUT_LOW)
		stream_kick(s);
}

bool
stream_full(const struct stream *s)
{
	PP_ON(s->loop);
	return s->want_drained || pending(s) > STREAM_OUT_HIGH;
}

static void
expired(struct timer *t)
{
	struct stream *s = PP_CONTAINER(t, struct stream, deadline);

	if (s->closing) {
		destroy(s);
		return;
	}
	if (s->ended)
		return;
	if (stream_tls_handshaking(s)) {
		stream_tls_fail(s, -ETIMEDOUT, "timeout during the TLS handshake");
		return;
	}
	s->ended = true;
	read_stop(s);
	s->ops->closed(s->ctx, -ETIMEDOUT);
}

void
stream_deadline(struct stream *s, int64_t in_ms)
{
	PP_ON(s->loop);
	if (s->closing || s->ended)
		return;
	if (in_ms < 0)
		timer_stop(&s->deadline);
	else
		timer_start(s->loop, &s->deadline, in_ms, expired);
}

const struct stream_peer *
stream_peer(const struct stream *s)
{
	return &s->peer;
}

const struct stream_peer *
stream_local(const struct stream *s)
{
	struct sockaddr_storage sa = {0};
	socklen_t n = sizeof(sa);
	uv_os_fd_t fd;

	PP_ON(s->loop);
	if (s->local == NULL) {
		/* Most sessions never ask, so the system call waits until one does. */
		struct stream *mutable = (struct stream *)(uintptr_t)s;

		mutable->local = MEM_NEW(struct stream_peer);
		if (uv_fileno((const uv_handle_t *)&s->tcp, &fd) == 0 &&
		    getsockname(fd, (struct sockaddr *)&sa, &n) == 0)
			net_address_describe((struct sockaddr *)&sa, mutable->local);
	}
	return s->local;
}

void
stream_close(struct stream *s)
{
	if (s == NULL)
		return;
	PP_ON(s->loop);
	PP_ASSERT(!s->closing);
	s->closing = true;
	timer_stop(&s->kick);
	timer_stop(&s->deadline);
	if (!s->broken) {
		buf_truncate(&s->out, s->flushed);
		if (s->tls)
			stream_tls_shutdown(s);
		stream_transmit(s);
	}
	if (s->flight == NULL || s->broken)
		finish_close(s);
	else
		timer_start(s->loop, &s->deadline, STREAM_LINGER_MS, expired);
}

void
stream_abort(struct stream *s)
{
	if (s == NULL)
		return;
	PP_ON(s->loop);
	PP_ASSERT(!s->closing);
	s->closing = true;
	destroy(s);
}
