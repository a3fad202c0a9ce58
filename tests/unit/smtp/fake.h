/*
 * fake.h - for the tests of smtp/: servers that follow a script, a name service that follows a
 * table, and a run of one or more deliveries through the real client, all on one loop.
 *
 * A script is rules "verb, which use of it (0 = any), reply". Replies may hold LF for several
 * lines, and may end in |CLOSE or |TLS (STARTTLS); CLOSE alone says nothing, SILENCE waits.
 */
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/config/config.h"
#include "pp/net/listener.h"
#include "pp/net/sasl.h"
#include "pp/net/tls.h"
#include "pp/runtime/lane.h"
#include "pp/runtime/log.h"
#include "pp/smtp/smtp.h"
#include "pp/spool/spool.h"
#include "pp/spool/writer.h"

enum {
	FAKE_GUARD_MS = 20000,
	FAKE_RULES = 12,
	FAKE_SERVERS = 4,
	FAKE_SETTINGS = 12,
	FAKE_RCPTS = 8,
	FAKE_DELIVERIES = 4,
};

struct fake_rule {
	const char *verb; /* "banner", "EHLO", "MAIL", ".", "*" = a line during AUTH */
	unsigned nth;
	const char *reply;
};

/* ---- the server ---- */

struct fake_server {
	struct listener *listener;
	const struct fake_rule *rules;
	struct tls_context *tls;
	bool wrap;
	int fd;
	unsigned port, connections, open, resumed;
	struct fake_conn *stuck; /* it does not read: closed at the end */
	struct buf log;          /* commands, joined by " | "; "+" = a new connection */
	struct buf body;         /* of the last message, with CRLF, without the dot */
	unsigned body_reads;     /* how often bytes of it arrived */
};

struct fake_conn {
	struct fake_server *server;
	struct stream *s;
	unsigned uses[32];
	bool in_data, in_auth, tls, closing, silent;
};

struct fake_run;
static struct fake_run *fake; /* the run under way */
static void fake_maybe_end(void);

static const char *const fake_verbs[] = {
    "banner", "EHLO", "HELO", "MAIL", "RCPT", "DATA", ".", "RSET", "QUIT", "STARTTLS", "AUTH", "*"};
static const char *const fake_default[] = {"220 fake.test ESMTP",
    "250-fake.test\n250-PIPELINING\n250 8BITMIME", "250 fake.test", "250 2.1.0 ok", "250 2.1.5 ok",
    "354 go on", "250 2.0.0 Ok: queued as X", "250 2.0.0 ok", "221 2.0.0 bye|CLOSE", "220 go|TLS",
    "235 2.7.0 ok", "535 5.7.8 no"};

static void fake_reply(struct fake_conn *c, const char *verb);

static void
fake_close(struct fake_conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	stream_close(c->s);
	c->server->open--;
	if (c->server->stuck == c)
		c->server->stuck = NULL;
	fake_maybe_end();
	free(c);
}

static void
fake_tls_done(void *ctx, int err)
{
	struct fake_conn *c = ctx;

	if (err < 0) {
		buf_adds(&c->server->log, " | TLSFAIL");
		fake_close(c);
		return;
	}
	c->tls = true;
	c->server->resumed += stream_tls(c->s)->resumed;
	if (c->server->wrap)
		fake_reply(c, "banner");
}

static void
fake_start_tls(struct fake_conn *c)
{
	stream_start_tls(c->s, c->server->tls, NULL, fake_tls_done, c);
}

static const char *
fake_find(struct fake_conn *c, const char *verb)
{
	size_t v = 0;

	while (v < PP_COUNT(fake_verbs) && strcmp(fake_verbs[v], verb) != 0)
		v++;
	if (v == PP_COUNT(fake_verbs))
		return "500 5.5.2 what";
	c->uses[v]++;
	for (size_t i = 0; c->server->rules && c->server->rules[i].verb; i++) {
		const struct fake_rule *r = &c->server->rules[i];

		if (strcmp(r->verb, verb) == 0 && (r->nth == 0 || r->nth == c->uses[v]))
			return r->reply;
		if (c->tls && strcmp(r->verb, "EHLO2") == 0 && strcmp(verb, "EHLO") == 0)
			return r->reply;
	}
	return fake_default[v];
}

static void
fake_reply(struct fake_conn *c, const char *verb)
{
	struct str rest = str_of(fake_find(c, verb)), line;
	size_t bar = str_index(rest, '|');
	struct str tail = str_from(rest, bar);

	if (str_eq(rest, STR("SILENCE"))) {
		c->silent = true;
		return;
	}
	if (str_eq(rest, STR("CLOSE"))) {
		fake_close(c);
		return;
	}
	rest = str_head(rest, bar);
	if (strcmp(verb, "DATA") == 0 && str_starts(rest, STR("354")))
		c->in_data = true;
	c->in_auth = str_starts(rest, STR("334"));
	while (str_token(&rest, "\n", &line)) {
		stream_write(c->s, line);
		stream_write(c->s, STR("\r\n"));
	}
	stream_flush(c->s);
	if (str_eq(tail, STR("|SILENCE"))) {
		c->silent = true;
		c->server->stuck = c;
	}
	if (str_eq(tail, STR("|CLOSE")))
		fake_close(c);
	else if (str_eq(tail, STR("|TLS")) && c->server->tls)
		fake_start_tls(c);
}

