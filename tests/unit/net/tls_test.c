/*
 * tls_test.c - TLS between two streams, with certificates good and bad, and hostile peers.
 */
#include "pair.h"
#include "certs.h"
#include "net/tls_internal.h"

static struct cert ca, other_ca, good, good_ec, expired, lonely, strange;
static struct tls_context *server, *client;
static struct tls_client wanted = {.name = "mx.example.com"}; /* resume: the last session */
static struct side a, b;                                      /* client, server */
static struct tls_info a_info, b_info;
static int a_done, b_done, done_calls;
static char a_error[200], b_error[200], seen_names[300];
static bool matched;
static const char *want_name;

static void
contexts_gone(void)
{
	tls_context_unref(server);
	tls_context_unref(client);
	server = client = NULL;
}

static void
note_client(void *ctx, int err)
{
	const struct tls_info *info = stream_tls(a.s);

	done_calls++;
	a_done = err;
	snprintf(a_error, sizeof(a_error), "%s", stream_tls_error(a.s));
	assert_true((info != NULL) == (err == 0));
	if (info) {
		struct buf seen;

		a_info = *info;
		buf_init(&seen, sizeof(seen_names) - 1);
		matched = tls_peer_matches(info, &want_name, 1, false, &seen);
		snprintf(seen_names, sizeof(seen_names), "%s", buf_cstr(&seen));
		buf_fini(&seen);
	}
}

static void
note_server(void *ctx, int err)
{
	done_calls++;
	b_done = err;
	snprintf(b_error, sizeof(b_error), "%s", stream_tls_error(b.s));
	if (err == 0)
		b_info = *stream_tls(b.s);
}

/* The client speaks first, gets its answer, and leaves. A failed side leaves at once. */
static void
end_when_both_gone(void)
{
	if (a.s == NULL && b.s == NULL)
		rig_end();
}

static void
gone(struct side *side)
{
	side_close(side);
	end_when_both_gone();
}

static void
client_done(void *ctx, int err)
{
	note_client(ctx, err);
	if (err)
		gone(&a);
	else
		say(&a, "EHLO secret\r\n");
}

static void
server_done(void *ctx, int err)
{
	note_server(ctx, err);
	if (err)
		gone(&b);
}

static void
server_answers(struct side *side)
{
	say(side, "250 ok\r\n");
}

static void
client_leaves(struct side *side)
{
	tls_session_unref(wanted.resume);
	wanted.resume = stream_tls_session(side->s);
	gone(side);
}

static void
open_both(void)
{
	int fds[2];

	side_init(&a);
	side_init(&b);
	a_info = b_info = (struct tls_info){0};
	a_done = b_done = 99;
	done_calls = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	side_open(&a, fds[0]);
	side_open(&b, fds[1]);
}

static void
hello_start(struct rig *r)
{
	open_both();
	a.on_readable = client_leaves;
	b.on_readable = server_answers;
	a.on_closed = b.on_closed = gone;
	stream_deadline(a.s, 5000);
	stream_deadline(b.s, 5000);
	stream_resume(a.s);
	stream_resume(b.s);
	stream_start_tls(a.s, client, &wanted, client_done, NULL);
	stream_start_tls(b.s, server, NULL, server_done, NULL);
	assert_int_equal(done_calls, 0);
}

static void
hello(void)
{
	rig_run(hello_start);
	assert_int_equal(done_calls, 2);
	side_fini(&a);
	side_fini(&b);
}

/* -- whom to trust ----------------------------------------------------------------------------- */

