/*
 * dns_cache_test.c - what is kept, for how long, and what makes room for what.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "net/dns_cache.h"
#include "pp/base/mem.h"

static struct dns_answer
mx_answer(const char *host, int64_t ttl)
{
	struct dns_answer a = {.result = RESOLVER_OK, .n = 1, .ttl = ttl};

	a.mx = MEM_NEW(struct resolver_mx);
	snprintf(a.mx->host, sizeof(a.mx->host), "%s", host);
	return a;
}

static void
keeps_for_the_time_to_live(void **state)
{
	struct dns_cache *c = dns_cache_new();
	struct dns_answer a = mx_answer("mx.example.com", 10), found;

	assert_false(dns_cache_find(c, "example.com", DNS_MX, false, 1000, &found));
	dns_cache_put(c, "example.com", DNS_MX, false, 1000, &a);
	dns_answer_fini(&a);
	assert_false(dns_cache_find(c, "example.com", DNS_A, false, 1000, &found));
	assert_false(dns_cache_find(c, "example.co", DNS_MX, false, 1000, &found));
	assert_true(dns_cache_find(c, "Example.COM", DNS_MX, false, 4000, &found));
	assert_string_equal(found.mx[0].host, "mx.example.com");
	assert_int_equal(found.n, 1);
	assert_int_equal(found.ttl, 7);
	dns_answer_fini(&found);
	assert_true(dns_cache_find(c, "example.com", DNS_MX, false, 10999, &found));
	assert_int_equal(found.ttl, 1);
	dns_answer_fini(&found);
	assert_false(dns_cache_find(c, "example.com", DNS_MX, false, 11000, &found));
	dns_cache_free(c);
}

static void
denials_not_for_long_and_failures_not_at_all(void **state)
{
	static const struct {
		enum resolver_result result;
		int64_t ttl, kept;
	} rows[] = {
	    {RESOLVER_NOT_FOUND, 60, 60},
	    {RESOLVER_NOT_FOUND, 86400, 300},
	    {RESOLVER_NO_DATA, 86400, 300},
	    {RESOLVER_NOT_FOUND, 0, 0},
	    {RESOLVER_TRY_AGAIN, 60, 0},
	    {RESOLVER_MALFORMED, 60, 0},
	    {RESOLVER_OK, 0, 0},
	    {RESOLVER_OK, 86400, 86400},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct dns_cache *c = dns_cache_new();
		struct dns_answer a = {.ttl = rows[i].ttl}, found;

		a.result = rows[i].result;
		dns_cache_put(c, "x.test", DNS_A, false, 0, &a);
		if (rows[i].kept > 0) {
			assert_true(dns_cache_find(
			    c, "x.test", DNS_A, false, rows[i].kept * 1000 - 1, &found));
			assert_int_equal(found.result, rows[i].result);
		}
		assert_false(
		    dns_cache_find(c, "x.test", DNS_A, false, rows[i].kept * 1000, &found));
		dns_cache_free(c);
	}
}

static void
newer_takes_the_place_of_older(void **state)
{
	struct dns_cache *c = dns_cache_new();
	struct dns_answer a = mx_answer("old.test", 1000), b = mx_answer("new.test", 1000), found;
	char name[32];

	dns_cache_put(c, "example.com", DNS_MX, false, 0, &a);
	dns_cache_put(c, "example.com", DNS_MX, false, 1, &b);
	assert_true(dns_cache_find(c, "example.com", DNS_MX, false, 2, &found));
	assert_string_equal(found.mx[0].host, "new.test");
	dns_answer_fini(&found);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "d%d.test", i);
		dns_cache_put(c, name, DNS_MX, false, 3, &a);
	}
	assert_false(dns_cache_find(c, "example.com", DNS_MX, false, 4, &found));
	assert_true(dns_cache_find(c, "d4999.test", DNS_MX, false, 4, &found));
	dns_answer_fini(&found);
	dns_cache_clear(c);
	assert_false(dns_cache_find(c, "d4999.test", DNS_MX, false, 4, &found));
	dns_answer_fini(&a);
	dns_answer_fini(&b);
	dns_cache_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keeps_for_the_time_to_live),
	    cmocka_unit_test(denials_not_for_long_and_failures_not_at_all),
	    cmocka_unit_test(newer_takes_the_place_of_older),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
