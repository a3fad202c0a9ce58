/*
 * postmap.c - postmap, and all but the name of postalias: ask tables, check them, change them.
 *
 * There is nothing to build here, because the text is the table; what these commands say and what
 * they answer is Postfix's, so that scripts that call them go on. Questions to other tables than
 * texts go to the same code as the daemon's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "postmap.h"
#include "pp/command/command.h"
#include "pp/config/list.h"
#include "pp/map/map.h"
#include "pp/runtime/log.h"

static const char map_options[] = "+bc:d:fFhimnNopq:rsuUvw",
		  map_usage[] = "usage: postmap [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] "
				"[-q key] [map_type:]file...",
		  alias_options[] = "+Nc:d:finopq:rsuvw",
		  alias_usage[] = "usage: postalias [-Nfinoprsuvw] [-c config_dir] [-d key] "
				  "[-q key] [map_type:]file...";

static bool
is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(*words, word) != 0)
		words++;
	return *words != NULL;
}

/* Whether the table is a text of keys and values. */
static bool
is_text(const struct postmap_table *t)
{
	static const char *const types[] = {"hash", "btree", "lmdb", "cdb", "texthash", NULL};

	return is_one_of(t->type, types);
}

static bool
is_known(const char *type)
{
	const char *name;

	for (unsigned i = 0; (name = map_type_name(i)) != NULL; i++)
		if (strcmp(name, type) == 0)
			return true;
	return false;
}

/* Cuts "type:name" in place; without a type it is of default_database_type. */
struct postmap_table
postmap_table_of(struct postmap *pm, char *word)
{
	struct postmap_table t = {.name = word};
	char *colon = strchr(word, ':');

	if (colon && strncmp(word, "proxy:", 6) == 0) {
		t.is_proxy = true;
		word = colon + 1;
		t.name = word;
		colon = strchr(word, ':');
	}
	if (colon) {
		*colon = '\0';
		t.name = colon + 1;
		t.type = word;
	}
	if (t.type == NULL || *t.type == '\0')
		t.type = pm->command.config->params->default_database_type;
	return t;
}

static void
usage(struct postmap *pm)
{
	command_fatal(&pm->command, "%s", pm->is_alias ? alias_usage : map_usage);
}

/* -s, -q and -d are one choice. */
static void
choose(struct postmap *pm, int c, const char *key)
{
	if (pm->is_sequence || pm->query || pm->delete)
		command_fatal(&pm->command, c == 's' ? "specify only one of -s or -q or -d"
						     : "specify only one of -s -q or -d");
	if (c == 's')
		pm->is_sequence = true;
	else if (c == 'q')
		pm->query = key;
	else
		pm->delete = key;
}

static void
options(struct postmap *pm, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, pm->is_alias ? alias_options : map_options)) != -1) {
		switch (c) {
		case '?':
			usage(pm);
			break;
		case 'b':
			pm->parts |= PART_BODY;
			break;
		case 'c':
			pm->command.config_option = optarg;
			break;
		case 'd':
		case 'q':
		case 's':
			choose(pm, c, optarg);
			break;
		case 'f':
			pm->keeps_case = true;
			break;
		case 'F':
			pm->takes_files = true;
			break;
		case 'h':
			pm->parts |= PART_HEADER;
			break;
		case 'i':
			pm->is_insert = true;
			break;
		case 'm':
			pm->parts |= PART_MIME;
			break;
		case 'r':
			pm->does_replace = true;
			break;
		case 'u':
			pm->takes_bytes = true;
			break;
		case 'w':
			pm->is_silent = true;
			break;
		default: /* -n -N -o -p are about files that are not made here; -U -v */
			break;
		}
	}
}

static void
check_options(struct postmap *pm)
{
	if (pm->parts == 0)
		return;
	if (pm->query == NULL || strcmp(pm->query, "-") != 0)
		command_fatal(&pm->command, "specify -b -h or -m only with \"-q -\"");
	if (pm->parts == PART_MIME) {
		log_warn(pm->command.name, "ignoring -m option without -b or -h");
		pm->parts = 0;
	}
}

