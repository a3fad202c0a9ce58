/*
 * reply.c - replies of a hostile server, whole and byte by byte: the same results, within bounds.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/reply.h"
#include "pp/mail/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct reply *r)
{
	struct arena a = {0};
	struct status s = reply_status(&a, r);

	PP_ASSERT(reply_lines(r).n <= REPLY_KEEP_MAX && r->line_count <= REPLY_LINES_MAX);
	PP_ASSERT(strlen(s.text) <= REPLY_TEXT_MAX);
	PP_ASSERT(!utf8_has_control(str_of(s.text)));
	PP_ASSERT(s.cls != STATUS_NONE);
	if (r->state == REPLY_DONE)
		PP_ASSERT(r->code >= 200 && r->code <= 599);
	arena_fini(&a);
}

/* One reply off the front of *in. */
static void
read_one(struct reply *r, struct str *in, size_t step)
{
	size_t used;

	while (in->n && r->state == REPLY_MORE) {
		size_t given = step < in->n ? step : in->n;

		reply_feed(r, str_head(*in, given), &used);
		PP_ASSERT(used <= given && (used == given || r->state != REPLY_MORE));
		*in = str_from(*in, used);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str whole = {(const char *)data, size}, bytes = whole;
	struct reply x, y;

	reply_init(&x);
	reply_init(&y);
	do {
		reply_clear(&x);
		reply_clear(&y);
		read_one(&x, &whole, SIZE_MAX);
		read_one(&y, &bytes, 1);
		PP_ASSERT(x.state == y.state && whole.n == bytes.n && x.code == y.code);
		PP_ASSERT(x.subject == y.subject && x.detail == y.detail);
		PP_ASSERT(str_eq(reply_lines(&x), reply_lines(&y)));
		check(&x);
	} while (whole.n && x.state == REPLY_DONE);
	reply_fini(&x);
	reply_fini(&y);
	return 0;
}
