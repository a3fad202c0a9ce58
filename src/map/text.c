/*
 * text.c - the lines of tables, taken apart as Postfix's postmap and postalias do.
 *
 * One place for the daemon, which passes over what is wrong, and for the commands, which tell it:
 * both see the same entries. Alias lines are addresses with a colon in them, so they are cut into
 * the tokens of RFC 822: a colon inside quotes or a comment is none.
 */
#include <errno.h>
#include "pp/config/lines.h"
#include "pp/map/text.h"

static int
fault(struct map_line *l, enum map_line_fault why)
{
	l->why = why;
	return -EINVAL;
}

static int
next_line(struct str *text, int *count, struct buf *logical, struct map_line *ret)
{
	int rc = lines_next(text, count, &ret->line, logical);

	ret->text = buf_str(logical);
	ret->key = ret->value = STR("");
	if (rc < 0)
		return fault(ret, MAP_LINE_LONG);
	if (rc > 0 && str_isspace(ret->text.p[0]))
		return fault(ret, MAP_LINE_BLANK);
	return rc;
}

int
map_line_next(struct str *text, int *count, struct buf *logical, struct map_line *ret)
{
	int rc = next_line(text, count, logical, ret);
	bool in_quotes = false;
	struct str s = ret->text;
	size_t n = 0;

	if (rc <= 0)
		return rc;
	for (; n < s.n && (in_quotes || !str_isspace(s.p[n])); n++) {
		if (s.p[n] == '"')
			in_quotes = !in_quotes;
		else if (s.p[n] == '\\' && n + 1 < s.n)
			n++;
	}
	if (in_quotes)
		return fault(ret, MAP_LINE_QUOTE);
	ret->key = str_head(s, n);
	ret->value = str_trim(str_from(s, n));
	return ret->value.n == 0 ? fault(ret, MAP_LINE_NO_PAIR) : 1;
}

enum token_kind { TOKEN_NONE, TOKEN_WORD, TOKEN_QUOTED, TOKEN_OTHER, TOKEN_SPECIAL };

struct token {
	enum token_kind kind; /* TOKEN_OTHER: a comment or a domain literal */
	struct str text;      /* with its quotes or brackets */
	char special;
};

static bool
is_special(char c)
{
	return c != '\0' && strchr("<>,;:@.%!\"()[]", c) != NULL;
}

/* Up to the end of what was opened, with `\` before what stands for itself. */
static size_t
closing(struct str s, char open, char close)
{
	int depth = 1;

	for (size_t i = 1; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == close && --depth == 0)
			return i + 1;
		else if (s.p[i] == open && open == '(')
			depth++;
	}
	return s.n;
}

static struct token
cut_token(struct str *rest)
{
	struct token t = {0};
	struct str s = *rest;
	size_t n = 0;

	while (s.n && str_isspace(s.p[0]))
		s = str_from(s, 1);
	if (s.n == 0)
		return t;
	if (s.p[0] == '"' || s.p[0] == '(' || s.p[0] == '[') {
		char close = s.p[0] == '"' ? '"' : s.p[0] == '(' ? ')' : ']';

		t.kind = close == '"' ? TOKEN_QUOTED : TOKEN_OTHER;
		n = closing(s, s.p[0], close);
	} else if (is_special(s.p[0])) {
		t.kind = TOKEN_SPECIAL;
		t.special = s.p[0];
		n = 1;
	} else {
		t.kind = TOKEN_WORD;
		for (; n < s.n && !str_isspace(s.p[n]) && !is_special(s.p[n]); n++)
			n += s.p[n] == '\\' && n + 1 < s.n;
	}
	t.text = str_head(s, n);
	*rest = str_from(s, n);
	return t;
}

static void
put_unescaped(struct buf *to, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		buf_addc(to, s.p[i]);
	}
}

static bool
is_phrase(const struct token *t)
{
	return t->kind == TOKEN_WORD || t->kind == TOKEN_QUOTED || t->kind == TOKEN_OTHER;
}

static bool
needs_blank(const struct token *before, const struct token *t)
{
	if (before->kind == TOKEN_SPECIAL && before->special == ',')
		return true;
	if (is_phrase(before))
		return is_phrase(t) || t->special == '<';
	return before->special == '>' && is_phrase(t);
}

static void
put_token(struct buf *to, const struct token *before, const struct token *t, bool is_plain)
{
	struct str s = t->text;

	if (before->kind != TOKEN_NONE && needs_blank(before, t))
		buf_addc(to, ' ');
	if (t->kind == TOKEN_WORD)
		put_unescaped(to, s);
	else if (t->kind != TOKEN_QUOTED || !is_plain) {
		buf_add(to, s);
		if (t->kind == TOKEN_QUOTED && (s.n < 2 || s.p[s.n - 1] != '"'))
			buf_addc(to, '"');
	} else {
		s = str_from(s, 1);
		if (s.n && s.p[s.n - 1] == '"')
			s.n--;
		put_unescaped(to, s);
	}
}

static int
split_alias(struct map_line *l, struct buf *key, struct buf *value)
{
	struct str rest = l->text;
	struct token t, before = {0};
	bool is_list = false, is_far = false;
	const char *begin = rest.p;

	for (t = cut_token(&rest); t.kind != TOKEN_NONE && t.special != ':'; t = cut_token(&rest)) {
		is_list |= t.special == ',';
		is_far |= t.special == '@' || t.special == '%';
		put_token(key, &before, &t, true);
		before = t;
	}
	l->key = str_trim((struct str){begin, (size_t)(rest.p - begin)});
	if (t.kind == TOKEN_NONE || before.kind == TOKEN_NONE || is_list)
		return fault(l, MAP_LINE_NO_PAIR);
	l->key = str_trim(str_head(l->key, l->key.n - 1));
	l->value = str_trim(rest);
	before = (struct token){0};
	for (t = cut_token(&rest); t.kind != TOKEN_NONE; t = cut_token(&rest)) {
		put_token(value, &before, &t, false);
		before = t;
	}
	if (before.kind == TOKEN_NONE)
		return fault(l, MAP_LINE_NO_PAIR);
	return is_far ? fault(l, MAP_LINE_NOT_LOCAL) : 1;
}

int
map_alias_next(struct str *text, int *count, struct buf *logical, struct buf *key,
    struct buf *value, struct map_line *ret)
{
	int rc = next_line(text, count, logical, ret);

	buf_clear(key);
	buf_clear(value);
	if (rc > 0)
		rc = split_alias(ret, key, value);
	if (rc > 0 && (buf_overflowed(key) || buf_overflowed(value)))
		rc = fault(ret, MAP_LINE_LONG);
	key->overflow = value->overflow = false;
	return rc;
}
