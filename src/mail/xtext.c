/*
 * xtext.c - xtext of RFC 3461 and the Unicode variant of RFC 6533.
 *
 * What decodes to a control is refused here, once: a line break that hides as "+0A" must never
 * reach a queue file, a log or a report.
 */
#include <errno.h>
#include "pp/mail/esmtp.h"
#include "pp/mail/utf8.h"
#include "xtext.h"

static int
hex_digit(char c)
{
	if (str_isdigit(c))
		return c - '0';
	c = str_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3461 4: "!" to "~" but "+" and "=". */
static bool
isxchar(char c)
{
	return c > ' ' && c <= '~' && c != '+' && c != '=';
}

int
esmtp_xtext_encode(struct buf *to, struct str s)
{
	int rc = 0;

	for (size_t i = 0; i < s.n && rc == 0; i++) {
		if (isxchar(s.p[i]))
			rc = buf_addc(to, s.p[i]);
		else
			rc = buf_printf(to, "+%02X", (unsigned char)s.p[i]);
	}
	return rc;
}

int
esmtp_xtext_decode(struct buf *to, struct str s)
{
	int rc = 0;

	for (size_t i = 0; i < s.n && rc == 0; i++) {
		char c = s.p[i];

		if (c == '+') {
			int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EINVAL;
			c = (char)(high * 16 + low);
			i += 2;
		}
		rc = utf8_iscontrol(c) ? -EINVAL : buf_addc(to, c);
	}
	return rc;
}

/* One valid sequence of UTF-8. */
static uint32_t
code_point(struct str s)
{
	static const unsigned char lead_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t v = (unsigned char)s.p[0] & lead_mask[s.n];

	for (size_t i = 1; i < s.n; i++)
		v = v << 6 | ((unsigned char)s.p[i] & 0x3f);
	return v;
}

static int
put_code_point(struct buf *to, uint32_t v)
{
	char seq[4];
	size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = n; i-- > 1; v >>= 6)
		seq[i] = (char)(0x80 | (v & 0x3f));
	seq[0] = (char)(lead[n] | v);
	/* Surrogates make no valid sequence. */
	if (utf8_sequence((struct str){seq, n}) != n || utf8_iscontrol(seq[0]))
		return -EINVAL;
	return buf_add(to, (struct str){seq, n});
}

int
xtext_unicode_encode(struct buf *to, struct str s)
{
	int rc = 0;

	while (s.n && rc == 0) {
		size_t n = utf8_sequence(s);

		if (n == 0)
			return -EINVAL;
		if (n == 1 && isxchar(s.p[0]) && s.p[0] != '\\')
			rc = buf_addc(to, s.p[0]);
		else
			rc = buf_printf(to, "\\x{%02X}", (unsigned)code_point(str_head(s, n)));
		s = str_from(s, n);
	}
	return rc;
}

/* At "\x{HEX}": the bytes used, 0 = malformed. */
static size_t
decode_escape(struct str s, uint32_t *ret)
{
	size_t i = 3;
	uint32_t v = 0;

	while (i < s.n && i < 9 && hex_digit(s.p[i]) >= 0)
		v = v * 16 + (uint32_t)hex_digit(s.p[i++]);
	if (i == 3 || i == s.n || s.p[i] != '}' || v > 0x10ffff)
		return 0;
	*ret = v;
	return i + 1;
}

int
xtext_unicode_decode(struct buf *to, struct str s)
{
	int rc = 0;

	/* A backslash that begins no escape stands for itself, as in Postfix. */
	while (s.n && rc == 0) {
		size_t n = utf8_sequence(s);
		uint32_t v;

		if (str_starts(s, STR("\\x{"))) {
			n = decode_escape(s, &v);
			rc = n ? put_code_point(to, v) : -EINVAL;
		} else {
			rc = n && !utf8_iscontrol(s.p[0]) ? buf_add(to, str_head(s, n)) : -EINVAL;
		}
		s = str_from(s, n);
	}
	return rc;
}
