/*
 * postconf.c - shows parameters: all, some, the ones that were set, their defaults.
 *
 * It prints what Postfix's prints, since scripts read it. It reads the configuration leniently: an
 * unusable value is told on stderr and shown all the same, because this is the tool to mend it
 * with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pp/command/command.h"
#include "pp/config/settings.h"
#include "pp/map/map.h"
#include "pp/runtime/log.h"
#include "postconf.h"

enum { NAMES_MAX = 8192, EXTRA_MAX = 256, LINE_MAX_HERE = 80 };

struct options {
	bool is_default, is_set, is_expanded, is_folded, no_names, no_values, is_edit;
	int mode; /* 'p', 'M', 'F', 'P', 'm', 'l', 'a', or an edit: 'e', 'X', '#' */
	const char *extra[EXTRA_MAX + 1];
	unsigned extras;
};

struct names {
	const char *a[NAMES_MAX];
	unsigned n;
};

void
postconf_print(const char *head, const char *value, bool is_folded)
{
	struct str rest = str_of(value), word;
	size_t column = strlen(head);

	fputs(head, stdout);
	while (str_token(&rest, " \t\r\n", &word)) {
		bool is_full = column + 1 + word.n >= LINE_MAX_HERE || str_eq(word, STR("-o"));

		if (column > 0 && is_folded && is_full) {
			fputs("\n    ", stdout);
			column = 4;
		} else if (column > 0) {
			putchar(' ');
			column++;
		}
		printf("%.*s", STR_FMT(word));
		column += word.n;
	}
	putchar('\n');
}

static const char *
value_of(struct command *c, const struct options *o, const char *name, struct buf *scratch)
{
	const struct setting *s = config_setting_find(c->config, name);
	const char *raw = config_default(c->config, name);

	if (s != NULL && !o->is_default)
		raw = s->value;
	if (raw == NULL || !o->is_expanded)
		return raw;
	if (!o->is_default)
		return config_text(c->config, name);
	buf_clear(scratch);
	config_expand(c->config, str_of(raw), scratch, NULL);
	return buf_cstr(scratch);
}

static void
show(struct command *c, const struct options *o, const char *name)
{
	struct buf scratch, head;
	const char *value;

	buf_init(&scratch, 256 << 10);
	buf_init(&head, 1024);
	value = value_of(c, o, name, &scratch);
	if (value == NULL)
		log_warn("postconf", "%s: unknown parameter", name);
	else if (o->no_values)
		puts(name);
	else {
		if (!o->no_names)
			buf_printf(&head, "%s =", name);
		postconf_print(buf_cstr(&head), value, o->is_folded);
	}
	buf_fini(&scratch);
	buf_fini(&head);
}

static int
compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
add(struct names *names, const char *name)
{
	if (names->n < NAMES_MAX)
		names->a[names->n++] = name;
}

static bool
is_agent(const char *command)
{
	static const char *const agents[] = {"smtp", "lmtp", "local", "virtual", "error", "pipe"};

	for (size_t i = 0; i < PP_COUNT(agents); i++)
		if (strcmp(agents[i], command) == 0)
			return true;
	return false;
}

/* TRANSPORT_what of every transport; rows of the tables are listed already. */
static void
add_transports(struct command *c, struct names *names, struct arena *a)
{
	const struct transport_param *t;
	const struct service *s = NULL;

	while ((s = config_service_next(c->config, s)) != NULL) {
		if (strcmp(s->type, "unix") != 0 || !is_agent(s->command))
			continue;
		for (unsigned i = 0; (t = transport_param_at(i)) != NULL; i++) {
			const char *name = arena_printf(a, "%s_%s", s->name, t->what);

			if (strcmp(t->what, "time_limit") == 0 && strcmp(s->command, "pipe") != 0)
				continue;
			if (param_find(str_of(name)) == NULL)
				add(names, name);
		}
	}
}

static bool
is_known(struct command *c, const char *name)
{
	return param_find(str_of(name)) != NULL || config_is_used(c->config, name);
}

static void
collect(struct command *c, const struct options *o, struct names *names, struct arena *a)
{
	const struct setting *s = NULL;
	const struct param *p;
	unsigned n = 0;

	if (!o->is_set) {
		for (unsigned i = 0; (p = param_at(i)) != NULL; i++)
			add(names, param_name(p));
		add_transports(c, names, a);
	} else if (*c->config->dir && strcmp(c->config->dir, CONFIG_DIR_DEFAULT) != 0)
		add(names, "config_directory");
	while (!o->is_default && (s = config_setting_next(c->config, s)) != NULL)
		if (is_known(c, s->name))
			add(names, s->name);
	qsort(names->a, names->n, sizeof(*names->a), compare);
	for (unsigned i = 0; i < names->n; i++)
		if (n == 0 || strcmp(names->a[n - 1], names->a[i]) != 0)
			names->a[n++] = names->a[i];
	names->n = n;
}

