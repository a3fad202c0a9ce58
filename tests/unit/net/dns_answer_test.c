/*
 * dns_answer_test.c - what is believed of a DNS answer, and what is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "dns_message.h"
#include "net/dns_answer.h"
#include "pp/base/assert.h"
#include "pp/base/mem.h"

static struct dns_message m;

enum { GOOD = QR | RD | RA };

static void
good_mx(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "@", 20, "mx2.ok.test");
	dm_mx(&m, "OK.Test", 10, "mx1.ok.test");
	dm_mx(&m, "@", 20, "mx3.ok.test");
}

static void
no_aa_no_ra_but_data(void)
{
	dm_start(&m, 1, QR, "ok.test", MX);
	dm_mx(&m, "@", 10, "mx1.ok.test");
}

static void
aliased(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "c.test", 10, "mx1.ok.test"); /* order does not matter */
	dm_alias(&m, 1, "b.test", CNAME, "c.test");
	dm_alias(&m, 1, "@", CNAME, "b.test");
}

static void
alias_loop(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_alias(&m, 1, "@", CNAME, "b.test");
	dm_alias(&m, 1, "b.test", CNAME, "ok.test");
}

static void
alias_fork(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_alias(&m, 1, "@", CNAME, "b.test");
	dm_alias(&m, 1, "@", CNAME, "c.test");
	dm_mx(&m, "c.test", 10, "mx1.ok.test");
}

static void
alias_chain(void)
{
	char from[32] = "ok.test", to[32];

	dm_start(&m, 1, GOOD, "ok.test", MX);
	for (int i = 0; i < 20; i++) {
		snprintf(to, sizeof(to), "c%d.test", i);
		dm_alias(&m, 1, from, CNAME, to);
		memcpy(from, to, sizeof(from));
	}
	dm_mx(&m, from, 10, "mx1.ok.test");
}

static void
alias_to_nothing(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_alias(&m, 1, "@", CNAME, "b.test");
	dm_soa(&m);
}

static void
alias_to_nowhere(void)
{
	dm_start(&m, 1, GOOD | 3, "ok.test", MX);
	dm_alias(&m, 1, "@", CNAME, "b.test");
	dm_soa(&m);
}

static void
many(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	for (unsigned i = 0; i < 1000; i++) {
		char host[32];

		snprintf(host, sizeof(host), "mx%u.test", i);
		dm_mx(&m, "@", 1000 - i, host);
	}
}

static void
too_many(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	for (unsigned i = 0; i < 1100; i++)
		dm_mx(&m, "@", 10, "mx.test");
}

static void
null_mx(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "@", 0, "");
}

static void
null_mx_beside_another(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "@", 0, "");
	dm_mx(&m, "@", 10, "mx1.ok.test");
}

static void
two_null_mx(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "@", 0, "");
	dm_mx(&m, "@", 0, "");
}

static void
null_mx_with_a_tail(void)
{
	size_t at;

	dm_start(&m, 1, GOOD, "ok.test", MX);
	at = dm_record(&m, 1, "@", MX, 300);
	dm16(&m, 0);
	dm16(&m, 0);
	dm_end(&m, at);
}

static void
short_mx(void)
{
	size_t at;

	dm_start(&m, 1, GOOD, "ok.test", MX);
	at = dm_record(&m, 1, "@", MX, 300);
	dm16(&m, 10);
	dm_end(&m, at);
}

static void
empty_mx(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_end(&m, dm_record(&m, 1, "@", MX, 300));
}

static void
mx_beyond_the_end(void)
{
	good_mx();
	m.n -= 5;
}

static void
mx_name_loops(void)
{
	size_t at;

	dm_start(&m, 1, GOOD, "ok.test", MX);
	at = dm_record(&m, 1, "@", MX, 300);
	dm16(&m, 10);
	dm16(&m, 0xc000 | (unsigned)m.n); /* points at itself */
	dm_end(&m, at);
}

static void
mx_is_an_address(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "@", 10, "192.0.2.1");
}

static void
mx_with_odd_letters(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "@", 10, "mx\r\n250 injected.test");
	dm_mx(&m, "@", 10, "-mx.test");
}

static void
one_good_among_odd(void)
{
	mx_with_odd_letters();
	dm_mx(&m, "@", 30, "mx1.ok.test");
}

static void
denied(void)
{
	dm_start(&m, 1, GOOD | 3, "ok.test", MX);
	dm_soa(&m);
}

