/*
 * base_test.c - the smallest parts: str, buf, mem, heap, sm.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/base/buf.h"
#include "pp/base/hash.h"
#include "pp/base/heap.h"
#include "pp/base/mem.h"
#include "pp/base/sm.h"

static void
numbers(void **state)
{
	static const struct {
		const char *text;
		int64_t min, max, want;
		int rc;
	} cases[] = {
	    {"0", 0, 10, 0, 0},
	    {"007", 0, 10, 7, 0},
	    {"11", 0, 10, 0, -ERANGE},
	    {"1", 2, 10, 0, -ERANGE},
	    {"", 0, 10, 0, -EINVAL},
	    {"-1", 0, 10, 0, -EINVAL},
	    {"+1", 0, 10, 0, -EINVAL},
	    {" 1", 0, 10, 0, -EINVAL},
	    {"1 ", 0, 10, 0, -EINVAL},
	    {"0x10", 0, 100, 0, -EINVAL},
	    {"999999999999999999", 0, INT64_MAX, 999999999999999999, 0},
	    {"1000000000000000000", 0, INT64_MAX, 0, -ERANGE},
	    {"99999999999999999999999999", 0, INT64_MAX, 0, -ERANGE},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		int64_t v = -7;

		assert_int_equal(
		    str_number(str_of(cases[i].text), cases[i].min, cases[i].max, &v), cases[i].rc);
		assert_int_equal(v, cases[i].rc ? -7 : cases[i].want);
	}
}

static void
views(void **state)
{
	struct str s = STR("  a, b\t,c "), t;

	assert_true(str_eq(str_trim(s), STR("a, b\t,c")));
	assert_true(str_token(&s, ", \t", &t) && str_eq(t, STR("a")));
	assert_true(str_token(&s, ", \t", &t) && str_eq(t, STR("b")));
	assert_true(str_token(&s, ", \t", &t) && str_eq(t, STR("c")));
	assert_false(str_token(&s, ", \t", &t));
	assert_int_equal(str_index(STR("abc"), 'c'), 2);
	assert_int_equal(str_index(STR("abc"), 'x'), 3);
	assert_int_equal(str_rindex(STR("a@b@c"), '@'), 3);
	assert_true(str_caseeq(STR("MiXed"), STR("mIxED")));
	assert_false(str_caseeq(STR("a"), STR("ab")));
	assert_false(str_eq(STR("a\0b"), STR("a\0c")));
	assert_true(str_casestarts(STR("MAIL FROM"), STR("mail ")));
	assert_true(str_ends(STR("x.example.com"), STR(".example.com")));
	assert_int_equal(str_from(STR("abc"), 9).n, 0);
	assert_int_equal(str_head(STR("abc"), 9).n, 3);
	/* No byte value is out of range for the classes. */
	for (int c = -128; c < 128; c++)
		assert_int_equal(str_isalnum((char)c),
		    (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
}

static void
buffer_keeps_its_maximum(void **state)
{
	struct buf b;

	buf_init(&b, 10);
	assert_string_equal(buf_cstr(&b), "");
	assert_int_equal(buf_adds(&b, "0123456789"), 0);
	assert_false(buf_overflowed(&b));
	assert_int_equal(buf_addc(&b, 'x'), -ENOBUFS);
	assert_true(buf_overflowed(&b));
	assert_string_equal(buf_cstr(&b), "0123456789");
	assert_null(buf_reserve(&b, SIZE_MAX));
	buf_consume(&b, 4);
	assert_int_equal(buf_adds(&b, "abcd"), 0);
	assert_string_equal(buf_cstr(&b), "456789abcd");
	assert_int_equal(buf_printf(&b, "%d", 5), -ENOBUFS);
	buf_truncate(&b, 2);
	assert_string_equal(buf_cstr(&b), "45");
	buf_consume(&b, 2);
	assert_int_equal(buf_str(&b).n, 0);
	buf_clear(&b);
	assert_false(buf_overflowed(&b));
	buf_fini(&b);
}

/* Against a plain string that does the same. */
static void
buffer_like_a_string(void **state)
{
	struct buf b;
	char model[4096];
	size_t n = 0;
	unsigned seed = 1;

	buf_init(&b, 2000);
	for (int i = 0; i < 20000; i++) {
		unsigned k;

		seed = seed * 1103515245 + 12345;
		k = seed >> 16;
		if (k % 3) {
			char chunk[64];
			size_t len = k % 60;

			memset(chunk, 'a' + (char)(k % 26), len);
			if (buf_add(&b, (struct str){chunk, len}) == 0) {
				memcpy(model + n, chunk, len);
				n += len;
			} else {
				assert_true(n + len > 2000);
			}
		} else if (n > 0) {
			size_t len = k % n;

			buf_consume(&b, len);
			memmove(model, model + len, n - len);
			n -= len;
		}
		assert_true(str_eq(buf_str(&b), (struct str){model, n}));
	}
	buf_fini(&b);
}

static void
arena_is_zeroed_and_aligned(void **state)
{
	struct arena a = {0};

	for (size_t i = 1; i < 3000; i += 7) {
		unsigned char *p = arena_alloc(&a, i);

		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t k = 0; k < i; k++)
			assert_int_equal(p[k], 0);
		memset(p, 0xff, i);
	}
	assert_string_equal(arena_printf(&a, "%s-%d", "x", 5), "x-5");
	assert_string_equal(arena_str(&a, STR("view")), "view");
	arena_fini(&a);
	assert_int_equal(a.used, 0);
	assert_string_equal(arena_strdup(&a, "again"), "again");
	arena_fini(&a);
}

