/*
 * resolver_channel.c - a c-ares channel on a loop: its sockets polled, its time-outs on a timer.
 *
 * c-ares asks, repeats, falls back to TCP and compares the id and the question; what the answer
 * means is read by dns_answer.c from the raw bytes. Answers are only noted by resolver.c, which
 * calls its users from timers: so a channel is never freed inside one of c-ares' callbacks.
 */
#include <arpa/inet.h>
#include <ares.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/queue.h>
#include <uv.h>
#include "address.h"
#include "pp/base/mem.h"
#include "resolver_internal.h"

enum {
	SERVERS_MAX = 8,
	TRIES = 3,
	TRY_MIN_MS = 250,
	TRY_MAX_MS = 3000,
	CLASS_IN = 1,
	AD_BYTE = 3, /* of a message: where the bit lies, and which (RFC 6840 5.7) */
	AD_BIT = 0x20,
	DO_BYTE = 4, /* from its end: the last record is OPT (RFC 3225) */
	DO_BIT = 0x80,
	UDP_SIZE = 1232, /* what passes everywhere unfragmented (DNS flag day 2020) */
};

struct channel_socket {
	uv_poll_t poll;
	struct channel *channel;
	ares_socket_t fd;
	LIST_ENTRY(channel_socket) link;
};

struct channel {
	struct loop *loop;
	ares_channel ares;
	struct timer timer;
	LIST_HEAD(, channel_socket) sockets;
	unsigned open; /* questions */
};

static void channel_fired(struct timer *t);

/* The next time-out of c-ares. */
static void
set_timer(struct channel *c)
{
	struct timeval most = {TRY_MAX_MS / 1000, 0}, buf, *left;

	if (c->open == 0) {
		timer_stop(&c->timer);
		return;
	}
	left = ares_timeout(c->ares, &most, &buf); /* one of the two: buf may stay as it is */
	timer_start(c->loop, &c->timer, (int64_t)left->tv_sec * 1000 + left->tv_usec / 1000 + 1,
	    channel_fired);
}

static void
socket_freed(uv_handle_t *h)
{
	mem_free(PP_CONTAINER(h, struct channel_socket, poll));
}

void
channel_free(struct channel *c)
{
	if (c == NULL)
		return;
	timer_stop(&c->timer);
	ares_destroy(c->ares); /* closes the sockets through socket_changed */
	PP_ASSERT(c->open == 0 && LIST_EMPTY(&c->sockets));
	mem_free(c);
}

static void
channel_fired(struct timer *t)
{
	struct channel *c = PP_CONTAINER(t, struct channel, timer);

	ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	set_timer(c);
}

static void
socket_ready(uv_poll_t *poll, int status, int events)
{
	struct channel_socket *s = poll->data;
	struct channel *c = s->channel;
	ares_socket_t fd = s->fd;
	bool in = status < 0 || (events & UV_READABLE), out = status < 0 || (events & UV_WRITABLE);

	ares_process_fd(c->ares, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
	set_timer(c); /* s may be gone */
}

/* c-ares opened a socket, wants other events of it, or is about to close it. */
static void
socket_changed(void *ctx, ares_socket_t fd, int readable, int writable)
{
	struct channel *c = ctx;
	struct channel_socket *s;
	int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);

	LIST_FOREACH (s, &c->sockets, link)
		if (s->fd == fd)
			break;
	if (s == NULL && events) {
		s = MEM_NEW(struct channel_socket);
		s->channel = c;
		s->fd = fd;
		s->poll.data = s;
		if (uv_poll_init(loop_uv(c->loop), &s->poll, fd) < 0) {
			mem_free(s); /* unheard answers become time-outs */
			return;
		}
		LIST_INSERT_HEAD(&c->sockets, s, link);
	}
	if (s == NULL)
		return;
	if (events) {
		uv_poll_start(&s->poll, events, socket_ready);
	} else {
		LIST_REMOVE(s, link);
		uv_close((uv_handle_t *)&s->poll, socket_freed);
	}
}