static void
denied_without_soa(void)
{
	dm_start(&m, 1, GOOD | 3, "ok.test", MX);
}

static void
denied_with_records(void)
{
	good_mx();
	m.p[3] |= 3;
}

static void
denied_by_nobody(void)
{
	dm_start(&m, 1, QR | 3, "ok.test", MX);
	dm_soa(&m);
}

static void
empty(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_soa(&m);
}

static void
empty_authoritative(void)
{
	dm_start(&m, 1, QR | AA, "ok.test", MX);
	dm_soa(&m);
}

static void
lame(void)
{
	dm_start(&m, 1, QR | RA, "ok.test", MX);
	dm_alias(&m, 2, "test", NS, "ns.test");
}

static void
broken_authority(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_soa(&m);
	m.n -= 3;
}

static void
servfail(void)
{
	dm_start(&m, 1, GOOD | 2, "ok.test", MX);
}

static void
refused(void)
{
	dm_start(&m, 1, GOOD | 5, "ok.test", MX);
}

static void
echoed(void)
{
	dm_start(&m, 1, RD, "ok.test", MX);
}

static void
echoed_as_answer(void)
{
	dm_start(&m, 1, QR | RD, "ok.test", MX);
}

static void
other_question(void)
{
	dm_start(&m, 1, GOOD, "evil.test", MX);
	dm_mx(&m, "@", 10, "mx.evil.test");
}

static void
other_type(void)
{
	dm_start(&m, 1, GOOD, "ok.test", A);
	dm_mx(&m, "@", 10, "mx1.ok.test");
}

static void
no_question(void)
{
	good_mx();
	m.counts[0] = 0;
}

static void
two_questions(void)
{
	good_mx();
	m.counts[0] = 2;
}

static void
other_owner(void)
{
	dm_start(&m, 1, GOOD, "ok.test", MX);
	dm_mx(&m, "other.test", 10, "mx.evil.test");
}

static void
truncated(void)
{
	good_mx();
	m.p[2] |= TC >> 8;
}

static void
notify(void)
{
	good_mx();
	m.p[2] |= 4 << 3; /* another opcode */
}

static void
counts_lie(void)
{
	good_mx();
	m.counts[1] = 9;
}

static void
header_only(void)
{
	good_mx();
	m.n = 12;
}

static void
half_a_header(void)
{
	good_mx();
	m.n = 7;
}

static void
nothing(void)
{
	good_mx();
	m.n = 0;
}