static void
heap_sorts_and_moves(void **state)
{
	struct heap_node nodes[500] = {{0}};
	struct heap h = {0};
	int64_t last = -1;
	unsigned seed = 7;

	for (size_t i = 0; i < PP_COUNT(nodes); i++) {
		seed = seed * 1103515245 + 12345;
		heap_put(&h, &nodes[i], seed >> 16);
	}
	for (size_t i = 0; i < PP_COUNT(nodes); i += 3)
		heap_put(&h, &nodes[i], (int64_t)(i * 37 % 1000)); /* moved */
	for (size_t i = 1; i < PP_COUNT(nodes); i += 5)
		heap_drop(&h, &nodes[i]);
	heap_drop(&h, &nodes[1]); /* twice is nothing */
	assert_false(heap_has(&nodes[1]));
	while (heap_first(&h)) {
		struct heap_node *n = heap_first(&h);

		assert_true(n->key >= last);
		last = n->key;
		heap_drop(&h, n);
	}
	heap_fini(&h);
}

struct named {
	UT_hash_handle hh;
	char name[8];
};

static void
hash_finds(void **state)
{
	struct named *table = NULL, *e, *next;

	for (int i = 0; i < 1000; i++) {
		e = MEM_NEW(struct named);
		snprintf(e->name, sizeof(e->name), "n%d", i);
		HASH_ADD_STR(table, name, e);
	}
	HASH_FIND_STR(table, "n777", e);
	assert_non_null(e);
	HASH_FIND_STR(table, "n1000", e);
	assert_null(e);
	HASH_ITER (hh, table, e, next) {
		HASH_DEL(table, e);
		mem_free(e);
	}
}

static void
machine_moves(void **state)
{
	static const struct sm_state table[] = {
	    {"one", SM_TO(1)}, {"two", SM_TO(0) | SM_TO(2)}, {"three", 0}};
	uint8_t s = 0;

	sm_move(table, &s, 1);
	sm_move(table, &s, 0);
	sm_move(table, &s, 1);
	sm_move(table, &s, 2);
	assert_int_equal(s, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(views),
	    cmocka_unit_test(buffer_keeps_its_maximum),
	    cmocka_unit_test(buffer_like_a_string),
	    cmocka_unit_test(arena_is_zeroed_and_aligned),
	    cmocka_unit_test(heap_sorts_and_moves),
	    cmocka_unit_test(hash_finds),
	    cmocka_unit_test(machine_moves),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
