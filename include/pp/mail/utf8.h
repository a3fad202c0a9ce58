/*
 * utf8.h - what bytes of mail are made of: controls, 8-bit bytes, valid UTF-8.
 * THREAD any.  OWNS nothing.
 * ERRORS none.
 * SEE    RFC 3629.
 */
#pragma once
#include "pp/base/str.h"

/* A C0 control or DEL; 8-bit bytes are none. */
static inline bool
utf8_iscontrol(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

bool utf8_has_8bit(struct str s);
bool utf8_has_control(struct str s);
bool utf8_valid(struct str s);
/* Length of the valid sequence at the start (1 for ASCII, also for controls); 0 = none. */
size_t utf8_sequence(struct str s);
/* Every control and every byte that is not part of valid UTF-8 becomes '?', in place. */
void utf8_clean(char *p, size_t n);
