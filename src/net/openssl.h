/*
 * openssl.h - OpenSSL's headers, for a library that is loaded with the first TLS context.
 * THREAD the functions: any, after openssl_load_blk.
 * OWNS   nothing.
 * ERRORS see late.h.
 */
#pragma once
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "pp/base/buf.h"

#define LATE(name) __typeof__(name) *name;
struct openssl_calls {
#include "openssl.def"
};
#undef LATE
extern struct openssl_calls openssl_calls;
#include <openssl_names.h> /* made of the same rows by meson.build */

/* Blocks. Before any function of OpenSSL is called. */
int openssl_load_blk(struct buf *err);