static void
fake_line(struct fake_conn *c, struct str line)
{
	struct str verb = str_head(line, str_index(line, ' '));
	char name[16];

	if (c->in_data && str_eq(line, STR("."))) {
		c->in_data = false;
		fake_reply(c, ".");
		return;
	}
	if (c->in_data) {
		buf_add(&c->server->body, line);
		buf_adds(&c->server->body, "\r\n");
		return;
	}
	buf_printf(
	    &c->server->log, "%s%.*s", buf_str(&c->server->log).n ? " | " : "", STR_FMT(line));
	if (str_eq(verb, STR("DATA")))
		buf_clear(&c->server->body);
	snprintf(name, sizeof name, "%.*s", (int)(verb.n < 15 ? verb.n : 15), verb.p);
	fake_reply(c, c->in_auth ? "*" : name);
}

static void
fake_readable(void *ctx)
{
	struct fake_conn *c = ctx;
	struct fake_server *server = c->server;

	if (c->in_data)
		server->body_reads++;
	while (!c->silent) {
		struct str in = stream_in(c->s);
		size_t n = str_index(in, '\n');
		char line[4096];
		unsigned open = server->open;

		if (n == in.n || n >= sizeof line)
			return;
		memcpy(line, in.p, n);
		stream_consume(c->s, n + 1);
		if (n > 0 && line[n - 1] == '\r')
			n--;
		bool starts_tls =
		    !c->tls && server->tls && n == 8 && memcmp(line, "STARTTLS", 8) == 0;

		fake_line(c, (struct str){line, n});
		if (server->open != open || starts_tls)
			return; /* closed, or the rest is TLS */
	}
}

static void
fake_drained(void *ctx)
{
}

static void
fake_closed(void *ctx, int err)
{
	fake_close(ctx);
}

static const struct stream_ops fake_ops = {fake_readable, fake_drained, fake_closed};

/* ---- a run ---- */

struct fake_run {
	struct loop *loop;
	struct lane *slow, *sasl;
	struct spool *spool;
	struct config *config;
	struct smtp_setup *setup;
	struct smtp *smtp;
	struct post post;
	struct timer guard, step;
	struct fake_server server[FAKE_SERVERS];
	size_t servers;
	struct buf bytes;
	struct spool_bytes *message;
	struct delivery delivery[FAKE_DELIVERIES];
	struct delivery_rcpt rcpt[FAKE_DELIVERIES][FAKE_RCPTS];
	size_t count, done;
	bool in_turn; /* one delivery after the other, not all at once */
	bool by_hand; /* started() delivers and stops */
	bool stopped, ended;
	char log_file[64];
	struct buf log;
	void (*started)(struct fake_run *r);
	void (*finished)(struct fake_run *r, struct delivery *d); /* each */
};

static void
fake_guard(struct timer *t)
{
	fprintf(stderr, "the test hangs\n");
	abort();
}

static void
fake_accepted(void *ctx, int fd)
{
	struct fake_server *server = ctx;
	struct fake_conn *c = calloc(1, sizeof *c);

	server->connections++;
	server->open++;
	c->server = server;
	c->s = stream_new(fake->loop, fd, &fake_ops, c);
	buf_printf(&server->log, "%s+", buf_str(&server->log).n ? " | " : "");
	stream_resume(c->s);
	if (server->wrap)
		fake_start_tls(c);
	else
		fake_reply(c, "banner");
}

/* host: "127.0.0.1"; port 0 = any. Returns the port. */
static inline unsigned
fake_listen(struct fake_run *r, const char *host, unsigned port, const struct fake_rule *rules)
{
	struct fake_server *server = &r->server[r->servers++];
	struct listener_fd fd;
	char service[64];
	struct buf err;
	size_t n;

	buf_init(&err, 1024);
	buf_init(&server->log, 1 << 16);
	buf_init(&server->body, 64 << 20);
	server->rules = rules;
	snprintf(service, sizeof service, "%s:%u", host, port);
	if (listener_bind(service, "all", "ipv4", &fd, 1, &n, &err) < 0)
		fail_msg("%s", buf_cstr(&err));
	server->port = (unsigned)atoi(strrchr(fd.name, ':') + 1);
	server->fd = fd.fd;
	buf_fini(&err);
	return server->port;
}

