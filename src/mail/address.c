/*
 * address.c - the internal form of an address: validity, quoting, parts, completion; SMTP paths.
 *
 * The internal form (local part unquoted) is what the queue file holds and what maps are asked
 * with. Everything that is parsed passes address_valid, so that a control or a line break cannot
 * get into an envelope; address_quote checks again on the way out, because a queue file may have
 * been written by others.
 */
#include <arpa/inet.h>
#include <errno.h>
#include "pp/mail/address.h"
#include "pp/mail/utf8.h"
#include "lex.h"

/* Blanks and specials may stand in a local part only between quotes (RFC 5322 3.2.3). */
static bool
isatext(char c)
{
	return (unsigned char)c > ' ' && c != 0x7f && !strchr("()<>@,;:\\\"[].", c);
}

static bool
literal_valid(struct str d)
{
	if (d.n < 3 || d.n > ADDRESS_DOMAIN_MAX || d.p[d.n - 1] != ']')
		return false;
	for (size_t i = 1; i < d.n - 1; i++)
		if ((unsigned char)d.p[i] <= ' ' || str_index(STR("[]\\"), d.p[i]) < 3)
			return false;
	return true;
}

static bool
label_valid(struct str label)
{
	if (label.n < 1 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++)
		if (!str_isalnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_' &&
		    (unsigned char)label.p[i] < 0x80)
			return false;
	return true;
}

/* A host name, one final dot allowed, or a literal. A bare IP address is neither. */
static bool
domain_valid(struct str d)
{
	bool numeric = true;

	if (d.n && d.p[0] == '[')
		return literal_valid(d);
	if (d.n && d.p[d.n - 1] == '.')
		d.n--;
	if (d.n < 1 || d.n > ADDRESS_DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < d.n; i++)
		numeric = numeric && (str_isdigit(d.p[i]) || d.p[i] == '.');
	if (numeric)
		return false;
	for (;;) {
		size_t dot = str_index(d, '.');

		if (!label_valid(str_head(d, dot)))
			return false;
		if (dot == d.n)
			return true;
		d = str_from(d, dot + 1);
	}
}

bool
address_split(struct str internal, struct str *ret_local, struct str *ret_domain)
{
	size_t at = str_rindex(internal, '@');

	*ret_local = str_head(internal, at);
	*ret_domain = str_from(internal, at + 1);
	return at < internal.n;
}

bool
address_valid(struct str internal)
{
	struct str local, domain;

	if (internal.n > ADDRESS_MAX || utf8_has_control(internal) || !utf8_valid(internal))
		return false;
	if (address_split(internal, &local, &domain) && !domain_valid(domain))
		return false;
	return local.n > 0;
}

static bool
local_needs_quotes(struct str local)
{
	bool after_dot = true;

	for (size_t i = 0; i < local.n; i++) {
		bool dot = local.p[i] == '.';

		if ((dot && after_dot) || (!dot && !isatext(local.p[i])))
			return true;
		after_dot = dot;
	}
	return after_dot;
}

/* A domain is never quoted, so nothing may be in it that could end the address early. */
static bool
domain_printable(struct str d)
{
	if (d.n && d.p[0] == '[')
		return literal_valid(d);
	for (size_t i = 0; i < d.n; i++)
		if (!isatext(d.p[i]) && d.p[i] != '.')
			return false;
	return true;
}

int
address_quote(struct buf *to, struct str internal)
{
	size_t start = buf_str(to).n;
	struct str local, domain;
	bool has_domain = address_split(internal, &local, &domain);
	int rc = 0;

	if (utf8_has_control(internal) || !domain_printable(domain))
		return -EINVAL;
	if (internal.n == 0)
		return 0;
	if (!local_needs_quotes(local)) {
		rc |= buf_add(to, local);
	} else {
		rc |= buf_addc(to, '"');
		for (size_t i = 0; i < local.n; i++) {
			if (local.p[i] == '"' || local.p[i] == '\\')
				rc |= buf_addc(to, '\\');
			rc |= buf_addc(to, local.p[i]);
		}
		rc |= buf_addc(to, '"');
	}
	if (has_domain) {
		rc |= buf_addc(to, '@');
		rc |= buf_add(to, domain);
	}
	if (rc == 0)
		return 0;
	buf_truncate(to, start);
	return -ENOBUFS;
}

const char *
address_quoted(struct arena *a, struct str internal)
{
	const char *r = NULL;
	struct buf b;

	buf_init(&b, 2 * internal.n + 2);
	if (address_quote(&b, internal) == 0)
		r = arena_str(a, buf_str(&b));
	buf_fini(&b);
	return r;
}

const char *
address_shown(struct arena *a, struct str internal)
{
	struct str local, domain;
	bool has_domain = address_split(internal, &local, &domain);
	bool quotes = local_needs_quotes(local);
	char *text = arena_alloc(a, 2 * internal.n + sizeof("\"\"@")), *to = text;

	if (quotes)
		*to++ = '"';
	for (size_t i = 0; i < local.n; i++) {
		if (quotes && str_index(STR("\"\\\r"), local.p[i]) < 3)
			*to++ = '\\';
		*to++ = utf8_iscontrol(local.p[i]) ? '?' : local.p[i];
	}
	if (quotes)
		*to++ = '"';
	if (has_domain)
		*to++ = '@';
	for (size_t i = 0; has_domain && i < domain.n; i++)
		*to++ = utf8_iscontrol(domain.p[i]) ? '?' : domain.p[i];
	*to = '\0';
	return text;
}

