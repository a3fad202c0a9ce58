/*
 * common.c - the beginning and the end of every queue command.
 *
 * A command is short: an error that makes it useless ends the process at once, with one line in
 * Postfix's form. Warnings of the configuration are the daemon's and `check`'s to give, not every
 * command's; an error of it is fatal here as well.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>
#include "common.h"
#include "pp/runtime/log.h"

void
command_begin(struct command *c, char **argv)
{
	const struct log_options o = {
	    .syslog_name = "postfix", .file = "/dev/null", .facility = LOG_MAIL, .to_stderr = 1};

	argv[0] = (char *)(uintptr_t)c->name; /* getopt(3) names it in its complaints */
	optind = 1;
	log_setup(&o);
}

void
command_fatal(struct command *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	log_fatal(c->name, "%s", text);
	exit(c->fatal_code);
}

void
command_config(struct command *c)
{
	struct config_source src = {.environ = environ, .is_root = geteuid() == 0};
	struct config_report report;
	struct buf text;
	int rc;

	src.dir = config_dir(c->config_option, environ, &src.is_dir_required);
	config_report_init(&report);
	rc = config_load(&src, &c->config, &report);
	if (rc == 0) {
		config_report_fini(&report);
		return;
	}
	buf_init(&text, 4096);
	for (struct config_note *n = report.first; n; n = n->next) {
		if (!n->is_error)
			continue;
		config_note_text(n, &text);
		break;
	}
	command_fatal(c, "%s", text.n ? buf_cstr(&text) : strerror(-rc));
}

void
command_spool(struct command *c)
{
	const struct params *p = c->config->params;
	const struct spool_options o = {.directory = p->queue_directory,
	    .hash_queue_names = p->hash_queue_names,
	    .hash_queue_depth = (int)p->hash_queue_depth,
	    .long_ids = p->enable_long_queue_ids};
	struct buf err;

	buf_init(&err, 1024);
	if (spool_open(&o, false, (uid_t)-1, (gid_t)-1, &c->spool, &err) < 0)
		command_fatal(c, "%s", buf_cstr(&err));
	buf_fini(&err);
}

int
command_end(struct command *c, int code)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		command_fatal(c, "write to standard output: %s", strerror(errno));
	spool_close(c->spool);
	if (c->config)
		snap_unref(&c->config->snap);
	return code;
}
