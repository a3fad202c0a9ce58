/*
 * record.h - the records of a Postfix queue file. Pure: bytes in, values out.
 * THREAD any.  OWNS nothing: payloads are views of the bytes given.
 * ERRORS see record_get.
 * SEE    reader.h for whole files.
 */
#pragma once
#include <sys/types.h>
#include "pp/base/buf.h"

enum record_type {
	REC_SIZE = 'C',
	REC_TIME = 'T',
	REC_FULLNAME = 'F',
	REC_INSPECTOR = 'I',
	REC_FILTER = 'L', /* envelope; the same byte is REC_PART in content */
	REC_SENDER = 'S',
	REC_ATTR = 'A',
	REC_ORCPT = 'O',
	REC_RCPT = 'R',
	REC_DONE = 'D',
	REC_DELETED = '/',
	REC_WARN = 'W',
	REC_VERP = 'V',
	REC_REDIRECT = '>',
	REC_KILLED = 'K',
	REC_CONTENT = 'M',
	REC_LINE = 'N',
	REC_PART = 'L',
	REC_PADDING = 'w',
	REC_POINTER = 'p',
	REC_EXTRACTED = 'X',
	REC_END = 'E',
};

enum { RECORD_SIZE_PAYLOAD = 95 }; /* of REC_SIZE; with framing it fills offsets 0..96 */

struct record {
	int type; /* the byte, whatever it is */
	struct str payload;
};

int record_put(struct buf *to, int type, struct str payload);
int
record_putf(struct buf *to, int type, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int record_vputf(struct buf *to, int type, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* Reads one record at the start of `in`: 0 and the bytes used; 1 = `in` is empty (a clean end);
 * -EAGAIN = more bytes are needed; -EBADMSG = too many length bits. */
int record_get(struct str in, struct record *ret, size_t *ret_used);

/* The same for the type and length bytes only; -EAGAIN and -EBADMSG set the type as well. */
int record_get_head(struct str in, int *ret_type, size_t *ret_length, size_t *ret_used);
/* The decimal number of a W or p record or an attribute: blanks around it, a sign. */
int record_number(struct str text, int64_t *ret);

/* The six numbers of the size record. */
struct record_size {
	int64_t data_size, data_offset, rcpt_count, hints, content_length, utf8;
};
int record_put_size(struct buf *to, const struct record_size *s);
/* 0, or -EINVAL when it is not >= 3 numbers. */
int record_get_size(struct str payload, struct record_size *ret);

/* One line of content as L...N records of at most `limit` bytes (line_length_limit). */
int record_put_line(struct buf *to, struct str line, size_t limit);
/* postcat's name of a type, or NULL. */
const char *record_name(int type);
