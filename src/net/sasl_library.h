/*
 * sasl_library.h - the headers of libsasl2, which is loaded when somebody is to authenticate.
 * THREAD the functions: the sasl lane, after sasl_library_load_blk (any).
 * OWNS   nothing.
 * ERRORS see late.h.
 */
#pragma once
#include <sasl/sasl.h>
#include <sasl/saslutil.h>
#include "pp/base/buf.h"

#define LATE(name) __typeof__(name) *name;
struct sasl_library_calls {
#include "sasl_library.def"
};
#undef LATE
extern struct sasl_library_calls sasl_library_calls;
#include <sasl_library_names.h> /* made of the same rows by meson.build */

int sasl_library_load_blk(struct buf *err);
/* On the lane: finds the plugins, once. A code of libsasl2. */
int sasl_library_start(void);
/* When the lane is gone. */
void sasl_library_stop(void);
