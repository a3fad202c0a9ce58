/*
 * epoch.c - what the queue manager derives from one configuration: transports and their limits.
 *
 * A reload makes a new epoch. Destinations that still have work keep the old one until they are
 * done, so a running delivery never sees its settings change under it.
 */
#include "internal.h"

static bool
in_list(const char *list, const char *word)
{
	struct str rest = str_of(list), token;

	while (str_token(&rest, ", \t\r\n", &token))
		if (str_eq(token, str_of(word)))
			return true;
	return false;
}

static struct schedule_feedback
feedback_of(const struct config *cfg, const char *transport, const char *what)
{
	struct schedule_feedback f = {SCHEDULE_CONSTANT, 1};
	const char *text = config_transport_text(cfg, transport, what);

	if (text && schedule_feedback_parse(text, &f) < 0)
		log_warn("qmgr", "%s_%s: bad feedback \"%s\": using 1", transport, what, text);
	return f;
}

static const struct qmgr_agent *
agent_find(const struct qmgr *q, const char *command)
{
	for (size_t i = 0; i < q->o.agent_count; i++)
		if (strcmp(q->o.agents[i].agent->command, command) == 0)
			return &q->o.agents[i];
	return NULL;
}

static void
transport_limits(struct qmgr_transport *t, const struct config *cfg)
{
	const char *n = t->name;

	t->limits.initial = (int)config_transport_number(cfg, n, "initial_destination_concurrency");
	t->limits.limit = (int)config_transport_number(cfg, n, "destination_concurrency_limit");
	t->limits.cohort_limit =
	    (double)config_transport_number(cfg, n, "destination_concurrency_failed_cohort_limit");
	t->limits.positive = feedback_of(cfg, n, "destination_concurrency_positive_feedback");
	t->limits.negative = feedback_of(cfg, n, "destination_concurrency_negative_feedback");
	t->recipient_limit = (size_t)config_transport_number(cfg, n, "destination_recipient_limit");
	t->rate_delay = config_transport_number(cfg, n, "destination_rate_delay");
	t->dead_time = cfg->params->minimal_backoff_time;
	if (t->rate_delay > 0)
		t->limits.limit = t->limits.initial = 1;
}

struct qmgr_transport *
qmgr_transport_get(struct qmgr *q, const char *name)
{
	struct qmgr_epoch *e = q->epoch;
	const struct config *cfg = e->setup.config;
	struct qmgr_transport *t;

	HASH_FIND_STR(e->transports, name, t);
	if (t)
		return t;
	t = ARENA_NEW(&e->arena, struct qmgr_transport);
	t->name = arena_strdup(&e->arena, name);
	t->epoch = e;
	TAILQ_INIT(&t->ready);
	t->service = config_service_find(cfg, "unix", name);
	t->program = t->service ? config_service_program(cfg, t->service, &e->arena) : "error";
	if (t->service)
		t->agent = agent_find(q, t->service->command);
	else if (strcmp(name, "error") == 0 || strcmp(name, "retry") == 0)
		t->agent = agent_find(q, "error"); /* what a route may come to needs no row */
	t->busy_limit =
	    t->service && t->service->maxproc > 0 ? (unsigned)t->service->maxproc : UINT32_MAX;
	t->deferred_by_config = in_list(e->params->defer_transports, name);
	transport_limits(t, cfg);
	HASH_ADD_KEYPTR(hh, e->transports, t->name, strlen(t->name), t);
	return t;
}

struct qmgr_epoch *
qmgr_epoch_new(struct qmgr *q, const struct cleanup_setup *setup)
{
	struct qmgr_epoch *e = MEM_NEW(struct qmgr_epoch);

	cleanup_setup_ref(&e->setup, setup);
	e->params = setup->config->params;
	e->current = true;
	return e;
}

/* Not current any more and no destination left: gone. */
void
qmgr_epoch_unref(struct qmgr_epoch *e)
{
	if (e->current || e->destinations > 0)
		return;
	HASH_CLEAR(hh, e->transports);
	cleanup_setup_unref(&e->setup);
	arena_fini(&e->arena);
	mem_free(e);
}
