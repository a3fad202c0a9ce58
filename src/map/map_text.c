/*
 * map_text.c - hash: btree: lmdb: texthash: all read the text that the table is made of.
 *
 * There is no postmap step to forget: the text is the table. It is read into a hash when it is
 * first asked for, keys lower-cased as postmap does, and again when the file changes (map.c).
 * A line without a value is passed over, as postmap passes it over after a warning.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/lines.h"

int
map_parse_line(struct str *text, int *line, int *ret_line, struct buf *key, struct buf *value)
{
	struct str s, k;
	size_t n = 0;
	int rc = lines_next(text, line, ret_line, value);

	buf_clear(key);
	if (rc <= 0)
		return rc;
	s = buf_str(value);
	if (str_isspace(s.p[0]))
		return -EINVAL; /* a continuation of nothing */
	while (n < s.n && !str_isspace(s.p[n]))
		n++;
	k = str_head(s, n);
	for (size_t i = 0; i < k.n; i++)
		buf_addc(key, str_lower(k.p[i]));
	s = str_trim(str_from(s, n));
	if (buf_overflowed(key))
		return -ENOBUFS;
	if (s.n == 0)
		return -EINVAL;
	n = s.n;
	buf_consume(value, (size_t)(s.p - buf_str(value).p));
	buf_truncate(value, n);
	return 1;
}

static int
load(struct table *t, struct str text, struct buf *err)
{
	int line = 0, first = 0, rc;
	struct buf key, value;

	buf_init(&key, MAP_VALUE_MAX);
	buf_init(&value, MAP_VALUE_MAX);
	while ((rc = map_parse_line(&text, &line, &first, &key, &value)) != 0)
		if (rc > 0)
			table_put(t, buf_str(&key), buf_str(&value));
	buf_fini(&key);
	buf_fini(&value);
	return 0;
}

const struct table_type map_type_text[] = {
    {.name = "hash", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "btree", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "lmdb", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "texthash", .is_file = true, .load = load, .find = table_find_hash},
    {.name = NULL},
};
