/*
 * esmtp_helo.c - is a HELO argument a name?
 *
 * HELO takes anything; only restrictions ask. RFC 5321 4.1.3 literals are looked at no closer than
 * their characters, since nothing is ever connected to because of them.
 */
#include "pp/mail/esmtp.h"

static bool
literal_valid(struct str s)
{
	if (s.n < 3 || s.n > ADDRESS_DOMAIN_MAX || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	for (size_t i = 1; i < s.n - 1; i++)
		if (!str_isalnum(s.p[i]) && str_index(STR(".:-%"), s.p[i]) == 4)
			return false;
	return true;
}

/* Letters, digits, "-" and "_", labels of 1 to 63; one final dot; not numeric as a whole. */
static bool
name_valid(struct str s)
{
	bool numeric = true;

	if (s.n && s.p[s.n - 1] == '.')
		s.n--;
	if (s.n < 1 || s.n > ADDRESS_DOMAIN_MAX)
		return false;
	for (size_t i = 0, label = 0; i <= s.n; i++) {
		char c = i < s.n ? s.p[i] : '.';

		if (c == '.') {
			if (label < 1 || label > 63 || s.p[i - 1] == '-' || s.p[i - label] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!str_isalnum(c) && c != '-' && c != '_')
			return false;
		numeric = numeric && str_isdigit(c);
		label++;
	}
	return !numeric;
}

bool
esmtp_helo_valid(struct str name)
{
	return literal_valid(name) || name_valid(name);
}

bool
esmtp_helo_fqdn(struct str name)
{
	if (literal_valid(name))
		return true;
	return name_valid(name) && str_index(name, '.') < name.n - 1;
}
