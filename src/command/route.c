/*
 * route.c - which way mail would go: transport and next hop of addresses, by the tables as they are
 * now, without sending anything. Nothing is looked up in the DNS; which SRV records would be is
 * said.
 */
#include <stdio.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/mail/nexthop.h"
#include "pp/route/route.h"

#define USAGE "usage: pennypost route [-c config_dir] [-f sender] address..."

/* The SRV records that the client will ask for before anything else. */
static void
print_srv(const struct config *cfg, struct arena *a, const struct route_hop *hop)
{
	const struct service *row = config_service_find(cfg, "unix", hop->transport);
	struct str rest = str_of(hop->nexthop), word;
	const char *end = "\t";

	if (!row || (!str_eq(str_of(row->command), STR("smtp")) &&
			!str_eq(str_of(row->command), STR("lmtp"))))
		return;
	while (str_token(&rest, ", \t\r\n", &word)) {
		struct nexthop parts;
		const char *name = NULL;

		if (str_starts(word, STR("inet:")))
			word = str_from(word, 5);
		if (nexthop_split(word, &parts))
			name = nexthop_srv_name(
			    a, &parts, row->params->smtp_tcp_port, row->params->use_srv_lookup);
		if (name)
			printf("%sSRV %s", end, name);
		if (name)
			end = ", ";
	}
}

int
route_main(int argc, char **argv)
{
	struct command command = {.name = "route", .fatal_code = 1};
	const char *sender = "";
	struct arena a = {0};
	struct route *r;
	struct buf err;
	int c;

	command_begin(&command, argv);
	while ((c = getopt(argc, argv, "+c:f:")) != -1) {
		if (c == 'c')
			command.config_option = optarg;
		else if (c == 'f')
			sender = optarg;
		else
			command_fatal(&command, "%s", USAGE);
	}
	if (argv[optind] == NULL)
		command_fatal(&command, "%s", USAGE);
	command_config(&command);
	buf_init(&err, 4096);
	if (route_new(command.config, &r, &err) < 0)
		command_fatal(&command, "%s", buf_cstr(&err));
	sender = route_complete(r, &a, str_of(sender));
	for (argv += optind; *argv; argv++) {
		const char *address = route_complete(r, &a, str_of(*argv));
		struct route_hop hop;

		route_resolve_blk(r, &a, sender, address, &hop);
		printf("%s\t%s\t%s", address, hop.transport, hop.nexthop);
		print_srv(command.config, &a, &hop);
		putchar('\n');
	}
	route_unref(r);
	buf_fini(&err);
	arena_fini(&a);
	return command_end(&command, 0);
}
