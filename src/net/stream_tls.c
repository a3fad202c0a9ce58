/*
 * stream_tls.c - TLS between a stream's buffers and its socket.
 *
 * OpenSSL never sees the socket: a BIO of our own takes ciphertext from `cin`, where libuv reads
 * to, and appends what is to be sent to `wire`. So the stream keeps its rules for pauses, marks and
 * gathered writes, and nothing is buffered twice. Buffers exist only while bytes are in them.
 */
#include <errno.h>
#include <stdio.h>
#include "pp/base/mem.h"
#include "stream_internal.h"
#include "tls_internal.h"

enum {
	PLAIN_CHUNK = 4 * 1024 - 1,
	ENCRYPT_STEP = 64 * 1024,
	/* Clear output of before the handshake and the handshake itself come on top of a step. */
	WIRE_MAX = STREAM_OUT_MAX + 2 * ENCRYPT_STEP,
};

enum phase { HANDSHAKE, UP, DOWN };

struct stream_tls {
	SSL *ssl;
	struct tls_context *context;
	struct buf cin, wire;
	enum phase phase;
	struct tls_info info;
	struct tls_session *session;
	void (*done)(void *ctx, int err);
	void *ctx;
	int failed; /* found inside a call of the user: told by the next event */
	char error[160];
	bool is_version; /* of the two sides, that error is */
};

static size_t
waiting(const struct buf *b)
{
	return b->n - b->head;
}

static int
bio_read(BIO *bio, char *to, int n)
{
	struct stream_tls *t = BIO_get_data(bio);
	size_t have = waiting(&t->cin), want = n > 0 ? (size_t)n : 0;

	BIO_clear_retry_flags(bio);
	if (have == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (want > have)
		want = have;
	memcpy(to, buf_str(&t->cin).p, want);
	buf_consume(&t->cin, want);
	return (int)want;
}

static int
bio_write(BIO *bio, const char *p, int n)
{
	struct stream_tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (n <= 0 || buf_add(&t->wire, (struct str){p, (size_t)n}) < 0)
		return -1;
	return n;
}

static long
bio_ctrl(BIO *bio, int cmd, long arg, void *p)
{
	return cmd == BIO_CTRL_FLUSH;
}

BIO_METHOD *
stream_tls_bio(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

	PP_ASSERT(m != NULL && BIO_meth_set_read(m, bio_read) == 1 &&
		  BIO_meth_set_write(m, bio_write) == 1 && BIO_meth_set_ctrl(m, bio_ctrl) == 1);
	return m;
}

static void
session_freed(struct snap *snap)
{
	struct tls_session *s = PP_CONTAINER(snap, struct tls_session, snap);

	SSL_SESSION_free(s->session);
	mem_free(s);
}

int
stream_tls_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct stream_tls *t = SSL_get_app_data(ssl);
	struct tls_session *s = MEM_NEW(struct tls_session);

	snap_init(&s->snap, session_freed);
	s->session = session;
	tls_session_unref(t->session);
	t->session = s;
	return 1; /* the reference is ours now */
}

struct buf *
stream_tls_target(struct stream *s)
{
	return s->tls ? &s->tls->cin : &s->in;
}

bool
stream_tls_handshaking(const struct stream *s)
{
	return s->tls && s->tls->phase == HANDSHAKE;
}

size_t
stream_tls_pending(const struct stream *s)
{
	return s->tls ? waiting(&s->tls->wire) : 0;
}

bool
stream_tls_waiting(const struct stream *s)
{
	struct stream_tls *t = s->tls;

	return t && t->phase == UP && (waiting(&t->cin) > 0 || SSL_pending(t->ssl) > 0);
}

void
stream_tls_settle(struct stream *s)
{
	if (s->tls == NULL)
		return;
	if (waiting(&s->tls->cin) == 0)
		buf_shrink(&s->tls->cin);
	if (waiting(&s->tls->wire) == 0)
		buf_shrink(&s->tls->wire);
}

void
stream_tls_free(struct stream *s)
{
	struct stream_tls *t = s->tls;

	if (t == NULL)
		return;
	SSL_free(t->ssl);
	tls_session_unref(t->session);
	tls_context_unref(t->context);
	buf_fini(&t->cin);
	buf_fini(&t->wire);
	mem_free(t);
	s->tls = NULL;
}