/* A table that is asked: its text, or the map of the daemon. */
struct asked {
	struct postmap_table table;
	struct postmap_text text;
	struct map *map;
};

/* Names are relative to where the command is; those of the map layer are whole. */
static char *
map_spec(const struct postmap_table *t, struct arena *a, size_t *ret_prefix)
{
	static const char *const no_files[] = {
	    "inline", "static", "environ", "fail", "unionmap", "pipemap", "randmap", NULL};
	char cwd[4096];

	*ret_prefix = 0;
	if (is_one_of(t->type, no_files) || t->name[0] == '/' || getcwd(cwd, sizeof(cwd)) == NULL)
		return arena_printf(a, "%s:%s", t->type, t->name);
	*ret_prefix = strlen(cwd) + 1;
	return arena_printf(a, "%s:%s/%s", t->type, cwd, t->name);
}

/* The map layer's text without the directory that was put in front of the name. */
static const char *
shorten(const struct postmap_table *t, const char *text)
{
	struct arena a = {0};
	size_t prefix;
	const char *path = map_spec(t, &a, &prefix) + strlen(t->type) + 1;

	if (strncmp(text, path, strlen(path)) == 0)
		text += prefix;
	arena_fini(&a);
	return text;
}

static void
open_map(struct postmap *pm, struct asked *q)
{
	const struct postmap_table *t = &q->table;
	struct arena a = {0};
	struct buf err;
	size_t prefix;

	buf_init(&err, 4096);
	if (!is_known(t->type))
		command_fatal(&pm->command, "unsupported dictionary type: %s", t->type);
	if (strcmp(t->type, "inline") == 0 && !str_ends(str_of(t->name), STR("}")))
		command_fatal(&pm->command,
		    "bad syntax: \"inline:%s\"; need \"inline:{name=value...}\"", t->name);
	if (map_open(map_spec(t, &a, &prefix), &q->map, &err) < 0)
		command_fatal(&pm->command, "%s", buf_cstr(&err));
	buf_fini(&err);
	arena_fini(&a);
	/* As there, a file that cannot be read is told at once, not at the first key. */
	if (!map_is_static(q->map) && *t->name != '{' && access(t->name, R_OK) < 0)
		command_fatal(&pm->command, "open %s: %s", t->name, strerror(errno));
}

static void
open_asked(struct postmap *pm, struct asked *q, char *word)
{
	q->table = postmap_table_of(pm, word);
	if (*q->table.name == '\0')
		command_fatal(&pm->command,
		    "open dictionary: expecting \"type:name\" form instead of \"%s:\"",
		    q->table.type);
	postmap_text_init(&q->text);
	if (is_text(&q->table))
		postmap_text_read(pm, &q->table, &q->text,
		    strcmp(q->table.type, "texthash") == 0 ? TELL_LOOKUP : TELL_NOTHING);
	else
		open_map(pm, q);
}

static void
close_asked(struct asked *q)
{
	postmap_text_fini(&q->text);
	map_unref(q->map);
}

static bool
find(struct postmap *pm, struct asked *q, struct str key, struct buf *value)
{
	const struct postmap_table *t = &q->table;
	const struct postmap_entry *e;
	int rc;

	buf_clear(value);
	if (q->map == NULL) {
		e = postmap_text_find(pm, &q->text, key);
		return e && buf_add(value, e->value) == 0;
	}
	rc = map_find_blk(q->map, key, value);
	if (rc >= 0)
		return rc > 0;
	if (rc == -EAGAIN)
		command_fatal(
		    &pm->command, "table %s:%s: query error: Application error", t->type, t->name);
	command_fatal(&pm->command, "%s", shorten(t, buf_cstr(value)));
}

