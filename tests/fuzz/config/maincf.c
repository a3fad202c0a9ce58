/*
 * maincf.c - fuzzes main.cf, and what is made of it: expansion, types, checks, suggestions.
 */
#include <stdlib.h>
#include "config/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same text as a set of settings; every value is expanded and tried on every kind of row. */
static void
use(struct config_data *d, struct config_report *report)
{
	const struct scope sc = {.d = d};
	struct params *params = ARENA_NEW(&d->arena, struct params);
	const struct config_source src = {.hostname = "fuzz.example", .is_root = true};

	d->cfg.params = params;
	d->cfg.data = d;
	d->cfg.dir = "";
	defaults_compute(d, &src);
	d->texts = arena_alloc(&d->arena, param_count() * sizeof(*d->texts));
	params_read(&sc, params, d->texts, report);
	for (struct setting_entry *e = d->settings.hash; e; e = e->hh.next)
		e->text = e->setting.value;
	transport_read(d, report);
	check_names(d, report);
	check_values(d, report);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_data *d = MEM_NEW(struct config_data);
	struct config_report report;
	struct arena arena;

	if (size > 4096)
		size = 4096;
	config_report_init(&report);
	maincf_parse(
	    (struct str){(const char *)data, size}, "main.cf", &d->settings, &d->arena, &report);
	if (size > 0 && data[0] == '#') /* the parser alone is a hundred times faster */
		use(d, &report);
	for (const struct config_note *n = report.first; n; n = n->next)
		PP_ASSERT(n->text[0]);
	settings_fini(&d->settings);
	settings_fini(&d->mentioned);
	settings_fini(&d->tables);
	HASH_CLEAR(hh, d->transports);
	arena = d->arena;
	arena_fini(&arena);
	mem_free(d);
	config_report_fini(&report);
	return 0;
}
