/*
 * config.c - one immutable snapshot out of files, environment and defaults.
 *
 * The order is the rule of precedence: main.cf, over it the environment, over it the command line;
 * under them the defaults. Everything is expanded and read while loading, so that an error shows
 * at start (or leaves the old configuration in force at a reload) and never at the first mail.
 */
#include <errno.h>
#include <fcntl.h>
#include "internal.h"
#include "pp/base/fsio.h"

static void
destroy(struct snap *snap)
{
	struct config_data *d = PP_CONTAINER(snap, struct config_data, cfg.snap);
	struct arena arena = d->arena;

	for (struct service_entry *e = d->services; e; e = e->next)
		settings_fini(&e->overrides);
	settings_fini(&d->settings);
	settings_fini(&d->mentioned);
	settings_fini(&d->tables);
	HASH_CLEAR(hh, d->transports);
	mem_free(d);
	arena_fini(&arena);
}

/* Reads a file of the directory; -ENOENT is told by the result alone. */
static int
read_file(const char *path, struct buf *to, struct config_report *report)
{
	int rc = fsio_read_all(AT_FDCWD, path, to);

	if (rc < 0 && rc != -ENOENT)
		config_report_error(report, path, 0,
		    rc == -EFBIG ? "cannot be read: it is longer than 4 MiB" : "cannot be read: %s",
		    strerror(-rc));
	return rc;
}

static void
read_main(struct config_data *d, const struct config_source *src, struct config_report *report)
{
	const char *path = arena_printf(&d->arena, "%s/main.cf", d->cfg.dir);
	struct buf text;
	int rc;

	buf_init(&text, CONFIG_FILE_MAX);
	rc = read_file(path, &text, report);
	if (rc == -ENOENT && src->is_dir_required)
		config_report_error(report, path, 0, "there is no such file");
	d->cfg.has_main = rc == 0;
	if (rc == 0)
		maincf_parse(buf_str(&text), path, &d->settings, &d->arena, report);
	buf_fini(&text);
}

static void
read_master(struct config_data *d, const struct config_source *src, struct config_report *report)
{
	const char *path = arena_printf(&d->arena, "%s/master.cf", d->cfg.dir);
	struct buf text;
	int rc = -ENOENT;

	buf_init(&text, CONFIG_FILE_MAX);
	if (*d->cfg.dir)
		rc = read_file(path, &text, report);
	d->cfg.has_master = rc == 0;
	if (rc == 0)
		mastercf_parse(buf_str(&text), path, d, report);
	else
		mastercf_parse(str_of(mastercf_builtin(src->is_root)), "", d, report);
	buf_fini(&text);
}

static void
apply_extra(struct config_data *d, const char *const *extra, struct config_report *report)
{
	for (size_t i = 0; extra && extra[i]; i++) {
		struct str s = str_of(extra[i]);
		size_t eq = str_index(s, '=');

		if (eq == 0 || eq == s.n) {
			config_report_error(
			    report, "command line", 0, "\"%s\" must be name=value", extra[i]);
			continue;
		}
		settings_put(&d->settings, &d->arena,
		    arena_str(&d->arena, str_trim(str_head(s, eq))),
		    arena_str(&d->arena, str_trim(str_from(s, eq + 1))), "command line", 0);
	}
}

/* Debian's rule: a myorigin that begins with a / names the file that holds it. */
static void
read_myorigin(struct config_data *d, struct config_report *report)
{
	struct setting_entry *e = settings_find(&d->settings, STR("myorigin"));
	struct str rest, line;
	struct buf text;
	int rc;

	if (e == NULL || e->setting.value[0] != '/')
		return;
	buf_init(&text, CONFIG_VALUE_MAX);
	rc = fsio_read_all(AT_FDCWD, e->setting.value, &text);
	rest = buf_str(&text);
	if (rc < 0)
		config_report_error(report, e->setting.file, e->setting.line,
		    "myorigin: cannot read %s: %s", e->setting.value, strerror(-rc));
	else if (!str_token(&rest, " \t\r\n", &line))
		config_report_error(report, e->setting.file, e->setting.line,
		    "myorigin: %s is empty", e->setting.value);
	else
		e->content = arena_str(&d->arena, line);
	buf_fini(&text);
}

/* Half of the defaults compare with the level, so a bad one is told once and not by each of them.
 */
static void
read_level(struct config_data *d, struct config_report *report)
{
	struct setting_entry *e = settings_find(&d->settings, STR("compatibility_level"));
	struct str rest, part;
	int64_t number;
	int parts = 0, bad = 0;

	if (e == NULL || strchr(e->setting.value, '$'))
		return;
	rest = str_of(e->setting.value);
	for (; str_token(&rest, ".", &part); parts++)
		bad += str_number(part, 0, INT32_MAX, &number) < 0;
	if (!bad && parts >= 1 && parts <= 3)
		return;
	config_report_error(report, e->setting.file, e->setting.line,
	    "compatibility_level = \"%s\": must be a level such as 3.6", e->setting.value);
	e->content = param_def(param_find(STR("compatibility_level")));
}

