/*
 * mime.c - any message, whole lines and cut into pieces: the same events, and nothing gets lost.
 * What is encoded is 7-bit, in lines that are short enough.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/mime_walk.h"
#include "pp/mail/quoted.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_MAX_TEST = 512, OUT_MAX = 1 << 22 };

struct run {
	struct mime_walk walk;
	struct quoted_encoder quoted;
	struct buf seen; /* headers, lines and text, as they were given out */
	bool is_cut;
};

static int
put(void *ctx, struct str line)
{
	PP_ASSERT(line.n <= QUOTED_LINE_MAX);
	for (size_t i = 0; i < line.n; i++)
		PP_ASSERT(line.p[i] == '\t' || (line.p[i] >= ' ' && line.p[i] <= '~'));
	PP_ASSERT(line.n == 0 || (line.p[line.n - 1] != ' ' && line.p[line.n - 1] != '\t'));
	return 0;
}

static void
push(struct run *r, struct str piece, bool last)
{
	for (;;) {
		enum mime_event ev = mime_walk_push(&r->walk, piece, last);

		if (ev == MIME_HEADER) {
			r->is_cut = r->is_cut || r->walk.header.cut;
			buf_add(&r->seen, buf_str(&r->walk.header.text));
			buf_addc(&r->seen, '\n');
		}
		if (ev == MIME_HEADER || ev == MIME_HEAD_END)
			continue;
		if (ev == MIME_LINE || ev == MIME_TEXT) {
			buf_add(&r->seen, piece);
			if (last)
				buf_addc(&r->seen, '\n');
		}
		if (ev == MIME_TEXT)
			quoted_encode(&r->quoted, piece, last, put, r);
		PP_ASSERT(r->walk.depth <= 4 && buf_str(&r->walk.boundary).n <= 70);
		return;
	}
}

static void
walk(struct run *r, struct str text, size_t cut)
{
	struct str whole = text;

	*r = (struct run){0};
	mime_walk_init(&r->walk, HEADER_MAX_TEST, 70, 4);
	buf_init(&r->seen, OUT_MAX);
	while (text.n) {
		size_t lf = str_index(text, '\n');
		struct str line = str_head(text, lf);

		text = str_from(text, lf + 1);
		while (line.n > cut) {
			push(r, str_head(line, cut), false);
			line = str_from(line, cut);
		}
		push(r, line, true);
	}
	for (enum mime_event ev; (ev = mime_walk_finish(&r->walk)) != MIME_MORE;) {
		if (ev != MIME_HEADER)
			continue;
		r->is_cut = r->is_cut || r->walk.header.cut;
		buf_add(&r->seen, buf_str(&r->walk.header.text));
		buf_addc(&r->seen, '\n');
	}
	struct str seen = buf_str(&r->seen);

	if (seen.n > 0 && (whole.n == 0 || whole.p[whole.n - 1] != '\n'))
		seen.n--;
	if (!r->is_cut)
		PP_ASSERT(str_eq(seen, whole));
	mime_walk_fini(&r->walk);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct run x, y;

	if (size > 100000)
		return 0;
	walk(&x, text, SIZE_MAX);
	walk(&y, text, 80); /* boundaries are compared in the first piece of a line */
	if (!x.is_cut && !y.is_cut)
		PP_ASSERT(str_eq(buf_str(&x.seen), buf_str(&y.seen)));
	buf_fini(&x.seen);
	buf_fini(&y.seen);
	return 0;
}
