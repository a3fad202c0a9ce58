/*
 * esmtp_client.c - the client's half of ESMTP: commands written, the EHLO answer read.
 *
 * A command is built in a scratch buffer and appended whole or not at all. The EHLO answer comes
 * from a server that is not trusted: known keywords become bits, a bounded list of mechanisms is
 * kept, all else is ignored.
 */
#include <errno.h>
#include "pp/base/assert.h"
#include "pp/mail/esmtp.h"
#include "pp/mail/utf8.h"
#include "xtext.h"

enum {
	COMMAND_MAX = 8192,
	PARAMETER_MAX = 2048, /* encoded */
	MECHS_MAX = 512,
	MECH_MAX = 20, /* RFC 4422 3.1 */
};

/* Appends the finished command; every append before may have failed. */
static int
finish(struct buf *to, struct buf *command, int rc)
{
	if (rc == 0 && buf_adds(command, "\r\n") < 0)
		rc = -ENOBUFS;
	if (rc == 0 && buf_overflowed(command))
		rc = -ENOBUFS;
	if (rc == 0)
		rc = buf_add(to, buf_str(command));
	buf_fini(command);
	return rc;
}

/* " NAME=value". What cannot be encoded, or is absurdly long, is left out: it is only information,
 * and no reason to keep a mail. */
static void
add_encoded(
    struct buf *to, const char *name, int (*encode)(struct buf *, struct str), const char *value)
{
	struct buf b;

	buf_init(&b, PARAMETER_MAX);
	if (value && *value && encode(&b, str_of(value)) == 0)
		buf_printf(to, " %s=%s", name, buf_cstr(&b));
	buf_fini(&b);
}

/* The address as a command has it; or as it is, for servers that cannot do with quotes. What would
 * end the command is quoted all the same. */
static int
add_address(struct buf *to, const char *address, bool is_bare)
{
	for (const char *p = address; *p && is_bare; p++)
		is_bare = (unsigned char)*p >= ' ' && *p != 0x7f && *p != '<' && *p != '>';
	return is_bare ? buf_adds(to, address) : address_quote(to, str_of(address));
}

int
esmtp_print_mail(struct buf *to, const struct esmtp_mail *m, unsigned ext)
{
	struct buf b;
	int rc;

	buf_init(&b, COMMAND_MAX);
	buf_adds(&b, "MAIL FROM:<");
	rc = add_address(&b, m->address, m->is_bare);
	buf_addc(&b, '>');
	if ((ext & ESMTP_SIZE) && m->size >= 0)
		buf_printf(&b, " SIZE=%lld", (long long)m->size);
	if ((ext & ESMTP_8BITMIME) && m->encoding != BODY_UNKNOWN)
		buf_printf(&b, " BODY=%s", m->encoding == BODY_8BIT ? "8BITMIME" : "7BIT");
	if ((ext & ESMTP_SMTPUTF8) && m->smtputf8)
		buf_adds(&b, " SMTPUTF8");
	if ((ext & ESMTP_DSN) && m->ret)
		buf_printf(&b, " RET=%s", m->ret == RET_FULL ? "FULL" : "HDRS");
	if (ext & ESMTP_DSN)
		add_encoded(&b, "ENVID", esmtp_xtext_encode, m->envid);
	if (ext & ESMTP_AUTH)
		add_encoded(&b, "AUTH", esmtp_xtext_encode, m->auth);
	return finish(to, &b, rc);
}

/* "rfc822;a+b" -> "rfc822;a+2Bb". */
static int
encode_orcpt(struct buf *to, struct str s)
{
	size_t semicolon = str_index(s, ';');
	struct str type = str_head(s, semicolon), address = str_from(s, semicolon + 1);
	int rc;

	if (semicolon == s.n)
		return -EINVAL;
	rc = esmtp_xtext_encode(to, type);
	if (rc == 0)
		rc = buf_addc(to, ';');
	if (rc < 0)
		return rc;
	/* RFC 6533 3: this form is ASCII, so it may be sent with and without SMTPUTF8. */
	if (str_caseeq(type, STR("utf-8")))
		return xtext_unicode_encode(to, address);
	return esmtp_xtext_encode(to, address);
}

int
esmtp_print_rcpt(struct buf *to, const struct esmtp_rcpt *r, unsigned ext)
{
	static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
	char separator = '=';
	struct buf b;
	int rc;

	buf_init(&b, COMMAND_MAX);
	buf_adds(&b, "RCPT TO:<");
	rc = add_address(&b, r->address, r->is_bare);
	buf_addc(&b, '>');
	if ((ext & ESMTP_DSN) && (r->notify & 15)) {
		buf_adds(&b, " NOTIFY");
		for (size_t i = 0; i < PP_COUNT(words); i++)
			if (r->notify & (1u << i)) {
				buf_printf(&b, "%c%s", separator, words[i]);
				separator = ',';
			}
	}
	if (ext & ESMTP_DSN)
		add_encoded(&b, "ORCPT", encode_orcpt, r->orcpt);
	return finish(to, &b, rc);
}

