/*
 * places_test.c - hosts that hang do not have all places of a transport.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "qmgr/schedule.h"

enum { HANG = 150, HOLD_MS = 300000, START_MS = 1000000, SECONDS = 3600 };

static struct schedule_destination dests[HANG + 1], *const live = &dests[HANG];
static struct schedule_job jobs[2 * SECONDS];
static struct schedule_entry entries[2 * SECONDS], *runs[2 * SECONDS];
static int64_t began[2 * SECONDS];
static unsigned mails, run_n;

static struct schedule_job *
send_mail(struct schedule_destination *d, int64_t now)
{
	struct schedule_job *j = &jobs[mails];

	j->size = 1;
	schedule_add(d, &entries[mails++], j, now);
	return j;
}

static void
end_some(int64_t now)
{
	static const struct schedule_outcome good = {.sent = true};
	static const struct schedule_outcome bad = {.failed = true, .cause = CAUSE_CONNECT};
	struct schedule_entry *e;

	for (unsigned i = 0; i < run_n; i++) {
		struct schedule_destination *d = runs[i] ? runs[i]->dest : NULL;

		if (d == NULL || now < began[i] + (d == live ? 1000 : HOLD_MS))
			continue;
		runs[i] = NULL;
		if (schedule_ended(d, d == live ? &good : &bad, now, now) == SCHEDULE_DIED)
			while ((e = TAILQ_FIRST(&d->line)) != NULL)
				schedule_remove(e);
	}
}

/* Each second one mail for one of 150 hosts that take five minutes to fail, and one for a host that
 * took mail before: that one has a place at once, the whole hour long, and the others have theirs.
 */
static void
who_hangs_leaves_places(void **state)
{
	struct schedule_transport t = {
	    .limits = {.initial = 5, .limit = 20, .cohort_limit = 1},
	    .dead_time = 300000,
	    .dead_max = 4000000,
	    .places = 100,
	};
	struct schedule_entry *e;
	unsigned most = 0;

	schedule_transport_init(&t);
	for (unsigned i = 0; i <= HANG; i++)
		schedule_destination_init(&dests[i], &t);
	live->known = true;
	for (int64_t now = START_MS; now < START_MS + SECONDS * 1000; now += 1000) {
		struct schedule_destination *d = &dests[now / 1000 % HANG];
		struct schedule_job *j;

		end_some(now);
		schedule_wake(&t, now);
		if (!d->dead)
			send_mail(d, now);
		j = send_mail(live, now);
		while ((e = schedule_next(&t, now)) != NULL) {
			began[run_n] = now;
			runs[run_n++] = e;
		}
		assert_int_equal(j->waiting, 0);
		most = t.busy > most ? t.busy : most;
	}
	assert_in_range(most, 85, 100);
	schedule_transport_fini(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(who_hangs_leaves_places)};

	return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
