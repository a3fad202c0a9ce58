/*
 * esmtp.c - the parameters of MAIL and RCPT as a server reads them.
 *
 * A parameter is a row: its name, the extension that must be on, and a function for the value. The
 * distinctions between errors are those of the replies Postfix gives. Values are decoded and
 * checked here; what a struct holds is safe to write to a queue file.
 */
#include <errno.h>
#include "pp/base/assert.h"
#include "pp/mail/esmtp.h"
#include "pp/mail/utf8.h"
#include "xtext.h"

enum {
	SIZE_DIGITS_MAX = 18,
	ENVID_MAX = 100, /* RFC 3461 4.4 */
	ORCPT_MAX = 500, /* RFC 3461 4.2 */
};

/* What is being filled: one of the two is set. */
struct target {
	struct arena *a;
	struct esmtp_mail *mail;
	struct esmtp_rcpt *rcpt;
};

struct parameter {
	const char *name;
	unsigned ext; /* 0 = always there */
	bool has_value;
	enum esmtp_error (*parse)(struct target *t, struct str value);
};

bool
esmtp_command(struct str line, struct str *ret_verb, struct str *ret_args)
{
	struct str rest = str_trim(line), verb;

	if (!str_token(&rest, " \t\r\n\v\f", &verb))
		return false;
	*ret_verb = verb;
	*ret_args = str_trim(rest);
	return true;
}

static enum esmtp_error
parse_size(struct target *t, struct str value)
{
	int rc = str_number(value, 0, INT64_MAX, &t->mail->size);

	return rc == 0 ? ESMTP_OK : rc == -ERANGE ? ESMTP_TOO_BIG : ESMTP_BAD_SIZE;
}

static enum esmtp_error
parse_body(struct target *t, struct str value)
{
	if (str_caseeq(value, STR("8BITMIME")))
		t->mail->encoding = BODY_8BIT;
	else if (str_caseeq(value, STR("7BIT")))
		t->mail->encoding = BODY_7BIT;
	else
		return ESMTP_UNSUPPORTED;
	return ESMTP_OK;
}

static enum esmtp_error
parse_ret(struct target *t, struct str value)
{
	if (t->mail->ret)
		return ESMTP_BAD_RET;
	if (str_caseeq(value, STR("FULL")))
		t->mail->ret = RET_FULL;
	else if (str_caseeq(value, STR("HDRS")))
		t->mail->ret = RET_HDRS;
	return t->mail->ret ? ESMTP_OK : ESMTP_BAD_RET;
}

/* xtext of at most `max` decoded bytes into the arena; NULL when it is bad. */
static const char *
decode(struct arena *a, struct str value, size_t max, int (*how)(struct buf *, struct str))
{
	const char *r = NULL;
	struct buf b;

	buf_init(&b, max);
	if (how(&b, value) == 0 && utf8_valid(buf_str(&b)))
		r = arena_str(a, buf_str(&b));
	buf_fini(&b);
	return r;
}

static enum esmtp_error
parse_envid(struct target *t, struct str value)
{
	const char *envid = decode(t->a, value, ENVID_MAX, esmtp_xtext_decode);

	if (t->mail->envid || value.n == 0 || envid == NULL || utf8_has_8bit(str_of(envid)))
		return ESMTP_BAD_ENVID;
	t->mail->envid = envid;
	return ESMTP_OK;
}

static enum esmtp_error
parse_smtputf8(struct target *t, struct str value)
{
	t->mail->smtputf8 = true;
	return ESMTP_OK;
}

/* RFC 4954 5: a server that does not trust the client takes any value and ignores it. */
static enum esmtp_error
parse_auth(struct target *t, struct str value)
{
	t->mail->auth = decode(t->a, value, ADDRESS_MAX, esmtp_xtext_decode);
	return ESMTP_OK;
}

static enum esmtp_error
parse_notify(struct target *t, struct str value)
{
	static const struct {
		const char *name;
		unsigned bit;
	} words[] = {
	    {"NEVER", NOTIFY_NEVER},
	    {"SUCCESS", NOTIFY_SUCCESS},
	    {"FAILURE", NOTIFY_FAILURE},
	    {"DELAY", NOTIFY_DELAY},
	};
	unsigned bits = 0;
	struct str word;

	while (str_token(&value, ",", &word)) {
		unsigned bit = 0;

		for (size_t i = 0; i < PP_COUNT(words); i++)
			if (str_caseeq(word, str_of(words[i].name)))
				bit = words[i].bit;
		if (bit == 0)
			return ESMTP_BAD_NOTIFY;
		bits |= bit;
	}
	if (t->rcpt->notify || bits == 0 || ((bits & NOTIFY_NEVER) && bits != NOTIFY_NEVER))
		return ESMTP_BAD_NOTIFY;
	t->rcpt->notify = bits;
	return ESMTP_OK;
}

