/*
 * mastercf.c - the grammar of master.cf: eight columns, then arguments and -o settings.
 *
 * One process has no use for most columns, but they are checked as strictly as the others: a row
 * with a column too few would otherwise be read as something that nobody meant. Rows of programs
 * that do not exist here are kept (postconf shows them) and marked.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/lines.h"

enum { COLUMNS_MAX = 256 };

static const struct command {
	const char *name;
	bool is_available;
} commands[] = {
    {"smtpd", true},
    {"pickup", true},
    {"cleanup", true},
    {"qmgr", true},
    {"oqmgr", true},
    {"nqmgr", true},
    {"tlsmgr", true},
    {"trivial-rewrite", true},
    {"bounce", true},
    {"verify", false},
    {"flush", true},
    {"proxymap", true},
    {"smtp", true},
    {"lmtp", true},
    {"showq", true},
    {"error", true},
    {"discard", true},
    {"local", false},
    {"virtual", false},
    {"anvil", true},
    {"scache", true},
    {"postlogd", true},
    {"pipe", false},
    {"postscreen", false},
    {"dnsblog", false},
    {"tlsproxy", false},
    {"qmqpd", false},
    {"spawn", false},
};

const char *
mastercf_builtin(bool is_root)
{
	/* Without files nobody said what may be reached from outside: inet_interfaces is
	 * loopback-only then. */
#define TRANSPORTS                                                                                 \
	"smtp unix - - n - - smtp\n"                                                               \
	"relay unix - - n - - smtp\n"                                                              \
	"lmtp unix - - n - - lmtp\n"                                                               \
	"local unix - n n - - local\n"                                                             \
	"virtual unix - n n - - virtual\n"                                                         \
	"error unix - - n - - error\n"                                                             \
	"retry unix - - n - - error\n"                                                             \
	"discard unix - - n - - discard\n"
	return is_root ? "smtp inet n - n - - smtpd\n" TRANSPORTS
		       : "2525 inet n - n - - smtpd\n" TRANSPORTS;
#undef TRANSPORTS
}

struct row {
	const char *file;
	int line;
	struct config_data *d;
	struct config_report *report;
	struct str column[COLUMNS_MAX];
	unsigned n;
};

static bool
bad(struct row *row, const char *what, struct str value, const char *want)
{
	config_report_error(row->report, row->file, row->line, "%s \"%.*s\" %s", what,
	    STR_FMT(str_head(value, 100)), want);
	return false;
}

/* Words, where `{ a b }` is one word, braces included. */
static bool
cut_columns(struct row *row, struct str rest)
{
	row->n = 0;
	for (;;) {
		size_t to = 0;
		int level = 0;

		while (rest.n && str_isspace(rest.p[0]))
			rest = str_from(rest, 1);
		if (rest.n == 0)
			return true;
		if (row->n == COLUMNS_MAX)
			return bad(row, "row", row->column[0], "has too many words");
		for (; to < rest.n && (level > 0 || !str_isspace(rest.p[to])); to++) {
			if (rest.p[0] != '{')
				continue;
			level += rest.p[to] == '{';
			level -= rest.p[to] == '}';
		}
		if (level > 0)
			return bad(row, "argument", rest, "has a { without its }");
		row->column[row->n++] = str_head(rest, to);
		rest = str_from(rest, to);
	}
}

static bool
read_flag(struct row *row, unsigned i, const char *what, bool def, bool *ret)
{
	struct str s = row->column[i];

	if (str_eq(s, STR("-")))
		*ret = def;
	else if (str_eq(s, STR("y")) || str_eq(s, STR("n")))
		*ret = s.p[0] == 'y';
	else
		return bad(row, what, s, "must be y, n or -");
	return true;
}

static bool
read_type(struct row *row, struct service *s)
{
	static const char *const types[] = {"inet", "unix", "fifo", "pass", "unix-dgram"};

	for (size_t i = 0; i < PP_COUNT(types); i++) {
		if (!str_eq(row->column[1], str_of(types[i])))
			continue;
		s->type = types[i];
		return true;
	}
	return bad(row, "type", row->column[1], "must be inet, unix, fifo, pass or unix-dgram");
}

