/*
 * esmtp.h - ESMTP command lines: parameters of MAIL and RCPT, read and written; EHLO answers.
 * THREAD any.  OWNS nothing: results live in the arena given.
 * ERRORS enum esmtp_error; esmtp_error_status makes the reply of it.
 * SEE    RFC 5321 4.1.1, RFC 1870 (SIZE), 6152 (BODY), 3461 (DSN), 6531 (SMTPUTF8), 4954 (AUTH).
 */
#pragma once
#include "pp/mail/address.h"
#include "pp/mail/envelope.h"
#include "pp/mail/status.h"

/* "MAIL  FROM:<a> " -> verb "MAIL", args "FROM:<a>" (trimmed). False for an empty line. */
bool esmtp_command(struct str line, struct str *ret_verb, struct str *ret_args);

enum esmtp_error {
	ESMTP_OK,
	ESMTP_UNSUPPORTED, /* 555 5.5.4 Unsupported option: FOO=1 */
	ESMTP_BAD_SIZE,    /* 501 5.5.4 Bad message size syntax */
	ESMTP_TOO_BIG,     /* SIZE of more than 18 digits: 552 5.3.4 */
	ESMTP_BAD_RET,
	ESMTP_BAD_ENVID,
	ESMTP_BAD_NOTIFY,
	ESMTP_BAD_ORCPT,
};

/* Extensions, as offered by a server. ESMTP_SIZE .. also tell the parsers which parameters exist.
 */
enum {
	ESMTP_PIPELINING = 1 << 0,
	ESMTP_SIZE = 1 << 1,
	ESMTP_8BITMIME = 1 << 2,
	ESMTP_STARTTLS = 1 << 3,
	ESMTP_AUTH = 1 << 4,
	ESMTP_DSN = 1 << 5,
	ESMTP_SMTPUTF8 = 1 << 6,
	ESMTP_CHUNKING = 1 << 7,
	ESMTP_ENHANCED = 1 << 8,
	ESMTP_XFORWARD_NAME = 1 << 9,
	ESMTP_XFORWARD_ADDR = 1 << 10,
	ESMTP_XFORWARD_PORT = 1 << 11,
	ESMTP_XFORWARD_PROTO = 1 << 12,
	ESMTP_XFORWARD_HELO = 1 << 13,
	ESMTP_XFORWARD_IDENT = 1 << 14,
	ESMTP_XFORWARD_SOURCE = 1 << 15,
	ESMTP_XFORWARD = 0x7f << 9,
	ESMTP_XCLIENT = 1 << 16,
	ESMTP_ETRN = 1 << 17,
	ESMTP_VRFY = 1 << 18,
};

struct esmtp_mail {
	const char *address;         /* internal form, "" = null sender */
	int64_t size;                /* SIZE=, -1 = not given; at most 18 digits */
	enum body_encoding encoding; /* BODY= */
	unsigned ret;                /* RET_, 0 = not given */
	const char *envid; /* decoded, printable ASCII, <= 100 characters; NULL = not given */
	bool smtputf8;
	const char *auth; /* AUTH=, decoded, "<>" for none; NULL = not given */
	bool is_bare;     /* the address is not quoted */
};
struct esmtp_rcpt {
	const char *address;
	unsigned notify;   /* NOTIFY_ bits, 0 = not given */
	const char *orcpt; /* "rfc822;addr", decoded, no controls; NULL = not given */
	bool is_bare;
};

/* The parameters (address_path.rest). `allowed`: ESMTP_SIZE | ESMTP_8BITMIME | ESMTP_DSN |
 * ESMTP_SMTPUTF8; AUTH= is always taken. The address stays as it is in *ret, everything else is
 * set. On an error *ret_bad is the parameter and *ret is unchanged. */
enum esmtp_error esmtp_mail_params(struct arena *a, struct str rest, unsigned allowed,
    struct esmtp_mail *ret, struct str *ret_bad);
enum esmtp_error esmtp_rcpt_params(struct arena *a, struct str rest, unsigned allowed,
    struct esmtp_rcpt *ret, struct str *ret_bad);
/* The reply: code, enhanced code and text. */
struct status esmtp_error_status(struct arena *a, enum esmtp_error e, struct str bad);

/* The client's side: the whole command with CRLF, with those parameters that the server's
 * extensions allow. 0, -EINVAL (the address has controls), -ENOBUFS; nothing is appended then. */
int esmtp_print_mail(struct buf *to, const struct esmtp_mail *m, unsigned ext);
int esmtp_print_rcpt(struct buf *to, const struct esmtp_rcpt *r, unsigned ext);

/* xtext (RFC 3461 4). Decoding: 0, or -EINVAL when malformed or a byte decodes to a control. */
int esmtp_xtext_encode(struct buf *to, struct str s);
int esmtp_xtext_decode(struct buf *to, struct str s);

/* HELO/EHLO argument: a syntactically valid host name or address literal; and one with a dot (or a
 * literal). For the restrictions; HELO itself takes anything (clean it for the log: utf8_clean). */
bool esmtp_helo_valid(struct str name);
bool esmtp_helo_fqdn(struct str name);

struct esmtp_ehlo {
	unsigned ext;       /* ESMTP_ bits */
	int64_t size_limit; /* 0 = none told */
	const char *mechs;  /* AUTH mechanisms in upper case, joined by blanks; "" = none */
	const char *host;   /* first word of the first line, cleaned; "" = none */
};
/* lines: reply_lines() of a 250 answer. discard: keywords to ignore (smtp_discard_ehlo_keywords),
 * separated by blanks or commas. Unknown and malformed lines are ignored. */
void
esmtp_ehlo_parse(struct arena *a, struct str lines, struct str discard, struct esmtp_ehlo *ret);
