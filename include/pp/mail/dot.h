/*
 * dot.h - the content between DATA and the final dot: decoding it safely, encoding it again.
 * THREAD one at a time.  OWNS the decoder owns the unfinished end of a line until
 *        dot_decoder_fini; the encoder owns nothing.
 * ERRORS the decoder has none: any bytes are content. The encoder: -ENOBUFS, and nothing is done.
 * SEE    RFC 5321 4.1.1.4, 4.5.2 (and SMTP smuggling).
 */
#pragma once
#include "pp/base/buf.h"

struct dot_piece {
	struct str bytes; /* without line end and dot-stuffing; valid until the next call, or until
			   * the input goes, whichever is first */
	bool last;        /* the line ends here: an N record; else L */
};

enum dot_mode {
	DOT_SMTP, /* after DATA */
	DOT_RAW,  /* lines only, dots mean nothing: BDAT, standard input of sendmail */
};

enum dot_result {
	DOT_MORE,  /* all input is used */
	DOT_PIECE, /* *ret is a piece of content; call again */
	DOT_END,   /* <CR><LF>.<CR><LF> was read; the input behind it is not content */
};

/* Only <CR><LF>.<CR><LF> ends DATA (the line end of DATA itself counts as the first). A bare LF
 * ends a line and is remembered; a lone dot next to a bare LF is content. A bare CR is data. All
 * values of smtpd_forbid_bare_newline are served by this: look at bare_lf at the end. */
struct dot_decoder {
	size_t limit; /* bytes of a piece (line_length_limit) */
	enum dot_mode mode;
	bool bare_lf;     /* a line ended with a bare LF */
	bool bare_cr;     /* content has a CR that is not part of CR LF */
	bool mid_line;    /* a piece of the line was given already */
	bool after_crlf;  /* the line before ended with CR LF */
	struct buf carry; /* the start of a piece whose end has not come yet */
};
/* limit >= 2. */
void dot_decoder_init(struct dot_decoder *d, size_t limit, enum dot_mode mode);
void dot_decoder_fini(struct dot_decoder *d);
/* Moves *in past what was used. Pieces are the same however the input is cut over calls; a line of
 * n bytes comes as n / limit pieces of limit bytes and a last one of n % limit (which may be 0). */
enum dot_result dot_decode(struct dot_decoder *d, struct str *in, struct dot_piece *ret);
/* At the end of the input (DOT_RAW): a line without line end, if there is one. Call until false. */
bool dot_decode_rest(struct dot_decoder *d, struct dot_piece *ret);

struct dot_encoder {
	size_t limit; /* smtp_line_length_limit; 0 = none */
	enum dot_mode mode;
	size_t column;   /* bytes in the output line */
	bool open;       /* inside a line of content */
	unsigned broken; /* lines broken so far: the caller logs the first */
};
void dot_encoder_init(struct dot_encoder *e, size_t limit, enum dot_mode mode);
/* Appends one piece of a line: dot-stuffed (DOT_SMTP), CRLF behind the last piece, lines over the
 * limit broken with CRLF SPACE. A CR or LF in the bytes becomes a blank: neither ever goes out
 * bare. -ENOBUFS: nothing happened; send what is in the buffer, then give the piece again. */
int dot_encode(struct dot_encoder *e, struct buf *to, struct str bytes, bool last);
/* Ends an open line; then the final dot (DOT_SMTP). */
int dot_encode_end(struct dot_encoder *e, struct buf *to);
