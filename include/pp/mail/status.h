/*
 * status.h - the one outcome of mail: SMTP reply, dsn=/status= of the log, deferral reason, DSN.
 * THREAD any; a value.  OWNS nothing: the strings live in the arena of whoever holds the status.
 * ERRORS none: it is the error.
 * SEE    RFC 3463 (enhanced codes), RFC 5321 4.2.
 */
#pragma once
#include "pp/base/mem.h"

enum status_class {
	STATUS_NONE = 0, /* not decided yet */
	STATUS_OK = 2,
	STATUS_TEMP = 4,
	STATUS_PERM = 5,
};

struct status {
	enum status_class cls;
	unsigned short subject, detail; /* of the enhanced code: cls.subject.detail */
	unsigned short smtp;            /* reply code, 0 when no SMTP reply is behind it */
	const char *text;       /* for log and reports, one line; for a reply: after the codes */
	const char *remote;     /* host that said it (Remote-MTA), or NULL */
	const char *diagnostic; /* its reply, codes included (Diagnostic-Code: smtp), or NULL */
};

/* The text is formatted into the arena. */
struct status status_make(struct arena *a, enum status_class cls, unsigned subject, unsigned detail,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A deep copy into another arena. */
struct status status_copy(struct arena *a, const struct status *s);
/* Parses "5.1.1" at the start; returns the bytes used, 0 when there is none or it is malformed. */
size_t status_parse_dsn(struct str text, struct status *s);
/* "4.4.1", static size. */
struct status_dsn {
	char text[16];
};
struct status_dsn status_dsn(const struct status *s);
