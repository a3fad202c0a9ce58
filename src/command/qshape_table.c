/*
 * qshape_table.c - counts by domain and age, and the table they are shown in.
 *
 * Layout, order and arithmetic are Postfix's, since people compare tables of both by eye and by
 * diff; among rows of equal count and length ours come by name, where the original has no order.
 */
#include <stdio.h>
#include <stdlib.h>
#include "qshape.h"

enum { DOMAIN_WIDTH_MIN = 18, NUMBER_MAX = 32 };

static struct qshape_row *
find_row(struct qshape_table *t, struct str name)
{
	struct qshape_row *r;

	HASH_FIND(hh, t->rows, name.p, name.n, r);
	if (r != NULL)
		return r;
	r = ARENA_NEW(&t->arena, struct qshape_row);
	r->name = (struct str){arena_str(&t->arena, name), name.n};
	r->count = arena_alloc(&t->arena, (t->o->buckets + 1) * sizeof(*r->count));
	HASH_ADD_KEYPTR(hh, t->rows, r->name.p, r->name.n, r);
	return r;
}

void
qshape_table_init(struct qshape_table *t, const struct qshape_options *o, int64_t now)
{
	*t = (struct qshape_table){.o = o, .now = now};
	t->total = find_row(t, STR("TOTAL"));
}

void
qshape_table_fini(struct qshape_table *t)
{
	HASH_CLEAR(hh, t->rows);
	arena_fini(&t->arena);
}

static unsigned
bucket(const struct qshape_table *t, int64_t time)
{
	double m = (double)(t->now - time) / (60 * t->o->tick), limit = 2;
	unsigned b = 2;

	if (m < 1)
		return 1;
	if (t->o->is_linear)
		return m + 1 < t->o->buckets ? (unsigned)(m + 1) : t->o->buckets;
	for (; m >= limit && b < t->o->buckets; limit *= 2)
		b++;
	return b < t->o->buckets ? b : t->o->buckets;
}

/* a.b.test -> .b.test, while that still has a dot inside. */
static bool
parent(struct str *domain, char to[QSHAPE_ADDRESS_MAX + 1])
{
	struct str s = *domain;
	size_t dot;

	if (s.n && s.p[0] == '.')
		s = str_from(s, 1);
	dot = str_index(s, '.');
	s = str_from(s, dot + 1);
	if (dot == 0 || str_index(s, '.') == s.n)
		return false;
	to[0] = '.';
	memmove(to + 1, s.p, s.n);
	*domain = (struct str){to, s.n + 1};
	return true;
}

void
qshape_count(struct qshape_table *t, int64_t time, struct str domain)
{
	unsigned b = bucket(t, time);
	char name[QSHAPE_ADDRESS_MAX + 1];
	bool is_new = false;

	t->total->count[0]++;
	t->total->count[b]++;
	do {
		struct qshape_row *r = find_row(t, domain);

		r->count[0]++;
		r->count[b]++;
		r->subdomains += is_new;
		is_new = r->count[0] == 1;
	} while (t->o->with_parents && parent(&domain, name));
}

/* Postfix's qshape takes a blank line in an address for an end of it; so does this. */
static struct str
after_at(struct str s)
{
	size_t at = str_index(s, '@');
	struct str head = str_head(s, at),
		   line = str_head(s, at + str_index(str_from(s, at), '\n'));

	if (at == s.n)
		return s;
	if (str_index(head, '\n') < head.n)
		return s;
	return str_from(s, str_rindex(line, '@') + 1);
}

struct str
qshape_domain(struct str address, char to[QSHAPE_ADDRESS_MAX])
{
	struct str s = after_at(address);
	size_t n = 0;

	if (address.n == 0)
		return STR("MAILER-DAEMON");
	if (s.n > QSHAPE_ADDRESS_MAX)
		s = str_from(s, s.n - QSHAPE_ADDRESS_MAX);
	for (size_t i = 0; i < s.n; i++) {
		to[n++] = str_lower(s.p[i]);
		if (s.p[i] == '.' && i + 1 < s.n && s.p[i + 1] == '.')
			i++;
	}
	s = (struct str){to, n};
	if (s.n > 1 && s.p[0] == '.')
		s = str_from(s, 1);
	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	return s;
}

