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

struct seeker {
	struct str name;
	bool is_found;
};

static void
seek(void *arg, struct str name)
{
	struct seeker *s = arg;

	s->is_found |= str_eq(name, s->name);
}

static bool
mentions(const char *text, struct seeker *s)
{
	if (text && strchr(text, '$'))
		expand_names(str_of(text), seek, s);
	return s->is_found;
}

static bool
is_listed(const char *list, struct str name)
{
	struct str rest = str_of(list), word;

	while (str_token(&rest, ", \t\n", &word))
		if (str_eq(word, name))
			return true;
	return false;
}

/* ldap:sales reads sales_server_host and so on. */
static bool
is_of_table(const char *value, struct str name)
{
	static const char *const types[] = {"ldap:", "mysql:", "pgsql:", "sqlite:", "memcache:"};
	struct str rest = str_of(value), word;

	while (str_token(&rest, ", \t\n", &word)) {
		if (str_starts(word, STR("proxy:")))
			word = str_from(word, 6);
		for (size_t i = 0; i < PP_COUNT(types); i++) {
			struct str type = str_of(types[i]), table = str_from(word, type.n);

			if (str_starts(word, type) && table.n && name.n > table.n &&
			    str_starts(name, table) && name.p[table.n] == '_')
				return true;
		}
	}
	return false;
}

static bool
service_uses(const struct service_entry *e, struct seeker *s)
{
	for (const struct service_option *o = e->options; o; o = o->next)
		if (mentions(o->value, s) || strcmp(o->name, "smtpd_restriction_classes") == 0)
			if (s->is_found || is_listed(o->value, s->name))
				return true;
	for (size_t i = 0; e->service.args[i]; i++)
		if (mentions(e->service.args[i], s))
			return true;
	return false;
}

bool
config_is_used(const struct config *cfg, const char *name)
{
	const struct config_data *d = config_data(cfg);
	struct seeker s = {.name = str_of(name)};
	const struct param *p;

	if (transport_param_split(d, s.name) != NULL)
		return true;
	if (is_listed(d->cfg.params->smtpd_restriction_classes, s.name))
		return true;
	for (const struct setting_entry *e = d->settings.hash; e; e = e->hh.next)
		if (mentions(e->setting.value, &s) || is_of_table(e->setting.value, s.name))
			return true;
	for (const struct service_entry *e = d->services; e; e = e->next)
		if (service_uses(e, &s))
			return true;
	for (unsigned i = 0; (p = param_at(i)) != NULL; i++)
		if (mentions(p->def, &s))
			return true;
	return false;
}

static void
tell_unknown(const struct config_data *d, const char *name, const char *file, int line,
    struct config_report *report)
{
	struct str s = str_of(name);
	const char *near = param_suggest(s);

	/* A parameter of a transport that master.cf does not have is a different mistake. */
	for (unsigned i = 0; transport_param_at(i); i++) {
		struct str what = str_of(transport_param_at(i)->what);

		if (s.n < what.n + 2 || !str_ends(s, what) || s.p[s.n - what.n - 1] != '_')
			continue;
		if (near && param_find(str_of(near))->level == PARAM_EFFECT &&
		    strncmp(name, "smtpd_", 6) == 0)
			break;
		config_report_warn(report, file, line,
		    "unknown parameter \"%s\": master.cf has no transport \"%.*s\"", name,
		    STR_FMT(str_head(s, s.n - what.n - 1)));
		return;
	}
	(void)d;
	if (near)
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
		buf_adds(&def, p->def);
	else
		scope_expand(&sc, str_of(d->defaults[param_index(p)]), &def, NULL);
	if (!str_caseeq(buf_str(&def), str_of(text)))
		config_report_warn(report, e->setting.file, e->setting.line,
		    "%s has no effect in this version of pennypost", p->name);
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
