/*
 * header.h - header lines of a message: recognising, naming, collecting folded ones.
 * THREAD any.  OWNS   the bytes collected, until header_collector_fini.
 * ERRORS none; surplus of an overlong header is dropped, as Postfix does (header_size_limit).
 * SEE    RFC 5322 2.2 and 3.6.
 */
#pragma once
#include "pp/base/buf.h"

enum header_id {
	HDR_OTHER,
	HDR_AUTO_SUBMITTED,
	HDR_BCC,
	HDR_CC,
	HDR_CONTENT_LENGTH,
	HDR_CONTENT_TRANSFER_ENCODING,
	HDR_CONTENT_TYPE,
	HDR_DATE,
	HDR_DELIVERED_TO,
	HDR_DISPOSITION_NOTIFICATION_TO,
	HDR_ERRORS_TO,
	HDR_FROM,
	HDR_MAIL_FOLLOWUP_TO,
	HDR_MESSAGE_ID,
	HDR_MIME_VERSION,
	HDR_RECEIVED,
	HDR_REPLY_TO,
	HDR_RESENT_BCC,
	HDR_RESENT_CC,
	HDR_RESENT_DATE,
	HDR_RESENT_FROM,
	HDR_RESENT_MESSAGE_ID,
	HDR_RESENT_REPLY_TO,
	HDR_RESENT_SENDER,
	HDR_RESENT_TO,
	HDR_RETURN_PATH,
	HDR_RETURN_RECEIPT_TO,
	HDR_SENDER,
	HDR_SUBJECT,
	HDR_TO,
	HDR_COUNT
};

/* Properties of a known header. */
enum {
	HDR_IS_SENDER = 1,    /* holds addresses of senders (to be completed and mapped) */
	HDR_IS_RECIPIENT = 2, /* holds addresses of recipients; `sendmail -t` takes To, Cc, Bcc */
	HDR_IS_EXTRACT = 4,   /* recipients of `sendmail -t` */
	HDR_IS_RESENT = 8,    /* Resent-*: when one is there, `sendmail -t` takes only these */
	HDR_IS_MIME = 16,
};

struct header {
	enum header_id id;
	struct str name;  /* without blanks before the colon */
	struct str value; /* behind the colon, leading blanks included; folds are LF + blank */
};

/* Is this (the first piece of) a line a header? Name of printable characters, optional blanks,
 * colon. ret may be NULL. */
bool header_parse(struct str line, struct header *ret);
enum header_id header_id(struct str name);
/* The name as it is written ("Message-Id"), and its HDR_IS_ bits. "" and 0 for HDR_OTHER. */
const char *header_name(enum header_id id);
unsigned header_flags(enum header_id id);
/* The mbox separator "From " or ">From " some programs leave as first line of a message. Postfix
 * keeps it as `X-Mailbox-Line: ` + line. */
bool header_is_mailbox_line(struct str line);

enum header_event {
	HEADER_MORE,  /* the piece was taken */
	HEADER_READY, /* NOT taken: a whole header is in `text`; use it, then push the piece again
		       */
	HEADER_END,   /* NOT taken: it is the empty line or the first line of the body */
};

/* Pieces of lines in, logical headers out. Public to read: text, cut. */
struct header_collector {
	struct buf text; /* the lines of one header joined by LF, no final LF */
	size_t limit;
	bool cut;   /* surplus of it was dropped */
	bool open;  /* inside a line: the next piece goes on with it */
	bool ready; /* text was given out and is to be cleared */
};
void header_collector_init(struct header_collector *c, size_t limit);
void header_collector_fini(struct header_collector *c);
/* One piece of a line without line end; last = the line ends with it. */
enum header_event header_push(struct header_collector *c, struct str piece, bool last);
/* At the end of the content: true = one more header is in text. */
bool header_finish(struct header_collector *c);
