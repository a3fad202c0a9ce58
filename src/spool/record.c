/*
 * record.c - the framing of queue file records: a type byte, a length in base 128, a payload.
 *
 * Pure, so that it is fuzzed and shared by everything that reads or writes the format: the reader,
 * the body, the writer and the submission in the commands. Records are written in the minimal
 * form, like Postfix does, so that files can be compared byte for byte.
 */
#include <errno.h>
#include <stdio.h>
#include "pp/base/assert.h"
#include "pp/spool/record.h"

enum {
	LENGTH_BITS = 7,
	LENGTH_SHIFT_MAX = 32, /* a length byte may not begin at or behind this bit */
	SIZE_FIELDS = 6,
};

int
record_put(struct buf *to, int type, struct str payload)
{
	char head[1 + 5];
	size_t n = 0, left = payload.n;

	if (payload.n > INT32_MAX)
		return -ENOBUFS;
	head[n++] = (char)type;
	do {
		unsigned char low = left & 0x7f;

		left >>= LENGTH_BITS;
		head[n++] = (char)(left ? low | 0x80 : low);
	} while (left);
	/* Whole or not at all: reserve before the first byte is added. */
	if (buf_reserve(to, n + payload.n) == NULL)
		return -ENOBUFS;
	buf_add(to, (struct str){head, n});
	return buf_add(to, payload);
}

int
record_vputf(struct buf *to, int type, const char *fmt, va_list ap)
{
	char shortly[512];
	struct buf text;
	va_list again;
	int rc;

	va_copy(again, ap);
	rc = vsnprintf(shortly, sizeof(shortly), fmt, again);
	va_end(again);
	PP_ASSERT(rc >= 0);
	if ((size_t)rc < sizeof(shortly))
		return record_put(to, type, (struct str){shortly, (size_t)rc});
	buf_init(&text, to->max);
	rc = buf_vprintf(&text, fmt, ap);
	if (rc == 0)
		rc = record_put(to, type, buf_str(&text));
	buf_fini(&text);
	return rc;
}

int
record_putf(struct buf *to, int type, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = record_vputf(to, type, fmt, ap);
	va_end(ap);
	return rc;
}

int
record_get_head(struct str in, int *ret_type, size_t *ret_length, size_t *ret_used)
{
	uint64_t length = 0;
	size_t at = 1;
	unsigned shift = 0;

	if (in.n == 0)
		return 1;
	for (;; shift += LENGTH_BITS) {
		unsigned char c;

		*ret_type = (unsigned char)in.p[0];
		if (shift >= LENGTH_SHIFT_MAX)
			return -EBADMSG;
		if (at == in.n)
			return -EAGAIN;
		c = (unsigned char)in.p[at++];
		length |= (uint64_t)(c & 0x7f) << shift;
		if ((c & 0x80) == 0)
			break;
	}
	if (length > INT32_MAX)
		return -EBADMSG;
	*ret_length = (size_t)length;
	*ret_used = at;
	return 0;
}

int
record_get(struct str in, struct record *ret, size_t *ret_used)
{
	int type, rc;
	size_t length, used;

	rc = record_get_head(in, &type, &length, &used);
	if (rc != 0)
		return rc;
	if (in.n - used < length)
		return -EAGAIN;
	*ret = (struct record){.type = type, .payload = {in.p + used, length}};
	*ret_used = used + length;
	return 0;
}

int
record_put_size(struct buf *to, const struct record_size *s)
{
	return record_putf(to, REC_SIZE, "%15lld %15lld %15lld %15lld %15lld %15lld",
	    (long long)s->data_size, (long long)s->data_offset, (long long)s->rcpt_count,
	    (long long)s->hints, (long long)s->content_length, (long long)s->utf8);
}

int
record_number(struct str text, int64_t *ret)
{
	bool negative;
	int64_t v;
	int rc;

	text = str_trim(str_head(text, str_index(text, '\0')));
	negative = text.n > 0 && text.p[0] == '-';
	rc = str_number(str_from(text, negative), 0, INT64_MAX, &v);
	if (rc == 0)
		*ret = negative ? -v : v;
	return rc;
}

int
record_get_size(struct str payload, struct record_size *ret)
{
	int64_t v[SIZE_FIELDS] = {0};
	struct str token;
	int n;

	/* Reading stops at the first word that is no number, as scanf(3) would. */
	for (n = 0; n < SIZE_FIELDS && str_token(&payload, " ", &token); n++)
		if (record_number(token, &v[n]) < 0)
			break;
	if (n < 3)
		return -EINVAL;
	*ret = (struct record_size){.data_size = v[0],
	    .data_offset = v[1],
	    .rcpt_count = v[2],
	    .hints = v[3],
	    .content_length = n > 4 ? v[4] : v[0], /* older files have fewer fields */
	    .utf8 = v[5]};
	return 0;
}

int
record_put_line(struct buf *to, struct str line, size_t limit)
{
	int rc = 0;

	/* A piece as long as the limit never ends a line: Postfix reads that many bytes, then asks
	 * for more, and finds the line end alone. */
	while (rc == 0 && limit > 0 && line.n >= limit) {
		rc = record_put(to, REC_PART, str_head(line, limit));
		line = str_from(line, limit);
	}
	return rc < 0 ? rc : record_put(to, REC_LINE, line);
}

const char *
record_name(int type)
{
	static const struct {
		int type;
		const char *name;
	} names[] = {
	    {REC_SIZE, "message_size"},
	    {REC_TIME, "message_arrival_time"},
	    {'c', "queue_file_create_time"},
	    {REC_FULLNAME, "sender_fullname"},
	    {REC_INSPECTOR, "content_inspector"},
	    {REC_FILTER, "content_filter"},
	    {REC_SENDER, "sender"},
	    {REC_ATTR, "named_attribute"},
	    {REC_ORCPT, "original_recipient"},
	    {REC_RCPT, "recipient"},
	    {REC_DONE, "done_recipient"},
	    {REC_DELETED, "canceled_recipient"},
	    {REC_WARN, "warning_message_time"},
	    {REC_VERP, "verp_delimiters"},
	    {REC_REDIRECT, "redirect_to"},
	    {REC_KILLED, "killed_record"},
	    {REC_LINE, "regular_text"},
	    {REC_PADDING, "padding"},
	    {REC_POINTER, "pointer_record"},
	    {'r', "return_receipt"},
	    {'e', "errors_to"},
	    {'P', "priority"},
	    {'f', "flags"},
	    {'<', "dsn_return_flags"},
	    {'i', "dsn_envelope_id"},
	    {'o', "dsn_original_recipient"},
	    {'n', "dsn_notify_flags"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return names[i].name;
	return NULL;
}