/* Ends the handshake with an error, from events only. */
void
stream_tls_fail(struct stream *s, int err, const char *why)
{
	struct stream_tls *t = s->tls;

	if (t->error[0] == '\0')
		snprintf(t->error, sizeof(t->error), "%s", why);
	stream_transmit(s); /* the alert that tells the peer */
	t->phase = DOWN;
	s->ended = true;
	timer_stop(&s->deadline);
	stream_settle(s);
	t->done(t->ctx, err);
}

/* One step of the handshake: 1 = it is over, 0 = more input is due, -EPROTO. */
static int
handshake(struct stream *s)
{
	struct stream_tls *t = s->tls;
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(t->ssl);
	if (rc == 1)
		return 1;
	if (SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_READ)
		return 0;
	t->is_version = tls_reason_is_version();
	tls_reason(t->error, sizeof(t->error), "handshake failure");
	return -EPROTO;
}

static void
handshake_step(struct stream *s)
{
	struct stream_tls *t = s->tls;
	int rc = t->failed ? t->failed : handshake(s);

	if (rc < 0) {
		stream_tls_fail(s, rc, "handshake failure");
		return;
	}
	if (rc == 0 && s->broken) {
		stream_tls_fail(s, s->broken, "connection lost during the TLS handshake");
	} else if (rc == 0 && s->end != STREAM_END_NONE) {
		stream_tls_fail(
		    s, s->end ? s->end : -ECONNRESET, "connection lost during the TLS handshake");
	} else if (rc == 0) {
		stream_transmit(s);
	} else {
		t->phase = UP;
		tls_describe(t->ssl, &t->info);
		stream_transmit(s);
		t->done(t->ctx, 0);
	}
}

/* Decrypts what is there, as far as the high mark allows. */
static void
decrypt(struct stream *s)
{
	struct stream_tls *t = s->tls;

	while (waiting(&s->in) < STREAM_IN_HIGH && t->phase == UP) {
		char *to = buf_reserve(&s->in, PLAIN_CHUNK);
		int n;

		PP_ASSERT(to != NULL);
		ERR_clear_error();
		n = SSL_read(t->ssl, to, PLAIN_CHUNK);
		if (n > 0) {
			buf_commit(&s->in, (size_t)n);
			s->fresh = true;
			continue;
		}
		switch (SSL_get_error(t->ssl, n)) {
		case SSL_ERROR_WANT_READ:
			return;
		case SSL_ERROR_ZERO_RETURN:
			s->end = 0;
			break;
		default:
			tls_reason(t->error, sizeof(t->error), "TLS protocol error");
			s->end = -EPROTO;
			t->phase = DOWN;
		}
		buf_shrink(&t->cin);
		return;
	}
}

void
stream_tls_step(struct stream *s)
{
	struct stream_tls *t = s->tls;

	if (t->phase == HANDSHAKE)
		handshake_step(s);
	if (s->closing || s->ended || !stream_tls_waiting(s))
		return;
	decrypt(s);
	if (waiting(&t->wire) > 0) /* a key update is answered, an alert sent */
		stream_transmit(s);
}

/* One step of what may leave, into `wire`. The BIO takes everything, so a write is never half. */
static bool
encrypt(struct stream *s)
{
	struct stream_tls *t = s->tls;
	struct str bytes = str_head(str_head(buf_str(&s->out), s->flushed), ENCRYPT_STEP);
	int n;

	ERR_clear_error();
	n = SSL_write(t->ssl, bytes.p, (int)bytes.n);
	if (n <= 0) {
		tls_reason(t->error, sizeof(t->error), "TLS protocol error");
		stream_break(s, -EPROTO);
		stream_kick(s);
		return false;
	}
	buf_consume(&s->out, (size_t)n);
	s->flushed -= (size_t)n;
	return true;
}

struct buf *
stream_tls_encrypt(struct stream *s)
{
	struct stream_tls *t = s->tls;

	if (t->phase == UP && s->flushed > 0 && waiting(&t->wire) < ENCRYPT_STEP)
		encrypt(s);
	return &t->wire;
}

