/*
 * mime_walk.c - the structure of a message, without ever holding more of it than one header.
 *
 * The walker is pushed pieces and answers with one event each; what is not taken is pushed again,
 * so that whoever uses it may stop anywhere and wait. Boundaries are kept in a stack; a line that
 * begins with any of them ends all parts inside (RFC 2046 5.1.2), so a part left open hides
 * nothing.
 */
#include "lex.h"
#include "pp/mail/mime.h"
#include "pp/mail/mime_walk.h"

enum { HEAD, HEAD_ENDS, BODY };

struct mime_level {
	char *boundary;
	size_t n;
	bool is_digest;
};

static void
begin_entity(struct mime_walk *w, enum mime_class cls, bool is_message)
{
	size_t limit = w->header.limit;

	header_collector_fini(&w->header);
	header_collector_init(&w->header, limit);
	w->cls = cls;
	w->type = is_message ? MIME_MESSAGE : MIME_LEAF;
	w->is_rfc822 = is_message;
	w->is_8bit = w->is_digest = w->has_boundary = false;
	w->is_identity = true;
	w->state = HEAD;
	buf_clear(&w->boundary);
}

void
mime_walk_init(struct mime_walk *w, size_t header_max, size_t boundary_max, size_t depth_max)
{
	*w = (struct mime_walk){.boundary_max = boundary_max, .depth_max = depth_max};
	header_collector_init(&w->header, header_max);
	buf_init(&w->boundary, boundary_max);
	begin_entity(w, MIME_PRIMARY, false);
}

static void
leave_levels(struct mime_walk *w, size_t depth)
{
	while (w->depth > depth)
		mem_free(w->levels[--w->depth].boundary);
}

void
mime_walk_fini(struct mime_walk *w)
{
	leave_levels(w, 0);
	mem_free(w->levels);
	header_collector_fini(&w->header);
	buf_fini(&w->boundary);
}

/* RFC 2045 5.1: a token, or a quoted string; comments and blanks before it are passed over. */
static struct str
next_word(struct str text, size_t *at, bool *ret_quoted)
{
	struct lex_token t = lex_skip(text, *at);
	size_t from = t.from, to;

	*ret_quoted = t.kind == LEX_QUOTED;
	if (*ret_quoted) {
		*at = t.to;
		to = t.open ? t.to : t.to - 1;
		return (struct str){text.p + from + 1, to > from ? to - from - 1 : 0};
	}
	for (to = from; to < text.n; to++)
		if (memchr("()<>@,;:\\\"/[]?= \t\r\n", text.p[to], 20))
			break;
	*at = to;
	return (struct str){text.p + from, to - from};
}

static bool
next_is(struct str text, size_t *at, char c)
{
	struct lex_token t = lex_skip(text, *at);

	if (t.kind == LEX_END || text.p[t.from] != c)
		return false;
	*at = t.from + 1;
	return true;
}

/* What is longer than the limit is compared as far as that. */
static void
keep_boundary(struct mime_walk *w, struct str value, bool is_quoted)
{
	w->has_boundary = true;
	buf_clear(&w->boundary);
	for (size_t i = 0; i < value.n && buf_str(&w->boundary).n < w->boundary_max; i++) {
		if (is_quoted && value.p[i] == '\\' && i + 1 < value.n)
			i++;
		buf_addc(&w->boundary, value.p[i]);
	}
}

static void
read_type(struct mime_walk *w, struct str value)
{
	bool quoted;
	size_t at = 0;
	struct str type = next_word(value, &at, &quoted), sub = {0};

	if (next_is(value, &at, '/'))
		sub = next_word(value, &at, &quoted);
	w->type = MIME_LEAF;
	w->is_rfc822 = w->is_digest = w->has_boundary = false;
	buf_clear(&w->boundary);
	if (str_caseeq(type, STR("message"))) {
		w->is_rfc822 = str_caseeq(sub, STR("rfc822"));
		w->type = MIME_MESSAGE;
	}
	if (!str_caseeq(type, STR("multipart")))
		return;
	w->type = MIME_MULTIPART;
	w->is_digest = str_caseeq(sub, STR("digest"));
	for (;;) {
		size_t semicolon = at;

		while (semicolon < value.n && !next_is(value, &semicolon, ';')) {
			struct lex_token t = lex_skip(value, semicolon);

			semicolon = t.to > semicolon ? t.to : value.n;
		}
		if (semicolon >= value.n)
			return;
		at = semicolon;
		struct str name = next_word(value, &at, &quoted);

		if (!next_is(value, &at, '=') || quoted)
			continue;
		struct str word = next_word(value, &at, &quoted);

		if (str_caseeq(name, STR("boundary")))
			keep_boundary(w, word, quoted);
	}
}

