/*
 * Which hosts are tried, in which order, and what is said when none is left: name service, mail
 * exchangers, lists of relays, fallback relays, loops.
 *
 * "@" in a next hop stands for the port of the servers, which listen on 127.0.0.1 (server 0) and
 * 127.0.0.2 (server 1). On 127.0.0.3 nobody listens.
 */
#include "fake_dns.h"

#define SENT "2.0.0 sent 250 2.0.0 Ok: queued as X"
#define A                                                                                          \
	{                                                                                          \
		"a.test", "A", RESOLVER_OK, "127.0.0.1"                                            \
	}
#define B                                                                                          \
	{                                                                                          \
		"b.test", "A", RESOLVER_OK, "127.0.0.2"                                            \
	}
#define C                                                                                          \
	{                                                                                          \
		"c.test", "A", RESOLVER_OK, "127.0.0.3"                                            \
	}
#define MX(values)                                                                                 \
	{                                                                                          \
		"there.test", "MX", RESOLVER_OK, values                                            \
	}
#define DNS(name, type, text)                                                                      \
	"Host or domain name not found. Name service error for name=" name " type=" type ": " text

struct hosts {
	const char *name, *nexthop;
	struct fake_dns zone[6];
	struct fake_rule rules[FAKE_RULES]; /* of server 0; server 1 takes everything */
	const char *settings[4];
	const char *want;
	const char *relay; /* NULL = none */
	unsigned connections[2];
	const char *log; /* a line that must be there, or NULL */
	size_t rcpts;    /* 0 = 1; all others must be sent */
	bool hop;
};