const char *
address_domain_key(struct arena *a, struct str domain)
{
	if (domain.n && domain.p[domain.n - 1] == '.')
		domain.n--;
	return arena_lower(a, domain).p;
}

bool
address_eq(struct str a, struct str b)
{
	struct str local_a, local_b, domain_a, domain_b;
	bool has_a = address_split(a, &local_a, &domain_a);
	bool has_b = address_split(b, &local_b, &domain_b);

	return has_a == has_b && str_eq(local_a, local_b) && str_caseeq(domain_a, domain_b);
}

const char *
address_qualify(struct arena *a, struct str internal, const struct address_rules *r)
{
	struct str local, domain;
	struct str at = {"", 0}, suffix = {"", 0};

	if (internal.n == 0)
		return "";
	if (!address_split(internal, &local, &domain)) {
		if (r->append_at_myorigin && r->myorigin.n) {
			at = STR("@");
			suffix = r->myorigin;
		}
	} else if (domain.n > 1 && str_ends(domain, STR(".")) && !str_ends(domain, STR(".."))) {
		internal.n--;
	} else if (domain.n && domain.p[0] != '[' && str_index(domain, '.') == domain.n &&
		   r->append_dot_mydomain && r->mydomain.n) {
		at = STR(".");
		suffix = r->mydomain;
	}
	return arena_printf(a, "%.*s%s%.*s", STR_FMT(internal), at.p, STR_FMT(suffix));
}

/* Behind the colon of a source route "@x,@y:", or at the start when there is none. RFC 5321 4.1.2:
 * it is accepted and ignored. */
static size_t
skip_route(struct str text)
{
	struct lex_token t = lex_skip(text, 0);

	if (!lex_is(t, '@'))
		return 0;
	while (t.kind != LEX_END && !lex_is(t, ':'))
		t = lex_skip(text, t.to);
	return t.kind == LEX_END ? 0 : t.to;
}

/* RFC 5321 4.1.3: a.b.c.d, or an IPv6 address behind its tag. Only clients are told: an address
 * that lies in the queue already fails at delivery, with a bounce. */
static bool
literal_is_address(struct str d)
{
	const struct str tag = STR("IPv6:");
	struct str inner = {d.p + 1, d.n - 2};
	bool v6 = str_casestarts(inner, tag);
	unsigned char bytes[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN];

	if (v6)
		inner = str_from(inner, tag.n);
	if (inner.n >= sizeof(text))
		return false;
	memcpy(text, inner.p, inner.n);
	text[inner.n] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes) == 1;
}

/* The inside of the brackets. */
static enum address_error
parse_inner(struct arena *a, struct str text, unsigned flags, const char **ret)
{
	struct str local, domain;
	struct lex_spec spec;
	const char *address;

	if (str_trim(text).n == 0) {
		*ret = "";
		return ADDRESS_OK;
	}
	spec = lex_spec(text, skip_route(text), true);
	if (lex_skip(text, spec.end).kind != LEX_END)
		return ADDRESS_SYNTAX;
	address = lex_spec_address(a, text, &spec);
	/* A leading "-" could become an option of some command further on. */
	if (address == NULL || address[0] == '-')
		return ADDRESS_SYNTAX;
	if (address_split(str_of(address), &local, &domain) && domain.p[0] == '[' &&
	    !literal_is_address(domain))
		return ADDRESS_SYNTAX;
	if (!(flags & ADDRESS_UTF8) && utf8_has_8bit(str_of(address)))
		return ADDRESS_NOT_ASCII;
	*ret = address;
	return ADDRESS_OK;
}

/* Takes "<..>" or a word without blanks off the front; `rest` begins with a blank or is empty. */
static bool
cut_path(struct str text, struct str *ret_inner, struct str *ret_rest)
{
	struct lex_token t = lex_at(text, 0);

	if (!lex_is(t, '<')) {
		while (t.kind != LEX_END && t.kind != LEX_BLANK)
			t = lex_at(text, t.to);
		*ret_inner = str_head(text, t.from);
		*ret_rest = str_from(text, t.from);
		return true;
	}
	while (t.kind != LEX_END && !lex_is(t, '>'))
		t = lex_at(text, t.to);
	*ret_inner = (struct str){text.p + 1, t.from - 1};
	*ret_rest = str_from(text, t.to);
	return t.kind != LEX_END && (ret_rest->n == 0 || str_isspace(ret_rest->p[0]));
}

enum address_error
address_path(
    struct arena *a, struct str args, const char *keyword, unsigned flags, struct address_path *ret)
{
	struct str name = str_of(keyword), inner, rest;
	enum address_error e;

	args = str_trim(args);
	if (!str_casestarts(args, name) || args.n == name.n || args.p[name.n] != ':')
		return ADDRESS_NO_KEYWORD;
	args = str_trim(str_from(args, name.n + 1));
	if (args.n == 0)
		return ADDRESS_NO_KEYWORD;
	if (!cut_path(args, &inner, &rest))
		return ADDRESS_SYNTAX;
	/* In a header it is folding, and goes; here that would make another mailbox of it. */
	if (str_index(inner, '\r') < inner.n)
		return ADDRESS_SYNTAX;
	e = parse_inner(a, inner, flags, &ret->address);
	if (e == ADDRESS_OK)
		ret->rest = str_trim(rest);
	return e;
}

enum address_error
address_parse(struct arena *a, struct str text, unsigned flags, const char **ret_address)
{
	struct str inner, rest;

	text = str_trim(text);
	if (text.n == 0 || !cut_path(text, &inner, &rest) || rest.n)
		return ADDRESS_SYNTAX;
	return parse_inner(a, inner, flags, ret_address);
}
