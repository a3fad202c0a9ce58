/*
 * postmap_message.c - the keys that header_checks and body_checks would be asked for.
 *
 * A message comes in, its header and body lines come out, so that a table of patterns can be tried
 * on real mail. Of MIME only what tells headers from bodies is understood.
 */
#include "pp/mail/header.h"
#include "pp/map/map.h"
#include "postmap.h"

enum { DEPTH_MAX = 20, BOUNDARY_MAX = 256 };

struct message {
	unsigned parts;
	void (*each)(void *ctx, struct str key);
	void *ctx;
	struct header_collector header;
	bool in_header, is_part;
	bool has_message; /* the part is a message itself */
	char boundary[DEPTH_MAX][BOUNDARY_MAX];
	unsigned depth, next_depth; /* known; with that of this header */
};

static void
take_boundary(struct message *m, struct str value)
{
	struct str s = value;
	size_t n = 0;
	char close = ';';

	while (s.n && !str_casestarts(s, STR("boundary=")))
		s = str_from(s, 1);
	if (s.n == 0 || m->depth == DEPTH_MAX)
		return;
	s = str_from(s, 9);
	if (s.n && s.p[0] == '"') {
		close = '"';
		s = str_from(s, 1);
	}
	while (n < s.n && n < BOUNDARY_MAX - 1 && s.p[n] != close &&
	       (close == '"' || !str_isspace(s.p[n])))
		n++;
	memcpy(m->boundary[m->depth], s.p, n);
	m->boundary[m->depth][n] = '\0';
	m->next_depth = n > 0 ? m->depth + 1 : m->depth;
}

static void
end_one(struct message *m)
{
	struct str text = buf_str(&m->header.text);
	struct header h;

	if (header_parse(text, &h) && h.id == HDR_CONTENT_TYPE && (m->parts & PART_MIME)) {
		struct str value = str_trim(h.value);

		m->has_message = str_casestarts(value, STR("message/rfc822"));
		if (str_casestarts(value, STR("multipart/")))
			take_boundary(m, value);
	}
	if (m->parts & PART_HEADER)
		m->each(m->ctx, text);
}

static void
begin_header(struct message *m)
{
	m->in_header = true;
	m->has_message = false;
	m->next_depth = m->depth;
}

/* Whether the line ends a part; then another header may follow. */
static bool
is_boundary(struct message *m, struct str line)
{
	if (!str_starts(line, STR("--")))
		return false;
	line = str_from(line, 2);
	for (unsigned i = m->depth; i-- > 0;) {
		struct str b = str_of(m->boundary[i]);

		if (!str_starts(line, b))
			continue;
		line = str_trim(str_from(line, b.n));
		if (str_eq(line, STR("--"))) {
			m->depth = i;
			return true;
		}
		if (line.n > 0)
			continue;
		m->depth = i + 1;
		begin_header(m);
		return true;
	}
	return false;
}

static void
take_body(struct message *m, struct str line)
{
	is_boundary(m, line);
	if (m->parts & PART_BODY)
		m->each(m->ctx, line);
}

static void
take_line(struct message *m, struct str line)
{
	enum header_event event;

	if (!m->in_header) {
		take_body(m, line);
		return;
	}
	while ((event = header_push(&m->header, line, true)) == HEADER_READY)
		end_one(m);
	if (event != HEADER_END)
		return;
	m->in_header = false;
	m->depth = m->next_depth;
	take_body(m, line);
	if (m->has_message && line.n == 0)
		begin_header(m);
}

void
postmap_message(unsigned parts, void (*each)(void *ctx, struct str key), void *ctx)
{
	struct message *m = MEM_NEW(struct message);
	struct buf line;

	m->parts = parts;
	m->each = each;
	m->ctx = ctx;
	header_collector_init(&m->header, MAP_VALUE_MAX);
	buf_init(&line, MAP_VALUE_MAX);
	begin_header(m);
	while (postmap_input(&line))
		take_line(m, buf_str(&line));
	if (m->in_header && header_finish(&m->header))
		end_one(m);
	header_collector_fini(&m->header);
	buf_fini(&line);
	mem_free(m);
}
