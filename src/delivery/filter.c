/*
 * default_delivery_status_filter and its kin: another code or text for what became of a recipient.
 *
 * It is asked once for each recipient, when that is settled, and what it says stands in the log, in
 * the reason of a deferral and in the notice. The table may have to be read, so the log line and
 * the end of the delivery wait for it; who has the mail is noted before. What was delivered stays
 * so, and what was not does not become it.
 */
#include "line.h"
#include "pp/map/map.h"
#include "pp/runtime/log.h"

struct question {
	struct map_query query;
	struct map_key key;
	struct delivery *d;
	struct delivery_rcpt *r;
};

static const char *
program_of(const struct delivery *d)
{
	return d->program ? d->program : d->transport;
}

/* "X.Y.Z text". */
static void
replace(const struct question *x, struct str value)
{
	struct status *st = &x->r->status, other = *st;
	size_t n = status_parse_dsn(value, &other);
	struct str text = str_trim(str_from(value, n));

	if (n == 0 || text.n == 0) {
		log_warn(program_of(x->d),
		    "delivery status filter: bad result \"%.*s\" for \"%.*s\"", STR_FMT(value),
		    STR_FMT(x->key.text));
	} else if ((other.cls == STATUS_OK) != (st->cls == STATUS_OK)) {
		log_warn(program_of(x->d),
		    "delivery status filter: \"%.*s\" cannot become \"%.*s\": success and failure "
		    "stay what they are",
		    STR_FMT(x->key.text), STR_FMT(value));
	} else {
		other.text = arena_str(&x->d->arena, text);
		*st = other;
	}
}

static void
answered(struct map_query *q)
{
	struct question *x = PP_CONTAINER(q, struct question, query);
	struct delivery *d = x->d;

	if (q->result > 0)
		replace(x, buf_str(&q->value));
	else if (q->result < 0)
		log_warn(program_of(d), "delivery status filter: %s", buf_cstr(&q->value));
	map_query_fini(q);
	delivery_settled(d, x->r);
	if (--d->filtering == 0 && d->is_done)
		delivery_done(d);
}

void
delivery_filter(struct delivery *d, struct delivery_rcpt *r)
{
	struct question *x = ARENA_NEW(&d->arena, struct question);

	x->d = d;
	x->r = r;
	x->key.text = str_of(arena_printf(
	    &d->arena, "%s %s", status_dsn(&r->status).text, r->status.text ? r->status.text : ""));
	d->filtering++;
	map_find(d->filter, d->slow, &x->query, &x->key, 1, answered);
}
