/*
 * reply.c - reading SMTP replies from a server that is not trusted.
 *
 * Bytes go into one bounded line; a finished line is cleaned, checked and kept. Whatever a server
 * sends, a reply costs at most REPLY_KEEP_MAX + REPLY_LINE_MAX bytes and REPLY_LINES_MAX lines;
 * past that it is bad for good, so the session must end. As with Postfix, the last line counts: one
 * without a code is text, and of codes that differ the server's last word is taken.
 */
#include <stdio.h>
#include "pp/base/assert.h"
#include "pp/mail/reply.h"
#include "pp/mail/utf8.h"

void
reply_init(struct reply *r)
{
	*r = (struct reply){.state = REPLY_MORE};
	buf_init(&r->line, REPLY_LINE_MAX);
	buf_init(&r->lines, REPLY_KEEP_MAX);
}

void
reply_fini(struct reply *r)
{
	buf_fini(&r->line);
	buf_fini(&r->lines);
}

void
reply_clear(struct reply *r)
{
	r->code = 0;
	r->subject = r->detail = r->line_count = 0;
	r->enhanced = r->odd = false;
	r->state = REPLY_MORE;
	buf_clear(&r->line);
	buf_clear(&r->lines);
}

/* "250" or "250-..." or "250 ...": the code, 0 when it is none. RFC 5321 4.2: 2 to 5 first; 1yz is
 * not used in SMTP. */
static unsigned
parse_code(struct str line)
{
	unsigned code = 0;

	if (line.n < 3 || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
		return 0;
	for (size_t i = 0; i < 3; i++) {
		if (!str_isdigit(line.p[i]))
			return 0;
		code = code * 10 + (unsigned)(line.p[i] - '0');
	}
	return code >= 200 && code <= 599 ? code : 0;
}

/* RFC 2034: the class must be that of the reply code, and 3yz has none. */
static void
parse_enhanced(struct reply *r, struct str line)
{
	struct status s;
	struct str text = str_from(line, 4);

	while (text.n && text.p[0] == ' ')
		text = str_from(text, 1);
	r->subject = r->detail = 0;
	r->enhanced = status_parse_dsn(text, &s) > 0 && s.cls == reply_class(r);
	if (r->enhanced) {
		r->subject = s.subject;
		r->detail = s.detail;
	}
}

/* The line in r->line is complete. */
static enum reply_state
end_line(struct reply *r)
{
	struct str line = buf_str(&r->line);
	unsigned code;
	bool more;

	if (line.n && line.p[line.n - 1] == '\r') {
		buf_truncate(&r->line, line.n - 1);
		line.n--;
	}
	if (line.n)
		utf8_clean(r->line.p + r->line.head, line.n);
	code = parse_code(line);
	more = code == 0 || (line.n > 3 && line.p[3] == '-');
	/* A line that does not fit is not kept, but still counted and checked. */
	if (line.n + 1 <= r->lines.max - r->lines.n) {
		if (r->line_count)
			buf_addc(&r->lines, '\n');
		buf_add(&r->lines, line);
	}
	r->line_count++;
	if (more && r->line_count >= REPLY_LINES_MAX)
		return REPLY_BAD;
	r->odd = r->odd || code == 0;
	if (code) {
		r->code = code;
		parse_enhanced(r, line);
	}
	buf_clear(&r->line);
	return more ? REPLY_MORE : REPLY_DONE;
}

enum reply_state
reply_feed(struct reply *r, struct str bytes, size_t *ret_used)
{
	size_t used = 0;

	PP_ASSERT(r->state != REPLY_DONE);
	while (r->state == REPLY_MORE && used < bytes.n) {
		struct str rest = str_from(bytes, used);
		size_t lf = str_index(rest, '\n');

		buf_add(&r->line, str_head(str_head(rest, lf), r->line.max - r->line.n));
		used += lf < rest.n ? lf + 1 : lf;
		if (lf < rest.n)
			r->state = end_line(r);
	}
	*ret_used = used;
	return r->state;
}

struct str
reply_lines(const struct reply *r)
{
	return buf_str(&r->lines);
}

const char *
reply_text(struct arena *a, const struct reply *r)
{
	struct str text = buf_str(&r->lines);
	char *to;

	/* Whole lines only, unless the first alone is too long. */
	if (text.n > REPLY_TEXT_MAX) {
		size_t lf = str_rindex(str_head(text, REPLY_TEXT_MAX), '\n');

		text = str_head(text, lf);
	}
	to = arena_str(a, text);
	for (size_t i = 0; i < text.n; i++)
		if (to[i] == '\n')
			to[i] = ' ';
	return to;
}

struct status
reply_status(struct arena *a, const struct reply *r)
{
	struct status s = {.smtp = (unsigned short)r->code, .text = reply_text(a, r)};

	s.diagnostic = s.text;
	if (r->state != REPLY_DONE) {
		s.cls = STATUS_PERM;
		s.subject = 5;
		return s;
	}
	s.cls = reply_class(r) == 3 ? STATUS_OK : (enum status_class)reply_class(r);
	s.subject = r->subject;
	s.detail = r->detail;
	return s;
}
