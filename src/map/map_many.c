/*
 * map_many.c - tables made of tables: unionmap, pipemap, randmap.
 *
 * Each element is a map of its own, asked on the lane of the whole. They may be nested, to a depth.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/list.h"
#include "pp/runtime/loop.h"

enum { ELEMENTS_MAX = 100, NESTING_MAX = 16 };

static bool
is_too_deep(const char *text)
{
	int depth = 0;

	for (; *text && depth <= NESTING_MAX; text++)
		depth += *text == '{' ? 1 : *text == '}' ? -1 : 0;
	return depth > NESTING_MAX;
}

/* The elements inside the braces; `add` takes each. */
static int
each_element(
    struct table *t, int (*add)(struct table *t, struct str s, struct buf *err), struct buf *err)
{
	struct str rest = str_of(t->arg), s;
	size_t n = 0;
	int rc = 0;

	if (rest.n < 2 || rest.p[0] != '{' || rest.p[rest.n - 1] != '}' || is_too_deep(t->arg))
		rest.n = 0;
	rest = list_unbrace(rest);
	while (rc == 0 && (rc = list_next(&rest, &s)) > 0)
		rc = n++ < ELEMENTS_MAX ? add(t, s, err) : -EINVAL;
	if (rc == 0 && n > 0)
		return 0;
	if (buf_str(err).n == 0)
		buf_printf(err, "bad syntax: \"%s:%.200s\"; need \"%s:{%s...}\"", t->type->name,
		    t->arg, t->type->name, t->type == &map_type_rand ? "value" : "type:name");
	return -EINVAL;
}

static int
add_map(struct table *t, struct str s, struct buf *err)
{
	struct arena a = {0};
	struct map *m;
	int rc = map_open(arena_str(&a, list_unbrace(s)), &m, err);

	arena_fini(&a);
	if (rc < 0)
		return rc;
	t->subs = mem_realloc(t->subs, (t->sub_count + 1) * sizeof(struct map *));
	t->subs[t->sub_count++] = m;
	return 0;
}

static int
maps_open(struct table *t, struct buf *err)
{
	return each_element(t, add_map, err);
}

/* All results, with commas between them. */
static int
union_find(struct table *t, struct str key, struct buf *value)
{
	struct buf one;
	int rc = 0, found = 0;

	buf_init(&one, MAP_VALUE_MAX);
	for (size_t i = 0; i < t->sub_count && rc >= 0; i++) {
		rc = map_find_blk(t->subs[i], key, &one);
		if (rc < 0)
			buf_clear(value);
		else if (rc > 0 && found++)
			buf_addc(value, ',');
		if (rc != 0)
			buf_add(value, buf_str(&one));
	}
	buf_fini(&one);
	return rc < 0 ? rc : buf_overflowed(value) ? -ENOBUFS : found > 0;
}

/* The result of each is the key of the next. */
static int
pipe_find(struct table *t, struct str key, struct buf *value)
{
	struct buf last;
	int rc = 1;

	buf_init(&last, MAP_VALUE_MAX);
	buf_add(&last, key);
	for (size_t i = 0; i < t->sub_count && rc > 0; i++) {
		rc = map_find_blk(t->subs[i], buf_str(&last), value);
		buf_clear(&last);
		if (rc > 0)
			buf_add(&last, buf_str(value));
	}
	if (rc == 0)
		buf_clear(value);
	buf_fini(&last);
	return rc;
}

static int
any_value(struct table *t, struct str s, struct buf *err)
{
	return 0;
}

static int
rand_open(struct table *t, struct buf *err)
{
	return each_element(t, any_value, err);
}

static int
rand_find(struct table *t, struct str key, struct buf *value)
{
	struct str rest = list_unbrace(str_of(t->arg)), s, pick = {0};
	uint64_t noise = (uint64_t)loop_monotonic_us() * 0x9e3779b97f4a7c15u;
	size_t n = 0;

	/* One pass: the n-th is taken with a chance of 1 in n. */
	while (list_next(&rest, &s) > 0) {
		noise ^= noise >> 29;
		noise *= 0xbf58476d1ce4e5b9u;
		if ((noise >> 33) % ++n == 0)
			pick = list_unbrace(s);
	}
	return buf_add(value, pick) < 0 ? -ENOBUFS : 1;
}

const struct table_type map_type_union = {
    .name = "unionmap", .open = maps_open, .find = union_find};
const struct table_type map_type_pipe = {.name = "pipemap", .open = maps_open, .find = pipe_find};
const struct table_type map_type_rand = {
    .name = "randmap", .is_pattern = true, .open = rand_open, .find = rand_find};
