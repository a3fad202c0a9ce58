/*
 * header.c - headers collected from pieces of lines.
 *
 * First byte: the limit. Then lines; byte 0x1e ends a piece inside a line. What is collected stays
 * within the limit, is a header, and holds no line that could end the headers.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/header.h"
#include "pp/mail/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct header_collector *c)
{
	struct str text = buf_str(&c->text);

	PP_ASSERT(text.n > 0 && text.n <= c->limit);
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '\n')
			PP_ASSERT(
			    i + 1 < text.n && (text.p[i + 1] == ' ' || text.p[i + 1] == '\t'));
	if (!c->cut) {
		struct header h;

		PP_ASSERT(header_parse(text, &h));
		PP_ASSERT(h.name.n > 0 && h.id < HDR_COUNT);
		PP_ASSERT(h.id == HDR_OTHER || str_caseeq(h.name, str_of(header_name(h.id))));
		mime_encoding(h.value);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header_collector c;
	enum header_event e = HEADER_MORE;
	struct str in;

	if (size == 0)
		return 0;
	in = (struct str){(const char *)data + 1, size - 1};
	header_collector_init(&c, data[0] + 1u);
	while (in.n && e != HEADER_END) {
		size_t n = 0;

		while (n < in.n && in.p[n] != '\n' && in.p[n] != 0x1e)
			n++;
		e = header_push(&c, str_head(in, n), n == in.n || in.p[n] == '\n');
		if (e == HEADER_READY) {
			check(&c);
			e = header_push(&c, str_head(in, n), n == in.n || in.p[n] == '\n');
			PP_ASSERT(e != HEADER_READY);
		}
		in = str_from(in, n + 1);
	}
	if (header_finish(&c))
		check(&c);
	header_collector_fini(&c);
	return 0;
}
