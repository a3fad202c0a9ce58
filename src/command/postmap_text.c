/*
 * postmap_text.c - a table's text, checked as Postfix checks it when it builds the table.
 *
 * The daemon reads the same text with the same function and passes over what is wrong in silence;
 * here it is told, in Postfix's words, since scripts look for them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include "postmap.h"
#include "pp/base/fsio.h"
#include "pp/mail/utf8.h"
#include "pp/map/map.h"
#include "pp/runtime/log.h"

enum { SHOWN_BLANKS = 30 };

void
postmap_text_init(struct postmap_text *t)
{
	*t = (struct postmap_text){.last = &t->first};
	buf_init(&t->bytes, MAP_FILE_MAX);
}

void
postmap_text_fini(struct postmap_text *t)
{
	HASH_CLEAR(hh, t->hash);
	buf_fini(&t->bytes);
	arena_fini(&t->arena);
}

struct parser {
	const struct postmap *pm;
	const struct postmap_table *table;
	const char *source; /* how the text is called */
	enum postmap_tell tell;
	struct buf logical, key, value;
	struct map_line line;
};

static void
tell_fault(const struct parser *p)
{
	const struct map_line *l = &p->line;
	const char *name = p->pm->command.name, *end = "";

	if (p->tell == TELL_LOOKUP)
		end = " -- ignoring this line";
	switch (l->why) {
	case MAP_LINE_BLANK:
		log_warn(name, "%s: logical line must not start with whitespace: \"%.*s%s\"",
		    p->source, STR_FMT(str_head(l->text, SHOWN_BLANKS)),
		    l->text.n > SHOWN_BLANKS ? "..." : "");
		break;
	case MAP_LINE_LONG:
		log_warn(name, "%s, line %d: the line is too long -- ignoring this line", p->source,
		    l->line);
		break;
	case MAP_LINE_QUOTE:
		log_warn(name, "%s, line %d: unbalanced '\"' in '%.*s' -- ignoring this line",
		    p->source, l->line, STR_FMT(l->text));
		break;
	case MAP_LINE_NO_PAIR:
		if (p->pm->is_alias)
			log_warn(name, "%s, line %d: need name:value pair", p->source, l->line);
		else
			log_warn(name, "%s, line %d: expected format: key whitespace value%s",
			    p->source, l->line, end);
		break;
	case MAP_LINE_NOT_LOCAL:
		log_warn(name, "%s, line %d: name must be local", p->source, l->line);
		break;
	}
}

/* Postfix passes over lines that are not UTF-8, unless it is told not to look. */
static bool
is_readable(const struct parser *p)
{
	const struct postmap *pm = p->pm;

	if (pm->takes_bytes || !pm->command.config->params->smtputf8_enable ||
	    utf8_valid(p->line.text))
		return true;
	if (p->tell != TELL_NOTHING)
		log_warn(pm->command.name,
		    "%s, line %d: non-UTF-8 input \"%.*s\" -- ignoring this line", p->source,
		    p->line.line, STR_FMT(p->line.text));
	return false;
}

static bool
has_files(struct parser *p, struct str value)
{
	struct buf content, name;
	int rc;

	if (!p->pm->takes_files)
		return true;
	buf_init(&content, MAP_FILE_MAX);
	buf_init(&name, 4096);
	rc = postmap_value_files(value, &content, &name);
	if (rc < 0 && p->tell != TELL_NOTHING)
		log_warn(p->pm->command.name, "%s, line %d: open %s: %s: skipping this entry",
		    p->source, p->line.line, buf_cstr(&name), strerror(-rc));
	buf_fini(&content);
	buf_fini(&name);
	return rc == 0;
}

static struct str
fold(const struct postmap *pm, struct arena *a, struct str key)
{
	return pm->keeps_case ? (struct str){arena_str(a, key), key.n} : arena_lower(a, key);
}

