/*
 * daemon.h - `pennypost run`.
 * THREAD the process's first, before any other.
 * OWNS   nothing.
 * ERRORS the exit code: 0 after a clean stop, 78 for a configuration that cannot work, else 1.
 */
#pragma once
#include <stdbool.h>

struct daemon_options {
	const char *config_dir; /* -c, or NULL */
	int ready_fd;       /* gets "listening ADDRESS SERVICE\n".. "ready\n", then is closed; -1 */
	bool also_stderr;   /* troubles of the start go to stderr, not only to the log */
	bool is_background; /* stderr is let go once everything runs */
};

int daemon_run(const struct daemon_options *o);
/* Says on stderr what is wrong or odd; 0, or 78. Changes nothing. */
int daemon_check(const struct daemon_options *o);
