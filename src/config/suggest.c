/*
 * suggest.c - "did you mean": the known name nearest to an unknown one.
 *
 * People remember the words of a name better than their order, their prefix or their spelling, so
 * names are compared word by word, where near spellings and words of the same meaning count almost
 * as much as equal ones; a whole name that is one or two letters off wins over that.
 */
#include "internal.h"

enum { WORDS_MAX = 12, NAME_MAX_HERE = 80 };

static const char *const same[][2] = {
    {"retry", "backoff"},
    {"interval", "time"},
    {"interval", "delay"},
    {"timeout", "time"},
    {"max", "maximal"},
    {"min", "minimal"},
    {"maximum", "maximal"},
    {"minimum", "minimal"},
    {"host", "hostname"},
    {"password", "sasl"},
    {"ssl", "tls"},
    {"spool", "queue"},
    {"dir", "directory"},
    {"path", "directory"},
    {"map", "maps"},
    {"network", "networks"},
    {"connections", "connection"},
    {"recipients", "recipient"},
    {"rcpt", "recipient"},
    {"from", "sender"},
    {"size", "limit"},
    {"max", "limit"},
};

static unsigned
distance(struct str a, struct str b)
{
	unsigned row[NAME_MAX_HERE + 1];

	if (a.n > NAME_MAX_HERE || b.n > NAME_MAX_HERE)
		return NAME_MAX_HERE;
	for (unsigned j = 0; j <= b.n; j++)
		row[j] = j;
	for (unsigned i = 0; i < a.n; i++) {
		unsigned diagonal = row[0];

		row[0] = i + 1;
		for (unsigned j = 0; j < b.n; j++) {
			unsigned change = diagonal + (a.p[i] != b.p[j]);
			unsigned best = row[j] < row[j + 1] ? row[j] + 1 : row[j + 1] + 1;

			diagonal = row[j + 1];
			row[j + 1] = change < best ? change : best;
		}
	}
	return row[b.n];
}

static unsigned
split(struct str name, struct str words[WORDS_MAX])
{
	unsigned n = 0;

	while (n < WORDS_MAX && str_token(&name, "_-.", &words[n]))
		n++;
	return n;
}

/* How alike two words are, of 100. */
static unsigned
word_score(struct str a, struct str b)
{
	unsigned off;

	if (str_eq(a, b))
		return 100;
	for (size_t i = 0; i < PP_COUNT(same); i++)
		if ((str_eq(a, str_of(same[i][0])) && str_eq(b, str_of(same[i][1]))) ||
		    (str_eq(b, str_of(same[i][0])) && str_eq(a, str_of(same[i][1]))))
			return 80;
	if (a.n < 4 || b.n < 4 || a.n > b.n + 2 || b.n > a.n + 2)
		return 0;
	off = distance(a, b);
	return off == 1 ? 80 : off == 2 && a.n >= 6 && b.n >= 6 ? 60 : 0;
}

/* How alike two names are, of a million; 0 when they are not as good as `least`. */
static unsigned
name_score(struct str a, struct str b, unsigned least)
{
	struct str x[WORDS_MAX], y[WORDS_MAX];
	unsigned nx = split(a, x), ny = split(b, y), sum = 0, off;
	bool taken[WORDS_MAX] = {false};

	for (unsigned i = 0; i < nx; i++) {
		unsigned best = 0, at = 0;

		for (unsigned j = 0; j < ny; j++) {
			unsigned score = taken[j] ? 0 : word_score(x[i], y[j]);

			if (score > best) {
				best = score;
				at = j;
			}
		}
		if (best > 0)
			taken[at] = true;
		sum += best;
	}
	sum = nx + ny ? sum * 200 / (nx + ny) : 0;
	sum *= 100;
	if (sum <= least && (a.n > b.n + 2 || b.n > a.n + 2))
		return 0;
	/* Spelling decides between names with equally good words. */
	off = distance(a, b);
	sum = sum > off ? sum - off : 0;
	if (off <= 2 && off * 4 <= a.n && sum < 950000 - off * 1000)
		sum = 950000 - off * 1000;
	return sum;
}

const char *
param_suggest(struct str name)
{
	char lower[NAME_MAX_HERE];
	const char *best = NULL;
	unsigned best_score = 590000; /* three words of five */
	const struct param *p;

	if (name.n > sizeof(lower))
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		lower[i] = name.p[i] == '-' ? '_' : str_lower(name.p[i]);
	name.p = lower;
	for (unsigned i = 0; (p = param_at(i)) != NULL; i++) {
		unsigned score;

		if (p->level == PARAM_MOOT)
			continue;
		score = name_score(name, (struct str){param_name(p), p->name_n}, best_score);
		if (score > best_score) {
			best_score = score;
			best = param_name(p);
		}
	}
	return best;
}
