/*
 * address.h - mail addresses: SMTP paths, the internal (unquoted) form, quoting, completion.
 * THREAD any.  OWNS nothing: results live in the arena given.
 * ERRORS enum address_error of the parsers; see each function.
 * SEE    RFC 5321 4.1.2, RFC 6531; address_list.h for headers and command lines.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/base/mem.h"

/* Of an address in its internal form. RFC 5321 4.5.3.1 promises 64 + 1 + 255; longer local parts
 * are in use (VERP), so only the whole is bounded. */
enum { ADDRESS_MAX = 1000, ADDRESS_DOMAIN_MAX = 255 };

enum address_error {
	ADDRESS_OK,
	ADDRESS_NO_KEYWORD, /* no "FROM:", or nothing behind it: 501 5.5.4 Syntax: MAIL
			       FROM:<address> */
	ADDRESS_SYNTAX,     /* 501 5.1.7 Bad sender / 5.1.3 Bad recipient address syntax */
	ADDRESS_NOT_ASCII,  /* 8-bit bytes without ADDRESS_UTF8: 553 5.6.7 */
};

enum { ADDRESS_UTF8 = 1 }; /* flag: 8-bit bytes are allowed when they are valid UTF-8 */

struct address_path {
	const char
	    *address;    /* internal form in the arena; "" for <> (a RCPT refuses that itself) */
	struct str rest; /* of the line: ESMTP parameters, trimmed; a view of the input */
};

/* What follows MAIL or RCPT. keyword: "FROM" or "TO", without colon. As lenient as Postfix with
 * strict_rfc821_envelopes = no: blanks after the colon, no angle brackets, source routes. */
enum address_error address_path(struct arena *a, struct str args, const char *keyword,
    unsigned flags, struct address_path *ret);
/* One bare or bracketed address and nothing else (VRFY, ETRN-like, configuration). */
enum address_error
address_parse(struct arena *a, struct str text, unsigned flags, const char **ret_address);

/* Whether an internal form can be sent and stored: no controls, at most ADDRESS_MAX bytes, a local
 * part, and a domain that could be one when there is an @. "" is not valid. */
bool address_valid(struct str internal);

/* Internal -> external form, without angle brackets: the local part is quoted when it must be. The
 * same form serves SMTP (RFC 5321 4.1.2) and headers (RFC 5322 3.4.1).
 * -EINVAL when it has controls, -ENOBUFS; nothing is appended then. */
int address_quote(struct buf *to, struct str internal);
/* The same into an arena; NULL when it has controls. */
const char *address_quoted(struct arena *a, struct str internal);
/* The same for a listing: controls, which only damaged mail has, are shown as `?`. */
const char *address_shown(struct arena *a, struct str internal);

/* At the last @. False = no @: all is local part, the domain is empty. */
bool address_split(struct str internal, struct str *ret_local, struct str *ret_domain);
/* The domain in lower case, without a final dot: the key to compare, count and queue by. */
const char *address_domain_key(struct arena *a, struct str domain);
/* Local parts compare exactly, domains without case. */
bool address_eq(struct str a, struct str b);

/* How incomplete addresses are completed. An empty myorigin or mydomain completes nothing. */
struct address_rules {
	struct str myorigin, mydomain;
	bool append_at_myorigin, append_dot_mydomain;
};
/* user -> user@myorigin, user@host -> user@host.mydomain, user@dom. -> user@dom. "" stays "", and
 * so does what is broken (user@), so that the report shows what was given. */
const char *address_qualify(struct arena *a, struct str internal, const struct address_rules *r);