/* "addr:port, ..." as nodes in a row; their number, or -EINVAL. */
static int
parse_servers(const char *servers, struct ares_addr_port_node nodes[SERVERS_MAX], struct buf *err)
{
	struct str rest = str_of(servers), word;
	int n = 0;

	while (str_token(&rest, ", \t\r\n", &word)) {
		struct sockaddr_storage sa;
		const struct sockaddr_in *v4 = (const void *)&sa;
		const struct sockaddr_in6 *v6 = (const void *)&sa;

		if (net_address_parse_port(word, 53, &sa) < 0) {
			buf_printf(err,
			    "name server \"%.*s\" is no address: write 127.0.0.1, "
			    "127.0.0.1:5353 or [::1]:5353",
			    STR_FMT(word));
			return -EINVAL;
		}
		if (n == SERVERS_MAX) {
			buf_printf(err, "more than %d name servers", SERVERS_MAX);
			return -EINVAL;
		}
		nodes[n].family = sa.ss_family;
		nodes[n].udp_port = nodes[n].tcp_port =
		    ntohs(sa.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
		if (sa.ss_family == AF_INET)
			nodes[n].addr.addr4 = v4->sin_addr;
		else
			memcpy(&nodes[n].addr.addr6, &v6->sin6_addr, sizeof(v6->sin6_addr));
		if (n > 0)
			nodes[n - 1].next = &nodes[n];
		n++;
	}
	return n;
}

int
channel_check(const char *servers, struct buf *err)
{
	struct ares_addr_port_node nodes[SERVERS_MAX] = {0};
	int n = parse_servers(servers, nodes, err);

	return n < 0 ? n : 0;
}

static int
set_servers(struct channel *c, const char *servers, struct buf *err)
{
	struct ares_addr_port_node nodes[SERVERS_MAX] = {0};
	int n = parse_servers(servers, nodes, err);

	if (n > 0 && ares_set_servers_ports(c->ares, nodes) != ARES_SUCCESS) {
		buf_printf(err, "cannot use name servers \"%s\"", servers);
		return -EINVAL;
	}
	return n < 0 ? n : 0;
}

int
channel_new(struct loop *l, const char *servers, const char *resolv_conf, int64_t timeout_ms,
    struct channel **ret, struct buf *err)
{
	struct channel *c = MEM_NEW(struct channel);
	struct ares_options o = {.tries = TRIES, .ednspsz = UDP_SIZE};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
		   ARES_OPT_SOCK_STATE_CB;
	int64_t each = timeout_ms / (2 * TRIES);
	char *path = mem_strdup(resolv_conf);
	int rc;

	PP_ON(l);
	c->loop = l;
	LIST_INIT(&c->sockets);
	o.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS;
	o.timeout = (int)(each < TRY_MIN_MS ? TRY_MIN_MS : each > TRY_MAX_MS ? TRY_MAX_MS : each);
	o.sock_state_cb = socket_changed;
	o.sock_state_cb_data = c;
	if (servers[0] == '\0') {
		o.resolvconf_path = path;
		mask |= ARES_OPT_RESOLVCONF;
	}
	rc = ares_init_options(&c->ares, &o, mask);
	mem_free(path);
	if (rc != ARES_SUCCESS) {
		buf_printf(err, "cannot start the resolver: %s", ares_strerror(rc));
		mem_free(c);
		return -EIO;
	}
	rc = set_servers(c, servers, err);
	if (rc < 0)
		channel_free(c);
	else
		*ret = c;
	return rc;
}

bool
channel_domain(const struct channel *c, int i, char to[RESOLVER_NAME_MAX])
{
	struct ares_options o = {0};
	int mask = 0, n = RESOLVER_NAME_MAX;

	if (ares_save_options(c->ares, &o, &mask) == ARES_SUCCESS && i < o.ndomains)
		n = snprintf(to, RESOLVER_NAME_MAX, "%s", o.domains[i]);
	ares_destroy_options(&o);
	return n < RESOLVER_NAME_MAX;
}

static void
answered(void *arg, int status, int timeouts, unsigned char *bytes, int n)
{
	struct lookup *lookup = arg;
	struct channel *c = lookup->channel;
	struct dns_answer a = {0};

	c->open--;
	if (bytes != NULL && n > 0)
		dns_answer_read(
		    &a, (struct str){(const char *)bytes, (size_t)n}, lookup->name, lookup->type);
	else if (status == ARES_ETIMEOUT)
		dns_answer_fail(&a, RESOLVER_TRY_AGAIN,
		    "Host not found, try again (no name server answered in time)");
	else /* servers that fail or refuse, nobody at the port: c-ares calls all of them refused */
		dns_answer_fail(&a, RESOLVER_TRY_AGAIN, NULL);
	lookup->answered(lookup, &a);
}

/* c-ares knows no DNSSEC, so the question is made here. */
static void
ask_securely(struct channel *c, struct lookup *lookup)
{
	unsigned char *bytes = NULL;
	unsigned short id = 0;
	int n = 0;

	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != (ssize_t)sizeof(id) ||
	    ares_create_query(lookup->name, CLASS_IN, (int)lookup->type, id, 1, &bytes, &n,
		UDP_SIZE) != ARES_SUCCESS) {
		answered(lookup, ARES_EFORMERR, 0, NULL, 0);
		return;
	}
	bytes[AD_BYTE] |= AD_BIT;
	bytes[n - DO_BYTE] |= DO_BIT;
	ares_send(c->ares, bytes, n, answered, lookup);
	ares_free_string(bytes);
}

void
channel_ask(struct channel *c, struct lookup *lookup)
{
	lookup->channel = c;
	c->open++;
	if (lookup->is_secure)
		ask_securely(c, lookup);
	else
		ares_query(c->ares, lookup->name, CLASS_IN, (int)lookup->type, answered, lookup);
	set_timer(c);
}
