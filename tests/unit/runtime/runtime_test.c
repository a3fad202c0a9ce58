/*
 * runtime_test.c - loops, posts, timers, lanes, snapshots: the thread model in small.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "pp/base/mem.h"
#include "pp/runtime/lane.h"
#include "pp/runtime/loop.h"
#include "pp/runtime/post.h"
#include "pp/runtime/snap.h"

enum { POSTS = 20000, JOBS = 2000 };

struct ping {
	struct post post;
	struct loop *from, *to;
	int left, seen;
};

static void
ping_back(struct post *p)
{
	struct ping *g = PP_CONTAINER(p, struct ping, post);
	struct loop *here = loop_current();

	g->seen++;
	if (--g->left == 0) {
		loop_stop(g->from);
		loop_stop(g->to);
		return;
	}
	post_to(here == g->from ? g->to : g->from, &g->post, ping_back);
}

/* A message goes to and fro between two threads; each sees itself as the loop's thread. */
static void
posts_cross_threads(void **state)
{
	struct ping g = {.left = POSTS};

	g.from = loop_new("from");
	g.to = loop_new("to");
	assert_int_equal(loop_start(g.from), 0);
	assert_int_equal(loop_start(g.to), 0);
	post_to(g.to, &g.post, ping_back);
	loop_join(g.from);
	loop_join(g.to);
	assert_int_equal(g.seen, POSTS);
	loop_free(g.from);
	loop_free(g.to);
}

struct sequence {
	struct post post[100];
	int next;
	bool in_order;
	struct loop *loop;
};
static struct sequence seq;

static void
in_sequence(struct post *p)
{
	seq.in_order &= p == &seq.post[seq.next++];
	if (seq.next == 100)
		loop_stop(seq.loop);
}

static void
posts_keep_order(void **state)
{
	seq = (struct sequence){.in_order = true};
	seq.loop = loop_new("order");
	for (int i = 0; i < 100; i++)
		post_to(seq.loop, &seq.post[i], in_sequence);
	loop_run(seq.loop);
	assert_true(seq.in_order);
	assert_int_equal(seq.next, 100);
	loop_free(seq.loop);
}

static struct {
	struct loop *loop;
	struct timer t[4];
	char order[8];
	struct post begin;
} tm;

static void
timer_fired(struct timer *t)
{
	char name[2] = {(char)('0' + (t - tm.t)), 0};

	strncat(tm.order, name, sizeof(tm.order) - strlen(tm.order) - 1);
	if (t == &tm.t[1])
		timer_stop(&tm.t[2]);
	if (t == &tm.t[0])
		loop_stop(tm.loop);
}

static void
timers_begin(struct post *p)
{
	timer_start(tm.loop, &tm.t[0], 30, timer_fired);
	timer_start(tm.loop, &tm.t[1], 1, timer_fired);
	timer_start(tm.loop, &tm.t[2], 10, timer_fired);
	timer_start(tm.loop, &tm.t[3], 1000000, timer_fired);
	timer_start(tm.loop, &tm.t[3], 15, timer_fired); /* moved */
	timer_stop(&(struct timer){0});                  /* not running: nothing */
}

static void
timers_fire_stop_move(void **state)
{
	tm.loop = loop_new("timers");
	post_to(tm.loop, &tm.begin, timers_begin);
	loop_run(tm.loop);
	assert_string_equal(tm.order, "130");
	loop_free(tm.loop);
}

struct counted {
	struct lane_job job;
	int number;
};
static struct {
	struct loop *loop;
	struct lane *lane;
	struct counted jobs[JOBS];
	int last[7]; /* per key, written only by the lane's thread of that key */
	bool in_order;
	int done;
	struct post begin;
} ln;

static void
job_work(struct lane_job *job)
{
	struct counted *c = PP_CONTAINER(job, struct counted, job);

	assert_null(loop_current());
	if (c->number <= ln.last[c->number % 7])
		c->number = -1;
	else
		ln.last[c->number % 7] = c->number;
}

static void
job_done(struct lane_job *job)
{
	struct counted *c = PP_CONTAINER(job, struct counted, job);

	PP_ON(ln.loop);
	ln.in_order &= c->number >= 0;
	if (++ln.done == JOBS)
		loop_stop(ln.loop);
}

static void
jobs_begin(struct post *p)
{
	for (int i = 0; i < JOBS; i++) {
		ln.jobs[i].number = i + 1;
		lane_run(ln.lane, (uint64_t)((i + 1) % 7), &ln.jobs[i].job, job_work, job_done);
		assert_int_equal(ln.done, 0); /* never inside the call */
	}
}

static void
lanes_keep_order_per_key(void **state)
{
	ln.in_order = true;
	ln.loop = loop_new("lanes");
	ln.lane = lane_new("test", 3);
	post_to(ln.loop, &ln.begin, jobs_begin);
	loop_run(ln.loop);
	assert_int_equal(ln.done, JOBS);
	assert_true(ln.in_order);
	lane_free(ln.lane);
	loop_free(ln.loop);
}

static int destroyed;

static void
destroy(struct snap *s)
{
	destroyed++;
}

static void
snapshots_count(void **state)
{
	struct snap s;

	snap_init(&s, destroy);
	snap_ref(&s);
	snap_unref(&s);
	assert_int_equal(destroyed, 0);
	snap_unref(&s);
	assert_int_equal(destroyed, 1);
	snap_unref(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(posts_cross_threads),
	    cmocka_unit_test(posts_keep_order),
	    cmocka_unit_test(timers_fire_stop_move),
	    cmocka_unit_test(lanes_keep_order_per_key),
	    cmocka_unit_test(snapshots_count),
	};

	return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
