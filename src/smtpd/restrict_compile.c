/*
 * restrict_compile.c - the text of smtpd_*_restrictions made into lists of rows.
 *
 * Everything that can be wrong is found here, at the start: names that nobody knows (with the name
 * that was probably meant), names that Postfix knows and this program does not do, tables that
 * cannot be. A list that silently lacked one of its guards would be worse than no server at all.
 */
#include <errno.h>
#include <stdlib.h>
#include "internal.h"
#include "pp/config/settings.h"

enum { MAPS_MAX = 200 };

struct compile {
	struct smtpd_setup *setup;
	struct arena *arena;
	const char *name, *table_default;
	struct buf *err; /* NULL at run time: nothing may be opened, nobody reads texts */
};

static bool
is_separator(char ch)
{
	return ch == ',' || str_isspace(ch);
}

/* Words are separated by commas and blanks; what stands in braces belongs to its word. */
static bool
next_word(struct str *rest, struct str *ret)
{
	size_t from = 0, to;
	int braces = 0;

	while (from < rest->n && is_separator(rest->p[from]))
		from++;
	if (from == rest->n)
		return false;
	for (to = from; to < rest->n && (braces > 0 || !is_separator(rest->p[to])); to++)
		braces += rest->p[to] == '{' ? 1 : rest->p[to] == '}' && braces > 0 ? -1 : 0;
	*ret = (struct str){rest->p + from, to - from};
	*rest = str_from(*rest, to);
	return true;
}

const struct restrict_row *
restrict_find(struct str name)
{
	for (size_t i = 0; i < restrict_row_count; i++)
		if (str_caseeq(name, str_of(restrict_rows[i].name)))
			return &restrict_rows[i];
	return NULL;
}

static bool
is_unsupported(struct str name)
{
	for (const char *const *u = restrict_unsupported; *u; u++)
		if (str_caseeq(name, str_of(*u)))
			return true;
	return false;
}

/* Levenshtein's distance, by one row; words longer than the row are never near. */
static unsigned
distance(struct str a, struct str b)
{
	unsigned row[64];

	if (a.n >= PP_COUNT(row) || b.n >= PP_COUNT(row))
		return UINT32_MAX;
	for (unsigned i = 0; i <= b.n; i++)
		row[i] = i;
	for (unsigned i = 1; i <= a.n; i++) {
		unsigned corner = row[0]++;

		for (unsigned k = 1; k <= b.n; k++) {
			unsigned same = str_lower(a.p[i - 1]) == str_lower(b.p[k - 1]) ? 0 : 1;
			unsigned best = corner + same;

			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			corner = row[k];
			row[k] = best;
		}
	}
	return row[b.n];
}

static const char *
suggest(struct str word)
{
	const char *best = NULL;
	unsigned least = (unsigned)word.n / 3;

	for (size_t i = 0; i < restrict_row_count; i++) {
		unsigned d = distance(word, str_of(restrict_rows[i].name));

		if (d <= least && (best == NULL || d < least)) {
			least = d;
			best = restrict_rows[i].name;
		}
	}
	return best;
}

/* "PARAMETER (FILE, line N): " */
static void
err_place(struct compile *c)
{
	const struct smtpd_setup *s = c->setup;

	for (const struct service_option *o = config_service_options(s->service); o; o = o->next)
		if (strcmp(o->name, c->name) == 0) {
			buf_printf(c->err, "%s, line %d: -o %s: ", s->service->file,
			    s->service->line, c->name);
			return;
		}
	buf_printf(c->err, "%s: %s: ", config_origin(s->config, c->name), c->name);
}

static int
unknown(struct compile *c, struct str word)
{
	const char *near = suggest(word);

	if (c->err == NULL)
		return -EINVAL;
	err_place(c);
	if (is_unsupported(word))
		buf_printf(c->err,
		    "%.*s is a restriction of Postfix that this version does not do; take it out, "
		    "nothing would be checked",
		    STR_FMT(word));
	else if (near)
		buf_printf(
		    c->err, "unknown restriction \"%.*s\", did you mean %s?", STR_FMT(word), near);
	else
		buf_printf(c->err, "unknown restriction \"%.*s\"", STR_FMT(word));
	return -EINVAL;
}

static int
open_table(struct compile *c, struct str spec, struct restriction *it)
{
	struct smtpd_setup *s = c->setup;
	struct buf why;
	int rc;

	it->arg = arena_str(c->arena, spec);
	buf_init(&why, 1024);
	rc = s->map_count == MAPS_MAX ? -E2BIG : map_open(it->arg, &it->map, &why);
	if (rc == 0) {
		s->maps[s->map_count++] = it->map;
	} else {
		err_place(c);
		buf_printf(c->err, "%s", why.n ? buf_cstr(&why) : "too many tables");
	}
	buf_fini(&why);
	return rc;
}

static struct restrict_class *
find_class(const struct smtpd_setup *s, struct str name)
{
	for (unsigned i = 0; i < s->class_count; i++)
		if (str_eq(name, str_of(s->classes[i].list.name)))
			return &s->classes[i];
	return NULL;
}

