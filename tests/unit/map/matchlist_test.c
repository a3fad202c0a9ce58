/*
 * matchlist_test.c - lists of networks and of domains.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/fsio.h"
#include "pp/map/userlist.h"
#include "pp/runtime/loop.h"

static char file[] = "/tmp/matchlist_test.XXXXXX";

static void
put(const char *text)
{
	assert_int_equal(fsio_replace(AT_FDCWD, file, str_of(text), 0600), 0);
}

static void
networks(void **state)
{
	static const struct {
		const char *list, *address;
		bool want;
	} cases[] = {
	    {"", "127.0.0.1", false},
	    {"127.0.0.0/8", "127.0.0.1", true},
	    {"127.0.0.0/8", "128.0.0.1", false},
	    {"10.1.2.3", "10.1.2.3", true},
	    {"10.1.2.3", "10.1.2.4", false},
	    {"!10.0.0.1, 10.0.0.0/8", "10.0.0.1", false},
	    {"!10.0.0.1, 10.0.0.0/8", "10.0.0.2", true},
	    {"10.0.0.0/8 !10.0.0.1", "10.0.0.1", true},
	    {"!!10.0.0.1", "10.0.0.1", true},
	    {"[::1]/128", "::1", true},
	    {"[::1]", "[::1]", true},
	    {"::1", "IPv6:::1", true},
	    {"[fe80::]/64", "fe80::1%eth0", true},
	    {"[fe80::]/64", "fe80:0:0:1::1", false},
	    {"2001:db8::/33", "2001:db8:8000::1", false},
	    {"2001:db8::/33", "2001:db8:7fff::1", true},
	    {"[::ffff:127.0.0.0]/104", "127.0.0.1", true},
	    {"127.0.0.0/8", "::ffff:127.0.0.1", true},
	    {"0.0.0.0/0", "1.2.3.4", true},
	    {"0.0.0.0/0", "::1", false},
	    {"[::]/0", "1.2.3.4", false},
	    {"10.0.0.0/8", "unknown", false},
	    {"10.0.0.0/8", "", false},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct netlist *l;
		struct buf err;

		buf_init(&err, 1000);
		assert_int_equal(netlist_new_blk(cases[i].list, &l, &err), 0);
		if (netlist_match_text(l, str_of(cases[i].address)) != cases[i].want)
			fail_msg("%s in %s", cases[i].address, cases[i].list);
		netlist_unref(l);
		buf_fini(&err);
	}
}

static void
sockets(void **state)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr un = {.sa_family = AF_UNIX};
	struct netlist *l;
	struct buf err;

	buf_init(&err, 1000);
	assert_int_equal(netlist_new_blk("10.0.0.0/8 [2001:db8::]/32", &l, &err), 0);
	inet_pton(AF_INET, "10.9.8.7", &v4.sin_addr);
	assert_true(netlist_match(l, (struct sockaddr *)&v4));
	inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
	assert_true(netlist_match(l, (struct sockaddr *)&v6));
	inet_pton(AF_INET6, "::ffff:10.0.0.1", &v6.sin6_addr);
	assert_true(netlist_match(l, (struct sockaddr *)&v6));
	inet_pton(AF_INET6, "::ffff:11.0.0.1", &v6.sin6_addr);
	assert_false(netlist_match(l, (struct sockaddr *)&v6));
	assert_false(netlist_match(l, &un));
	netlist_ref(l);
	netlist_unref(l);
	netlist_unref(l);
	buf_fini(&err);
}

static void
network_errors(void **state)
{
	static const char *const cases[][2] = {
	    {"127.0.0.1/8",
		"\"127.0.0.1/8\" has bits set behind the length of its network: perhaps "
		"\"127.0.0.0/8\""},
	    {"localhost", "neither an address nor a network"},
	    {"10.0.0.0/", "length of a network must be from 0 to 32"},
	    {"[::1]/129", "length of a network must be from 0 to 128"},
	    {"hash:/x", "takes no tables"},
	    {"/nonexistent/file", "cannot read /nonexistent/file: No such file"},
	    {"!/nonexistent/file", "a file cannot be negated"},
	    {"{10.0.0.1", "brace"},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct netlist *l = NULL;
		struct buf err;

		buf_init(&err, 1000);
		assert_true(netlist_new_blk(cases[i][0], &l, &err) < 0);
		assert_null(l);
		if (!strstr(buf_cstr(&err), cases[i][1]))
			fail_msg("%s: %s", cases[i][0], buf_cstr(&err));
		buf_fini(&err);
	}
}

static void
files(void **state)
{
	struct netlist *l;
	struct domainlist *d;
	struct buf err;
	char text[200];

	buf_init(&err, 1000);
	put("# mine\n10.0.0.1, 10.0.0.2\n !10.0.0.3\n10.0.0.0/24\n");
	assert_int_equal(netlist_new_blk(file, &l, &err), 0);
	assert_true(netlist_match_text(l, STR("10.0.0.2")));
	assert_false(netlist_match_text(l, STR("10.0.0.3")));
	assert_true(netlist_match_text(l, STR("10.0.0.4")));
	netlist_unref(l);
	snprintf(text, sizeof(text), "x.example %s", file);
	put("a.example\nb.example\n");
	assert_int_equal(domainlist_new_blk(text, 0, &d, &err), 0);
	assert_int_equal(domainlist_match(d, STR("B.example")), 1);
	assert_int_equal(domainlist_match(d, STR("x.example")), 1);
	assert_int_equal(domainlist_match(d, STR("c.example")), 0);
	domainlist_unref(d);
	put(file); /* a file that names itself */
	assert_int_equal(netlist_new_blk(file, &l, &err), -EINVAL);
	assert_int_equal(domainlist_new_blk(file, 0, &d, &err), -EINVAL);
	buf_fini(&err);
}