/* "type;address": the address in xtext, or for utf-8 as RFC 6533 3 writes it. */
static enum esmtp_error
parse_orcpt(struct target *t, struct str value)
{
	size_t semicolon = str_index(value, ';');
	struct str type = str_head(value, semicolon), address = str_from(value, semicolon + 1);
	bool utf8 = str_caseeq(type, STR("utf-8"));
	const char *decoded;

	if (t->rcpt->orcpt || semicolon == value.n || type.n == 0 || type.n > 32)
		return ESMTP_BAD_ORCPT;
	for (size_t i = 0; i < type.n; i++)
		if (!str_isalnum(type.p[i]) && type.p[i] != '-')
			return ESMTP_BAD_ORCPT;
	decoded =
	    decode(t->a, address, ORCPT_MAX, utf8 ? xtext_unicode_decode : esmtp_xtext_decode);
	if (decoded == NULL)
		return ESMTP_BAD_ORCPT;
	t->rcpt->orcpt = arena_printf(t->a, "%.*s;%s", STR_FMT(type), decoded);
	return ESMTP_OK;
}

static const struct parameter mail_table[] = {
    {"SIZE", ESMTP_SIZE, true, parse_size},
    {"BODY", ESMTP_8BITMIME, true, parse_body},
    {"RET", ESMTP_DSN, true, parse_ret},
    {"ENVID", ESMTP_DSN, true, parse_envid},
    {"SMTPUTF8", ESMTP_SMTPUTF8, false, parse_smtputf8},
    {"AUTH", 0, true, parse_auth},
};
static const struct parameter rcpt_table[] = {
    {"NOTIFY", ESMTP_DSN, true, parse_notify},
    {"ORCPT", ESMTP_DSN, true, parse_orcpt},
};

static enum esmtp_error
parse_one(
    const struct parameter *table, size_t n, unsigned allowed, struct target *t, struct str word)
{
	size_t equals = str_index(word, '=');

	for (size_t i = 0; i < n; i++) {
		const struct parameter *p = &table[i];

		if (!str_caseeq(str_head(word, equals), str_of(p->name)) ||
		    p->has_value != (equals < word.n) || (allowed & p->ext) != p->ext)
			continue;
		return p->parse(t, str_from(word, equals + 1));
	}
	return ESMTP_UNSUPPORTED;
}

static enum esmtp_error
parse_all(const struct parameter *table, size_t n, unsigned allowed, struct target *t,
    struct str rest, struct str *ret_bad)
{
	struct str word;

	while (str_token(&rest, " \t\r\n\v\f", &word)) {
		enum esmtp_error e = parse_one(table, n, allowed, t, word);

		if (e != ESMTP_OK) {
			*ret_bad = word;
			return e;
		}
	}
	return ESMTP_OK;
}

enum esmtp_error
esmtp_mail_params(
    struct arena *a, struct str rest, unsigned allowed, struct esmtp_mail *ret, struct str *ret_bad)
{
	struct esmtp_mail m = {.address = ret->address, .size = -1};
	struct target t = {a, &m, NULL};
	enum esmtp_error e =
	    parse_all(mail_table, PP_COUNT(mail_table), allowed, &t, rest, ret_bad);

	if (e == ESMTP_OK)
		*ret = m;
	return e;
}

enum esmtp_error
esmtp_rcpt_params(
    struct arena *a, struct str rest, unsigned allowed, struct esmtp_rcpt *ret, struct str *ret_bad)
{
	struct esmtp_rcpt r = {.address = ret->address};
	struct target t = {a, NULL, &r};
	enum esmtp_error e =
	    parse_all(rcpt_table, PP_COUNT(rcpt_table), allowed, &t, rest, ret_bad);

	if (e == ESMTP_OK)
		*ret = r;
	return e;
}

struct status
esmtp_error_status(struct arena *a, enum esmtp_error e, struct str bad)
{
	static const char *const texts[] = {
	    [ESMTP_BAD_SIZE] = "Bad message size syntax",
	    [ESMTP_BAD_RET] = "Bad RET parameter syntax",
	    [ESMTP_BAD_ENVID] = "Bad ENVID parameter syntax",
	    [ESMTP_BAD_NOTIFY] = "Error: Bad NOTIFY parameter syntax",
	    [ESMTP_BAD_ORCPT] = "Error: Bad ORCPT parameter syntax",
	};
	struct status s;

	PP_ASSERT(e > ESMTP_OK && e <= ESMTP_BAD_ORCPT);
	if (e == ESMTP_UNSUPPORTED) {
		/* What the client sent is shown back, but not without end. */
		bad = str_head(bad, 100);
		s = status_make(a, STATUS_PERM, 5, 4, "Unsupported option: %.*s", STR_FMT(bad));
		s.smtp = 555;
	} else if (e == ESMTP_TOO_BIG) {
		s = status_make(a, STATUS_PERM, 3, 4, "Message size exceeds fixed limit");
		s.smtp = 552;
	} else {
		s = status_make(a, STATUS_PERM, 5, 4, "%s", texts[e]);
		s.smtp = 501;
	}
	return s;
}
