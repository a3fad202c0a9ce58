/*
 * dnssec_probe: does the name server validate at all?
 *
 * Where it does not, level dane protects nothing and says nothing. So once per configuration, when
 * an answer came that could have been vouched for and none was so far, the name that is known to be
 * signed is asked for, and the log says when nobody vouches for that either. The texts are
 * Postfix's.
 */
#include "internal.h"
#include "pp/runtime/log.h"

static const struct {
	const char *name;
	unsigned type;
} types[] = {{"a", 1}, {"ns", 2}, {"cname", 5}, {"soa", 6}, {"ptr", 12}, {"mx", 15}, {"txt", 16},
    {"aaaa", 28}, {"srv", 33}, {"ds", 43}, {"dnskey", 48}, {"tlsa", 52}};

const char *
smtp_dnssec_probe_parse(const char *text, unsigned *ret_type, char ret_name[RESOLVER_NAME_MAX])
{
	struct str whole = str_of(text), name;
	size_t colon = str_index(whole, ':');

	*ret_type = 0;
	for (size_t i = 0; i < PP_COUNT(types); i++)
		if (str_caseeq(str_head(whole, colon), str_of(types[i].name)))
			*ret_type = types[i].type;
	if (colon == whole.n || *ret_type == 0)
		return "the format is qtype:qname, as in ns:.";
	name = str_from(whole, colon + 1);
	if (name.n >= RESOLVER_NAME_MAX || (!str_eq(name, STR(".")) && !resolver_name_valid(name)))
		return "no such name can be asked for; the root is a dot, as in ns:.";
	memcpy(ret_name, name.p, name.n);
	ret_name[name.n] = '\0';
	return NULL;
}

static bool
is_answer(const struct resolver_answer *a)
{
	return a->result == RESOLVER_OK || a->result == RESOLVER_NO_DATA ||
	       a->result == RESOLVER_NOT_FOUND;
}

static void
probed(void *ctx, const struct resolver_answer *a)
{
	struct smtp *s = ctx;
	const struct params *p = s->setup->config->params;

	s->probe = NULL;
	if (is_answer(a) && a->is_secure)
		return;
	log_warn("smtp", "DNSSEC validation may be unavailable");
	if (is_answer(a))
		log_warn("smtp",
		    "reason: dnssec_probe '%s' received a response that is not DNSSEC validated",
		    p->dnssec_probe);
	else
		log_warn("smtp", "reason: dnssec_probe '%s' received no response: %s",
		    p->dnssec_probe, a->text ? a->text : "");
}

void
smtp_dnssec_seen(struct smtp_job *j, const struct resolver_answer *a)
{
	struct smtp *s = j->smtp;
	const char *text = s->setup->config->params->dnssec_probe;
	char name[RESOLVER_NAME_MAX];
	unsigned type;

	if (s->is_validated || !j->svc->use_dnssec || (!a->is_secure && !is_answer(a)))
		return;
	s->is_validated = true;
	if (!a->is_secure && *text && smtp_dnssec_probe_parse(text, &type, name) == NULL)
		s->probe = resolver_probe(s->resolver, name, type, probed, s);
}
