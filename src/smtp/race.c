/*
 * Connecting over IPv4 and IPv6 at once, so that a network that loses one of them costs a quarter
 * of a second and not a time-out (RFC 8305).
 *
 * At most one attempt of each family is under way: a server with several addresses of one family
 * sees no connections that are given up at once. Who loses is closed before a word was said, is no
 * failure, and counts as not tried.
 */
#include "internal.h"

enum { DELAY_MS = 250 }; /* RFC 8305 5 */

static bool
is_racing(const struct smtp_job *j, int family)
{
	for (size_t i = 0; i < j->racer_count; i++)
		if (j->targets[j->racers[i].at].sa.ss_family == family)
			return true;
	return false;
}

/* The next address of another family than those under way: its place, or the end. */
static size_t
find_other(const struct smtp_job *j)
{
	size_t i = j->target;

	while (i < j->target_count && is_racing(j, j->targets[i].sa.ss_family))
		i++;
	return i;
}

/* Moves an element; what lies between makes room. Racers keep their places. */
static void
move_target(struct smtp_job *j, size_t from, size_t to)
{
	struct smtp_target t = j->targets[from];
	int step = from < to ? 1 : -1;

	for (size_t i = from; i != to; i += (size_t)step)
		j->targets[i] = j->targets[i + (size_t)step];
	j->targets[to] = t;
}

static bool
begin_other(struct smtp_job *j)
{
	size_t i = find_other(j);

	if (j->is_preparing || j->racer_count == SMTP_RACERS || i == j->target_count ||
	    !smtp_job_may_try_more(j))
		return false;
	move_target(j, i, j->target);
	smtp_prepare(j);
	return true;
}

static void
fired(struct timer *t)
{
	begin_other(PP_CONTAINER(t, struct smtp_job, race_timer));
}

void
smtp_race_add(struct smtp_job *j, struct smtp_session *ss)
{
	j->racers[j->racer_count++] = (struct smtp_racer){ss, j->target - 1};
	if (find_other(j) < j->target_count)
		timer_start(j->smtp->loop, &j->race_timer, DELAY_MS, fired);
}

void
smtp_race_leave(struct smtp_job *j, struct smtp_session *ss)
{
	size_t kept = 0;

	for (size_t i = 0; i < j->racer_count; i++)
		if (j->racers[i].session != ss)
			j->racers[kept++] = j->racers[i];
	j->racer_count = kept;
}

bool
smtp_race_goes_on(struct smtp_job *j)
{
	if (j->racer_count == 0)
		return j->is_preparing;
	timer_stop(&j->race_timer);
	begin_other(j);
	return true;
}

/* What was begun and not decided comes next, should the winner turn out to be of no use. */
static void
put_back(struct smtp_job *j, size_t at)
{
	move_target(j, at, j->target - 1);
	for (size_t i = 0; i < j->racer_count; i++)
		if (j->racers[i].at > at)
			j->racers[i].at--;
	j->target--;
	j->addresses--;
}

void
smtp_race_won(struct smtp_job *j, struct smtp_session *ss)
{
	timer_stop(&j->race_timer);
	smtp_prepare_stop(j);
	for (size_t i = 0; i < j->racer_count;) {
		struct smtp_racer r = j->racers[i];

		if (r.session == ss) {
			i++;
			continue;
		}
		smtp_race_leave(j, r.session);
		smtp_session_close(r.session);
		put_back(j, r.at);
	}
	/* The winner is the last that was tried: should TLS fail, it is tried in clear. */
	move_target(j, j->racers[0].at, j->target - 1);
	j->racer_count = 0;
	j->session = ss;
}

void
smtp_race_end(struct smtp_job *j)
{
	timer_stop(&j->race_timer);
	while (j->racer_count > 0)
		smtp_session_close(j->racers[--j->racer_count].session);
}
