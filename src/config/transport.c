/*
 * transport.c - TRANSPORT_destination_concurrency_limit and its sisters.
 *
 * Their names are made of a transport's, so they can have no row and no field. What somebody set
 * is read once, while loading, with the row of the default_ parameter behind it; asking later only
 * looks it up.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"

static const struct transport_param rows[] = {
#define TRANSPORT(what, fallback) {#what, #fallback, "$" #fallback},
#include "pp/tbl/transport_params.def"
#undef TRANSPORT
};

const struct transport_param *
transport_param_at(unsigned i)
{
	return i < PP_COUNT(rows) ? &rows[i] : NULL;
}

static bool
is_transport(const struct config_data *d, struct str name)
{
	static const char *const always[] = {
	    "smtp", "relay", "lmtp", "local", "virtual", "error", "retry", "discard"};

	for (size_t i = 0; i < PP_COUNT(always); i++)
		if (str_eq(name, str_of(always[i])))
			return true;
	for (const struct service_entry *e = d->services; e; e = e->next)
		if (strcmp(e->service.type, "unix") == 0 && str_eq(name, str_of(e->service.name)))
			return true;
	return false;
}

bool
config_is_transport(const struct config *cfg, const char *name)
{
	return is_transport(config_data(cfg), str_of(name));
}

const struct transport_param *
transport_param_split(const struct config_data *d, struct str name)
{
	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct str what = str_of(rows[i].what);
		size_t head;

		if (name.n < what.n + 2 || !str_ends(name, what))
			continue;
		head = name.n - what.n - 1;
		if (name.p[head] == '_' && is_transport(d, str_head(name, head)))
			return &rows[i];
	}
	return NULL;
}

static void
read_one(struct config_data *d, const struct setting_entry *e, const struct transport_param *t,
    struct config_report *report)
{
	const struct param *row = param_find(str_of(t->fallback));
	struct params *scratch = MEM_NEW(struct params);
	struct transport_value *v = ARENA_NEW(&d->arena, struct transport_value);
	struct buf err;

	PP_ASSERT(row != NULL);
	buf_init(&err, 4096);
	v->name = e->setting.name;
	v->text = e->text;
	if (param_parse(row, str_trim(str_of(v->text)), &d->arena, scratch, &err) < 0)
		config_report_error(report, e->setting.file, e->setting.line, "%s = \"%s\" %s",
		    e->setting.name, v->text, buf_cstr(&err));
	else if (row->type != PARAM_TEXT)
		v->number = *(int64_t *)((char *)scratch + row->offset);
	HASH_ADD_KEYPTR(hh, d->transports, v->name, strlen(v->name), v);
	buf_fini(&err);
	mem_free(scratch);
}

void
transport_read(struct config_data *d, struct config_report *report)
{
	for (struct setting_entry *e = d->settings.hash; e; e = e->hh.next) {
		struct str name = str_of(e->setting.name);
		const struct transport_param *t = transport_param_split(d, name);

		if (t != NULL && param_find(name) == NULL && e->text != NULL)
			read_one(d, e, t, report);
	}
}

static const struct transport_value *
find(const struct config_data *d, const char *transport, const char *what)
{
	struct transport_value *v = NULL;
	char name[512];
	int n = snprintf(name, sizeof(name), "%s_%s", transport, what);

	if (n > 0 && (size_t)n < sizeof(name))
		HASH_FIND(hh, d->transports, name, (size_t)n, v);
	return v;
}

/* The row that answers when nobody set TRANSPORT_what: its own (local_destination_...) or the
 * default's. */
static const struct param *
fallback_row(const char *transport, const char *what)
{
	const struct param *p = NULL;
	char name[512];
	int n = snprintf(name, sizeof(name), "%s_%s", transport, what);

	if (n > 0 && (size_t)n < sizeof(name))
		p = param_find((struct str){name, (size_t)n});
	for (size_t i = 0; p == NULL && i < PP_COUNT(rows); i++)
		if (strcmp(rows[i].what, what) == 0)
			p = param_find(str_of(rows[i].fallback));
	PP_ASSERT(p != NULL);
	return p;
}

int64_t
config_transport_number(const struct config *cfg, const char *transport, const char *what)
{
	const struct transport_value *v = find(config_data(cfg), transport, what);
	const struct param *p = fallback_row(transport, what);

	PP_ASSERT(p->type == PARAM_INT || p->type == PARAM_TIME || p->type == PARAM_SIZE);
	return v ? v->number : *(const int64_t *)((const char *)cfg->params + p->offset);
}

const char *
config_transport_text(const struct config *cfg, const char *transport, const char *what)
{
	const struct config_data *d = config_data(cfg);
	const struct transport_value *v = find(d, transport, what);

	return v ? v->text : d->texts[param_index(fallback_row(transport, what))];
}
