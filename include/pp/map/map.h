/*
 * map.h - lookup tables: a compiled list "type:name type:name", first hit wins.
 * THREAD map_open, map_ref, map_unref, map_key any. What ends in _blk: one at a time, on the lane
 *        under map_key(map), or in a command. map_find on a loop.
 * OWNS   map_open gives one reference; map_unref ends it. Files are read when first asked and
 *        again when they change (a stat(2) per lookup). hash: btree: lmdb: cdb: texthash: read the
 *        text (text.h).
 * ERRORS lookups: 1 found, 0 not found, -errno when a table cannot be used now (a temporary
 *        failure; `value` then holds a text that names the file).
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/runtime/lane.h"

struct map;

enum {
	MAP_KEYS_MAX = 64,        /* key forms tried in one query */
	MAP_VALUE_MAX = 64 << 10, /* bytes of a value */
	MAP_FILE_MAX = 64 << 20,  /* bytes of a table's text */
};

/* One form of the key. Tables of patterns (cidr, regexp, static) are not asked for partial ones. */
struct map_key {
	struct str text;
	bool is_partial;
};

/* Compiles `spec`; an empty one gives a map that finds nothing. No file is opened.
 * -EINVAL: err says what is wrong. */
int map_open(const char *spec, struct map **ret, struct buf *err);
void map_ref(struct map *m);
void map_unref(struct map *m);
/* The lane key of this map. */
uint64_t map_lane_key(const struct map *m);
bool map_is_empty(const struct map *m);
/* Whether every table answers without reading a file (inline, static, environ, fail):
 * then the _blk functions do not block and need no lane. */
bool map_is_static(const struct map *m);

int map_find_blk(struct map *m, struct str key, struct buf *value);
/* Tries the keys in order, each in every table; *ret_hit (may be NULL) is the index that hit. */
int map_find_keys_blk(
    struct map *m, const struct map_key *keys, unsigned n, struct buf *value, unsigned *ret_hit);
/* Warns about files that hold secrets, as the user who will read them: 1 and "/path is readable by
 * everybody: chmod 600 /path" or "/path: No such file or directory" in text, else 0. */
int map_check_permissions_blk(const struct map *m, struct buf *text);

/* Names of the table types, for postconf -m; NULL behind the last. */
const char *map_type_name(unsigned i);

/* The asynchronous form. keys and their bytes are the caller's until done. */
struct map_query {
	struct lane_job job;
	struct map *map;
	const struct map_key *keys;
	unsigned n;
	struct buf value; /* made by map_find; map_query_fini frees it */
	unsigned hit;
	int result; /* 1, 0, -errno */
	void (*done)(struct map_query *q);
};

/* done comes once, on this loop, never inside. The query holds a reference to the map meanwhile. */
void map_find(struct map *m, struct lane *slow, struct map_query *q, const struct map_key *keys,
    unsigned n, void (*done)(struct map_query *));
void map_query_fini(struct map_query *q);