static void
mx_answers(void **state)
{
	static const struct {
		const char *name;
		void (*make)(void);
		enum resolver_result result;
		size_t n;
		const char *first;
		int64_t ttl;
	} t[] = {
#define CASE(f) #f, f
	    {CASE(good_mx), RESOLVER_OK, 3, "mx1.ok.test", 300},
	    {CASE(no_aa_no_ra_but_data), RESOLVER_OK, 1, "mx1.ok.test", 300},
	    {CASE(aliased), RESOLVER_OK, 1, "mx1.ok.test", 200},
	    {CASE(alias_loop), RESOLVER_MALFORMED},
	    {CASE(alias_fork), RESOLVER_MALFORMED},
	    {CASE(alias_chain), RESOLVER_MALFORMED},
	    {CASE(alias_to_nothing), RESOLVER_NO_DATA, 0, NULL, 77},
	    {CASE(alias_to_nowhere), RESOLVER_NOT_FOUND, 0, NULL, 77},
	    {CASE(many), RESOLVER_OK, RESOLVER_MX_MAX, "mx999.test", 300},
	    {CASE(too_many), RESOLVER_MALFORMED},
	    {CASE(null_mx), RESOLVER_OK, 1, "", 300},
	    {CASE(null_mx_beside_another), RESOLVER_OK, 1, "mx1.ok.test", 300},
	    {CASE(two_null_mx), RESOLVER_MALFORMED},
	    {CASE(null_mx_with_a_tail), RESOLVER_MALFORMED},
	    {CASE(short_mx), RESOLVER_MALFORMED},
	    {CASE(empty_mx), RESOLVER_MALFORMED},
	    {CASE(mx_beyond_the_end), RESOLVER_MALFORMED},
	    {CASE(mx_name_loops), RESOLVER_MALFORMED},
	    {CASE(mx_is_an_address), RESOLVER_MALFORMED},
	    {CASE(mx_with_odd_letters), RESOLVER_MALFORMED},
	    {CASE(one_good_among_odd), RESOLVER_OK, 1, "mx1.ok.test", 300},
	    {CASE(denied), RESOLVER_NOT_FOUND, 0, NULL, 77},
	    {CASE(denied_without_soa), RESOLVER_NOT_FOUND},
	    {CASE(denied_with_records), RESOLVER_MALFORMED},
	    {CASE(denied_by_nobody), RESOLVER_TRY_AGAIN},
	    {CASE(empty), RESOLVER_NO_DATA, 0, NULL, 77},
	    {CASE(empty_authoritative), RESOLVER_NO_DATA, 0, NULL, 77},
	    {CASE(lame), RESOLVER_TRY_AGAIN},
	    {CASE(broken_authority), RESOLVER_MALFORMED},
	    {CASE(servfail), RESOLVER_TRY_AGAIN},
	    {CASE(refused), RESOLVER_TRY_AGAIN},
	    {CASE(echoed), RESOLVER_MALFORMED},
	    {CASE(echoed_as_answer), RESOLVER_TRY_AGAIN},
	    {CASE(other_question), RESOLVER_MALFORMED},
	    {CASE(other_type), RESOLVER_MALFORMED},
	    {CASE(no_question), RESOLVER_MALFORMED},
	    {CASE(two_questions), RESOLVER_MALFORMED},
	    {CASE(other_owner), RESOLVER_MALFORMED},
	    {CASE(truncated), RESOLVER_MALFORMED},
	    {CASE(notify), RESOLVER_MALFORMED},
	    {CASE(counts_lie), RESOLVER_MALFORMED},
	    {CASE(header_only), RESOLVER_MALFORMED},
	    {CASE(half_a_header), RESOLVER_MALFORMED},
	    {CASE(nothing), RESOLVER_MALFORMED},
#undef CASE
	};
	static const char *const texts[] = {
	    [RESOLVER_NOT_FOUND] = "Host not found",
	    [RESOLVER_NO_DATA] = "Host found but no data record of requested type",
	    [RESOLVER_TRY_AGAIN] = "Host not found, try again",
	    [RESOLVER_MALFORMED] = "Malformed or unexpected name server reply",
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct dns_answer a;
		uint8_t *exact;

		t[i].make();
		dm_finish(&m);
		exact = malloc(m.n + !m.n); /* so that ASan sees a byte too far */
		memcpy(exact, m.p, m.n);
		dns_answer_read(&a, (struct str){(char *)exact, m.n}, "ok.test", DNS_MX);
		if (a.result != t[i].result || a.n != t[i].n || a.ttl != t[i].ttl)
			fail_msg(
			    "%s: result %d n %zu ttl %d", t[i].name, a.result, a.n, (int)a.ttl);
		if (a.result != RESOLVER_OK)
			assert_string_equal(a.text, texts[a.result]);
		if (t[i].first)
			assert_string_equal(a.mx[0].host, t[i].first);
		for (size_t k = 1; k < a.n; k++)
			assert_true(a.mx[k - 1].preference <= a.mx[k].preference);
		dns_answer_fini(&a);
		free(exact);
	}
}

/* RFC 2782. A target of "." alone says that there is no such service. */
static void
srv_answers(void **state)
{
	static const struct {
		struct {
			unsigned priority, weight, port;
			const char *host;
		} list[3];
		enum resolver_result result;
		size_t n;
		const char *first;
	} t[] = {
	    {{{20, 1, 587, "b.test"}, {10, 7, 2587, "a.test"}}, RESOLVER_OK, 2, "a.test"},
	    {{{0, 0, 0, ""}}, RESOLVER_OK, 1, ""},
	    {{{0, 0, 0, ""}, {10, 7, 2587, "a.test"}}, RESOLVER_OK, 1, "a.test"},
	    {{{10, 7, 0, "a.test"}}, RESOLVER_MALFORMED},
	    {{{10, 7, 0, "a.test"}, {10, 7, 2587, "a.test"}}, RESOLVER_OK, 1, "a.test"},
	    {{{10, 7, 2587, "a b.test"}}, RESOLVER_MALFORMED},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct dns_answer a;

		dm_start(&m, 1, QR | AA, "_submission._tcp.test", SRV);
		for (size_t k = 0; k < 3 && t[i].list[k].host; k++)
			dm_srv(&m, t[i].list[k].priority, t[i].list[k].weight, t[i].list[k].port,
			    t[i].list[k].host);
		dm_finish(&m);
		dns_answer_read(
		    &a, (struct str){(char *)m.p, m.n}, "_submission._tcp.test", DNS_SRV);
		assert_int_equal(a.result, t[i].result);
		assert_int_equal(a.n, t[i].n);
		if (t[i].first)
			assert_string_equal(a.mx[0].host, t[i].first);
		if (t[i].first && *t[i].first)
			assert_int_equal(a.mx[0].weight * 10000 + a.mx[0].port, 72587);
		dns_answer_fini(&a);
	}
	/* Cut off inside the fixed part. */
	dm_start(&m, 1, QR | AA, "_submission._tcp.test", SRV);
	dm_end(&m, dm_record(&m, 1, "@", SRV, 300));
	dm_finish(&m);
	struct dns_answer a;
	dns_answer_read(&a, (struct str){(char *)m.p, m.n}, "_submission._tcp.test", DNS_SRV);
	assert_int_equal(a.result, RESOLVER_MALFORMED);
	dns_answer_fini(&a);
}

