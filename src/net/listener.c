/*
 * listener.c - sockets that listen, and the loops that accept on them.
 *
 * Every loop polls a dup of the same socket and accepts a few connections per wake-up, so the
 * kernel's queue is shared out to whichever loop is free. Accepting is done here and not by libuv,
 * because a connection is handed on as a bare descriptor, and because running out of descriptors
 * must neither spin nor leave the peer waiting.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>
#include "address.h"
#include "pp/base/mem.h"
#include "pp/net/listener.h"
#include "pp/net/stream.h"

enum {
	BACKLOG = 1024,
	ACCEPT_BATCH = 8, /* per wake-up, so that other loops get their share */
	STARVED_WAIT_MS = 200,
	NAME_MAX_LENGTH = 255,
};

struct listener_list {
	const char *service; /* for messages */
	struct listener_fd *fds;
	size_t room, n;
	bool v4, v6;
	int port;
	struct buf *err;
};

static const struct {
	const char *name;
	int port;
} known_services[] = {
    /* A container image may lack /etc/services. */
    {"smtp", 25},
    {"submission", 587},
    {"submissions", 465},
    {"smtps", 465},
    {"lmtp", 24},
};

static int
port_of(const char *service, struct str text, struct buf *err)
{
	char name[64], buf[1024];
	struct servent entry, *found = NULL;
	int64_t number;

	if (str_number(text, 0, 65535, &number) == 0)
		return (int)number;
	for (size_t i = 0; i < PP_COUNT(known_services); i++)
		if (str_caseeq(text, str_of(known_services[i].name)))
			return known_services[i].port;
	if (text.n > 0 && text.n < sizeof(name)) {
		memcpy(name, text.p, text.n);
		name[text.n] = '\0';
		if (getservbyname_r(name, "tcp", &entry, buf, sizeof(buf), &found) == 0 && found)
			return ntohs((uint16_t)found->s_port);
	}
	buf_printf(err,
	    "listen on %s: \"%.*s\" is neither a port number (0..65535) nor a known service",
	    service, STR_FMT(text));
	return -EINVAL;
}

int
listener_port(const char *service, struct buf *err)
{
	struct str text = str_of(service);
	size_t colon = str_rindex(text, ':');

	return port_of(service, colon < text.n ? str_from(text, colon + 1) : text, err);
}

static void
name_of(const struct sockaddr *sa, char *to, size_t size)
{
	struct stream_peer p;

	net_address_describe(sa, &p);
	snprintf(to, size, p.family == AF_INET6 ? "[%s]:%u" : "%s:%u", p.address, p.port);
}

static const char *
advice(int err)
{
	switch (err) {
	case EADDRINUSE:
		return ": another mail server is running there; stop it or change the port in "
		       "master.cf";
	case EACCES:
		return ": needs root or CAP_NET_BIND_SERVICE; use a port above 1023";
	case EADDRNOTAVAIL:
		return ": this machine has no such address; check inet_interfaces and master.cf";
	case EAFNOSUPPORT:
		return ": this machine does not speak that protocol; check inet_protocols";
	default:
		return "";
	}
}

static int
bind_one(struct listener_list *l, const struct sockaddr *sa)
{
	struct listener_fd *to = &l->fds[l->n];
	struct sockaddr_storage real;
	socklen_t n = sizeof(real);
	int one = 1, rc = 0, fd;

	if (l->n == l->room) {
		buf_printf(l->err, "listen on %s: more than %zu addresses", l->service, l->room);
		return -ENOBUFS;
	}
	fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* inherited by accept(2) */
	if (sa->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, sa, net_address_size(sa)) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&real, &n) < 0) {
		rc = -errno;
		goto out;
	}
	to->fd = fd;
	name_of((struct sockaddr *)&real, to->name, sizeof(to->name));
	l->n++;
out:
	if (rc < 0) {
		char name[80], text[128];

		if (fd >= 0)
			close(fd);
		name_of(sa, name, sizeof(name));
		buf_printf(l->err, "bind %s: %s%s", name, strerror_r(-rc, text, sizeof(text)),
		    advice(-rc));
	}
	return rc;
}

