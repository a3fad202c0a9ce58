/*
 * lex.c - the tokens of RFC 5322 text, and the addr-spec made of them.
 *
 * One lexer serves SMTP paths and headers, so both see the same address in the same bytes. Nested
 * comments are counted, not recursed into; every token is at least one byte long, so every loop
 * over tokens ends. An internal form is never longer than its text, so it is written straight into
 * the arena.
 */
#include "pp/mail/address.h"
#include "lex.h"

static const struct str specials = {"<>@,;:.)]", 9};

static bool
isblank_byte(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
isatom_byte(char c)
{
	return !isblank_byte(c) && c != '(' && c != '"' && c != '[' &&
	       str_index(specials, c) == specials.n;
}

/* Behind the closing byte, which is not escaped by a backslash; text.n and *ret_open without one.
 */
static size_t
find_close(struct str text, size_t at, char close, bool *ret_open)
{
	for (; at < text.n; at++) {
		if (text.p[at] == close)
			return at + 1;
		if (text.p[at] == '\\')
			at++;
	}
	*ret_open = true;
	return text.n;
}

static size_t
find_comment_end(struct str text, size_t at, bool *ret_open)
{
	size_t depth = 1;

	for (; at < text.n; at++) {
		if (text.p[at] == '\\')
			at++;
		else if (text.p[at] == '(')
			depth++;
		else if (text.p[at] == ')' && --depth == 0)
			return at + 1;
	}
	*ret_open = true;
	return text.n;
}

struct lex_token
lex_at(struct str text, size_t at)
{
	struct lex_token t = {LEX_END, at, at, 0, false};

	if (at >= text.n)
		return t;
	t.c = text.p[at++];
	if (isblank_byte(t.c)) {
		t.kind = LEX_BLANK;
		while (at < text.n && isblank_byte(text.p[at]))
			at++;
	} else if (t.c == '(') {
		t.kind = LEX_COMMENT;
		at = find_comment_end(text, at, &t.open);
	} else if (t.c == '"') {
		t.kind = LEX_QUOTED;
		at = find_close(text, at, '"', &t.open);
	} else if (t.c == '[') {
		t.kind = LEX_LITERAL;
		at = find_close(text, at, ']', &t.open);
	} else if (str_index(specials, t.c) < specials.n) {
		t.kind = LEX_SPECIAL;
	} else {
		t.kind = LEX_ATOM;
		for (at = t.from; at < text.n && isatom_byte(text.p[at]) && !t.open; at++)
			if (text.p[at] == '\\' && ++at == text.n) {
				t.open = true;
				break;
			}
	}
	t.to = at;
	return t;
}

struct lex_token
lex_skip(struct str text, size_t at)
{
	struct lex_token t = lex_at(text, at);

	while (t.kind == LEX_BLANK || t.kind == LEX_COMMENT)
		t = lex_at(text, t.to);
	return t;
}

struct lex_spec
lex_spec(struct str text, size_t at, bool colon)
{
	struct lex_token t = lex_skip(text, at);
	struct lex_spec s = {t.from, t.from, t.from, false};
	bool after_word = false, after_at = false, after_literal = false;

	for (;; t = lex_skip(text, t.to)) {
		bool glue = lex_is(t, '.') || lex_is(t, '@') || (colon && lex_is(t, ':'));
		bool word = t.kind == LEX_ATOM || t.kind == LEX_QUOTED ||
			    (t.kind == LEX_LITERAL && after_at);

		if ((!glue && !word) || (word && after_word))
			break;
		/* Nothing can follow a domain literal. */
		s.malformed |= t.open || after_literal;
		after_word = word;
		after_at = lex_is(t, '@');
		after_literal = t.kind == LEX_LITERAL;
		s.to = t.to;
	}
	s.end = t.from;
	return s;
}

/* Backslashes of quoted pairs and the line breaks of folding go. */
static size_t
unquote(char *to, struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		else if (s.p[i] == '\r' || s.p[i] == '\n')
			continue;
		to[n++] = s.p[i];
	}
	return n;
}

const char *
lex_spec_address(struct arena *a, struct str text, const struct lex_spec *spec)
{
	struct lex_token t = lex_at(text, spec->from);
	char *to;
	size_t n = 0;

	/* Quoting at most doubles an address; more can only be comments, which nobody needs there.
	 */
	if (spec->malformed || spec->to == spec->from || spec->to - spec->from > 4 * ADDRESS_MAX)
		return NULL;
	to = arena_alloc(a, spec->to - spec->from + 1);
	for (; t.from < spec->to; t = lex_skip(text, t.to)) {
		struct str s = lex_str(text, t);

		if (t.kind == LEX_QUOTED)
			s = (struct str){s.p + 1, s.n - 2};
		if (t.kind == LEX_LITERAL) {
			memcpy(to + n, s.p, s.n);
			n += s.n;
		} else {
			n += unquote(to + n, s);
		}
	}
	to[n] = '\0';
	return address_valid((struct str){to, n}) ? to : NULL;
}
