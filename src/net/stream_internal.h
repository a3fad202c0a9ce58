/*
 * stream_internal.h - what stream.c, stream_connect.c and stream_tls.c share.
 * THREAD the loop of the stream.
 * OWNS   see stream.h.
 */
#pragma once
#include <uv.h>
#include "pp/net/stream.h"

/* Bytes the kernel did not take at once; they must not move before uv_write is done. */
struct stream_flight {
	uv_write_t req;
	struct stream *stream;
	struct buf bytes;
};

struct stream_tls;

struct stream {
	struct loop *loop;
	uv_tcp_t tcp; /* also for UNIX sockets: libuv asks only for a stream socket */
	const struct stream_ops *ops;
	void *ctx;
	struct buf in;  /* not consumed, in clear */
	struct buf out; /* not yet sent, in clear */
	size_t flushed; /* so much of `out` may leave */
	size_t chunk;   /* size of the next read */
	struct stream_flight *flight;
	struct stream_tls *tls;
	struct timer deadline;
	struct timer kick; /* calls back what cannot be called inside a stream call */
	struct stream_peer peer, *local;
	int end;    /* of the reading side: END_NONE, 0 = end of file, -errno */
	int broken; /* of the writing side: 0 or -errno */
	bool paused;
	bool reading; /* libuv reads */
	bool fresh;   /* readable is due */
	bool calling; /* inside readable */
	bool want_drained;
	bool ended;     /* closed, or done with an error, was called */
	bool closing;   /* stream_close was called: nothing is called any more */
	bool destroyed; /* uv_close was called */
};

enum { STREAM_END_NONE = 1 };

/* A stream without a descriptor. */
struct stream *stream_make(struct loop *l);
/* Calls back what is due; from events of the loop only. The stream may be closing afterwards. */
void stream_deliver(struct stream *s);
void stream_kick(struct stream *s);
/* Sends what may leave. */
void stream_transmit(struct stream *s);
void stream_break(struct stream *s, int err);
void stream_settle(struct stream *s);

/* stream_tls.c. Where libuv shall read to. */
struct buf *stream_tls_target(struct stream *s);
bool stream_tls_handshaking(const struct stream *s);
/* Takes the handshake a step further and decrypts; done may be called. */
void stream_tls_step(struct stream *s);
void stream_tls_fail(struct stream *s, int err, const char *why);
/* Ciphertext to send now, made from `out` as far as `flushed` allows. */
struct buf *stream_tls_encrypt(struct stream *s);
void stream_tls_shutdown(struct stream *s);
void stream_tls_settle(struct stream *s);
bool stream_tls_waiting(const struct stream *s);
size_t stream_tls_pending(const struct stream *s);
void stream_tls_free(struct stream *s);
