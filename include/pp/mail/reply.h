/*
 * reply.h - SMTP replies as a client reads them, from a server that may be hostile.
 * THREAD one at a time.  OWNS its buffers until reply_fini.
 * ERRORS REPLY_BAD: lines without end. The session cannot be used any more.
 * SEE    RFC 5321 4.2.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/mail/status.h"

enum {
	REPLY_LINE_MAX = 2048,    /* bytes kept of a line; surplus is dropped */
	REPLY_LINES_MAX = 200000, /* lines of one reply; more is REPLY_BAD */
	REPLY_KEEP_MAX = 16384,   /* bytes kept of one reply; lines that do not fit are dropped */
	REPLY_TEXT_MAX = 2048,    /* of the joined text, as Postfix */
};

enum reply_state {
	REPLY_MORE, /* all bytes used, the reply goes on */
	REPLY_DONE, /* complete; bytes behind it are the next reply's */
	REPLY_BAD,  /* too many lines: see reply_text */
};

struct reply {
	unsigned code;                  /* 200..599, of the last line that has one; 0 = none yet */
	unsigned short subject, detail; /* of the enhanced code in the last line; 0.0 = none */
	unsigned line_count;
	enum reply_state state;
	bool enhanced;   /* the last line had an enhanced code that fits the reply code */
	bool odd;        /* a line had no code: its text is kept, and the reply goes on */
	struct buf line; /* the line being read */
	struct buf lines;
};

void reply_init(struct reply *r);
void reply_fini(struct reply *r);
/* Ready for the next reply; needed after REPLY_DONE. */
void reply_clear(struct reply *r);
/* Reads from `bytes` until one reply is complete. Line ends: CRLF or LF. Controls, NUL and bytes
 * that are no UTF-8 become '?'. */
enum reply_state reply_feed(struct reply *r, struct str bytes, size_t *ret_used);

/* 2, 3, 4, 5; 0 = no code. */
static inline unsigned
reply_class(const struct reply *r)
{
	return r->code / 100;
}

/* The lines as they came, codes included, joined by LF: for esmtp_ehlo_parse. A view. */
struct str reply_lines(const struct reply *r);
/* The lines joined by blanks, as Postfix logs them, at most REPLY_TEXT_MAX bytes; of a bad reply:
 * what was read, so that the log can show it. */
const char *reply_text(struct arena *a, const struct reply *r);
/* As a status: enhanced code (X.0.0 when the server gave none), smtp code, text and diagnostic =
 * reply_text; remote is the caller's to set. Of a bad reply: 5.5.0, to be judged by the caller. */
struct status reply_status(struct arena *a, const struct reply *r);
