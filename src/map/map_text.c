/*
 * map_text.c - hash: btree: lmdb: cdb: texthash: all read the text that the table is made of.
 *
 * There is no postmap step to forget: the text is the table. It is read into a hash when it is
 * first asked for, keys lower-cased as postmap does, and again when the file changes (map.c).
 * A line without an entry is passed over, as postmap passes it over after a warning.
 */
#include "internal.h"
#include "pp/map/text.h"

static int
load(struct table *t, struct str text, struct buf *err)
{
	struct map_line l;
	struct buf logical;
	int count = 0, rc;

	buf_init(&logical, MAP_VALUE_MAX);
	while ((rc = map_line_next(&text, &count, &logical, &l)) != 0)
		if (rc > 0)
			table_put(t, l.key, l.value);
	buf_fini(&logical);
	return 0;
}

const struct table_type map_type_text[] = {
    {.name = "hash", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "btree", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "lmdb", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "cdb", .is_file = true, .load = load, .find = table_find_hash},
    {.name = "texthash", .is_file = true, .load = load, .find = table_find_hash},
};
