/*
 * lex.h - tokens of RFC 5322 text: what paths, address lists and MIME values are made of.
 * THREAD any.  OWNS nothing: tokens are places in the text.
 * ERRORS none: any bytes are tokens; an unterminated one says so.
 * SEE    RFC 5322 3.2, RFC 5321 4.1.2.
 */
#pragma once
#include "pp/base/mem.h"

enum lex_kind {
	LEX_END,
	LEX_BLANK,   /* a run of blanks, tabs, CR, LF */
	LEX_COMMENT, /* ( .. ), nested ones included */
	LEX_ATOM,    /* a run of other bytes; \x stands for x */
	LEX_QUOTED,  /* " .. " */
	LEX_LITERAL, /* [ .. ] */
	LEX_SPECIAL, /* one of <>@,;:.)] */
};

struct lex_token {
	enum lex_kind kind;
	size_t from, to;
	char c;    /* the first byte; 0 at the end */
	bool open; /* it should have been closed, but the text ended */
};

/* The token at a place, and the first there that is neither blank nor comment. */
struct lex_token lex_at(struct str text, size_t at);
struct lex_token lex_skip(struct str text, size_t at);

static inline struct str
lex_str(struct str text, struct lex_token t)
{
	return (struct str){text.p + t.from, t.to - t.from};
}

static inline bool
lex_is(struct lex_token t, char special)
{
	return t.kind == LEX_SPECIAL && t.c == special;
}

/* An addr-spec in the text: words glued by "." and "@". */
struct lex_spec {
	size_t from, to; /* without blanks and comments at its ends; empty = none here */
	size_t end;      /* where reading goes on: the first token that does not belong to it */
	bool malformed;
};
/* colon: ":" may stand in it too, as Postfix allows in SMTP paths. */
struct lex_spec lex_spec(struct str text, size_t at, bool colon);
/* Its internal form, unquoted, without comments and blanks; NULL when address_valid says no. */
const char *lex_spec_address(struct arena *a, struct str text, const struct lex_spec *spec);
