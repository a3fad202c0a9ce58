/*
 * smtp_generic_maps: addresses that only this house knows leave as ones the world can answer.
 *
 * One address is one question to the table. The envelope is mapped before a connection is made, so
 * that a table that cannot be used is known before anything was sent; headers are mapped as they
 * pass (content.c).
 */
#include <errno.h>
#include "content.h"
#include "pp/mail/address_list.h"

static bool
is_local(const struct smtp_job *j, struct str domain)
{
	const struct params *p = j->svc->p;

	if (str_caseeq(domain, str_trim(str_of(p->myorigin))))
		return true;
	return j->svc->local && domainlist_match(j->svc->local, domain) > 0;
}

/* The value of the table as an address: "@domain" keeps the user, no domain means our own. */
static const char *
complete(struct smtp_generic *g, struct arena *a, struct str value, struct str address)
{
	const struct params *p = g->job->svc->p;
	struct str origin = str_trim(str_of(p->myorigin)), local, domain;
	struct address_mailbox box;
	struct address_list list;

	value = str_trim(value);
	if (value.n > 1 && value.p[0] == '@' && address_split(address, &local, &domain))
		return arena_printf(a, "%.*s%.*s", STR_FMT(local), STR_FMT(value));
	/* The table has the external form: "a b"@c. */
	address_list_init(&list, value);
	if (address_list_next(&list, a, &box) > 0 && *box.address)
		value = str_of(box.address);
	if (str_rindex(value, '@') < value.n)
		return arena_str(a, value);
	return arena_printf(a, "%.*s@%.*s", STR_FMT(value), STR_FMT(origin));
}

static void
on_answer(struct map_query *q)
{
	struct smtp_generic *g = PP_CONTAINER(q, struct smtp_generic, query);

	g->is_asking = false;
	g->is_answered = true;
	g->done(g->ctx);
}

int
smtp_generic_ask(
    struct smtp_generic *g, struct arena *a, const char *address, const char **ret, struct buf *err)
{
	struct str text = str_of(address), local, domain = {0};
	struct map *m = g->job->svc->generic;
	int rc;

	if (!g->is_answered) {
		address_split(text, &local, &domain);
		key_address(a, text, g->job->svc->p->recipient_delimiter, is_local(g->job, domain),
		    &g->keys);
		g->is_asking = true;
		map_find(m, g->job->smtp->slow, &g->query, g->keys.a, g->keys.n, on_answer);
		return -EAGAIN;
	}
	g->is_answered = false;
	rc = g->query.result;
	if (rc > 0)
		*ret = complete(g, a, buf_str(&g->query.value), text);
	else if (rc < 0)
		buf_printf(err, "smtp_generic_maps lookup error: %s", buf_cstr(&g->query.value));
	map_query_fini(&g->query);
	return rc < 0 ? -EIO : rc;
}

/* ---- the envelope ---- */

static void map_envelope(struct smtp_job *j);

static void
on_envelope(void *ctx)
{
	struct smtp_job *j = ctx;

	if (!j->is_dead)
		map_envelope(j);
	else if (!j->is_asking)
		smtp_job_free(j);
}

static void
map_envelope(struct smtp_job *j)
{
	struct delivery *d = j->d;

	while (j->mapped_count <= d->rcpt_count) {
		size_t i = j->mapped_count;
		const char *address = i == 0 ? d->sender : d->rcpt[i - 1].rcpt.address;
		struct buf why;
		int rc = 0;

		j->mapped[i] = address;
		buf_init(&why, 512);
		if (*address)
			rc = smtp_generic_ask(&j->generic, &j->arena, address, &j->mapped[i], &why);
		if (rc == -EIO) {
			struct status st = smtp_error_content(&j->arena, buf_cstr(&why));

			buf_fini(&why);
			smtp_job_give_up(j, &st, CAUSE_NONE);
			return;
		}
		buf_fini(&why);
		if (rc == -EAGAIN)
			return;
		j->mapped_count++;
	}
	smtp_job_mapped(j);
}

void
smtp_generic_start(struct smtp_job *j)
{
	j->mapped = arena_alloc(&j->arena, (j->d->rcpt_count + 1) * sizeof *j->mapped);
	j->generic = (struct smtp_generic){.job = j, .done = on_envelope, .ctx = j};
	map_envelope(j);
}
