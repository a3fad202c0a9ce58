/*
 * check.c - what each value alone cannot show: unknown names, values that contradict each other,
 * and the one mistake that must never start, an open relay.
 *
 * A name in main.cf that nobody reads is the most common error of all and was silent for decades.
 * So everything is asked for its reader: a row of the tables, a transport, a $name somewhere, a
 * restriction class; what has none is told, with the name that was probably meant.
 */
#include <errno.h>
#include "internal.h"

enum { SUGGESTIONS_MAX = 20 }; /* per load: a file of other people's names ends soon */

static void
add_name(struct config_data *d, struct settings *to, struct str name)
{
	if (settings_find(to, name) == NULL)
		settings_put(to, &d->arena, arena_str(&d->arena, name), "", "", 0);
}

static void
add_mentioned(void *arg, struct str name)
{
	struct config_data *d = arg;

	add_name(d, &d->mentioned, name);
}

static void
add_list(struct config_data *d, const char *list)
{
	struct str rest = str_of(list), word;

	while (str_token(&rest, ", \t\n", &word))
		add_name(d, &d->mentioned, word);
}

/* ldap:sales reads sales_server_host and so on. */
static void
add_tables(struct config_data *d, const char *value)
{
	static const char *const types[] = {"ldap:", "mysql:", "pgsql:", "sqlite:", "memcache:"};
	struct str rest = str_of(value), word;

	while (str_token(&rest, ", \t\n", &word)) {
		if (str_starts(word, STR("proxy:")))
			word = str_from(word, 6);
		for (size_t i = 0; i < PP_COUNT(types); i++)
			if (str_starts(word, str_of(types[i])))
				add_name(d, &d->tables, str_from(word, strlen(types[i])));
	}
}

static void
add_value(struct config_data *d, const char *value)
{
	if (strchr(value, '$'))
		expand_names(str_of(value), add_mentioned, d);
	if (strchr(value, ':'))
		add_tables(d, value);
}

/* Every name that something reads, but for those of the tables and transports. */
static void
collect(struct config_data *d)
{
	const struct param *p;

	add_list(d, d->cfg.params->smtpd_restriction_classes);
	for (const struct setting_entry *e = d->settings.hash; e; e = e->hh.next)
		add_value(d, e->setting.value);
	for (const struct service_entry *e = d->services; e; e = e->next) {
		for (const struct service_option *o = e->options; o; o = o->next)
			add_value(d, o->value);
		for (size_t i = 0; e->service.args[i]; i++)
			add_value(d, e->service.args[i]);
		add_list(d, e->service.params->smtpd_restriction_classes);
	}
	for (unsigned i = 0; (p = param_at(i)) != NULL; i++)
		add_value(d, param_def(p));
}

bool
config_is_used(const struct config *cfg, const char *name)
{
	const struct config_data *d = config_data(cfg);
	struct str s = str_of(name);

	if (transport_param_split(d, s) != NULL || settings_find(&d->mentioned, s) != NULL)
		return true;
	for (const struct setting_entry *e = d->tables.hash; e; e = e->hh.next) {
		size_t n = strlen(e->setting.name);

		if (n > 0 && s.n > n && s.p[n] == '_' && str_starts(s, str_of(e->setting.name)))
			return true;
	}
	return false;
}

/* The transport in a name of the form TRANSPORT_what, when nothing else was probably meant. */
static struct str
missing_transport(struct str name, const char *near)
{
	const struct transport_param *t;

	if (near && str_starts(name, STR("smtpd_")))
		return (struct str){0};
	for (unsigned i = 0; (t = transport_param_at(i)) != NULL; i++) {
		struct str what = str_of(t->what);

		if (name.n > what.n + 1 && str_ends(name, what) &&
		    name.p[name.n - what.n - 1] == '_')
			return str_head(name, name.n - what.n - 1);
	}
	return (struct str){0};
}

static void
tell_unknown(struct config_data *d, const char *name, const char *file, int line,
    struct config_report *report)
{
	const char *near = d->suggestions++ < SUGGESTIONS_MAX ? param_suggest(str_of(name)) : NULL;
	struct str transport = missing_transport(str_of(name), near);

	if (transport.n > 0)
		config_report_warn(report, file, line,
		    "unknown parameter \"%s\": master.cf has no transport \"%.*s\"", name,
		    STR_FMT(transport));
	else if (near)
		config_report_warn(report, file, line,
		    "unknown parameter \"%s\" (did you mean \"%s\"?)", name, near);
	else
		config_report_warn(report, file, line, "unknown parameter \"%s\"", name);
}

/* A parameter that Postfix knows and this version does nothing with, set to something. */
static void
tell_level(struct config_data *d, const struct param *p, const struct setting_entry *e,
    const char *text, struct config_report *report)
{
	const struct scope sc = {.d = d};
	struct buf def;

	if (p->level != PARAM_LATER)
		return;
	buf_init(&def, CONFIG_VALUE_MAX);
	if (p->type == PARAM_RAW)
		buf_adds(&def, param_def(p));
	else
		scope_expand(&sc, str_of(d->defaults[param_index(p)]), &def, NULL);
	if (!str_caseeq(buf_str(&def), str_of(text)))
		config_report_warn(report, e->setting.file, e->setting.line,
		    "%s has no effect in this version of pennypost", param_name(p));
	buf_fini(&def);
}

static void
check_service_names(struct config_data *d, struct service_entry *s, struct config_report *report)
{
	for (const struct service_option *o = s->options; o; o = o->next) {
		const struct param *p = param_find(str_of(o->name));
		const struct setting_entry *e = settings_find(&s->overrides, str_of(o->name));

		if (!s->service.is_available)
			continue;
		if (p != NULL)
			tell_level(d, p, e, s->texts[param_index(p)], report);
		else if (!config_is_used(&d->cfg, o->name))
			tell_unknown(d, o->name, s->service.file, s->service.line, report);
	}
}

void
check_names(struct config_data *d, struct config_report *report)
{
	collect(d);
	for (const struct setting_entry *e = d->settings.hash; e; e = e->hh.next) {
		const struct param *p = param_find(str_of(e->setting.name));

		if (p != NULL)
			tell_level(d, p, e, d->texts[param_index(p)], report);
		else if (!config_is_used(&d->cfg, e->setting.name))
			tell_unknown(d, e->setting.name, e->setting.file, e->setting.line, report);
	}
	for (struct service_entry *s = d->services; s; s = s->next)
		check_service_names(d, s, report);
}
