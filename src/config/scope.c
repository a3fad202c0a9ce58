/*
 * scope.c - from texts to struct params: every parameter as one scope sees it.
 *
 * The same walk serves the configuration and each service with -o settings of its own. A service
 * sees everything again, because its -o may stand in any value as $name; it reports only what the
 * configuration itself did not have.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"

struct reading {
	const struct scope *sc;
	struct params *to;
	const char **texts;
	struct config_report *report;
	struct buf text, err;
};

static const struct setting_entry *
find_setting(const struct scope *sc, const struct param *p)
{
	struct str name = {param_name(p), p->name_n};
	const struct setting_entry *e = sc->overrides ? settings_find(sc->overrides, name) : NULL;

	return e ? e : settings_find(&sc->d->settings, name);
}

/* An unusable value: an error when it would matter, a warning when nothing depends on it. */
static void
complain(struct reading *r, const struct param *p, const struct setting_entry *e, const char *value)
{
	const char *file = e ? e->setting.file : "";
	int line = e ? e->setting.line : 0;
	struct str shown = str_head(str_of(value), 200);

	/* A service only tells of its own -o; the rest was told when main.cf was read. */
	if (r->sc->overrides && (!e || !settings_find(r->sc->overrides, str_of(param_name(p)))))
		return;
	if (p->level == PARAM_EFFECT)
		config_report_error(r->report, file, line, "%s = \"%.*s\": %s", param_name(p),
		    STR_FMT(shown), buf_cstr(&r->err));
	else
		config_report_warn(r->report, file, line, "%s = \"%.*s\": %s; the default is used",
		    param_name(p), STR_FMT(shown), buf_cstr(&r->err));
}

static int
expand_one(struct reading *r, const struct param *p, const char *raw)
{
	buf_clear(&r->text);
	buf_clear(&r->err);
	if (p->type == PARAM_RAW)
		return buf_adds(&r->text, raw);
	return scope_expand(r->sc, str_of(raw), &r->text, &r->err);
}

/* Most values are their defaults, and stand in the table for good: those need no copy. */
static const char *
keep(struct reading *r, const char *raw)
{
	struct str text = str_trim(buf_str(&r->text));

	return str_eq(text, str_of(raw)) ? raw : arena_str(&r->sc->d->arena, text);
}

static bool
read_text(struct reading *r, unsigned i, const struct setting_entry *e, const char *raw)
{
	const struct param *p = param_at(i);
	int rc = expand_one(r, p, raw);

	r->texts[i] = keep(r, raw);
	if (rc == 0)
		rc = param_parse(p, str_of(r->texts[i]), &r->sc->d->arena, r->to, &r->err);
	if (rc < 0)
		complain(r, p, e, raw);
	return rc == 0;
}

static void
read_one(struct reading *r, unsigned i, const struct param *p)
{
	const struct setting_entry *e = find_setting(r->sc, p);
	const char *raw = r->sc->d->defaults[i];

	if (e != NULL)
		raw = e->content ? e->content : e->setting.value;
	if (read_text(r, i, e, raw) || (e && read_text(r, i, NULL, r->sc->d->defaults[i])))
		return;
	/* The default leans on something broken; there is an error about it already. */
	r->texts[i] = "";
	if (p->type == PARAM_TEXT || p->type == PARAM_RAW || p->type == PARAM_ENUM)
		*(const char **)((char *)r->to + p->offset) = "";
}

void
params_read(
    const struct scope *sc, struct params *to, const char **texts, struct config_report *report)
{
	struct reading r = {.sc = sc, .to = to, .texts = texts, .report = report};
	const struct param *p;

	buf_init(&r.text, CONFIG_VALUE_MAX);
	buf_init(&r.err, 4096);
	for (unsigned i = 0; (p = param_at(i)) != NULL; i++)
		read_one(&r, i, p);
	buf_fini(&r.text);
	buf_fini(&r.err);
}

/* The smtp_ name of an lmtp_ parameter. */
static const struct param *
smtp_twin(const struct param *lmtp)
{
	static const char *const odd[][2] = {
	    {"lmtp_lhlo_name", "smtp_helo_name"},
	    {"lmtp_lhlo_timeout", "smtp_helo_timeout"},
	    {"lmtp_discard_lhlo_keywords", "smtp_discard_ehlo_keywords"},
	    {"lmtp_discard_lhlo_keyword_address_maps", "smtp_discard_ehlo_keyword_address_maps"},
	};
	char name[128];
	int n;

	for (size_t i = 0; i < PP_COUNT(odd); i++)
		if (strcmp(odd[i][0], param_name(lmtp)) == 0)
			return param_find(str_of(odd[i][1]));
	n = snprintf(name, sizeof(name), "smtp_%s", param_name(lmtp) + strlen("lmtp_"));
	PP_ASSERT(n > 0 && (size_t)n < sizeof(name));
	return param_find((struct str){name, (size_t)n});
}

void
params_use_lmtp(struct params *params, const char **texts)
{
	const struct param *p;

	for (unsigned i = 0; (p = param_at(i)) != NULL; i++) {
		const struct param *twin;
		size_t size = p->type == PARAM_BOOL ? sizeof(bool) : sizeof(int64_t);

		if (strncmp(param_name(p), "lmtp_", 5) != 0)
			continue;
		twin = smtp_twin(p);
		if (twin == NULL || twin->type != p->type)
			continue;
		memcpy((char *)params + twin->offset, (char *)params + p->offset, size);
		texts[param_index(twin)] = texts[i];
	}
}