static void
equal_preferences_keep_their_order(void **state)
{
	struct dns_answer a;

	good_mx();
	dm_finish(&m);
	dns_answer_read(&a, (struct str){(char *)m.p, m.n}, "ok.test", DNS_MX);
	assert_string_equal(a.mx[1].host, "mx2.ok.test");
	assert_string_equal(a.mx[2].host, "mx3.ok.test");
	assert_int_equal(a.mx[0].preference, 10);
	dns_answer_fini(&a);
}

static void
addresses(void **state)
{
	static const struct {
		const char *list[3];
		unsigned type;
		enum resolver_result result;
		size_t n;
		const char *first;
	} t[] = {
	    {{"192.0.2.1", "192.0.2.2"}, A, RESOLVER_OK, 2, "192.0.2.1"},
	    {{"2001:db8::1"}, AAAA, RESOLVER_OK, 1, "2001:db8::1"},
	    {{"127.0.0.1"}, A, RESOLVER_OK, 1, "127.0.0.1"},
	    {{"0.0.0.0"}, A, RESOLVER_MALFORMED, 0, NULL}, /* that would be ourselves */
	    {{"0.0.0.0", "192.0.2.1"}, A, RESOLVER_OK, 1, "192.0.2.1"},
	    {{"224.0.0.1"}, A, RESOLVER_MALFORMED, 0, NULL},
	    {{"255.255.255.255"}, A, RESOLVER_MALFORMED, 0, NULL},
	    {{"::"}, AAAA, RESOLVER_MALFORMED, 0, NULL},
	    {{"ff02::1"}, AAAA, RESOLVER_MALFORMED, 0, NULL},
	    {{"::ffff:0.0.0.0"}, AAAA, RESOLVER_MALFORMED, 0, NULL},
	    {{"2001:db8::1"}, A, RESOLVER_NO_DATA, 0, NULL},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		struct dns_answer a;

		dm_start(&m, 1, GOOD, "h.test", t[i].type);
		for (size_t k = 0; k < 3 && t[i].list[k]; k++)
			dm_address(&m, "@", t[i].list[k]);
		dm_finish(&m);
		dns_answer_read(&a, (struct str){(char *)m.p, m.n}, "h.test", t[i].type);
		assert_int_equal(a.result, t[i].result);
		assert_int_equal(a.n, t[i].n);
		if (t[i].first)
			assert_string_equal(a.address[0].text, t[i].first);
		dns_answer_fini(&a);
	}
}

static void
many_addresses(void **state)
{
	struct dns_answer a;
	size_t at;

	dm_start(&m, 1, GOOD, "h.test", A);
	for (unsigned i = 1; i < 200; i++) {
		char text[20];

		snprintf(text, sizeof(text), "192.0.2.%u", i);
		dm_address(&m, "@", text);
	}
	at = dm_record(&m, 1, "@", A, 1);
	dm16(&m, 1); /* two bytes of four */
	dm_end(&m, at);
	dm_finish(&m);
	dns_answer_read(&a, (struct str){(char *)m.p, m.n}, "h.test", DNS_A);
	assert_int_equal(a.result, RESOLVER_OK);
	assert_int_equal(a.n, RESOLVER_ADDRESS_MAX);
	dns_answer_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mx_answers),
	    cmocka_unit_test(equal_preferences_keep_their_order),
	    cmocka_unit_test(srv_answers),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(many_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
