/*
 * Next hops as text, the order of mail exchangers and addresses, names for certificates: pure
 * rules, one row each.
 */
#include "smtp/target.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define KNOWN "lmtp=24, smtp=25, smtps=submissions=465, submission=587"

static void
test_parse(void **state)
{
	static const struct {
		const char *list, *want; /* text host port flags; flags: m = MX, p = port given */
	} table[] = {
	    {"example.com", "example.com example.com 25 m"},
	    {"example.com:587", "example.com:587 example.com 587 mp"},
	    {"example.com:submission",
		"example.com:submission example.com 587 mp SRV _submission._tcp.example.com"},
	    {"[mx.example.com]:submission", "[mx.example.com]:submission mx.example.com 587 p"},
	    {"[mx.example.com]", "[mx.example.com] mx.example.com 25 "},
	    {"[mx.example.com]:smtps", "[mx.example.com]:smtps mx.example.com 465 p"},
	    {"[mx.example.com]:SUBMISSIONS", "[mx.example.com]:SUBMISSIONS mx.example.com 465 p"},
	    {"[192.0.2.1]:2525", "[192.0.2.1]:2525 192.0.2.1 2525 p"},
	    {"[2001:db8::1]:2525", "[2001:db8::1]:2525 2001:db8::1 2525 p"},
	    {"[ipv6:2001:db8::1]", "[ipv6:2001:db8::1] 2001:db8::1 25 "},
	    {"[a], [b]:26\tc:27,, d", "[a] a 25 ; [b]:26 b 26 p; c:27 c 27 mp; d d 25 m"},
	    {"", ""},
	    {" , ", ""},
	    /* No next hops: the host is empty. */
	    {"a:0", "a:0 - 0 mp"},
	    {"a:65536", "a:65536 - 0 mp"},
	    {"a:", "a: - 0 mp"},
	    {"a:nosuch", "a:nosuch - 0 mp"},
	    {"[a", "[a - 25 "},
	    {"[a]b", "[a]b - 25 "},
	    {"[]", "[] - 25 "},
	    {":25", ":25 - 25 mp"},
	    {"2001:db8::1", "2001:db8::1 - 25 m"},
	};

	for (size_t i = 0; i < PP_COUNT(table); i++) {
		struct smtp_hop hops[SMTP_HOPS_MAX];
		struct arena a = {0};
		struct buf got;
		size_t n = 0;

		buf_init(&got, 1000);
		smtp_target_parse(&a, table[i].list, KNOWN, 25, false, hops, &n);
		smtp_target_use_srv(&a, "imap, Submission", "smtp", hops, n);
		for (size_t h = 0; h < n; h++)
			buf_printf(&got, "%s%s %s %u %s%s", h ? "; " : "", hops[h].text,
			    *hops[h].host ? hops[h].host : "-", hops[h].port,
			    hops[h].use_mx ? "m" : "", hops[h].has_port ? "p" : "");
		for (size_t h = 0; h < n; h++)
			if (hops[h].srv)
				buf_printf(&got, " SRV %s", hops[h].srv);
		assert_string_equal(buf_cstr(&got), table[i].want);
		buf_fini(&got);
		arena_fini(&a);
	}
}

static void
test_parse_bounds(void **state)
{
	struct smtp_hop hops[SMTP_HOPS_MAX];
	struct arena a = {0};
	char list[4000], host[400];
	size_t n = 0;

	memset(list, 0, sizeof list);
	for (size_t i = 0; i < 1000; i++)
		memcpy(list + 2 * i, "a ", 2);
	smtp_target_parse(&a, list, KNOWN, 25, true, hops, &n);
	assert_int_equal(n, SMTP_HOPS_MAX);
	assert_true(hops[0].is_fallback);
	n = 0;
	memset(host, 'x', sizeof host);
	host[399] = 0;
	smtp_target_parse(&a, host, KNOWN, 25, false, hops, &n);
	assert_string_equal(hops[0].host, "");
	arena_fini(&a);
}

static void
mx_text(const struct resolver_mx *mx, size_t n, char *to, size_t size)
{
	size_t at = 0;

	to[0] = 0;
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(to + at, size - at, "%u%s ", mx[i].preference, mx[i].host);
}

static void
test_sort_mx(void **state)
{
	const struct resolver_mx given[] = {
	    {20, "a"}, {10, "b"}, {20, "c"}, {0, "d"}, {10, "e"}, {10, "f"}};
	struct resolver_mx mx[6];
	char first[100], text[100];
	bool differs = false;
	uint64_t seed = 1;

	memcpy(mx, given, sizeof mx);
	smtp_target_sort_mx(mx, 6, NULL);
	mx_text(mx, 6, first, sizeof first);
	assert_string_equal(first, "0d 10b 10e 10f 20a 20c ");
	for (size_t round = 0; round < 50; round++) {
		memcpy(mx, given, sizeof mx);
		smtp_target_sort_mx(mx, 6, &seed);
		mx_text(mx, 6, text, sizeof text);
		differs = differs || strcmp(text, first) != 0;
		for (size_t i = 1; i < 6; i++)
			assert_true(mx[i - 1].preference <= mx[i].preference);
	}
	assert_true(differs);
	smtp_target_sort_mx(mx, 0, &seed);
	smtp_target_sort_mx(mx, 1, &seed);
}

/* RFC 2782: priorities in order; of one priority by weight, those of no weight nearly always last.
 */