void
stream_tls_shutdown(struct stream *s)
{
	struct stream_tls *t = s->tls;

	if (t->phase != UP)
		return;
	/* close_notify must come behind the data, so all of it is encrypted now. */
	while (s->flushed > 0)
		if (!encrypt(s))
			return;
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
	t->phase = DOWN;
}

/* What this connection asks for beyond its context; what cannot be had ends the handshake. */
static int
demand(struct stream_tls *t, const struct tls_client *client)
{
	struct tls_target to = {.ssl = t->ssl};
	struct buf err;
	bool old = t->context->old;
	int rc = 0;

	buf_init(&err, sizeof(t->error) - 1);
	if (client && client->protocols)
		rc = tls_set_protocols(to, client->protocols, &old, &err);
	if (rc == 0 && client && (client->protocols || client->ciphers || client->exclude))
		rc = tls_set_ciphers(to, client->ciphers ? client->ciphers : t->context->grade,
		    client->exclude ? client->exclude : t->context->exclude, old, &err);
	if (rc == 0)
		rc = tls_use_anchors(t->ssl, t->context, client, &err);
	ERR_clear_error();
	snprintf(t->error, sizeof(t->error), "%s", buf_cstr(&err));
	buf_fini(&err);
	return rc < 0 ? -EPROTO : 0;
}

static int
attach(struct stream *s, const struct tls_client *client)
{
	struct stream_tls *t = s->tls;
	BIO *bio = BIO_new(t->context->bio);

	t->ssl = SSL_new(t->context->ctx);
	PP_ASSERT(bio != NULL && t->ssl != NULL);
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	if (t->context->server) {
		SSL_set_accept_state(t->ssl);
		return 0;
	}
	SSL_set_connect_state(t->ssl);
	if (client && client->name && client->name[0] &&
	    SSL_set_tlsext_host_name(t->ssl, client->name) != 1)
		ERR_clear_error(); /* longer than SNI allows: none is sent */
	if (client && client->resume && SSL_set_session(t->ssl, client->resume->session) != 1)
		ERR_clear_error(); /* a session of another version of the context: full handshake */
	return demand(t, client);
}

void
stream_start_tls(struct stream *s, struct tls_context *tls, const struct tls_client *client,
    void (*done)(void *ctx, int err), void *ctx)
{
	struct stream_tls *t = MEM_NEW(struct stream_tls);

	PP_ON(s->loop);
	PP_ASSERT(s->tls == NULL && !s->closing && !s->ended);
	tls_context_ref(tls);
	t->context = tls;
	t->done = done;
	t->ctx = ctx;
	buf_init(&t->cin, (size_t)2 * STREAM_IN_HIGH);
	buf_init(&t->wire, WIRE_MAX);
	/* What came in clear after the command that starts TLS was sent by somebody in between
	 * (CVE-2011-0411), or in the client by a server that must not speak yet (CVE-2021-38371).
	 * The memory goes later: the caller may still hold a view of its line. */
	buf_clear(&s->in);
	s->fresh = false;
	stream_flush(s);
	buf_add(&t->wire, buf_str(&s->out)); /* in clear, behind what libuv still sends */
	buf_clear(&s->out);
	s->flushed = 0;
	s->tls = t;
	t->failed = attach(s, client);
	if (!tls->server && !t->failed) {
		t->failed = handshake(s);
		stream_transmit(s);
	}
	stream_settle(s);
	if (t->failed || s->end != STREAM_END_NONE || s->broken)
		stream_kick(s);
}

const struct tls_info *
stream_tls(const struct stream *s)
{
	return s->tls && s->tls->phase != HANDSHAKE && s->tls->info.protocol[0] ? &s->tls->info
										: NULL;
}

const char *
stream_tls_error(const struct stream *s)
{
	return s->tls ? s->tls->error : "";
}

bool
stream_tls_error_is_version(const struct stream *s)
{
	return s->tls && s->tls->is_version;
}

struct tls_session *
stream_tls_session(const struct stream *s)
{
	PP_ON(s->loop);
	if (s->tls == NULL || s->tls->session == NULL)
		return NULL;
	snap_ref(&s->tls->session->snap);
	return s->tls->session;
}
