/*
 * expand_test.c - the macro language, held to what Postfix 3.7 prints for the same texts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/config/expand.h"

static const struct {
	const char *name, *value;
} names[] = {
    {"v", "val"},
    {"e", ""},
    {"e2", "$e"},
    {"deep", "<$v>"},
    {"loop", "a$pool"},
    {"pool", "b${loop}"},
    {"self", "$self"},
    {"compatibility_level", "3.6"},
    {"twice", "$$v"},
    {"two", "$deep$deep"},
};

static const char *
lookup(void *arg, struct str name)
{
	for (size_t i = 0; i < PP_COUNT(names); i++)
		if (str_eq(name, str_of(names[i].name)))
			return names[i].value;
	return NULL;
}

static void
results(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
	    {"", ""},
	    {"plain # text", "plain # text"},
	    {"[${v? text }]", "[ text ]"},
	    {"[${v ? {a} : {b}}]", "[a]"},
	    {"[${v?{a}}][${e?{a}}]", "[a][]"},
	    {"[${v:{b}}][${e:{b}}]", "[][b]"},
	    {"[${{$v} == {} ? {a}}]", "[]"},
	    {"[${{$v} != {} ? {a}}]", "[a]"},
	    {"[${ v }]", "[val]"},
	    {"[$(v)]", "[val]"},
	    {"[$$v]", "[$v]"},
	    {"[${v?a:b}]", "[a:b]"},
	    {"[${e:a?b}]", "[a?b]"},
	    {"[${{3} <level {3.6} ? {yes} : {no}}]", "[yes]"},
	    {"[${{10} > {9} ? {yes} : {no}}]", "[yes]"},
	    {"[${{10x} > {9} ? {yes} : {no}}]", "[no]"},
	    {"[${{a}=={a}?{yes}:{no}}]", "[yes]"},
	    {"[$(v?x)]", "[x]"},
	    {"[$v-$undefined-]", "[val--]"},
	    {"[${v?{ a b }:{ c }}]", "[ a b ]"},
	    {"[${e?{ a b }:{ c }}]", "[ c ]"},
	    {"[${v?$v}]", "[val]"},
	    {"[${e?{x}:{${v?{in}}}}]", "[in]"},
	    {"[${{$v} == {val}}][${{$v} == {valx}}]", "[true][]"},
	    {"[$v.]", "[val.]"},
	    {"[${{a} >= {b} ? {x} : {y}}]", "[y]"},
	    {"[$_x]", "[]"},
	    {"[${v?}]", "[]"},
	    {"[${{$v}=={val}?yes:no}]", "[yes:no]"},
	    {"[${{$v}=={val}:yes}]", "[]"},
	    {"[${v?{x}:b}]", "[x]"},
	    {"[${{2} >=level {2.0} ? {yes} : {no}}]", "[yes]"},
	    {"[${e? {x} : {y} }]", "[y]"},
	    {"[${v?{x}:}]", "[x]"},
	    {"[${{ a } == {a}?{y}:{n}}]", "[n]"},
	    {"a ${v?$(v)} {${v}}", "a val {val}"},
	    {"[${v?{$v}:{$w}}]", "[val]"},
	    {"[${{010} == {10} ? {eq} : {ne}}]", "[eq]"},
	    {"[${{9} < {10} ? {num} : {str}}]", "[num]"},
	    {"[${{3.6} <level {3.10} ? {yes} : {no}}]", "[yes]"},
	    {"[${{-1} < {1} ? {yes} : {no}}]", "[yes]"},
	    {"[${{b} <= {a}?{y}:{n}}]", "[n]"},
	    {"[${e2?yes}]", "[yes]"}, /* the value's text counts, not what it expands to */
	    {"$deep", "<val>"},
	    {"$two", "<val><val>"}, /* twice the same name is no loop */
	    {"$twice", "$v"},
	};
	struct expand_env env = {.lookup = lookup};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct buf to, err;

		buf_init(&to, 1000);
		buf_init(&err, 1000);
		if (expand(str_of(cases[i].text), &env, &to, &err) != 0)
			fail_msg("%s: %s", cases[i].text, buf_cstr(&err));
		if (strcmp(buf_cstr(&to), cases[i].want) != 0)
			fail_msg(
			    "%s: \"%s\", not \"%s\"", cases[i].text, buf_cstr(&to), cases[i].want);
		buf_fini(&to);
		buf_fini(&err);
	}
}

