/*
 * DANE: what the TLSA records of a server ask for (RFC 7672), looked up before it is connected to.
 *
 * The name service must be a validating one, and say so in each answer on the way: MX, addresses,
 * TLSA. What it does not vouch for counts as not there; a look-up that fails is no proof of
 * absence, so that nobody gets rid of the records by breaking the name service. The texts are
 * Postfix's.
 */
#include "internal.h"
#include "pp/runtime/log.h"

static void
fail(struct smtp_job *j, const char *why)
{
	struct status st = smtp_error_dane(&j->arena, why);

	log_warn(j->svc->program, "TLS policy lookup for %s/%s: %s", smtp_job_hop(j)->host,
	    j->targets[j->target].host, why);
	smtp_job_address_failed(j, &st);
}

/* No records: dane is content with what the server offers. */
static void
without(struct smtp_job *j, enum tls_level level, const char *why)
{
	if (j->policy.level == TLS_DANE_ONLY) {
		fail(j, why);
		return;
	}
	j->effective.level = level;
	smtp_prepare_go_on(j);
}

/* The signed records of this server. */
static void
use(struct smtp_job *j, const struct resolver_answer *a)
{
	struct smtp_policy *po = &j->effective;
	struct tls_tlsa *to = arena_alloc(&j->arena, a->n * sizeof *to);
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		if (!tls_tlsa_usable(&a->tlsa[i])) {
			log_warn(j->svc->program, "%s unsupported TLSA record: %u %u %u",
			    j->tlsa_name, a->tlsa[i].usage, a->tlsa[i].selector, a->tlsa[i].type);
			continue;
		}
		to[n] = a->tlsa[i];
		to[n].data = memcpy(arena_alloc(&j->arena, to[n].n), to[n].data, to[n].n);
		n++;
	}
	if (n == 0) {
		without(j, TLS_ENCRYPT, "TLSA records unusable");
		return;
	}
	if (j->is_half_dane &&
	    str_eq(str_of(j->svc->p->smtp_tls_dane_insecure_mx_policy), STR("encrypt"))) {
		po->level = TLS_ENCRYPT;
	} else {
		po->level = TLS_DANE;
		po->tlsa = to;
		po->tlsa_count = n;
		po->is_half_dane = j->is_half_dane;
		po->tlsa_base = j->tlsa_base;
	}
	smtp_prepare_go_on(j);
}

static void ask(struct smtp_job *j, const char *base);

static void
use_tlsa(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;
	const struct smtp_target *t = &j->targets[j->target];

	if (a->result == RESOLVER_TRY_AGAIN || a->result == RESOLVER_MALFORMED ||
	    a->result == RESOLVER_FILTERED) {
		struct status st = smtp_error_dns(&j->arena, j->tlsa_name, "TLSA", a->text, true);

		if (a->result == RESOLVER_FILTERED)
			st.text = a->text;
		log_warn(j->svc->program, "DANE TLSA lookup problem: %s", st.text);
		fail(j, arena_printf(&j->arena, "TLSA lookup error for %s:%u", t->host, t->port));
	} else if (a->result == RESOLVER_OK && a->is_secure && a->n > 0) {
		use(j, a);
	} else if (strcmp(j->tlsa_base, t->host) != 0) {
		ask(j, t->host); /* RFC 7672 2.2.2: then under the name of the alias */
	} else {
		without(j, TLS_MAY, "no TLSA records found");
	}
}

static void
on_tlsa(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;

	smtp_dns_answer(j, j->tlsa_name, "TLSA", a, use_tlsa);
}

static void
ask(struct smtp_job *j, const char *base)
{
	j->tlsa_base = arena_strdup(&j->arena, base);
	j->tlsa_name = arena_printf(&j->arena, "_%u._tcp.%s", j->targets[j->target].port, base);
	j->query = resolver_find_tlsa(j->smtp->resolver, j->tlsa_name, on_tlsa, j);
}

void
smtp_dane_start(struct smtp_job *j)
{
	const struct params *p = j->svc->p;
	const struct smtp_target *t = &j->targets[j->target];
	bool is_forced = p->smtp_tls_force_insecure_host_tlsa_lookup || t->canonical;

	if (!j->svc->use_dnssec) {
		if (j->policy.level == TLS_DANE)
			log_warn(j->svc->program,
			    "%s: dane configured with dnssec lookups disabled",
			    smtp_job_hop(j)->text);
		without(j, TLS_MAY,
		    arena_printf(&j->arena,
			"client TLS configuration problem: %s configured with dnssec lookups "
			"disabled: set smtp_dns_support_level = dnssec",
			tls_level_word(j->policy.level)));
		return;
	}
	j->is_half_dane = j->is_mx && !j->is_mx_secure;
	if (j->is_half_dane && j->policy.level == TLS_DANE_ONLY) {
		fail(j, "non DNSSEC destination");
		return;
	}
	if (j->is_half_dane && str_eq(str_of(p->smtp_tls_dane_insecure_mx_policy), STR("may"))) {
		without(j, TLS_MAY, "");
		return;
	}
	/* An unsigned zone has no signed records, and its name servers may not know the type. An
	 * alias may lie in a signed zone and lead out of it. */
	if (!resolver_name_valid(str_of(t->host)) || (!t->is_secure && !is_forced))
		without(j, TLS_MAY, "no TLSA records found");
	else
		ask(j, t->is_secure && t->canonical ? t->canonical : t->host);
}
