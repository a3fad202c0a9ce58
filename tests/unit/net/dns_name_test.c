/*
 * dns_name_test.c - which names are believed, in PTR records and at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "dns_message.h"
#include "net/dns_answer.h"
#include "pp/base/assert.h"

static struct dns_message m;

enum { GOOD = QR | RD | RA };

static void
pointers(void **state)
{
	static const struct {
		const char *target;
		enum resolver_result result;
	} t[] = {
	    {"client.test", RESOLVER_OK},
	    {"a_b-c.test", RESOLVER_OK},
	    {"", RESOLVER_MALFORMED},
	    {"evil] (forged.test", RESOLVER_MALFORMED},
	    {"evil\nname.test", RESOLVER_MALFORMED},
	    {"192.0.2.1", RESOLVER_MALFORMED},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct dns_answer a;

		dm_start(&m, 1, GOOD, "1.2.0.192.in-addr.arpa", PTR);
		/* RFC 2317: reverse zones are delegated by aliases. */
		dm_alias(&m, 1, "@", CNAME, "1.0/25.2.0.192.in-addr.arpa");
		dm_alias(&m, 1, "1.0/25.2.0.192.in-addr.arpa", PTR, t[i].target);
		dm_finish(&m);
		dns_answer_read(
		    &a, (struct str){(char *)m.p, m.n}, "1.2.0.192.in-addr.arpa", DNS_PTR);
		assert_int_equal(a.result, t[i].result);
		if (a.result == RESOLVER_OK)
			assert_string_equal(a.name, t[i].target);
		dns_answer_fini(&a);
	}
}

static void
names(void **state)
{
	static char label63[] =
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test";
	static char label64[] =
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test";
	static char name254[255];
	const struct {
		const char *name;
		bool valid;
	} t[] = {
	    {"example.com", true},
	    {"com", true},
	    {"_dmarc.example.com", true},
	    {"1.2.3.4a", true},
	    {"xn--bcher-kva.example", true},
	    {label63, true},
	    {label64, false},
	    {name254, false},
	    {"", false},
	    {".", false},
	    {".com", false},
	    {"example..com", false},
	    {"example.com.", false},
	    {"-a.com", false},
	    {"a-.com", false},
	    {"a b.com", false},
	    {"a/b.com", false},
	    {"b\xc3\xbc"
	     "cher.example",
		false},
	    {"192.0.2.1", false},
	    {"12345", false},
	};

	for (size_t i = 0; i < sizeof(name254) - 1; i++)
		name254[i] = i % 2 ? '.' : 'a';
	for (size_t i = 0; i < PP_COUNT(t); i++)
		if (resolver_name_valid(str_of(t[i].name)) != t[i].valid)
			fail_msg("case %zu: %s", i, t[i].name);
	name254[253] = '\0';
	assert_true(resolver_name_valid(str_of(name254)));
	assert_false(resolver_name_valid((struct str){"a\0b", 3}));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pointers),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
