/*
 * key_test.c - the order of key forms, table by table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/map/key.h"

/* "key key* ..": a star marks a partial form. */
static void
check(const struct map_keys *keys, const char *want, const char *what)
{
	struct buf got;

	buf_init(&got, 10000);
	for (unsigned i = 0; i < keys->n; i++)
		buf_printf(&got, "%s%.*s%s", i ? " " : "", STR_FMT(keys->a[i].text),
		    keys->a[i].is_partial ? "~" : "");
	if (strcmp(buf_cstr(&got), want) != 0)
		fail_msg("%s: \"%s\", not \"%s\"", what, buf_cstr(&got), want);
	buf_fini(&got);
}

static void
clients(void **state)
{
	static const struct {
		const char *name, *addr;
		bool is_parents;
		const char *want;
	} cases[] = {
	    {"Mail.Example.com", "192.0.2.1", true,
		"mail.example.com example.com~ com~ 192.0.2.1 192.0.2~ 192.0~ 192~"},
	    {"mail.example.com", "192.0.2.1", false,
		"mail.example.com .example.com~ .com~ 192.0.2.1 192.0.2~ 192.0~ 192~"},
	    {"unknown", "2001:db8::1", true, "unknown 2001:db8::1 2001:db8~ 2001~"},
	    {"unknown", "[::1]", true, "unknown ::1"},
	    {"unknown", "IPv6:2001:DB8:1:2::3", true,
		"unknown 2001:db8:1:2::3 2001:db8:1:2~ 2001:db8:1~ 2001:db8~ 2001~"},
	    {"", "10.0.0.1", true, "10.0.0.1 10.0.0~ 10.0~ 10~"},
	};
	struct map_keys keys;

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct arena a = {0};

		key_client(
		    &a, str_of(cases[i].name), str_of(cases[i].addr), cases[i].is_parents, &keys);
		check(&keys, cases[i].want, cases[i].addr);
		arena_fini(&a);
	}
}

enum form { ACCESS, ACCESS_DOT, TRANSPORT, VIRTUAL, VIRTUAL_LOCAL, SENDER };

static void
addresses(void **state)
{
	static const struct {
		enum form form;
		const char *address, *delimiters, *want;
	} cases[] = {
	    {ACCESS, "User+Ext@sub.Dom.example", "+",
		"user+ext@sub.dom.example user@sub.dom.example~ sub.dom.example~ dom.example~ "
		"example~ user+ext@~ user@~"},
	    {ACCESS_DOT, "user@dom.example", "+", "user@dom.example dom.example~ .example~ user@~"},
	    {ACCESS, "user+ext@dom", "", "user+ext@dom dom~ user+ext@~"},
	    {ACCESS, "", "+", "<>"},
	    {ACCESS, "user", "+", "user user@~"},
	    {ACCESS, "u@[192.0.2.1]", "+", "u@[192.0.2.1] [192.0.2.1]~ u@~"},
	    {TRANSPORT, "user+ext@a.b.example", "+",
		"user+ext@a.b.example user@a.b.example~ a.b.example~ .b.example~ .example~ *"},
	    {VIRTUAL, "user+ext@dom", "+", "user+ext@dom user@dom~ @dom~"},
	    {VIRTUAL_LOCAL, "user+ext@dom", "+", "user+ext@dom user@dom~ user+ext~ user~ @dom~"},
	    {VIRTUAL_LOCAL, "user@dom", "+", "user@dom user~ @dom~"},
	    {VIRTUAL, "user+ext", "+", "user+ext user~"},
	    {SENDER, "user-ext@dom", "+-", "user-ext@dom user@dom~ @dom~"},
	    /* Names that hold a delimiter by nature stay whole. */
	    {SENDER, "owner-list@dom", "-", "owner-list@dom @dom~"},
	    {SENDER, "owner-list+ext@dom", "+", "owner-list+ext@dom owner-list@dom~ @dom~"},
	    {SENDER, "list-request@dom", "-", "list-request@dom @dom~"},
	    {SENDER, "MAILER-DAEMON@dom", "-", "MAILER-DAEMON@dom @dom~"},
	    {SENDER, "+ext@dom", "+", "+ext@dom @dom~"},
	    {SENDER, "\"a@b\"@dom", "+", "\"a@b\"@dom @dom~"},
	};
	struct map_keys keys;

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct str s = str_of(cases[i].address);
		const char *d = cases[i].delimiters;
		struct arena a = {0};

		switch (cases[i].form) {
		case ACCESS:
		case ACCESS_DOT:
			key_access_address(&a, s, d, cases[i].form == ACCESS, "<>", &keys);
			break;
		case TRANSPORT:
			key_transport(&a, s, d, false, &keys);
			break;
		case VIRTUAL:
		case VIRTUAL_LOCAL:
			key_address(&a, s, d, cases[i].form == VIRTUAL_LOCAL, &keys);
			break;
		case SENDER:
			key_sender(&a, s, d, false, &keys);
			break;
		}
		check(&keys, cases[i].want, cases[i].address);
		arena_fini(&a);
	}
}

static void
next_hops(void **state)
{
	struct map_keys keys;
	struct arena a = {0};

	key_tls_policy(&a, STR("[relay.example]:587"), &keys);
	check(&keys, "[relay.example]:587", "policy");
	key_tls_policy(&a, STR("a.b.example"), &keys);
	check(&keys, "a.b.example .b.example~ .example~", "policy");
	key_tls_policy(&a, STR("a.example:25"), &keys);
	check(&keys, "a.example:25", "policy");
	arena_fini(&a);
}

static void
many_labels(void **state)
{
	struct map_keys keys;
	struct arena a = {0};
	struct buf name;

	buf_init(&name, 4096);
	for (int i = 0; i < 1000; i++)
		buf_adds(&name, "a.");
	key_domain(&a, buf_str(&name), true, &keys);
	assert_int_equal(keys.n, MAP_KEYS_MAX);
	buf_fini(&name);
	arena_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clients),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(next_hops),
	    cmocka_unit_test(many_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
