/*
 * postconf_edit.c - postconf -e, -X and -#: changes main.cf and leaves the rest as it was.
 *
 * The file is walked line by line; comments and empty lines pass through, every entry of a name is
 * replaced where it stands (like Postfix, also a second one). The new file is complete and synced
 * before it takes the old one's name.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "pp/base/fsio.h"
#include "postconf.h"

enum { EDITS_MAX = 256, FILE_MAX = 4 << 20 };

struct edit {
	struct str name;
	struct str value;
	bool is_done;
};

struct editing {
	enum edit_mode mode;
	struct edit a[EDITS_MAX];
	unsigned n;
	struct buf out;
};

static bool
is_skipped(struct str line)
{
	line = str_trim(line);
	return line.n == 0 || line.p[0] == '#';
}

static struct edit *
find(struct editing *e, struct str line)
{
	struct str name = str_trim(str_head(line, str_index(line, '=')));

	for (unsigned i = 0; i < e->n; i++)
		if (str_eq(e->a[i].name, name))
			return &e->a[i];
	return NULL;
}

static void
put_setting(struct editing *e, struct edit *edit)
{
	buf_printf(&e->out, "%.*s = %.*s\n", STR_FMT(edit->name), STR_FMT(edit->value));
	edit->is_done = true;
}

static void
put_line(struct editing *e, struct str line)
{
	buf_add(&e->out, line);
	buf_addc(&e->out, '\n');
}

/* A line of an entry that is edited: its first, or one that continues it. */
static void
edit_line(struct editing *e, struct edit *edit, struct str line, bool is_first)
{
	if (e->mode == EDIT_COMMENT) {
		buf_addc(&e->out, '#');
		put_line(e, line);
	} else if (e->mode == EDIT_SET && is_first)
		put_setting(e, edit);
}

static void
walk(struct editing *e, struct str text)
{
	struct edit *current = NULL;

	while (text.n) {
		size_t n = str_index(text, '\n');
		struct str line = str_head(text, n);
		bool is_first;

		text = str_from(text, n + 1);
		is_first = line.n && line.p[0] != ' ' && line.p[0] != '\t';
		if (is_skipped(line)) {
			put_line(e, line);
			continue;
		}
		if (is_first)
			current = find(e, line);
		if (current)
			edit_line(e, current, line, is_first);
		else
			put_line(e, line);
	}
	for (unsigned i = 0; e->mode == EDIT_SET && i < e->n; i++)
		if (!e->a[i].is_done)
			put_setting(e, &e->a[i]);
}

static void
read_arguments(struct command *c, struct editing *e, char **args)
{
	if (*args == NULL)
		command_fatal(c,
		    e->mode == EDIT_SET ? "-e requires name=value argument" : "missing argument");
	for (; *args; args++) {
		struct str s = str_of(*args);
		size_t eq = str_index(s, '=');
		struct edit edit = {
		    .name = str_trim(str_head(s, eq)), .value = str_trim(str_from(s, eq + 1))};
		struct edit *old = find(e, s);

		/* A blank in a name would be a line that nothing reads again. */
		if (e->mode == EDIT_SET &&
		    (eq == s.n || strcspn(edit.name.p, " \t\r") < edit.name.n))
			command_fatal(c, "missing '=' after attribute name: \"%s\"", *args);
		if (edit.name.n == 0)
			command_fatal(c, "missing attribute name: \"%s\"", *args);
		if (e->mode != EDIT_SET && eq < s.n)
			command_fatal(c, "\"%s\": a name alone is expected", *args);
		if (memchr(s.p, '\n', s.n) || edit.name.p[0] == '#')
			command_fatal(
			    c, "\"%s\": a newline or a # in front is not possible", *args);
		if (old == NULL && e->n == EDITS_MAX)
			command_fatal(c, "more than %d names at once", EDITS_MAX);
		*(old ? old : &e->a[e->n++]) = edit;
	}
}

void
postconf_edit(struct command *c, const char *dir, enum edit_mode mode, char **args)
{
	struct editing *e = MEM_NEW(struct editing);
	char path[PATH_MAX], given[PATH_MAX];
	struct stat st = {.st_mode = 0644};
	struct buf text;
	int rc;

	buf_init(&text, FILE_MAX);
	buf_init(&e->out, FILE_MAX);
	e->mode = mode;
	read_arguments(c, e, args);
	if (snprintf(given, sizeof(given), "%s/main.cf", dir) >= (int)sizeof(given))
		command_fatal(c, "the name of the directory is too long");
	/* A link stays a link: what it leads to is replaced. */
	if (realpath(given, path) == NULL || stat(path, &st) < 0)
		command_fatal(c, "open %s: %s", given, strerror(errno));
	rc = fsio_read_all(AT_FDCWD, path, &text);
	if (rc < 0)
		command_fatal(c, "open %s: %s", given, strerror(-rc));
	walk(e, buf_str(&text));
	if (buf_overflowed(&e->out))
		command_fatal(c, "%s would be longer than 4 MiB", given);
	rc = fsio_replace(AT_FDCWD, path, buf_str(&e->out), st.st_mode & 07777);
	if (rc < 0)
		command_fatal(c, "write %s: %s", given, strerror(-rc));
	buf_fini(&text);
	buf_fini(&e->out);
	mem_free(e);
}
