/*
 * lines.c - logical lines.
 *
 * The rule is the same for every text file of the configuration: `#` as the first non-blank makes
 * a comment, also between a line and its continuation, and a leading blank continues whatever
 * came before. It is written once, here.
 */
#include <errno.h>
#include "pp/config/lines.h"

static struct str
cut_line(struct str *text, int *line)
{
	size_t n = str_index(*text, '\n');
	struct str s = str_head(*text, n);

	*text = str_from(*text, n + 1);
	(*line)++;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	return s;
}

static bool
is_skipped(struct str s)
{
	s = str_trim(s);
	return s.n == 0 || s.p[0] == '#';
}

int
lines_next(struct str *text, int *line, int *ret_first, struct buf *to)
{
	bool has_line = false;

	buf_clear(to);
	while (text->n) {
		struct str before = *text, s;
		int number = *line;

		s = cut_line(text, line);
		if (is_skipped(s))
			continue;
		if (has_line && s.p[0] != ' ' && s.p[0] != '\t') {
			*text = before;
			*line = number;
			break;
		}
		if (!has_line)
			*ret_first = *line;
		has_line = true;
		buf_add(to, s);
	}
	if (buf_overflowed(to))
		return -ENOBUFS;
	return has_line;
}
