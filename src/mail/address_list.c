/*
 * address_list.c - the addresses in a header value, and completing them in place.
 *
 * As Postfix does, words that nothing glues together are addresses of their own ("john doe" is
 * two), unless "<" or ":" shows that they were a name. One look ahead to the next delimiter decides
 * it, so every byte is read a fixed number of times and nothing recurses. The rewriter inserts what
 * is missing and leaves all other bytes alone: names, comments, folding and encoded words survive.
 */
#include <errno.h>
#include "pp/mail/address_list.h"
#include "lex.h"

void
address_list_init(struct address_list *it, struct str text)
{
	*it = (struct address_list){.text = text, .phrase = {"", 0}};
}

/* The token that ends the words at `at`: one of < , ; : or the end. */
static struct lex_token
find_delimiter(struct str text, size_t at)
{
	struct lex_token t = lex_at(text, at);

	while (t.kind != LEX_END && !lex_is(t, '<') && !lex_is(t, ',') && !lex_is(t, ';') &&
	       !lex_is(t, ':'))
		t = lex_at(text, t.to);
	return t;
}

/* *at is behind "<" and is moved behind ">"; without one the address ends at the next comma. */
static struct lex_spec
read_bracketed(struct str text, size_t *at)
{
	struct lex_token t = lex_skip(text, *at), end = t;
	size_t from = *at;
	struct lex_spec s;
	bool route = lex_is(t, '@');

	while (end.kind != LEX_END && !lex_is(end, '>') && (route || !lex_is(end, ','))) {
		if (route && lex_is(end, ':')) {
			route = false;
			from = end.to;
		}
		end = lex_at(text, end.to);
	}
	*at = lex_is(end, '>') ? end.to : end.from;
	s = lex_spec(str_head(text, end.from), from, false);
	s.malformed |= lex_skip(str_head(text, end.from), s.end).kind != LEX_END;
	return s;
}

static bool
take(
    struct address_list *it, struct arena *a, const struct lex_spec *s, struct address_mailbox *ret)
{
	const char *address = lex_spec_address(a, it->text, s);

	if (address == NULL) {
		if (it->bad.n == 0)
			it->bad = (struct str){it->text.p + s->from, s->to - s->from};
		return false;
	}
	*ret = (struct address_mailbox){address, s->from, s->to, it->phrase};
	return true;
}

/* The next bare address before it->plain. */
static bool
next_plain(struct address_list *it, struct arena *a, struct address_mailbox *ret)
{
	struct str text = str_head(it->text, it->plain);

	it->phrase = (struct str){"", 0};
	while (it->at < it->plain) {
		struct lex_spec s = lex_spec(text, it->at, false);

		it->at = s.end;
		if (s.to > s.from) {
			if (take(it, a, &s, ret))
				return true;
		} else {
			it->at = lex_at(text, s.end).to; /* a stray ">" or literal */
		}
	}
	return false;
}

/* A bracketed address; it->at is behind "<". */
static bool
next_bracketed(struct address_list *it, struct arena *a, struct address_mailbox *ret)
{
	size_t from = it->at;
	struct lex_spec s = read_bracketed(it->text, &it->at);

	if (it->at > from && it->text.p[it->at - 1] == '>' &&
	    str_trim((struct str){it->text.p + from, it->at - 1 - from}).n == 0) {
		*ret = (struct address_mailbox){"", from, it->at - 1, it->phrase};
		return true;
	}
	return take(it, a, &s, ret);
}

int
address_list_next(struct address_list *it, struct arena *a, struct address_mailbox *ret)
{
	for (;;) {
		struct lex_token t;
		bool found = false;

		if (it->at < it->plain)
			found = next_plain(it, a, ret);
		if (!found) {
			size_t from = it->at;

			t = find_delimiter(it->text, from);
			if (lex_is(t, '<')) {
				it->phrase =
				    str_trim((struct str){it->text.p + from, t.from - from});
				it->plain = it->at = t.to;
				found = next_bracketed(it, a, ret);
			} else if (lex_is(t, ':') || t.from == from) {
				if (t.kind == LEX_END)
					return 0;
				it->plain = it->at = t.to;
			} else {
				it->plain = t.from;
			}
		}
		if (found)
			return it->count++ < ADDRESS_LIST_MAX ? 1 : -E2BIG;
	}
}

bool
address_list_is_empty(struct str value)
{
	struct lex_token t = lex_skip(value, 0);

	while (lex_is(t, ','))
		t = lex_skip(value, t.to);
	return t.kind == LEX_END;
}

/* What stands for the address in the text once it is completed: the same bytes and a suffix, or,
 * where quotes or a final dot forbid that, the address printed anew. */
static void
put_completed(struct buf *to, struct str raw, struct str internal, struct str full)
{
	bool literal = str_index(raw, '"') == raw.n && str_index(raw, '\\') == raw.n;

	if (literal && str_starts(full, internal)) {
		buf_add(to, raw);
		buf_add(to, str_from(full, internal.n));
	} else if (address_quote(to, full) == -EINVAL) {
		buf_add(to, raw);
	}
}

/* Words may touch without a blank ("a"b); once one of them changes they must not run together. What
 * looks like a delimiter may be escaped, so one blank too many is put rather than none. */
static void
put_gap(struct buf *to, struct str before, struct str after)
{
	const struct str apart = STR(" \t\r\n()<>@,;:.");
	bool escaped = before.n > 1 && before.p[before.n - 2] == '\\';

	if (before.n == 0 || after.n == 0 || str_index(apart, after.p[0]) < apart.n)
		return;
	if (escaped || str_index(apart, before.p[before.n - 1]) == apart.n)
		buf_addc(to, ' ');
}

int
address_list_rewrite(struct buf *to, struct str value, const struct address_rules *r)
{
	size_t start = buf_str(to).n, copied = 0;
	struct address_mailbox m;
	struct address_list it;
	struct arena a = {0};
	int changed = 0;

	address_list_init(&it, value);
	while (address_list_next(&it, &a, &m) > 0) {
		struct str internal = str_of(m.address);
		struct str full = str_of(address_qualify(&a, internal, r));

		if (str_eq(internal, full) || !address_valid(full))
			continue;
		buf_add(to, (struct str){value.p + copied, m.from - copied});
		put_gap(to, str_from(buf_str(to), start), str_from(value, m.from));
		put_completed(to, (struct str){value.p + m.from, m.to - m.from}, internal, full);
		put_gap(to, buf_str(to), str_from(value, m.to));
		copied = m.to;
		changed = 1;
	}
	buf_add(to, str_from(value, copied));
	arena_fini(&a);
	if (buf_overflowed(to)) {
		buf_truncate(to, start);
		return -ENOBUFS;
	}
	return changed;
}