/* host:port, [v6]:port, or a port; a port is a number or a service name. */
static bool
check_inet_name(struct row *row)
{
	struct str name = row->column[0], port = name;
	size_t colon = str_rindex(name, ':');
	int64_t number;

	if (colon < name.n) {
		struct str host = str_head(name, colon);

		port = str_from(name, colon + 1);
		if (str_index(host, ':') < host.n &&
		    (host.p[0] != '[' || host.p[host.n - 1] != ']'))
			return bad(row, "service", name,
			    "must have its IPv6 address in brackets: [::1]:25");
	}
	if (port.n && !str_isdigit(port.p[0]))
		return true;
	if (str_number(port, 0, 65535, &number) == 0)
		return true;
	return bad(
	    row, "service", name, "must be a port from 0 to 65535, a service name, or host:port");
}

static bool
read_wakeup(struct row *row, struct service *s)
{
	struct str t = row->column[5];
	int64_t seconds = 0;

	if (str_eq(t, STR("-")))
		return true;
	if (t.p[t.n - 1] == '?') {
		s->wakeup_if_used = true;
		t.n--;
	}
	if (str_number(t, 0, INT32_MAX, &seconds) < 0)
		return bad(row, "wakeup time", row->column[5],
		    "must be a number of seconds, perhaps with a ? behind it, or -");
	s->wakeup = seconds * 1000;
	return true;
}

static bool
read_maxproc(struct row *row, struct service *s)
{
	s->maxproc = -1; /* default_process_limit, which is not known yet */
	if (str_eq(row->column[6], STR("-")))
		return true;
	if (str_number(row->column[6], 0, INT32_MAX, &s->maxproc) < 0)
		return bad(row, "process limit", row->column[6], "must be a number or -");
	return true;
}

/* "name=value" or "{ name = value }". */
static bool
add_option(struct row *row, struct service_entry *e, struct str text)
{
	struct arena *a = &row->d->arena;
	struct service_option *o;
	struct str name;
	size_t eq;

	if (text.n >= 2 && text.p[0] == '{' && text.p[text.n - 1] == '}')
		text = (struct str){text.p + 1, text.n - 2};
	eq = str_index(text, '=');
	name = str_trim(str_head(text, eq));
	if (eq == text.n || name.n == 0)
		return bad(row, "-o", text, "must be followed by name=value or { name = value }");
	o = ARENA_NEW(a, struct service_option);
	o->name = arena_str(a, name);
	o->value = arena_str(a, str_trim(str_from(text, eq + 1)));
	*e->last_option = o;
	e->last_option = (struct service_option **)&o->next;
	settings_put(&e->overrides, a, o->name, o->value, e->service.file, row->line);
	return true;
}

/* As postconf -M shows it: "name=value", in braces when the value holds a blank. */
static const char *
option_column(struct arena *a, const struct service_option *o)
{
	bool has_blank = strpbrk(o->value, " \t") != NULL;

	return arena_printf(a, has_blank ? "{%s=%s}" : "%s=%s", o->name, o->value);
}

/* Sorts the words behind the command: -o settings, the rest. */
static bool
read_arguments(struct row *row, struct service_entry *e)
{
	struct arena *a = &row->d->arena;
	const char **args = arena_alloc(a, (row->n + 1) * sizeof(*args));
	unsigned n = 0, columns = 8;
	bool has_plain = false;

	e->last_option = &e->options;
	for (unsigned i = 8; i < row->n; i++) {
		struct str s = row->column[i];
		struct service_option **option = e->last_option;

		/* What follows the first plain word is the program's own (pipe's argv=). */
		if (has_plain || !str_starts(s, STR("-o"))) {
			has_plain |= s.p[0] != '-';
			args[n] = arena_str(a, s);
			e->columns[columns++] = args[n++];
			continue;
		}
		if (s.n > 2)
			s = str_from(s, 2);
		else if (i + 1 < row->n)
			s = row->column[++i];
		else
			return bad(row, "-o", STR(""), "must be followed by name=value");
		if (!add_option(row, e, s))
			return false;
		e->columns[columns++] = "-o";
		e->columns[columns++] = option_column(a, *option);
	}
	e->service.args = args;
	return true;
}