static void
fake_stopped(void *ctx)
{
	fake->stopped = true;
	smtp_free(fake->smtp);
	for (size_t i = 0; i < fake->servers; i++)
		if (fake->server[i].stuck)
			fake_close(fake->server[i].stuck);
	fake_maybe_end();
}

/* Ends the loop when the client has stopped and every server has seen its connections end. */
static void
fake_maybe_end(void)
{
	if (!fake->stopped || fake->ended)
		return;
	for (size_t i = 0; i < fake->servers; i++)
		if (fake->server[i].open > 0)
			return;
	fake->ended = true;
	timer_stop(&fake->guard);
	for (size_t i = 0; i < fake->servers; i++)
		listener_stop(fake->server[i].listener);
	loop_stop(fake->loop);
}

static inline void
fake_stop(void)
{
	smtp_stop(fake->smtp, 0, fake_stopped, NULL);
}

static void
fake_deliver(struct fake_run *r, size_t i)
{
	r->delivery[i].active_us = r->delivery[i].start_us = loop_wall_us();
	smtp_deliver(r->smtp, &r->delivery[i]);
}

static void
fake_done(struct delivery *d)
{
	fake->done++;
	if (fake->finished)
		fake->finished(fake, d);
	if (fake->by_hand)
		return;
	if (fake->done == fake->count)
		fake_stop();
	else if (fake->in_turn)
		fake_deliver(fake, fake->done);
}

/* Adds a delivery with n recipients r0@there.test .. */
static inline struct delivery *
fake_add(struct fake_run *r, const char *nexthop, size_t n)
{
	struct delivery *d = &r->delivery[r->count];

	*d = (struct delivery){
	    .sender = "s@here.test",
	    .arrival_us = loop_wall_us(),
	    .create_time = loop_wall_us() / 1000000,
	    .data_offset = 3,
	    .data_size = (int64_t)r->message->bytes.n - 7,
	    .content_length = (int64_t)r->message->bytes.n - 7,
	    .bytes = r->message,
	    .transport = "smtp",
	    .nexthop = nexthop,
	    .config = &r->config->snap,
	    .service = config_service_find(r->config, "unix", "smtp"),
	    .rcpt = r->rcpt[r->count],
	    .rcpt_count = n,
	    .home = r->loop,
	    .done = fake_done,
	};
	snprintf(d->queue_id, sizeof d->queue_id, "QID%zu", r->count);
	assert_non_null(d->service);
	for (size_t i = 0; i < n; i++)
		d->rcpt[i].rcpt =
		    (struct recipient){.address = arena_printf(&d->arena, "r%zu@there.test", i),
			.orig = arena_printf(&d->arena, "r%zu@there.test", i)};
	r->count++;
	return d;
}

static void
fake_message_free(struct snap *s)
{
	mem_free(PP_CONTAINER(s, struct spool_bytes, snap));
}

/* Lines end in LF. A lone M record stands before, X and E behind. */
static inline void
fake_message(struct fake_run *r, const char *text)
{
	struct str rest = str_of(text);

	buf_clear(&r->bytes);
	buf_adds(&r->bytes, "?"); /* offset 0 is no content */
	record_put(&r->bytes, REC_CONTENT, STR(""));
	while (rest.n > 0) {
		size_t n = str_index(rest, '\n');

		record_put_line(&r->bytes, str_head(rest, n), 2048);
		rest = str_from(rest, n + 1);
	}
	record_put(&r->bytes, REC_EXTRACTED, STR(""));
	record_put(&r->bytes, REC_END, STR(""));
	r->message->bytes = buf_str(&r->bytes);
	for (size_t i = 0; i < r->count; i++) {
		r->delivery[i].data_size = (int64_t)r->message->bytes.n - 7;
		r->delivery[i].content_length = (int64_t)r->message->bytes.n - 7;
	}
}

static inline void
fake_init(struct fake_run *r)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	memset(r, 0, sizeof *r);
	fake = r;
	r->loop = loop_new("test");
	r->slow = lane_new("slow", 1);
	r->sasl = lane_new("sasl", 1);
	snprintf(r->log_file, sizeof r->log_file, "/tmp/smtp_test.XXXXXX");
	fd = mkstemp(r->log_file);
	assert_true(fd >= 0);
	close(fd);
	struct log_options lo = {.syslog_name = "postfix", .host = "h", .file = r->log_file};
	assert_int_equal(log_setup(&lo), 0);
	buf_init(&r->bytes, 128 << 20);
	buf_init(&r->log, 1 << 20);
	r->message = MEM_NEW(struct spool_bytes);
	snap_init(&r->message->snap, fake_message_free);
	fake_message(r, "Subject: x\n\nhello\n.dot\n\nlast\n");
}

