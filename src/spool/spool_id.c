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
	SEC_DIGITS_MAX = 9, /* of either kind */
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

static const char hex[] = "0123456789ABCDEF";

static bool
number_of(struct str s, const char *of, uint64_t *ret)
{
	size_t base = strlen(of);
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++) {
		const char *at = memchr(of, s.p[i], base);

		if (at == NULL)
			return false;
		v = v * base + (uint64_t)(at - of);
	}
	*ret = v;
	return true;
}

static bool
long_usec(struct str id, uint64_t *ret)
{
	size_t z = str_rindex(id, 'z');

	return z < id.n && z >= LONG_SEPARATOR_MIN &&
	       number_of(
		   str_head(str_from(id, z - LONG_USEC_DIGITS), LONG_USEC_DIGITS), digits, ret);
}

/* Microseconds, or -1: it is of another make. */
static int64_t
time_of(struct str id)
{
	uint64_t sec, usec;
	struct str seconds;
	const char *of = digits;

	if (long_usec(id, &usec)) {
		seconds = str_head(id, str_rindex(id, 'z') - LONG_USEC_DIGITS);
	} else {
		seconds = str_from(id, SHORT_USEC_DIGITS);
		of = hex;
		if (!number_of(str_head(id, SHORT_USEC_DIGITS), hex, &usec))
			return -1;
	}
	if (seconds.n < LONG_SEC_DIGITS || seconds.n > SEC_DIGITS_MAX ||
	    !number_of(seconds, of, &sec))
		return -1;
	return (int64_t)(sec * 1000000 + usec);
}

void
spool_id_seen(const struct spool *s, const char *id)
{
	int64_t us = time_of(str_of(id));

	if (us >= 0)
		counter_next(s->last_id, us + 1);
}

bool
spool_id_is_long(struct str id)
{
	uint64_t usec;

	return long_usec(id, &usec);
}

void
spool_hash_letters(const char *id, char letters[SPOOL_DEPTH_MAX + 1])
{
	struct str text = str_of(id);
	char usec_text[SHORT_USEC_DIGITS + 1];
	uint64_t usec;

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
