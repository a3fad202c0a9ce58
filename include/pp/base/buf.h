/*
 * buf.h - a growable byte buffer that must be given its maximum size.
 * THREAD one at a time.  OWNS its bytes, until buf_fini.
 * ERRORS -ENOBUFS when the maximum would be passed: nothing is appended then, and the buffer
 *        remembers it (buf_overflowed), so a row of appends may be checked once at its end.
 */
#pragma once
#include <stdarg.h>
#include "pp/base/str.h"

struct buf {
	char *p;  /* always NUL behind the last byte once something was appended */
	size_t n; /* bytes in use */
	size_t cap;
	size_t max;  /* bytes, without the NUL */
	size_t head; /* bytes consumed at the front (buf_consume) */
	bool overflow;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
/* Empty, memory kept. buf_shrink also gives the memory back. */
void buf_clear(struct buf *b);
void buf_shrink(struct buf *b);

int buf_add(struct buf *b, struct str s);
int buf_adds(struct buf *b, const char *s);
int buf_addc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Room for n more bytes to be written by the caller, then told by buf_commit; NULL past max. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* Drops n bytes at the front, without moving the rest until it must grow. */
void buf_consume(struct buf *b, size_t n);
void buf_truncate(struct buf *b, size_t n);

/* The bytes not consumed. Valid until the next change of the buffer. */
static inline struct str
buf_str(const struct buf *b)
{
	return (struct str){b->p ? b->p + b->head : "", b->n - b->head};
}

/* The same as a C string; never NULL. */
static inline const char *
buf_cstr(const struct buf *b)
{
	return b->p ? b->p + b->head : "";
}

static inline bool
buf_overflowed(const struct buf *b)
{
	return b->overflow;
}