static const struct hosts hosts[] = {
    {"best first", "there.test", {MX("20 b.test, 10 a.test"), A, B}, .want = SENT,
	.relay = "a.test[127.0.0.1]:@", .connections = {1, 0}},
    {"next after connect", "there.test", {MX("10 c.test, 20 b.test"), C, B}, .want = SENT,
	.relay = "b.test[127.0.0.2]:@", .connections = {0, 1},
	.log = "connect to c.test[127.0.0.3]:@: Connection refused\nQID0: to="},
    {"all refuse", "there.test", {MX("10 c.test"), C},
	.want = "4.4.1 deferred connect to c.test[127.0.0.3]:@: Connection refused", .hop = true},
    {"next after greeting", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	{{"banner", 0, "451 4.3.2 busy"}}, .want = SENT, .relay = "b.test[127.0.0.2]:@",
	.connections = {1, 1},
	.log = "QID0: host a.test[127.0.0.1] refused to talk to me: 451 4.3.2 busy\n"},
    {"next after loss", "there.test", {MX("10 a.test, 20 b.test"), A, B}, {{"RCPT", 0, "CLOSE"}},
	.want = SENT, .relay = "b.test[127.0.0.2]:@", .connections = {1, 1},
	.log = "QID0: lost connection with a.test[127.0.0.1] while sending RCPT TO\n"},
    {"next for one recipient", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	{{"RCPT", 1, "450 4.2.0 later"}}, .want = SENT, .relay = "b.test[127.0.0.2]:@",
	.connections = {1, 1}, .rcpts = 3,
	.log =
	    "QID0: host a.test[127.0.0.1] said: 450 4.2.0 later (in reply to RCPT TO command)\n"},
    {"next after dot 4xx", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	{{".", 0, "451 4.3.0 no"}}, .want = SENT, .relay = "b.test[127.0.0.2]:@",
	.connections = {1, 1}, .rcpts = 2},
    {"no next after 5xx", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	{{"MAIL", 0, "550 5.7.1 no"}},
	.want = "5.7.1 bounced host a.test[127.0.0.1] said: 550 5.7.1 no (in reply to MAIL FROM "
		"command)",
	.relay = "a.test[127.0.0.1]:@", .connections = {1, 0}},
    {"soft bounce goes on", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	{{"MAIL", 0, "550 5.7.1 no"}}, {"soft_bounce=yes"}, .want = SENT,
	.relay = "b.test[127.0.0.2]:@", .connections = {1, 1}},
    {"session limit", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	{{"banner", 0, "451 4.3.2 busy"}}, {"smtp_mx_session_limit=1"},
	.want = "4.3.2 deferred host a.test[127.0.0.1] refused to talk to me: 451 4.3.2 busy",
	.relay = "a.test[127.0.0.1]:@", .connections = {1, 0}, .hop = true},
    {"address limit", "there.test", {MX("10 c.test, 20 b.test"), C, B},
	.settings = {"smtp_mx_address_limit=1"},
	.want = "4.4.1 deferred connect to c.test[127.0.0.3]:@: Connection refused", .hop = true},
    {"no MX", "a.test", {A}, .want = SENT, .relay = "a.test[127.0.0.1]:@", .connections = {1, 0}},
    {"brackets: no MX asked", "[a.test]", {{"a.test", "MX", RESOLVER_OK, "10 b.test"}, A, B},
	.want = SENT, .relay = "a.test[127.0.0.1]:@", .connections = {1, 0}},
    {"no DNS: no MX asked", "a.test", {{"a.test", "MX", RESOLVER_OK, "10 b.test"}, A, B},
	.settings = {"disable_dns_lookups=yes"}, .want = SENT, .relay = "a.test[127.0.0.1]:@",
	.connections = {1, 0}},
    {"no domain", "there.test", .want = "5.4.4 bounced " DNS("there.test", "A", "Host not found")},
    {"no domain, soft", "there.test", .settings = {"soft_bounce=yes"},
	.want = "4.4.4 deferred " DNS("there.test", "A", "Host not found"), .hop = true},
    {"try again", "there.test", {{"there.test", "MX", RESOLVER_TRY_AGAIN, NULL}},
	.want = "4.4.3 deferred " DNS("there.test", "MX", "Host not found, try again"),
	.hop = true},
    {"malformed", "there.test", {{"there.test", "MX", RESOLVER_MALFORMED, NULL}},
	.want =
	    "4.4.3 deferred " DNS("there.test", "MX", "Malformed or unexpected name server reply"),
	.hop = true},
    {"MX trouble ignored", "a.test", {{"a.test", "MX", RESOLVER_TRY_AGAIN, NULL}, A},
	.settings = {"ignore_mx_lookup_error=yes"}, .want = SENT, .relay = "a.test[127.0.0.1]:@",
	.connections = {1, 0}},
    {"no MX, no address", "there.test", {{"there.test", "TXT", RESOLVER_OK, NULL}},
	.want = "5.4.4 bounced " DNS(
	    "there.test", "A", "Host found but no data record of requested type")},
    {"null MX", "there.test", {MX("0 "), A},
	.want = "5.1.0 bounced Domain there.test does not accept mail (nullMX)"},
    {"MX without address", "there.test", {MX("10 x.test")},
	.want = "5.4.4 bounced " DNS("x.test", "A", "Host not found")},
    {"MX without address, to be deferred", "there.test", {MX("10 x.test")},
	.settings = {"smtp_defer_if_no_mx_address_found=yes"},
	.want = "4.4.4 deferred " DNS("x.test", "A", "Host not found"), .hop = true},
    {"one MX in doubt", "there.test",
	{MX("10 x.test, 20 y.test, 30 z.test"), {"y.test", "A", RESOLVER_TRY_AGAIN, NULL}},
	.want = "4.4.3 deferred " DNS("y.test", "A", "Host not found, try again"), .hop = true},
    {"one MX without address", "there.test", {MX("10 x.test, 20 b.test"), B}, .want = SENT,
	.relay = "b.test[127.0.0.2]:@", .connections = {0, 1}},
    {"native", "[x.test]", .settings = {"smtp_host_lookup=native"},
	.want = "5.4.4 bounced unable to look up host x.test: Name or service not known"},
    {"own name is best", "there.test", {MX("10 mail.here.test, 20 b.test"), B},
	.settings = {"smtp_tcp_port=25"},
	.want = "5.4.6 bounced mail for there.test loops back to myself"},
    {"own address is best", "there.test", {MX("10 a.test, 20 b.test"), A, B},
	.settings = {"smtp_tcp_port=25"},
	.want = "5.4.6 bounced mail for there.test loops back to myself"},
    {"own address of a NAT", "there.test:25",
	{MX("10 n.test"), {"n.test", "A", RESOLVER_OK, "192.0.2.77"}},
	.settings = {"proxy_interfaces=192.0.2.77"},
	.want = "5.4.6 bounced mail for there.test loops back to myself"},
    {"list of relays", "[127.0.0.3]:@, [a.test]:@ [b.test]:@", {A, B}, .want = SENT,
	.relay = "a.test[127.0.0.1]:@", .connections = {1, 0},
	.log = "connect to 127.0.0.3[127.0.0.3]:@: Connection refused\n"},
    {"list of relays, one unknown", "[x.test]:@, [b.test]:@", {B}, .want = SENT,
	.relay = "b.test[127.0.0.2]:@", .connections = {0, 1}},
    {"fallback after connect", "[c.test]", {C, B}, .settings = {"smtp_fallback_relay=[b.test]"},
	.want = SENT, .relay = "b.test[127.0.0.2]:@", .connections = {0, 1}},
    {"fallback after name service", "there.test",
	{{"there.test", "MX", RESOLVER_TRY_AGAIN, NULL}, B},
	.settings = {"smtp_fallback_relay=[b.test]"}, .want = SENT, .relay = "b.test[127.0.0.2]:@",
	.connections = {0, 1}},
    {"fallback unknown", "[c.test]", {C}, .settings = {"smtp_fallback_relay=[x.test]"},
	.want = "4.3.5 deferred " DNS("x.test", "A", "Host not found"),
	.log = "warning: smtp_fallback_relay configuration problem\n", .hop = true},
    {"relayhost unknown", "[x.test]", .settings = {"relayhost=[x.test]"},
	.want = "4.3.5 deferred " DNS("x.test", "A", "Host not found"),
	.log = "warning: relayhost configuration problem\n", .hop = true},
    {"bad next hop", "[a.test]:nosuch", {A},
	.want = "4.3.5 deferred bad next hop: \"[a.test]:nosuch\"", .hop = true},
    {"no next hop", "", .want = "4.3.5 deferred bad next hop: \"\""},
};

