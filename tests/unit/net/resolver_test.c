/*
 * resolver_test.c - the resolver against a name server in a thread, which answers as the name says.
 */
#include "pair.h"
#include <fcntl.h>
#include <sys/stat.h>
#include "dns_server.h"
#include "net/resolver_internal.h"

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
		resolver_find_mx(resolver, e->name, 0, answered, e);
	else if (e->kind == NAME)
		resolver_find_name(resolver, e->name, answered, e);
	else
		resolver_find_address(resolver, e->name, e->family,
		    e->kind == NATIVE ? RESOLVER_NATIVE : 0, answered, e);
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
	resolver_cancel(resolver_find_mx(resolver, "ok.test", 0, never, NULL));
	resolver_cancel(resolver_find_mx(resolver, "silent.test", 0, never, NULL));
	resolver_cancel(resolver_find_mx(resolver, "", 0, never, NULL));
	resolver_cancel(
	    resolver_find_address(resolver, "both.test", AF_UNSPEC, RESOLVER_NATIVE, never, NULL));
	resolver_cancel(NULL);
	/* These are open when the resolver is freed in the callback of `ok`. */
	resolver_find_mx(resolver, "silent.test", 0, never, NULL);
	resolver_find_mx(resolver, "stall.test", 0, never, NULL);
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

/* Two files that lead nowhere: what counts is when a new channel is made. The first question finds
 * none yet, so none is made anew. */
static void
second_answered(void *ctx, const struct resolver_answer *a)
{
	assert_int_equal(resolver_generation(resolver), 1);
	resolver_free(resolver);
	rig_end();
}

static void
first_answered(void *ctx, const struct resolver_answer *a)
{
	assert_int_equal(a->result, RESOLVER_TRY_AGAIN);
	assert_int_equal(resolver_generation(resolver), 0);
	resolver_cancel(resolver_find_mx(resolver, "a.test", 0, never, NULL));
	assert_int_equal(resolver_generation(resolver), 0);
	put(conf_file, "# changed\nnameserver 127.0.0.3\n");
	resolver_find_mx(resolver, "b.test", 0, second_answered, NULL);
}

static void
conf_start(struct rig *r)
{
	put(conf_file, "nameserver 127.0.0.2\n");
	open_resolver(r, "");
	resolver_find_mx(resolver, "ok.test", 0, first_answered, NULL);
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
		resolver_find_mx(resolver, "silent.test", 0, crowd_answered, NULL);
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
