/*
 * status.c - making, copying and printing outcomes.
 *
 * A text can quote a remote server or a hostile address, so it is made one clean line here, once,
 * and everybody may log it, send it in a reply, or put it into a report.
 */
#include <stdarg.h>
#include <stdio.h>
#include "pp/base/assert.h"
#include "pp/mail/status.h"
#include "pp/mail/utf8.h"

struct status
status_make(
    struct arena *a, enum status_class cls, unsigned subject, unsigned detail, const char *fmt, ...)
{
	struct status s = {.cls = cls};
	va_list ap;
	char *text;

	PP_ASSERT(subject <= 999 && detail <= 999);
	s.subject = (unsigned short)subject;
	s.detail = (unsigned short)detail;
	va_start(ap, fmt);
	text = arena_vprintf(a, fmt, ap);
	va_end(ap);
	utf8_clean(text, strlen(text));
	s.text = text;
	return s;
}

static const char *
copy(struct arena *a, const char *s)
{
	return s ? arena_strdup(a, s) : NULL;
}

struct status
status_copy(struct arena *a, const struct status *s)
{
	struct status r = *s;

	r.text = copy(a, s->text);
	r.remote = copy(a, s->remote);
	r.diagnostic = copy(a, s->diagnostic);
	return r;
}

/* One to three digits at s[*at]. */
static bool
parse_part(struct str s, size_t *at, unsigned short *ret)
{
	unsigned v = 0;
	size_t from = *at;

	while (*at < s.n && str_isdigit(s.p[*at]) && *at - from < 4)
		v = v * 10 + (unsigned)(s.p[(*at)++] - '0');
	if (*at == from || *at - from > 3)
		return false;
	*ret = (unsigned short)v;
	return true;
}

size_t
status_parse_dsn(struct str text, struct status *s)
{
	unsigned short subject, detail;
	size_t at = 2;

	if (text.n < 5 || text.p[1] != '.' || str_index(STR("245"), text.p[0]) == 3)
		return 0;
	if (!parse_part(text, &at, &subject) || at == text.n || text.p[at++] != '.' ||
	    !parse_part(text, &at, &detail))
		return 0;
	if (at < text.n && !str_isspace(text.p[at]))
		return 0;
	s->cls = (enum status_class)(text.p[0] - '0');
	s->subject = subject;
	s->detail = detail;
	return at;
}

struct status_dsn
status_dsn(const struct status *s)
{
	struct status_dsn d;

	snprintf(d.text, sizeof(d.text), "%u.%u.%u", (unsigned)s->cls, (unsigned)s->subject,
	    (unsigned)s->detail);
	return d;
}
