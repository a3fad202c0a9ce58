/*
 * idna.h - domains in UTF-8 as DNS and old servers know them: A-labels (xn--...).
 * THREAD lanes and commands: the library is loaded by the first call.
 * OWNS   the result is appended to a buffer of the caller.
 * ERRORS -EINVAL: it is no domain; -ELIBACC: no library; -ENOBUFS.
 * SEE    RFC 5890, UTS 46 (non-transitional, as Postfix has it).
 */
#pragma once
#include "pp/base/buf.h"

int idna_ascii_blk(const char *domain, struct buf *to);
