/*
 * qmgr_fixture.h - the queue manager with a real spool, loop and lanes, and an agent of the test's.
 *
 * The agent decides by the recipient's local part: ok, temp, perm; `down` is a destination in
 * trouble. A run ends when a wanted number of events has come, so nothing here waits by the clock.
 */
#pragma once
#include "cleanup_run.h"
#include "pp/qmgr/qmgr.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/journal.h"
#include "pp/spool/writer.h"

enum { TEXT_MAX = 4096 };

static struct {
	struct cleanup_run r;
	struct loop *io;
	struct qmgr *q;
	struct lane *disk;
	char events[TEXT_MAX];
	const char *until; /* the event that ends the run */
	int until_count;
	unsigned attempts, most_rcpts, trace_flags;
	int filed;            /* files of messages at an attempt, most */
	char order[TEXT_MAX]; /* of first recipients */
	struct post begin;
	void (*before_start)(void);
	void (*after_start)(void);
	void (*after_first)(void); /* attempt */
	/* Deliveries that take a moment: how many recipients were out at once? */
	bool is_slow;
	struct delivery *slow[100];
	size_t slow_count;
	unsigned out, most_out, asked;
	struct timer timer;
} t;

static inline int
count_files_of(void *ctx, const struct spool_entry *e)
{
	++*(int *)ctx;
	return 0;
}

static inline int
files(enum queue q)
{
	int n = 0;

	spool_scan_blk(t.r.spool, q, count_files_of, &n);
	return n;
}

static inline void
settle(struct delivery *d, struct delivery_rcpt *rc)
{
	struct str a = str_of(rc->rcpt.address);
	struct status st;

	if (str_starts(a, STR("ok")))
		st = status_make(&d->arena, STATUS_OK, 0, 0, "250 taken");
	else if (str_starts(a, STR("perm")))
		st = status_make(&d->arena, STATUS_PERM, 1, 1, "said: 550 no such user");
	else
		st = status_make(&d->arena, STATUS_TEMP, 4, 1, "said: 451 not now");
	delivery_settle(d, rc, &st);
	if (str_starts(a, STR("down")))
		d->hop = st;
}

static inline void
settle_all(struct delivery *d)
{
	for (size_t i = 0; i < d->rcpt_count; i++)
		settle(d, &d->rcpt[i]);
	delivery_done(d);
}

static inline void
slow_fired(struct timer *timer)
{
	t.out = 0;
	while (t.slow_count > 0)
		settle_all(t.slow[--t.slow_count]);
}

static inline void
take_slowly(struct delivery *d)
{
	t.slow[t.slow_count++] = d;
	t.out += (unsigned)d->rcpt_count;
	t.asked += (unsigned)d->rcpt_count;
	if (t.out > t.most_out)
		t.most_out = t.out;
	if (t.slow_count == 1)
		timer_start(t.io, &t.timer, 3, slow_fired);
}

static inline void
fake_deliver(void *ctx, struct delivery *d)
{
	PP_ASSERT(ctx == &t);
	size_t n = strlen(t.order);
	int filed = files(QUEUE_INCOMING) + files(QUEUE_ACTIVE);

	if (filed > t.filed)
		t.filed = filed;
	PP_ASSERT(strcmp(d->nexthop, "[relay.test]") == 0);
	snprintf(t.order + n, sizeof(t.order) - n, "%s ", d->rcpt[0].rcpt.address);
	t.attempts++;
	if (d->rcpt_count > t.most_rcpts)
		t.most_rcpts = (unsigned)d->rcpt_count;
	if (t.is_slow) {
		take_slowly(d);
		return;
	}
	settle_all(d);
	if (t.attempts == 1 && t.after_first)
		t.after_first();
}

static const struct delivery_agent fake = {"smtp", fake_deliver};

static inline void
stopped(void *ctx)
{
	loop_stop(t.io);
}

