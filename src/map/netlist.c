/*
 * netlist.c - lists of networks, such as mynetworks.
 *
 * Compiled to an array of networks; the first that contains the address decides, whichever way.
 * Anything that is no address is an error: a host name or a table that matched nobody in silence
 * would shut out clients, and one that matched by accident would open the relay.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/list.h"
#include "pp/map/matchlist.h"
#include "pp/runtime/snap.h"

enum { ELEMENTS_MAX = 100000 };

struct element {
	struct netaddr net;
	bool is_negated;
};

struct netlist {
	struct snap snap;
	struct element *a;
	size_t n, cap;
};

static int add_elements(void *list, struct str text, int depth, struct buf *err);

static void
destroy(struct snap *snap)
{
	struct netlist *l = PP_CONTAINER(snap, struct netlist, snap);

	mem_free(l->a);
	mem_free(l);
}

static void
append(struct netlist *l, const struct element *e)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 8;
		l->a = mem_realloc(l->a, l->cap * sizeof(*l->a));
	}
	l->a[l->n++] = *e;
}

static int
add_element(struct netlist *l, struct str s, int depth, struct buf *err)
{
	struct element e = {0};
	size_t colon;

	while (s.n && s.p[0] == '!') {
		e.is_negated = !e.is_negated;
		s = str_from(s, 1);
	}
	if (s.n && s.p[0] == '/') {
		if (!e.is_negated)
			return listfile_read(s, depth, add_elements, l, err);
		buf_printf(err, "\"!%.*s\": a file cannot be negated", STR_FMT(s));
		return -EINVAL;
	}
	colon = str_index(s, ':');
	if (colon < s.n && map_type_find(str_head(s, colon)) != NULL) {
		buf_printf(err, "\"%.*s\": a list of networks takes no tables; /file is possible",
		    STR_FMT(s));
		return -EINVAL;
	}
	if (l->n == ELEMENTS_MAX) {
		buf_printf(err, "more than %d networks", ELEMENTS_MAX);
		return -EINVAL;
	}
	if (netaddr_parse(s, &e.net, err) < 0)
		return -EINVAL;
	append(l, &e);
	return 0;
}

static int
add_elements(void *list, struct str text, int depth, struct buf *err)
{
	struct netlist *l = list;
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
netlist_new_blk(const char *text, struct netlist **ret, struct buf *err)
{
	struct netlist *l = MEM_NEW(struct netlist);
	int rc;

	snap_init(&l->snap, destroy);
	rc = add_elements(l, str_of(text), 0, err);
	if (rc < 0) {
		netlist_unref(l);
		return rc;
	}
	*ret = l;
	return 0;
}

void
netlist_ref(struct netlist *l)
{
	snap_ref(&l->snap);
}

void
netlist_unref(struct netlist *l)
{
	snap_unref(l ? &l->snap : NULL);
}

static bool
match(const struct netlist *l, const struct netaddr *host)
{
	for (size_t i = 0; i < l->n; i++)
		if (netaddr_contains(&l->a[i].net, host))
			return !l->a[i].is_negated;
	return false;
}

bool
netlist_match(const struct netlist *l, const struct sockaddr *addr)
{
	struct netaddr host;

	return netaddr_of(addr, &host) == 0 && match(l, &host);
}

bool
netlist_match_text(const struct netlist *l, struct str addr)
{
	struct netaddr host;

	return netaddr_parse_host(addr, &host) == 0 && match(l, &host);
}
