/*
 * params.c - the table of parameters, and how a text becomes a value of a row.
 *
 * The rows of tbl/params_*.def are included twice: params.h makes the struct of typed fields of
 * them, this file the table that the parser, postconf and the manual walk. A field and its row
 * cannot drift apart.
 */
#include <errno.h>
#include <stddef.h>
#include "internal.h"

/* The underscore that lets a field begin with a digit is no part of its name. */
#define SKIP(field) (#field[0] == '_')

/* All texts of the table are one constant, and a row has places in it instead of pointers: so the
 * table is the same wherever the program lies, and no page of it is written to at a start. */
#define MEMBERS(f, d)                                                                              \
	char f##_name[sizeof(#f)];                                                                 \
	char f##_def[sizeof(d)];
#define TEXT(f, d, l, t) MEMBERS(f, d)
#define RAW(f, d, l, t) MEMBERS(f, d)
#define BOOL(f, d, l, t) MEMBERS(f, d)
#define INT(f, d, lo, hi, l, t) MEMBERS(f, d)
#define SIZE(f, d, lo, l, t) MEMBERS(f, d)
#define TIME(f, d, lo, l, t) MEMBERS(f, d)
#define ENUM(f, d, w, l, t) MEMBERS(f, d) char f##_words[sizeof(w)];
struct texts {
#include "pp/tbl/params_all.def"
};
#undef TEXT
#undef RAW
#undef BOOL
#undef INT
#undef SIZE
#undef TIME
#undef ENUM

#define TEXT(f, d, l, t) #f, d,
#define RAW(f, d, l, t) #f, d,
#define BOOL(f, d, l, t) #f, d,
#define INT(f, d, lo, hi, l, t) #f, d,
#define SIZE(f, d, lo, l, t) #f, d,
#define TIME(f, d, lo, l, t) #f, d,
#define ENUM(f, d, w, l, t) #f, d, w,
static const struct texts texts = {
#include "pp/tbl/params_all.def"
};
#undef TEXT
#undef RAW
#undef BOOL
#undef INT
#undef SIZE
#undef TIME
#undef ENUM

