/*
 * map_regexp.c - regexp: and pcre: patterns, the first that matches wins.
 *
 * The rules are a list in the order of the file, as those of cidr: `if` jumps. Both engines share
 * everything but compiling and matching. A rule that cannot be compiled makes the whole table
 * unusable, with file and line: a filter that has lost a rule without a word is worse than mail
 * that waits. Only what runs into the limits of an engine at a look-up counts as no match.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <regex.h>
#include <stdio.h>
#include "internal.h"
#include "pp/config/lines.h"

enum { IF_DEPTH_MAX = 32, GROUPS_MAX = 100, ERROR_TEXT = 200 };

struct pattern_rule {
	struct pattern_rule *next;
	struct pattern_rule *end; /* an if: where to go on when it does not hold */
	bool is_if, is_negated, is_endif;
	regex_t posix;
	pcre2_code *perl;
	size_t groups;
	const char *value;
};

/* Where the groups of a match stand in the key; -1 = it has no part in it. */
struct span {
	ptrdiff_t from, to;
};

struct engine {
	const char *flags;
	/* 0, or -EINVAL and a text. */
	int (*compile)(struct pattern_rule *r, const char *pattern, unsigned flags, char *why);
	bool (*match)(const struct pattern_rule *r, struct str key, struct span *groups);
	void (*drop)(struct pattern_rule *r);
};

struct loading {
	struct table *t;
	const struct engine *engine;
	struct pattern_rule **last;
	struct pattern_rule *open[IF_DEPTH_MAX];
	int depth, line;
	struct buf *err;
};

static int
bad(struct loading *l, const char *what)
{
	buf_clear(l->err);
	buf_printf(l->err, "%s, line %d: %s", l->t->arg, l->line, what);
	return -EINVAL;
}

/* Letters toggle a flag each: i and x are on to begin with, as is s of Perl's. */
static int
posix_compile(struct pattern_rule *r, const char *pattern, unsigned flags, char *why)
{
	int rc = regcomp(&r->posix, pattern,
	    (flags & 1 ? 0 : REG_ICASE) | (flags & 2 ? 0 : REG_EXTENDED) |
		(flags & 4 ? REG_NEWLINE : 0));

	if (rc != 0) {
		regerror(rc, &r->posix, why, ERROR_TEXT);
		return -EINVAL;
	}
	r->groups = r->posix.re_nsub;
	return 0;
}

static bool
posix_match(const struct pattern_rule *r, struct str key, struct span *groups)
{
	regmatch_t m[GROUPS_MAX] = {{.rm_so = 0, .rm_eo = (regoff_t)key.n}};

	if (regexec(&r->posix, key.p, r->groups + 1, m, REG_STARTEND) != 0)
		return false;
	for (size_t i = 0; i <= r->groups; i++)
		groups[i] = (struct span){m[i].rm_so, m[i].rm_eo};
	return true;
}

static void
posix_drop(struct pattern_rule *r)
{
	regfree(&r->posix);
}

static int
perl_compile(struct pattern_rule *r, const char *pattern, unsigned flags, char *why)
{
	static const uint32_t toggled[] = {PCRE2_CASELESS, PCRE2_MULTILINE, PCRE2_DOTALL,
	    PCRE2_EXTENDED, PCRE2_ANCHORED, PCRE2_DOLLAR_ENDONLY, PCRE2_UNGREEDY, 0};
	uint32_t options = PCRE2_CASELESS | PCRE2_DOTALL, count = 0;
	PCRE2_SIZE at;
	int error;

	for (size_t i = 0; i < PP_COUNT(toggled); i++)
		if (flags & 1u << i)
			options ^= toggled[i];
	r->perl =
	    pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &error, &at, NULL);
	if (r->perl == NULL) {
		pcre2_get_error_message(error, (PCRE2_UCHAR *)why, ERROR_TEXT);
		return -EINVAL;
	}
	pcre2_pattern_info(r->perl, PCRE2_INFO_CAPTURECOUNT, &count);
	r->groups = count;
	return 0;
}

static bool
perl_match(const struct pattern_rule *r, struct str key, struct span *groups)
{
	pcre2_match_data *m = pcre2_match_data_create_from_pattern(r->perl, NULL);
	const PCRE2_SIZE *at;
	int n;

	if (m == NULL)
		return false;
	n = pcre2_match(r->perl, (PCRE2_SPTR)key.p, key.n, 0, 0, m, NULL);
	at = pcre2_get_ovector_pointer(m);
	for (size_t i = 0; n > 0 && i <= r->groups; i++)
		groups[i] = i < (size_t)n && at[2 * i] != PCRE2_UNSET
				? (struct span){(ptrdiff_t)at[2 * i], (ptrdiff_t)at[2 * i + 1]}
				: (struct span){-1, -1};
	pcre2_match_data_free(m);
	return n > 0;
}

