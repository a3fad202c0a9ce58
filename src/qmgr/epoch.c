/*
 * epoch.c - what the queue manager derives from one configuration: transports and their limits.
 *
 * A reload makes a new epoch. Destinations that still have work keep the old one until they are
 * done, so a running delivery never sees its settings change under it.
 */
#include "internal.h"
#include "pp/config/settings.h"
#include "pp/map/map.h"

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

/* The table of a row, and which parameter it is; "" = none, as with error and discard of Postfix.
 */
static const char *
filter_of(const struct service *s, const char **ret_name)
{
	bool is_lmtp = s && strcmp(s->command, "lmtp") == 0;

	*ret_name = is_lmtp ? "lmtp_delivery_status_filter" : "smtp_delivery_status_filter";
	if (!is_lmtp && (s == NULL || strcmp(s->command, "smtp") != 0))
		return "";
	return s->params->smtp_delivery_status_filter; /* of a row of LMTP: its own */
}

/* 0, or what is wrong with it. *ret is NULL when there is none. */
static int
open_filter(const struct service *s, struct map **ret, struct buf *err)
{
	struct buf why = {.max = 1000};
	const char *name, *spec = filter_of(s, &name);
	int rc = 0;

	*ret = NULL;
	if (*spec)
		rc = map_open(spec, ret, &why);
	if (rc < 0)
		buf_printf(err, "%s: %s", name, buf_cstr(&why));
	buf_fini(&why);
	return rc;
}

static void
rate_of(struct qmgr_transport *t, const struct config *cfg)
{
	struct buf err;

	buf_init(&err, 1000);
	/* Of a transport without a row; the others were checked. */
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
	t->memory_limit = (size_t)config_transport_number(cfg, n, "recipient_limit");
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
	open_filter(t->service, &t->filter, &(struct buf){.max = 1000}); /* was checked */
	t->deferred_by_config = in_list(e->params->defer_transports, name);
	transport_limits(t, cfg);
	if (t->s.rate.count > 0 && q->rates == NULL) /* of a transport without a row */
		q->rates = rates_open(NULL, loop_monotonic_us() / 1000);
	HASH_ADD_KEYPTR(hh, e->transports, t->name, strlen(t->name), t);
	return t;
}

/* The rates of all transports: 0, or what is wrong with one of them. */
static int
read_rates(const struct config *cfg, bool *ret_any, struct buf *err)
{
	static const char what[] = "destination_rate_limit";
	const struct service *s = NULL;
	struct rate_rule rule;
	struct buf why = {.max = 1000};
	struct arena a = {0};
	int rc = 0;

	*ret_any = false;
	while (rc == 0 && (s = config_service_next(cfg, s)) != NULL) {
		const char *name = arena_printf(&a, "%s_%s", s->name, what);

		if (strcmp(s->type, "unix") != 0)
			continue;
		rc = rate_parse(config_transport_text(cfg, s->name, what), &rule, &why);
		*ret_any |= rule.count > 0;
		if (rc == 0)
			continue;
		if (config_setting_find(cfg, name) == NULL)
			name = arena_printf(&a, "default_%s", what);
		buf_printf(err, "%s: %s", name, buf_cstr(&why));
	}
	buf_fini(&why);
	arena_fini(&a);
	return rc;
}

int
qmgr_check(const struct config *cfg, struct buf *err)
{
	const struct service *s = NULL;
	struct map *filter;
	bool any;
	int rc = read_rates(cfg, &any, err);

	while (rc == 0 && (s = config_service_next(cfg, s)) != NULL) {
		rc = open_filter(s, &filter, err);
		map_unref(filter);
	}
	return rc;
}

/* What earlier runs sent is read when somebody has a limit. */
static void
rates_begin(struct qmgr *q, const struct config *cfg)
{
	struct buf err = {.max = 2000};
	bool any;

	read_rates(cfg, &any, &err);
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
		map_unref(t->filter);
	}
	HASH_CLEAR(hh, e->transports);
	cleanup_setup_unref(&e->setup);
	arena_fini(&e->arena);
	mem_free(e);
}