/* The value, or with -F what is in the files that it names. */
static void
print_value(struct postmap *pm, struct str value)
{
	struct buf content, name;
	int rc;

	if (!pm->takes_files) {
		printf("%.*s\n", STR_FMT(value));
		return;
	}
	buf_init(&content, MAP_FILE_MAX);
	buf_init(&name, 4096);
	rc = postmap_value_files(value, &content, &name);
	if (rc < 0)
		command_fatal(&pm->command, "open %s: %s", buf_cstr(&name), strerror(-rc));
	fwrite(buf_str(&content).p, 1, buf_str(&content).n, stdout);
	putchar('\n');
	buf_fini(&content);
	buf_fini(&name);
}

struct query {
	struct postmap *pm;
	struct asked *tables;
	size_t n;
	struct buf value;
	bool found;
};

static void
ask_all(void *ctx, struct str key)
{
	struct query *q = ctx;

	for (size_t i = 0; i < q->n; i++) {
		if (!find(q->pm, &q->tables[i], key, &q->value))
			continue;
		q->found = true;
		if (q->pm->parts || strcmp(q->pm->query, "-") == 0)
			printf("%.*s%s\t", STR_FMT(key), q->pm->is_alias ? ":" : "");
		print_value(q->pm, buf_str(&q->value));
		return;
	}
}

static int
run_query(struct postmap *pm, char **words, size_t n)
{
	struct query q = {.pm = pm, .n = n, .tables = mem_alloc(n * sizeof(*q.tables))};
	struct buf line;

	for (size_t i = 0; i < n; i++)
		open_asked(pm, &q.tables[i], words[i]);
	buf_init(&q.value, MAP_VALUE_MAX);
	buf_init(&line, MAP_VALUE_MAX);
	if (pm->parts != 0)
		postmap_message(pm->parts, ask_all, &q);
	else if (strcmp(pm->query, "-") != 0)
		ask_all(&q, str_of(pm->query));
	else
		while (postmap_input(&line))
			ask_all(&q, buf_str(&line));
	for (size_t i = 0; i < n; i++)
		close_asked(&q.tables[i]);
	mem_free(q.tables);
	buf_fini(&q.value);
	buf_fini(&line);
	return q.found ? 0 : 1;
}

static int
by_key(const void *a, const void *b)
{
	const struct postmap_entry *x = *(struct postmap_entry *const *)a,
				   *y = *(struct postmap_entry *const *)b;
	size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
	int order = memcmp(x->key.p, y->key.p, n);

	return order ? order : (x->key.n > y->key.n) - (x->key.n < y->key.n);
}

/* A btree is in the order of its keys, others in that of the file. */
static void
print_sequence(struct postmap *pm, const struct postmap_table *t, struct postmap_text *text)
{
	size_t n = HASH_COUNT(text->hash), k = 0;
	struct postmap_entry **entries = mem_alloc((n + 1) * sizeof(*entries)), *e;

	for (e = text->hash; e; e = e->hh.next)
		entries[k++] = e;
	if (strcmp(t->type, "btree") == 0 || strcmp(t->type, "lmdb") == 0)
		qsort(entries, n, sizeof(struct postmap_entry *), by_key);
	for (k = 0; k < n; k++) {
		printf("%.*s%s\t", STR_FMT(entries[k]->key), pm->is_alias ? ":" : "");
		print_value(pm, entries[k]->value);
	}
	mem_free(entries);
}

/* inline:{key=value, {key = value}} as a text. */
static void
inline_text(const struct postmap_table *t, struct postmap_text *text)
{
	struct str rest = list_unbrace(str_of(t->name)), s;

	while (list_next(&rest, &s) > 0) {
		size_t eq;

		s = list_unbrace(s);
		eq = str_index(s, '=');
		buf_printf(&text->bytes, "%.*s %.*s\n", STR_FMT(str_trim(str_head(s, eq))),
		    STR_FMT(str_trim(str_from(s, eq + 1))));
	}
}

