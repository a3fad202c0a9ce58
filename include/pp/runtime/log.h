/*
 * log.h - Postfix's log lines: "Nov 21 21:01:55 host postfix/smtp[123]: text".
 * THREAD any. Once log_start has run, lines are written in batches by the log lane; before that,
 *        and in commands, by the caller itself.
 * OWNS   nothing. Text is copied; controls and broken UTF-8 become `?`, a line is cut at 2048
 * bytes. ERRORS a line that cannot be written is counted, and the count is logged when writing
 * works again. SEE    pennypost-internals(7).
 */
#pragma once
#include <stdbool.h>
#include "pp/base/assert.h"

struct log_options {
	const char *syslog_name; /* "postfix" */
	const char *host;        /* first label of myhostname */
	const char
	    *file;     /* NULL: syslog; "/dev/stdout"; a path: appended, reopened at log_reopen */
	int facility;  /* syslog's LOG_MAIL .. */
	int to_stderr; /* commands: "NAME: fatal: text" on stderr as well */
	long owner;    /* uid to give a newly made file to; -1 = nobody */
};

/* Sets the destination; may be called again (reload). Strings are copied. 0 or -errno of opening.
 */
int log_setup(const struct log_options *o);
bool log_is_stdout(void);
/* The number of a word of syslog_facility ("mail", "local0"); LOG_MAIL for any other. */
int log_facility(const char *word);
/* Starts and ends the log thread. log_stop writes everything first. */
void log_start(void);
void log_stop(void);
void log_reopen(void);

/* program = "smtpd", "qmgr" ...: the folder or role, shown as postfix/<program>[pid]. */
void log_info(const char *program, const char *fmt, ...) PP_PRINTF(2, 3);
void log_warn(const char *program, const char *fmt, ...) PP_PRINTF(2, 3); /* "warning: " in front */
void log_error(const char *program, const char *fmt, ...) PP_PRINTF(2, 3); /* "error: " */
void log_fatal(const char *program, const char *fmt, ...) PP_PRINTF(2, 3); /* "fatal: "; returns */

/* A line of somebody else, for postlog: the whole tag instead of name/program, and its process (0 =
 * this one). */
enum log_level {
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_FATAL,
	LOG_LEVEL_PANIC
};
enum { LOG_TAG_MAX = 64 };
void log_for(enum log_level level, const char *tag, long pid, const char *text);