/* A family that this machine lacks is no error where the user did not name the address. */
static int
bind_default(struct listener_list *l, const char *v4, const char *v6)
{
	struct sockaddr_storage sa;
	int rc = 0;

	if (l->v4) {
		net_address_parse(str_of(v4), (unsigned)l->port, &sa);
		rc = bind_one(l, (struct sockaddr *)&sa);
	}
	if (rc == 0 && l->v6) {
		struct str before = buf_str(l->err);

		net_address_parse(str_of(v6), (unsigned)l->port, &sa);
		rc = bind_one(l, (struct sockaddr *)&sa);
		if ((rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL) && l->n > 0) {
			buf_truncate(l->err, before.n);
			rc = 0;
		}
	}
	return rc;
}

static int
bind_host(struct listener_list *l, struct str host)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	struct sockaddr_storage sa;
	char name[NAME_MAX_LENGTH + 1];
	size_t before = l->n;
	int rc;

	if (net_address_parse(host, (unsigned)l->port, &sa) == 0)
		return bind_one(l, (struct sockaddr *)&sa);
	if (host.n == 0 || host.n >= sizeof(name)) {
		buf_printf(l->err, "listen on %s: the host name is empty or too long", l->service);
		return -EINVAL;
	}
	memcpy(name, host.p, host.n);
	name[host.n] = '\0';
	hints.ai_family = l->v4 && l->v6 ? AF_UNSPEC : l->v6 ? AF_INET6 : AF_INET;
	rc = getaddrinfo(name, NULL, &hints, &list);
	if (rc != 0) {
		buf_printf(l->err, "listen on %s: host %s: %s", l->service, name, gai_strerror(rc));
		return -EINVAL;
	}
	rc = 0;
	for (struct addrinfo *a = list; a && rc == 0; a = a->ai_next) {
		struct sockaddr_in *v4 = (void *)a->ai_addr;
		struct sockaddr_in6 *v6 = (void *)a->ai_addr;

		if (a->ai_family == AF_INET)
			v4->sin_port = htons((uint16_t)l->port);
		else if (a->ai_family == AF_INET6)
			v6->sin6_port = htons((uint16_t)l->port);
		else
			continue;
		rc = bind_one(l, a->ai_addr);
	}
	freeaddrinfo(list);
	if (rc == 0 && l->n == before) {
		buf_printf(l->err, "listen on %s: host %s has no address", l->service, name);
		rc = -EINVAL;
	}
	return rc;
}

static int
bind_interfaces(struct listener_list *l, struct str interfaces)
{
	struct str word;
	bool any = false;
	int rc = 0;

	while (rc == 0 && str_token(&interfaces, ", \t\r\n", &word)) {
		any = true;
		if (str_caseeq(word, STR("all")))
			rc = bind_default(l, "0.0.0.0", "::");
		else if (str_caseeq(word, STR("loopback-only")))
			rc = bind_default(l, "127.0.0.1", "::1");
		else
			rc = bind_host(l, word);
	}
	if (any)
		return rc;
	buf_printf(l->err,
	    "listen on %s: inet_interfaces is empty: name addresses, all or loopback-only",
	    l->service);
	return -EINVAL;
}

static int
parse_protocols(struct listener_list *l, struct str protocols)
{
	struct str word;

	while (str_token(&protocols, ", \t\r\n", &word)) {
		bool all = str_caseeq(word, STR("all"));
		bool v4 = str_caseeq(word, STR("ipv4")), v6 = str_caseeq(word, STR("ipv6"));

		if (!all && !v4 && !v6) {
			buf_printf(l->err, "inet_protocols: \"%.*s\" is none of all, ipv4, ipv6",
			    STR_FMT(word));
			return -EINVAL;
		}
		l->v4 = l->v4 || all || v4;
		l->v6 = l->v6 || all || v6;
	}
	if (!l->v4 && !l->v6)
		l->v4 = l->v6 = true;
	return 0;
}

