/*
 * relays.c - next hops of a list (relayhost = a, b) that are left alone for a while.
 *
 * A relay that is down, rejects our credentials or takes no more of our mail would cost each
 * delivery a try. So after its first failure the others of its list are used, for a time that
 * grows; then one delivery tries it again, which goes on to the next of the list when it fails. The
 * state lives here, with the one who hands out deliveries, so there is one probe in all, however
 * many loops deliver. When every relay of a list is in trouble none is left out: then the
 * destination as a whole is dead or alive.
 */
#include <time.h>
#include "internal.h"

enum { RELAYS_MAX = 1000, LIST_MAX = 64 };

struct qmgr_relay {
	UT_hash_handle hh;
	char *key;      /* "transport\1relay" */
	int64_t until;  /* ms of the loop: it is left alone */
	int64_t pause;  /* ms: how long that was */
	bool is_probed; /* a delivery is trying it */
};

static bool
is_list(const struct delivery *d)
{
	const char *agent = d->agent->command;

	return strpbrk(d->nexthop, ", \t\r\n") != NULL &&
	       (strcmp(agent, "smtp") == 0 || strcmp(agent, "lmtp") == 0);
}

static const char *
key_of(struct arena *a, const struct delivery *d, struct str relay)
{
	return arena_printf(a, "%s\1%.*s", d->transport, STR_FMT(arena_lower(a, relay)));
}

static struct qmgr_relay *
find(struct qmgr *q, const char *key)
{
	struct qmgr_relay *r;

	HASH_FIND_STR(q->relays, key, r);
	return r;
}

void
qmgr_relays_ask(struct qmgr *q, struct delivery *d)
{
	struct str rest = str_of(d->nexthop), relay;
	int64_t now = loop_now(q->loop);
	uint64_t all = 0;
	struct arena a = {0};

	if (q->relays == NULL || !is_list(d))
		return;
	for (unsigned i = 0; i < LIST_MAX && str_token(&rest, ", \t\r\n", &relay); i++) {
		struct qmgr_relay *r = find(q, key_of(&a, d, relay));
		uint64_t bit = (uint64_t)1 << i;

		all |= bit;
		if (r == NULL)
			continue;
		if (r->is_probed || now < r->until) {
			d->hops_left_out |= bit;
		} else {
			r->is_probed = true;
			d->hops_probed |= bit;
		}
	}
	if (d->hops_left_out == all)
		d->hops_left_out = 0;
	arena_fini(&a);
}

static void
leave_alone(struct qmgr *q, struct qmgr_relay *r, struct str name, const char *why)
{
	const struct params *p = q->epoch->params;
	int64_t longest = p->maximal_backoff_time;
	time_t back;
	struct tm tm;
	char text[16] = "";

	r->pause = r->pause == 0 ? p->relay_retry_time : r->pause * 2;
	if (r->pause > longest)
		r->pause = longest;
	r->until = loop_now(q->loop) + r->pause;
	back = (time_t)(qmgr_now() + r->pause / 1000);
	if (localtime_r(&back, &tm))
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	log_warn("qmgr", "relay %.*s is left alone for %lld s, until %s: %s", STR_FMT(name),
	    (long long)(r->pause / 1000), text, why);
}

static void
drop(struct qmgr *q, struct qmgr_relay *r)
{
	HASH_DEL(q->relays, r);
	mem_free(r->key);
	mem_free(r);
}

static struct qmgr_relay *
add(struct qmgr *q, const char *key)
{
	struct qmgr_relay *r;

	if (HASH_COUNT(q->relays) >= RELAYS_MAX)
		return NULL;
	r = MEM_NEW(struct qmgr_relay);
	r->key = mem_strdup(key);
	HASH_ADD_KEYPTR(hh, q->relays, r->key, strlen(r->key), r);
	return r;
}

void
qmgr_relays_told(struct qmgr *q, const struct delivery *d)
{
	struct str rest = str_of(d->nexthop), relay;
	int64_t now = loop_now(q->loop);
	struct arena a = {0};

	if ((q->relays == NULL && d->hops_trouble == NULL) || !is_list(d))
		return;
	for (unsigned i = 0; i < LIST_MAX && str_token(&rest, ", \t\r\n", &relay); i++) {
		const char *key = key_of(&a, d, relay);
		const char *why = d->hops_trouble ? d->hops_trouble[i] : NULL;
		uint64_t bit = (uint64_t)1 << i;
		struct qmgr_relay *r = find(q, key);

		if (r && (d->hops_probed & bit))
			r->is_probed = false;
		if (r == NULL && why != NULL)
			r = add(q, key);
		if (r == NULL)
			continue;
		if (d->hops_worked & bit) {
			log_info("qmgr", "relay %.*s is back", STR_FMT(relay));
			drop(q, r);
		} else if (why != NULL && now >= r->until) {
			/* What began before the first failure was told says nothing new. */
			leave_alone(q, r, relay, why);
		}
	}
	arena_fini(&a);
}

void
qmgr_relays_revive(struct qmgr *q)
{
	struct qmgr_relay *r, *next;

	HASH_ITER (hh, q->relays, r, next)
		r->until = 0;
}

void
qmgr_relays_fini(struct qmgr *q)
{
	struct qmgr_relay *r, *next;

	HASH_ITER (hh, q->relays, r, next)
		drop(q, r);
}
