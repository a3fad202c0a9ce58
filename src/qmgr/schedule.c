/*
 * schedule.c - who is delivered next.
 *
 * Postfix keeps a line of messages for each transport and steps over what is blocked. Here the
 * destinations take turns, so that one with much mail, or a slow one, costs the others a place and
 * no more; the line of messages is the destination's own. Overtaking is Postfix's in its effect and
 * its parameters: for each slot_cost deliveries of a large message one delivery of a smaller one
 * may go first, with a loan and a discount, so that a newsletter is slowed by a known part and a
 * single mail hardly at all. The same account pays for both kinds of overtaking, in the line of a
 * destination and in the turns of the transport.
 *
 * Who does not answer keeps its places until its time is out. So the last of them are given to who
 * took mail before, and some of these to who was never asked: a hundred hosts that hang cost the
 * others none of their time.
 *
 * No clock, no I/O: a thousand destinations and five days pass in a test in milliseconds.
 */
#include "schedule.h"
#include "pp/base/assert.h"

enum {
	STRIKES_MAX = 16,
	DOUBT_MS = 5000, /* since it was last heard of, while it has something to do */
	DOUBTFUL_PART = 8,
	NEW_PART = 16, /* of the places: not for them */
};

static unsigned
size_class(const struct schedule_job *j)
{
	unsigned c = 0;

	for (unsigned n = j->size; n >= 4 && c < SCHEDULE_SIZES - 1; n /= 4)
		c++;
	return c;
}

/* Can it ever have as many slots as are needed to be overtaken at all? */
static bool
is_large(const struct schedule_transport *t, const struct schedule_job *j)
{
	return t->slot_cost > 0 && j->size / t->slot_cost >= t->slot_minimum && j->size > 1;
}

/* May n deliveries go before the rest of j? */
static bool
lends(const struct schedule_transport *t, const struct schedule_job *j, unsigned n)
{
	int64_t have = (int64_t)(j->begun / t->slot_cost) - j->lent;
	int64_t later = (int64_t)n * t->slot_discount / 100 + t->slot_loan;

	return n < j->size && have + later >= n;
}

/* All of the job goes first from here on, everywhere; j has lent the places. */
static void
overtake(struct schedule_job *job, struct schedule_job *j)
{
	struct schedule_entry *e;

	job->is_ahead = true;
	j->lent += job->waiting;
	LIST_FOREACH (e, &job->entries, link) {
		TAILQ_REMOVE(&e->dest->line, e, line);
		TAILQ_INSERT_HEAD(&e->dest->line, e, line);
	}
}

static enum schedule_trust
trust(const struct schedule_destination *d, int64_t now)
{
	if (d->cause != CAUSE_NONE || (d->busy > 0 && now - d->heard >= DOUBT_MS))
		return SCHEDULE_DOUBTFUL;
	return d->known ? SCHEDULE_KNOWN : SCHEDULE_NEW;
}

/* Is there a place for it? One that has all of them is alone: then none is kept free. */
static bool
may_have_place(const struct schedule_destination *d)
{
	const struct schedule_transport *t = d->t;
	unsigned kept = d->trust == SCHEDULE_DOUBTFUL ? t->places / DOUBTFUL_PART
			: d->trust == SCHEDULE_NEW    ? t->places / NEW_PART
						      : 0;

	return t->busy == d->busy || t->busy < t->places - kept;
}

static struct schedule_ring *
ring_of(struct schedule_destination *d)
{
	return d->place == SCHEDULE_SMALL ? &d->t->small[d->trust] : &d->t->large[d->trust];
}

static void
leave_ring(struct schedule_destination *d)
{
	if (d->place != SCHEDULE_OUT)
		TAILQ_REMOVE(ring_of(d), d, link);
	d->place = SCHEDULE_OUT;
}

static void
sleep_until(struct schedule_destination *d, int64_t when)
{
	leave_ring(d);
	d->until = when;
	if (when == INT64_MAX)
		heap_drop(&d->t->sleepers, &d->wake);
	else
		heap_put(&d->t->sleepers, &d->wake, when);
}

