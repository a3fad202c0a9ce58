/*
 * schedule_test.c - whose turn it is, overtaking, death and probes, and a day with a thousand
 * destinations of which ten are dead: all by a clock that is a number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"
#include "qmgr/schedule.h"

static const struct schedule_transport usual = {
    .limits = {.initial = 5,
	.limit = 20,
	.cohort_limit = 1,
	.positive = {WINDOW_CONSTANT, 1},
	.negative = {WINDOW_CONSTANT, 1}},
    .dead_time = 300000,
    .dead_max = 4000000,
    .retry_time = 60000,
    .places = 100,
    .slot_cost = 5,
    .slot_loan = 3,
    .slot_discount = 50,
    .slot_minimum = 3,
};
static const struct schedule_outcome sent = {.sent = true};

static void
transport(struct schedule_transport *t, unsigned places)
{
	*t = usual;
	t->places = places;
	schedule_transport_init(t);
}

enum { MANY = 5000 };
static struct schedule_entry pool[4 * MANY];
static struct schedule_job jobs[2 * MANY];
static struct schedule_destination dests[MANY + 1];
static unsigned pool_n, job_n;

/* A message of n deliveries to one destination, or to n of them. */
static struct schedule_job *
message(struct schedule_destination *d, unsigned n, bool spread, int64_t now)
{
	struct schedule_job *j = &jobs[job_n++];

	*j = (struct schedule_job){.size = n};
	for (unsigned i = 0; i < n; i++) {
		pool[pool_n] = (struct schedule_entry){0};
		schedule_add(spread ? &d[i] : d, &pool[pool_n++], j, now);
	}
	return j;
}

/* The next delivery, and its good end at once. */
static struct schedule_job *
deliver(struct schedule_transport *t, int64_t now)
{
	struct schedule_entry *e = schedule_next(t, now);

	if (e == NULL)
		return NULL;
	schedule_ended(e->dest, &sent, now, now);
	return e->job;
}

static void
begin(struct schedule_transport *t, unsigned places, unsigned n)
{
	pool_n = job_n = 0;
	transport(t, places);
	memset(dests, 0, sizeof dests);
	for (unsigned i = 0; i < n; i++)
		schedule_destination_init(&dests[i], t);
}

static void
destinations_take_turns(void **state)
{
	struct schedule_transport t;
	struct schedule_job *j[6];

	begin(&t, 1, 2);
	for (unsigned i = 0; i < 3; i++)
		j[i] = message(&dests[0], 1, false, 0);
	for (unsigned i = 3; i < 6; i++)
		j[i] = message(&dests[1], 1, false, 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(deliver(&t, 0), j[i]);
		assert_ptr_equal(deliver(&t, 0), j[3 + i]);
	}
	assert_null(deliver(&t, 0));
	schedule_transport_fini(&t);
}

/* How many deliveries come before that of a job. */
static unsigned
before(struct schedule_transport *t, const struct schedule_job *j)
{
	for (unsigned n = 0;; n++)
		if (deliver(t, 0) == j)
			return n;
}

static void
single_mail_overtakes(void **state)
{
	for (unsigned spread = 0; spread < 2; spread++) {
		struct schedule_transport t;
		struct schedule_job *bulk, *one;
		unsigned singles = 0;

		begin(&t, 1, MANY + 1);
		bulk = message(dests, MANY, spread, 0);
		deliver(&t, 0);
		one = message(&dests[spread ? MANY : 0], 1, false, 0);
		assert_int_equal(before(&t, one), 0);
		/* In the same destination as part of the bulk, too. */
		one = message(&dests[spread ? MANY - 1 : 0], 1, false, 0);
		assert_int_equal(before(&t, one), 0);
		/* However many single mails come, the bulk gets five of six. */
		for (unsigned i = 0; i < 600; i++)
			message(&dests[spread ? MANY : 0], 1, false, 0);
		for (unsigned i = 0; i < 600; i++)
			singles += deliver(&t, 0) != bulk;
		assert_in_range(singles, 99, 104);
		while (deliver(&t, 0))
			;
		schedule_transport_fini(&t);
	}
	/* The cost of slots is what is set; 0 never lets one go before. */
	for (unsigned cost = 0; cost <= 2; cost += 2) {
		struct schedule_transport t;
		struct schedule_job *bulk;
		unsigned singles = 0;

		begin(&t, 1, 1);
		t.slot_cost = cost;
		bulk = message(dests, 1000, false, 0);
		for (unsigned i = 0; i < 400; i++)
			message(dests, 1, false, 0);
		for (unsigned i = 0; i < 300; i++)
			singles += deliver(&t, 0) != bulk;
		assert_in_range(singles, cost ? 100 : 0, cost ? 104 : 0);
		while (deliver(&t, 0))
			;
		schedule_transport_fini(&t);
	}
}

