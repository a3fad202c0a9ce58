/*
 * map.c - lists of lookup tables: compiled once, asked often, read again when a file changes.
 *
 * A stat(2) per look-up is the whole change detection: no watcher, no signal, no postmap. A file
 * whose time stamp is no older than the clock tick it was read in is read once more at the next
 * look-up, since a second change within that tick would leave no trace.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/fsio.h"
#include "pp/config/list.h"
#include "pp/runtime/loop.h"
#include "pp/runtime/snap.h"

enum { FRESH_NS = 50 * 1000 * 1000 };

struct map {
	struct snap snap;
	struct table *tables;
};

const struct table_type *
map_type_at(unsigned i)
{
	static const struct table_type *const types[] = {&map_type_text[0], &map_type_text[1],
	    &map_type_text[2], &map_type_text[3], &map_type_text[4], &map_type_cidr,
	    &map_type_regexp, &map_type_pcre, &map_type_inline, &map_type_static, &map_type_environ,
	    &map_type_fail, &map_type_union, &map_type_pipe, &map_type_rand};

	return i < PP_COUNT(types) ? types[i] : NULL;
}

const struct table_type *
map_type_find(struct str name)
{
	const struct table_type *t;

	for (unsigned i = 0; (t = map_type_at(i)) != NULL; i++)
		if (str_eq(str_of(t->name), name))
			return t;
	return NULL;
}

const char *
map_type_name(unsigned i)
{
	const struct table_type *t = map_type_at(i);

	return t ? t->name : NULL;
}

void
table_put(struct table *t, struct str key, struct str value)
{
	struct table_entry *e;
	char *k = arena_str(&t->arena, key);

	for (size_t i = 0; i < key.n; i++)
		k[i] = str_lower(k[i]);
	HASH_FIND(hh, t->hash, k, key.n, e);
	if (e != NULL)
		return;
	e = ARENA_NEW(&t->arena, struct table_entry);
	e->key = k;
	e->value = arena_str(&t->arena, value);
	HASH_ADD_KEYPTR(hh, t->hash, e->key, key.n, e);
}

int
table_find_hash(struct table *t, struct str key, struct buf *value)
{
	struct table_entry *e = NULL;
	char folded[1024];

	if (key.n > sizeof(folded))
		return 0;
	for (size_t i = 0; i < key.n; i++)
		folded[i] = str_lower(key.p[i]);
	HASH_FIND(hh, t->hash, folded, key.n, e);
	if (e == NULL)
		return 0;
	return buf_adds(value, e->value) < 0 ? -ENOBUFS : 1;
}

void
table_clear(struct table *t)
{
	HASH_CLEAR(hh, t->hash);
	if (t->type->clear)
		t->type->clear(t);
	t->rules = NULL;
	arena_fini(&t->arena);
	t->is_loaded = false;
}

static void
free_table(struct table *t)
{
	table_clear(t);
	for (size_t i = 0; i < t->sub_count; i++)
		map_unref(t->subs[i]);
	mem_free(t->subs);
	mem_free(t->arg);
	mem_free(t);
}

static void
destroy(struct snap *snap)
{
	struct map *m = PP_CONTAINER(snap, struct map, snap);
	struct table *t;

	while ((t = m->tables) != NULL) {
		m->tables = t->next;
		free_table(t);
	}
	mem_free(m);
}

static int
complain_type(struct str element, struct str type, struct buf *err)
{
	const struct table_type *t;

	buf_printf(err, "\"%.*s\": this version has no table type \"%.*s\", only",
	    STR_FMT(str_head(element, 200)), STR_FMT(str_head(type, 40)));
	for (unsigned i = 0; (t = map_type_at(i)) != NULL; i++)
		buf_printf(err, " %s", t->name);
	return -EINVAL;
}

static int
open_table(struct str element, struct table **ret, struct buf *err)
{
	struct str s = element, type;
	struct table *t;
	size_t colon;
	int rc = 0;

	if (str_starts(s, STR("proxy:")))
		s = str_from(s, 6);
	colon = str_index(s, ':');
	type = colon < s.n ? str_head(s, colon) : STR("hash");
	if (colon == s.n && s.p[0] != '/') {
		buf_printf(err, "\"%.*s\" is no table: type:name is expected, such as hash:/path",
		    STR_FMT(str_head(element, 200)));
		return -EINVAL;
	}
	if (map_type_find(type) == NULL)
		return complain_type(element, type, err);
	t = MEM_NEW(struct table);
	t->type = map_type_find(type);
	s = colon < s.n ? str_from(s, colon + 1) : s;
	t->arg = mem_alloc(s.n + 1);
	memcpy(t->arg, s.p, s.n);
	if (t->type->is_file && t->arg[0] != '/') {
		buf_printf(
		    err, "\"%.*s\" must have an absolute path", STR_FMT(str_head(element, 200)));
		rc = -EINVAL;
	} else if (t->type->open != NULL)
		rc = t->type->open(t, err);
	if (rc < 0) {
		free_table(t);
		return rc;
	}
	*ret = t;
	return 0;
}

int
map_open(const char *spec, struct map **ret, struct buf *err)
{
	struct map *m = MEM_NEW(struct map);
	struct table **last = &m->tables;
	struct str rest = str_of(spec), element;
	int rc;

	snap_init(&m->snap, destroy);
	while ((rc = list_next(&rest, &element)) > 0) {
		rc = open_table(element, last, err);
		if (rc < 0)
			break;
		last = &(*last)->next;
	}
	if (rc < 0) {
		if (buf_str(err).n == 0)
			buf_printf(err, "\"%.*s\": a brace without its partner",
			    STR_FMT(str_head(str_of(spec), 200)));
		map_unref(m);
		return -EINVAL;
	}
	*ret = m;
	return 0;
}

void
map_ref(struct map *m)
{
	snap_ref(&m->snap);
}

void
map_unref(struct map *m)
{
	snap_unref(m ? &m->snap : NULL);
}

uint64_t
map_lane_key(const struct map *m)
{
	return (uint64_t)(uintptr_t)m >> 6;
}

bool
map_is_empty(const struct map *m)
{
	return m->tables == NULL;
}

bool
map_is_static(const struct map *m)
{
	for (const struct table *t = m->tables; t; t = t->next) {
		if (t->type->is_file)
			return false;
		for (size_t i = 0; i < t->sub_count; i++)
			if (!map_is_static(t->subs[i]))
				return false;
	}
	return true;
}

static bool
is_pattern(const struct table *t)
{
	for (size_t i = 0; i < t->sub_count; i++)
		if (map_is_pattern(t->subs[i]))
			return true;
	return t->type->is_pattern;
}

bool
map_is_pattern(const struct map *m)
{
	for (const struct table *t = m->tables; t; t = t->next)
		if (is_pattern(t))
			return true;
	return false;
}

static int
complain_file(const struct table *t, int rc, struct buf *value)
{
	buf_clear(value);
	buf_printf(value, "%s: %s", t->arg, strerror(-rc));
	return rc;
}

static int
read_table(struct table *t, struct buf *value)
{
	struct buf text, err;
	int rc;

	buf_init(&text, MAP_FILE_MAX);
	buf_init(&err, 1024);
	table_clear(t);
	rc = fsio_read_all(AT_FDCWD, t->arg, &text);
	if (rc < 0)
		rc = complain_file(t, rc, value);
	else {
		rc = t->type->load(t, buf_str(&text), &err);
		if (rc < 0) {
			buf_clear(value);
			buf_add(value, buf_str(&err));
		}
	}
	t->is_loaded = rc == 0;
	buf_fini(&text);
	buf_fini(&err);
	return rc;
}

/* The table is as its file is now, or the file's trouble is told. */
static int
refresh(struct table *t, struct buf *value)
{
	struct stat st;
	int64_t mtime;

	if (stat(t->arg, &st) < 0)
		return complain_file(t, -errno, value);
	mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	if (t->is_loaded && !t->is_fresh && t->device == st.st_dev && t->inode == st.st_ino &&
	    t->size == st.st_size && t->mtime_ns == mtime)
		return 0;
	/* What was seen before reading: a change meanwhile shows at the next look-up. */
	t->device = st.st_dev;
	t->inode = st.st_ino;
	t->size = st.st_size;
	t->mtime_ns = mtime;
	t->is_fresh = loop_wall_us() * 1000 - mtime < FRESH_NS;
	return read_table(t, value);
}