static void
add(struct parser *p, struct postmap_text *t, struct str key, struct str value, size_t from,
    size_t to)
{
	struct postmap_entry *e = ARENA_NEW(&t->arena, struct postmap_entry), *other;
	const char *name = p->pm->command.name;

	*e = (struct postmap_entry){.key = fold(p->pm, &t->arena, key),
	    .value = {arena_str(&t->arena, value), value.n},
	    .raw = {arena_str(&t->arena, p->line.key), p->line.key.n},
	    .from = from,
	    .to = to};
	*t->last = e;
	t->last = &e->next;
	HASH_FIND(hh, t->hash, e->key.p, e->key.n, other);
	if (other == NULL)
		HASH_ADD_KEYPTR(hh, t->hash, e->key.p, e->key.n, e);
	else if (p->tell == TELL_LOOKUP)
		log_warn(name, "%s, line %d: duplicate entry: \"%.*s\"", p->source, p->line.line,
		    STR_FMT(key));
	else if (p->tell == TELL_BUILD && !p->pm->is_silent && !p->pm->does_replace)
		log_warn(name, "%s.db: duplicate entry: \"%.*s\"", p->table->name, STR_FMT(e->key));
}

static int
next_entry(struct parser *p, struct str *rest, int *count, struct str *key, struct str *value)
{
	int rc;

	if (!p->pm->is_alias) {
		rc = map_line_next(rest, count, &p->logical, &p->line);
		*key = p->line.key;
		*value = p->line.value;
		return rc;
	}
	rc = map_alias_next(rest, count, &p->logical, &p->key, &p->value, &p->line);
	*key = buf_str(&p->key);
	*value = buf_str(&p->value);
	return rc;
}

static void
parse(struct parser *p, struct postmap_text *t)
{
	struct str all = buf_str(&t->bytes), rest = all, key, value;
	size_t from = 0;
	int count = 0, rc;

	buf_init(&p->logical, MAP_VALUE_MAX);
	buf_init(&p->key, MAP_VALUE_MAX);
	buf_init(&p->value, MAP_VALUE_MAX);
	for (; (rc = next_entry(p, &rest, &count, &key, &value)) != 0; from = all.n - rest.n) {
		if (!is_readable(p))
			continue;
		if (rc < 0) {
			if (p->tell != TELL_NOTHING)
				tell_fault(p);
			continue;
		}
		if (!p->pm->is_alias && key.p[key.n - 1] == ':' && p->tell != TELL_NOTHING)
			log_warn(p->pm->command.name,
			    "%s, line %d: record is in \"key: value\" format; is this an alias "
			    "file?",
			    p->source, p->line.line);
		if (has_files(p, value))
			add(p, t, key, value, from, all.n - rest.n);
	}
	buf_fini(&p->logical);
	buf_fini(&p->key);
	buf_fini(&p->value);
}

void
postmap_text_parse(struct postmap *pm, const struct postmap_table *table, const char *source,
    struct postmap_text *t, enum postmap_tell tell)
{
	struct parser p = {.pm = pm, .table = table, .source = source, .tell = tell};

	parse(&p, t);
}

void
postmap_text_read(struct postmap *pm, const struct postmap_table *table, struct postmap_text *t,
    enum postmap_tell tell)
{
	int rc = fsio_read_all(AT_FDCWD, table->name, &t->bytes);

	if (rc < 0)
		command_fatal(&pm->command, "%s %s: %s",
		    rc == -EISDIR || rc == -EFBIG ? "read" : "open", table->name, strerror(-rc));
	postmap_text_parse(pm, table, table->name, t, tell);
}

struct postmap_entry *
postmap_text_find(const struct postmap *pm, const struct postmap_text *t, struct str key)
{
	struct arena a = {0};
	struct postmap_entry *e;
	struct str k = fold(pm, &a, key);

	HASH_FIND(hh, t->hash, k.p, k.n, e);
	arena_fini(&a);
	return e;
}

int
postmap_value_files(struct str value, struct buf *to, struct buf *name)
{
	struct str rest = value, word;
	bool is_first = true;

	while (str_token(&rest, ", \t\r\n", &word)) {
		int rc;

		buf_clear(name);
		buf_add(name, word);
		if (!is_first)
			buf_addc(to, '\n');
		is_first = false;
		rc = fsio_read_all(AT_FDCWD, buf_cstr(name), to);
		if (rc < 0)
			return rc;
	}
	return 0;
}
