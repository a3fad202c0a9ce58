/*
 * postalias.c - postalias, and newaliases, which is postalias for the tables of alias_database.
 *
 * Alias tables differ from others in the form of their lines only, so all of it is postmap's.
 */
#include "postmap.h"
#include "pp/command/command.h"
#include "pp/config/list.h"

int
postalias_main(int argc, char **argv)
{
	struct postmap pm = {.command = {.name = "postalias", .fatal_code = 1}, .is_alias = true};

	return postmap_run(&pm, argc, argv);
}

int
command_newaliases(const char *dir)
{
	struct postmap pm = {
	    .command = {.name = "postalias", .fatal_code = 1, .config_option = dir},
	    .is_alias = true};
	char *name[] = {NULL, NULL};
	struct arena a = {0};
	struct str rest, word;

	command_begin(&pm.command, name);
	command_config(&pm.command);
	rest = str_of(pm.command.config->params->alias_database);
	while (list_next(&rest, &word) > 0) {
		struct postmap_table t = postmap_table_of(&pm, arena_str(&a, word));

		postmap_build(&pm, &t);
	}
	arena_fini(&a);
	return command_end(&pm.command, 0);
}
