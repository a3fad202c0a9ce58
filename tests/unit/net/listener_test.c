/*
 * listener_test.c - addresses as text, listening sockets, accepting on two loops, no descriptors
 * left.
 */
#include "pair.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include "net/address.h"
#include "pp/net/listener.h"

static void
addresses(void **state)
{
	static const struct {
		const char *text;
		int rc;
		const char *address;
		unsigned port;
	} t[] = {
	    {"127.0.0.1", 0, "127.0.0.1", 53},
	    {"127.0.0.1:5353", 0, "127.0.0.1", 5353},
	    {"[127.0.0.1]:5353", 0, "127.0.0.1", 5353},
	    {"::1", 0, "::1", 53},
	    {"[::1]", 0, "::1", 53},
	    {"[::1]:5353", 0, "::1", 5353},
	    {"2001:DB8::7", 0, "2001:db8::7", 53},
	    {"::ffff:192.0.2.1", 0, "192.0.2.1", 53},
	    {"", -EINVAL, "", 0},
	    {":53", -EINVAL, "", 0},
	    {"127.0.0.1:", -EINVAL, "", 0},
	    {"127.0.0.1:0", -EINVAL, "", 0},
	    {"127.0.0.1:65536", -EINVAL, "", 0},
	    {"127.0.0.1:53x", -EINVAL, "", 0},
	    {"127.0.0", -EINVAL, "", 0},
	    {"localhost:53", -EINVAL, "", 0},
	    {"[::1:53", -EINVAL, "", 0},
	    {"1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333", -EINVAL, "", 0},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct sockaddr_storage sa = {0};
		struct stream_peer p;

		assert_int_equal(net_address_parse_port(str_of(t[i].text), 53, &sa), t[i].rc);
		if (t[i].rc < 0)
			continue;
		net_address_describe((struct sockaddr *)&sa, &p);
		assert_string_equal(p.address, t[i].address);
		assert_int_equal(p.port, t[i].port);
	}
}

static void
close_all(struct listener_fd *fds, size_t n)
{
	while (n > 0)
		close(fds[--n].fd);
}

