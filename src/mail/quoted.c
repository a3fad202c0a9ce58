/*
 * quoted.c - quoted-printable: what is not printable ASCII becomes =XX, long lines are broken
 * softly.
 *
 * Lines are broken where Postfix breaks them, behind 73 characters or more, so that the same mail
 * leaves as the same bytes.
 */
#include "pp/base/assert.h"
#include "pp/mail/quoted.h"

enum { SOFT_BREAK = 72 };

static void
add_code(struct quoted_encoder *q, char c)
{
	static const char digits[] = "0123456789ABCDEF";

	PP_ASSERT(q->n + 3 <= sizeof q->line);
	q->line[q->n++] = '=';
	q->line[q->n++] = digits[(unsigned char)c >> 4];
	q->line[q->n++] = digits[(unsigned char)c & 15];
}

static int
end_line(struct quoted_encoder *q, int (*put)(void *ctx, struct str line), void *ctx)
{
	struct str line = {q->line, q->n};

	q->n = 0;
	return put(ctx, line);
}

int
quoted_encode(struct quoted_encoder *q, struct str piece, bool last,
    int (*put)(void *ctx, struct str line), void *ctx)
{
	int rc = 0;

	for (size_t i = 0; i < piece.n && rc == 0; i++) {
		unsigned char c = (unsigned char)piece.p[i];

		if (q->n > SOFT_BREAK) {
			q->line[q->n++] = '=';
			rc = end_line(q, put, ctx);
		}
		if ((c < ' ' && c != '\t') || c == '=' || c > '~')
			add_code(q, piece.p[i]);
		else
			q->line[q->n++] = piece.p[i];
	}
	if (!last || rc)
		return rc;
	/* RFC 2045 6.7 (3): a blank at the end of a line would get lost. */
	if (q->n > 0 && (q->line[q->n - 1] == ' ' || q->line[q->n - 1] == '\t'))
		add_code(q, q->line[--q->n]);
	return end_line(q, put, ctx);
}