static void
domains(void **state)
{
	static const struct {
		const char *list;
		unsigned flags;
		const char *domain;
		int want;
	} cases[] = {
	    {"", 0, "a", 0},
	    {"example.com, localhost", 0, "example.com", 1},
	    {"example.com, localhost", 0, "LOCALHOST", 1},
	    {"example.com", 0, "sub.example.com", 0},
	    {"example.com", DOMAINLIST_PARENTS, "sub.example.com", 1},
	    {"example.com", DOMAINLIST_PARENTS, "notexample.com", 0},
	    {".example.com", 0, "sub.example.com", 1},
	    {".example.com", 0, "example.com", 0},
	    {"!bad.example.com, .example.com", 0, "bad.example.com", 0},
	    {"!bad.example.com, .example.com", 0, "good.example.com", 1},
	    {"[192.0.2.1]", 0, "[192.0.2.1]", 1},
	    {"static:all", 0, "x", 1},
	    {"!static:all", 0, "x", 0},
	    {"inline:{a.example=x}", 0, "A.example", 1},
	    {"inline:{a.example=x}", 0, "b.a.example", 0},
	    {"inline:{a.example=x}", DOMAINLIST_PARENTS, "c.b.a.example", 1},
	    {"inline:{.a.example=x}", 0, "c.b.a.example", 1},
	    {"hash:/nonexistent, x", 0, "x", -EAGAIN},
	    {"x, hash:/nonexistent", 0, "x", 1},
	    {"fail:x", 0, "x", -EAGAIN},
	    {"x", 0, "", 0},
	    {"john.doe", DOMAINLIST_WHOLE, "john.doe", 1},
	    {"doe .doe", DOMAINLIST_WHOLE | DOMAINLIST_PARENTS, "john.doe", 0},
	    {"inline:{doe=x .doe=x}", DOMAINLIST_WHOLE, "john.doe", 0},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct domainlist *l;
		struct buf err;

		buf_init(&err, 1000);
		if (domainlist_new_blk(cases[i].list, cases[i].flags, &l, &err) != 0)
			fail_msg("%s: %s", cases[i].list, buf_cstr(&err));
		if (domainlist_match(l, str_of(cases[i].domain)) != cases[i].want)
			fail_msg("%s in %s", cases[i].domain, cases[i].list);
		domainlist_unref(l);
		buf_fini(&err);
	}
}

static void
domain_tables(void **state)
{
	struct domainlist *l = NULL;
	struct buf err;
	char text[200];

	buf_init(&err, 1000);
	put("a.example x\n");
	snprintf(text, sizeof(text), "first.example hash:%s last.example", file);
	assert_int_equal(domainlist_new_blk(text, 0, &l, &err), 0);
	assert_int_equal(domainlist_match(l, STR("first.example")), 1);
	assert_int_equal(domainlist_match(l, STR("a.example")), -EAGAIN);
	assert_int_equal(domainlist_match_blk(l, STR("a.example"), NULL), 1);
	assert_int_equal(domainlist_match_blk(l, STR("last.example"), NULL), 1);
	assert_int_equal(domainlist_match_blk(l, STR("none.example"), NULL), 0);
	unlink(file);
	assert_int_equal(domainlist_match_blk(l, STR("a.example"), NULL), -ENOENT);
	domainlist_ref(l);
	domainlist_unref(l);
	domainlist_unref(l);
	l = NULL;
	assert_int_equal(domainlist_new_blk("nosuch:/x", 0, &l, &err), -EINVAL);
	assert_int_equal(domainlist_new_blk("!", 0, &l, &err), -EINVAL);
	assert_int_equal(domainlist_new_blk("!/nonexistent/x", 0, &l, &err), -ENOENT);
	assert_null(l);
	buf_fini(&err);
}

/* A negated file says the contrary of each of its lines, up to the next file inside. */
static void
negated_files(void **state)
{
	struct domainlist *l = NULL;
	struct buf err;
	char text[200];

	buf_init(&err, 1000);
	put("alice, !bob\n");
	snprintf(text, sizeof(text), "!%s carol", file);
	assert_int_equal(domainlist_new_blk(text, 0, &l, &err), 0);
	assert_int_equal(domainlist_match(l, STR("alice")), 0);
	assert_int_equal(domainlist_match(l, STR("bob")), 1);
	assert_int_equal(domainlist_match(l, STR("carol")), 1);
	assert_int_equal(domainlist_match(l, STR("dave")), 0);
	domainlist_unref(l);
	unlink(file);
	buf_fini(&err);
}