static void
show_list(struct command *c, const struct options *o)
{
	struct names *names = MEM_NEW(struct names);
	struct arena a = {0};

	collect(c, o, names, &a);
	for (unsigned i = 0; i < names->n; i++)
		show(c, o, names->a[i]);
	mem_free(names);
	arena_fini(&a);
}

static void
tell(const struct config_report *report, bool is_whole_list)
{
	struct buf text;

	/* A question for one name is a script's: it hears of errors only. */
	for (const struct config_note *n = report->first; n; n = n->next) {
		if (!n->is_error && !is_whole_list)
			continue;
		buf_init(&text, 8192);
		config_note_text(n, &text);
		log_warn("postconf", "%s", buf_cstr(&text));
		buf_fini(&text);
	}
}

static void
load(struct command *c, struct options *o, bool is_whole_list)
{
	struct config_source src = {
	    .environ = environ, .is_root = geteuid() == 0, .is_lenient = true, .extra = o->extra};
	struct config_report report;

	src.dir = config_dir(c->config_option, environ, &src.is_dir_required);
	config_report_init(&report);
	if (config_load(&src, &c->config, &report) < 0) {
		const struct config_note *n = report.first;
		struct buf text;

		while (n && !n->is_error)
			n = n->next;
		buf_init(&text, 8192);
		if (n)
			config_note_text(n, &text);
		command_fatal(c, "%s", buf_cstr(&text));
	}
	tell(&report, is_whole_list);
	config_report_fini(&report);
}

static void
show_words(int mode)
{
	const char *name;

	if (mode == 'm')
		for (unsigned i = 0; (name = map_type_name(i)) != NULL; i++)
			puts(name);
	else if (mode == 'l')
		puts("flock\nfcntl\ndotlock");
	else
		puts("cyrus");
}

static void
usage(struct command *c)
{
	command_fatal(c, "usage: postconf [-dnfhHpxv] [-c config_dir] [-o name=value] [name ...] | "
			 "postconf [-M | -F | -P] [pattern ...] | postconf [-e] name=value ... | "
			 "postconf [-X | -#] name ... | postconf [-m | -l | -a | -A]");
}

static void
set_mode(struct command *c, struct options *o, int mode)
{
	if (o->mode != 'p' && o->mode != mode)
		command_fatal(c, "specify one of -%c -%c", o->mode, mode);
	o->mode = mode;
}

static void
set_option(struct command *c, struct options *o, int option)
{
	switch (option) {
	case 'c':
		c->config_option = optarg;
		break;
	case 'd':
		o->is_default = true;
		break;
	case 'f':
		o->is_folded = true;
		break;
	case 'h':
		o->no_names = true;
		break;
	case 'H':
		o->no_values = true;
		break;
	case 'n':
		o->is_set = true;
		break;
	case 'o':
		if (o->extras == EXTRA_MAX)
			command_fatal(c, "too many -o");
		o->extra[o->extras++] = optarg;
		break;
	case 'x':
		o->is_expanded = true;
		break;
	case 'p':
	case 'v':
		break;
	case '?':
		usage(c);
		break;
	default:
		set_mode(c, o, option);
	}
}

static void
check(struct command *c, const struct options *o)
{
	if (o->no_names && o->no_values)
		command_fatal(c, "specify one of -h -H");
	if (o->is_default && o->is_set)
		command_fatal(c, "specify one of -d -n");
	if (o->mode != 'p' && o->is_set)
		command_fatal(c, "with option -%c, do not specify -n", o->mode);
}

int
postconf_main(int argc, char **argv)
{
	struct command c = {.name = "postconf", .fatal_code = 1};
	struct options o = {.mode = 'p'};
	const char *dir;
	bool is_required;
	int option;

	command_begin(&c, argv);
	while ((option = getopt(argc, argv, "+aAc:defFhHlmMno:pPvxX#")) > 0)
		set_option(&c, &o, option);
	check(&c, &o);
	argv += optind;
	dir = config_dir(c.config_option, environ, &is_required);
	if (o.mode == 'p' && *argv && strchr(*argv, '='))
		o.mode = 'e';
	if (strchr("eX#", o.mode)) {
		postconf_edit(&c, dir,
		    o.mode == 'e'   ? EDIT_SET
		    : o.mode == 'X' ? EDIT_REMOVE
				    : EDIT_COMMENT,
		    argv);
		return command_end(&c, 0);
	}
	if (strchr("mlaA", o.mode)) {
		show_words(o.mode);
		return command_end(&c, 0);
	}
	load(&c, &o, *argv == NULL);
	if (o.mode != 'p')
		postconf_services(&c, o.mode, o.is_folded, o.is_expanded, argv);
	else if (*argv == NULL)
		show_list(&c, &o);
	for (; o.mode == 'p' && *argv; argv++)
		show(&c, &o, *argv);
	return command_end(&c, 0);
}
