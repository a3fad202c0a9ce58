/*
 * dot.c - DATA: decoded in two ways of cutting, checked against a plain model, encoded again.
 *
 * First byte: piece limit; second: size of the parts. Both ways give the same pieces; the end is
 * found exactly where a search for CRLF.CRLF finds it; and what is encoded from the pieces decodes
 * to the same lines, with neither a bare CR nor a bare LF.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/dot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pieces are written down as type, bytes, 0xff-escaped length; and encoded when `wire` is given. */
static size_t
decode(
    struct str in, size_t part, size_t limit, struct buf *pieces, struct buf *wire, bool *ret_end)
{
	struct dot_encoder e;
	struct dot_decoder d;
	struct dot_piece p;
	enum dot_result r = DOT_MORE;
	size_t at = 0;

	dot_encoder_init(&e, 0, DOT_SMTP);
	dot_decoder_init(&d, limit, DOT_SMTP);
	while (at < in.n && r != DOT_END) {
		struct str now = str_head(str_from(in, at), part);
		size_t given = now.n;

		while ((r = dot_decode(&d, &now, &p)) == DOT_PIECE) {
			PP_ASSERT(p.last ? p.bytes.n < limit : p.bytes.n == limit);
			buf_printf(pieces, "%c%zu:", p.last ? 'N' : 'L', p.bytes.n);
			buf_add(pieces, p.bytes);
			if (wire)
				PP_ASSERT(dot_encode(&e, wire, p.bytes, p.last) == 0);
		}
		PP_ASSERT(r == DOT_END || now.n == 0);
		at += given - now.n;
	}
	if (wire)
		PP_ASSERT(dot_encode_end(&e, wire) == 0);
	*ret_end = r == DOT_END;
	dot_decoder_fini(&d);
	return at;
}

static size_t
find_end(struct str in)
{
	const char *at;

	if (str_starts(in, STR(".\r\n")))
		return 3;
	at = in.n ? memmem(in.p, in.n, "\r\n.\r\n", 5) : NULL;
	return at ? (size_t)(at - in.p) + 5 : 0;
}

static void
check_wire(struct str wire)
{
	PP_ASSERT(find_end(wire) == wire.n);
	for (size_t i = 0; i < wire.n; i++) {
		if (wire.p[i] == '\r')
			PP_ASSERT(i + 1 < wire.n && wire.p[i + 1] == '\n');
		if (wire.p[i] == '\n')
			PP_ASSERT(i > 0 && wire.p[i - 1] == '\r');
	}
}

/* With a line limit nothing but line ends differs, and no line is longer. */
static void
check_limited(struct str in, size_t limit)
{
	struct dot_encoder e;
	struct buf b;
	size_t column = 0;

	buf_init(&b, 20 * in.n + 100);
	dot_encoder_init(&e, limit, DOT_SMTP);
	PP_ASSERT(dot_encode(&e, &b, in, true) == 0);
	PP_ASSERT(dot_encode_end(&e, &b) == 0);
	check_wire(buf_str(&b));
	for (size_t i = 0; i < buf_str(&b).n; i++) {
		char c = buf_str(&b).p[i];

		column = c == '\n' ? 0 : column + (c != '\r');
		/* A stuffed dot does not count; 1 is taken as 2, 0 as no limit. */
		PP_ASSERT(limit == 0 || column <= (limit < 2 ? 2 : limit) + 1);
	}
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf pieces, other, wire, again;
	struct str in;
	size_t limit, used;
	bool end, end2;

	if (size < 2)
		return 0;
	limit = data[0] % 32 + 2u;
	in = (struct str){(const char *)data + 2, size - 2};
	buf_init(&pieces, 40 * size + 1000);
	buf_init(&other, 40 * size + 1000);
	buf_init(&again, 40 * size + 1000);
	buf_init(&wire, 40 * size + 1000);
	used = decode(in, SIZE_MAX, limit, &pieces, &wire, &end);
	PP_ASSERT(used == decode(in, data[1] % 16 + 1u, limit, &other, NULL, &end2));
	PP_ASSERT(end == end2 && str_eq(buf_str(&pieces), buf_str(&other)));
	PP_ASSERT(end == (find_end(in) > 0) && (!end || used == find_end(in)));
	check_wire(buf_str(&wire));
	buf_clear(&other);
	decode(buf_str(&wire), SIZE_MAX, limit, &other, &again, &end2);
	PP_ASSERT(end2 && str_eq(buf_str(&wire), buf_str(&again)));
	check_limited(in, data[1]);
	buf_fini(&pieces);
	buf_fini(&other);
	buf_fini(&again);
	buf_fini(&wire);
	return 0;
}
