/*
 * internal.h - one message on its way in, as the files of cleanup/ see it.
 * THREAD the loop of the cleanup.
 * OWNS   everything in struct cleanup, until it is freed in cleanup.c.
 * ERRORS trouble goes through cleanup_fail; after it nothing is written any more.
 */
#pragma once
#include "pp/base/hash.h"
#include "pp/cleanup/cleanup.h"
#include "pp/mail/address.h"
#include "pp/mail/header.h"
#include "pp/runtime/loop.h"
#include "pp/runtime/post.h"

enum cleanup_phase {
	CLEANUP_NEW,
	CLEANUP_ENVELOPE, /* the sender is known */
	CLEANUP_HEADER,   /* inside the header block */
	CLEANUP_BODY,
	CLEANUP_EXTRACTED, /* behind the content */
	CLEANUP_END,
};

enum cleanup_source {
	CLEANUP_SMTP,
	CLEANUP_SUBMITTED, /* by a local program, through pickup */
	CLEANUP_NOTICE,    /* made by this mail system */
};

struct cleanup_dup; /* a recipient that was seen: envelope.c */

struct cleanup {
	struct loop *loop;
	struct cleanup_setup setup;
	const struct params *params;
	struct writer *writer; /* NULL after trouble */
	char id[SPOOL_ID_MAX];
	uint8_t phase;
	uint8_t source;
	struct arena arena;
	struct status trouble; /* cls NONE = none so far */
	struct post post;
	void (*done)(void *ctx, const struct status *st, const char *id);
	void *done_ctx;

	/* The envelope. */
	const char *sender, *fullname;
	bool local; /* header addresses are completed, missing headers added */
	bool autodetect_utf8;
	bool warn_put;
	int64_t arrival_us, create_time;
	enum body_encoding encoding;
	unsigned utf8, hints;
	size_t rcpt_count;
	struct cleanup_dup *dups;
	size_t dup_count;

	/* The content. */
	int64_t size; /* as SMTP counts it: with CR LF */
	size_t line_limit;
	int64_t hops;  /* Received headers, our own included */
	uint64_t seen; /* headers, by 1 << enum header_id */
	bool resent;   /* a Resent- header was seen */
	bool mid_line, any_line;
	bool id_logged; /* a line message-id=.. */
	struct header_collector header;
	struct buf rewritten; /* a header with completed addresses */
	struct buf clean;     /* a piece whose bytes had to be changed */
};

/* The first trouble stands; the half file goes. */
void cleanup_fail(struct cleanup *c, enum status_class cls, unsigned smtp, unsigned subject,
    unsigned detail, const char *text);
void cleanup_put(struct cleanup *c, int type, struct str payload);
void cleanup_putf(struct cleanup *c, int type, const char *fmt, ...) PP_PRINTF(3, 4);
/* A whole line of content. */
void cleanup_put_line(struct cleanup *c, struct str line);
/* Ends header block and content: X, and what was learnt from the content. */
void cleanup_content_end(struct cleanup *c);

/* W, when it is due, once: before the first recipient or the content. */
void cleanup_envelope_warn(struct cleanup *c);
/* The attribute encoding, when it is known. */
void cleanup_envelope_encoding(struct cleanup *c, enum body_encoding e);
void cleanup_envelope_fini(struct cleanup *c);

/* A piece of a line of the header block. False: the block has ended before it. */
bool cleanup_headers_piece(struct cleanup *c, struct str piece, bool last);
/* The content ended inside the header block. */
void cleanup_headers_finish(struct cleanup *c);