#define ROW(field, t, d, lo, hi, w, l)                                                             \
	{.name_at = offsetof(struct texts, field##_name) + SKIP(field),                            \
	    .name_n = sizeof(#field) - 1 - SKIP(field),                                            \
	    .type = PARAM_##t,                                                                     \
	    .level = PARAM_##l,                                                                    \
	    .def_at = offsetof(struct texts, field##_def),                                         \
	    .min = lo,                                                                             \
	    .max = hi,                                                                             \
	    .words_at = w,                                                                         \
	    .offset = offsetof(struct params, field)},
#define TEXT(f, d, l, t) ROW(f, TEXT, d, 0, 0, 0, l)
#define RAW(f, d, l, t) ROW(f, RAW, d, 0, 0, 0, l)
#define BOOL(f, d, l, t) ROW(f, BOOL, d, 0, 0, 0, l)
#define INT(f, d, lo, hi, l, t) ROW(f, INT, d, lo, hi, 0, l)
#define SIZE(f, d, lo, l, t) ROW(f, SIZE, d, lo, INT64_MAX, 0, l)
#define TIME(f, d, lo, l, t) ROW(f, TIME, d, lo, 0, 0, l)
#define ENUM(f, d, w, l, t) ROW(f, ENUM, d, 0, 0, offsetof(struct texts, f##_words), l)

static const struct param rows[] = {
#include "pp/tbl/params_all.def"
};
#undef ROW
#define ROW(field, t, d, lo, hi, w, l) sizeof(#field) - 1 - SKIP(field),
static const uint8_t lengths[] = {
#include "pp/tbl/params_all.def"
};

const char *
param_name(const struct param *p)
{
	return (const char *)&texts + p->name_at;
}

const char *
param_def(const struct param *p)
{
	return (const char *)&texts + p->def_at;
}

static const char *
words_of(const struct param *p)
{
	return (const char *)&texts + p->words_at;
}

const struct param *
param_at(unsigned i)
{
	return i < PP_COUNT(rows) ? &rows[i] : NULL;
}

unsigned
param_count(void)
{
	return PP_COUNT(rows);
}

unsigned
param_index(const struct param *p)
{
	return (unsigned)(p - rows);
}

/* The next row behind `after` (NULL: from the first) with a name of this length. To compare 850
 * names was half of what a command did before its own work. */
static const struct param *
next_of_length(const struct param *after, size_t n)
{
	size_t from = after ? param_index(after) + 1 : 0;
	const uint8_t *found =
	    n <= UINT8_MAX ? memchr(lengths + from, (int)n, PP_COUNT(rows) - from) : NULL;

	return found ? &rows[found - lengths] : NULL;
}

const struct param *
param_find(struct str name)
{
	const struct param *p = NULL;

	while ((p = next_of_length(p, name.n)) != NULL)
		if (memcmp(param_name(p), name.p, name.n) == 0)
			break;
	return p;
}

const struct param *
param_find_caseless(struct str name)
{
	const struct param *p = NULL;

	while ((p = next_of_length(p, name.n)) != NULL)
		if (str_caseeq((struct str){param_name(p), name.n}, name))
			break;
	return p;
}

static int
parse_bool(struct str text, bool *ret, struct buf *err)
{
	if (str_caseeq(text, STR("yes")))
		*ret = true;
	else if (str_caseeq(text, STR("no")))
		*ret = false;
	else {
		buf_adds(err, "must be yes or no");
		return -EINVAL;
	}
	return 0;
}

static int
parse_number(const struct param *p, struct str text, int64_t *ret, struct buf *err)
{
	const char *what = p->type == PARAM_SIZE ? "a number of bytes" : "a number";

	if (str_number(text, p->min, p->max, ret) == 0)
		return 0;
	buf_printf(err, "must be %s from %lld to %lld", what, (long long)p->min, (long long)p->max);
	return -EINVAL;
}

static int64_t
unit_ms(struct str unit)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {
	    {"ms", 1},
	    {"s", 1000},
	    {"m", 60 * 1000},
	    {"h", 3600 * 1000},
	    {"d", 86400 * 1000},
	    {"w", 7 * 86400 * 1000},
	};

	for (size_t i = 0; i < PP_COUNT(units); i++)
		if (str_caseeq(unit, str_of(units[i].name)))
			return units[i].ms;
	return 0;
}

/* Every default of a time ends in its unit, and that is the unit of numbers without one. */
static int
parse_time(const struct param *p, struct str text, int64_t *ret, struct buf *err)
{
	struct str def = str_of(param_def(p)), unit;
	int64_t n, per;
	size_t digits = 0;

	while (digits < text.n && str_isdigit(text.p[digits]))
		digits++;
	unit = str_from(text, digits);
	if (unit.n == 0)
		unit = str_from(def, def.n - 1);
	per = unit_ms(unit);
	/* The shortest time but zero is a millisecond: tests wind the clocks down to that. */
	if (per == 0 || str_number(str_head(text, digits), p->min > 0, INT32_MAX, &n) < 0) {
		buf_printf(err,
		    "must be a time%s such as 300s, 5m, 1h or 2d (up to %d; ms s m h d w)",
		    p->min > 0 ? " above 0" : "", INT32_MAX);
		return -EINVAL;
	}
	*ret = n * per;
	return 0;
}

/* Writes the words of an ENUM as "may, encrypt or empty". */
static void
list_words(const char *words, struct buf *to)
{
	struct str rest = str_of(words), word;
	bool takes_empty = rest.n == 0 || rest.p[0] == '|', is_first = true;

	buf_adds(to, "must be ");
	while (str_token(&rest, "|", &word)) {
		if (!is_first)
			buf_adds(to, rest.n || takes_empty ? ", " : " or ");
		buf_add(to, word);
		is_first = false;
	}
	if (takes_empty)
		buf_adds(to, " or empty");
}

static int
parse_word(
    const struct param *p, struct str text, struct arena *a, const char **ret, struct buf *err)
{
	struct str rest = str_of(words_of(p));

	for (;;) {
		size_t n = str_index(rest, '|');

		if (str_caseeq(str_head(rest, n), text)) {
			*ret = n == text.n && memcmp(rest.p, text.p, n) == 0
				   ? text.p
				   : arena_str(a, str_head(rest, n));
			return 0;
		}
		if (n == rest.n)
			break;
		rest = str_from(rest, n + 1);
	}
	list_words(words_of(p), err);
	return -EINVAL;
}

int
param_parse(
    const struct param *p, struct str text, struct arena *a, struct params *to, struct buf *err)
{
	void *field = (char *)to + p->offset;

	switch (p->type) {
	case PARAM_TEXT:
	case PARAM_RAW:
		*(const char **)field = text.p;
		return 0;
	case PARAM_BOOL:
		return parse_bool(text, field, err);
	case PARAM_INT:
	case PARAM_SIZE:
		return parse_number(p, text, field, err);
	case PARAM_TIME:
		return parse_time(p, text, field, err);
	case PARAM_ENUM:
		return parse_word(p, text, a, field, err);
	}
	return -EINVAL;
}

int
param_check(const struct param *p, struct str text, struct buf *err)
{
	struct params *scratch = MEM_NEW(struct params);
	struct arena a = {0};
	int rc = param_parse(p, text, &a, scratch, err);

	arena_fini(&a);
	mem_free(scratch);
	return rc;
}
