/*
 * qmgr.c - the doors of the queue manager: arrivals, commands, reload, stop.
 *
 * Every door posts to the loop of the queue manager, so inside there is one thread and no lock.
 */
#include <errno.h>
#include "internal.h"

int64_t
qmgr_now(void)
{
	return loop_wall_us() / 1000000;
}

void
qmgr_event(struct qmgr *q, const char *what, const char *id)
{
	char line[SPOOL_ID_MAX + 32];

	if (q->event == NULL || !q->watched)
		return;
	snprintf(line, sizeof(line), "%s %s", what, id);
	q->event(q->event_ctx, line);
}

void
qmgr_on_event(struct qmgr *q, void (*event)(void *ctx, const char *line), void *ctx)
{
	q->event = event;
	q->event_ctx = ctx;
}

struct qmgr *
qmgr_new(const struct qmgr_options *o)
{
	struct qmgr *q = MEM_NEW(struct qmgr);

	q->o = *o;
	q->rates_file = o->rates_file ? mem_strdup(o->rates_file) : NULL;
	PP_ASSERT(o->background != NULL);
	q->loop = o->loop;
	q->spool = o->setup.spool;
	TAILQ_INIT(&q->every);
	TAILQ_INIT(&q->kept);
	q->early_last = &q->early;
	LIST_INIT(&q->listings);
	TAILQ_INIT(&q->young);
	STAILQ_INIT(&q->unsynced);
	STAILQ_INIT(&q->syncing);
	TAILQ_INIT(&q->lobby);
	index_init(&q->index);
	q->epoch = qmgr_epoch_new(q, &o->setup);
	return q;
}

/* A message to the queue manager's loop. */
struct order {
	struct post post;
	struct qmgr *q;
	enum qmgr_command_kind kind;
	char *arg;
	void (*answer)(void *ctx, const char *text);
	void (*stopped)(void *ctx);
	void *ctx;
	struct loop *home;
	char text[160];
	struct cleanup_setup setup;
	int64_t deadline_ms;
	/* work on the disk lane */
	struct lane_job job;
	enum queue at;
	struct stat st;
	int rc;
};

static struct order *
order_new(struct qmgr *q)
{
	struct order *o = MEM_NEW(struct order);

	o->q = q;
	return o;
}

static void
answered(struct post *p)
{
	struct order *o = PP_CONTAINER(p, struct order, post);

	if (o->answer)
		o->answer(o->ctx, o->text);
	mem_free(o->arg);
	mem_free(o);
}

static void
order_answer(struct order *o)
{
	post_to(o->home, &o->post, answered);
}

static void
start_run(struct post *p)
{
	struct order *o = PP_CONTAINER(p, struct order, post);

	qmgr_recover(o->q);
	mem_free(o);
}

void
qmgr_start(struct qmgr *q)
{
	struct order *o = order_new(q);

	post_to(q->loop, &o->post, start_run);
}

static void
watch_run(struct post *p)
{
	struct order *o = PP_CONTAINER(p, struct order, post);

	o->q->watched = o->deadline_ms != 0;
	mem_free(o);
}

void
qmgr_watch(struct qmgr *q, bool on)
{
	struct order *o = order_new(q);

	o->deadline_ms = on;
	post_to(q->loop, &o->post, watch_run);
}

struct arrival {
	struct post post;
	struct qmgr *q;
	struct spool_arrival *a;
};

static void
arrive_run(struct post *p)
{
	struct arrival *in = PP_CONTAINER(p, struct arrival, post);
	struct qmgr *q = in->q;
	struct spool_arrival *a = in->a;

	qmgr_event(q, "queued", a->id);
	if (a->mail && !q->stopping) {
		qmgr_message_take(q, a);
	} else if (a->queue == QUEUE_INCOMING && !q->stopping) {
		if (qmgr_has_room(q, QUEUE_INCOMING))
			qmgr_message_load(q, a->id, QUEUE_INCOMING, a->bytes);
		else
			qmgr_incoming_waits(q);
	}
	spool_arrival_free(a);
	mem_free(in);
}

