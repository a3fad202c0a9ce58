/*
 * expand.c - the macro language of main.cf: $name, ${name?text}, ${{a} == {b} ? {c} : {d}}.
 *
 * A recursive descent over views: text is looked at where it lies and results are appended to the
 * caller's buffer, whose maximum bounds the result. Names under expansion form a chain on the
 * stack, which finds loops and lets the message show them; a budget of steps bounds values that
 * double at every level without ever producing a byte.
 */
#include <errno.h>
#include "pp/base/assert.h"
#include "pp/config/expand.h"

enum { STEPS_MAX = 100000, QUOTED_MAX = 60 };

/* Text in a message, cut so that the message always has room. */
#define QUOTE(s) STR_FMT(str_head((s), QUOTED_MAX))

struct frame {
	struct str name;
	const struct frame *up;
};

struct state {
	const struct expand_env *env;
	struct buf *err;
	int steps;
	/* expand_names: the visitor; then nothing is looked up and every branch is walked. */
	void (*each)(void *arg, struct str name);
	void *arg;
};

static int run(struct state *s, struct str text, const struct frame *up, int depth, struct buf *to);

static int PP_PRINTF(3, 4) fail(struct state *s, int rc, const char *fmt, ...)
{
	va_list ap;

	if (s->err) {
		va_start(ap, fmt);
		buf_vprintf(s->err, fmt, ap);
		va_end(ap);
	}
	return rc;
}

static bool
is_name_char(char c)
{
	return str_isalnum(c) || c == '_';
}

static struct str
skip_space(struct str s)
{
	while (s.n && str_isspace(s.p[0]))
		s = str_from(s, 1);
	return s;
}

/* text begins with `open`; the payload is what stands before the bracket that closes it. */
static bool
cut_brackets(struct str *text, struct str *ret_payload)
{
	char open = text->p[0], close = open == '(' ? ')' : '}';
	int level = 0;

	for (size_t i = 0; i < text->n; i++) {
		if (text->p[i] == open)
			level++;
		if (text->p[i] != close || --level > 0)
			continue;
		*ret_payload = (struct str){text->p + 1, i - 1};
		*text = str_from(*text, i + 1);
		return true;
	}
	return false;
}

static int
fail_loop(struct state *s, struct str name, const struct frame *up)
{
	struct str chain[EXPAND_DEPTH_MAX + 1];
	unsigned n = 0;

	for (const struct frame *f = up; f && n < PP_COUNT(chain); f = f->up) {
		chain[n++] = f->name;
		if (str_eq(f->name, name))
			break;
	}
	fail(s, 0, "parameters refer to each other in a circle: ");
	while (n-- > 0)
		fail(s, 0, "$%.*s -> ", QUOTE(chain[n]));
	return fail(s, -ELOOP, "$%.*s", QUOTE(name));
}

/* Appends the value of a name, itself expanded. */
static int
expand_value(struct state *s, struct str name, const char *value, const struct frame *up, int depth,
    struct buf *to)
{
	struct frame frame = {name, up};

	if (value == NULL)
		return 0;
	if (s->env->is_final)
		return buf_adds(to, value) < 0 ? fail(s, -ENOBUFS, "the expanded text is too long")
					       : 0;
	for (const struct frame *f = up; f; f = f->up)
		if (str_eq(f->name, name))
			return fail_loop(s, name, up);
	return run(s, str_of(value), &frame, depth + 1, to);
}

/* The text of one branch: `{text}`, or without braces everything up to the end as it stands. */
static bool
cut_branch(struct str *rest, struct str *ret)
{
	struct str t = skip_space(*rest);

	if (t.n && t.p[0] == '{') {
		*rest = t;
		if (!cut_brackets(rest, ret))
			return false;
		*rest = skip_space(*rest);
		return true;
	}
	*ret = *rest;
	*rest = str_from(*rest, rest->n);
	return true;
}

/* What follows the condition: "? a : b", ": b" or nothing. */
static int
run_branches(struct state *s, struct str rest, bool is_true, const struct frame *up, int depth,
    struct buf *to)
{
	struct str yes = {"", 0}, no = {"", 0};
	char op = rest.p[0];
	int rc;

