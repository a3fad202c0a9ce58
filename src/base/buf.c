/*
 * buf.c - the one growable buffer.
 *
 * Its maximum is checked in one place, grow(), with overflow-checked arithmetic: a length that
 * comes from the network can make it fail, never wrap.
 */
#include <errno.h>
#include <stdio.h>
#include "pp/base/assert.h"
#include "pp/base/buf.h"
#include "pp/base/mem.h"

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void
buf_fini(struct buf *b)
{
	mem_free(b->p);
	*b = (struct buf){.max = b->max};
}

void
buf_clear(struct buf *b)
{
	b->n = b->head = 0;
	b->overflow = false;
	if (b->p)
		b->p[0] = '\0';
}

void
buf_shrink(struct buf *b)
{
	buf_fini(b);
}

static int
grow(struct buf *b, size_t more)
{
	size_t live = b->n - b->head, want, cap;

	if (__builtin_add_overflow(live, more, &want) || want > b->max) {
		b->overflow = true;
		return -ENOBUFS;
	}
	if (b->p && more < b->cap - b->n)
		return 0;
	if (b->head > 0) {
		memmove(b->p, b->p + b->head, live);
		b->n = live;
		b->head = 0;
	}
	if (b->p && want < b->cap)
		return 0;
	cap = b->cap ? b->cap * 2 : 128;
	if (cap <= want)
		cap = want + 1;
	if (cap > b->max + 1)
		cap = b->max + 1;
	b->p = mem_realloc(b->p, cap);
	b->cap = cap;
	return 0;
}

char *
buf_reserve(struct buf *b, size_t n)
{
	return grow(b, n) < 0 ? NULL : b->p + b->n;
}

void
buf_commit(struct buf *b, size_t n)
{
	PP_ASSERT(n < b->cap - b->n);
	b->n += n;
	b->p[b->n] = '\0';
}

int
buf_add(struct buf *b, struct str s)
{
	char *to = buf_reserve(b, s.n);

	if (to == NULL)
		return -ENOBUFS;
	if (s.n)
		memcpy(to, s.p, s.n);
	buf_commit(b, s.n);
	return 0;
}

int
buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, str_of(s));
}

int
buf_addc(struct buf *b, char c)
{
	return buf_add(b, (struct str){&c, 1});
}

int
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char *to;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	PP_ASSERT(n >= 0);
	to = buf_reserve(b, (size_t)n);
	if (to == NULL)
		return -ENOBUFS;
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	buf_commit(b, (size_t)n);
	return 0;
}

int
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return rc;
}

void
buf_consume(struct buf *b, size_t n)
{
	PP_ASSERT(n <= b->n - b->head);
	b->head += n;
	if (b->head == b->n)
		b->head = b->n = 0;
}

void
buf_truncate(struct buf *b, size_t n)
{
	PP_ASSERT(n <= b->n - b->head);
	b->n = b->head + n;
	if (b->p)
		b->p[b->n] = '\0';
}