void
qmgr_arrive(struct qmgr *q, struct spool_arrival *a)
{
	struct arrival *in = MEM_NEW(struct arrival);

	in->q = q;
	in->a = a;
	post_to(q->loop, &in->post, arrive_run);
}

static void
reload_run(struct post *p)
{
	struct order *o = PP_CONTAINER(p, struct order, post);
	struct qmgr *q = o->q;
	struct qmgr_epoch *old = q->epoch;
	struct qmgr_destination *d, *next;

	q->epoch = qmgr_epoch_new(q, &o->setup);
	q->epoch->news = ++q->news;
	cleanup_setup_unref(&o->setup);
	/* Old destinations finish their work under the old settings; new work finds new ones. */
	HASH_ITER (hh, q->destinations, d, next) {
		HASH_DEL(q->destinations, d);
		d->retired = true;
		timer_stop(&d->probe_timer);
	}
	while ((d = TAILQ_FIRST(&q->kept)) != NULL) {
		schedule_destination_fini(&d->s);
		qmgr_destination_free(d);
	}
	old->current = false;
	qmgr_epoch_unref(old);
	mem_free(o);
	qmgr_scan(q);
}

void
qmgr_reload(struct qmgr *q, const struct cleanup_setup *setup)
{
	struct order *o = order_new(q);

	cleanup_setup_ref(&o->setup, setup);
	post_to(q->loop, &o->post, reload_run);
}

static void
find_work(struct lane_job *job)
{
	static const enum queue queues[] = {
	    QUEUE_DEFERRED, QUEUE_INCOMING, QUEUE_ACTIVE, QUEUE_HOLD, QUEUE_COUNT};
	struct order *o = PP_CONTAINER(job, struct order, job);

	o->rc = spool_find_blk(o->q->spool, o->arg, queues, &o->at, &o->st);
}

/* A command changed the file of one message: believe the disk. */
static void
find_done(struct lane_job *job)
{
	struct order *o = PP_CONTAINER(job, struct order, job);
	struct qmgr *q = o->q;
	struct qmgr_deferred *d = qmgr_deferred_find(q, o->arg);

	q->jobs--;
	if (d && (o->rc < 0 || o->at != QUEUE_DEFERRED))
		qmgr_deferred_drop(q, d);
	if (o->rc == 0 && o->at == QUEUE_DEFERRED && o->kind == QMGR_FLUSH_ID) {
		struct qmgr_message *m = qmgr_message_load(q, o->arg, QUEUE_DEFERRED, NULL);

		if (m) {
			m->is_asked = m->is_flushed = true;
			if ((d = qmgr_deferred_find(q, o->arg)) != NULL)
				qmgr_deferred_drop(q, d);
		}
	} else if (o->rc == 0 && o->at == QUEUE_DEFERRED) {
		qmgr_deferred_add(q, o->arg, o->st.st_mtim.tv_sec, NULL, 0);
	} else if (o->rc == 0 && o->at == QUEUE_INCOMING) {
		qmgr_message_load(q, o->arg, QUEUE_INCOMING, NULL);
	}
	order_answer(o);
	qmgr_idle_check(q);
}

static bool
has_recipient_at(const struct envelope *e, struct str site)
{
	for (size_t i = 0; i < e->rcpt_count; i++) {
		struct str a = str_of(e->rcpt[i].address);
		size_t at = str_rindex(a, '@');

		if (!e->rcpt[i].done && at < a.n && str_caseeq(str_from(a, at + 1), site))
			return true;
	}
	return false;
}

/* While it is loaded it belongs to its lane; then it is tried anyway. */
static bool
has_failed(const struct qmgr_message *m)
{
	return m->state != MESSAGE_LOADING && m->has_deferred;
}

