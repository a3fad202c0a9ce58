/*
 * dns_server.h - a name server in a thread, over UDP and TCP, that answers as the name asked says.
 */
#pragma once
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "dns_message.h"
#include "pp/base/assert.h"

static struct server {
	pthread_t thread;
	int udp, tcp, stop[2];
	unsigned port;

} server;

struct ask {
	unsigned id, type;
	char name[300];
	bool tcp;
	struct dns_message *m;
};

static inline bool
ask_parse(struct ask *q, const uint8_t *p, size_t n)
{
	size_t at = 12, to = 0;

	if (n < 17)
		return false;
	q->id = (unsigned)p[0] << 8 | p[1];
	while (at < n && p[at] != 0 && to + p[at] + 2 < sizeof(q->name)) {
		memcpy(q->name + to, p + at + 1, p[at]);
		to += p[at];
		q->name[to++] = '.';
		at += p[at] + 1u;
	}
	q->name[to ? to - 1 : 0] = '\0';
	q->type = (unsigned)p[at + 1] << 8 | p[at + 2];
	return true;
}

enum { GOOD = QR | RD | RA };

static inline bool
is(const struct ask *q, const char *name)
{
	return strcasecmp(q->name, name) == 0;
}

/* False: no answer at all. */
static inline bool
answer_address(const struct ask *q)
{
	static const struct {
		const char *name, *v4, *v6;
	} t[] = {
	    {"both.test", "192.0.2.1", "2001:db8::1"},
	    {"v4.test", "192.0.2.4", NULL},
	    {"v6.test", NULL, "2001:db8::6"},
	    {"client.test", "192.0.2.10", NULL},
	    {"client6.test", NULL, "2001:db8::10"},
	    {"liar.test", "192.0.2.99", NULL},
	    {"zero.test", "0.0.0.0", NULL},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		const char *address = q->type == A ? t[i].v4 : t[i].v6;

		if (!is(q, t[i].name))
			continue;
		if (address)
			dm_address(q->m, "@", address);
		else
			dm_soa(q->m);
		return true;
	}
	if (is(q, "half.test")) { /* one family answers, the other is broken */
		if (q->type == AAAA)
			q->m->p[3] |= 2;
		else
			dm_address(q->m, "@", "192.0.2.5");
		return true;
	}
	if (is(q, "deaf6.test") && q->type == AAAA)
		return false;
	if (is(q, "deaf6.test")) {
		dm_address(q->m, "@", "192.0.2.7");
		return true;
	}
	if (is(q, "crowd.test")) {
		for (unsigned i = 0; i < 40; i++) {
			char text[40];

			snprintf(text, sizeof(text), q->type == A ? "192.0.2.%u" : "2001:db8::%u",
			    i + 1);
			dm_address(q->m, "@", text);
		}
		return true;
	}
	q->m->p[3] |= 3;
	dm_soa(q->m);
	return true;
}