unsigned
qshape_count_all(struct qshape_table *t, struct str messages)
{
	unsigned n = 0;

	while (messages.n > 0) {
		int64_t time;
		uint32_t addresses, length;

		memcpy(&time, messages.p, sizeof(time));
		memcpy(&addresses, messages.p + sizeof(time), sizeof(addresses));
		messages = str_from(messages, sizeof(time) + sizeof(addresses));
		for (; addresses > 0; addresses--) {
			memcpy(&length, messages.p, sizeof(length));
			messages = str_from(messages, sizeof(length));
			qshape_count(t, time, str_head(messages, length));
			messages = str_from(messages, length);
		}
		n++;
	}
	return n;
}

static int
by_count(const void *x, const void *y)
{
	const struct qshape_row *a = *(struct qshape_row *const *)x,
				*b = *(struct qshape_row *const *)y;

	if (a->count[0] != b->count[0])
		return a->count[0] > b->count[0] ? -1 : 1;
	if (a->name.n != b->name.n)
		return a->name.n < b->name.n ? -1 : 1;
	return memcmp(a->name.p, b->name.p, a->name.n);
}

/* The age a column ends at: whole numbers as they are, others with 15 digits. */
static void
put_age(char to[NUMBER_MAX], double age)
{
	if (age < 18446744073709551615.0 && age == (double)(uint64_t)age)
		snprintf(to, NUMBER_MAX, "%llu", (unsigned long long)age);
	else
		snprintf(to, NUMBER_MAX, "%.15g", age);
}

struct layout {
	char head[QSHAPE_BUCKETS_MAX + 1][NUMBER_MAX];
	int column[QSHAPE_BUCKETS_MAX + 1];
	size_t domain;
};

static void
put_name(struct buf *to, struct str name, size_t width)
{
	if (name.n <= width) {
		buf_printf(to, "%*s", (int)(width - name.n), "");
	} else {
		const char *cut = name.p[0] == '.' ? ".+" : "+";

		buf_adds(to, cut);
		name = str_from(name, name.n - width + strlen(cut));
	}
	buf_add(to, name);
}

static void
lay_out(const struct qshape_table *t, struct layout *l)
{
	const struct qshape_options *o = t->o;
	int width = (int)o->width;
	double age = 0;

	for (unsigned i = 0; i <= o->buckets; i++) {
		char number[NUMBER_MAX];
		size_t n =
		    (size_t)snprintf(number, sizeof(number), "%lld", (long long)t->total->count[i]);

		put_age(l->head[i], age);
		if (i == 0)
			snprintf(l->head[i], NUMBER_MAX, "T");
		else if (i == o->buckets)
			snprintf(
			    l->head[i] + strlen(l->head[i]), NUMBER_MAX - strlen(l->head[i]), "+");
		if (strlen(l->head[i]) >= n)
			n = strlen(l->head[i]);
		l->column[i] = n > 2 ? (int)n + 1 : 3;
		width -= l->column[i];
		if (i + 1 < o->buckets)
			age += age > 0 && !o->is_linear ? age : o->tick;
	}
	l->domain = width < DOMAIN_WIDTH_MIN ? DOMAIN_WIDTH_MIN : (size_t)width;
}

void
qshape_print(struct qshape_table *t, struct buf *to)
{
	size_t n = HASH_COUNT(t->rows), shown = 0;
	struct qshape_row **rows = mem_alloc(n * sizeof(*rows)), *r = t->rows;
	struct layout *l = MEM_NEW(struct layout);

	lay_out(t, l);
	put_name(to, STR(""), l->domain);
	for (unsigned i = 0; i <= t->o->buckets; i++)
		buf_printf(to, "%*s", l->column[i], l->head[i]);
	buf_addc(to, '\n');
	for (size_t i = 0; i < n; i++, r = r->hh.next)
		rows[i] = r;
	qsort(rows, n, sizeof(struct qshape_row *), by_count);
	for (size_t k = 0; k < n; k++) {
		r = rows[k];
		if (r->name.n && r->name.p[0] == '.' && r->subdomains < t->o->min_subdomains)
			continue;
		if (t->o->top > 0 && ++shown > t->o->top)
			break;
		put_name(to, r->name, l->domain);
		for (unsigned i = 0; i <= t->o->buckets; i++)
			buf_printf(to, "%*lld", l->column[i], (long long)r->count[i]);
		buf_addc(to, '\n');
	}
	mem_free(rows);
	mem_free(l);
}