static void
smaller_of_large_ones(void **state)
{
	struct schedule_transport t;
	struct schedule_job *bulk, *hundred, *small;

	begin(&t, 1, 1);
	bulk = message(dests, 3000, false, 0);
	hundred = message(dests, 100, false, 0);
	/* 100 - 50 % - 3 slots have to be earned first. */
	assert_int_equal(before(&t, hundred), 47 * 5);
	/* Which lends in its turn. */
	small = message(dests, 2, false, 0);
	assert_int_equal(before(&t, small), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_ptr_not_equal(deliver(&t, 0), bulk);
	assert_ptr_equal(deliver(&t, 0), bulk);
	/* Too small a message is overtaken by none. */
	schedule_transport_fini(&t);
	begin(&t, 1, 1);
	bulk = message(dests, 14, false, 0);
	small = message(dests, 1, false, 0);
	assert_int_equal(before(&t, small), 14);
	schedule_transport_fini(&t);
}

/* Ends all that may begin in the same way. */
static enum schedule_verdict
fail_all(struct schedule_transport *t, struct schedule_destination *d, enum delivery_cause cause,
    int64_t now, unsigned *ret_n)
{
	const struct schedule_outcome o = {.failed = true, .cause = cause};
	enum schedule_verdict v = SCHEDULE_AS_BEFORE;

	for (*ret_n = 0; schedule_next(t, now);)
		++*ret_n;
	for (unsigned i = 0; i < *ret_n; i++)
		if (schedule_ended(d, &o, now, now) == SCHEDULE_DIED)
			v = SCHEDULE_DIED;
	return v;
}

static void
nothing_waits(struct schedule_destination *d)
{
	while (!TAILQ_EMPTY(&d->line))
		schedule_remove(TAILQ_FIRST(&d->line));
}

static void
death_and_return(void **state)
{
	struct schedule_transport t;
	struct schedule_destination *d = dests;
	unsigned n;

	begin(&t, 100, 1);
	for (unsigned i = 0; i < 20; i++)
		message(d, 1, false, 0);
	assert_int_equal(fail_all(&t, d, CAUSE_CONNECT, 0, &n), SCHEDULE_DIED);
	assert_int_equal(n, 5);
	assert_true(d->dead);
	nothing_waits(d);
	assert_int_equal(schedule_wake(&t, 1000), 299000);
	for (unsigned i = 0; i < 20; i++)
		message(d, 1, false, 0);
	assert_null(schedule_next(&t, 1000));
	schedule_wake(&t, 300000);
	assert_int_equal(fail_all(&t, d, CAUSE_CONNECT, 300000, &n), SCHEDULE_DIED);
	assert_int_equal(n, 5);
	/* A probe that gets through is news, whenever it comes. */
	schedule_probe(d);
	assert_int_equal(schedule_ended(d, &sent, 310000, 310000), SCHEDULE_BACK);
	assert_false(d->dead);
	assert_non_null(schedule_next(&t, 310000));
	assert_int_equal(schedule_ended(d, &sent, 310000, 310000), SCHEDULE_AS_BEFORE);
	nothing_waits(d);
	schedule_transport_fini(&t);
}

static void
credentials_rejected(void **state)
{
	static const int64_t want[] = {300, 600, 1200, 2400, 4000, 4000};
	struct schedule_transport t;
	struct schedule_destination *d = dests;
	int64_t now = 0;
	unsigned n;

	begin(&t, 100, 1);
	t.careful = true;
	for (unsigned i = 0; i < 20; i++)
		message(d, 1, false, 0);
	for (unsigned i = 0; i < PP_COUNT(want); i++) {
		/* One attempt, whatever waits; the second would be no wiser. */
		assert_int_equal(fail_all(&t, d, CAUSE_AUTH, now, &n), SCHEDULE_DIED);
		assert_int_equal(n, 1);
		assert_int_equal(schedule_wake(&t, now), want[i] * 1000);
		/* A flush does not shorten that; what has changed the cause does. */
		assert_false(schedule_revive(d, false, now + 1));
		assert_null(schedule_next(&t, now + 1));
		now += want[i] * 1000;
		schedule_wake(&t, now);
	}
	assert_int_equal(fail_all(&t, d, CAUSE_AUTH, now, &n), SCHEDULE_DIED);
	assert_true(schedule_revive(d, true, now + 5));
	assert_non_null(schedule_next(&t, now + 5));
	assert_null(schedule_next(&t, now + 5));
	assert_int_equal(schedule_ended(d, &sent, now + 6, now + 6), SCHEDULE_BACK);
	for (n = 0; schedule_next(&t, now + 6); n++)
		;
	assert_int_equal(n, 5);
	while (d->busy > 0)
		schedule_ended(d, &sent, now, now);
	nothing_waits(d);
	schedule_transport_fini(&t);
}

static void
told_off(void **state)
{
	static const struct schedule_outcome grey = {.cause = CAUSE_TOLD_OFF};
	struct schedule_transport t;
	struct schedule_destination *d = dests;
	unsigned n;

	begin(&t, 100, 1);
	for (unsigned i = 0; i < 40; i++)
		message(d, 1, false, 0);
	/* Said of one message it does not throttle... */
	for (unsigned i = 0; i < 8; i++) {
		assert_non_null(schedule_next(&t, 0));
		assert_int_equal(schedule_ended(d, &grey, 0, 0), SCHEDULE_AS_BEFORE);
	}
	/* ... but when all is flushed one goes first. */
	assert_true(schedule_revive(d, false, 1));
	assert_non_null(schedule_next(&t, 1));
	assert_null(schedule_next(&t, 1));
	assert_int_equal(schedule_ended(d, &grey, 2, 2), SCHEDULE_DIED);
	assert_true(schedule_revive(d, false, 3));
	assert_int_equal(fail_all(&t, d, CAUSE_TOLD_OFF, 3, &n), SCHEDULE_DIED);
	assert_int_equal(n, 1);
	assert_true(schedule_revive(d, false, 4));
	assert_non_null(schedule_next(&t, 4));
	assert_int_equal(schedule_ended(d, &sent, 5, 5), SCHEDULE_BACK);
	for (n = 0; schedule_next(&t, 6); n++)
		;
	assert_true(n >= 5);
	while (d->busy > 0)
		schedule_ended(d, &sent, 7, 7);
	nothing_waits(d);
	schedule_transport_fini(&t);
}

static void
pauses(void **state)
{
	static const struct schedule_outcome own = {.failed = true, .cause = CAUSE_OWN};
	struct schedule_transport t;

	begin(&t, 100, 2);
	t.rate_delay = 1000;
	t.limits.initial = t.limits.limit = 1;
	for (unsigned i = 0; i < 2; i++) {
		schedule_destination_init(&dests[i], &t);
		message(&dests[i], 1, false, 0);
		message(&dests[i], 1, false, 0);
	}
	assert_non_null(deliver(&t, 0));
	assert_non_null(deliver(&t, 0));
	assert_null(deliver(&t, 0));
	assert_int_equal(schedule_wake(&t, 400), 600);
	schedule_wake(&t, 1000);
	assert_non_null(deliver(&t, 1000));
	assert_non_null(deliver(&t, 1000));
	schedule_transport_fini(&t);
	begin(&t, 100, 2);
	t.transport_delay = 1000;
	for (unsigned i = 0; i < 2; i++)
		message(&dests[i], 1, false, 0);
	assert_non_null(deliver(&t, 0));
	assert_null(deliver(&t, 0));
	assert_int_equal(schedule_wake(&t, 999), 1);
	assert_non_null(deliver(&t, 1000));
	/* What we lack ourselves is no destination's fault, and stops the transport for a while. */
	message(&dests[0], 1, false, 0);
	message(&dests[1], 1, false, 0);
	assert_non_null(schedule_next(&t, 3000));
	assert_int_equal(schedule_ended(&dests[0], &own, 3000, 3000), SCHEDULE_AS_BEFORE);
	assert_null(schedule_next(&t, 3000));
	assert_int_equal(schedule_wake(&t, 3000), 60000);
	assert_non_null(schedule_next(&t, 63000));
	schedule_transport_fini(&t);
}

/* ---- the simulation ---- */

enum {
	DESTS = 1000,
	DEAD = 10,
	MAILS = 100000,
	ARRIVE_MS = 600000,
	CONNECT_MS = 30000, /* until a dead one is given up */
	LIVE_MS = 200,
	RATED = 20, /* of the live ones */
};

struct sim_mail {
	struct schedule_entry entry; /* first: of a pointer to it */
	struct schedule_job job;
	struct heap_node node; /* arrival, end of delivery, or retry */
	enum { ARRIVES, RUNS, WAITS_RETRY } as;
	unsigned dest;
	int64_t arrived, begun;
};

static struct {
	struct schedule_transport t;
	struct schedule_destination d[DESTS];
	struct rate rate[RATED];
	struct sim_mail *mail;
	struct heap events;
	int64_t now, *waits;
	int64_t sent_at[RATED][MAILS / DESTS * 4];
	unsigned sent_n[RATED];
	size_t waits_n, attempts_dead;
	int most_busy[DESTS];
} s;

static void
sim_put_off(struct sim_mail *m)
{
	m->as = WAITS_RETRY;
	heap_put(&s.events, &m->node,
	    s.now + schedule_backoff(s.now / 1000, m->arrived / 1000, 300, 4000) * 1000);
}

static void
sim_add(struct sim_mail *m)
{
	if (s.d[m->dest].dead) {
		sim_put_off(m);
		return;
	}
	m->job = (struct schedule_job){.size = 1};
	schedule_add(&s.d[m->dest], &m->entry, &m->job, s.now);
}

static void
sim_ended(struct sim_mail *m)
{
	struct schedule_destination *d = &s.d[m->dest];
	bool dead = m->dest < DEAD;
	const struct schedule_outcome o = {
	    .failed = dead, .sent = !dead, .cause = dead ? CAUSE_CONNECT : CAUSE_NONE};
	enum schedule_verdict v = schedule_ended(d, &o, s.now, s.now);

	if (dead) {
		s.attempts_dead++;
		sim_put_off(m);
	} else if (m->dest >= DESTS - RATED) {
		unsigned i = DESTS - 1 - m->dest;

		s.sent_at[i][s.sent_n[i]++] = (m->begun + s.now) / 2;
	}
	while (v == SCHEDULE_DIED && !TAILQ_EMPTY(&d->line)) {
		struct sim_mail *w = (struct sim_mail *)(void *)TAILQ_FIRST(&d->line);

		schedule_remove(&w->entry);
		sim_put_off(w);
	}
}

static void
sim_dispatch(void)
{
	struct schedule_entry *e;

	while ((e = schedule_next(&s.t, s.now)) != NULL) {
		struct sim_mail *m = (struct sim_mail *)(void *)e;
		int busy = (int)e->dest->busy;

		if (m->dest >= DEAD)
			s.waits[s.waits_n++] = s.now - m->arrived;
		if (busy > s.most_busy[m->dest])
			s.most_busy[m->dest] = busy;
		m->as = RUNS;
		m->begun = s.now;
		heap_put(&s.events, &m->node, s.now + (m->dest < DEAD ? CONNECT_MS : LIVE_MS));
	}
}

static void
sim_init(void)
{
	struct buf err;
	unsigned seed = 7;

	buf_init(&err, 100);
	transport(&s.t, 100);
	assert_int_equal(rate_parse("3/60s", &s.t.rate, &err), 0);
	buf_fini(&err);
	for (unsigned i = 0; i < DESTS; i++)
		schedule_destination_init(&s.d[i], &s.t);
	for (unsigned i = 0; i < RATED; i++) {
		rate_follow(&s.rate[i], &s.t.rate);
		s.d[DESTS - 1 - i].rate = &s.rate[i];
	}
	s.mail = calloc(MAILS, sizeof *s.mail);
	s.waits = calloc(MAILS, sizeof *s.waits);
	for (unsigned i = 0; i < MAILS; i++) {
		struct sim_mail *m = &s.mail[i];

		m->dest = i % 10 != 0 ? (unsigned)rand_r(&seed) % DEAD
				      : DEAD + (unsigned)rand_r(&seed) % (DESTS - DEAD);
		m->arrived = (int64_t)rand_r(&seed) % ARRIVE_MS;
		heap_put(&s.events, &m->node, m->arrived);
	}
}

static void
sim_run(int64_t until)
{
	for (;;) {
		struct heap_node *n = heap_first(&s.events);
		int64_t wake = schedule_wake(&s.t, s.now);
		struct sim_mail *m;

		sim_dispatch();
		n = heap_first(&s.events);
		if (n == NULL || n->key > until)
			return;
		if (wake < INT64_MAX && s.now + wake < n->key) {
			s.now += wake;
			continue;
		}
		m = PP_CONTAINER(n, struct sim_mail, node);
		s.now = n->key > s.now ? n->key : s.now;
		heap_drop(&s.events, n);
		if (m->as == RUNS)
			sim_ended(m);
		else
			sim_add(m);
	}
}

static int
by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void
ten_of_a_thousand_are_dead(void **state)
{
	sim_init();
	sim_run(2LL * 3600 * 1000);
	/* All live mail went; half of it at once, nearly all of what has no rate within seconds. */
	assert_in_range(s.waits_n, MAILS / 10, MAILS / 10);
	qsort(s.waits, s.waits_n, sizeof *s.waits, by_size);
	assert_true(s.waits[s.waits_n / 2] < 1000);
	assert_true(s.waits[s.waits_n * 95 / 100] < 2000);
	/* Two hours, 24 intervals of 300 s for each dead one, each at most a first window. */
	assert_in_range(s.attempts_dead, DEAD * 20 * 3, DEAD * 25 * 5);
	for (unsigned i = 0; i < DESTS; i++)
		assert_true(s.most_busy[i] <= (i < DEAD ? 5 : 20));
	for (unsigned i = 0; i < RATED; i++)
		for (unsigned k = 0; k + 3 < s.sent_n[i]; k++)
			assert_true(s.sent_at[i][k + 3] - s.sent_at[i][k] >= 60000);
	heap_fini(&s.events);
	for (unsigned i = 0; i < RATED; i++)
		rate_fini(&s.rate[i]);
	schedule_transport_fini(&s.t);
	free(s.mail);
	free(s.waits);
}

/* Postfix's arithmetic: the age, between 300 and 4000 seconds, so each wait doubles the age. */
static void
five_days_of_retries(void **state)
{
	static const int64_t want[] = {300, 300, 600, 1200, 2400, 4000, 4000};
	int64_t t = 1000000, now = t;
	int attempts = 0;

	for (size_t i = 0; i < PP_COUNT(want); i++) {
		int64_t wait = schedule_backoff(now, t, 300, 4000);

		assert_int_equal(wait, want[i]);
		now += wait;
	}
	now = t;
	while (!schedule_expired(now, t, 5 * 86400)) {
		attempts++;
		now += schedule_backoff(now, t, 300, 4000);
	}
	assert_int_equal(attempts, 112);
	assert_true(schedule_expired(t, t, 0));                        /* lifetime 0: one attempt */
	assert_int_equal(schedule_backoff(t - 50, t, 300, 4000), 300); /* a clock that went back */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(destinations_take_turns),
	    cmocka_unit_test(single_mail_overtakes),
	    cmocka_unit_test(smaller_of_large_ones),
	    cmocka_unit_test(death_and_return),
	    cmocka_unit_test(credentials_rejected),
	    cmocka_unit_test(told_off),
	    cmocka_unit_test(pauses),
	    cmocka_unit_test(ten_of_a_thousand_are_dead),
	    cmocka_unit_test(five_days_of_retries),
	};

	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