static void
test_sort_srv(void **state)
{
	const struct resolver_mx given[] = {{20, "far", 100, 1}, {10, "none", 0, 1},
	    {10, "one", 1, 1}, {10, "three", 3, 1}, {5, "zero", 0, 1}, {5, "null", 0, 1}};
	unsigned one = 0, three = 0, none = 0, zero = 0;
	uint64_t seed = 7;

	for (size_t round = 0; round < 10000; round++) {
		struct resolver_mx mx[6];

		memcpy(mx, given, sizeof mx);
		smtp_target_sort_srv(mx, 6, &seed);
		assert_string_equal(mx[5].host, "far");
		for (size_t i = 1; i < 6; i++)
			assert_true(mx[i - 1].preference <= mx[i].preference);
		zero += strcmp(mx[0].host, "zero") == 0;
		one += strcmp(mx[2].host, "one") == 0;
		three += strcmp(mx[2].host, "three") == 0;
		none += strcmp(mx[2].host, "none") == 0;
	}
	/* The running sums are 0, 1 and 4: of the five numbers 0..4 one, one and three. */
	assert_in_range(none, 1800, 2200);
	assert_in_range(one, 1800, 2200);
	assert_in_range(three, 5700, 6300);
	assert_in_range(zero, 4700, 5300);
}

/* "446" = families in order. */
static void
families(const struct smtp_target *t, size_t n, char *to)
{
	for (size_t i = 0; i < n; i++)
		to[i] = t[i].sa.ss_family == AF_INET ? '4' : '6';
	to[n] = 0;
}

static void
test_sort_addresses(void **state)
{
	static const struct {
		const char *given;
		int family;
		bool random;
		const char *want;
	} table[] = {
	    {"644646", AF_UNSPEC, false, "644646"},
	    {"644646", AF_INET, false, "444666"},
	    {"644646", AF_INET6, false, "666444"},
	    {"644646", AF_INET, true, "444666"},
	    {"644646", AF_INET6, true, "666444"},
	    {"4", AF_INET6, true, "4"},
	    {"44", AF_INET6, true, "44"},
	};
	struct smtp_target t[6];
	uint64_t seed = 7;
	char got[8];

	for (size_t i = 0; i < PP_COUNT(table); i++) {
		size_t n = strlen(table[i].given);

		memset(t, 0, sizeof t);
		for (size_t k = 0; k < n; k++)
			t[k].sa.ss_family = table[i].given[k] == '4' ? AF_INET : AF_INET6;
		smtp_target_sort(
		    t, n, table[i].family, table[i].random, table[i].random ? &seed : NULL);
		families(t, n, got);
		assert_string_equal(got, table[i].want);
	}
}

/* Any preference: the families take turns, and every address comes first now and then. */
static void
test_sort_balanced(void **state)
{
	unsigned first[6] = {0};
	uint64_t seed = 3;

	for (size_t round = 0; round < 600; round++) {
		struct smtp_target t[6] = {0};
		char got[8];

		for (size_t k = 0; k < 6; k++) {
			t[k].sa.ss_family = k < 2 ? AF_INET6 : AF_INET;
			snprintf(t[k].text, sizeof t[k].text, "%zu", k);
		}
		smtp_target_sort(t, 6, AF_UNSPEC, true, &seed);
		families(t, 6, got);
		assert_true(strcmp(got, "464644") == 0 || strcmp(got, "646444") == 0);
		first[t[0].text[0] - '0']++;
	}
	for (size_t k = 0; k < 6; k++)
		assert_true(first[k] > 40);
}

static void
test_ports(void **state)
{
	struct sockaddr_storage sa = {.ss_family = AF_INET};

	smtp_target_set_port(&sa, 2525);
	assert_int_equal(((struct sockaddr_in *)(void *)&sa)->sin_port, htons(2525));
	sa = (struct sockaddr_storage){.ss_family = AF_INET6};
	smtp_target_set_port(&sa, 465);
	assert_int_equal(((struct sockaddr_in6 *)(void *)&sa)->sin6_port, htons(465));
	assert_int_equal(smtp_target_port(STR("smtp"), KNOWN), 25);
	assert_int_equal(smtp_target_port(STR("lmtp"), KNOWN), 24);
	assert_int_equal(smtp_target_port(STR("submissions"), KNOWN), 465);
	assert_int_equal(smtp_target_port(STR("465"), ""), 465);
	assert_int_equal(smtp_target_port(STR("smtp"), ""), 0);
	assert_int_equal(smtp_target_port(STR(""), KNOWN), 0);
}

static void
test_names(void **state)
{
	const char *names[4];
	struct arena a = {0};

	assert_int_equal(
	    smtp_target_names(&a, "nexthop, dot-nexthop", "mx.a.test", "a.test", names, 4), 2);
	assert_string_equal(names[0], "a.test");
	assert_string_equal(names[1], ".a.test");
	assert_int_equal(
	    smtp_target_names(&a, "HOSTNAME:b.test .c.test", "mx.a.test", "a.test", names, 4), 3);
	assert_string_equal(names[0], "mx.a.test");
	assert_string_equal(names[1], "b.test");
	assert_string_equal(names[2], ".c.test");
	assert_int_equal(smtp_target_names(&a, "a b c d e f", "", "", names, 4), 4);
	assert_int_equal(smtp_target_names(&a, "", "", "", names, 4), 0);
	arena_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_parse_bounds),
	    cmocka_unit_test(test_sort_mx),
	    cmocka_unit_test(test_sort_srv),
	    cmocka_unit_test(test_sort_addresses),
	    cmocka_unit_test(test_sort_balanced),
	    cmocka_unit_test(test_ports),
	    cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
