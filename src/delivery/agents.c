/*
 * agents.c - error and discard: what main.cf can say instead of a route.
 */
#include "pp/delivery/agents.h"

/* "5.1.2 text": the enhanced code may be given in the next hop; its class is the agent's. */
static void
settle_all(struct delivery *d, enum status_class cls, unsigned subject, unsigned detail,
    const char *fallback)
{
	struct str text = str_of(d->nexthop);
	struct status st = status_make(&d->arena, cls, subject, detail, "%s", fallback);
	size_t n = status_parse_dsn(text, &st);

	st.cls = cls;
	text = str_trim(str_from(text, n));
	if (text.n > 0)
		st.text = arena_str(&d->arena, text);
	delivery_settle_rest(d, &st);
	delivery_done(d);
}

/* master.cf calls the same program twice: its service called retry puts off, any other returns. */
static void
error_deliver(void *ctx, struct delivery *d)
{
	if (strcmp(d->transport, "retry") == 0)
		settle_all(d, STATUS_TEMP, 3, 0, "delivery is put off");
	else
		settle_all(d, STATUS_PERM, 0, 0, "mail to this address is not delivered");
}

static void
discard_deliver(void *ctx, struct delivery *d)
{
	settle_all(d, STATUS_OK, 0, 0, "discarded");
}

const struct delivery_agent delivery_agent_error = {"error", error_deliver};
const struct delivery_agent delivery_agent_discard = {"discard", discard_deliver};
