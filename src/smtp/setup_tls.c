/*
 * The TLS settings of a configuration, compiled: levels, contexts, the table of policies.
 *
 * What can be wrong is found at start or reload and named by its parameter. A context costs time
 * and memory (all the system's authorities), so services with the same settings share one, and
 * only those are made that the levels of the configuration ask for; others come when first needed.
 */
#include <errno.h>
#include "internal.h"

static bool
same(const char *a, const char *b)
{
	return str_eq(str_of(a ? a : ""), str_of(b ? b : ""));
}

static bool
same_options(const struct tls_options *a, const struct tls_options *b)
{
	return same(a->chain_files, b->chain_files) && same(a->cert_file, b->cert_file) &&
	       same(a->key_file, b->key_file) && same(a->ec_cert_file, b->ec_cert_file) &&
	       same(a->ec_key_file, b->ec_key_file) && same(a->dsa_cert_file, b->dsa_cert_file) &&
	       same(a->dsa_key_file, b->dsa_key_file) && same(a->trust_anchors, b->trust_anchors) &&
	       a->append_default_ca == b->append_default_ca && a->verify_depth == b->verify_depth &&
	       same(a->ca_file, b->ca_file) && same(a->ca_path, b->ca_path) &&
	       same(a->protocols, b->protocols) && same(a->ciphers, b->ciphers) &&
	       same(a->exclude_ciphers, b->exclude_ciphers);
}

static size_t
add_tls(struct smtp_setup *su, const struct params *p, bool is_mandatory)
{
	const char *without = p->smtp_tls_exclude_ciphers;
	struct tls_options o = {
	    .chain_files = p->smtp_tls_chain_files,
	    .cert_file = p->smtp_tls_cert_file,
	    .key_file = p->smtp_tls_key_file,
	    .ec_cert_file = p->smtp_tls_eccert_file,
	    .ec_key_file = p->smtp_tls_eckey_file,
	    .dsa_cert_file = p->smtp_tls_dcert_file,
	    .dsa_key_file = p->smtp_tls_dkey_file,
	    .ca_file = p->smtp_tls_CAfile,
	    .ca_path = p->smtp_tls_CApath,
	    .append_default_ca = p->tls_append_default_CA,
	    .trust_anchors = p->smtp_tls_trust_anchor_file,
	    /* 0 would be the default of tls.h. */
	    .verify_depth =
		p->smtp_tls_scert_verifydepth > 0 ? (int)p->smtp_tls_scert_verifydepth : 1,
	    .protocols = is_mandatory ? p->smtp_tls_mandatory_protocols : p->smtp_tls_protocols,
	    .ciphers = is_mandatory ? p->smtp_tls_mandatory_ciphers : p->smtp_tls_ciphers,
	};

	/* Where TLS is required both lists count. */
	if (is_mandatory && *p->smtp_tls_mandatory_exclude_ciphers)
		without = arena_printf(
		    &su->arena, "%s %s", without, p->smtp_tls_mandatory_exclude_ciphers);
	o.exclude_ciphers = without;

	for (size_t i = 0; i < su->tls_count; i++)
		if (same_options(&su->tls[i].options, &o))
			return i;
	su->tls[su->tls_count].options = o;
	return su->tls_count++;
}

/* Whether the text quotes one of the words of a value. */
static bool
quotes(const char *text, const char *value)
{
	struct str rest = str_of(value), word;

	while (str_token(&rest, ", \t\r\n", &word))
		if (memmem(text, strlen(text), word.p, word.n))
			return true;
	return false;
}