static void
perl_drop(struct pattern_rule *r)
{
	pcre2_code_free(r->perl);
}

static const struct engine posix = {"ixm", posix_compile, posix_match, posix_drop},
			   perl = {"imsxAEUX", perl_compile, perl_match, perl_drop};

static bool
is_name(struct str s)
{
	return s.n && (str_isalnum(s.p[0]) || s.p[0] == '_');
}

/* Calls for each $1 ${1} $(1) of a result; text between them goes to `to`, which may be NULL.
 * -EINVAL: that is none of them. */
static int
substitute(struct str s, int (*group)(void *ctx, int64_t n), void *ctx, struct buf *to)
{
	while (s.n > 0) {
		size_t dollar = str_index(s, '$'), n = 0;
		struct str ref = str_from(s, dollar + 1);
		char close;
		int64_t number;

		if (to)
			buf_add(to, str_head(s, dollar));
		if (dollar == s.n)
			return 0;
		if (ref.n && ref.p[0] == '$') {
			if (to)
				buf_addc(to, '$');
			s = str_from(ref, 1);
			continue;
		}
		close = ref.n && ref.p[0] == '{' ? '}' : ref.n && ref.p[0] == '(' ? ')' : '\0';
		ref = str_from(ref, close != '\0');
		while (n < ref.n && str_isdigit(ref.p[n]))
			n++;
		if (str_number(str_head(ref, n), 1, GROUPS_MAX, &number) < 0 ||
		    (close ? n == ref.n || ref.p[n] != close : is_name(str_from(ref, n))) ||
		    group(ctx, number) < 0)
			return -EINVAL;
		s = str_from(ref, n + (close != '\0'));
	}
	return 0;
}

static int
check_group(void *ctx, int64_t n)
{
	const struct pattern_rule *r = ctx;

	return !r->is_negated && (size_t)n <= r->groups ? 0 : -EINVAL;
}

static struct pattern_rule *
append(struct loading *l)
{
	struct pattern_rule *r = ARENA_NEW(&l->t->arena, struct pattern_rule);

	*l->last = r;
	l->last = &r->next;
	return r;
}

static int
add_endif(struct loading *l)
{
	struct pattern_rule *r;

	if (l->depth == 0)
		return bad(l, "endif without its if");
	r = append(l);
	r->is_endif = true;
	l->open[--l->depth]->end = r;
	return 0;
}

/* The pattern between its delimiters; a backslash goes away only before a delimiter. */
static int
cut_pattern(struct str *s, struct arena *a, char **ret)
{
	char delimiter = s->p[0], *to = arena_alloc(a, s->n + 1);
	size_t i = 1, n = 0;

	for (; i < s->n && s->p[i] != delimiter; i++) {
		if (s->p[i] == '\\' && i + 1 < s->n) {
			if (s->p[i + 1] != delimiter)
				to[n++] = '\\';
			i++;
		}
		to[n++] = s->p[i];
	}
	if (i >= s->n || memchr(to, '\0', n))
		return -EINVAL;
	*s = str_from(*s, i + 1);
	*ret = to;
	return 0;
}

static int
cut_flags(struct loading *l, struct str *s, unsigned *ret)
{
	unsigned flags = 0;

	for (; s->n && !str_isspace(s->p[0]); *s = str_from(*s, 1)) {
		const char *f = s->p[0] ? strchr(l->engine->flags, s->p[0]) : NULL;
		char text[40];

		if (f == NULL) {
			snprintf(text, sizeof(text), "unknown flag \"%.1s\"", s->p);
			return bad(l, text);
		}
		flags ^= 1u << (f - l->engine->flags);
	}
	*ret = flags;
	return 0;
}