static inline bool
answer_pointer(const struct ask *q)
{
	static const struct {
		const char *name, *target;
	} t[] = {
	    {"10.2.0.192.in-addr.arpa", "client.test"},
	    {"11.2.0.192.in-addr.arpa", "liar.test"},
	    {"12.2.0.192.in-addr.arpa", "nowhere.test"},
	    {"0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
		"client6.test"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		if (is(q, t[i].name)) {
			dm_alias(q->m, 1, "@", PTR, t[i].target);
			return true;
		}
	}
	q->m->p[3] |= 3;
	dm_soa(q->m);
	return true;
}

static inline bool
answer_mx(const struct ask *q)
{
	struct dns_message *m = q->m;

	if (is(q, "ok.test")) {
		dm_mx(m, "@", 20, "b.ok.test");
		dm_mx(m, "@", 10, "a.ok.test");
	} else if (is(q, "null.test")) {
		dm_mx(m, "@", 0, "");
	} else if (is(q, "nodata.test")) {
		dm_soa(m);
	} else if (is(q, "servfail.test")) {
		m->p[3] |= 2;
	} else if (is(q, "refused.test")) {
		m->p[3] |= 5;
	} else if (is(q, "loop.test")) {
		dm_alias(m, 1, "@", CNAME, "loop2.test");
		dm_alias(m, 1, "loop2.test", CNAME, "loop.test");
	} else if (is(q, "lame.test")) {
		m->p[3] &= (uint8_t)~RA;
		dm_alias(m, 2, "test", NS, "ns.test");
	} else if (is(q, "bad.test")) {
		size_t at = dm_record(m, 1, "@", MX, 300);

		dm16(m, 10);
		dm_end(m, at);
	} else if (is(q, "echo.test")) {
		m->p[2] &= 0x7f;
	} else if (is(q, "wrongid.test")) {
		m->p[1] ^= 0x55;
	} else if (is(q, "wrongname.test")) {
		m->p[13] ^= 1;
	} else if (is(q, "garbage.test")) {
		m->n = 5;
	} else if (is(q, "trunc.test") || is(q, "many.test")) {
		if (!q->tcp)
			m->p[2] |= TC >> 8;
		for (unsigned i = 0; q->tcp && i < (is(q, "many.test") ? 1000 : 1); i++) {
			char host[32];

			snprintf(host, sizeof(host), "mx%u.test", i);
			dm_mx(m, "@", 1000 - i, host);
		}
	} else if (is(q, "stall.test")) {
		m->p[2] |= TC >> 8;
		return !q->tcp;
	} else if (is(q, "silent.test")) {
		return false;
	} else {
		m->p[3] |= 3;
		dm_soa(m);
	}
	return true;
}

/* Builds the answer to one request; false = say nothing. */
static inline bool
serve(struct ask *q, const uint8_t *p, size_t n)
{
	bool speak;

	if (!ask_parse(q, p, n))
		return false;

	dm_start(q->m, q->id, GOOD, q->name, q->type);
	speak = q->type == MX    ? answer_mx(q)
		: q->type == PTR ? answer_pointer(q)
				 : answer_address(q);
	if (q->m->n >= 12)
		dm_finish(q->m);
	return speak;
}

static inline void
serve_udp(struct dns_message *m)
{
	struct ask q = {.m = m};
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	uint8_t p[2000];
	ssize_t n = recvfrom(server.udp, p, sizeof(p), 0, (struct sockaddr *)&from, &size);

	if (n > 0 && serve(&q, p, (size_t)n))
		sendto(server.udp, m->p, m->n, 0, (struct sockaddr *)&from, size);
}

/* c-ares sends several requests over one connection. False: it was closed. */
static inline bool
serve_tcp(int fd, struct dns_message *m)
{
	uint8_t p[8000], head[2];
	ssize_t n = recv(fd, p, sizeof(p), 0);

	for (ssize_t at = 0; at + 2 < n;) {
		struct ask q = {.m = m, .tcp = true};
		ssize_t size = p[at] << 8 | p[at + 1];

		if (at + 2 + size <= n && serve(&q, p + at + 2, (size_t)size)) {
			head[0] = (uint8_t)(m->n >> 8);
			head[1] = (uint8_t)m->n;
			send(fd, head, 2, MSG_NOSIGNAL | MSG_MORE);
			send(fd, m->p, m->n, MSG_NOSIGNAL);
		}
		at += 2 + size;
	}
	return n > 0;
}

static inline void *
server_run(void *arg)
{
	static struct dns_message m;
	struct pollfd fds[3 + 16] = {
	    {server.stop[0], POLLIN, 0}, {server.udp, POLLIN, 0}, {server.tcp, POLLIN, 0}};
	nfds_t n = 3;

	while (poll(fds, n, -1) > 0 && !fds[0].revents) {
		if (fds[1].revents)
			serve_udp(&m);
		for (nfds_t i = 3; i < n; i++) {
			if (!fds[i].revents)
				continue;
			if (serve_tcp(fds[i].fd, &m))
				continue;
			close(fds[i].fd);
			fds[i--] = fds[--n];
		}
		if (fds[2].revents && n < 3 + 16)
			fds[n++] = (struct pollfd){accept(server.tcp, NULL, NULL), POLLIN, 0};
	}
	for (nfds_t i = 3; i < n; i++)
		close(fds[i].fd);
	return NULL;
}

/* One port for both: what the kernel gave to one may be in use for the other. */
static inline int
server_bind(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t n = sizeof(sa);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server.udp, (struct sockaddr *)&sa, n) == 0 &&
	    getsockname(server.udp, (struct sockaddr *)&sa, &n) == 0 &&
	    bind(server.tcp, (struct sockaddr *)&sa, n) == 0 && listen(server.tcp, 16) == 0) {
		server.port = ntohs(sa.sin_port);
		return 0;
	}
	close(server.udp);
	close(server.tcp);
	return -1;
}

static inline int
server_start(void **state)
{
	int tries = 50;

	while (server_bind() < 0)
		if (--tries == 0)
			return -1;
	if (pipe(server.stop))
		return -1;
	return pthread_create(&server.thread, NULL, server_run, NULL);
}

static inline int
server_stop(void **state)
{
	if (write(server.stop[1], "x", 1) != 1)
		return -1;
	pthread_join(server.thread, NULL);
	close(server.udp);
	close(server.tcp);
	close(server.stop[0]);
	close(server.stop[1]);
	return 0;
}
