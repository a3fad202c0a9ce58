/*
 * quoted.h - the quoted-printable encoding, for content that a server cannot take as it is.
 * THREAD one at a time.  OWNS nothing.
 * ERRORS none.
 * SEE    RFC 2045 6.7.
 */
#pragma once
#include "pp/base/str.h"

enum { QUOTED_LINE_MAX = 76 };

struct quoted_encoder {
	char line[QUOTED_LINE_MAX];
	size_t n;
};

/* Encodes one piece of a line; put(ctx, line) is called for each line that is complete, without its
 * end. Returns the first that is not 0 of put, and stops. */
int quoted_encode(struct quoted_encoder *q, struct str piece, bool last,
    int (*put)(void *ctx, struct str line), void *ctx);
