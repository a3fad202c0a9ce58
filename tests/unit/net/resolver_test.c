/*
 * resolver_test.c - the resolver against a name server in a thread, which answers as the name says.
 */
#include "pair.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include "dns_message.h"
#include "net/resolver_internal.h"

/* -- the name server ----------------------------------------------------------------------------
 */

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

static bool
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

static bool
is(const struct ask *q, const char *name)
{
	return strcasecmp(q->name, name) == 0;
}

/* False: no answer at all. */
static bool
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

static bool
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

static bool
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
static bool
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

static void
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
static bool
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

static void *
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

static int
server_start(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t n = sizeof(sa);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server.udp, (struct sockaddr *)&sa, n) ||
	    getsockname(server.udp, (struct sockaddr *)&sa, &n) ||
	    bind(server.tcp, (struct sockaddr *)&sa, n) || listen(server.tcp, 16) ||
	    pipe(server.stop))
		return -1;
	server.port = ntohs(sa.sin_port);
	return pthread_create(&server.thread, NULL, server_run, NULL);
}

static int
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

/* -- questions -----------------------------------------------------------------------------------
 */

static struct resolver *resolver;
static char hosts_file[] = "/tmp/resolver_test_hosts.XXXXXX";
static char conf_file[] = "/tmp/resolver_test_conf.XXXXXX";
static unsigned open_queries;
static int64_t timeout_ms;

struct expect {
	enum { MAIL, ADDRESS, NATIVE, NAME } kind;
	const char *name;
	int family;
	enum resolver_result result;
	size_t n;
	const char *first; /* host, address or confirmed name */
	const char *text;  /* or the unconfirmed name */
	unsigned answered;
};

