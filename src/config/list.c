/*
 * list.c - the one splitter of lists in main.cf.
 *
 * An element ends at a comma or blank outside of braces, so that a group may hold both.
 */
#include <errno.h>
#include "pp/config/list.h"

static bool
is_separator(char c)
{
	return c == ',' || str_isspace(c);
}

int
list_next(struct str *rest, struct str *ret)
{
	struct str s = *rest;
	size_t n = 0;
	int level = 0;

	while (s.n && is_separator(s.p[0]))
		s = str_from(s, 1);
	if (s.n == 0) {
		*rest = s;
		return 0;
	}
	for (; n < s.n && (level > 0 || !is_separator(s.p[n])); n++) {
		level += s.p[n] == '{';
		level -= s.p[n] == '}';
		if (level < 0)
			return -EINVAL;
	}
	if (level > 0)
		return -EINVAL;
	*ret = str_head(s, n);
	*rest = str_from(s, n);
	return 1;
}

struct str
list_unbrace(struct str s)
{
	if (s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}')
		return str_trim((struct str){s.p + 1, s.n - 2});
	return s;
}
