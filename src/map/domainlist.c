/*
 * domainlist.c - lists of domain names, such as mydestination and relay_domains.
 *
 * Names are compared in memory and answer at once on any thread. Only when the walk reaches a table
 * before anything matched must the question go to a lane; most configurations never do.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/list.h"
#include "pp/map/matchlist.h"
#include "pp/runtime/snap.h"

enum { ELEMENTS_MAX = 100000, DOMAIN_MAX = 1024 };

struct element {
	struct element *next;
	struct str name; /* lower case */
	struct map *map; /* instead of a name */
	bool is_negated;
};

struct domainlist {
	struct snap snap;
	struct arena arena;
	struct element *first, **last;
	unsigned flags;
	unsigned n;
	bool in_negated_file; /* while it is made: what a !/file says is turned round */
};

static int add_elements(void *list, struct str text, int depth, struct buf *err);

static void
destroy(struct snap *snap)
{
	struct domainlist *l = PP_CONTAINER(snap, struct domainlist, snap);

	for (struct element *e = l->first; e; e = e->next)
		map_unref(e->map);
	arena_fini(&l->arena);
	mem_free(l);
}

static bool
is_table(struct str s)
{
	size_t colon = str_index(s, ':');

	if (colon == 0 || colon == s.n || s.p[0] == '[')
		return false;
	return map_type_find(str_head(s, colon)) != NULL || s.p[s.n - 1] == '}' ||
	       (colon + 1 < s.n && s.p[colon + 1] == '/') || str_starts(s, STR("proxy:"));
}

static int
add_table(struct domainlist *l, struct str s, struct element *e, struct buf *err)
{
	struct arena a = {0};
	int rc = map_open(arena_str(&a, s), &e->map, err);

	arena_fini(&a);
	return rc;
}

static int
add_file(struct domainlist *l, struct str path, bool is_negated, int depth, struct buf *err)
{
	bool outer = l->in_negated_file;
	int rc;

	l->in_negated_file = outer != is_negated;
	rc = listfile_read(path, depth, add_elements, l, err);
	l->in_negated_file = outer;
	return rc;
}

static int
add_element(struct domainlist *l, struct str s, int depth, struct buf *err)
{
	struct element *e;
	bool is_negated = false;

	while (s.n && s.p[0] == '!') {
		is_negated = !is_negated;
		s = str_from(s, 1);
	}
	if (s.n && s.p[0] == '/')
		return add_file(l, s, is_negated, depth, err);
	if (s.n == 0 || l->n == ELEMENTS_MAX) {
		buf_printf(err, "\"%s%.*s\": %s", is_negated ? "!" : "", STR_FMT(s),
		    s.n == 0 ? "a name is missing" : "too many names");
		return -EINVAL;
	}
	e = ARENA_NEW(&l->arena, struct element);
	e->is_negated = is_negated != l->in_negated_file;
	if (is_table(s)) {
		int rc = add_table(l, s, e, err);

		if (rc < 0)
			return rc;
	} else
		e->name = arena_lower(&l->arena, s);
	*l->last = e;
	l->last = &e->next;
	l->n++;
	return 0;
}

static int
add_elements(void *list, struct str text, int depth, struct buf *err)
{
	struct domainlist *l = list;
	struct str s;
	int rc;

	while ((rc = list_next(&text, &s)) > 0) {
		rc = add_element(l, s, depth, err);
		if (rc < 0)
			return rc;
	}
	if (rc < 0)
		buf_adds(err, "a brace without its partner");
	return rc;
}

int
domainlist_new_blk(const char *text, unsigned flags, struct domainlist **ret, struct buf *err)
{
	struct domainlist *l = MEM_NEW(struct domainlist);
	int rc;

	snap_init(&l->snap, destroy);
	l->last = &l->first;
	l->flags = flags;
	rc = add_elements(l, str_of(text), 0, err);
	if (rc < 0) {
		domainlist_unref(l);
		return rc;
	}
	*ret = l;
	return 0;
}

