/*
 * mime.h - the little of MIME that transport needs: does this content need 8BITMIME?
 * THREAD any.  OWNS nothing.
 * ERRORS none.
 * SEE    RFC 2045 6, RFC 6152. For 8-bit bytes themselves: utf8_has_8bit.
 */
#pragma once
#include "pp/mail/envelope.h"

/* The value of a Content-Transfer-Encoding header: 7bit, quoted-printable, base64 -> BODY_7BIT;
 * 8bit, binary -> BODY_8BIT; anything else BODY_UNKNOWN. Case, blanks and comments are ignored. */
enum body_encoding mime_encoding(struct str value);
/* quoted-printable, base64: what is inside cannot be read as it stands. */
bool mime_is_opaque(struct str value);