static void
errors(void **state)
{
	static const struct {
		const char *text;
		int rc;
		const char *want;
	} cases[] = {
	    {"a $", -EINVAL, "$ without a name"},
	    {"a $. b", -EINVAL, "$ without a name"},
	    {"[${v", -EINVAL, "not closed"},
	    {"$(v}", -EINVAL, "not closed"},
	    {"${v?{x}", -EINVAL, "not closed"},
	    {"${}", -EINVAL, "no name"},
	    {"${v+x}", -EINVAL, "expected before \"+x\""},
	    {"${v.x}", -EINVAL, "expected before \".x\""},
	    {"${v?{x} y}", -EINVAL, "\":\" expected"},
	    {"${v?{a}{b}}", -EINVAL, "\":\" expected"},
	    {"[${v:{x}:{y}}]", -EINVAL, "unexpected text \":{y}\""},
	    {"${v?{x}:{y} z}", -EINVAL, "unexpected text \"z\""},
	    {"${{x} = {y} ? {a}}", -EINVAL, "one of == !="},
	    {"[${{a}}]", -EINVAL, "one of == !="},
	    {"${{a} == b}", -EINVAL, "\"{text}\" expected"},
	    {"${{a} == {b} c}", -EINVAL, "expected before \"c\""},
	    {"[${{v} <level {3.6} ? {yes} : {no}}]", -EINVAL, "bad compatibility level \"v\""},
	    {"[${{1} <level {3.6.1.2} ? {yes} : {no}}]", -EINVAL, "level \"3.6.1.2\""},
	    {"$loop", -ELOOP, "$loop -> $pool -> $loop"},
	    {"$self", -ELOOP, "$self -> $self"},
	};
	struct expand_env env = {.lookup = lookup};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct buf to, err;
		int rc;

		buf_init(&to, 1000);
		buf_init(&err, 1000);
		rc = expand(str_of(cases[i].text), &env, &to, &err);
		if (rc != cases[i].rc || !strstr(buf_cstr(&err), cases[i].want))
			fail_msg("%s: %d \"%s\"", cases[i].text, rc, buf_cstr(&err));
		buf_fini(&to);
		buf_fini(&err);
	}
}

static const char *
lookup_bomb(void *arg, struct str name)
{
	static const char *const next[] = {"$b$b", "$c$c", "$d$d", "$e$e", "$f$f", "$g$g", "$h$h",
	    "$i$i", "$j$j", "$k$k", "$l$l", "$m$m", "$n$n", "$o$o", "$p$p", "$q$q", "$r$r", "$s$s",
	    "$t$t", "$u$u", "$v$v", ""};
	size_t i = (size_t)(name.p[0] - 'a');

	return i < PP_COUNT(next) ? next[i] : NULL;
}

static void
limits(void **state)
{
	struct expand_env bomb = {.lookup = lookup_bomb}, env = {.lookup = lookup};
	struct buf to, err, text;

	buf_init(&to, 10);
	buf_init(&err, 1000);
	buf_init(&text, 100000);
	assert_int_equal(expand(STR("$a"), &bomb, &to, &err), -ENOBUFS);
	buf_clear(&to);
	assert_int_equal(expand(STR("0123456789$v"), &env, &to, &err), -ENOBUFS);
	buf_clear(&to);
	assert_int_equal(expand(STR("0123456789"), &env, &to, NULL), 0);
	for (int i = 0; i < 200; i++)
		buf_adds(&text, "${v?{");
	for (int i = 0; i < 200; i++)
		buf_adds(&text, "}}");
	buf_clear(&to);
	assert_int_equal(expand(buf_str(&text), &env, &to, &err), -ELOOP);
	buf_fini(&to);
	buf_fini(&err);
	buf_fini(&text);
}

static void
final_values(void **state)
{
	struct expand_env env = {.lookup = lookup, .is_final = true};
	struct buf to;

	buf_init(&to, 100);
	assert_int_equal(expand(STR("$deep $self"), &env, &to, NULL), 0);
	assert_string_equal(buf_cstr(&to), "<$v> $self");
	buf_fini(&to);
}

static void
collect(void *arg, struct str name)
{
	buf_add(arg, name);
	buf_addc(arg, ' ');
}

static void
mentioned_names(void **state)
{
	struct buf to;

	buf_init(&to, 100);
	expand_names(STR("$a ${b?{$c}:{$d}} ${{$e} == {x$f} ? {$g}} $$h $(i)"), collect, &to);
	assert_string_equal(buf_cstr(&to), "a b c d e f g i ");
	buf_fini(&to);
}

static void
levels(void **state)
{
	assert_int_equal(expand_level_compare(STR("3.6"), STR("3.10")), -1);
	assert_int_equal(expand_level_compare(STR("2"), STR("2.0.0")), 0);
	assert_int_equal(expand_level_compare(STR("3.6.1"), STR("3.6")), 1);
	assert_int_equal(expand_level_compare(STR("junk"), STR("0")), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(results),
	    cmocka_unit_test(errors),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(final_values),
	    cmocka_unit_test(mentioned_names),
	    cmocka_unit_test(levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
