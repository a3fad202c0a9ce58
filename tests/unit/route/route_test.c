/*
 * route_test.c - the table of classes, completion and next hops.
 */
#include "spool_dir.h"
#include "pp/mail/address.h"
#include "pp/route/route.h"

struct setup {
	struct config *config;
	struct route *route;
	struct arena arena;
};

static int
try_open(struct setup *s, const char *const *extra, struct buf *err)
{
	const char *names[32] = {"myhostname=mail.me.test", "mydomain=me.test", "myorigin=me.test",
	    "mydestination=me.test, localhost", "relay_domains=relay.test",
	    "virtual_alias_domains=valias.test", "virtual_mailbox_domains=vmail.test",
	    "inet_interfaces=127.0.0.1, [::1]", "proxy_interfaces=192.0.2.7",
	    "compatibility_level=3.6"};
	struct config_source src = {.extra = names, .hostname = "mail.me.test"};
	struct config_report report;
	size_t n = 10;

	*s = (struct setup){0};
	for (; extra && *extra; extra++)
		names[n++] = *extra;
	config_report_init(&report);
	if (config_load(&src, &s->config, &report) != 0)
		fail_msg("%s", report.first->text);
	config_report_fini(&report);
	return route_new(s->config, &s->route, err);
}

static void
open_route(struct setup *s, const char *const *extra)
{
	struct buf err;

	buf_init(&err, 1024);
	if (try_open(s, extra, &err) != 0)
		fail_msg("%s", buf_cstr(&err));
	buf_fini(&err);
}

static void
close_route(struct setup *s)
{
	route_unref(s->route);
	snap_unref(&s->config->snap);
	arena_fini(&s->arena);
}

static enum route_class
class_of(const struct setup *s, const char *address)
{
	enum route_class class;

	assert_true(route_class(s->route, str_of(address), &class));
	return class;
}

static void
test_class(void **state)
{
	static const struct {
		const char *address;
		enum route_class class;
	} rows[] = {
	    {"user", ROUTE_LOCAL},
	    {"", ROUTE_LOCAL},
	    {"user@me.test", ROUTE_LOCAL},
	    {"user@ME.Test", ROUTE_LOCAL},
	    {"user@me.test.", ROUTE_LOCAL},
	    {"user@localhost", ROUTE_LOCAL},
	    {"user@sub.me.test", ROUTE_DEFAULT},
	    {"a@b@me.test", ROUTE_LOCAL},
	    {"user@valias.test", ROUTE_VIRTUAL_ALIAS},
	    {"user@vmail.test", ROUTE_VIRTUAL_MAILBOX},
	    {"user@relay.test", ROUTE_RELAY},
	    {"user@sub.relay.test", ROUTE_RELAY}, /* parent_domain_matches_subdomains */
	    {"user@sub.vmail.test", ROUTE_DEFAULT},
	    {"user@else.test", ROUTE_DEFAULT},
	    {"user@[127.0.0.1]", ROUTE_LOCAL},
	    {"user@[192.0.2.7]", ROUTE_LOCAL},
	    {"user@[192.0.2.8]", ROUTE_DEFAULT},
	    {"user@[IPv6:::1]", ROUTE_LOCAL},
	    {"user@[ipv6:0:0:0:0:0:0:0:1]", ROUTE_LOCAL},
	    {"user@[IPv6:::ffff:127.0.0.1]", ROUTE_LOCAL},
	    {"user@[IPv6:2001:db8::1]", ROUTE_DEFAULT},
	    {"user@[127.0.0.1", ROUTE_DEFAULT},
	    {"user@[]", ROUTE_DEFAULT},
	    {"user@[x]", ROUTE_DEFAULT},
	    {"user@", ROUTE_DEFAULT},
	};
	struct setup s;

	open_route(&s, NULL);
	for (size_t i = 0; i < PP_COUNT(rows); i++)
		if (class_of(&s, rows[i].address) != rows[i].class)
			fail_msg("%s: %d", rows[i].address, class_of(&s, rows[i].address));
	close_route(&s);
}

static void
test_complete(void **state)
{
	static const char *const dotted[] = {"append_dot_mydomain=yes", NULL};
	static const char *const bare[] = {"append_at_myorigin=no", NULL};
	struct setup s;

	open_route(&s, NULL);
	assert_string_equal(route_complete(s.route, &s.arena, STR("al")), "al@me.test");
	assert_string_equal(route_complete(s.route, &s.arena, STR("al@host")), "al@host");
	assert_string_equal(route_complete(s.route, &s.arena, STR("")), "");
	close_route(&s);
	open_route(&s, dotted);
	assert_string_equal(route_complete(s.route, &s.arena, STR("al@host")), "al@host.me.test");
	assert_string_equal(route_complete(s.route, &s.arena, STR("al@a.b")), "al@a.b");
	close_route(&s);
	open_route(&s, bare);
	assert_string_equal(route_complete(s.route, &s.arena, STR("al")), "al");
	close_route(&s);
}