static void
read_header(struct mime_walk *w)
{
	struct header h;

	if (!header_parse(buf_str(&w->header.text), &h))
		return;
	if (h.id == HDR_CONTENT_TYPE)
		read_type(w, h.value);
	if (h.id == HDR_CONTENT_TRANSFER_ENCODING) {
		w->is_8bit = mime_encoding(h.value) == BODY_8BIT;
		w->is_identity = !mime_is_opaque(h.value);
	}
}

/* The level that the line ends or goes on with, counted from 1; 0 = it is no delimiter. */
static size_t
find_delimiter(const struct mime_walk *w, struct str line, bool *ret_end)
{
	if (!str_starts(line, STR("--")))
		return 0;
	for (size_t i = w->depth; i > 0; i--) {
		const struct mime_level *l = &w->levels[i - 1];

		if (!str_starts(str_from(line, 2), (struct str){l->boundary, l->n}))
			continue;
		*ret_end = str_starts(str_from(line, 2 + l->n), STR("--"));
		return i;
	}
	return 0;
}

static void
enter_level(struct mime_walk *w)
{
	struct str boundary = buf_str(&w->boundary);
	struct mime_level *l;

	if (!w->has_boundary || w->depth >= w->depth_max)
		return;
	w->levels = mem_realloc(w->levels, (w->depth + 1) * sizeof *w->levels);
	l = &w->levels[w->depth++];
	l->boundary = mem_alloc(boundary.n + 1);
	memcpy(l->boundary, boundary.p, boundary.n);
	l->n = boundary.n;
	l->is_digest = w->is_digest;
}

static enum mime_event
end_head(struct mime_walk *w)
{
	w->state = HEAD_ENDS;
	return MIME_HEAD_END;
}

static enum mime_event
push_head(struct mime_walk *w, struct str piece, bool last)
{
	bool is_end;

	if (!w->header.open && find_delimiter(w, piece, &is_end)) {
		if (!header_finish(&w->header))
			return end_head(w);
		read_header(w);
		return MIME_HEADER;
	}
	switch (header_push(&w->header, piece, last)) {
	case HEADER_MORE:
		return MIME_MORE;
	case HEADER_READY:
		read_header(w);
		return MIME_HEADER;
	default:
		return end_head(w);
	}
}

static enum mime_event
pass_line(struct mime_walk *w, bool last)
{
	w->in_line = w->mid_line = !last;
	return MIME_LINE;
}

static enum mime_event
push_body(struct mime_walk *w, struct str piece, bool last)
{
	bool is_end = false;
	size_t level = w->mid_line ? 0 : find_delimiter(w, piece, &is_end);

	if (level == 0) {
		w->mid_line = !last;
		return MIME_TEXT;
	}
	bool is_digest = w->levels[level - 1].is_digest;

	leave_levels(w, is_end ? level - 1 : level);
	begin_entity(w, MIME_PART, !is_end && is_digest);
	if (is_end)
		w->state = BODY; /* what stands behind the last part */
	return pass_line(w, last);
}

enum mime_event
mime_walk_push(struct mime_walk *w, struct str piece, bool last)
{
	if (w->in_line)
		return pass_line(w, last);
	if (w->state == HEAD)
		return push_head(w, piece, last);
	if (w->state == BODY)
		return push_body(w, piece, last);
	if (w->type == MIME_MULTIPART)
		enter_level(w);
	/* An attached message that is encoded is opaque; one that is not begins with headers. */
	bool is_nested = w->is_rfc822 && w->is_identity;

	w->state = BODY;
	if (piece.n > 0 || !last) /* the empty line is missing */
		return push_body(w, piece, last);
	if (is_nested)
		begin_entity(w, MIME_NESTED, false);
	return pass_line(w, last);
}

enum mime_event
mime_walk_finish(struct mime_walk *w)
{
	if (w->state != HEAD)
		return MIME_MORE;
	if (!header_finish(&w->header))
		return end_head(w);
	read_header(w);
	return MIME_HEADER;
}