static int
window_now(const struct schedule_destination *d)
{
	return d->probing || (d->t->careful && !d->proven) ? 1 : d->window.window;
}

static bool
has_place(const struct schedule_destination *d)
{
	return !d->dead && d->busy < (unsigned)window_now(d);
}

/* Into the ring where it belongs, or out. */
static void
settle(struct schedule_destination *d, int64_t now)
{
	uint8_t to = d->waiting > d->large_waiting ? SCHEDULE_SMALL : SCHEDULE_LARGE;
	unsigned which = 0;
	int64_t when;

	if (d->waiting == 0 || !has_place(d) || d->until > now) {
		leave_ring(d);
		return;
	}
	when = d->rate ? rate_next(d->rate, &d->t->rate, now, &which) : 0;
	if (when > now) {
		d->until_rate = which + 1;
		sleep_until(d, when);
		return;
	}
	d->until_rate = 0;
	if (d->place == to && d->trust == trust(d, now))
		return;
	leave_ring(d);
	d->place = to;
	d->trust = trust(d, now);
	d->turn = ++d->t->turns;
	TAILQ_INSERT_TAIL(ring_of(d), d, link);
}

void
schedule_transport_init(struct schedule_transport *t)
{
	for (unsigned i = 0; i < SCHEDULE_TRUSTS; i++) {
		TAILQ_INIT(&t->small[i]);
		TAILQ_INIT(&t->large[i]);
	}
}

void
schedule_transport_fini(struct schedule_transport *t)
{
	heap_fini(&t->sleepers);
}

void
schedule_destination_init(struct schedule_destination *d, struct schedule_transport *t)
{
	d->t = t;
	window_init(&d->window, &t->limits);
	TAILQ_INIT(&d->line);
	for (unsigned i = 0; i < SCHEDULE_SIZES; i++)
		TAILQ_INIT(&d->same[i]);
}

void
schedule_destination_fini(struct schedule_destination *d)
{
	PP_ASSERT(d->waiting == 0 && d->busy == 0);
	leave_ring(d);
	heap_drop(&d->t->sleepers, &d->wake);
}

void
schedule_add(
    struct schedule_destination *d, struct schedule_entry *e, struct schedule_job *job, int64_t now)
{
	PP_ASSERT(!e->waits && job->size > 0);
	if (job->waiting == 0 && job->begun == 0)
		job->since = now;
	e->job = job;
	e->dest = d;
	e->waits = true;
	job->waiting++;
	LIST_INSERT_HEAD(&job->entries, e, link);
	TAILQ_INSERT_TAIL(&d->line, e, line);
	TAILQ_INSERT_TAIL(&d->same[size_class(job)], e, same);
	d->waiting++;
	d->large_waiting += is_large(d->t, job);
	settle(d, now);
}

static void
take_out(struct schedule_entry *e)
{
	struct schedule_destination *d = e->dest;
	struct schedule_job *job = e->job;

	PP_ASSERT(e->waits);
	e->waits = false;
	job->waiting--;
	LIST_REMOVE(e, link);
	TAILQ_REMOVE(&d->line, e, line);
	TAILQ_REMOVE(&d->same[size_class(job)], e, same);
	d->waiting--;
	d->large_waiting -= is_large(d->t, job);
}

void
schedule_remove(struct schedule_entry *e)
{
	struct schedule_destination *d = e->dest;

	take_out(e);
	if (d->waiting == 0)
		leave_ring(d);
}

/* Who of the smaller ones waits longest for its size. */
static struct schedule_entry *
smaller(const struct schedule_destination *d, const struct schedule_job *than, int64_t now)
{
	struct schedule_entry *best = NULL;
	int64_t best_score = -1;

	for (unsigned c = 0; c < size_class(than); c++) {
		struct schedule_entry *e = TAILQ_FIRST(&d->same[c]);
		int64_t score;

		if (e == NULL || !lends(d->t, than, e->job->waiting))
			continue;
		score = (now - e->job->since + 1) / e->job->waiting;
		if (score > best_score) {
			best = e;
			best_score = score;
		}
	}
	return best;
}

