/*
 * stream.h - a byte stream over TCP or a UNIX socket, with or without TLS, with one deadline.
 * THREAD the loop it was made on.
 * OWNS   the stream owns its descriptor and buffers; stream_close ends it and frees it later.
 *        Buffers are given back while they are empty, so an idle stream costs little.
 * ERRORS closed(ctx, err) comes at most once, never inside another stream call: 0 = the peer
 *        closed, -ETIMEDOUT = the deadline, -EPROTO = TLS (stream_tls_error says what), -errno.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/net/tls.h"
#include "pp/runtime/loop.h"

struct stream;
struct sockaddr;

struct stream_ops {
	void (*readable)(void *ctx);        /* bytes were added to stream_in() */
	void (*drained)(void *ctx);         /* output fell below the low mark after being full */
	void (*closed)(void *ctx, int err); /* no call comes after it; stream_close is still due */
};

/* An accepted, connected descriptor. */
struct stream *stream_new(struct loop *l, int fd, const struct stream_ops *ops, void *ctx);
void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx);

/* A connection attempt. done(ctx, 0 or -errno, stream) comes once; the ops are set by the caller
 * then. local = source address or NULL. stream_connect_cancel: no callback comes. */
struct stream_connect;
struct stream_connect *stream_connect(struct loop *l, const struct sockaddr *to,
    const struct sockaddr *local, int64_t timeout_ms,
    void (*done)(void *ctx, int err, struct stream *s), void *ctx);
void stream_connect_cancel(struct stream_connect *c);

/* Input not yet consumed. Reading stops by itself while more than the high mark waits. */
struct str stream_in(const struct stream *s);
void stream_consume(struct stream *s, size_t n);
/* While paused nothing is read and readable is not called. Starts reading: stream_resume. If input
 * is waiting at a resume, readable is called again (asynchronously). */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* Copies into the output buffer; nothing is sent before stream_flush, so replies and commands
 * that belong together leave in one write. */
void stream_write(struct stream *s, struct str bytes);
struct buf *stream_out(struct stream *s); /* append here directly, then flush */
void stream_flush(struct stream *s);
/* Bytes not yet taken by the kernel are above the high mark: stop writing until drained. */
bool stream_full(const struct stream *s);

/* Deadline in milliseconds from now, covering everything until changed; < 0 = none. It is not
 * extended by traffic, so that a dripping peer cannot hold a session. */
void stream_deadline(struct stream *s, int64_t in_ms);

/* TLS. done(ctx, 0 or -errno) once; the deadline applies. Input that came in clear before it is
 * discarded, both sides (CVE-2011-0411 and its mirror). name = SNI and nothing else (client). */
void stream_start_tls(struct stream *s, struct tls_context *tls, const char *name,
    struct tls_session *resume, void (*done)(void *ctx, int err), void *ctx);
/* NULL without TLS. */
const struct tls_info *stream_tls(const struct stream *s);
/* The reason of the last TLS trouble, for a log line. */
const char *stream_tls_error(const struct stream *s);
/* A reference to the session for a later resume (client), or NULL. */
struct tls_session *stream_tls_session(const struct stream *s);

/* "127.0.0.1", "::1"; port in host order; family AF_INET, AF_INET6, AF_UNIX. Of the connected peer. */
struct stream_peer {
	char address[64];
	unsigned port;
	int family;
};
const struct stream_peer *stream_peer(const struct stream *s);
const struct stream_peer *stream_local(const struct stream *s);

/* Sends what is flushed (for at most 5 s), then closes; no callback comes any more. NULL is taken. */
void stream_close(struct stream *s);
/* Closes at once. */
void stream_abort(struct stream *s);
