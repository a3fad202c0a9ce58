/*
 * gone.c - says which messages vanished from the spool.
 *
 * A command that deletes says so itself and tells the daemon a moment later than the directory
 * does, so a line waits that long; an id or a whole run that a command owns is passed over. An
 * administrator who removes ten thousand files wants to know that it was noticed, not to read it
 * ten thousand times.
 */
#include "hand.h"

enum {
	WAIT_MS = 1000,
	MINUTE_MS = 60 * 1000,
	LINES_A_MINUTE = 100,
	QUIET_MS = 10 * 1000,
	QUIET_ALL_MS = 2000,
	QUIET_END_MS = 500, /* after a command on whole queues */
	QUIET_MAX = 20000,
	GONE_MAX = 20000, /* the rest is only counted */
};

struct hand_gone {
	struct hand_gone *next;
	int64_t since; /* of the loop */
	enum queue from;
	char id[];
};

struct hand_quiet {
	UT_hash_handle hh;
	int64_t until;
	char id[];
};

static bool
is_quiet(struct qmgr_hand *h, const char *id)
{
	struct hand_quiet *s;

	HASH_FIND_STR(h->quiet, id, s);
	return s != NULL && s->until > loop_now(h->q->loop);
}

static void
quiet_expire(struct qmgr_hand *h, bool all)
{
	struct hand_quiet *s, *next;

	HASH_ITER (hh, h->quiet, s, next) {
		if (!all && s->until > loop_now(h->q->loop))
			continue;
		HASH_DEL(h->quiet, s);
		mem_free(s);
	}
}

static void
say(struct qmgr_hand *h, const struct hand_gone *g)
{
	int64_t now = loop_now(h->q->loop);

	if (now - h->gone_since > MINUTE_MS) {
		h->gone_since = now;
		h->gone_said = 0;
	}
	if (h->gone_said++ < LINES_A_MINUTE)
		log_info("qmgr", "%s: gone from %s", g->id, spool_queue_name(g->from));
	else
		h->gone_unsaid++;
}

static void
gone_fired(struct timer *t)
{
	struct qmgr_hand *h = PP_CONTAINER(t, struct qmgr_hand, gone_timer);
	bool all_quiet = hand_all_quiet(h);
	int64_t before = loop_now(h->q->loop) - WAIT_MS;
	struct hand_gone *g, **at = &h->gone;

	while ((g = *at) != NULL) {
		/* The timer may have run for others already when it came. */
		if (!all_quiet && g->since > before) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		if (!all_quiet && !is_quiet(h, g->id))
			say(h, g);
		mem_free(g);
	}
	if (!all_quiet)
		h->gone_unsaid += h->gone_n > GONE_MAX ? h->gone_n - GONE_MAX : 0;
	h->gone_n = 0;
	for (g = h->gone; g != NULL; g = g->next)
		h->gone_n++;
	if (h->gone_unsaid > 0)
		log_info("qmgr", "%u more messages are gone from the queue", h->gone_unsaid);
	h->gone_unsaid = 0;
	quiet_expire(h, false);
	if (all_quiet || h->quiet || h->gone)
		timer_start(h->q->loop, &h->gone_timer, all_quiet || h->gone ? WAIT_MS : QUIET_MS,
		    gone_fired);
}

void
hand_gone(struct qmgr_hand *h, const char *id, enum queue from)
{
	size_t n = strlen(id) + 1;
	struct hand_gone *g;

	qmgr_event(h->q, "gone", id);
	if (hand_all_quiet(h) || is_quiet(h, id))
		return;
	if (h->gone_n++ >= GONE_MAX)
		return;
	g = mem_alloc(sizeof(*g) + n);
	g->from = from;
	g->since = loop_now(h->q->loop);
	memcpy(g->id, id, n);
	if (h->gone == NULL)
		timer_start(h->q->loop, &h->gone_timer, WAIT_MS, gone_fired);
	g->next = h->gone;
	h->gone = g;
}

void
qmgr_gone(struct qmgr *q, const char *id)
{
	/* A walk that a command has ordered finds what the command did, and so does one that was
	 * under way then, which that one waits for. */
	if (q->hand && !q->stopping && !q->is_telling && !q->changed)
		hand_gone(q->hand, id, QUEUE_DEFERRED);
}

/* Until the first of its reasons. */
static void
wake(struct qmgr_hand *h)
{
	if (h->gone_timer.loop == NULL)
		timer_start(h->q->loop, &h->gone_timer, WAIT_MS, gone_fired);
}

void
qmgr_quiet(struct qmgr *q, const char *id)
{
	struct qmgr_hand *h = q->hand;
	struct hand_quiet *s;
	size_t n;

	if (h == NULL || q->stopping)
		return;
	wake(h);
	if (HASH_COUNT(h->quiet) >= QUIET_MAX)
		return;
	HASH_FIND_STR(h->quiet, id, s);
	if (s == NULL) {
		n = strlen(id) + 1;
		s = mem_alloc(sizeof(*s) + n);
		memcpy(s->id, id, n);
		HASH_ADD_STR(h->quiet, id, s);
	}
	s->until = loop_now(q->loop) + QUIET_MS;
}

void
qmgr_quiet_all(struct qmgr *q, bool is_over)
{
	struct qmgr_hand *h = q->hand;

	if (h == NULL || q->stopping)
		return;
	wake(h);
	h->quiet_until = loop_now(q->loop) + (is_over ? QUIET_END_MS : QUIET_ALL_MS);
	h->is_changing = true;
}

/* How long it takes nobody knows; that it is through, or was killed, its lock tells. */
bool
hand_all_quiet(struct qmgr_hand *h)
{
	int64_t now = loop_now(h->q->loop);

	if (h->is_changing && now >= h->quiet_until) {
		h->is_changing = spool_is_changing(h->q->spool);
		if (h->is_changing)
			h->quiet_until = now + QUIET_ALL_MS;
	}
	return now < h->quiet_until;
}

void
hand_gone_fini(struct qmgr_hand *h)
{
	struct hand_gone *g;

	timer_stop(&h->gone_timer);
	while ((g = h->gone) != NULL) {
		h->gone = g->next;
		mem_free(g);
	}
	quiet_expire(h, true);
}