/* The turn is d's: the oldest, or who may overtake it. */
static struct schedule_entry *
choose(struct schedule_destination *d, int64_t now)
{
	struct schedule_entry *first = TAILQ_FIRST(&d->line), *e;

	if (!is_large(d->t, first->job))
		return first;
	e = smaller(d, first->job, now);
	if (e)
		overtake(e->job, first->job);
	return e ? e : first;
}

static struct schedule_entry *
smallest(const struct schedule_destination *d)
{
	for (unsigned c = 0; c < SCHEDULE_SIZES; c++)
		if (!TAILQ_EMPTY(&d->same[c]))
			return TAILQ_FIRST(&d->same[c]);
	return NULL;
}

/* Of these rings, whose turn it is of those that there is a place for. */
static struct schedule_destination *
first_of(struct schedule_ring rings[SCHEDULE_TRUSTS], int64_t now)
{
	struct schedule_destination *best = NULL, *d;

	for (unsigned i = 0; i < SCHEDULE_TRUSTS; i++) {
		/* It may have stopped answering since it came here. */
		while ((d = TAILQ_FIRST(&rings[i])) != NULL && trust(d, now) != i)
			settle(d, now);
		if (d && may_have_place(d) && (best == NULL || d->turn < best->turn))
			best = d;
	}
	return best;
}

/* Whose turn it is, or who may go before. */
static struct schedule_entry *
next_entry(struct schedule_transport *t, int64_t now)
{
	struct schedule_destination *l = first_of(t->large, now), *s = first_of(t->small, now);
	struct schedule_job *job;
	struct schedule_entry *e;

	if (l == NULL || s == NULL)
		return l ? choose(l, now) : s ? choose(s, now) : NULL;
	if (s->turn < l->turn)
		return choose(s, now);
	job = TAILQ_FIRST(&l->line)->job;
	e = smallest(s);
	if (e->job->is_ahead)
		return e;
	if (!is_large(t, job) || !lends(t, job, e->job->waiting))
		return choose(l, now);
	overtake(e->job, job);
	return e;
}

struct schedule_entry *
schedule_next(struct schedule_transport *t, int64_t now)
{
	struct schedule_entry *e;
	struct schedule_destination *d;

	if (t->busy >= t->places || t->until > now || (e = next_entry(t, now)) == NULL)
		return NULL;
	d = e->dest;
	take_out(e);
	e->job->begun++;
	d->busy++;
	t->busy++;
	if (d->rate)
		rate_begin(d->rate);
	if (t->transport_delay > 0)
		t->until = now + t->transport_delay;
	leave_ring(d); /* to the end of it, when it may have one more */
	settle(d, now);
	return e;
}

static int64_t
dead_for(const struct schedule_destination *d)
{
	int64_t ms = d->t->dead_time;

	/* Whoever is asked again and again with what he has rejected takes it for an attack. */
	for (unsigned i = 1; d->cause == CAUSE_AUTH && i < d->strikes && ms < d->t->dead_max; i++)
		ms *= 2;
	return d->cause == CAUSE_AUTH && ms > d->t->dead_max ? d->t->dead_max : ms;
}

static void
die(struct schedule_destination *d, enum delivery_cause cause, int64_t now)
{
	d->strikes = d->cause == cause && d->strikes < STRIKES_MAX ? d->strikes + 1
		     : d->cause == cause                           ? d->strikes
								   : 1;
	d->dead = true;
	d->proven = d->known = false;
	d->cause = cause;
	sleep_until(d, now + dead_for(d));
}

/* It has taken mail, or at least let us in. */
static bool
welcome(struct schedule_destination *d, int64_t now)
{
	bool is_news = d->dead || d->probing || d->cause != CAUSE_NONE;

	if (d->dead) {
		window_init(&d->window, &d->t->limits);
		if (d->busy > 0)
			d->window.window = (int)d->busy;
		heap_drop(&d->t->sleepers, &d->wake);
		d->until = now;
	}
	d->dead = d->probing = d->told_off = false;
	d->proven = d->known = true;
	d->heard = now;
	d->cause = CAUSE_NONE;
	d->strikes = 0;
	return is_news;
}

