/*
 * xtext.h - the encodings of DSN parameters.
 * THREAD any.  OWNS nothing.
 * ERRORS 0, -EINVAL = malformed, or it would decode to a control; -ENOBUFS.
 * SEE    RFC 3461 4 (xtext; esmtp_xtext_encode and _decode), RFC 6533 3 (utf-8-addr-xtext).
 */
#pragma once
#include "pp/base/buf.h"

int xtext_unicode_encode(struct buf *to, struct str s);
int xtext_unicode_decode(struct buf *to, struct str s);
