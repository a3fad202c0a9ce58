/*
 * stream.h - a byte stream over TCP or a UNIX socket, with or without TLS, with one deadline.
 * THREAD the loop it was made on.
 * OWNS   the stream owns its descriptor and buffers; stream_close ends it and frees it later.
 *        Buffers are given back while they are empty, so an idle stream costs little.
 * ERRORS closed(ctx, err) comes at most once, never inside another stream call: 0 = the peer
 *        closed, -ETIMEDOUT = the deadline, -EPROTO = TLS (stream_tls_error says what), -errno.
 *        Any callback may call stream_close or stream_abort. SIGPIPE must be ignored or blocked.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/net/tls.h"
#include "pp/runtime/loop.h"

/* Reading stops above STREAM_IN_HIGH. STREAM_OUT_HIGH makes a stream full, below _LOW it is
 * drained; output beyond _MAX is a bug of the writer and ends the stream with -ENOBUFS. */
enum {
	STREAM_IN_HIGH = 64 * 1024,
	STREAM_OUT_HIGH = 256 * 1024,
	STREAM_OUT_LOW = 64 * 1024,
	STREAM_OUT_MAX = 1024 * 1024,
	STREAM_LINGER_MS = 5000,
};

struct stream;
struct sockaddr;

struct stream_ops {
	void (*readable)(void *ctx);        /* bytes were added to stream_in() */
	void (*drained)(void *ctx);         /* output fell below the low mark after being full */
	void (*closed)(void *ctx, int err); /* no call comes after it; stream_close is still due */
};

/* An accepted, connected descriptor. Nothing is read before the first stream_resume. TCP_NODELAY
 * is what the descriptor has: listener and stream_connect set it. */
struct stream *stream_new(struct loop *l, int fd, const struct stream_ops *ops, void *ctx);
void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx);

/* A connection attempt. done(ctx, 0 or -errno, stream) comes once, never inside the call; the ops
 * are set by the caller then (stream_set_ops), before that the stream is paused. local = source
 * address or NULL; one that cannot be had is known at once (stream_connect_bind_error). `to` may be
 * a sockaddr_un. stream_connect_cancel: no callback comes. */
struct stream_connect;
struct stream_connect *
stream_connect(struct loop *l, const struct sockaddr *to, const struct sockaddr *local,
    int64_t timeout_ms, void (*done)(void *ctx, int err, struct stream *s), void *ctx);
int stream_connect_bind_error(const struct stream_connect *c);
void stream_connect_cancel(struct stream_connect *c);

/* Input not yet consumed, valid until the next consume outside readable or return to the loop.
 * Reading stops by itself while more than the high mark waits. */
struct str stream_in(const struct stream *s);
void stream_consume(struct stream *s, size_t n);
/* While paused readable is not called, nor closed for what the reading side finds (end of file,
 * reset): it comes after the resume, behind readable for what was read before it. At most one read
 * is taken in meanwhile: a pause and resume between two reads cost no system call. If input is
 * waiting at a resume of a paused stream, readable is called again (asynchronously). */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* Copies into the output buffer; nothing is sent before stream_flush, so replies and commands
 * that belong together leave in one write. */
void stream_write(struct stream *s, struct str bytes);
struct buf *stream_out(struct stream *s); /* append here directly, then flush */
void stream_flush(struct stream *s);
/* More than the high mark waits: flush, then stop writing until drained. */
bool stream_full(const struct stream *s);

/* Deadline in milliseconds from now, covering everything until changed; < 0 = none. It is not
 * extended by traffic, so that a dripping peer cannot hold a session. */
void stream_deadline(struct stream *s, int64_t in_ms);

/* TLS. done(ctx, 0 or -errno) once, never inside the call; the deadline applies. After an error
 * nothing else comes, not closed either: stream_close is due. Input that came in clear before it
 * is discarded, both sides (CVE-2011-0411 and its mirror). Output written before it must be
 * flushed and leaves in clear. The stream reads by itself during the handshake; afterwards it is
 * paused or not as before. client: NULL on a server, or as the context is; copied. */
void stream_start_tls(struct stream *s, struct tls_context *tls, const struct tls_client *client,
    void (*done)(void *ctx, int err), void *ctx);
/* NULL without TLS. Valid as long as the stream. */
const struct tls_info *stream_tls(const struct stream *s);
/* The reason of the last TLS trouble, for a log line. Never NULL. */
const char *stream_tls_error(const struct stream *s);
/* Is it that the two sides have no version of TLS in common? */
bool stream_tls_error_is_version(const struct stream *s);
/* A reference to the session for a later resume (client), or NULL. With TLS 1.3 it comes with the
 * first data after the handshake: ask late. */
struct tls_session *stream_tls_session(const struct stream *s);

/* "127.0.0.1", "::1"; port in host order; family AF_INET, AF_INET6, AF_UNIX. An IPv4 peer on an
 * IPv6 socket is shown as IPv4. Of the connected peer, and of our end. */
struct stream_peer {
	char address[64];
	unsigned port;
	int family;
};
const struct stream_peer *stream_peer(const struct stream *s);
const struct stream_peer *stream_local(const struct stream *s);

/* Sends what is flushed (for at most 5 s), ends TLS properly, then closes; no callback comes any
 * more. Input nobody consumed is read away first, so that the last reply is not lost in a reset.
 * NULL is taken. */
void stream_close(struct stream *s);
/* Closes at once. NULL is taken. */
void stream_abort(struct stream *s);