int
listener_bind(const char *service, const char *interfaces, const char *protocols,
    struct listener_fd *fds, size_t room, size_t *ret_n, struct buf *err)
{
	struct listener_list l = {.service = service, .fds = fds, .room = room, .err = err};
	struct str text = str_of(service), host = {0};
	size_t colon = str_rindex(text, ':');
	int rc = parse_protocols(&l, str_of(protocols));

	if (rc == 0 && colon < text.n)
		host = str_head(text, colon);
	if (rc == 0)
		rc = l.port = listener_port(service, err);
	if (rc >= 0)
		rc = colon < text.n ? bind_host(&l, host) : bind_interfaces(&l, str_of(interfaces));
	if (rc < 0) {
		while (l.n > 0)
			close(fds[--l.n].fd);
		return rc;
	}
	*ret_n = l.n;
	return 0;
}

struct listener {
	struct loop *loop;
	uv_poll_t poll;
	struct timer starved;
	int fd, reserve;
	bool stopped;
	void (*accepted)(void *ctx, int fd);
	void *ctx;
};

int
listener_bind_local(const char *path, mode_t mode, struct buf *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);

	PP_ASSERT(n > 0 && (size_t)n < sizeof(sa.sun_path));
	unlink(path); /* left by a crash: who may write there is alone */
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(path, mode) < 0 ||
	    listen(fd, BACKLOG) < 0)
		rc = -errno;
	if (rc == 0)
		return fd;
	buf_printf(err, "socket %s: %s", path, strerror(-rc));
	if (fd >= 0)
		close(fd);
	return rc;
}

static void on_pollable(uv_poll_t *p, int status, int events);

static void
starved_over(struct timer *t)
{
	struct listener *li = PP_CONTAINER(t, struct listener, starved);

	uv_poll_start(&li->poll, UV_READABLE, on_pollable);
}

static int
open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: take the connection with the reserve and close it, so the peer knows at
 * once and the loop does not wake up for it again. Where that fails too, wait a little. */
static void
turn_away(struct listener *li)
{
	int fd = -1;

	if (li->reserve >= 0) {
		close(li->reserve);
		fd = accept4(li->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			close(fd);
	}
	li->reserve = open_reserve();
	if (fd < 0) {
		uv_poll_stop(&li->poll);
		timer_start(li->loop, &li->starved, STARVED_WAIT_MS, starved_over);
	}
}

static void
on_pollable(uv_poll_t *p, int status, int events)
{
	struct listener *li = p->data;

	for (int i = 0; i < ACCEPT_BATCH && !li->stopped; i++) {
		int fd = accept4(li->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			li->accepted(li->ctx, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			turn_away(li);
		else if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
			continue; /* accept(2): the error of one connection, not of the socket */
		return;
	}
}

static void
freed(uv_handle_t *h)
{
	struct listener *li = h->data;

	close(li->fd);
	if (li->reserve >= 0)
		close(li->reserve);
	mem_free(li);
}

struct listener *
listener_start(struct loop *l, int fd, void (*accepted)(void *ctx, int fd), void *ctx)
{
	struct listener *li;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), one = 1;

	PP_ON(l);
	if (own < 0)
		return NULL;
	li = MEM_NEW(struct listener);
	li->loop = l;
	li->fd = own;
	li->accepted = accepted;
	li->ctx = ctx;
	li->reserve = open_reserve();
	li->poll.data = li;
	/* For sockets that somebody else bound (systemd). */
	setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (uv_poll_init(loop_uv(l), &li->poll, own) < 0) { /* also makes it non-blocking */
		close(own);
		if (li->reserve >= 0)
			close(li->reserve);
		mem_free(li);
		return NULL;
	}
	uv_poll_start(&li->poll, UV_READABLE, on_pollable);
	return li;
}

void
listener_stop(struct listener *li)
{
	if (li == NULL)
		return;
	PP_ON(li->loop);
	li->stopped = true;
	timer_stop(&li->starved);
	uv_close((uv_handle_t *)&li->poll, freed);
}
