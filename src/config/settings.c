/*
 * settings.c - sets of `name = value`, and the scope in which names are looked up.
 *
 * A scope is the whole rule of precedence in one place: the -o of a service, then what main.cf, the
 * environment and the command line say, then the defaults. Everything that expands a macro asks
 * here, so a -o reaches every value that mentions it.
 */
#include "internal.h"

struct setting_entry *
settings_find(const struct settings *s, struct str name)
{
	struct setting_entry *e = NULL;

	HASH_FIND(hh, s->hash, name.p, name.n, e);
	return e;
}

struct setting_entry *
settings_put(struct settings *s, struct arena *a, const char *name, const char *value,
    const char *file, int line)
{
	struct setting_entry *e = settings_find(s, str_of(name));

	if (e == NULL) {
		e = ARENA_NEW(a, struct setting_entry);
		e->setting.name = name;
		HASH_ADD_KEYPTR(hh, s->hash, name, strlen(name), e);
	}
	e->setting.value = value;
	e->setting.file = file;
	e->setting.line = line;
	e->setting.origin = line > 0 ? arena_printf(a, "%s, line %d", file, line) : file;
	return e;
}

void
settings_fini(struct settings *s)
{
	HASH_CLEAR(hh, s->hash);
}

const char *
scope_lookup(void *arg, struct str name)
{
	const struct scope *sc = arg;
	struct setting_entry *e = sc->overrides ? settings_find(sc->overrides, name) : NULL;
	const struct transport_param *t;
	const struct param *p;

	if (e == NULL)
		e = settings_find(&sc->d->settings, name);
	if (e != NULL)
		return e->content ? e->content : e->setting.value;
	p = param_find(name);
	if (p != NULL)
		return sc->d->defaults[param_index(p)];
	t = transport_param_split(sc->d, name);
	return t ? t->reference : NULL;
}

int
scope_expand(const struct scope *sc, struct str text, struct buf *to, struct buf *err)
{
	const struct expand_env env = {.lookup = scope_lookup, .arg = (void *)sc};

	return expand(text, &env, to, err);
}
