/*
 * ask.c - the questions that a finished configuration answers.
 *
 * All of them look up what loading prepared; none allocates, so they may be asked from any thread.
 * (config_expand is the exception: it writes into the caller's buffer.)
 */
#include "internal.h"

static const struct service_entry *
entry(const struct service *s)
{
	return (const struct service_entry *)(const void *)s;
}

const char *
config_text(const struct config *cfg, const char *name)
{
	return config_service_text(cfg, NULL, name);
}

const char *
config_service_text(const struct config *cfg, const struct service *s, const char *name)
{
	const struct config_data *d = config_data(cfg);
	const struct param *p = param_find(str_of(name));
	const struct setting_entry *e;
	const struct transport_param *t;

	if (p != NULL)
		return s ? entry(s)->texts[param_index(p)] : d->texts[param_index(p)];
	e = s ? settings_find(&entry(s)->overrides, str_of(name)) : NULL;
	if (e != NULL)
		return e->text ? e->text : e->setting.value;
	e = settings_find(&d->settings, str_of(name));
	if (e != NULL)
		return e->text;
	t = transport_param_split(d, str_of(name));
	return t ? config_text(cfg, t->fallback) : NULL;
}

const char *
config_origin(const struct config *cfg, const char *name)
{
	const struct setting_entry *e = settings_find(&config_data(cfg)->settings, str_of(name));

	return e ? e->setting.origin : "default";
}

const struct service *
config_service_next(const struct config *cfg, const struct service *prev)
{
	const struct service_entry *e = prev ? entry(prev)->next : config_data(cfg)->services;

	return e ? &e->service : NULL;
}

const struct service *
config_service_find(const struct config *cfg, const char *type, const char *name)
{
	const struct service *s = NULL;

	while ((s = config_service_next(cfg, s)) != NULL)
		if (strcmp(s->type, type) == 0 && strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

const struct service_option *
config_service_options(const struct service *s)
{
	return entry(s)->options;
}

const char *const *
config_service_columns(const struct service *s)
{
	return entry(s)->columns;
}

const struct setting *
config_setting_next(const struct config *cfg, const struct setting *prev)
{
	const struct setting_entry *e = config_data(cfg)->settings.hash;

	if (prev != NULL)
		e = PP_CONTAINER(prev, struct setting_entry, setting)->hh.next;
	return e ? &e->setting : NULL;
}

const struct setting *
config_setting_find(const struct config *cfg, const char *name)
{
	const struct setting_entry *e = settings_find(&config_data(cfg)->settings, str_of(name));

	return e ? &e->setting : NULL;
}

const char *
config_default(const struct config *cfg, const char *name)
{
	const struct param *p = param_find(str_of(name));
	const struct transport_param *t;

	if (p != NULL)
		return config_data(cfg)->defaults[param_index(p)];
	t = transport_param_split(config_data(cfg), str_of(name));
	return t ? t->reference : NULL;
}

int
config_expand(const struct config *cfg, struct str text, struct buf *to, struct buf *err)
{
	const struct scope sc = {.d = config_data(cfg)};

	return scope_expand(&sc, text, to, err);
}