static void
check_command(struct row *row, struct service *s)
{
	for (size_t i = 0; i < PP_COUNT(commands); i++) {
		if (strcmp(commands[i].name, s->command) != 0)
			continue;
		s->is_available = commands[i].is_available;
		if (!s->is_available && strcmp(s->type, "inet") == 0)
			config_report_warn(row->report, row->file, row->line,
			    "there is no %s in this version of pennypost: nothing will listen on "
			    "%s",
			    s->command, s->name);
		return;
	}
	config_report_warn(row->report, row->file, row->line,
	    "unknown command \"%s\": the service %s is ignored", s->command, s->name);
}

static void
store(struct row *row, struct service_entry *e)
{
	struct service_entry **at = &row->d->services;

	for (; *at; at = &(*at)->next) {
		struct service_entry *old = *at;

		if (strcmp(old->service.type, e->service.type) != 0 ||
		    strcmp(old->service.name, e->service.name) != 0)
			continue;
		config_report_warn(row->report, row->file, row->line,
		    "overriding earlier entry: %s/%s of line %d", old->service.name,
		    old->service.type, old->service.line);
		settings_fini(&old->overrides);
		e->next = old->next;
		break;
	}
	*at = e;
}

static bool
read_row(struct row *row)
{
	struct arena *a = &row->d->arena;
	struct service_entry *e = ARENA_NEW(a, struct service_entry);
	struct service *s = &e->service;

	if (row->n < 8) {
		config_report_error(row->report, row->file, row->line,
		    "%u columns where 8 are expected: service type private unprivileged chroot "
		    "wakeup maxproc command",
		    row->n);
		return false;
	}
	s->file = row->file;
	s->line = row->line;
	s->name = arena_str(a, row->column[0]);
	s->command = arena_str(a, row->column[7]);
	if (!read_type(row, s) || !read_flag(row, 2, "private", true, &s->is_private) ||
	    !read_flag(row, 3, "unprivileged", true, &s->is_unprivileged) ||
	    !read_flag(row, 4, "chroot", false, &s->is_chroot) || !read_wakeup(row, s) ||
	    !read_maxproc(row, s))
		return false;
	if (strcmp(s->type, "inet") == 0 && !check_inet_name(row))
		return false;
	settings_put(&e->overrides, a, "service_name", s->name, s->file, s->line);
	/* Twice the words, since "-oname=value" is shown as two. */
	e->columns = arena_alloc(a, (2 * row->n + 1) * sizeof(*e->columns));
	for (unsigned i = 0; i < 8; i++)
		e->columns[i] = arena_str(a, row->column[i]);
	if (!read_arguments(row, e)) {
		settings_fini(&e->overrides);
		return false;
	}
	check_command(row, s);
	store(row, e);
	return true;
}

int
mastercf_parse(
    struct str text, const char *file, struct config_data *to, struct config_report *report)
{
	struct row *row;
	unsigned errors = report->errors;
	struct buf logical;
	int count = 0, rc;

	if (text.n && memchr(text.p, '\0', text.n)) {
		config_report_error(report, file, 0, "contains a NUL byte: this is no text file");
		return -EINVAL;
	}
	row = MEM_NEW(struct row);
	*row = (struct row){.file = file, .d = to, .report = report};
	buf_init(&logical, CONFIG_VALUE_MAX);
	while ((rc = lines_next(&text, &count, &row->line, &logical)) != 0) {
		if (rc < 0)
			config_report_error(report, file, row->line,
			    "the row is longer than %d bytes", CONFIG_VALUE_MAX);
		else if (str_isspace(buf_cstr(&logical)[0]))
			config_report_error(report, file, row->line,
			    "a line that begins with a blank continues a row, but there is none "
			    "before it");
		else if (cut_columns(row, buf_str(&logical)))
			read_row(row);
	}
	buf_fini(&logical);
	mem_free(row);
	return report->errors > errors ? -EINVAL : 0;
}