static void
site_done(void *ctx)
{
	order_answer(ctx);
}

static void
site_begin(struct order *o)
{
	struct qmgr *q = o->q;
	struct qmgr_message *m, *next;

	q->asks++;
	/* First those on their way back: what the index sends out now comes there, too. */
	HASH_ITER (hh, q->active, m, next) {
		m->again |= has_failed(m) && (m->is_sliced || /* nobody knows */
						 has_recipient_at(&m->envelope, str_of(o->arg)));
		if (m->again && m->rest == REST_DEFERRED)
			qmgr_young_file(m);
	}
	qmgr_site_flush(q, o->arg, site_done, o);
}

/* Failed a moment ago and not back in deferred/ yet: nobody would find it there. */
static void
retry_active(struct qmgr *q, const char *id)
{
	struct qmgr_message *m;

	HASH_FIND_STR(q->active, id, m);
	if (m)
		m->again = has_failed(m);
}

/* Who asks about a young one wants to see its file. */
static void
need_file(struct qmgr *q, const char *id)
{
	struct qmgr_message *m;

	HASH_FIND_STR(q->active, id, m);
	if (m && m->mail && !m->is_filing)
		qmgr_young_file(m);
}

static void
counts(struct order *o)
{
	struct qmgr *q = o->q;

	unsigned rests = q->resting[REST_DEFERRED];

	snprintf(o->text, sizeof(o->text), "active %u deferred %u deliveries %u",
	    q->active_count - rests, qmgr_deferred_count(q) + rests, q->deliveries);
	order_answer(o);
}

/* Of what the last run left in the journal nothing is known yet. */
static void
wait_for_kept(struct order *o)
{
	o->post.next = NULL;
	*o->q->early_last = &o->post;
	o->q->early_last = &o->post.next;
}

static void
command_run(struct post *p)
{
	struct order *o = PP_CONTAINER(p, struct order, post);
	struct qmgr *q = o->q;

	if (q->o.kept && !q->stopping) {
		wait_for_kept(o);
		return;
	}
	if (q->stopping && o->kind != QMGR_SUPER) {
		order_answer(o);
		return;
	}
	switch (o->kind) {
	case QMGR_SUPER:
		qmgr_super(q, o->arg, o->text, sizeof(o->text));
		order_answer(o);
		return;
	case QMGR_FLUSH:
		q->flushes++;
		qmgr_destinations_revive(q);
		qmgr_young_flush(q);
		qmgr_deferred_flush(q);
		q->flushing = true;
		qmgr_scan(q);
		order_answer(o);
		return;
	case QMGR_FLUSH_SITE:
		site_begin(o);
		return;
	case QMGR_COUNTS:
		counts(o);
		return;
	case QMGR_CHANGING:
		qmgr_quiet_all(q, false);
		order_answer(o);
		return;
	case QMGR_CHANGED:
	case QMGR_FLUSH_ID:
		break;
	}
	if (*o->arg) {
		qmgr_quiet(q, o->arg);
		need_file(q, o->arg);
	}
	if (*o->arg == '\0') {
		qmgr_quiet_all(q, true);
		q->changed = true;
		qmgr_scan(q);
		order_answer(o);
		return;
	}
	if (o->kind == QMGR_FLUSH_ID) {
		q->asks++;
		retry_active(q, o->arg);
	}
	q->jobs++;
	lane_run(q->o.disk, lane_key(o->arg), &o->job, find_work, find_done);
}

void
qmgr_commands_go_on(struct qmgr *q)
{
	struct post *p = q->early;

	q->early = NULL;
	q->early_last = &q->early;
	while (p) {
		struct post *next = p->next;

		command_run(p);
		p = next;
	}
}

