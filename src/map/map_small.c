/*
 * map_small.c - tables without a file: inline, static, environ, fail.
 *
 * They answer from memory at once, so a list that holds nothing else needs no lane.
 */
#include <errno.h>
#include <stdlib.h>
#include "internal.h"
#include "pp/config/list.h"

/* In Postfix's words. */
static int
inline_syntax(const struct table *t, const char *what, struct buf *err)
{
	buf_printf(err, "%s: \"inline:%.200s\"; need \"inline:{name=value...}\"", what, t->arg);
	return -EINVAL;
}

/* inline:{key=value, {key = long value}} */
static int
inline_open(struct table *t, struct buf *err)
{
	struct str rest = str_of(t->arg), s;
	int rc;

	if (rest.n < 2 || rest.p[0] != '{' || rest.p[rest.n - 1] != '}')
		return inline_syntax(t, "bad syntax", err);
	rest = list_unbrace(rest);
	if (rest.n == 0)
		return inline_syntax(t, "bad syntax", err);
	while ((rc = list_next(&rest, &s)) > 0) {
		size_t eq;

		s = list_unbrace(s);
		eq = str_index(s, '=');
		if (eq == 0 || eq == s.n)
			return inline_syntax(t,
			    eq == 0 ? "missing attribute name" : "missing '=' after attribute name",
			    err);
		table_put(t, str_trim(str_head(s, eq)), str_trim(str_from(s, eq + 1)));
	}
	return rc < 0 ? inline_syntax(t, "bad syntax", err) : 0;
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
