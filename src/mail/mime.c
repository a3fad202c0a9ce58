/*
 * mime.c - Content-Transfer-Encoding, as far as the envelope must know it.
 *
 * Everything else of MIME is the business of mail readers; content passes through unread.
 */
#include "pp/mail/mime.h"
#include "lex.h"

static const struct {
	const char *name;
	enum body_encoding encoding;
} encodings[] = {
    {"7bit", BODY_7BIT},
    {"8bit", BODY_8BIT},
    {"binary", BODY_8BIT},
    {"quoted-printable", BODY_7BIT},
    {"base64", BODY_7BIT},
};

enum body_encoding
mime_encoding(struct str value)
{
	struct lex_token t = lex_skip(value, 0);
	struct str word = lex_str(value, t);

	if (t.kind != LEX_ATOM)
		return BODY_UNKNOWN;
	for (size_t i = 0; i < sizeof(encodings) / sizeof(*encodings); i++)
		if (str_caseeq(word, str_of(encodings[i].name)))
			return encodings[i].encoding;
	return BODY_UNKNOWN;
}

bool
mime_is_opaque(struct str value)
{
	struct str word = lex_str(value, lex_skip(value, 0));

	return str_caseeq(word, STR("quoted-printable")) || str_caseeq(word, STR("base64"));
}
