/*
 * spool_id.c - queue ids: making them, checking them, and the letters they are hashed by.
 *
 * An id has one of Postfix's two shapes but does not embed an inode, because a message may be ours
 * before it has a file. It is unique by its time instead: one shared sequence of microseconds never
 * gives one twice and never goes back, even when the clock does.
 */
#include <stdio.h>
#include <unistd.h>
#include "internal.h"
#include "pp/runtime/loop.h"

enum {
	SHORT_USEC_DIGITS = 5,
	LONG_SEC_DIGITS = 6,
	LONG_USEC_DIGITS = 4,
	LONG_SEPARATOR_MIN = LONG_SEC_DIGITS + LONG_USEC_DIGITS,
};

/* No vowels, so that no id is a word; `z` is the 52nd digit, and the separator. */
static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

bool
spool_id_valid(struct str id)
{
	if (id.n == 0 || id.n >= SPOOL_ID_MAX)
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!str_isalnum(id.p[i]) && id.p[i] != '_')
			return false;
	return true;
}

/* Appends v in the given base, at least `width` digits; returns the new end. */
static char *
put_digits(char *to, uint64_t v, unsigned base, unsigned width)
{
	char rev[16];
	unsigned n = 0;

	for (; v > 0 || n < width; v /= base)
		rev[n++] = digits[v % base];
	while (n > 0)
		*to++ = rev[--n];
	return to;
}

void
spool_id_new(struct spool *s, char id[SPOOL_ID_MAX])
{
	int64_t us = counter_next(s->last_id, loop_wall_us());
	unsigned long usec = (unsigned long)(us % 1000000);
	uint64_t sec = (uint64_t)(us / 1000000);
	char *p = id;

	if (!s->long_ids) {
		snprintf(id, SPOOL_ID_MAX, "%0*lX%lX", SHORT_USEC_DIGITS, usec, (unsigned long)sec);
		return;
	}
	p = put_digits(p, sec, 52, LONG_SEC_DIGITS);
	p = put_digits(p, usec, 52, LONG_USEC_DIGITS);
	*p++ = 'z';
	/* In the place of the inode: keeps the ids of two processes apart. */
	p = put_digits(p, (uint64_t)getpid(), 51, 1);
	*p = '\0';
}

static bool
long_usec(struct str id, unsigned long *ret)
{
	size_t z = str_rindex(id, 'z');
	unsigned long v = 0;

	if (z == id.n || z < LONG_SEPARATOR_MIN)
		return false;
	for (size_t i = z - LONG_USEC_DIGITS; i < z; i++) {
		const char *at = strchr(digits, id.p[i]);

		if (at == NULL || *at == '\0')
			return false;
		v = v * 52 + (unsigned long)(at - digits);
	}
	*ret = v;
	return true;
}

bool
spool_id_is_long(struct str id)
{
	unsigned long usec;

	return long_usec(id, &usec);
}

void
spool_hash_letters(const char *id, char letters[SPOOL_DEPTH_MAX + 1])
{
	static const char hex[] = "0123456789ABCDEF";
	struct str text = str_of(id);
	char usec_text[SHORT_USEC_DIGITS + 1];
	unsigned long usec;

	if (long_usec(text, &usec)) {
		/* Four digits of 52 may say more than a million, which needs one more of 16. */
		text = (struct str){usec_text, SHORT_USEC_DIGITS + (usec > 0xfffff)};
		for (size_t i = text.n; i-- > 0; usec >>= 4)
			usec_text[i] = hex[usec & 15];
	}
	for (size_t i = 0; i < SPOOL_DEPTH_MAX; i++)
		letters[i] = i < text.n ? text.p[i] : '_';
	letters[SPOOL_DEPTH_MAX] = '\0';
}
