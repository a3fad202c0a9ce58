/*
 * server.c - the daemon's side of the control socket.
 *
 * One command per connection keeps the protocol without a parser worth the name, and lets a shell
 * script use it. The socket file has mode 0666: who may do what is decided per command by the
 * peer's uid, which the kernel tells.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>
#include "pp/base/mem.h"
#include "pp/control/server.h"

enum {
	REQUEST_MAX = 4096,
	OUTPUT_MAX = 256 * 1024, /* what a client has not read yet; who sends more waits for it */
	REQUESTS_MAX = 64,       /* connections at once; more are closed */
	REQUEST_TIMEOUT = 10000  /* ms to send the command */
};

struct control_server {
	struct loop *loop;
	uv_pipe_t pipe;
	const struct control_command *commands;
	size_t n;
	void *ctx;
	unsigned requests;
	bool closing, listening;
	struct control_request *first;
};

struct control_request {
	struct control_server *server;
	struct control_request *next, **prev;
	uv_pipe_t pipe;
	uv_write_t write;
	struct timer timer;
	struct buf in, out, sending;
	uid_t uid;
	bool asked; /* the command was read */
	bool writing, ended, dead;
	void (*drained)(void *ctx);
	void (*gone)(void *ctx);
	void *keep_ctx;
};

static void
server_release(struct control_server *s)
{
	if (s->closing && s->requests == 0 && !s->listening)
		mem_free(s);
}

static void
request_closed(uv_handle_t *h)
{
	struct control_request *r = h->data;
	struct control_server *s = r->server;

	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	buf_fini(&r->in);
	buf_fini(&r->out);
	buf_fini(&r->sending);
	mem_free(r);
	s->requests--;
	server_release(s);
}

static void
request_close(struct control_request *r)
{
	timer_stop(&r->timer);
	if (!uv_is_closing((uv_handle_t *)&r->pipe))
		uv_close((uv_handle_t *)&r->pipe, request_closed);
}

/* The client is gone. If the command still runs it will call control_end; wait for that. */
static void
request_lost(struct control_request *r)
{
	void (*gone)(void *) = r->gone;

	if (r->dead)
		return;
	r->dead = true;
	uv_read_stop((uv_stream_t *)&r->pipe);
	r->gone = r->drained = NULL;
	if (gone) {
		r->ended = true;
		gone(r->keep_ctx);
	}
	if (r->ended || !r->asked)
		request_close(r);
}

static void request_send(struct control_request *r);

static void
request_sent(uv_write_t *w, int status)
{
	struct control_request *r = w->data;

	r->writing = false;
	buf_clear(&r->sending);
	if (status < 0) {
		request_lost(r);
		return;
	}
	request_send(r);
	/* What was behind it is on its way: there is room for as much again. */
	if (r->drained)
		r->drained(r->keep_ctx);
}

static void
request_send(struct control_request *r)
{
	struct buf swap;
	uv_buf_t b;

	if (r->writing || r->dead || uv_is_closing((uv_handle_t *)&r->pipe))
		return;
	if (buf_str(&r->out).n == 0) {
		if (r->ended)
			request_close(r);
		return;
	}
	swap = r->sending;
	r->sending = r->out;
	r->out = swap;
	b = uv_buf_init(r->sending.p + r->sending.head, (unsigned)buf_str(&r->sending).n);
	r->write.data = r;
	r->writing = true;
	if (uv_write(&r->write, (uv_stream_t *)&r->pipe, &b, 1, request_sent) < 0) {
		r->writing = false;
		request_lost(r);
	}
}

uid_t
control_uid(const struct control_request *r)
{
	return r->uid;
}

void
control_bytes(struct control_request *r, struct str bytes)
{
	PP_ON(r->server->loop);
	if (r->dead)
		return;
	if (buf_add(&r->out, bytes) < 0)
		request_lost(r); /* a watcher that does not read */
	else
		request_send(r);
}

void
control_take(struct control_request *r, struct buf *bytes)
{
	struct buf empty = r->out;

	PP_ON(r->server->loop);
	if (r->dead || buf_str(&r->out).n > 0) {
		control_bytes(r, buf_str(bytes));
		return;
	}
	/* Each buffer keeps its own maximum. */
	r->out = *bytes;
	r->out.max = empty.max;
	empty.max = bytes->max;
	*bytes = empty;
	buf_clear(bytes);
	request_send(r);
}

void
control_on_drained(struct control_request *r, void (*drained)(void *ctx))
{
	r->drained = drained;
}

void
control_line(struct control_request *r, const char *fmt, ...)
{
	struct buf line = {.max = 64 * 1024};
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&line, fmt, ap);
	va_end(ap);
	buf_addc(&line, '\n');
	control_bytes(r, buf_str(&line));
	buf_fini(&line);
}

void
control_end(struct control_request *r)
{
	PP_ON(r->server->loop);
	r->gone = r->drained = NULL;
	r->ended = true;
	if (r->dead)
		request_close(r);
	else
		request_send(r);
}