static void
flags(void **state)
{
	const char *list = "debug_peer_list,fast_flush_domains,mynetworks, relay_domains";

	assert_int_equal(domainlist_flags(list, "relay_domains"), DOMAINLIST_PARENTS);
	assert_int_equal(domainlist_flags(list, "mydestination"), 0);
}

struct asking {
	struct domainlist_query q;
	struct post start;
	struct loop *loop;
	struct lane *lane;
	struct domainlist *list;
	int result;
};

static void
answered(struct domainlist_query *q)
{
	struct asking *a = PP_CONTAINER(q, struct asking, q);

	a->result = q->result;
	loop_stop(a->loop);
}

static void
ask(struct post *p)
{
	struct asking *a = PP_CONTAINER(p, struct asking, start);

	domainlist_find(a->list, a->lane, &a->q, STR("a.example"), answered);
	domainlist_unref(a->list);
	a->list = NULL;
}

static void
asynchronous(void **state)
{
	struct asking a = {.loop = loop_new("test"), .lane = lane_new("slow", 1)};
	struct buf err;
	char text[200];

	buf_init(&err, 1000);
	put("a.example x\n");
	snprintf(text, sizeof(text), "hash:%s", file);
	assert_int_equal(domainlist_new_blk(text, 0, &a.list, &err), 0);
	post_to(a.loop, &a.start, ask);
	loop_run(a.loop);
	assert_int_equal(a.result, 1);
	lane_free(a.lane);
	loop_free(a.loop);
	buf_fini(&err);
}

static void
users(void **state)
{
	static const struct {
		const char *list;
		uid_t uid;
		int want;
		const char *name;
	} cases[] = {
	    {"static:anyone", 54321, 1, "unknown"},
	    {" static:anyone", 0, 1, "root"},
	    {"", 0, 0, "root"},
	    {"root", 0, 1, "root"},
	    {"x, ROOT", 0, 1, "root"},
	    {"0 oot .oot", 0, 0, "root"},
	    {"!root, static:all", 0, 0, "root"},
	    {"!root, static:all", 54321, 1, "unknown"},
	    {"!unknown, static:all", 54321, 0, "unknown"},
	    {"unknown", 54321, 1, "unknown"},
	    {"inline:{root=x}", 0, 1, "root"},
	    {"hash:/nonexistent", 0, -ENOENT, "root"},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		char name[USERLIST_NAME_MAX];
		struct userlist *l = NULL;
		struct buf err = {.max = 1000};

		assert_int_equal(userlist_new_blk(cases[i].list, &l, &err), 0);
		if (userlist_match_blk(l, cases[i].uid, name) != cases[i].want)
			fail_msg("%ld in %s", (long)cases[i].uid, cases[i].list);
		assert_string_equal(name, cases[i].name);
		assert_int_equal(userlist_is_everybody(l), i < 2);
		userlist_unref(l);
	}
}

static void
bad_user_lists(void **state)
{
	static const char *const cases[] = {"!", "/nonexistent/users", "nosuch:/x", "{x"};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct userlist *l = NULL;
		struct buf err = {.max = 1000};

		assert_true(userlist_new_blk(cases[i], &l, &err) < 0);
		assert_null(l);
		assert_true(err.n > 0);
		buf_fini(&err);
	}
}

struct asking_user {
	struct userlist_query q;
	struct post start;
	struct loop *loop;
	struct lane *lane;
	struct userlist *list;
};

static void
user_answered(struct userlist_query *q)
{
	loop_stop(PP_CONTAINER(q, struct asking_user, q)->loop);
}

static void
ask_user(struct post *p)
{
	struct asking_user *a = PP_CONTAINER(p, struct asking_user, start);

	userlist_find(a->list, a->lane, &a->q, 54321, user_answered);
	userlist_unref(a->list);
}

static void
asynchronous_users(void **state)
{
	struct asking_user a = {.loop = loop_new("test"), .lane = lane_new("slow", 1)};
	struct buf err = {.max = 1000};

	assert_int_equal(userlist_new_blk("root, unknown", &a.list, &err), 0);
	post_to(a.loop, &a.start, ask_user);
	loop_run(a.loop);
	assert_int_equal(a.q.result, 1);
	assert_string_equal(a.q.name, "unknown");
	lane_free(a.lane);
	loop_free(a.loop);
}

static int
setup(void **state)
{
	int fd = mkstemp(file);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	return unlink(file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(networks),
	    cmocka_unit_test(sockets),
	    cmocka_unit_test(network_errors),
	    cmocka_unit_test(files),
	    cmocka_unit_test(domains),
	    cmocka_unit_test(domain_tables),
	    cmocka_unit_test(negated_files),
	    cmocka_unit_test(flags),
	    cmocka_unit_test(asynchronous),
	    cmocka_unit_test(users),
	    cmocka_unit_test(bad_user_lists),
	    cmocka_unit_test(asynchronous_users),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
