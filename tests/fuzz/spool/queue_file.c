/*
 * queue_file.c - any bytes as a queue file: the envelope both ways, the records one by one, the
 * content in pieces.
 */
#include <errno.h>
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"
#include "pp/spool/body.h"
#include "pp/spool/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
no_destroy(struct snap *s)
{
}

static bool
envelope(struct str in, enum reader_kind kind, struct envelope *env)
{
	struct arena a = {0};
	struct reader *r = reader_open_bytes(in);
	struct buf why;
	int rc;

	buf_init(&why, 1024);
	rc = reader_envelope(r, kind, &a, env, &why);
	PP_ASSERT(rc == 0 || (rc == -EBADMSG && kind == READER_QUEUE && why.n > 0));
	for (size_t i = 0; rc == 0 && i < env->rcpt_count; i++) {
		PP_ASSERT(env->rcpt[i].address != NULL && env->rcpt[i].orig != NULL);
		PP_ASSERT(env->rcpt[i].offset >= 0 && (size_t)env->rcpt[i].offset < in.n);
	}
	reader_close(r);
	buf_fini(&why);
	arena_fini(&a);
	return rc == 0;
}

static void
records(struct str in, bool raw)
{
	struct reader *r = reader_open_bytes(in);
	struct record rec;
	size_t bytes = 0;
	off_t at;

	reader_set_raw(r, raw);
	while (reader_next(r, &rec, &at) == 0)
		bytes += rec.payload.n + 2;
	/* No loop of pointers reads a file over and over. */
	PP_ASSERT(bytes <= 3 * in.n + 65536);
	reader_close(r);
}

static void
content(struct str in, const struct envelope *env)
{
	struct spool_bytes bytes = {.bytes = in};
	struct body_piece piece;
	struct body *b;
	size_t n = 0;
	int rc;

	snap_init(&bytes.snap, no_destroy);
	b = body_open(NULL, QUEUE_ACTIVE, "ABCDEF", &bytes, env->data_offset, env->data_size);
	while ((rc = body_next(b, &piece)) == 1)
		n += piece.bytes.n;
	PP_ASSERT(rc == 0 || rc == -EBADMSG);
	PP_ASSERT(n <= 3 * in.n + 200000);
	body_close(b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct envelope env;

	envelope(in, READER_LISTING, &env);
	if (envelope(in, READER_QUEUE, &env))
		content(in, &env);
	records(in, false);
	records(in, true);
	return 0;
}
