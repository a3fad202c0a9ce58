/*
 * address_list.h - addresses in a header value (To:, From: ..) or a command line argument.
 * THREAD any.  OWNS nothing: the iterator holds views; addresses live in the arena given.
 * ERRORS hostile text never fails the whole: what cannot be read as an address is passed over.
 * SEE    RFC 5322 3.4 and 4.4 (obsolete forms: routes, empty elements, blanks around dots).
 */
#pragma once
#include "pp/mail/address.h"

enum {
	ADDRESS_LIST_DEPTH =
	    32, /* nested comments; deeper ones are cut off where they get too deep */
	ADDRESS_LIST_MAX = 10000, /* addresses in one value */
};

/* An iterator. Comments, display names and group names are skipped, members of groups are given.
 * `sendmail` arguments have the same grammar: "a@x, b@y", "Name <a@x>". */
struct address_list {
	struct str text; /* value, may be folded: CR and LF are blanks */
	size_t at;
	size_t plain; /* up to here the text holds bare addresses: no name, no bracket */
	size_t count;
	struct str phrase;
	struct str bad; /* the first that was passed over, as written; empty while there is none */
};

struct address_mailbox {
	const char *address; /* internal form in the arena; "" for <> */
	size_t from, to; /* where its addr-spec stands in the text, for replacing it: without angle
			  * brackets, without a route, without comments at its ends */
	struct str phrase; /* display name as written, trimmed; may be empty */
};

void address_list_init(struct address_list *it, struct str text);
/* 1 = an address, 0 = the end, -E2BIG = more than ADDRESS_LIST_MAX (the rest is not given). */
int address_list_next(struct address_list *it, struct arena *a, struct address_mailbox *ret);

/* Whether there is nothing but commas, blanks and comments: what a program writes as "Cc: $A, $B"
 * when it has neither. */
bool address_list_is_empty(struct str value);

/* Writes the value with incomplete addresses completed by the rules (address_qualify); all else
 * stays as it was, byte for byte. 1 = something changed, 0 = nothing (a plain copy was written),
 * -ENOBUFS. Addresses past ADDRESS_LIST_MAX are left as they are. */
int address_list_rewrite(struct buf *to, struct str value, const struct address_rules *r);