void
qmgr_command(struct qmgr *q, enum qmgr_command_kind kind, const char *arg,
    void (*answer)(void *ctx, const char *text), void *ctx)
{
	struct order *o = order_new(q);

	o->kind = kind;
	o->arg = mem_strdup(arg ? arg : "");
	o->answer = answer;
	o->ctx = ctx;
	o->home = loop_current();
	post_to(q->loop, &o->post, command_run);
}

struct stopped_post {
	struct post post;
	void (*stopped)(void *ctx);
	void *ctx;
};

static void
stopped_run(struct post *p)
{
	struct stopped_post *s = PP_CONTAINER(p, struct stopped_post, post);

	s->stopped(s->ctx);
	mem_free(s);
}

static void
tell_stopped(struct qmgr *q)
{
	struct stopped_post *s = MEM_NEW(struct stopped_post);

	s->stopped = q->stopped;
	s->ctx = q->stopped_ctx;
	q->stopped = NULL;
	timer_stop(&q->stop_timer);
	post_to(q->stopped_home, &s->post, stopped_run);
}

void
qmgr_idle_check(struct qmgr *q)
{
	if (q->stopped && q->deliveries == 0 && q->jobs == 0)
		tell_stopped(q);
}

static void
stop_fired(struct timer *t)
{
	struct qmgr *q = PP_CONTAINER(t, struct qmgr, stop_timer);

	if (q->stopped)
		tell_stopped(q);
}

static void
stop_run(struct post *p)
{
	struct order *o = PP_CONTAINER(p, struct order, post);
	struct qmgr *q = o->q;
	struct qmgr_message *m, *m_next;
	struct qmgr_destination *d;

	q->stopping = true;
	q->stopped = o->stopped;
	q->stopped_ctx = o->ctx;
	q->stopped_home = o->home;
	qmgr_deferred_stop(q);
	qmgr_listings_stop(q);
	timer_stop(&q->scan_timer);
	qmgr_young_stop(q);
	qmgr_hand_stop(q);
	TAILQ_FOREACH (d, &q->every, all) {
		timer_stop(&d->probe_timer);
		timer_stop(&d->transport->timer);
	}
	for (struct qmgr_transport *t = q->epoch->transports; t; t = t->hh.next)
		timer_stop(&t->timer);
	qmgr_secrets_stop(q);
	timer_stop(&q->aside_timer);
	HASH_ITER (hh, q->active, m, m_next) {
		timer_stop(&m->stuck_timer);
		timer_stop(&m->refill_timer);
	}
	timer_start(q->loop, &q->stop_timer, o->deadline_ms, stop_fired);
	mem_free(o);
	qmgr_idle_check(q);
}

void
qmgr_stop(struct qmgr *q, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx)
{
	struct order *o = order_new(q);

	o->stopped = stopped;
	o->ctx = ctx;
	o->home = loop_current();
	o->deadline_ms = deadline_ms;
	post_to(q->loop, &o->post, stop_run);
}

/* What is still in memory lies in active/ on the disk: the next start begins it again. */
void
qmgr_free(struct qmgr *q)
{
	struct qmgr_message *m, *m_next;
	struct qmgr_destination *d;

	if (q == NULL)
		return;
	HASH_ITER (hh, q->active, m, m_next) {
		HASH_DEL(q->active, m);
		qmgr_slices_free(m);
		qmgr_young_leave(m);
		snap_unref(m->bytes ? &m->bytes->snap : NULL);
		buf_fini(&m->why);
		arena_fini(&m->arena);
		mem_free(m);
	}
	journal_kept_free(q->o.kept);
	while ((d = TAILQ_FIRST(&q->every)) != NULL)
		qmgr_destination_free(d);
	q->epoch->current = false;
	qmgr_epoch_unref(q->epoch);
	qmgr_relays_fini(q);
	qmgr_deferred_fini(q);
	qmgr_hand_free(q);
	qmgr_secrets_stop(q);
	rates_close(q->rates);
	mem_free(q->rates_file);
	mem_free(q);
}