static int
find_key(struct map *m, const struct map_key *key, struct buf *value)
{
	for (struct table *t = m->tables; t; t = t->next) {
		int rc = 0;

		if (key->is_partial && is_pattern(t))
			continue;
		if (t->type->is_file)
			rc = refresh(t, value);
		if (rc == 0)
			rc = t->type->find(t, key->text, value);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int
map_find_keys_blk(
    struct map *m, const struct map_key *keys, unsigned n, struct buf *value, unsigned *ret_hit)
{
	buf_clear(value);
	for (unsigned i = 0; i < n; i++) {
		int rc = find_key(m, &keys[i], value);

		if (rc == 0)
			continue;
		if (rc > 0 && ret_hit)
			*ret_hit = i;
		return rc;
	}
	return 0;
}

int
map_find_blk(struct map *m, struct str key, struct buf *value)
{
	const struct map_key one = {.text = key};

	return map_find_keys_blk(m, &one, 1, value, NULL);
}

int
map_check_permissions_blk(const struct map *m, struct buf *text)
{
	int found = 0;

	for (const struct table *t = m->tables; t; t = t->next) {
		struct stat st;

		for (size_t i = 0; i < t->sub_count; i++)
			found |= map_check_permissions_blk(t->subs[i], text);
		if (!t->type->is_file)
			continue;
		if (faccessat(AT_FDCWD, t->arg, R_OK, AT_EACCESS) < 0)
			buf_printf(text, "%s%s: %s", found ? "; " : "", t->arg, strerror(errno));
		else if (stat(t->arg, &st) == 0 && (st.st_mode & S_IROTH))
			buf_printf(text, "%s%s is readable by everybody: chmod 600 %s",
			    found ? "; " : "", t->arg, t->arg);
		else
			continue;
		found = 1;
	}
	return found;
}

static void
query_work(struct lane_job *job)
{
	struct map_query *q = PP_CONTAINER(job, struct map_query, job);

	q->result = map_find_keys_blk(q->map, q->keys, q->n, &q->value, &q->hit);
}

static void
query_done(struct lane_job *job)
{
	struct map_query *q = PP_CONTAINER(job, struct map_query, job);
	struct map *m = q->map;

	q->map = NULL;
	q->done(q);
	map_unref(m);
}

void
map_find(struct map *m, struct lane *slow, struct map_query *q, const struct map_key *keys,
    unsigned n, void (*done)(struct map_query *))
{
	map_ref(m);
	q->map = m;
	q->keys = keys;
	q->n = n;
	q->hit = 0;
	q->done = done;
	buf_init(&q->value, MAP_VALUE_MAX);
	lane_run(slow, map_lane_key(m), &q->job, query_work, query_done);
}

void
map_query_fini(struct map_query *q)
{
	buf_fini(&q->value);
}
