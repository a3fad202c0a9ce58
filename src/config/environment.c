/*
 * environment.c - parameters from the environment, for containers.
 *
 * POSTFIX_relayhost=x and RELAYHOST=x set the parameter, with _FILE behind either name it is read
 * from a file: that is how orchestrators hand over secrets. Only known parameters are taken by
 * their bare name, and none that a common variable could name by accident; what begins with
 * POSTFIX_ is meant for us, so a misspelt one is told.
 */
#include <errno.h>
#include <fcntl.h>
#include "internal.h"
#include "pp/base/fsio.h"

/* Bare names that mean something else to others, or that nobody may set. */
static bool
is_reserved(const struct param *p)
{
	static const char *const names[] = {"stress", "service_name", "mail_version", "workers",
	    "journal", "config_directory", "biff", "dont_remove"};

	for (size_t i = 0; i < PP_COUNT(names); i++)
		if (strcmp(names[i], param_name(p)) == 0)
			return true;
	return p->level == PARAM_MOOT;
}

static const struct param *
find_upper(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (str_lower(name.p[i]) == name.p[i] && str_isalpha(name.p[i]))
			return NULL;
	return param_find_caseless(name);
}

static bool
is_upper(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] != str_lower(name.p[i]))
			continue;
		else if (str_isalpha(name.p[i]))
			return false;
	return true;
}

static bool
is_name(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!str_isalnum(name.p[i]) && name.p[i] != '_' && name.p[i] != '-')
			return false;
	return name.n > 0;
}

/* The parameter that a variable (without POSTFIX_) names; NULL: none. */
static const char *
parameter_of(struct config_data *d, struct str name, bool is_prefixed)
{
	const struct param *p = is_prefixed ? param_find(name) : NULL;

	if (p == NULL)
		p = find_upper(name);
	if (p != NULL)
		return is_prefixed || !is_reserved(p) ? param_name(p) : NULL;
	return is_prefixed && is_name(name) && !is_upper(name) ? arena_str(&d->arena, name) : NULL;
}

static const char *
read_file(struct config_data *d, const char *origin, const char *path, struct config_report *report)
{
	struct buf content;
	struct str s;
	const char *value = NULL;
	int rc;

	buf_init(&content, CONFIG_VALUE_MAX);
	rc = fsio_read_all(AT_FDCWD, path, &content);
	s = buf_str(&content);
	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	if (rc < 0)
		config_report_error(report, origin, 0, "cannot read %s: %s", path, strerror(-rc));
	else if (memchr(s.p, '\0', s.n))
		config_report_error(report, origin, 0, "%s contains a NUL byte", path);
	else
		value = arena_str(&d->arena, s);
	buf_fini(&content);
	return value;
}

static void
put(struct config_data *d, struct settings *seen, const char *name, const char *value,
    const char *origin, struct config_report *report)
{
	const struct setting_entry *old = settings_find(seen, str_of(name));

	if (old != NULL) {
		config_report_error(
		    report, origin, 0, "%s is also set by the %s", name, old->setting.file);
		return;
	}
	settings_put(seen, &d->arena, name, value, origin, 0);
	settings_put(&d->settings, &d->arena, name, value, origin, 0);
}

static void
apply(struct config_data *d, struct settings *seen, struct str variable, const char *value,
    struct config_report *report)
{
	bool is_prefixed = str_starts(variable, STR("POSTFIX_"));
	struct str rest = is_prefixed ? str_from(variable, 8) : variable;
	bool is_file = rest.n > 5 && str_ends(rest, STR("_FILE"));
	const char *name, *origin;

	/* SMTP_TLS_CERT_FILE is a parameter itself; only else the suffix is ours. */
	name = is_file && param_find(rest) == NULL && find_upper(rest) == NULL
		   ? parameter_of(d, str_head(rest, rest.n - 5), is_prefixed)
		   : NULL;
	if (name == NULL) {
		is_file = false;
		name = parameter_of(d, rest, is_prefixed);
	}
	origin = arena_printf(&d->arena, "environment variable %.*s", STR_FMT(variable));
	if (name == NULL) {
		if (is_prefixed)
			config_report_warn(report, origin, 0, "no parameter has this name");
		return;
	}
	if (is_file)
		value = read_file(d, origin, value, report);
	if (value != NULL)
		put(d, seen, name, arena_str(&d->arena, str_trim(str_of(value))), origin, report);
}

void
environment_apply(char *const *environ, struct config_data *d, struct config_report *report)
{
	struct settings seen = {0};

	for (size_t i = 0; environ && environ[i]; i++) {
		struct str s = str_of(environ[i]);
		size_t eq = str_index(s, '=');

		if (eq > 0 && eq < s.n)
			apply(d, &seen, str_head(s, eq), environ[i] + eq + 1, report);
	}
	settings_fini(&seen);
}