static void
services(void **state)
{
	static const struct {
		const char *service, *interfaces, *protocols;
		size_t n;
		const char *name; /* beginning of the first */
	} t[] = {
	    {"0", "127.0.0.1", "ipv4", 1, "127.0.0.1:"},
	    {"127.0.0.1:0", "all", "all", 1, "127.0.0.1:"},
	    {"[127.0.0.1]:0", "", "all", 1, "127.0.0.1:"},
	    {"0", "loopback-only", "ipv4", 1, "127.0.0.1:"},
	    {"0", "all", "ipv4", 1, "0.0.0.0:"},
	    {"0", "127.0.0.1, 127.0.0.2", "ipv4", 2, "127.0.0.1:"},
	    {"localhost:0", "all", "ipv4", 1, "127.0.0.1:"},
	    {"0", "localhost, 127.0.0.1, 127.0.0.2, localhost", "ipv4", 2, "127.0.0.1:"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct listener_fd fds[4];
		struct buf err;
		size_t n = 99;
		socklen_t size = sizeof(int);
		int nodelay = 0;

		buf_init(&err, 500);
		if (listener_bind(t[i].service, t[i].interfaces, t[i].protocols, fds, 4, &n, &err))
			fail_msg("%s: %s", t[i].service, buf_cstr(&err));
		assert_int_equal(n, t[i].n);
		assert_true(str_starts(str_of(fds[0].name), str_of(t[i].name)));
		assert_false(str_ends(str_of(fds[0].name), STR(":0")));
		assert_true(fcntl(fds[0].fd, F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(fds[0].fd, F_GETFL) & O_NONBLOCK);
		getsockopt(fds[0].fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
		assert_true(nodelay);
		close_all(fds, n);
		buf_fini(&err);
	}
}

/* Whether or not this user may bind it: the name is known without a file of services, too. */
static void
service_names(void **state)
{
	static const struct {
		const char *service, *name;
	} t[] = {
	    {"127.0.0.1:submission", "127.0.0.1:587"},
	    {"127.0.0.1:SMTPS", "127.0.0.1:465"},
	    {"127.0.0.1:lmtp", "127.0.0.1:24"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct listener_fd fd = {0};
		struct buf err;
		size_t n = 0;
		int rc;

		buf_init(&err, 500);
		rc = listener_bind(t[i].service, "127.0.0.1", "ipv4", &fd, 1, &n, &err);
		assert_true(rc == 0 || rc == -EACCES || rc == -EADDRINUSE);
		assert_non_null(strstr(rc ? buf_cstr(&err) : fd.name, t[i].name));
		if (rc == -EACCES)
			assert_non_null(strstr(buf_cstr(&err), "use a port above 1023"));
		close_all(&fd, n);
		buf_fini(&err);
	}
}

static bool
has_ipv6(void)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool is = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;

	if (fd >= 0)
		close(fd);
	return is;
}

static void
both_families(void **state)
{
	struct listener_fd fds[4];
	struct buf err;
	size_t n;

	buf_init(&err, 500);
	assert_int_equal(listener_bind("0", "loopback-only", "all", fds, 4, &n, &err), 0);
	assert_int_equal(n, has_ipv6() ? 2 : 1);
	assert_string_equal(buf_cstr(&err), "");
	if (n == 2)
		assert_true(str_starts(str_of(fds[1].name), STR("[::1]:")));
	close_all(fds, n);
	buf_fini(&err);
}

static void
bad_services(void **state)
{
	struct listener_fd used, fds[2];
	struct buf err;
	size_t n;

	buf_init(&err, 500);
	assert_int_equal(listener_bind("127.0.0.1:0", "", "", &used, 1, &n, &err), 0);
	const struct {
		const char *service, *interfaces, *protocols;
		int rc;
		const char *error;
	} t[] = {
	    {"99999", "all", "all", -EINVAL,
		"listen on 99999: \"99999\" is neither a port number (0..65535) nor a known "
		"service"},
	    {"no-such-service", "all", "all", -EINVAL, "nor a known service"},
	    {"127.0.0.1:", "all", "all", -EINVAL, "nor a known service"},
	    {":25", "all", "all", -EINVAL, "the host name is empty"},
	    {"0", " ", "all", -EINVAL, "inet_interfaces is empty"},
	    {"0", "all", "ipv5", -EINVAL, "inet_protocols: \"ipv5\" is none of all, ipv4, ipv6"},
	    {"192.0.2.1:0", "", "", -EADDRNOTAVAIL,
		"bind 192.0.2.1:0: Cannot assign requested address: this machine has no such "
		"address"},
	    {used.name, "", "", -EADDRINUSE,
		"Address already in use: another mail server is running there; stop it or change "
		"the "
		"port in master.cf"},
	    {"0", "127.0.0.1 127.0.0.2 127.0.0.3", "", -ENOBUFS, "more than 2 addresses"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		int before = dup(0);

		close(before);
		n = 77;
		buf_clear(&err);
		assert_int_equal(
		    listener_bind(t[i].service, t[i].interfaces, t[i].protocols, fds, 2, &n, &err),
		    t[i].rc);
		assert_int_equal(n, 77);
		if (strstr(buf_cstr(&err), t[i].error) == NULL)
			fail_msg("case %zu: %s", i, buf_cstr(&err));
		close(dup(0));
		assert_int_equal(dup(0), before); /* nothing is left open */
		close(before);
	}
	close(used.fd);
	buf_fini(&err);
}

/* -- accepting --------------------------------------------------------------------------------- */

static struct listener *listener;
static struct listener_fd bound;
static unsigned accepted_count;
static int peers[64];
static struct sockaddr_in target;
static struct timer later;

static void
dial(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(peers[i], (struct sockaddr *)&target, sizeof(target)), 0);
	}
}

static void
hang_up(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(peers[i]);
}

static void
bind_here(void)
{
	socklen_t size = sizeof(target);
	struct buf err;
	size_t n;

	buf_init(&err, 500);
	assert_int_equal(listener_bind("127.0.0.1:0", "", "", &bound, 1, &n, &err), 0);
	assert_int_equal(getsockname(bound.fd, (struct sockaddr *)&target, &size), 0);
	buf_fini(&err);
	accepted_count = 0;
}

static void
count_accepted(void *ctx, int fd)
{
	int nodelay = 0;
	socklen_t size = sizeof(nodelay);

	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
	assert_true(nodelay);
	close(fd);
	if (++accepted_count == 20) {
		listener_stop(listener); /* inside the callback */
		rig_end();
	}
}

static void
accept_start(struct rig *r)
{
	bind_here();
	dial(21);
	listener = listener_start(r->loop, bound.fd, count_accepted, NULL);
	assert_non_null(listener);
	assert_int_equal(accepted_count, 0);
}

static void
accepting(void **state)
{
	rig_run(accept_start);
	assert_int_equal(accepted_count, 20);
	hang_up(21);
	close(bound.fd);
}

static struct rlimit limit;

static void
starved_check(struct timer *t)
{
	char c;

	assert_int_equal(accepted_count, 0);
	/* The peer was told: an end of file, not silence. */
	assert_true(recv(peers[0], &c, 1, MSG_DONTWAIT) <= 0);
	assert_true(errno != EAGAIN || recv(peers[0], &c, 1, MSG_DONTWAIT) == 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	listener_stop(listener);
	rig_end();
}

static void
starved_start(struct rig *r)
{
	struct rlimit now;
	int fd;

	bind_here();
	dial(3);
	listener = listener_start(r->loop, bound.fd, count_accepted, NULL);
	fd = dup(0);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &limit);
	now = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	timer_start(r->loop, &later, 50, starved_check);
}

static void
no_descriptor_left(void **state)
{
	rig_run(starved_start);
	hang_up(3);
	close(bound.fd);
}

/* Two loops in threads of their own share one socket. */
static struct side_loop {
	struct loop *loop;
	struct listener *listener;
	struct post start, stop;
	unsigned n;
} sides[2];

static _Atomic unsigned together;

static void
count_side(void *ctx, int fd)
{
	struct side_loop *s = ctx;

	close(fd);
	s->n++;
	together++;
}

static void
side_start(struct post *p)
{
	struct side_loop *s = PP_CONTAINER(p, struct side_loop, start);

	s->listener = listener_start(s->loop, bound.fd, count_side, s);
}

static void
side_stop(struct post *p)
{
	listener_stop(PP_CONTAINER(p, struct side_loop, stop)->listener);
}

static void
two_loops(void **state)
{
	bind_here();
	together = 0;
	for (int i = 0; i < 2; i++) {
		sides[i].loop = loop_new("side");
		post_to(sides[i].loop, &sides[i].start, side_start);
		assert_int_equal(loop_start(sides[i].loop), 0);
	}
	for (int round = 0; round < 5; round++) {
		dial(40);
		while (together < 40u * (unsigned)(round + 1))
			sched_yield();
		hang_up(40);
	}
	for (int i = 0; i < 2; i++) {
		post_to(sides[i].loop, &sides[i].stop, side_stop);
		loop_stop(sides[i].loop);
		loop_join(sides[i].loop);
		loop_free(sides[i].loop);
	}
	assert_int_equal(sides[0].n + sides[1].n, 200);
	close(bound.fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(services),
	    cmocka_unit_test(service_names),
	    cmocka_unit_test(both_families),
	    cmocka_unit_test(bad_services),
	    cmocka_unit_test(accepting),
	    cmocka_unit_test(no_descriptor_left),
	    cmocka_unit_test(two_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