/* Names that are no parameters of the tables: users' own, classes, TRANSPORT_what. */
static void
expand_others(const struct scope *sc, const char **texts, struct config_report *report)
{
	const struct settings *set = sc->overrides ? sc->overrides : &sc->d->settings;
	struct buf text, err;

	buf_init(&text, CONFIG_VALUE_MAX);
	buf_init(&err, 4096);
	for (struct setting_entry *e = set->hash; e; e = e->hh.next) {
		const struct param *p = param_find(str_of(e->setting.name));

		if (p != NULL) {
			e->text = texts[param_index(p)];
			continue;
		}
		buf_clear(&text);
		buf_clear(&err);
		if (scope_expand(sc, str_of(e->setting.value), &text, &err) == 0)
			e->text = arena_str(&sc->d->arena, str_trim(buf_str(&text)));
		else
			config_report_error(report, e->setting.file, e->setting.line,
			    "%s = \"%.*s\": %s", e->setting.name,
			    STR_FMT(str_head(str_of(e->setting.value), 200)), buf_cstr(&err));
	}
	buf_fini(&text);
	buf_fini(&err);
}

static bool
mentions_service_name(const struct config_data *d)
{
	for (const struct setting_entry *e = d->settings.hash; e; e = e->hh.next)
		if (strstr(e->setting.value, "service_name") != NULL)
			return true;
	return false;
}

static void
read_services(struct config_data *d, struct config_report *report)
{
	bool is_named = mentions_service_name(d);

	for (struct service_entry *e = d->services; e; e = e->next) {
		const struct scope sc = {.d = d, .overrides = &e->overrides};
		bool is_lmtp = strcmp(e->service.command, "lmtp") == 0;
		struct params *own;

		e->service.params = d->cfg.params;
		e->texts = d->texts;
		if (e->service.is_available && (e->options || is_named || is_lmtp)) {
			own = ARENA_NEW(&d->arena, struct params);
			e->texts = arena_alloc(&d->arena, param_count() * sizeof(*e->texts));
			params_read(&sc, own, e->texts, report);
			if (is_lmtp)
				params_use_lmtp(own, e->texts);
			expand_others(&sc, e->texts, report);
			e->service.params = own;
		}
		if (e->service.maxproc < 0)
			e->service.maxproc = e->service.params->default_process_limit;
	}
}

int
config_load(const struct config_source *src, struct config **ret, struct config_report *report)
{
	struct config_data *d = MEM_NEW(struct config_data);
	struct params *params = ARENA_NEW(&d->arena, struct params);
	const struct scope sc = {.d = d};
	unsigned errors = report->errors;
	bool is_broken;

	snap_init(&d->cfg.snap, destroy);
	d->cfg.data = d;
	d->cfg.dir = arena_strdup(&d->arena, src->dir ? src->dir : "");
	d->cfg.params = params;
	if (*d->cfg.dir)
		read_main(d, src, report);
	environment_apply(src->environ, d, report);
	apply_extra(d, src->extra, report);
	read_master(d, src, report);
	is_broken = report->errors > errors;
	read_myorigin(d, report);
	read_level(d, report);
	defaults_compute(d, src);
	d->texts = arena_alloc(&d->arena, param_count() * sizeof(*d->texts));
	params_read(&sc, params, d->texts, report);
	expand_others(&sc, d->texts, report);
	transport_read(d, report);
	read_services(d, report);
	check_names(d, report);
	if (report->errors == errors)
		check_values(d, report);
	if (is_broken || (report->errors > errors && !src->is_lenient)) {
		snap_unref(&d->cfg.snap);
		return -EINVAL;
	}
	*ret = &d->cfg;
	return 0;
}

const char *
config_dir(const char *option, char *const *environ, bool *ret_required)
{
	*ret_required = true;
	if (option && *option)
		return option;
	for (size_t i = 0; environ && environ[i]; i++)
		if (strncmp(environ[i], "MAIL_CONFIG=", 12) == 0 && environ[i][12])
			return environ[i] + 12;
	*ret_required = false;
	return CONFIG_DIR_DEFAULT;
}

const char *
config_service_program(const struct config *cfg, const struct service *s, struct arena *a)
{
	struct str own = str_of(s->params->syslog_name);
	struct str common = str_of(cfg->params->syslog_name);

	if (own.n > common.n + 1 && str_starts(own, common) && own.p[common.n] == '/')
		return arena_printf(a, "%s/%s", own.p + common.n + 1, s->command);
	return arena_strdup(a, s->command);
}