/* "@" -> the port. */
static const char *
with_port(const char *text, unsigned port, char *to, size_t size)
{
	size_t n = 0;

	for (; *text && n < size - 8; text++) {
		if (*text == '@')
			n += (size_t)snprintf(to + n, size - n, "%u", port);
		else
			to[n++] = *text;
	}
	to[n] = 0;
	return to;
}

static int
check(const struct hosts *c)
{
	const char *settings[FAKE_SETTINGS] = {0};
	char nexthop[200], text[600], port_setting[40];
	struct fake_run r;
	unsigned port;
	int wrong = 0;

	fake_init(&r);
	port = fake_listen(&r, "127.0.0.1", 0, c->rules);
	fake_listen(&r, "127.0.0.2", port, NULL);
	snprintf(port_setting, sizeof port_setting, "smtp_tcp_port=%u", port);
	settings[0] = port_setting;
	for (size_t i = 0; i < 4; i++)
		settings[i + 1] = c->settings[i];
	fake_configure(&r, settings);
	fake_zone = c->zone;
	fake_add(&r, with_port(c->nexthop, port, nexthop, sizeof nexthop), c->rcpts ? c->rcpts : 1);
	fake_run(&r);
	for (size_t i = 0; i < r.delivery[0].rcpt_count; i++)
		wrong += differs(c->name, "result", fake_result(&r, 0, i),
		    i ? SENT : fake_text(&r, with_port(c->want, port, text, sizeof text)));
	wrong += differs(c->name, "relay", r.delivery[0].relay ? r.delivery[0].relay : "none",
	    with_port(c->relay ? c->relay : "none", port, text, sizeof text));
	for (size_t i = 0; i < 2; i++)
		wrong += differs(c->name, "connection", r.server[i].connections ? "yes" : "no",
		    c->connections[i] ? "yes" : "no");
	if (c->log && !strstr(buf_cstr(&r.log), with_port(c->log, port, text, sizeof text)))
		wrong += differs(c->name, "log", buf_cstr(&r.log), text);
	wrong += differs(c->name, "destination trouble",
	    r.delivery[0].hop.cls != STATUS_NONE ? "yes" : "no", c->hop ? "yes" : "no");
	fake_fini(&r);
	return wrong;
}

static void
test_hosts(void **state)
{
	int wrong = 0;

	for (size_t i = 0; i < PP_COUNT(hosts); i++)
		wrong += check(&hosts[i]);
	assert_int_equal(wrong, 0);
}

/* Ourselves in the middle of the list: what is worse is never tried. */
static void
test_cut_at_myself(void **state)
{
	static const struct fake_dns zone[] = {
	    MX("10 c.test, 20 mail.here.test, 30 b.test"), C, B, {0}};
	static const char *const settings[] = {"smtp_tcp_port=25", NULL};
	struct fake_run r;

	fake_init(&r);
	fake_configure(&r, settings);
	fake_zone = zone;
	fake_queries = 0;
	fake_add(&r, "there.test", 1);
	fake_run(&r);
	assert_string_equal(fake_result(&r, 0, 0),
	    "4.4.1 deferred connect to c.test[127.0.0.3]:25: Connection refused");
	assert_int_equal(fake_queries, 3); /* MX, c, mail.here; not b */
	fake_fini(&r);
}

/* Hosts that no delivery needs are not asked for. */
static void
test_lazy(void **state)
{
	static const struct fake_dns zone[] = {MX("10 a.test, 20 b.test"), A, B, {0}};
	char setting[40];
	const char *settings[] = {setting, NULL};
	struct fake_run r;

	fake_init(&r);
	snprintf(
	    setting, sizeof setting, "smtp_tcp_port=%u", fake_listen(&r, "127.0.0.1", 0, NULL));
	fake_configure(&r, settings);
	fake_zone = zone;
	fake_queries = 0;
	fake_add(&r, "there.test", 1);
	fake_add(&r, "there.test", 1);
	r.in_turn = true;
	fake_run(&r);
	assert_string_equal(fake_result(&r, 1, 0), SENT);
	assert_int_equal(fake_queries, 2); /* the second used the idle connection */
	fake_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hosts),
	    cmocka_unit_test(test_cut_at_myself),
	    cmocka_unit_test(test_lazy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
