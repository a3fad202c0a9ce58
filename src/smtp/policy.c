/*
 * How a connection to a next hop must be protected: the level of the configuration, or an entry of
 * smtp_tls_policy_maps, a level with attributes.
 *
 * An entry that cannot be read defers the mail, and the text names table, key and mistake: less
 * protection than somebody asked for would be worse than waiting. The messages about entries are
 * Postfix's.
 */
#include "internal.h"

/* Attributes, and from which level on each has a meaning. */
static const struct attribute {
	const char *name;
	enum tls_level first;
	bool is_list; /* may be given more than once */
} attributes[] = {
    {"protocols", TLS_MAY, false},
    {"ciphers", TLS_MAY, false},
    {"exclude", TLS_MAY, false},
    {"match", TLS_FINGERPRINT, true},
    {"tafile", TLS_VERIFY, true},
    {"servername", TLS_MAY, false},
    {"connection_reuse", TLS_MAY, false},
};

static const struct attribute *
find_attribute(struct str name)
{
	for (size_t i = 0; i < PP_COUNT(attributes); i++)
		if (str_caseeq(name, str_of(attributes[i].name)))
			return &attributes[i];
	return NULL;
}

static bool
is_allowed(const struct attribute *at, enum tls_level level)
{
	/* DANE knows from the DNS whom to expect. */
	if (at->first >= TLS_FINGERPRINT && (level == TLS_DANE || level == TLS_DANE_ONLY))
		return false;
	return level >= at->first;
}

static const char *bad(struct arena *a, const char *fmt, ...) PP_PRINTF(2, 3);
static const char *
bad(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	const char *text;

	va_start(ap, fmt);
	text = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return text;
}

static const char *
append(struct arena *a, const char *list, const char *value)
{
	return list ? arena_printf(a, "%s,%s", list, value) : value;
}

static bool
is_yes(const char *value, bool *ret)
{
	*ret = str_caseeq(str_of(value), STR("yes"));
	return *ret || str_caseeq(str_of(value), STR("no"));
}

/* Colons separate where an attribute cannot hold blanks. */
static const char *
set_attribute(
    struct arena *a, struct smtp_policy *po, const struct attribute *at, const char *value)
{
	const char *name = at->name;

	if (!*value && strcmp(name, "protocols") != 0 && strcmp(name, "exclude") != 0)
		return bad(a, "attribute \"%s\" has empty value", name);
	if (strcmp(name, "protocols") == 0)
		po->protocols = value;
	else if (strcmp(name, "ciphers") == 0)
		po->ciphers = value;
	else if (strcmp(name, "exclude") == 0)
		po->exclude = value;
	else if (strcmp(name, "match") == 0)
		po->match = append(a, po->match, value);
	else if (strcmp(name, "tafile") == 0)
		po->trust_anchors = append(a, po->trust_anchors, value);
	else if (strcmp(name, "servername") == 0)
		po->servername = value;
	else if (!is_yes(value, &po->is_reused))
		return bad(a, "attribute \"%s\" has bad value: \"%s\"", name, value);
	if (strcmp(name, "servername") == 0 && !resolver_name_valid(str_of(value)))
		return bad(a, "\"%s=%s\" specifies an invalid hostname", name, value);
	return NULL;
}

static const char *
read_attribute(struct arena *a, struct smtp_policy *po, struct str word, unsigned *seen)
{
	size_t eq = str_index(word, '=');
	const struct attribute *at = find_attribute(str_head(word, eq));
	const char *text = arena_str(a, word);

	if (eq == word.n)
		return bad(a,
		    "malformed attribute/value pair \"%s\": missing '=' after attribute name",
		    text);
	if (!at)
		return bad(a, "invalid attribute name: \"%s\"", arena_str(a, str_head(word, eq)));
	if (!is_allowed(at, po->level))
		return bad(a, "attribute \"%s\" invalid at security level \"%s\"", at->name,
		    tls_level_word(po->level));
	if (!at->is_list && (*seen & 1u << (at - attributes)))
		return bad(a, "attribute \"%s\" is specified multiple times", at->name);
	*seen |= 1u << (at - attributes);
	return set_attribute(a, po, at, arena_str(a, str_from(word, eq + 1)));
}

const char *
smtp_policy_parse(
    struct arena *a, const struct smtp_service *sv, struct str text, struct smtp_policy *po)
{
	struct str rest = text, word = {0};
	const char *error = NULL, *level;
	struct buf err;
	unsigned seen = 0;

	*po = (struct smtp_policy){.is_reused = true};
	str_token(&rest, ", \t\r\n", &word);
	level = word.n > 0 ? arena_str(a, word) : "";
	if (tls_level_parse(level, &po->level) < 0)
		return bad(a, "invalid security level \"%s\"", level);
	/* What is not encrypted needs no attributes; Postfix passes over them too. */
	while (po->level > TLS_NONE && !error && str_token(&rest, ", \t\r\n", &word))
		error = read_attribute(a, po, word, &seen);
	if (error)
		return error;
	buf_init(&err, 512);
	if (tls_client_check(
		&(struct tls_client){.protocols = po->protocols, .ciphers = po->ciphers}, &err) < 0)
		error = arena_strdup(a, buf_cstr(&err));
	buf_fini(&err);
	if (!error && po->level == TLS_FINGERPRINT && !po->match &&
	    !*sv->p->smtp_tls_fingerprint_cert_match)
		error = "configured at fingerprint security level, but with no fingerprints to "
			"match";
	return error;
}

const char *
smtp_policy_match(const struct smtp_policy *po, const struct params *p)
{
	if (po->match)
		return po->match;
	switch (po->level) {
	case TLS_FINGERPRINT:
		return p->smtp_tls_fingerprint_cert_match;
	case TLS_VERIFY:
		return p->smtp_tls_verify_cert_match;
	default:
		return p->smtp_tls_secure_cert_match;
	}
}

/* A TLS session is resumed only under the policy it was made with: what was proved then was proved
 * to those demands. */
const char *
smtp_policy_key(struct arena *a, const struct smtp_policy *po)
{
	const char *parts[] = {
	    po->match, po->protocols, po->ciphers, po->exclude, po->servername, po->trust_anchors};
	const char *key = tls_level_word(po->level);

	for (size_t i = 0; i < PP_COUNT(parts); i++)
		if (parts[i])
			key = arena_printf(a, "%s %zu=%s", key, i, parts[i]);
	return key;
}
