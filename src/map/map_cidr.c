/*
 * map_cidr.c - cidr: networks, the first that contains the address wins.
 *
 * Rules stay a list in the order of the file, because their order is their meaning: a table of a
 * thousand networks is walked in microseconds. `if` jumps, as a number of rules to skip, so that a
 * look-up needs no stack.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/lines.h"

enum { IF_DEPTH_MAX = 32 };

struct cidr_rule {
	struct cidr_rule *next;
	struct cidr_rule *end; /* an if: where to go on when it does not hold */
	struct netaddr net;
	bool is_if, is_negated, is_endif;
	const char *value;
};

struct loading {
	struct table *t;
	struct cidr_rule **last;
	struct cidr_rule *open[IF_DEPTH_MAX];
	int depth, line;
	struct buf *err;
};

static int
bad(struct loading *l, const char *what)
{
	struct buf text;

	buf_init(&text, 1024);
	buf_add(&text, buf_str(l->err));
	buf_clear(l->err);
	buf_printf(l->err, "%s, line %d: %s%s", l->t->arg, l->line, what, buf_cstr(&text));
	buf_fini(&text);
	return -EINVAL;
}

static struct str
cut_word(struct str *s)
{
	struct str word;
	size_t n = 0;

	while (n < s->n && !str_isspace(s->p[n]))
		n++;
	word = str_head(*s, n);
	*s = str_trim(str_from(*s, n));
	return word;
}

static struct cidr_rule *
append(struct loading *l)
{
	struct cidr_rule *r = ARENA_NEW(&l->t->arena, struct cidr_rule);

	*l->last = r;
	l->last = &r->next;
	return r;
}

static int
add_endif(struct loading *l)
{
	struct cidr_rule *r;

	if (l->depth == 0)
		return bad(l, "endif without its if");
	r = append(l);
	r->is_endif = true;
	l->open[--l->depth]->end = r;
	return 0;
}

static int
add_rule(struct loading *l, struct str s)
{
	struct str word = cut_word(&s);
	struct cidr_rule *r;
	bool is_if = str_caseeq(word, STR("if")), is_negated = false;

	if (str_caseeq(word, STR("endif")))
		return add_endif(l);
	if (is_if)
		word = cut_word(&s);
	if (word.n && word.p[0] == '!') {
		is_negated = true;
		word = word.n > 1 ? str_from(word, 1) : cut_word(&s);
	}
	if (is_if ? l->depth == IF_DEPTH_MAX : s.n == 0)
		return bad(l, is_if ? "too many nested if" : "a network without a result");
	r = append(l);
	r->is_if = is_if;
	r->is_negated = is_negated;
	r->value = arena_str(&l->t->arena, s);
	if (netaddr_parse(word, &r->net, l->err) < 0)
		return bad(l, "");
	if (is_if)
		l->open[l->depth++] = r;
	return 0;
}

static int
load(struct table *t, struct str text, struct buf *err)
{
	struct loading l = {.t = t, .last = &t->rules, .err = err};
	struct buf logical;
	int count = 0, rc = 0;

	buf_init(&logical, MAP_VALUE_MAX);
	while (rc == 0 && (rc = lines_next(&text, &count, &l.line, &logical)) != 0)
		rc = rc < 0 ? bad(&l, "the line is too long")
			    : add_rule(&l, str_trim(buf_str(&logical)));
	buf_fini(&logical);
	if (rc == 0 && l.depth > 0)
		rc = bad(&l, "an if without its endif");
	return rc;
}

static int
find(struct table *t, struct str key, struct buf *value)
{
	struct netaddr host;

	if (netaddr_parse_host(key, &host) < 0)
		return 0;
	for (const struct cidr_rule *r = t->rules; r; r = r->next) {
		bool is_hit = !r->is_endif && netaddr_contains(&r->net, &host) != r->is_negated;

		if (r->is_if && !is_hit)
			r = r->end;
		else if (is_hit && !r->is_if)
			return buf_adds(value, r->value) < 0 ? -ENOBUFS : 1;
	}
	return 0;
}

const struct table_type map_type_cidr = {
    .name = "cidr", .is_pattern = true, .is_file = true, .load = load, .find = find};
