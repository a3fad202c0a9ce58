/*
 * str.h - a view of bytes, passed by value. No NUL is implied, none is forbidden.
 * THREAD any.  OWNS nothing: the bytes belong to whoever made them.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_FMT(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct str
str_of(const char *s)
{
	return (struct str){s, s ? strlen(s) : 0};
}

/* The part from byte `from` on, and the first `n` bytes; both are clipped to the view. */
static inline struct str
str_from(struct str s, size_t from)
{
	if (from > s.n)
		from = s.n;
	return (struct str){s.p + from, s.n - from};
}

static inline struct str
str_head(struct str s, size_t n)
{
	return (struct str){s.p, n < s.n ? n : s.n};
}

bool str_eq(struct str a, struct str b);
/* ASCII case is folded; no locale. */
bool str_caseeq(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_casestarts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Index of the first / last `c`, or s.n when there is none. */
size_t str_index(struct str s, char c);
size_t str_rindex(struct str s, char c);
/* Without blanks, tabs, CR and LF at both ends. */
struct str str_trim(struct str s);
/* Cuts the next token off *rest: bytes up to any of `seps`, runs of separators count as one.
 * False when nothing is left. */
bool str_token(struct str *rest, const char *seps, struct str *ret_token);

/* ASCII classes that take any byte value. */
static inline bool
str_isdigit(char c)
{
	return c >= '0' && c <= '9';
}
static inline bool
str_isalpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool
str_isalnum(char c)
{
	return str_isdigit(c) || str_isalpha(c);
}
static inline bool
str_isspace(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
static inline char
str_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* The one checked parser of decimal numbers: digits only, no sign, no blanks, at most 18 digits.
 * 0, or -EINVAL / -ERANGE (outside min..max). */
int str_number(struct str s, int64_t min, int64_t max, int64_t *ret);