static void
put(char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void
open_resolver(struct rig *r, const char *servers)
{
	char own[64];
	struct buf err;

	snprintf(own, sizeof(own), "127.0.0.1:%u", server.port);
	buf_init(&err, 200);
	resolver = resolver_new(r->loop, servers ? servers : own, timeout_ms, &err);
	if (resolver == NULL)
		fail_msg("%s", buf_cstr(&err));
	resolver_set_files(resolver, hosts_file, conf_file, 0);
	buf_fini(&err);
}

static void
answered(void *ctx, const struct resolver_answer *a)
{
	struct expect *e = ctx;

	assert_int_equal(e->answered++, 0);
	if (a->result != e->result || a->n != e->n)
		fail_msg("%s: result %d, n %zu, text %s", e->name, a->result, a->n, a->text);
	if (e->kind == NAME) {
		assert_string_equal(a->name, e->first);
		assert_string_equal(a->reverse, e->text);
	} else if (a->result != RESOLVER_OK) {
		if (e->text)
			assert_string_equal(a->text, e->text);
	} else {
		assert_null(a->text);
		assert_string_equal(e->kind == MAIL ? a->mx[0].host : a->address[0].text, e->first);
	}
	if (--open_queries == 0) {
		resolver_free(resolver); /* inside the last callback */
		rig_end();
	}
}

static void
ask(struct expect *e)
{
	open_queries++;
	if (e->kind == MAIL)
		resolver_find_mx(resolver, e->name, answered, e);
	else if (e->kind == NAME)
		resolver_find_name(resolver, e->name, answered, e);
	else
		resolver_find_address(resolver, e->name, e->family, e->kind == NATIVE, answered, e);
	assert_int_equal(e->answered, 0);
}

#define AGAIN "Host not found, try again"
#define LATE "Host not found, try again (no name server answered in time)"
#define BAD "Malformed or unexpected name server reply"
#define NODATA "Host found but no data record of requested type"
#define NOHOST "Host not found"
#define INVALID "Invalid host or domain name"

static struct expect all[] = {
    {MAIL, "ok.test", 0, RESOLVER_OK, 2, "a.ok.test"},
    {MAIL, "OK.test.", 0, RESOLVER_OK, 2, "a.ok.test"},
    {MAIL, "null.test", 0, RESOLVER_OK, 1, ""},
    {MAIL, "trunc.test", 0, RESOLVER_OK, 1, "mx0.test"},
    {MAIL, "many.test", 0, RESOLVER_OK, RESOLVER_MX_MAX, "mx999.test"},
    {MAIL, "nx.test", 0, RESOLVER_NOT_FOUND, 0, NULL, NOHOST},
    {MAIL, "nodata.test", 0, RESOLVER_NO_DATA, 0, NULL, NODATA},
    {MAIL, "servfail.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, AGAIN},
    {MAIL, "refused.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, AGAIN},
    {MAIL, "lame.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, AGAIN},
    {MAIL, "loop.test", 0, RESOLVER_MALFORMED, 0, NULL, BAD},
    {MAIL, "bad.test", 0, RESOLVER_MALFORMED, 0, NULL, BAD},
    {MAIL, "echo.test", 0, RESOLVER_MALFORMED, 0, NULL, BAD},
    {MAIL, "wrongid.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, LATE},
    {MAIL, "wrongname.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, LATE},
    {MAIL, "garbage.test", 0, RESOLVER_TRY_AGAIN},
    {MAIL, "stall.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, LATE},
    {MAIL, "silent.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, LATE},
    {MAIL, "no such name", 0, RESOLVER_NOT_FOUND, 0, NULL, INVALID},
    {MAIL, "", 0, RESOLVER_NOT_FOUND, 0, NULL, INVALID},
    {MAIL, ".", 0, RESOLVER_NOT_FOUND, 0, NULL, INVALID},
    {MAIL, "192.0.2.1", 0, RESOLVER_NOT_FOUND, 0, NULL, INVALID},
    {ADDRESS, "both.test", AF_UNSPEC, RESOLVER_OK, 2, "2001:db8::1"},
    {ADDRESS, "both.test", AF_INET, RESOLVER_OK, 1, "192.0.2.1"},
    {ADDRESS, "both.test", AF_INET6, RESOLVER_OK, 1, "2001:db8::1"},
    {ADDRESS, "v4.test", AF_UNSPEC, RESOLVER_OK, 1, "192.0.2.4"},
    {ADDRESS, "v6.test", AF_UNSPEC, RESOLVER_OK, 1, "2001:db8::6"},
    {ADDRESS, "v6.test", AF_INET, RESOLVER_NO_DATA, 0, NULL, NODATA},
    {ADDRESS, "half.test", AF_UNSPEC, RESOLVER_OK, 1, "192.0.2.5"},
    {ADDRESS, "half.test", AF_INET6, RESOLVER_TRY_AGAIN, 0, NULL, AGAIN},
    {ADDRESS, "deaf6.test", AF_UNSPEC, RESOLVER_OK, 1, "192.0.2.7"},
    {ADDRESS, "crowd.test", AF_UNSPEC, RESOLVER_OK, RESOLVER_ADDRESS_MAX, "2001:db8::1"},
    {ADDRESS, "crowd.test", AF_INET, RESOLVER_OK, RESOLVER_ADDRESS_MAX, "192.0.2.1"},
    {ADDRESS, "zero.test", AF_INET, RESOLVER_MALFORMED, 0, NULL, BAD},
    {ADDRESS, "nx.test", AF_UNSPEC, RESOLVER_NOT_FOUND, 0, NULL, NOHOST},
    {ADDRESS, "192.0.2.77", AF_UNSPEC, RESOLVER_OK, 1, "192.0.2.77"},
    {ADDRESS, "[2001:db8::77]", AF_UNSPEC, RESOLVER_OK, 1, "2001:db8::77"},
    {ADDRESS, "192.0.2.77", AF_INET6, RESOLVER_NO_DATA, 0, NULL, NODATA},
    {ADDRESS, "box.hosts", AF_UNSPEC, RESOLVER_NOT_FOUND, 0, NULL, NOHOST},
    {NATIVE, "box.hosts", AF_UNSPEC, RESOLVER_OK, 3, "2001:db8::b0"},
    {NATIVE, "BOX", AF_INET, RESOLVER_OK, 1, "192.0.2.50"},
    {NATIVE, "localhost", AF_UNSPEC, RESOLVER_OK, 2, "::1"},
    {NATIVE, "both.test", AF_INET, RESOLVER_OK, 1, "192.0.2.1"},
    {NATIVE, "commented.hosts", AF_INET, RESOLVER_NOT_FOUND, 0, NULL, NOHOST},
    {NAME, "192.0.2.10", 0, RESOLVER_OK, 1, "client.test", "client.test"},
    {NAME, "2001:db8::10", 0, RESOLVER_OK, 1, "client6.test", "client6.test"},
    {NAME, "192.0.2.11", 0, RESOLVER_NOT_FOUND, 0, "unknown", "liar.test"},
    {NAME, "192.0.2.12", 0, RESOLVER_NOT_FOUND, 0, "unknown", "nowhere.test"},
    {NAME, "192.0.2.13", 0, RESOLVER_NOT_FOUND, 0, "unknown", "unknown"},
    {NAME, "192.0.2.50", 0, RESOLVER_OK, 1, "box.hosts", "box.hosts"},
    {NAME, "127.0.0.1", 0, RESOLVER_OK, 1, "localhost", "localhost"},
    {NAME, "::1", 0, RESOLVER_OK, 1, "localhost", "localhost"},
    {NAME, "nonsense", 0, RESOLVER_NOT_FOUND, 0, "unknown", "unknown"},
};

static void
all_start(struct rig *r)
{
	open_resolver(r, NULL);
	for (size_t i = 0; i < PP_COUNT(all); i++)
		ask(&all[i]);
}

static void
all_at_once(void **state)
{
	put(hosts_file, "# comment\n192.0.2.50\tbox.hosts box # commented.hosts\n"
			"2001:db8::b0 box.hosts\n192.0.2.51 box.hosts\r\nnonsense box.hosts\n"
			"192.0.2.52\n\n");
	timeout_ms = 1500;
	rig_run(all_start);
	for (size_t i = 0; i < PP_COUNT(all); i++)
		assert_int_equal(all[i].answered, 1);
}

/* -- cancelled, freed ----------------------------------------------------------------------------
 */

static void
never(void *ctx, const struct resolver_answer *a)
{
	fail();
}

static struct expect ok = {MAIL, "ok.test", 0, RESOLVER_OK, 2, "a.ok.test"};

static void
cancel_start(struct rig *r)
{
	open_resolver(r, NULL);
	resolver_cancel(resolver_find_mx(resolver, "ok.test", never, NULL));
	resolver_cancel(resolver_find_mx(resolver, "silent.test", never, NULL));
	resolver_cancel(resolver_find_mx(resolver, "", never, NULL));
	resolver_cancel(resolver_find_address(resolver, "both.test", AF_UNSPEC, true, never, NULL));
	resolver_cancel(NULL);
	/* These are open when the resolver is freed in the callback of `ok`. */
	resolver_find_mx(resolver, "silent.test", never, NULL);
	resolver_find_mx(resolver, "stall.test", never, NULL);
	ok.answered = 0;
	ask(&ok);
}

static void
cancelled_and_freed(void **state)
{
	timeout_ms = 5000;
	rig_run(cancel_start);
	assert_int_equal(ok.answered, 1);
}

/* -- no server, resolv.conf ----------------------------------------------------------------------
 */

static struct expect nobody = {
    MAIL, "ok.test", 0, RESOLVER_TRY_AGAIN, 0, NULL, "Host not found, try again"};

static void
nobody_start(struct rig *r)
{
	open_resolver(r, "127.0.0.1:1");
	nobody.answered = 0;
	ask(&nobody);
}

static void
no_server(void **state)
{
	timeout_ms = 5000;
	rig_run(nobody_start);
}

/* Two files that lead nowhere: what counts is when a new channel is made. */
static void
second_answered(void *ctx, const struct resolver_answer *a)
{
	assert_int_equal(resolver_generation(resolver), 2);
	resolver_free(resolver);
	rig_end();
}

static void
first_answered(void *ctx, const struct resolver_answer *a)
{
	assert_int_equal(a->result, RESOLVER_TRY_AGAIN);
	assert_int_equal(resolver_generation(resolver), 1);
	resolver_cancel(resolver_find_mx(resolver, "a.test", never, NULL));
	assert_int_equal(resolver_generation(resolver), 1);
	put(conf_file, "# changed\nnameserver 127.0.0.3\n");
	resolver_find_mx(resolver, "b.test", second_answered, NULL);
}

static void
conf_start(struct rig *r)
{
	put(conf_file, "nameserver 127.0.0.2\n");
	open_resolver(r, "");
	resolver_find_mx(resolver, "ok.test", first_answered, NULL);
}

static void
changed_resolv_conf(void **state)
{
	timeout_ms = 2000;
	rig_run(conf_start);
}

static void
servers_start(struct rig *r)
{
	static const struct {
		const char *servers, *error;
	} t[] = {
	    {"127.0.0.1:5353, ns.example", "name server \"ns.example\" is no address"},
	    {"127.0.0.1:99999", "is no address"},
	    {"1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9",
		"more than 8 name servers"},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct buf err;

		buf_init(&err, 200);
		assert_null(resolver_new(r->loop, t[i].servers, 1000, &err));
		if (strstr(buf_cstr(&err), t[i].error) == NULL)
			fail_msg("%s", buf_cstr(&err));
		buf_fini(&err);
	}
	open_resolver(r, "127.0.0.1, [::1]:5353 192.0.2.1:53");
	resolver_free(resolver);
	resolver_free(NULL);
	rig_end();
}

static void
server_lists(void **state)
{
	rig_run(servers_start);
}

/* -- too many ------------------------------------------------------------------------------------
 */

static unsigned refused_count, crowd_left;

static void
crowd_answered(void *ctx, const struct resolver_answer *a)
{
	if (a->result == RESOLVER_TRY_AGAIN && strstr(a->text, "too many"))
		refused_count++;
	if (--crowd_left == 0) {
		resolver_free(resolver);
		rig_end();
	}
}

static void
crowd_start(struct rig *r)
{
	open_resolver(r, NULL);
	for (crowd_left = 0; crowd_left < 4200; crowd_left++)
		resolver_find_mx(resolver, "silent.test", crowd_answered, NULL);
}

static void
queries_have_a_maximum(void **state)
{
	timeout_ms = 300;
	refused_count = 0;
	rig_run(crowd_start);
	assert_int_equal(refused_count, 4200 - 4096);
}

static int
setup(void **state)
{
	int a = mkstemp(hosts_file), b = mkstemp(conf_file);

	close(a);
	close(b);
	return server_start(state);
}

static int
teardown(void **state)
{
	unlink(hosts_file);
	unlink(conf_file);
	return server_stop(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_at_once),
	    cmocka_unit_test(cancelled_and_freed),
	    cmocka_unit_test(no_server),
	    cmocka_unit_test(changed_resolv_conf),
	    cmocka_unit_test(server_lists),
	    cmocka_unit_test(queries_have_a_maximum),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