static inline void
event(void *ctx, const char *line)
{
	size_t n = strlen(t.events);

	snprintf(t.events + n, sizeof(t.events) - n, "%s\n", line);
	if (t.until && str_starts(str_of(line), str_of(t.until)) && --t.until_count == 0)
		qmgr_stop(t.q, 5000, stopped, NULL);
}

static inline void
commit(void *ctx, struct spool_arrival *a)
{
	qmgr_arrive(t.q, a);
}

/* Everything on one loop: the queue manager's, the io loop and the one that waits. */
static inline void
begin(struct post *p)
{
	static void *const ctx[] = {&t};
	static struct qmgr_agent agents[1];
	struct qmgr_options o = {.loop = t.io,
	    .setup = {t.r.spool, t.r.config, t.r.route},
	    .disk = t.disk,
	    .slow = t.disk,
	    .background = t.disk,
	    .io = &t.io,
	    .io_count = 1,
	    .agents = agents,
	    .agent_count = 1};

	agents[0] = (struct qmgr_agent){&fake, ctx};
	t.q = qmgr_new(&o);
	spool_set_commit_hook(t.r.spool, commit, NULL);
	qmgr_on_event(t.q, event, NULL);
	qmgr_watch(t.q, true);
	if (t.before_start)
		t.before_start();
	qmgr_start(t.q);
	if (t.after_start)
		t.after_start();
}

static inline void
run_until(const char *what, int count)
{
	t.events[0] = t.order[0] = '\0';
	t.until = what;
	t.until_count = count;
	t.attempts = t.most_rcpts = 0;
	t.filed = 0;
	t.out = t.most_out = t.asked = 0;
	t.disk = lane_new("disk", 2);
	spool_set_lane(t.r.spool, t.disk);
	t.io = loop_new("all");
	post_to(t.io, &t.begin, begin);
	loop_run(t.io);
	lane_free(t.disk);
	qmgr_free(t.q);
	loop_free(t.io);
}

static inline void
run_slowly(const char *what, int count)
{
	t.is_slow = true;
	run_until(what, count);
	t.is_slow = false;
}

static const char *const extra[] = {
    "relayhost=[relay.test]", "mydestination=", "smtp_destination_recipient_limit=3", NULL};

static inline void
open_with_more(const char *more, const char *other, const char *third)
{
	const char *names[8] = {extra[0], extra[1], extra[2], more, other, third};

	t.before_start = t.after_start = NULL;
	run_open(&t.r, names);
}

static inline void
open_with(const char *more)
{
	open_with_more(more, NULL, NULL);
}

/* A message in incoming/, made by cleanup. */
static inline void
put(const char *sender, const char *const *to, size_t n)
{
	struct recipient rcpt[60] = {{0}};
	struct envelope e = {.sender = sender,
	    .rcpt = rcpt,
	    .rcpt_count = n,
	    .fullname = "",
	    .origin = {.local = true},
	    .trace_flags = t.trace_flags};

	for (size_t i = 0; i < n; i++)
		rcpt[i] = (struct recipient){.address = to[i], .orig = to[i], .offset = -1};
	t.r.envelope = &e;
	t.r.received = "Received: by test id x; now";
	run_set_text(&t.r, STR("Subject: x\nFrom: a@b.test\n\nbody\n"));
	spool_set_commit_hook(t.r.spool, NULL, NULL);
	run_message(&t.r);
	assert_int_equal(t.r.status.cls, STATUS_OK);
}

static inline size_t
open_recipients(const char *id, enum queue q)
{
	struct arena a = {0};
	struct envelope e;
	struct stat st;
	struct buf why = {.max = 512};
	size_t n = 0;

	assert_int_equal(reader_load_blk(t.r.spool, q, id, &a, &e, &st, &why), 0);
	for (size_t i = 0; i < e.rcpt_count; i++)
		n += !e.rcpt[i].done;
	buf_fini(&why);
	arena_fini(&a);
	return n;
}

static inline void
flush_now(void)
{
	qmgr_command(t.q, QMGR_FLUSH, "", NULL, NULL);
}
