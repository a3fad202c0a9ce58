/*
 * sasl_library.c - the table of libsasl2's functions, and its filling.
 */
#include "sasl_library.h"
#include "pp/runtime/late.h"

/* The lane's. */
static bool sasl_library_is_started;

int
sasl_library_start(void)
{
	int rc = sasl_library_is_started ? SASL_OK : sasl_client_init(NULL);

	sasl_library_is_started = rc == SASL_OK;
	return rc;
}

void
sasl_library_stop(void)
{
	if (sasl_library_is_started)
		sasl_client_done();
	sasl_library_is_started = false;
}

#define LATE(name) #name "\0"

struct sasl_library_calls sasl_library_calls;

int
sasl_library_load_blk(struct buf *err)
{
	static const char names[] =
#include "sasl_library.def"
	    ;
	/* Debian calls it 2, others 3: what is called here is the same in both. */
	const struct late sasl = {
	    "libsasl2.so.2\0libsasl2.so.3\0", names, (void **)(void *)&sasl_library_calls};

	return late_load_blk(&sasl, err);
}