/* The parameter that an error of net/tls is about: the one whose value it quotes. */
static const char *
find_culprit(const struct tls_options *o, const char *text, bool is_mandatory)
{
	const struct {
		const char *value, *name;
	} all[] = {
	    {o->chain_files, "smtp_tls_chain_files"},
	    {o->ca_file, "smtp_tls_CAfile"},
	    {o->ca_path, "smtp_tls_CApath"},
	    {o->trust_anchors, "smtp_tls_trust_anchor_file"},
	    {o->cert_file, "smtp_tls_cert_file"},
	    {o->key_file, "smtp_tls_key_file"},
	    {o->ec_cert_file, "smtp_tls_eccert_file"},
	    {o->ec_key_file, "smtp_tls_eckey_file"},
	    {o->dsa_cert_file, "smtp_tls_dcert_file"},
	    {o->dsa_key_file, "smtp_tls_dkey_file"},
	    {o->protocols, is_mandatory ? "smtp_tls_mandatory_protocols" : "smtp_tls_protocols"},
	    {o->exclude_ciphers, "smtp_tls_exclude_ciphers"},
	    {o->ciphers, is_mandatory ? "smtp_tls_mandatory_ciphers" : "smtp_tls_ciphers"},
	};

	for (size_t i = 0; i < PP_COUNT(all); i++)
		if (quotes(text, all[i].value))
			return all[i].name;
	return "smtp_tls_*";
}

static int
need_tls_blk(struct smtp_setup *su, size_t i, bool is_mandatory, struct buf *err)
{
	struct smtp_tls *t = &su->tls[i];
	struct buf text;
	int rc;

	if (t->context)
		return 0;
	buf_init(&text, 1024);
	rc = tls_context_new_blk(&t->options, &t->context, &text);
	if (rc < 0)
		buf_printf(err, "%s: %s", find_culprit(&t->options, buf_cstr(&text), is_mandatory),
		    buf_cstr(&text));
	buf_fini(&text);
	return rc;
}

/* smtp_tls_security_level, and what came before it. */
static int
find_level(const struct params *p, enum tls_level *ret, struct buf *err)
{
	if (*p->smtp_tls_security_level)
		return tls_level_parse(p->smtp_tls_security_level, ret);
	*ret = p->smtp_enforce_tls ? (p->smtp_tls_enforce_peername ? TLS_VERIFY : TLS_ENCRYPT)
	       : p->smtp_use_tls   ? TLS_MAY
				   : TLS_NONE;
	return 0;
}

static int
check_words(const struct smtp_service *sv, struct buf *err)
{
	const struct params *p = sv->p;
	const char *sni = p->smtp_tls_servername;

	if (!tls_digest_known(p->smtp_tls_fingerprint_digest)) {
		buf_printf(err, "smtp_tls_fingerprint_digest = %s: unknown digest; sha256 is usual",
		    p->smtp_tls_fingerprint_digest);
		return -EINVAL;
	}
	if (sv->policy.level == TLS_FINGERPRINT && !*p->smtp_tls_fingerprint_cert_match) {
		buf_adds(err, "smtp_tls_security_level = fingerprint needs "
			      "smtp_tls_fingerprint_cert_match");
		return -EINVAL;
	}
	if (*sni && !resolver_name_valid(str_of(sni))) {
		buf_printf(
		    err, "smtp_tls_servername = %s: must be hostname, nexthop or a host name", sni);
		return -EINVAL;
	}
	return 0;
}

static int
open_policies(struct smtp_service *sv, struct buf *err)
{
	struct buf text;
	int rc;

	if (!*sv->p->smtp_tls_policy_maps)
		return 0;
	buf_init(&text, 1024);
	rc = map_open(sv->p->smtp_tls_policy_maps, &sv->policies, &text);
	if (rc < 0)
		buf_printf(err, "smtp_tls_policy_maps: %s", buf_cstr(&text));
	buf_fini(&text);
	return rc;
}

int
smtp_setup_tls_blk(struct smtp_setup *su, struct smtp_service *sv, struct buf *err)
{
	int rc;

	sv->policy.is_reused = true;
	rc = find_level(sv->p, &sv->policy.level, err);
	if (rc == 0)
		rc = check_words(sv, err);
	if (rc == 0)
		rc = open_policies(sv, err);
	if (rc < 0)
		return rc;
	sv->tls_may = add_tls(su, sv->p, false);
	sv->tls_must = add_tls(su, sv->p, true);
	if (sv->policy.level == TLS_MAY || sv->policy.level == TLS_DANE)
		rc = need_tls_blk(su, sv->tls_may, false, err);
	if (rc == 0 && (sv->policy.level > TLS_MAY || sv->p->smtp_tls_wrappermode))
		rc = need_tls_blk(su, sv->tls_must, true, err);
	return rc;
}
