/*
 * utf8.c - controls, 8-bit bytes and UTF-8 in mail.
 *
 * What is valid is RFC 3629 to the letter: overlong forms, surrogates and what lies above U+10FFFF
 * are not, because two spellings of one address must never both be taken.
 */
#include "pp/mail/utf8.h"

bool
utf8_has_8bit(struct str s)
{
	uint64_t word;
	size_t i = 0;

	/* Eight bytes at a time: this runs over every byte of every message. */
	for (; i + sizeof(word) <= s.n; i += sizeof(word)) {
		memcpy(&word, s.p + i, sizeof(word));
		if (word & 0x8080808080808080u)
			return true;
	}
	for (; i < s.n; i++)
		if ((unsigned char)s.p[i] & 0x80)
			return true;
	return false;
}

bool
utf8_has_control(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (utf8_iscontrol(s.p[i]))
			return true;
	return false;
}

size_t
utf8_sequence(struct str s)
{
	unsigned char lead, low = 0x80, high = 0xbf;
	size_t n;

	if (s.n == 0)
		return 0;
	lead = (unsigned char)s.p[0];
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	n = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	if (s.n < n)
		return 0;
	/* The second byte rules out overlong forms, surrogates and U+110000 and above. */
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < low || c > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

bool
utf8_valid(struct str s)
{
	while (s.n) {
		size_t n = utf8_sequence(s);

		if (n == 0)
			return false;
		s = str_from(s, n);
	}
	return true;
}

void
utf8_clean(char *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = utf8_sequence((struct str){p + i, n - i});

		if (len == 0 || utf8_iscontrol(p[i])) {
			p[i] = '?';
			len = 1;
		}
		i += len;
	}
}