static int
run_sequence(struct postmap *pm, char **words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct asked q = {0};

		open_asked(pm, &q, words[i]);
		if (q.table.is_proxy)
			command_fatal(&pm->command, "can't sequence maps via the proxy service");
		if (q.map != NULL && strcmp(q.table.type, "inline") == 0) {
			inline_text(&q.table, &q.text);
			postmap_text_parse(pm, &q.table, q.table.name, &q.text, TELL_NOTHING);
		} else if (q.map != NULL)
			command_fatal(&pm->command,
			    "table %s:%s: sequence operation is not supported", q.table.type,
			    q.table.name);
		print_sequence(pm, &q.table, &q.text);
		close_asked(&q);
	}
	return 0;
}

/* What cannot be changed says so, each in its words. */
static void
refuse_delete(struct postmap *pm, const struct postmap_table *t)
{
	static const char *const fixed[] = {"static", "environ", NULL};

	if (!is_known(t->type))
		command_fatal(&pm->command, "unsupported dictionary type: %s", t->type);
	if (is_one_of(t->type, fixed))
		command_fatal(&pm->command, "table %s:%s: delete operation is not supported",
		    t->type, t->name);
	if (strcmp(t->type, "fail") == 0)
		command_fatal(
		    &pm->command, "table %s:%s: delete error: Application error", t->type, t->name);
	if (t->is_proxy || !is_text(t) || strcmp(t->type, "texthash") == 0)
		command_fatal(&pm->command, "%s%s:%s map requires O_RDONLY access mode",
		    t->is_proxy ? "proxy:" : "", t->type, t->name);
}

static int
run_delete(struct postmap *pm, char **words, size_t n)
{
	bool found = false;

	for (size_t i = 0; i < n; i++) {
		struct postmap_table t = postmap_table_of(pm, words[i]);

		refuse_delete(pm, &t);
		found |= postmap_delete(pm, &t, pm->delete);
	}
	return found ? 0 : 1;
}

void
postmap_build(struct postmap *pm, const struct postmap_table *t)
{
	struct postmap_text text;

	if (t->is_proxy)
		command_fatal(&pm->command, "can't create maps via the proxy service");
	if (!pm->is_insert && access(t->name, R_OK) < 0)
		command_fatal(&pm->command, "open %s: %s", t->name, strerror(errno));
	if (!is_known(t->type))
		command_fatal(&pm->command,
		    "unsupported dictionary type: %s. Is the postfix-%s package installed?",
		    t->type, t->type);
	if (!is_text(t) || strcmp(t->type, "texthash") == 0)
		command_fatal(&pm->command,
		    "unsupported dictionary type: %s does not support bulk-mode creation.",
		    t->type);
	if (pm->is_insert) {
		postmap_insert(pm, t);
		return;
	}
	postmap_text_init(&text);
	postmap_text_read(pm, t, &text, TELL_BUILD);
	postmap_text_fini(&text);
}

int
postmap_run(struct postmap *pm, int argc, char **argv)
{
	char **words;
	size_t n;

	command_begin(&pm->command, argv);
	options(pm, argc, argv);
	check_options(pm);
	command_config(&pm->command);
	words = argv + optind;
	n = (size_t)(argc - optind);
	if (n == 0)
		usage(pm);
	if (pm->delete)
		return command_end(&pm->command, run_delete(pm, words, n));
	if (pm->query)
		return command_end(&pm->command, run_query(pm, words, n));
	if (pm->is_sequence)
		return command_end(&pm->command, run_sequence(pm, words, n));
	for (size_t i = 0; i < n; i++) {
		struct postmap_table t = postmap_table_of(pm, words[i]);

		postmap_build(pm, &t);
	}
	return command_end(&pm->command, 0);
}

int
postmap_main(int argc, char **argv)
{
	struct postmap pm = {.command = {.name = "postmap", .fatal_code = 1}};

	return postmap_run(&pm, argc, argv);
}
