/*
 * report.h - what was noticed while a configuration was read: warnings and errors, in order.
 * THREAD one at a time.
 * OWNS   config_report_init .. config_report_fini; the notes are the report's.
 * ERRORS none. At most REPORT_NOTES_MAX notes are kept, the rest is only counted.
 */
#pragma once
#include "pp/base/assert.h"
#include "pp/base/buf.h"
#include "pp/base/buf.h"
#include "pp/base/mem.h"

enum { REPORT_NOTES_MAX = 1000 };

struct config_note {
	struct config_note *next;
	bool is_error;
	const char *file; /* "/etc/pennypost/main.cf", "environment", or "" */
	int line;         /* 0 = none */
	const char *text;
};

struct config_report {
	struct arena arena;
	struct config_note *first, **last;
	unsigned errors, warnings;
};

void config_report_init(struct config_report *r);
void config_report_fini(struct config_report *r);
void config_report_warn(struct config_report *r, const char *file, int line, const char *fmt, ...)
    PP_PRINTF(4, 5);
void config_report_error(struct config_report *r, const char *file, int line, const char *fmt, ...)
    PP_PRINTF(4, 5);
/* "FILE, line N: text", "FILE: text" or "text": what to hand to log_warn or log_fatal. */
void config_note_text(const struct config_note *n, struct buf *to);
