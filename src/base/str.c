/*
 * str.c - views of bytes.
 *
 * Everything works on lengths: mail is hostile and may hold NULs. No locale is ever asked.
 */
#include <errno.h>
#include "pp/base/str.h"

bool
str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
str_caseeq(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (str_lower(a.p[i]) != str_lower(b.p[i]))
			return false;
	return true;
}

bool
str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_head(s, prefix.n), prefix);
}

bool
str_casestarts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_caseeq(str_head(s, prefix.n), prefix);
}

bool
str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq(str_from(s, s.n - suffix.n), suffix);
}

size_t
str_index(struct str s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

	return at ? (size_t)(at - s.p) : s.n;
}

size_t
str_rindex(struct str s, char c)
{
	const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;

	return at ? (size_t)(at - s.p) : s.n;
}

struct str
str_trim(struct str s)
{
	while (s.n && str_isspace(s.p[0]))
		s = str_from(s, 1);
	while (s.n && str_isspace(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool
str_token(struct str *rest, const char *seps, struct str *ret_token)
{
	struct str sep = str_of(seps);
	size_t from = 0, to;

	while (from < rest->n && str_index(sep, rest->p[from]) < sep.n)
		from++;
	if (from == rest->n)
		return false;
	for (to = from; to < rest->n && str_index(sep, rest->p[to]) == sep.n; to++)
		;
	*ret_token = (struct str){rest->p + from, to - from};
	*rest = str_from(*rest, to);
	return true;
}

int
str_number(struct str s, int64_t min, int64_t max, int64_t *ret)
{
	int64_t v = 0;

	if (s.n == 0)
		return -EINVAL;
	for (size_t i = 0; i < s.n; i++)
		if (!str_isdigit(s.p[i]))
			return -EINVAL;
	if (s.n > 18)
		return -ERANGE;
	for (size_t i = 0; i < s.n; i++)
		v = v * 10 + (s.p[i] - '0');
	if (v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}
