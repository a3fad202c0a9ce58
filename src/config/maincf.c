/*
 * maincf.c - the grammar of main.cf: `name = value`.
 *
 * There are no quotes, escapes or includes, so the parser is short; what it adds to Postfix's is
 * that it goes on after a bad line, so that one look at the report shows everything that is wrong.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/lines.h"

/* Cuts "name = value"; NULL, or what is wrong with it. */
static const char *
split(struct str line, struct str *ret_name, struct str *ret_value)
{
	size_t eq = str_index(line, '=');
	struct str name = str_trim(str_head(line, eq));

	if (eq == line.n)
		return "missing '=' after attribute name";
	if (name.n == 0)
		return "missing attribute name";
	for (size_t i = 0; i < name.n; i++)
		if (str_isspace(name.p[i]))
			return "missing '=' after attribute name";
	*ret_name = name;
	*ret_value = str_trim(str_from(line, eq + 1));
	return NULL;
}

static void
put(struct str line, const char *file, int first, struct settings *to, struct arena *a,
    struct config_report *report)
{
	struct str name, value;
	const struct setting_entry *old;
	const char *wrong = split(line, &name, &value);

	if (wrong != NULL) {
		config_report_error(
		    report, file, first, "%s: \"%.*s\"", wrong, STR_FMT(str_head(line, 200)));
		return;
	}
	old = settings_find(to, name);
	if (old != NULL)
		config_report_warn(report, file, first, "overriding earlier entry: %.*s=%s",
		    STR_FMT(name), old->setting.value);
	settings_put(to, a, arena_str(a, name), arena_str(a, value), file, first);
}

int
maincf_parse(struct str text, const char *file, struct settings *to, struct arena *a,
    struct config_report *report)
{
	int line = 0, first = 0, rc;
	unsigned errors = report->errors;
	struct buf logical;

	if (str_starts(text, STR("\xef\xbb\xbf")))
		text = str_from(text, 3); /* a byte order mark, as some editors put in front */
	if (text.n && memchr(text.p, '\0', text.n)) {
		config_report_error(report, file, 0, "contains a NUL byte: this is no text file");
		return -EINVAL;
	}
	buf_init(&logical, CONFIG_VALUE_MAX);
	while ((rc = lines_next(&text, &line, &first, &logical)) != 0) {
		if (rc < 0)
			config_report_error(report, file, first,
			    "the entry is longer than %d bytes", CONFIG_VALUE_MAX);
		else if (str_isspace(buf_cstr(&logical)[0]))
			/* Postfix goes on as well: it is no entry, so nothing is set. */
			config_report_warn(report, file, first,
			    "logical line must not start with whitespace; it is ignored");
		else
			put(buf_str(&logical), file, first, to, a, report);
	}
	buf_fini(&logical);
	return report->errors > errors ? -EINVAL : 0;
}
