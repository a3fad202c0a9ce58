/*
 * openssl.c - the table of OpenSSL's functions, and its filling.
 */
#include "openssl.h"
#include "pp/runtime/late.h"

#define TEXT_OF(x) #x
#define FILE_OF(version) "libssl.so." TEXT_OF(version) "\0"
#define LATE(name) #name "\0"

struct openssl_calls openssl_calls;

int
openssl_load_blk(struct buf *err)
{
	static const char names[] =
#include "openssl.def"
	    ;
	const struct late ssl = {
	    FILE_OF(OPENSSL_SHLIB_VERSION), names, (void **)(void *)&openssl_calls};

	return late_load_blk(&ssl, err);
}