static void
test_resolve(void **state)
{
	static const struct {
		const char *extra, *recipient, *want;
	} rows[] = {
	    {NULL, "al@me.test", "local mail.me.test"},
	    {NULL, "al", "local mail.me.test"},
	    {NULL, "", "smtp mail.me.test"},
	    {"empty_address_recipient=pm@else.test", "", "smtp else.test"},
	    {"local_transport=lmtp:unix:/run/lmtp", "al@me.test", "lmtp unix:/run/lmtp"},
	    {"local_transport=error:5.1.1 nobody here", "al@me.test", "error 5.1.1 nobody here"},
	    {"local_transport=local", "al@me.test", "local me.test"},
	    {NULL, "al@valias.test", "error 5.1.1 User unknown in virtual alias table"},
	    {NULL, "al@vmail.test", "virtual vmail.test"},
	    {NULL, "al@relay.test", "relay relay.test"},
	    {"relayhost=[mx.test]:587", "al@relay.test", "relay [mx.test]:587"},
	    {"relay_transport=relay:[in.test]", "al@relay.test", "relay [in.test]"},
	    {NULL, "al@Else.Test", "smtp else.test"},
	    {NULL, "al@[192.0.2.8]", "smtp [192.0.2.8]"},
	    {"relayhost=[mx.test]:587, [my.test]:587", "al@else.test",
		"smtp [mx.test]:587, [my.test]:587"},
	    {"default_transport=smtp:[out.test]:26", "al@else.test", "smtp [out.test]:26"},
	    {"default_transport=slow:", "al@else.test", "slow else.test"},
	    {"default_transport=error:mail is off", "al@else.test", "error mail is off"},
	    {NULL, "al@", "error 5.1.3 bad address syntax"},
	    {NULL, "@else.test", "error 5.1.3 bad address syntax"},
	    {NULL, "bad@@addr@", "error 5.1.3 bad address syntax"},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		const char *const extra[] = {rows[i].extra, NULL};
		struct route_hop hop;
		struct setup s;
		char *got;

		open_route(&s, extra);
		route_resolve_blk(s.route, &s.arena, "s@ok.test", rows[i].recipient, &hop);
		got = arena_printf(&s.arena, "%s %s", hop.transport, hop.nexthop);
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s with %s: %s, not %s", rows[i].recipient,
			    rows[i].extra ? rows[i].extra : "defaults", got, rows[i].want);
		close_route(&s);
	}
}

static void
test_interfaces(void **state)
{
	static const struct {
		const char *extra;
		bool local;
	} rows[] = {
	    {"inet_interfaces=loopback-only", true},
	    {"inet_interfaces=localhost", true},
	    {"inet_interfaces=all", true},
	    {"inet_interfaces=mail.me.test", true},
	    {"inet_interfaces=192.0.2.1", false},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		const char *const extra[] = {rows[i].extra, NULL};
		struct setup s;

		open_route(&s, extra);
		assert_int_equal(class_of(&s, "a@[127.0.0.1]") == ROUTE_LOCAL, rows[i].local);
		close_route(&s);
	}
}

static void
test_errors(void **state)
{
	static const struct {
		const char *extra, *want;
	} rows[] = {
	    {"relay_transport=:host", "relay_transport = :host: a transport name is missing"},
	    {"mydestination=/nonexistent/list", "mydestination: "},
	    {"relay_domains=nosuch:/table", "relay_domains: "},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		const char *const extra[] = {rows[i].extra, NULL};
		struct setup s;
		struct buf err;

		buf_init(&err, 1024);
		if (try_open(&s, extra, &err) >= 0)
			fail_msg("%s is accepted", rows[i].extra);
		if (strncmp(buf_cstr(&err), rows[i].want, strlen(rows[i].want)) != 0)
			fail_msg("%s: %s", rows[i].extra, buf_cstr(&err));
		buf_fini(&err);
		snap_unref(&s.config->snap);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_class),
	    cmocka_unit_test(test_complete),
	    cmocka_unit_test(test_resolve),
	    cmocka_unit_test(test_interfaces),
	    cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