static const struct {
	const char *name;
	unsigned bit;
} keywords[] = {
    {"PIPELINING", ESMTP_PIPELINING},
    {"SIZE", ESMTP_SIZE},
    {"8BITMIME", ESMTP_8BITMIME},
    {"STARTTLS", ESMTP_STARTTLS},
    {"AUTH", ESMTP_AUTH},
    {"DSN", ESMTP_DSN},
    {"SMTPUTF8", ESMTP_SMTPUTF8},
    {"CHUNKING", ESMTP_CHUNKING},
    {"ENHANCEDSTATUSCODES", ESMTP_ENHANCED},
    {"XFORWARD", ESMTP_XFORWARD},
    {"XCLIENT", ESMTP_XCLIENT},
    {"ETRN", ESMTP_ETRN},
    {"VRFY", ESMTP_VRFY},
};

static const struct {
	const char *name;
	unsigned bit;
} xforward[] = {
    {"NAME", ESMTP_XFORWARD_NAME},
    {"ADDR", ESMTP_XFORWARD_ADDR},
    {"PORT", ESMTP_XFORWARD_PORT},
    {"PROTO", ESMTP_XFORWARD_PROTO},
    {"HELO", ESMTP_XFORWARD_HELO},
    {"IDENT", ESMTP_XFORWARD_IDENT},
    {"SOURCE", ESMTP_XFORWARD_SOURCE},
};

static bool
list_has(struct str list, struct str word)
{
	struct str item;

	while (str_token(&list, " ,\t\r\n", &item))
		if (str_caseeq(item, word))
			return true;
	return false;
}

/* Each mechanism once, in upper case; what is no mechanism name is left out. */
static void
add_mechs(struct buf *mechs, struct str list)
{
	struct str word;

	while (str_token(&list, " \t", &word)) {
		char upper[MECH_MAX];
		bool valid = word.n <= MECH_MAX && !list_has(buf_str(mechs), word);

		for (size_t i = 0; i < word.n && valid; i++) {
			char c = word.p[i];

			valid = str_isalnum(c) || c == '-' || c == '_';
			upper[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
		}
		if (!valid || buf_str(mechs).n + word.n + 1 > MECHS_MAX)
			continue;
		if (buf_str(mechs).n)
			buf_addc(mechs, ' ');
		buf_add(mechs, (struct str){upper, word.n});
	}
}

static void
parse_keyword(struct str line, struct str discard, struct esmtp_ehlo *ret, struct buf *mechs)
{
	struct str word, rest = line;
	unsigned bit = 0;

	if (str_casestarts(line, STR("AUTH="))) {
		/* The form before RFC 2554, which old servers still offer. */
		word = str_head(line, 4);
		rest = str_from(line, 5);
	} else if (!str_token(&rest, " \t", &word)) {
		return;
	}
	for (size_t i = 0; i < PP_COUNT(keywords); i++)
		if (str_caseeq(word, str_of(keywords[i].name)))
			bit = keywords[i].bit;
	if (bit == 0 || list_has(discard, word))
		return;
	if (bit == ESMTP_SIZE) {
		int64_t limit;

		if (str_number(str_trim(rest), 0, INT64_MAX, &limit) == 0)
			ret->size_limit = limit;
	} else if (bit == ESMTP_AUTH) {
		add_mechs(mechs, rest);
	} else if (bit == ESMTP_XFORWARD) {
		bit = 0;
		for (size_t i = 0; i < PP_COUNT(xforward); i++)
			if (list_has(rest, str_of(xforward[i].name)))
				bit |= xforward[i].bit;
	}
	ret->ext |= bit;
}

void
esmtp_ehlo_parse(struct arena *a, struct str lines, struct str discard, struct esmtp_ehlo *ret)
{
	struct esmtp_ehlo e = {.host = ""};
	struct buf mechs;
	bool first = true;
	struct str line;

	buf_init(&mechs, MECHS_MAX);
	while (str_token(&lines, "\n", &line)) {
		struct str rest = str_trim(str_from(line, 4)), host;

		if (!first) {
			parse_keyword(rest, discard, &e, &mechs);
		} else if (str_token(&rest, " \t", &host)) {
			char *clean = arena_str(a, host);

			utf8_clean(clean, host.n);
			e.host = clean;
		}
		first = false;
	}
	e.mechs = arena_str(a, buf_str(&mechs));
	buf_fini(&mechs);
	*ret = e;
}