void
domainlist_ref(struct domainlist *l)
{
	snap_ref(&l->snap);
}

void
domainlist_unref(struct domainlist *l)
{
	snap_unref(l ? &l->snap : NULL);
}

static bool
match_name(const struct domainlist *l, struct str pattern, struct str domain)
{
	size_t at;

	if (str_caseeq(pattern, domain))
		return true;
	if (domain.n <= pattern.n || pattern.n == 0 || (l->flags & DOMAINLIST_WHOLE))
		return false;
	at = domain.n - pattern.n;
	if (!str_caseeq(str_from(domain, at), pattern))
		return false;
	return pattern.p[0] == '.' || ((l->flags & DOMAINLIST_PARENTS) && domain.p[at - 1] == '.');
}

/* The domain, then its parents, bare or with their dot. */
static int
match_table(const struct domainlist *l, struct map *m, struct str domain, struct buf *why)
{
	struct map_key keys[MAP_KEYS_MAX];
	struct buf value;
	unsigned n = 0;
	int rc;

	keys[n++] = (struct map_key){.text = domain};
	for (size_t i = 1; i < domain.n && n < MAP_KEYS_MAX && !(l->flags & DOMAINLIST_WHOLE); i++)
		if (domain.p[i] == '.')
			keys[n++] = (struct map_key){
			    str_from(domain, l->flags & DOMAINLIST_PARENTS ? i + 1 : i), true};
	buf_init(&value, MAP_VALUE_MAX);
	rc = map_find_keys_blk(m, keys, n, &value, NULL);
	if (rc < 0 && why)
		buf_add(why, buf_str(&value));
	buf_fini(&value);
	return rc;
}

static int
match(const struct domainlist *l, struct str domain, bool may_block, struct buf *why)
{
	if (domain.n == 0 || domain.n > DOMAIN_MAX)
		return 0;
	for (const struct element *e = l->first; e; e = e->next) {
		int rc = 0;

		if (e->map == NULL)
			rc = match_name(l, e->name, domain);
		else if (may_block || map_is_static(e->map))
			rc = match_table(l, e->map, domain, why);
		else
			return -EAGAIN;
		if (rc != 0)
			return rc < 0 ? rc : !e->is_negated;
	}
	return 0;
}

bool
domainlist_is_static(const struct domainlist *l)
{
	for (const struct element *e = l->first; e; e = e->next)
		if (e->map != NULL && !map_is_static(e->map))
			return false;
	return true;
}

int
domainlist_match(const struct domainlist *l, struct str domain)
{
	return match(l, domain, false, NULL);
}

int
domainlist_match_blk(const struct domainlist *l, struct str domain, struct buf *why)
{
	return match(l, domain, true, why);
}

uint64_t
domainlist_lane_key(const struct domainlist *l)
{
	return (uint64_t)(uintptr_t)l >> 6;
}

static void
query_work(struct lane_job *job)
{
	struct domainlist_query *q = PP_CONTAINER(job, struct domainlist_query, job);

	q->result = domainlist_match_blk(q->list, q->domain, NULL);
}

static void
query_done(struct lane_job *job)
{
	struct domainlist_query *q = PP_CONTAINER(job, struct domainlist_query, job);
	struct domainlist *l = q->list;

	q->list = NULL;
	q->done(q);
	domainlist_unref(l);
}

void
domainlist_find(struct domainlist *l, struct lane *slow, struct domainlist_query *q,
    struct str domain, void (*done)(struct domainlist_query *))
{
	domainlist_ref(l);
	q->list = l;
	q->domain = domain;
	q->done = done;
	lane_run(slow, domainlist_lane_key(l), &q->job, query_work, query_done);
}

unsigned
domainlist_flags(const char *parent_domain_matches_subdomains, const char *name)
{
	struct str rest = str_of(parent_domain_matches_subdomains), s;

	while (list_next(&rest, &s) > 0)
		if (str_eq(s, str_of(name)))
			return DOMAINLIST_PARENTS;
	return 0;
}