/* settings: "name=value", NULL at the end. */
static inline void
fake_configure(struct fake_run *r, const char *const *settings)
{
	const char *all[FAKE_SETTINGS + 8] = {"myhostname=mail.here.test", "inet_protocols=ipv4"};
	struct config_source src = {.extra = all, .hostname = "mail.here.test"};
	struct config_report report;
	struct buf err;
	size_t n = 2;

	for (size_t i = 0; settings && settings[i]; i++)
		all[n++] = settings[i];
	config_report_init(&report);
	if (config_load(&src, &r->config, &report) < 0)
		fail_msg("%s", report.first ? report.first->text : "no reason");
	config_report_fini(&report);
	buf_init(&err, 1000);
	if (smtp_setup_new_blk(r->config, &r->setup, &err) < 0)
		fail_msg("%s", buf_cstr(&err));
	buf_fini(&err);
}

static void
fake_started(struct post *p)
{
	struct fake_run *r = PP_CONTAINER(p, struct fake_run, post);

	timer_start(r->loop, &r->guard, FAKE_GUARD_MS, fake_guard);
	for (size_t i = 0; i < r->servers; i++) {
		struct fake_server *server = &r->server[i];

		server->listener = listener_start(r->loop, server->fd, fake_accepted, server);
		close(server->fd);
	}
	r->smtp = smtp_new(r->loop, r->spool, NULL, r->slow, r->sasl);
	smtp_use(r->smtp, r->setup);
	if (r->started)
		r->started(r);
	if (r->by_hand)
		return;
	for (size_t i = 0; i < (r->in_turn ? 1 : r->count); i++)
		fake_deliver(r, i);
	if (r->count == 0)
		fake_stop();
}

/* Runs all deliveries, then stops the client. */
static inline void
fake_run(struct fake_run *r)
{
	post_to(r->loop, &r->post, fake_started);
	loop_run(r->loop);
	assert_true(r->ended);
	assert_int_equal(r->done, r->count);
	FILE *f = fopen(r->log_file, "r");
	char line[4096];
	while (fgets(line, sizeof line, f)) {
		char *text = strstr(line, "]: ");

		buf_adds(&r->log, text ? text + 3 : line);
	}
	fclose(f);
}

static inline void
fake_fini(struct fake_run *r)
{
	lane_free(r->slow);
	lane_free(r->sasl);
	loop_free(r->loop);
	for (size_t i = 0; i < r->servers; i++) {
		buf_fini(&r->server[i].log);
		buf_fini(&r->server[i].body);
		if (r->server[i].tls)
			tls_context_unref(r->server[i].tls);
	}
	for (size_t i = 0; i < r->count; i++)
		arena_fini(&r->delivery[i].arena);
	smtp_setup_unref(r->setup);
	snap_unref(&r->config->snap);
	snap_unref(&r->message->snap);
	buf_fini(&r->bytes);
	buf_fini(&r->log);
	unlink(r->log_file);
}

/* Texts with the changing parts replaced: "H" = 127.0.0.1[127.0.0.1], "P" = the port. */
static inline const char *
fake_text(struct fake_run *r, const char *text)
{
	static char out[4][4096];
	static unsigned turn;
	char *to = out[turn++ % 4], port[16];
	size_t n = 0;

	snprintf(port, sizeof port, ":%u", r->servers ? r->server[0].port : 0);
	while (*text && n < sizeof out[0] - 1) {
		if (strncmp(text, "127.0.0.1[127.0.0.1]", 20) == 0) {
			to[n++] = 'H';
			text += 20;
		} else if (strlen(port) > 2 && strncmp(text, port, strlen(port)) == 0) {
			to[n++] = ':';
			to[n++] = 'P';
			text += strlen(port);
		} else {
			to[n++] = *text++;
		}
	}
	to[n] = 0;
	return to;
}

/* "4.4.2 deferred TEXT" of a recipient. */
static inline const char *
fake_result(struct fake_run *r, size_t delivery, size_t rcpt)
{
	static char out[4][4200];
	static unsigned turn;
	char *to = out[turn++ % 4];
	const struct status *st = &r->delivery[delivery].rcpt[rcpt].status;

	snprintf(to, sizeof out[0], "%s %s %s", status_dsn(st).text,
	    st->cls == STATUS_OK     ? "sent"
	    : st->cls == STATUS_PERM ? "bounced"
				     : "deferred",
	    fake_text(r, st->text));
	return to;
}

/* For tables: 1 and both texts shown when they differ. */
static inline int
differs(const char *name, const char *what, const char *got, const char *want)
{
	size_t n = strlen(want);

	if (strcmp(got, want) == 0)
		return 0;
	if (n > 0 && want[n - 1] == '*' && strncmp(got, want, n - 1) == 0)
		return 0; /* an end that differs each time */
	print_error("%s: %s\n got %s\nwant %s\n", name, what, got, want);
	return 1;
}
