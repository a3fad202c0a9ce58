/*
 * dot.c - DATA content: lines out of a stream, and lines into a stream.
 *
 * The decoder looks at one segment at a time: the bytes from the start of a piece to its line end,
 * or limit + 1 of them, which is as far as one must see to cut a piece. A segment that lies whole
 * in the input is given out as a view; only one that is cut by the end of the input is carried
 * over. Since a decision is never taken on less than a segment, cutting the input differently
 * cannot change it - that, and not a row of special cases, is what keeps smuggled ends of data out.
 */
#include <errno.h>
#include "pp/base/assert.h"
#include "pp/mail/dot.h"

void
dot_decoder_init(struct dot_decoder *d, size_t limit, enum dot_mode mode)
{
	PP_ASSERT(limit >= 2);
	*d = (struct dot_decoder){.limit = limit, .mode = mode, .after_crlf = true};
	/* A dot, limit bytes, and one more. */
	buf_init(&d->carry, limit + 2);
}

void
dot_decoder_fini(struct dot_decoder *d)
{
	buf_fini(&d->carry);
}

/* Stuffing is undone before a piece is measured. */
static size_t
leading_dot(const struct dot_decoder *d, struct str seg)
{
	return d->mode == DOT_SMTP && !d->mid_line && seg.n && seg.p[0] == '.' ? 1 : 0;
}

static void
note_bare_cr(struct dot_decoder *d, struct str content)
{
	d->bare_cr = d->bare_cr || str_index(content, '\r') < content.n;
}

/* A segment without its line end, or whose line end is far: gives a piece of limit bytes. */
static size_t
cut_piece(struct dot_decoder *d, struct str seg, size_t dot, struct dot_piece *ret)
{
	ret->bytes = (struct str){seg.p + dot, d->limit};
	ret->last = false;
	d->mid_line = true;
	note_bare_cr(d, ret->bytes);
	return dot + d->limit;
}

/* Reads one segment at the start of `seg`: the bytes used, or 0 = more bytes are needed. */
static size_t
decode_segment(struct dot_decoder *d, struct str seg, struct dot_piece *ret, bool *ret_end)
{
	size_t dot = leading_dot(d, seg);
	struct str window = str_head(seg, dot + d->limit + 1);
	size_t lf = str_index(window, '\n'), end = lf;
	bool crlf;

	if (lf == window.n)
		return window.n == dot + d->limit + 1 ? cut_piece(d, seg, dot, ret) : 0;
	crlf = lf > 0 && seg.p[lf - 1] == '\r';
	if (crlf)
		end--;
	if (dot && end == 1) {
		/* RFC 5321 4.1.1.4: only CRLF "." CRLF. Any other lone dot is content. */
		if (crlf && d->after_crlf) {
			*ret_end = true;
			return lf + 1;
		}
		dot = 0;
	}
	if (end - dot >= d->limit)
		return cut_piece(d, seg, dot, ret);
	*ret = (struct dot_piece){{seg.p + dot, end - dot}, true};
	note_bare_cr(d, ret->bytes);
	d->bare_lf |= !crlf;
	d->after_crlf = crlf;
	d->mid_line = false;
	return lf + 1;
}

/* Moves bytes into the carry, until it holds a segment: no further than a line end. */
static void
fill_carry(struct dot_decoder *d, struct str *in)
{
	struct str more = str_head(*in, d->carry.max - (d->carry.n - d->carry.head));
	size_t lf = str_index(more, '\n');

	if (lf < more.n)
		more = str_head(more, lf + 1);
	buf_add(&d->carry, more);
	*in = str_from(*in, more.n);
}

enum dot_result
dot_decode(struct dot_decoder *d, struct str *in, struct dot_piece *ret)
{
	bool end = false;
	size_t used;

	if (buf_str(&d->carry).n) {
		/* What is carried may hold a segment already, after a piece was cut off it. */
		used = decode_segment(d, buf_str(&d->carry), ret, &end);
		if (used == 0) {
			fill_carry(d, in);
			used = decode_segment(d, buf_str(&d->carry), ret, &end);
		}
		if (used == 0)
			return DOT_MORE;
		buf_consume(&d->carry, used);
	} else {
		used = decode_segment(d, *in, ret, &end);
		if (used == 0) {
			fill_carry(d, in);
			return DOT_MORE;
		}
		*in = str_from(*in, used);
	}
	return end ? DOT_END : DOT_PIECE;
}

bool
dot_decode_rest(struct dot_decoder *d, struct dot_piece *ret)
{
	struct str rest = buf_str(&d->carry);
	bool end = false;
	size_t used;

	if (rest.n == 0 && !d->mid_line)
		return false;
	used = rest.n ? decode_segment(d, rest, ret, &end) : 0;
	if (used == 0) {
		size_t dot = leading_dot(d, rest);

		if (rest.n - dot >= d->limit) {
			used = cut_piece(d, rest, dot, ret);
		} else {
			*ret = (struct dot_piece){str_from(rest, dot), true};
			note_bare_cr(d, ret->bytes);
			d->mid_line = false;
			used = rest.n;
		}
	}
	buf_consume(&d->carry, used);
	return !end;
}

void
dot_encoder_init(struct dot_encoder *e, size_t limit, enum dot_mode mode)
{
	/* A continuation begins with a blank, so a line must hold two bytes. */
	*e = (struct dot_encoder){.limit = limit == 1 ? 2 : limit, .mode = mode};
}

/* Room enough for the worst case, asked without marking the buffer as overflowed. */
static bool
has_room(const struct dot_encoder *e, const struct buf *to, size_t n)
{
	size_t need = n + 1 + 2 + 3, room = to->max - buf_str(to).n;

	if (e->limit)
		need += 3 * (n / (e->limit - 1) + 1);
	return need >= n && need <= room;
}

static void
blank_out(char *p, size_t n, char bad)
{
	char *end = p + n;

	while ((p = memchr(p, bad, (size_t)(end - p))) != NULL)
		*p = ' ';
}

/* Neither CR nor LF may go out inside a line: it could end it, or the message, at the next hop. */
static void
put_clean(struct buf *to, struct str s)
{
	char *at = buf_reserve(to, s.n);

	PP_ASSERT(at != NULL);
	if (s.n == 0)
		return;
	memcpy(at, s.p, s.n);
	blank_out(at, s.n, '\r');
	blank_out(at, s.n, '\n');
	buf_commit(to, s.n);
}

int
dot_encode(struct dot_encoder *e, struct buf *to, struct str bytes, bool last)
{
	if (!has_room(e, to, bytes.n))
		return -ENOBUFS;
	if (e->mode == DOT_SMTP && bytes.n && e->column == 0 && bytes.p[0] == '.')
		buf_addc(to, '.');
	while (bytes.n) {
		size_t room = e->limit ? e->limit - e->column : bytes.n;
		struct str part = str_head(bytes, room);

		put_clean(to, part);
		e->column += part.n;
		e->open = true;
		bytes = str_from(bytes, part.n);
		if (bytes.n) {
			buf_adds(to, "\r\n ");
			e->column = 1;
			e->broken++;
		}
	}
	if (last) {
		buf_adds(to, "\r\n");
		e->column = 0;
		e->open = false;
	}
	return 0;
}

int
dot_encode_end(struct dot_encoder *e, struct buf *to)
{
	if (!has_room(e, to, 3))
		return -ENOBUFS;
	if (e->open)
		buf_adds(to, "\r\n");
	if (e->mode == DOT_SMTP)
		buf_adds(to, ".\r\n");
	e->column = 0;
	e->open = false;
	return 0;
}