static void
trust(void **state)
{
	static const struct {
		const struct cert *cert;
		const char *name;
		bool trusted, matched;
		const char *error, *seen;
	} t[] = {
	    {&good, "mx.example.com", true, true, "", "mx.example.com"},
	    {&good_ec, "mx.example.com", true, true, "",
		"mx.example.com, *.wild.example, 192.0.2.7"},
	    {&good, "mx.example.net", true, false, "", "mx.example.com"},
	    {&expired, "mx.example.com", false, true, "certificate has expired", "mx.example.com"},
	    {&lonely, "mx.example.com", false, true, "self-signed certificate", "mx.example.com"},
	    {&strange, "mx.example.com", false, true, "unable to get local issuer certificate",
		"mx.example.com"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		server = context(true, t[i].cert->file, NULL, NULL);
		client = context(false, NULL, ca.file, NULL);
		want_name = t[i].name;
		hello();
		assert_int_equal(a_done, 0);
		assert_int_equal(b_done, 0);
		assert_true(a_info.peer_present);
		assert_int_equal(a_info.peer_trusted, t[i].trusted);
		assert_string_equal(a_info.trust_error, t[i].error);
		assert_int_equal(matched, t[i].matched);
		assert_string_equal(seen_names, t[i].seen);
		assert_false(a_info.resumed);
		assert_string_equal(buf_cstr(&b.got), "");
		contexts_gone();
		tls_session_unref(wanted.resume);
		wanted.resume = NULL;
	}
}

static void
details(void **state)
{
	static const struct {
		const struct cert *cert;
		const char *protocols, *protocol, *details;
	} t[] = {
	    {&good, NULL, "TLSv1.3",
		" key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256"},
	    {&good_ec, NULL, "TLSv1.3",
		" key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256"},
	    {&good, "TLSv1.2", "TLSv1.2", ""},
	    {&good, "<=TLSv1.2", "TLSv1.2", ""},
	};

	want_name = "mx.example.com";
	for (size_t i = 0; i < PP_COUNT(t); i++) {
		server = context(true, t[i].cert->file, NULL, t[i].protocols);
		client = context(false, NULL, ca.file, NULL);
		hello();
		assert_string_equal(a_info.protocol, t[i].protocol);
		assert_string_equal(a_info.details, t[i].details);
		assert_string_equal(b_info.details, t[i].details);
		assert_int_equal(a_info.bits_used, 256);
		assert_int_equal(a_info.bits_all, 256);
		assert_true(strlen(a_info.cipher) > 10);
		assert_false(b_info.peer_present);
		contexts_gone();
		tls_session_unref(wanted.resume);
		wanted.resume = NULL;
	}
}

static void
resume(void **state)
{
	static const char *const protocols[] = {">=TLSv1.3", "TLSv1.2"};

	for (size_t i = 0; i < PP_COUNT(protocols); i++) {
		const struct cert *certs[] = {&good, &expired};

		for (size_t k = 0; k < 2; k++) {
			server = context(true, certs[k]->file, NULL, protocols[i]);
			client = context(false, NULL, ca.file, NULL);
			hello();
			assert_non_null(wanted.resume);
			assert_false(a_info.resumed);
			hello();
			assert_true(a_info.resumed);
			assert_true(b_info.resumed);
			/* What was wrong with the certificate is not forgotten. */
			assert_int_equal(a_info.peer_trusted, k == 0);
			assert_string_equal(
			    a_info.trust_error, k == 0 ? "" : "certificate has expired");
			assert_true(matched);
			contexts_gone();
			/* A session the next server does not know does no harm. */
			server = context(true, good.file, NULL, NULL);
			client = context(false, NULL, ca.file, NULL);
			hello();
			assert_false(a_info.resumed);
			assert_int_equal(a_done, 0);
			contexts_gone();
			tls_session_unref(wanted.resume);
			wanted.resume = NULL;
		}
	}
}

/* -- handshakes that fail ---------------------------------------------------------------------- */

static void
no_common_protocol(void **state)
{
	server = context(true, good.file, NULL, "TLSv1.2");
	client = context(false, NULL, ca.file, ">=TLSv1.3");
	hello();
	assert_int_equal(a_done, -EPROTO);
	assert_int_equal(b_done, -EPROTO);
	assert_non_null(strstr(a_error, "protocol version"));
	assert_non_null(strstr(b_error, "unsupported protocol"));
	assert_int_equal(a.closeds, 0);
	contexts_gone();
}

static int raw;
static const char *raw_text;
static bool raw_leaves;

static void
failing_start(struct rig *r)
{
	int fds[2];

	side_init(&a);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	side_open(&a, fds[0]);
	raw = fds[1];
	done_calls = 0;
	b.s = NULL;
	stream_deadline(a.s, 50);
	stream_start_tls(a.s, client, NULL, client_done, NULL);
	assert_int_equal(done_calls, 0);
	if (raw_text)
		assert_true(write(raw, raw_text, strlen(raw_text)) > 0);
	if (raw_leaves)
		close(raw);
}

static void
hostile_handshakes(void **state)
{
	static const struct {
		const char *text;
		bool leaves;
		int err;
		const char *error;
	} t[] = {
	    {"500 what did you say, I do not understand\r\n", false, -EPROTO,
		"wrong version number"},
	    {"\x16\x03\x03\xff\xff", false, -EPROTO, "length too long"},
	    {NULL, true, -ECONNRESET, "connection lost during the TLS handshake"},
	    {NULL, false, -ETIMEDOUT, "timeout during the TLS handshake"},
	    {"\x16\x03\x03", false, -ETIMEDOUT, "timeout during the TLS handshake"},
	};

	client = context(false, NULL, ca.file, NULL);
	for (size_t i = 0; i < PP_COUNT(t); i++) {
		raw_text = t[i].text;
		raw_leaves = t[i].leaves;
		rig_run(failing_start);
		assert_int_equal(a_done, t[i].err);
		assert_int_equal(done_calls, 1);
		assert_int_equal(a.closeds, 0);
		assert_non_null(strstr(a_error, t[i].error));
		if (!raw_leaves)
			close(raw);
		side_fini(&a);
	}
	tls_context_unref(client);
	client = NULL;
}

/* -- plaintext before TLS (CVE-2011-0411, CVE-2021-38371) ---------------------------------------
 */

static void
server_sees_starttls(struct side *side)
{
	struct str in = stream_in(side->s);

	if (stream_tls(side->s)) {
		buf_add(&side->got, in);
		stream_consume(side->s, in.n);
		say(side, "250 in TLS\r\n");
		return;
	}
	assert_true(str_starts(in, STR("STARTTLS\r\n")));
	stream_consume(side->s, 10);
	assert_true(stream_in(side->s).n > 0);
	say(side, "220 go\r\n250 injected\r\n");
	stream_start_tls(side->s, server, NULL, server_done, NULL);
	assert_int_equal(stream_in(side->s).n, 0);
}

static void
client_sees_220(struct side *side)
{
	struct str in = stream_in(side->s);

	if (stream_tls(side->s)) {
		buf_add(&side->got, in);
		stream_consume(side->s, in.n);
		gone(side);
		return;
	}
	assert_true(str_starts(in, STR("220 go\r\n")));
	stream_consume(side->s, 8);
	stream_start_tls(side->s, client, NULL, client_done, NULL);
}

static void
injection_start(struct rig *r)
{
	open_both();
	a.keep = b.keep = true;
	a.on_readable = client_sees_220;
	b.on_readable = server_sees_starttls;
	a.on_closed = b.on_closed = gone;
	stream_resume(a.s);
	stream_resume(b.s);
	say(&a, "STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n");
}

static void
injected_plaintext_is_discarded(void **state)
{
	server = context(true, good.file, NULL, NULL);
	client = context(false, NULL, ca.file, NULL);
	rig_run(injection_start);
	assert_int_equal(a_done, 0);
	assert_string_equal(buf_cstr(&b.got), "EHLO secret\r\n");
	assert_string_equal(buf_cstr(&a.got), "250 in TLS\r\n");
	assert_int_equal(b.err, 0);
	side_fini(&a);
	side_fini(&b);
	contexts_gone();
}

/* -- much data --------------------------------------------------------------------------------- */

enum { BIG = 8 * 1024 * 1024 };
static size_t sent;

static void
pump(struct side *side)
{
	while (sent < BIG && !stream_full(side->s)) {
		char chunk[10000];
		size_t n = BIG - sent < sizeof(chunk) ? BIG - sent : sizeof(chunk);

		for (size_t i = 0; i < n; i++)
			chunk[i] = (char)('a' + (sent + i) % 23);
		stream_write(side->s, (struct str){chunk, n});
		sent += n;
	}
	stream_flush(side->s);
	if (sent == BIG)
		gone(side);
}

static void
pump_done(void *ctx, int err)
{
	note_client(ctx, err);
	pump(&a);
}

static struct timer later;

static void
resume_b(struct timer *t)
{
	if (b.s)
		stream_resume(b.s);
}

/* Takes a part only, now and then: the rest is offered again after a pause. */
static void
take_slowly(struct side *side)
{
	struct str in = stream_in(side->s);
	size_t n = side->readables % 3 ? in.n : in.n / 2;

	buf_add(&side->got, str_head(in, n));
	stream_consume(side->s, n);
	if (side->readables % 3 == 0) {
		stream_pause(side->s);
		timer_start(rig.loop, &later, 0, resume_b);
	}
}

static void
big_end(struct side *side)
{
	timer_stop(&later);
	gone(side);
}

static void
big_start(struct rig *r)
{
	open_both();
	sent = 0;
	a.on_drained = pump;
	b.keep = true;
	b.on_readable = take_slowly;
	b.on_closed = big_end;
	stream_resume(a.s);
	stream_resume(b.s);
	stream_start_tls(a.s, client, NULL, pump_done, NULL);
	stream_start_tls(b.s, server, NULL, server_done, NULL);
}

static void
large_transfer(void **state)
{
	server = context(true, good.file, NULL, NULL);
	client = context(false, NULL, ca.file, NULL);
	rig_run(big_start);
	assert_int_equal(b.err, 0);
	assert_int_equal(b.got.n, BIG);
	assert_true(a.draineds > 0);
	for (size_t i = 0; i < BIG; i++)
		if (b.got.p[i] != (char)('a' + i % 23))
			fail_msg("byte %zu differs", i);
	side_fini(&a);
	side_fini(&b);
	contexts_gone();
}

/* -- closing inside done, garbage inside TLS ----------------------------------------------------
 */

static void
close_in_done(void *ctx, int err)
{
	note_client(ctx, err);
	gone(&a);
}

static void
close_start(struct rig *r)
{
	open_both();
	a.on_closed = b.on_closed = gone;
	stream_resume(b.s);
	stream_start_tls(a.s, client, NULL, close_in_done, NULL);
	stream_start_tls(b.s, server, NULL, server_done, NULL);
}

static void
close_inside_done(void **state)
{
	server = context(true, good.file, NULL, NULL);
	client = context(false, NULL, ca.file, NULL);
	rig_run(close_start);
	assert_int_equal(a_done, 0);
	assert_int_equal(b.err, 0);
	side_fini(&a);
	side_fini(&b);
	contexts_gone();
}

static void
garbage_done(void *ctx, int err)
{
	note_client(ctx, err);
	/* Around TLS, onto the bare socket. */
	assert_true(write(raw, "MAIL FROM:<evil@example.com>\r\n", 30) == 30);
	close(raw);
}

static void
garbage_start(struct rig *r)
{
	int fds[2];

	side_init(&a);
	side_init(&b);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	raw = dup(fds[0]);
	side_open(&a, fds[0]);
	side_open(&b, fds[1]);
	a.on_closed = b.on_closed = gone;
	stream_resume(a.s);
	stream_resume(b.s);
	stream_start_tls(a.s, client, NULL, garbage_done, NULL);
	stream_start_tls(b.s, server, NULL, server_done, NULL);
}

static void
garbage_inside_tls(void **state)
{
	server = context(true, good.file, NULL, NULL);
	client = context(false, NULL, ca.file, NULL);
	rig_run(garbage_start);
	assert_int_equal(b.err, -EPROTO);
	assert_int_equal(b.readables, 0);
	side_fini(&a);
	side_fini(&b);
	contexts_gone();
}

static int
setup(void **state)
{
	assert_non_null(mkdtemp(cert_dir));
	ca = cert_make("Test CA", NULL, NULL, true, 10, true);
	other_ca = cert_make("Strange CA", NULL, NULL, true, 10, false);
	good = cert_make("x", "DNS:mx.example.com", &ca, false, 10, true);
	good_ec = cert_make(
	    "x", "DNS:mx.example.com,DNS:*.wild.example,IP:192.0.2.7", &ca, false, 10, false);
	expired = cert_make("x", "DNS:mx.example.com", &ca, false, -1, false);
	lonely = cert_make("mx.example.com", NULL, NULL, false, 10, false);
	strange = cert_make("x", "DNS:mx.example.com", &other_ca, false, 10, false);
	return 0;
}

static int
teardown(void **state)
{
	struct cert *all[] = {&ca, &other_ca, &good, &good_ec, &expired, &lonely, &strange};

	for (size_t i = 0; i < PP_COUNT(all); i++)
		cert_fini(all[i]);
	rmdir(cert_dir);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(trust),
	    cmocka_unit_test(details),
	    cmocka_unit_test(resume),
	    cmocka_unit_test(no_common_protocol),
	    cmocka_unit_test(hostile_handshakes),
	    cmocka_unit_test(injected_plaintext_is_discarded),
	    cmocka_unit_test(large_transfer),
	    cmocka_unit_test(close_inside_done),
	    cmocka_unit_test(garbage_inside_tls),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