	rest = str_from(rest, 1);
	if (!cut_branch(&rest, op == '?' ? &yes : &no))
		return fail(s, -EINVAL, "a { without its }");
	if (op == '?' && rest.n) {
		if (rest.p[0] != ':')
			return fail(s, -EINVAL, "\":\" expected before \"%.*s\"", QUOTE(rest));
		rest = str_from(rest, 1);
		if (!cut_branch(&rest, &no))
			return fail(s, -EINVAL, "a { without its }");
	}
	if (rest.n)
		return fail(s, -EINVAL, "unexpected text \"%.*s\"", QUOTE(rest));
	if (s->each) {
		rc = run(s, yes, up, depth + 1, to);
		return rc < 0 ? rc : run(s, no, up, depth + 1, to);
	}
	return run(s, is_true ? yes : no, up, depth + 1, to);
}

enum relation { EQ, NE, LT, LE, GT, GE };

static bool
holds(enum relation r, int order)
{
	switch (r) {
	case EQ:
		return order == 0;
	case NE:
		return order != 0;
	case LT:
		return order < 0;
	case LE:
		return order <= 0;
	case GT:
		return order > 0;
	case GE:
		return order >= 0;
	}
	return false;
}

static bool
cut_relation(struct str *rest, enum relation *ret, bool *ret_level)
{
	static const struct {
		const char *word;
		enum relation r;
		bool is_level;
	} words[] = {
	    {"<=level", LE, true},
	    {">=level", GE, true},
	    {"==level", EQ, true},
	    {"!=level", NE, true},
	    {"<level", LT, true},
	    {">level", GT, true},
	    {"==", EQ, false},
	    {"!=", NE, false},
	    {"<=", LE, false},
	    {">=", GE, false},
	    {"<", LT, false},
	    {">", GT, false},
	};

	for (size_t i = 0; i < PP_COUNT(words); i++) {
		struct str word = str_of(words[i].word);

		if (!str_starts(*rest, word))
			continue;
		*ret = words[i].r;
		*ret_level = words[i].is_level;
		*rest = str_from(*rest, word.n);
		return true;
	}
	return false;
}

static bool
parse_signed(struct str s, int64_t *ret)
{
	bool is_negative = s.n > 0 && s.p[0] == '-';

	if (is_negative || (s.n > 0 && s.p[0] == '+'))
		s = str_from(s, 1);
	if (str_number(s, 0, INT64_MAX, ret) < 0)
		return false;
	if (is_negative)
		*ret = -*ret;
	return true;
}

static int
compare_text(struct str a, struct str b)
{
	int64_t x, y;
	int c;

	if (parse_signed(a, &x) && parse_signed(b, &y))
		return x < y ? -1 : x > y;
	c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return c != 0 ? c : a.n < b.n ? -1 : a.n > b.n;
}

/* "3", "3.6", "3.6.1" as three numbers. */
static bool
parse_level(struct str s, int64_t level[3])
{
	struct str part;
	int n = 0;

	level[0] = level[1] = level[2] = 0;
	s = str_trim(s);
	do {
		size_t dot = str_index(s, '.');

		part = str_head(s, dot);
		s = dot < s.n ? str_from(s, dot + 1) : (struct str){NULL, 0};
		if (n == 3 || str_number(part, 0, INT32_MAX, &level[n]) < 0)
			return false;
		n++;
	} while (s.p);
	return true;
}