static enum schedule_verdict
judge(struct schedule_destination *d, const struct schedule_outcome *o, int64_t now)
{
	bool was_probe = d->probing;

	d->told_off |= o->cause == CAUSE_TOLD_OFF;
	if (o->failed && o->cause == CAUSE_OWN) {
		d->t->until = now + d->t->retry_time;
		return SCHEDULE_AS_BEFORE;
	}
	if (d->dead && !o->sent)
		return SCHEDULE_AS_BEFORE; /* one of those that ran when it died */
	if (o->failed) {
		if (!window_failure(&d->window, &d->t->limits) && !was_probe &&
		    o->cause != CAUSE_AUTH)
			return SCHEDULE_AS_BEFORE;
		die(d, o->cause, now);
		return SCHEDULE_DIED;
	}
	if (was_probe && !o->sent && o->cause == CAUSE_TOLD_OFF) {
		die(d, o->cause, now);
		return SCHEDULE_DIED;
	}
	if (o->cause == CAUSE_TOLD_OFF &&
	    !o->sent) /* one message of several: as Postfix, no failure */
		d->proven = d->known = true;
	else if (welcome(d, now))
		return SCHEDULE_BACK;
	window_success(&d->window, &d->t->limits, (int)d->busy);
	return SCHEDULE_AS_BEFORE;
}

enum schedule_verdict
schedule_ended(
    struct schedule_destination *d, const struct schedule_outcome *o, int64_t now, int64_t end)
{
	struct schedule_transport *t = d->t;
	enum schedule_verdict v = judge(d, o, now);

	PP_ASSERT(d->busy > 0 && t->busy > 0);
	d->busy--;
	t->busy--;
	if (d->rate)
		rate_end(d->rate, end);
	if (d->until == INT64_MAX)
		d->until = now;
	if (!d->dead && t->rate_delay > 0) {
		d->until_rate = 0;
		sleep_until(d, now + t->rate_delay);
	}
	settle(d, now);
	return v;
}

/* Its time of death is over. */
static void
rise(struct schedule_destination *d)
{
	window_init(&d->window, &d->t->limits);
	if (d->busy > 0)
		d->window.window = (int)d->busy;
	d->dead = false;
	d->probing = d->cause == CAUSE_AUTH || d->cause == CAUSE_TOLD_OFF || d->told_off;
}

int64_t
schedule_wake(struct schedule_transport *t, int64_t now)
{
	struct heap_node *n;
	int64_t wait = INT64_MAX;

	while ((n = heap_first(&t->sleepers)) != NULL && n->key <= now) {
		struct schedule_destination *d = PP_CONTAINER(n, struct schedule_destination, wake);

		heap_drop(&t->sleepers, n);
		if (d->dead)
			rise(d);
		settle(d, now);
		if (t->woke)
			t->woke(d);
	}
	if (n)
		wait = n->key - now;
	if (t->until > now && t->until - now < wait)
		wait = t->until - now;
	return wait;
}

bool
schedule_revive(struct schedule_destination *d, bool by_news, int64_t now)
{
	if (d->dead && d->cause == CAUSE_AUTH && !by_news)
		return false;
	if (d->dead) {
		heap_drop(&d->t->sleepers, &d->wake);
		rise(d);
		d->until = now;
	}
	d->probing |= d->told_off;
	settle(d, now);
	return true;
}

void
schedule_probe(struct schedule_destination *d)
{
	d->busy++;
	d->t->busy++;
	if (d->rate)
		rate_begin(d->rate);
}

unsigned
schedule_wants(const struct schedule_destination *d)
{
	unsigned window = (unsigned)window_now(d);

	return d->dead || d->busy + d->waiting >= window ? 0 : window - d->busy - d->waiting;
}

int64_t
schedule_backoff(int64_t now, int64_t create_time, int64_t min, int64_t max)
{
	int64_t age = now - create_time;

	return age < min ? min : age > max ? max : age;
}

bool
schedule_expired(int64_t now, int64_t create_time, int64_t lifetime)
{
	return now >= create_time + lifetime;
}
