/*
 * expand.c - fuzzes the macro language. Lines are the values of the names a, b, c ..; the first
 * is expanded.
 */
#include <stdlib.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"
#include "pp/config/expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VALUES_MAX = 16 };

static const char *
lookup(void *arg, struct str name)
{
	char **values = arg;
	size_t i = name.n == 1 ? (size_t)(name.p[0] - 'a') : VALUES_MAX;

	return i < VALUES_MAX ? values[i] : NULL;
}

static void
seen(void *arg, struct str name)
{
	PP_ASSERT(name.n > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = {(const char *)data, size};
	char *values[VALUES_MAX] = {NULL};
	struct expand_env env = {.lookup = lookup, .arg = values};
	struct arena arena = {0};
	struct buf to, err;

	for (size_t i = 0; i < VALUES_MAX && rest.n; i++) {
		size_t n = str_index(rest, '\n');

		values[i] = arena_str(&arena, str_head(rest, n));
		rest = str_from(rest, n + 1);
	}
	buf_init(&to, 1000);
	buf_init(&err, 4000);
	if (values[0]) {
		int rc = expand(str_of(values[0]), &env, &to, &err);

		PP_ASSERT(rc == 0 || buf_str(&err).n > 0);
		expand_names(str_of(values[0]), seen, NULL);
	}
	buf_fini(&to);
	buf_fini(&err);
	arena_fini(&arena);
	return 0;
}