int
expand_level_compare(struct str a, struct str b)
{
	int64_t x[3], y[3];

	if (!parse_level(a, x))
		x[0] = x[1] = x[2] = 0;
	if (!parse_level(b, y))
		y[0] = y[1] = y[2] = 0;
	for (int i = 0; i < 3; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

static int
compare(struct state *s, struct str a, struct str b, bool is_level, int *ret_order)
{
	int64_t level[3];

	if (!is_level) {
		*ret_order = compare_text(a, b);
		return 0;
	}
	if (!parse_level(a, level) || !parse_level(b, level))
		return fail(s, -EINVAL, "bad compatibility level \"%.*s\"",
		    QUOTE(parse_level(a, level) ? b : a));
	*ret_order = expand_level_compare(a, b);
	return 0;
}

/* {left} op {right}, then the branches; without them the answer is the text "true" or nothing. */
static int
run_comparison(struct state *s, struct str rest, const struct frame *up, int depth, struct buf *to)
{
	struct str left, right = {"", 0};
	enum relation relation = EQ;
	struct buf a, b;
	bool is_level;
	int rc, order = 0;

	if (!cut_brackets(&rest, &left))
		return fail(s, -EINVAL, "a { without its }");
	rest = skip_space(rest);
	if (!cut_relation(&rest, &relation, &is_level))
		return fail(
		    s, -EINVAL, "one of == != < <= > >= expected before \"%.*s\"", QUOTE(rest));
	rest = skip_space(rest);
	if (rest.n == 0 || rest.p[0] != '{' || !cut_brackets(&rest, &right))
		return fail(s, -EINVAL, "\"{text}\" expected before \"%.*s\"", QUOTE(rest));
	rest = skip_space(rest);
	if (rest.n && rest.p[0] != '?' && rest.p[0] != ':')
		return fail(s, -EINVAL, "\"?\" or \":\" expected before \"%.*s\"", QUOTE(rest));

	buf_init(&a, to->max);
	buf_init(&b, to->max);
	rc = run(s, left, up, depth + 1, &a);
	if (rc == 0)
		rc = run(s, right, up, depth + 1, &b);
	if (rc == 0 && !s->each)
		rc = compare(s, buf_str(&a), buf_str(&b), is_level, &order);
	buf_fini(&a);
	buf_fini(&b);
	if (rc < 0)
		return rc;
	if (rest.n)
		return run_branches(s, rest, holds(relation, order), up, depth, to);
	if (holds(relation, order) && buf_adds(to, "true") < 0)
		return fail(s, -ENOBUFS, "the expanded text is too long");
	return 0;
}

/* What stands between the brackets of ${...} or $(...). */
static int
run_payload(struct state *s, struct str payload, const struct frame *up, int depth, struct buf *to)
{
	struct str rest = skip_space(payload), name;
	const char *value;
	size_t n = 0;

	if (rest.n && rest.p[0] == '{')
		return run_comparison(s, rest, up, depth, to);
	while (n < rest.n && is_name_char(rest.p[n]))
		n++;
	name = str_head(rest, n);
	rest = skip_space(str_from(rest, n));
	if (name.n == 0)
		return fail(s, -EINVAL, "${%.*s} has no name", QUOTE(payload));
	if (rest.n && rest.p[0] != '?' && rest.p[0] != ':')
		return fail(s, -EINVAL, "\"?\" or \":\" expected before \"%.*s\"", QUOTE(rest));
	if (s->each)
		s->each(s->arg, name);
	value = s->each ? NULL : s->env->lookup(s->env->arg, name);
	if (rest.n)
		return run_branches(s, rest, value && *value, up, depth, to);
	return expand_value(s, name, value, up, depth, to);
}

/* text begins with the $; takes the macro off it. */
static int
run_macro(struct state *s, struct str *text, const struct frame *up, int depth, struct buf *to)
{
	struct str rest = str_from(*text, 1), payload, name;
	size_t n = 0;

	if (rest.n && (rest.p[0] == '{' || rest.p[0] == '(')) {
		if (!cut_brackets(&rest, &payload))
			return fail(s, -EINVAL, "\"%.*s\" is not closed", QUOTE(*text));
		*text = rest;
		return run_payload(s, payload, up, depth, to);
	}
	while (n < rest.n && is_name_char(rest.p[n]))
		n++;
	if (n == 0)
		return fail(s, -EINVAL, "a $ without a name (write $$ for a $)");
	name = str_head(rest, n);
	*text = str_from(rest, n);
	if (s->each) {
		s->each(s->arg, name);
		return 0;
	}
	return expand_value(s, name, s->env->lookup(s->env->arg, name), up, depth, to);
}

static int
run(struct state *s, struct str text, const struct frame *up, int depth, struct buf *to)
{
	if (depth > EXPAND_DEPTH_MAX)
		return fail(s, -ELOOP, "macros are nested too deep");
	while (text.n) {
		size_t plain = str_index(text, '$');
		int rc;

		if (++s->steps > STEPS_MAX)
			return fail(s, -ENOBUFS, "the expansion takes too many steps");
		if (buf_add(to, str_head(text, plain)) < 0)
			return fail(s, -ENOBUFS, "the expanded text is too long");
		text = str_from(text, plain);
		if (text.n >= 2 && text.p[1] == '$') {
			text = str_from(text, 2);
			if (buf_addc(to, '$') < 0)
				return fail(s, -ENOBUFS, "the expanded text is too long");
		} else if (text.n) {
			rc = run_macro(s, &text, up, depth, to);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int
expand(struct str text, const struct expand_env *env, struct buf *to, struct buf *err)
{
	struct state s = {.env = env, .err = err};

	return run(&s, text, NULL, 0, to);
}

void
expand_names(struct str text, void (*each)(void *arg, struct str name), void *arg)
{
	struct state s = {.each = each, .arg = arg};
	struct buf sink;

	buf_init(&sink, text.n + 16);
	run(&s, text, NULL, 0, &sink);
	buf_fini(&sink);
}
