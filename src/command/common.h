/*
 * common.h - what the queue commands share: their configuration, their spool, their last words.
 */
#pragma once
#include "pp/base/assert.h"
#include "pp/config/config.h"
#include "pp/spool/spool.h"

struct command {
	const char *name;
	int fatal_code;            /* exit code of every fatal error */
	const char *config_option; /* -c, or NULL */
	struct config *config;     /* NULL until command_config */
	struct spool *spool;       /* NULL until command_spool */
};

/* Set-gid, nothing of a stranger's environment matters but the time zone. */
void command_environment(void);
/* False after the reason was told: -c of a set-gid command names a stranger's configuration. */
bool command_dir_allowed(const char *name, const char *dir);
/* Sets up messages on stderr as "NAME: text". */
void command_begin(struct command *c, char **argv);
/* Ends the process: "NAME: fatal: text", exit code fatal_code. */
void command_fatal(struct command *c, const char *fmt, ...) PP_PRINTF(2, 3)
    __attribute__((noreturn, cold));
/* Both end the process when they fail. */
void command_config(struct command *c);
void command_spool(struct command *c);
/* Frees, flushes stdout; returns `code`, or ends the process when stdout could not be written. */
int command_end(struct command *c, int code);
/* What `newaliases` and `sendmail -bi` do with the configuration in dir (NULL: the usual one). */
int command_newaliases(const char *dir);
