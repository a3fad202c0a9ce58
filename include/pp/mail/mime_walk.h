/*
 * mime_walk.h - a message piece by piece: its headers, those of its parts, and what is text.
 * THREAD one at a time.  OWNS its buffers until mime_walk_fini; at most one header and the
 * boundaries. ERRORS none: any bytes are a message. Parts nested deeper than the limit are text.
 * SEE    RFC 2045, RFC 2046 5.1 (multipart), 5.2 (message), RFC 2049.
 */
#pragma once
#include "pp/mail/header.h"

enum mime_class {
	MIME_PRIMARY, /* headers of the message */
	MIME_PART,    /* of a part of a multipart */
	MIME_NESTED,  /* of a message that is attached */
};

enum mime_event {
	MIME_MORE,     /* the piece was taken */
	MIME_HEADER,   /* NOT taken: a whole header is in header.text; then push it again */
	MIME_HEAD_END, /* NOT taken: all headers of this entity were given; then push it again */
	MIME_LINE,     /* taken: passes as it is (the empty line behind headers, a delimiter) */
	MIME_TEXT,     /* taken: content of the entity */
};

enum mime_type { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE };

struct mime_level; /* an open multipart */

/* Public to read: header, cls, type, is_8bit. */
struct mime_walk {
	struct header_collector header;
	enum mime_class cls;
	enum mime_type type;
	bool is_8bit; /* Content-Transfer-Encoding: 8bit or binary */
	bool is_identity, is_rfc822, is_digest, has_boundary;
	bool mid_line, in_line; /* inside a line; inside one that passes */
	uint8_t state;
	size_t boundary_max, depth_max, depth;
	struct mime_level *levels;
	struct buf boundary; /* of the Content-Type of this entity */
};
void mime_walk_init(struct mime_walk *w, size_t header_max, size_t boundary_max, size_t depth_max);
void mime_walk_fini(struct mime_walk *w);
/* One piece of a line; last = the line ends with it. */
enum mime_event mime_walk_push(struct mime_walk *w, struct str piece, bool last);
/* At the end of the content: MIME_HEADER, MIME_HEAD_END, then MIME_MORE. */
enum mime_event mime_walk_finish(struct mime_walk *w);
