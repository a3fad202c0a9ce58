/*
 * map_small.c - tables without a file: inline, static, environ, fail.
 *
 * They answer from memory at once, so a list that holds nothing else needs no lane.
 */
#include <errno.h>
#include <stdlib.h>
#include "internal.h"
#include "pp/config/list.h"

/* inline:{key=value, {key = long value}} */
static int
inline_open(struct table *t, struct buf *err)
{
	struct str rest = str_of(t->arg), s;
	int rc;

	if (rest.n < 2 || rest.p[0] != '{' || rest.p[rest.n - 1] != '}') {
		buf_adds(err, "inline: must be followed by {key=value, ...}");
		return -EINVAL;
	}
	rest = list_unbrace(rest);
	while ((rc = list_next(&rest, &s)) > 0) {
		size_t eq;

		s = list_unbrace(s);
		eq = str_index(s, '=');
		if (eq == 0 || eq == s.n) {
			buf_printf(
			    err, "inline: \"%.*s\" must be key=value or {key = value}", STR_FMT(s));
			return -EINVAL;
		}
		table_put(t, str_trim(str_head(s, eq)), str_trim(str_from(s, eq + 1)));
	}
	if (rc < 0)
		buf_adds(err, "inline: a brace without its partner");
	return rc;
}

static int
static_find(struct table *t, struct str key, struct buf *value)
{
	return buf_add(value, list_unbrace(str_of(t->arg))) < 0 ? -ENOBUFS : 1;
}

static int
environ_find(struct table *t, struct str key, struct buf *value)
{
	char name[256];
	const char *found;

	if (key.n >= sizeof(name) || memchr(key.p, '\0', key.n))
		return 0;
	memcpy(name, key.p, key.n);
	name[key.n] = '\0';
	found = getenv(name);
	if (found == NULL)
		return 0;
	return buf_adds(value, found) < 0 ? -ENOBUFS : 1;
}

static int
fail_find(struct table *t, struct str key, struct buf *value)
{
	buf_printf(value, "the table fail:%s fails on purpose", t->arg);
	return -EAGAIN;
}

const struct table_type map_type_inline = {
    .name = "inline", .open = inline_open, .find = table_find_hash};
const struct table_type map_type_static = {
    .name = "static", .is_pattern = true, .find = static_find};
const struct table_type map_type_environ = {.name = "environ", .find = environ_find};
const struct table_type map_type_fail = {.name = "fail", .is_pattern = true, .find = fail_find};
