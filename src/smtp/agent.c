/*
 * The agent of one loop: takes deliveries, changes its set-up, stops.
 *
 * It holds no logic of mail. Its lists say what runs and what is idle, so that a stop can finish or
 * break off the one and close the other.
 */
#include <sys/random.h>
#include "internal.h"

struct smtp *
smtp_new(
    struct loop *l, struct spool *spool, struct resolver *r, struct lane *slow, struct lane *sasl)
{
	struct smtp *s = MEM_NEW(struct smtp);

	s->loop = l;
	s->spool = spool;
	s->resolver = r;
	s->slow = slow;
	s->sasl = sasl;
	if (getrandom(&s->seed, sizeof s->seed, GRND_NONBLOCK) != (ssize_t)sizeof s->seed)
		s->seed = (uint64_t)loop_wall_us();
	return s;
}

void
smtp_use(struct smtp *s, struct smtp_setup *setup)
{
	struct smtp_tls_wait *waiting = NULL, *next;

	PP_ON(s->loop);
	smtp_cache_clear(s);
	if (s->setup)
		waiting = smtp_tls_slots_free(s);
	smtp_setup_ref(setup);
	smtp_setup_unref(s->setup);
	s->setup = setup;
	resolver_cancel(s->probe);
	s->probe = NULL;
	s->is_validated = false;
	smtp_tls_slots_new(s);
	for (struct smtp_tls_wait *w = waiting; w; w = next) {
		next = w->next;
		w->done(w, NULL, NULL);
	}
}

void
smtp_deliver(void *ctx, struct delivery *d)
{
	struct smtp *s = ctx;

	PP_ON(s->loop);
	PP_ASSERT(s->setup);
	smtp_job_new(s, d);
}

static void
report_stopped(struct post *p)
{
	struct smtp *s = PP_CONTAINER(p, struct smtp, stop_post);

	s->stopped(s->stopped_ctx);
}

static void
maybe_stopped(struct smtp *s)
{
	if (s->jobs || !s->stopped || s->is_reported)
		return;
	s->is_reported = true;
	timer_stop(&s->stop_timer);
	post_to(s->loop, &s->stop_post, report_stopped);
}

void
smtp_agent_job_ended(struct smtp *s)
{
	if (s->is_stopping)
		maybe_stopped(s);
}

static void
stop_now(struct timer *t)
{
	struct smtp *s = PP_CONTAINER(t, struct smtp, stop_timer);
	struct smtp_job *next;

	for (struct smtp_job *j = s->jobs; j; j = next) {
		next = j->next; /* breaking one off starts no other */
		smtp_job_break_off(j);
	}
}

void
smtp_stop(struct smtp *s, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx)
{
	PP_ON(s->loop);
	s->is_stopping = true;
	s->stopped = stopped;
	s->stopped_ctx = ctx;
	smtp_cache_clear(s);
	if (s->jobs)
		timer_start(s->loop, &s->stop_timer, deadline_ms, stop_now);
	maybe_stopped(s);
}

void
smtp_free(struct smtp *s)
{
	if (!s)
		return;
	PP_ON(s->loop);
	PP_ASSERT(!s->jobs);
	timer_stop(&s->stop_timer);
	resolver_cancel(s->probe);
	smtp_cache_clear(s);
	while (s->ending)
		smtp_session_close(s->ending);
	if (s->setup)
		smtp_tls_slots_free(s);
	smtp_setup_unref(s->setup);
	smtp_auth_cache_clear(s);
	mem_free(s);
}
