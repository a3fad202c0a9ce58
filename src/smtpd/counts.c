/*
 * counts.c - how many sessions each client has, over all io loops, and how many it began lately.
 *
 * One table on one loop, asked by a message before the banner and told by another when a session
 * ends: no lock, and no second truth. Only clients outside smtpd_client_event_limit_exceptions
 * come here, so local and trusted mail never waits for it.
 */
#include "internal.h"
#include "pp/base/hash.h"

enum {
	COUNTS_SWEEP_ABOVE = 1024,   /* clients known before forgetting is worth a walk */
	COUNTS_CLIENTS_MAX = 100000, /* more are not counted by rate: memory has an end */
	COUNTS_KEY_MAX = 160,        /* "service:address" */
};

struct client {
	UT_hash_handle hh;
	int64_t open, begun; /* sessions now, and begun since window_at */
	int64_t window_at, unit;
	char key[];
};

struct smtpd_counts {
	struct loop *loop;
	struct client *clients;
	int64_t swept_at;
};

struct count_ask {
	struct post post;
	struct smtpd_counts *counts;
	struct smtpd_session *session; /* only touched on its own loop */
	struct loop *origin;
	int64_t limit, rate, unit, open, begun;
	bool is_leave;
	char key[COUNTS_KEY_MAX];
};

struct smtpd_counts *
smtpd_counts_new(struct loop *l)
{
	struct smtpd_counts *c = MEM_NEW(struct smtpd_counts);

	c->loop = l;
	return c;
}

static void
drop(struct smtpd_counts *c, struct client *e)
{
	HASH_DEL(c->clients, e);
	mem_free(e);
}

void
smtpd_counts_free(struct smtpd_counts *c)
{
	struct client *e, *next;

	if (c == NULL)
		return;
	HASH_ITER (hh, c->clients, e, next)
		drop(c, e);
	mem_free(c);
}

static bool
is_idle(const struct client *e, int64_t now)
{
	return e->open == 0 && (e->begun == 0 || now - e->window_at >= e->unit);
}

static void
sweep(struct smtpd_counts *c, int64_t now, int64_t unit)
{
	struct client *e, *next;

	if (HASH_COUNT(c->clients) < COUNTS_SWEEP_ABOVE || now - c->swept_at < unit)
		return;
	c->swept_at = now;
	HASH_ITER (hh, c->clients, e, next)
		if (is_idle(e, now))
			drop(c, e);
}

static struct client *
client_of(struct smtpd_counts *c, const char *key, bool is_made)
{
	struct client *e;
	size_t n = strlen(key);

	HASH_FIND(hh, c->clients, key, n, e);
	if (e || !is_made || HASH_COUNT(c->clients) >= COUNTS_CLIENTS_MAX)
		return e;
	e = mem_alloc(sizeof(*e) + n + 1);
	memcpy(e->key, key, n);
	HASH_ADD_KEYPTR(hh, c->clients, e->key, n, e);
	return e;
}

static void
leave(struct smtpd_counts *c, const char *key, int64_t now)
{
	struct client *e = client_of(c, key, false);

	if (e == NULL)
		return;
	e->open--;
	if (is_idle(e, now))
		drop(c, e);
}

static void
enter(struct smtpd_counts *c, struct count_ask *a, int64_t now)
{
	struct client *e;

	sweep(c, now, a->unit);
	e = client_of(c, a->key, true);
	if (e == NULL)
		return;
	if (now - e->window_at >= a->unit) {
		e->window_at = now;
		e->begun = 0;
	}
	e->unit = a->unit;
	a->open = ++e->open;
	a->begun = a->rate > 0 ? ++e->begun : 0;
}

static void
answered(struct post *p)
{
	struct count_ask *a = PP_CONTAINER(p, struct count_ask, post);
	struct smtpd_session *s = a->session;
	const char *refusal = NULL, *service = s->setup->service->name;

	s->is_counted = a->open > 0;
	if (smtpd_session_told(s)) {
		if (a->limit > 0 && a->open > a->limit)
			log_warn("smtpd",
			    "Connection concurrency limit exceeded: %lld from %s for service %s",
			    (long long)a->open, s->client, service);
		else if (a->rate > 0 && a->begun > a->rate)
			log_warn("smtpd",
			    "Connection rate limit exceeded: %lld from %s for service %s",
			    (long long)a->begun, s->client, service);
		else
			service = NULL;
		if (service)
			refusal = arena_printf(&s->arena,
			    "421 4.7.0 %s Error: too many connections from %s",
			    s->setup->p->myhostname, s->address);
		smtpd_greeting_counted(s, refusal);
	}
	mem_free(a);
}

static void
asked(struct post *p)
{
	struct count_ask *a = PP_CONTAINER(p, struct count_ask, post);
	int64_t now = loop_now(a->counts->loop);

	if (a->is_leave) {
		leave(a->counts, a->key, now);
		mem_free(a);
		return;
	}
	enter(a->counts, a, now);
	post_to(a->origin, &a->post, answered);
}

static void
ask(struct smtpd_session *s, bool is_leave)
{
	const struct params *p = s->setup->p;
	struct count_ask *a = MEM_NEW(struct count_ask);
	struct buf key;

	buf_init(&key, COUNTS_KEY_MAX - 1);
	buf_adds(&key, s->address);
	buf_printf(&key, ":%s", s->setup->service->name); /* a longer name is left out */
	memcpy(a->key, buf_cstr(&key), key.n + 1);
	buf_fini(&key);
	a->counts = s->server->counts;
	a->session = s;
	a->origin = s->server->loop;
	a->limit = p->smtpd_client_connection_count_limit;
	a->rate = p->smtpd_client_connection_rate_limit;
	a->unit = p->anvil_rate_time_unit;
	a->is_leave = is_leave;
	post_to(a->counts->loop, &a->post, asked);
}

void
smtpd_counts_enter(struct smtpd_session *s)
{
	smtpd_session_ask(s, ASK_COUNT);
	ask(s, false);
}

void
smtpd_counts_leave(struct smtpd_session *s)
{
	ask(s, true);
}
