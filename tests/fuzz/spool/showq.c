/*
 * showq.c - any bytes as a listing from a socket, in one piece and byte by byte.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/spool/listing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
collect(void *ctx, const struct listing *l)
{
	return listing_encode(ctx, l, true);
}

static int
decode(struct str in, size_t step, struct buf *to)
{
	struct listing_decoder *d = listing_decoder_new(collect, to);
	int rc = 0;

	while (rc == 0 && in.n > 0) {
		rc = listing_decode(d, str_head(in, step));
		in = str_from(in, step);
	}
	listing_decoder_free(d);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct buf whole, bytes;

	buf_init(&whole, 64 << 20);
	buf_init(&bytes, 64 << 20);
	PP_ASSERT(decode(in, size, &whole) == decode(in, 1, &bytes));
	PP_ASSERT(str_eq(buf_str(&whole), buf_str(&bytes)));
	buf_fini(&whole);
	buf_fini(&bytes);
	return 0;
}