static int
compile_named(struct compile *c, struct str word, struct str *rest, struct restriction *it)
{
	struct str arg;

	it->row = restrict_find(word);
	if (it->row == NULL) {
		struct restrict_class *class = find_class(c->setup, word);

		it->list = class ? &class->list : NULL;
		return class ? 0 : unknown(c, word);
	}
	if (it->row->arg == ARG_NONE)
		return 0;
	if (c->err == NULL)
		return -EINVAL;
	if (!next_word(rest, &arg)) {
		err_place(c);
		buf_printf(c->err, "%s needs an argument", it->row->name);
		return -EINVAL;
	}
	if (it->row->arg == ARG_MAP)
		return open_table(c, arg, it);
	it->arg = arena_str(c->arena, arg);
	return 0;
}

static int
compile_word(struct compile *c, struct str word, struct str *rest, struct restriction *it)
{
	bool is_table = str_index(word, ':') < word.n;

	if (!is_table)
		return compile_named(c, word, rest, it);
	if (c->table_default == NULL)
		return unknown(c, word);
	/* "hash:/etc/postfix/access" alone: the check_..._access of this list is meant. */
	it->row = restrict_find(str_of(c->table_default));
	PP_ASSERT(it->row != NULL);
	return open_table(c, word, it);
}

static int
compile_text(struct compile *c, struct str text, struct restrict_list *ret)
{
	struct str rest = text, word;
	unsigned n = 0;
	int rc = 0;

	while (next_word(&rest, &word))
		n++;
	if (n > RESTRICT_LIST_MAX) {
		if (c->err) {
			err_place(c);
			buf_printf(c->err, "more than %d words", RESTRICT_LIST_MAX);
		}
		return -E2BIG;
	}
	ret->name = c->name;
	ret->n = 0;
	ret->a = arena_alloc(c->arena, (n + 1) * sizeof(*ret->a));
	rest = text;
	while (rc == 0 && next_word(&rest, &word))
		rc = compile_word(c, word, &rest, &ret->a[ret->n++]);
	return rc;
}

int
restrict_compile_blk(struct smtpd_setup *setup, const char *name, const char *text,
    const char *table_default, struct restrict_list *ret, struct buf *err)
{
	struct compile c = {.setup = setup,
	    .arena = &setup->arena,
	    .name = name,
	    .table_default = table_default,
	    .err = err};

	if (setup->maps == NULL)
		setup->maps = arena_alloc(&setup->arena, MAPS_MAX * sizeof(struct map *));
	return compile_text(&c, str_of(text), ret);
}

/* Depth first: a class met again while it is open leads back to itself. */
static struct restrict_class *
find_loop(struct smtpd_setup *s, struct restrict_class *class)
{
	struct restrict_class *found = class->mark == CLASS_OPEN ? class : NULL;

	if (class->mark != CLASS_NEW)
		return found;
	class->mark = CLASS_OPEN;
	for (unsigned i = 0; found == NULL && i < class->list.n; i++) {
		const struct restriction *it = &class->list.a[i];

		if (it->row == NULL)
			found = find_loop(s, find_class(s, str_of(it->list->name)));
	}
	class->mark = CLASS_DONE;
	return found;
}

static int
compile_class(struct smtpd_setup *s, struct restrict_class *class, struct buf *err)
{
	const char *name = class->list.name;
	const char *text = config_service_text(s->config, s->service, name);

	if (text == NULL) {
		buf_printf(err, "smtpd_restriction_classes: %s has no setting of its own", name);
		return -EINVAL;
	}
	return restrict_compile_blk(s, name, text, NULL, &class->list, err);
}

int
restrict_compile_classes_blk(struct smtpd_setup *s, struct buf *err)
{
	struct str rest = str_of(s->p->smtpd_restriction_classes), name;
	int rc = 0;

	s->classes = arena_alloc(&s->arena, CLASSES_MAX * sizeof(*s->classes));
	while (s->class_count < CLASSES_MAX && str_token(&rest, ", \t\r\n", &name))
		s->classes[s->class_count++].list.name = arena_str(&s->arena, name);
	for (unsigned i = 0; rc == 0 && i < s->class_count; i++)
		rc = compile_class(s, &s->classes[i], err);
	for (unsigned i = 0; rc == 0 && i < s->class_count; i++) {
		struct restrict_class *loop = find_loop(s, &s->classes[i]);

		if (loop) {
			buf_printf(
			    err, "restriction class %s leads back to itself", loop->list.name);
			rc = -ELOOP;
		}
	}
	return rc;
}

int
restrict_compile_words(
    struct smtpd_setup *s, struct arena *a, struct str text, struct restrict_list *ret)
{
	struct compile c = {.setup = s, .arena = a, .name = "access table"};

	return compile_text(&c, text, ret);
}

bool
restrict_guards_relay(const struct restrict_list *l)
{
	static const char *const guards[] = {"reject_unauth_destination",
	    "defer_unauth_destination", "reject", "defer", "defer_if_permit"};

	for (unsigned i = 0; i < l->n; i++) {
		const char *name = l->a[i].row ? l->a[i].row->name : "";

		if (strcmp(name, "permit") == 0)
			return false;
		if (strcmp(name, "warn_if_reject") == 0) {
			i++; /* what follows only warns */
			continue;
		}
		for (size_t k = 0; k < PP_COUNT(guards); k++)
			if (strcmp(name, guards[k]) == 0)
				return true;
	}
	return false;
}
