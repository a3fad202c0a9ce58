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

static struct window_feedback
feedback_of(const struct config *cfg, const char *transport, const char *what)
{
	struct window_feedback f = {WINDOW_CONSTANT, 1};
	const char *text = config_transport_text(cfg, transport, what);

	if (text && window_feedback_parse(text, &f) < 0)
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
rate_of(struct qmgr_transport *t, const struct config *cfg)
{
	struct buf err;

	buf_init(&err, 1000);
	/* What is wrong with it was said at the start. */
	rate_parse(config_transport_text(cfg, t->name, "destination_rate_limit"), &t->s.rate, &err);
	buf_fini(&err);
}

static void
overtaking(struct schedule_transport *s, const struct config *cfg, const char *n)
{
	s->slot_cost = (unsigned)config_transport_number(cfg, n, "delivery_slot_cost");
	s->slot_loan = (unsigned)config_transport_number(cfg, n, "delivery_slot_loan");
	s->slot_discount = (unsigned)config_transport_number(cfg, n, "delivery_slot_discount");
	s->slot_minimum = (unsigned)config_transport_number(cfg, n, "minimum_delivery_slots");
}

static void
transport_limits(struct qmgr_transport *t, const struct config *cfg)
{
	const char *n = t->name;
	struct schedule_transport *s = &t->s;
	const struct params *p = t->service ? t->service->params : cfg->params;

	s->limits.initial = (int)config_transport_number(cfg, n, "initial_destination_concurrency");
	s->limits.limit = (int)config_transport_number(cfg, n, "destination_concurrency_limit");
	s->limits.cohort_limit =
	    (double)config_transport_number(cfg, n, "destination_concurrency_failed_cohort_limit");
	s->limits.positive = feedback_of(cfg, n, "destination_concurrency_positive_feedback");
	s->limits.negative = feedback_of(cfg, n, "destination_concurrency_negative_feedback");
	t->recipient_limit = (size_t)config_transport_number(cfg, n, "destination_recipient_limit");
	s->rate_delay = config_transport_number(cfg, n, "destination_rate_delay");
	s->transport_delay = config_transport_number(cfg, n, "transport_rate_delay");
	s->dead_time = cfg->params->minimal_backoff_time;
	s->dead_max = cfg->params->maximal_backoff_time;
	s->retry_time = cfg->params->transport_retry_time;
	s->places =
	    t->service && t->service->maxproc > 0 ? (unsigned)t->service->maxproc : UINT32_MAX;
	/* Wrong credentials are to be shown once, not as often as the first window is wide. */
	s->careful = t->service && strcmp(t->service->command, "smtp") == 0 &&
		     p->smtp_sasl_auth_enable && *p->smtp_sasl_password_maps;
	if (s->rate_delay > 0)
		s->limits.limit = s->limits.initial = 1;
	overtaking(s, cfg, n);
	rate_of(t, cfg);
}

void
qmgr_transport_fired(struct timer *timer)
{
	struct qmgr_transport *t = PP_CONTAINER(timer, struct qmgr_transport, timer);

	qmgr_dispatch(t->q, t);
}

/* The time it had to stand aside is over: mail that waits for it comes. */
static void
woke(struct schedule_destination *s)
{
	struct qmgr_destination *d = PP_CONTAINER(s, struct qmgr_destination, s);

	qmgr_waiting_call(d);
	qmgr_destination_release(d);
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
	t->q = q;
	schedule_transport_init(&t->s);
	t->s.woke = woke;
	t->service = config_service_find(cfg, "unix", name);
	t->program = t->service ? config_service_program(cfg, t->service, &e->arena) : "error";
	if (t->service)
		t->agent = agent_find(q, t->service->command);
	else if (strcmp(name, "error") == 0 || strcmp(name, "retry") == 0)
		t->agent = agent_find(q, "error"); /* what a route may come to needs no row */
	t->deferred_by_config = in_list(e->params->defer_transports, name);
	transport_limits(t, cfg);
	if (t->s.rate.count > 0 && q->rates == NULL) /* of a transport without a row */
		q->rates = rates_open(NULL, loop_monotonic_us() / 1000);
	HASH_ADD_KEYPTR(hh, e->transports, t->name, strlen(t->name), t);
	return t;
}

/* Once for each configuration; and what earlier runs sent is read when somebody has a limit. */
static void
rates_begin(struct qmgr *q, const struct config *cfg)
{
	const struct service *s = NULL;
	struct rate_rule rule;
	struct buf err;
	bool any = false;

	buf_init(&err, 1000);
	while ((s = config_service_next(cfg, s)) != NULL) {
		if (strcmp(s->type, "unix") != 0)
			continue;
		buf_clear(&err);
		if (rate_parse(config_transport_text(cfg, s->name, "destination_rate_limit"), &rule,
			&err) < 0)
			log_warn("qmgr", "%s_destination_rate_limit: %s: this one does not count",
			    s->name, buf_cstr(&err));
		any |= rule.count > 0;
	}
	buf_fini(&err);
	if (any && q->rates == NULL)
		q->rates = rates_open(q->rates_file, loop_monotonic_us() / 1000);
}

struct qmgr_epoch *
qmgr_epoch_new(struct qmgr *q, const struct cleanup_setup *setup)
{
	struct qmgr_epoch *e = MEM_NEW(struct qmgr_epoch);

	cleanup_setup_ref(&e->setup, setup);
	e->params = setup->config->params;
	e->current = true;
	rates_begin(q, setup->config);
	return e;
}

/* Not current any more and no destination left: gone. */
void
qmgr_epoch_unref(struct qmgr_epoch *e)
{
	struct qmgr_transport *t, *next;

	if (e->current || e->destinations > 0)
		return;
	HASH_ITER (hh, e->transports, t, next) {
		timer_stop(&t->timer);
		schedule_transport_fini(&t->s);
	}
	HASH_CLEAR(hh, e->transports);
	cleanup_setup_unref(&e->setup);
	arena_fini(&e->arena);
	mem_free(e);
}
