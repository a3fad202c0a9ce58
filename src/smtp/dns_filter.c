/*
 * smtp_dns_reply_filter: records of the name service that are passed over.
 *
 * Each record is shown to the table as Postfix does it, "name. ttl IN type preference value", one
 * after the other; the only thing that can be done with one is to ignore it. Nothing left is no
 * proof that there is nothing, so the mail waits. The question lives by itself: a delivery that is
 * broken off leaves it alone.
 */
#include "internal.h"
#include "pp/runtime/log.h"

struct smtp_dns_question {
	struct smtp_job *job; /* NULL: nobody waits any more */
	struct arena arena;
	const char *name, *type;
	struct resolver_answer answer;
	struct resolver_mx *mx;
	struct resolver_address *address;
	struct tls_tlsa *tlsa;
	size_t at, kept; /* the record that is asked about; those that stay lie before it */
	resolver_done *done;
	struct map_query query;
	struct map_key key;
};

static void
finish(struct smtp_dns_question *x, const char *error)
{
	struct smtp_job *j = x->job;

	x->answer.n = x->kept;
	x->answer.mx = x->mx;
	x->answer.address = x->address;
	x->answer.tlsa = x->tlsa;
	if (x->kept == 0 && !error)
		error = "DNS reply filter drops all results";
	if (error) {
		x->answer.n = 0;
		x->answer.result = RESOLVER_FILTERED;
		x->answer.text = arena_printf(
		    &x->arena, "Error looking up name=%s type=%s: %s", x->name, x->type, error);
	}
	if (j) {
		j->dns_question = NULL;
		x->done(j, &x->answer);
	}
	arena_fini(&x->arena);
	mem_free(x);
}

/* Its type and what it says. */
static const char *
describe(struct smtp_dns_question *x, size_t i)
{
	const char *text;

	if (strcmp(x->type, "MX") == 0)
		return arena_printf(&x->arena, "MX %u %s.", x->mx[i].preference, x->mx[i].host);
	if (strcmp(x->type, "SRV") == 0)
		return arena_printf(&x->arena, "SRV %u %u %u %s.", x->mx[i].preference,
		    x->mx[i].weight, x->mx[i].port, x->mx[i].host);
	if (x->address)
		return arena_printf(&x->arena, "%s %s",
		    x->address[i].sa.ss_family == AF_INET6 ? "AAAA" : "A", x->address[i].text);
	text = arena_printf(
	    &x->arena, "TLSA %u %u %u ", x->tlsa[i].usage, x->tlsa[i].selector, x->tlsa[i].type);
	for (size_t k = 0; k < x->tlsa[i].n; k++)
		text = arena_printf(&x->arena, "%s%02X", text, x->tlsa[i].data[k]);
	return text;
}

static void
keep(struct smtp_dns_question *x)
{
	if (x->mx)
		x->mx[x->kept] = x->mx[x->at];
	else if (x->address)
		x->address[x->kept] = x->address[x->at];
	else
		x->tlsa[x->kept] = x->tlsa[x->at];
	x->kept++;
}

static void ask(struct smtp_dns_question *x);

static void
answered(struct map_query *q)
{
	struct smtp_dns_question *x = PP_CONTAINER(q, struct smtp_dns_question, query);
	struct str value = str_trim(buf_str(&q->value));
	bool is_ignored = q->result > 0 && str_caseeq(value, STR("IGNORE"));
	const char *error = NULL;

	if (q->result < 0 || (q->result > 0 && !is_ignored)) {
		error = "Invalid DNS reply filter syntax";
		if (x->job)
			log_warn(x->job->svc->program, "smtp_dns_reply_filter: %.*s%s",
			    STR_FMT(value), q->result < 0 ? "" : ": the only action is IGNORE");
	}
	map_query_fini(q);
	if (is_ignored && x->job)
		log_info(x->job->svc->program, "ignoring DNS RR: %.*s", STR_FMT(x->key.text));
	if (!is_ignored)
		keep(x);
	x->at++;
	if (error || !x->job || x->at == x->answer.n)
		finish(x, error);
	else
		ask(x);
}

static void
ask(struct smtp_dns_question *x)
{
	const char *text = arena_printf(
	    &x->arena, "%s. %lld IN %s", x->name, (long long)x->answer.ttl, describe(x, x->at));

	x->key.text = arena_lower(&x->arena, str_of(text));
	map_find(x->job->svc->dns_filter, x->job->smtp->slow, &x->query, &x->key, 1, answered);
}

static void *
copy(struct arena *a, const void *p, size_t n)
{
	return p ? memcpy(arena_alloc(a, n), p, n) : NULL;
}

void
smtp_dns_answer(struct smtp_job *j, const char *name, const char *type,
    const struct resolver_answer *a, resolver_done *done)
{
	struct smtp_dns_question *x;
	bool has_null = a->n > 0 && a->mx && a->mx[0].host[0] == '\0';

	j->query = NULL;
	smtp_dnssec_seen(j, a);
	if (!j->svc->dns_filter || a->result != RESOLVER_OK || a->n == 0 || has_null) {
		done(j, a);
		return;
	}
	x = MEM_NEW(struct smtp_dns_question);
	x->job = j;
	x->done = done;
	x->answer = *a;
	x->answer.canonical = a->canonical ? arena_strdup(&x->arena, a->canonical) : NULL;
	x->name = x->answer.canonical ? x->answer.canonical : arena_strdup(&x->arena, name);
	x->type = type;
	x->mx = copy(&x->arena, a->mx, a->n * sizeof *a->mx);
	x->address = copy(&x->arena, a->address, a->n * sizeof *a->address);
	x->tlsa = copy(&x->arena, a->tlsa, a->n * sizeof *a->tlsa);
	for (size_t i = 0; x->tlsa && i < a->n; i++)
		x->tlsa[i].data = copy(&x->arena, x->tlsa[i].data, x->tlsa[i].n);
	j->dns_question = x;
	ask(x);
}

void
smtp_dns_filter_cancel(struct smtp_job *j)
{
	if (j->dns_question)
		j->dns_question->job = NULL;
	j->dns_question = NULL;
}
