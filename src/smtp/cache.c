/*
 * Idle connections of one loop, kept for the next delivery to the same destination with the same
 * credentials.
 *
 * A plain list, newest first: a hit is nearly always near its head, the warmest connection is the
 * least likely to be dead, and the list is bounded. A server that closes, or says anything, while
 * its connection is idle only loses its place.
 */
#include "internal.h"

enum { IDLE_MAX = 200 };

void
smtp_cache_drop(struct smtp_session *ss)
{
	struct smtp *s = ss->smtp;

	if (!ss->is_cached)
		return;
	ss->is_cached = false;
	timer_stop(&ss->idle);
	s->idle_count--;
	if (ss->prev)
		ss->prev->next = ss->next;
	else
		s->idle = ss->next;
	if (ss->next)
		ss->next->prev = ss->prev;
	ss->prev = ss->next = NULL;
}

static void
expired(struct timer *t)
{
	smtp_session_quit(PP_CONTAINER(t, struct smtp_session, idle));
}

/* Always reused, or only in bursts: both mean the idle time of a burst here. */
static bool
is_wanted(const struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;
	struct str rest = str_of(p->smtp_connection_cache_destinations), word;

	if (p->smtp_connection_cache_on_demand)
		return true;
	while (str_token(&rest, ", \t", &word))
		if (str_caseeq(word, str_of(ss->o.hop->text)) ||
		    str_caseeq(word, str_of(ss->o.hop->host)))
			return true;
	return false;
}

bool
smtp_cache_put(struct smtp_session *ss)
{
	struct smtp *s = ss->smtp;
	const struct params *p = ss->o.svc->p;
	int64_t left = p->smtp_connection_reuse_time_limit - (loop_now(s->loop) - ss->created);
	int64_t idle = p->smtp_connection_cache_time_limit;

	if (s->is_stopping || ss->setup != s->setup || ss->is_broken || !ss->o.policy.is_reused ||
	    !is_wanted(ss))
		return false;
	if (left <= 0 || idle <= 0)
		return false;
	if (p->smtp_connection_reuse_count_limit > 0 &&
	    ss->uses >= p->smtp_connection_reuse_count_limit)
		return false;
	if (s->idle_count >= IDLE_MAX) {
		struct smtp_session *oldest = s->idle;

		while (oldest->next)
			oldest = oldest->next;
		smtp_session_quit(oldest);
	}
	ss->is_cached = true;
	s->idle_count++;
	ss->prev = NULL;
	ss->next = s->idle;
	if (ss->next)
		ss->next->prev = ss;
	s->idle = ss;
	stream_deadline(ss->stream, -1);
	timer_start(s->loop, &ss->idle, idle < left ? idle : left, expired);
	return true;
}

struct smtp_session *
smtp_cache_take(
    struct smtp *s, const struct smtp_service *svc, const char *hop, const char *identity)
{
	for (struct smtp_session *ss = s->idle; ss; ss = ss->next) {
		if (ss->o.svc != svc || !str_caseeq(str_of(ss->o.hop->text), str_of(hop)) ||
		    !str_eq(str_of(ss->o.identity), str_of(identity)))
			continue;
		/* Words that came while it was idle (421) are not read yet: it is as good as dead.
		 */
		if (stream_in(ss->stream).n > 0)
			continue;
		smtp_cache_drop(ss);
		return ss;
	}
	return NULL;
}

void
smtp_cache_clear(struct smtp *s)
{
	while (s->idle)
		smtp_session_quit(s->idle);
}