void
control_keep(struct control_request *r, void (*gone)(void *ctx), void *ctx)
{
	r->gone = gone;
	r->keep_ctx = ctx;
}

static const struct control_command *
command_find(const struct control_server *s, struct str word)
{
	for (size_t i = 0; i < s->n; i++)
		if (str_eq(word, str_of(s->commands[i].word)))
			return &s->commands[i];
	return NULL;
}

/* A server of one nameless command asks for none. */
static bool
speaks_first(const struct control_server *s)
{
	return s->n == 1 && s->commands[0].word == NULL;
}

static void
request_run(struct control_request *r, struct str line)
{
	struct control_server *s = r->server;
	size_t blank = str_index(line, ' ');
	const struct control_command *c = command_find(s, str_head(line, blank));
	char argument[REQUEST_MAX];
	struct str rest = str_trim(str_from(line, blank));

	r->asked = true;
	timer_stop(&r->timer);
	if (c == NULL) {
		control_line(r, "error unknown command: %.*s", STR_FMT(str_head(line, blank)));
		control_end(r);
		return;
	}
	if (!c->any_user && r->uid != 0 && r->uid != geteuid()) {
		control_line(r, "error uid %ld may not use %s", (long)r->uid, c->word);
		control_end(r);
		return;
	}
	snprintf(argument, sizeof(argument), "%.*s", STR_FMT(rest));
	c->run(s->ctx, r, argument);
}

static void
request_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
	struct control_request *r = h->data;
	char *to = buf_reserve(&r->in, 512);

	*ret = uv_buf_init(to, to ? 512 : 0);
}

static void
request_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct control_request *r = stream->data;
	struct str all;
	size_t end;

	if (n < 0) {
		request_lost(r);
		return;
	}
	buf_commit(&r->in, (size_t)n);
	all = buf_str(&r->in);
	end = str_index(all, '\n');
	if (r->asked)
		buf_clear(&r->in); /* one command per connection */
	else if (end < all.n)
		request_run(r, str_trim(str_head(all, end)));
}

static void
request_timed_out(struct timer *t)
{
	request_lost(PP_CONTAINER(t, struct control_request, timer));
}

static void
accepted(uv_stream_t *stream, int status)
{
	struct control_server *s = stream->data;
	struct control_request *r;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	uv_os_fd_t fd;

	if (status < 0)
		return;
	r = MEM_NEW(struct control_request);
	r->server = s;
	r->pipe.data = r;
	buf_init(&r->in, REQUEST_MAX);
	buf_init(&r->out, OUTPUT_MAX);
	buf_init(&r->sending, OUTPUT_MAX);
	r->next = s->first;
	r->prev = &s->first;
	if (r->next)
		r->next->prev = &r->next;
	s->first = r;
	s->requests++;
	uv_pipe_init(loop_uv(s->loop), &r->pipe, 0);
	if (uv_accept(stream, (uv_stream_t *)&r->pipe) < 0 || s->requests > REQUESTS_MAX ||
	    uv_fileno((uv_handle_t *)&r->pipe, &fd) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
		request_close(r);
		return;
	}
	r->uid = cred.uid;
	uv_read_start((uv_stream_t *)&r->pipe, request_alloc, request_read);
	if (speaks_first(s)) {
		r->asked = true;
		s->commands[0].run(s->ctx, r, "");
	} else {
		timer_start(s->loop, &r->timer, REQUEST_TIMEOUT, request_timed_out);
	}
}

static void
server_closed(uv_handle_t *h)
{
	struct control_server *s = h->data;

	s->listening = false;
	server_release(s);
}

struct control_server *
control_server_new(struct loop *l, const char *path, const struct control_command *commands,
    size_t n, void *ctx, struct buf *err)
{
	struct control_server *s = MEM_NEW(struct control_server);
	int rc;

	s->loop = l;
	s->commands = commands;
	s->n = n;
	s->ctx = ctx;
	s->pipe.data = s;
	s->listening = true;
	uv_pipe_init(loop_uv(l), &s->pipe, 0);
	unlink(path); /* ours by the spool lock; a socket left by a crash */
	rc = uv_pipe_bind(&s->pipe, path);
	if (rc == 0)
		rc = chmod(path, 0666) < 0 ? -errno
					   : uv_listen((uv_stream_t *)&s->pipe, 64, accepted);
	if (rc == 0)
		return s;
	buf_printf(err, "control socket %s: %s", path, strerror(-rc));
	s->closing = true;
	uv_close((uv_handle_t *)&s->pipe, server_closed);
	return NULL;
}

void
control_server_free(struct control_server *s)
{
	if (s == NULL)
		return;
	PP_ON(s->loop);
	s->closing = true;
	/* What still runs (asked, not ended) closes when it ends; nobody will read its answer. */
	for (struct control_request *r = s->first, *next; r != NULL; r = next) {
		next = r->next;
		request_lost(r);
		if (r->ended)
			request_close(r);
	}
	uv_close((uv_handle_t *)&s->pipe, server_closed);
}
