/*
 * mastercf.c - fuzzes the rows of master.cf.
 */
#include <stdlib.h>
#include "config/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_data *d = MEM_NEW(struct config_data);
	struct config_report report;
	struct arena arena;

	config_report_init(&report);
	mastercf_parse((struct str){(const char *)data, size}, "master.cf", d, &report);
	for (struct service_entry *e = d->services; e; e = e->next) {
		PP_ASSERT(e->columns[7] && e->service.type && e->service.args);
		for (const struct service_option *o = e->options; o; o = o->next)
			PP_ASSERT(o->name[0] && settings_find(&e->overrides, str_of(o->name)));
		settings_fini(&e->overrides);
	}
	arena = d->arena;
	arena_fini(&arena);
	mem_free(d);
	config_report_fini(&report);
	return 0;
}