/* [!]/pattern/flags, up to the result. */
static int
add_pattern(struct loading *l, struct str *s, bool is_if)
{
	struct pattern_rule *r, probe = {.is_if = is_if};
	char why[ERROR_TEXT] = "", *pattern = NULL;
	unsigned flags = 0;
	int rc;

	for (; s->n && (s->p[0] == '!' || str_isspace(s->p[0])); *s = str_from(*s, 1))
		probe.is_negated ^= s->p[0] == '!';
	if (s->n == 0 || str_isalnum(s->p[0]) || s->p[0] == '\\')
		return bad(
		    l, "a pattern between two equal characters, such as /pattern/, is expected");
	if (cut_pattern(s, &l->t->arena, &pattern) < 0)
		return bad(l, "the pattern has no end");
	rc = cut_flags(l, s, &flags);
	if (rc < 0)
		return rc;
	if (l->engine->compile(&probe, pattern, flags, why) < 0)
		return bad(l, why);
	if (probe.groups >= GROUPS_MAX) {
		l->engine->drop(&probe);
		return bad(l, "too many groups");
	}
	r = append(l);
	probe.next = r->next;
	*r = probe;
	*s = str_trim(*s);
	if (!is_if) {
		r->value = arena_str(&l->t->arena, *s);
		if (s->n == 0)
			return bad(l, "a pattern without a result");
		if (substitute(*s, check_group, r, NULL) < 0)
			return bad(l, r->is_negated ? "$ in the result of a negated pattern"
						    : "$ without the number of a group");
		return 0;
	}
	if (s->n > 0)
		return bad(l, "text behind the pattern of an if");
	if (l->depth == IF_DEPTH_MAX)
		return bad(l, "too many nested if");
	l->open[l->depth++] = r;
	return 0;
}

static bool
is_word(struct str s, struct str word)
{
	return str_casestarts(s, word) && (s.n == word.n || !str_isalnum(s.p[word.n]));
}

static int
load(struct table *t, struct str text, const struct engine *engine, struct buf *err)
{
	struct loading l = {.t = t, .engine = engine, .last = &t->patterns, .err = err};
	struct buf logical;
	int count = 0, rc = 0;

	buf_init(&logical, MAP_VALUE_MAX);
	while (rc == 0 && (rc = lines_next(&text, &count, &l.line, &logical)) != 0) {
		struct str s = str_trim(buf_str(&logical));
		bool is_if = is_word(s, STR("if"));

		if (rc < 0)
			rc = bad(&l, "the line is too long");
		else if (str_isspace(buf_cstr(&logical)[0]))
			rc = bad(&l, "the first line begins with a blank");
		else if (is_word(s, STR("endif")))
			rc = add_endif(&l);
		else {
			s = str_from(s, is_if ? 2 : 0);
			rc = add_pattern(&l, &s, is_if);
		}
	}
	buf_fini(&logical);
	if (rc == 0 && l.depth > 0)
		rc = bad(&l, "an if without its endif");
	return rc;
}

struct result {
	struct buf *to;
	struct str key;
	const struct span *groups;
};

static int
put_group(void *ctx, int64_t n)
{
	struct result *r = ctx;
	const struct span *g = &r->groups[n];

	return g->from < 0
		   ? 0
		   : buf_add(r->to, (struct str){r->key.p + g->from, (size_t)(g->to - g->from)});
}

static int
find(struct table *t, struct str key, const struct engine *engine, struct buf *value)
{
	struct span groups[GROUPS_MAX];
	struct result result = {value, key, groups};

	for (const struct pattern_rule *r = t->patterns; r; r = r->next) {
		bool is_hit = !r->is_endif && engine->match(r, key, groups) != r->is_negated;

		if (r->is_if && !is_hit)
			r = r->end;
		else if (is_hit && !r->is_if)
			return substitute(str_of(r->value), put_group, &result, value) < 0 ||
				       buf_overflowed(value)
				   ? -ENOBUFS
				   : 1;
	}
	return 0;
}

static void
clear(struct table *t, const struct engine *engine)
{
	for (struct pattern_rule *r = t->patterns; r; r = r->next)
		if (!r->is_endif)
			engine->drop(r);
	t->patterns = NULL;
}

static int
posix_load(struct table *t, struct str text, struct buf *err)
{
	return load(t, text, &posix, err);
}

static int
posix_find(struct table *t, struct str key, struct buf *value)
{
	return find(t, key, &posix, value);
}

static void
posix_clear(struct table *t)
{
	clear(t, &posix);
}

static int
perl_load(struct table *t, struct str text, struct buf *err)
{
	return load(t, text, &perl, err);
}

static int
perl_find(struct table *t, struct str key, struct buf *value)
{
	return find(t, key, &perl, value);
}

static void
perl_clear(struct table *t)
{
	clear(t, &perl);
}

const struct table_type map_type_regexp = {.name = "regexp",
    .is_pattern = true,
    .is_file = true,
    .load = posix_load,
    .find = posix_find,
    .clear = posix_clear};
const struct table_type map_type_pcre = {.name = "pcre",
    .is_pattern = true,
    .is_file = true,
    .load = perl_load,
    .find = perl_find,
    .clear = perl_clear};
