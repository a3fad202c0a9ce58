/*
 * watch_test.c - names that come, go and change; directories that are exchanged; a flood.
 *
 * Each run ends with the event it waits for, so nothing depends on how fast the kernel is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/fsio.h"
#include "pp/base/mem.h"
#include "pp/runtime/lane.h"
#include "pp/runtime/watch.h"

enum { ALL = 63, FLOOD = 7000 };

static struct {
	char dir[64];
	int dirfd;
	struct loop *loop;
	struct lane *lane;
	struct watch *w;
	struct post post;
	struct lane_job job;
	void (*act)(void); /* on the lane */
	char seen[4096];
	const char *until;
	unsigned lost_all, settled;
} t;

static int
setup(void **state)
{
	t.dir[0] = '\0';
	snprintf(t.dir, sizeof(t.dir), "/tmp/pp-watch-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	t.dirfd = fsio_open_dir(AT_FDCWD, t.dir);
	assert_true(t.dirfd >= 0);
	return 0;
}

static int
teardown(void **state)
{
	char path[128];
	DIR *d;
	struct dirent *e;

	for (int turn = 0; turn < 3; turn++) {
		snprintf(path, sizeof(path), "%s/%s", t.dir, (const char *[]){"a", "b", ""}[turn]);
		d = opendir(path);
		while (d && (e = readdir(d)) != NULL)
			if (unlinkat(dirfd(d), e->d_name, 0) < 0)
				unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
		if (d)
			closedir(d);
	}
	rmdir(t.dir);
	fsio_close(t.dirfd);
	return 0;
}

static void
end(void)
{
	watch_stop(t.w);
	loop_stop(t.loop);
}

static void
note(const char *text)
{
	size_t n = strlen(t.seen);

	snprintf(t.seen + n, sizeof(t.seen) - n, "%s\n", text);
	if (t.until && strcmp(text, t.until) == 0)
		end();
}

static void
event(void *ctx, const struct watch_event *e)
{
	static const char *const words[] = {[WATCH_MADE] = "made",
	    [WATCH_WRITTEN] = "written",
	    [WATCH_TOUCHED] = "touched",
	    [WATCH_CAME] = "came",
	    [WATCH_WENT] = "went",
	    [WATCH_REMOVED] = "removed"};
	char line[512];

	assert_ptr_equal(ctx, &t);
	if (t.lost_all == 0 && t.until && strcmp(t.until, "lost everything") == 0)
		return; /* of a flood */
	snprintf(line, sizeof(line), "%d %s %s/%s%s", e->tag, words[e->what], e->path, e->name,
	    e->is_dir ? "/" : "");
	note(line);
}

static void
lost(void *ctx, int tag, const char *path)
{
	char line[512];

	if (path == NULL) {
		t.lost_all++;
		note("lost everything");
		return;
	}
	snprintf(line, sizeof(line), "%d lost %s", tag, path);
	note(line);
}

static void
settled(void *ctx)
{
	t.settled++;
}

static void
work(struct lane_job *job)
{
	t.act();
}

static void
worked(struct lane_job *job)
{
}

static void
begin(struct post *p)
{
	static const struct watch_calls calls = {event, lost, settled};
	int rc = 0;

	t.w = watch_new(t.loop, &calls, &t, &rc);
	assert_non_null(t.w);
	lane_run(t.lane, 1, &t.job, work, worked);
}

static void
run(void (*act)(void), const char *until)
{
	t.seen[0] = '\0';
	t.lost_all = t.settled = 0;
	t.act = act;
	t.until = until;
	t.loop = loop_new("watch");
	t.lane = lane_new("lane", 1);
	post_to(t.loop, &t.post, begin);
	loop_run(t.loop);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "a", ALL, 1), -ECANCELED);
	lane_free(t.lane);
	watch_free(t.w);
	loop_free(t.loop);
}

static void
make(const char *path)
{
	int fd = fsio_create(t.dirfd, path, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fsio_write(fd, STR("x")), 0);
	fsio_close(fd);
}

static void
directories(void)
{
	assert_int_equal(fsio_mkdir(t.dirfd, "a", 0700), 0);
	assert_int_equal(fsio_mkdir(t.dirfd, "b", 0700), 0);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "a", ALL, 1), 0);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "a", ALL, 1), 0); /* once is enough */
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "b", WATCH_CAME, 2), 0);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "c", ALL, 3), -ENOENT);
}

static void
act_names(void)
{
	directories();
	make("a/one");
	assert_int_equal(fsio_set_mtime(t.dirfd, "a/one", 1), 0);
	assert_int_equal(fsio_rename(t.dirfd, "a/one", "b/two"), 0);
	assert_int_equal(fsio_unlink(t.dirfd, "b/two"), 0); /* not asked for */
	assert_int_equal(fsio_mkdir(t.dirfd, "a/dir", 0700), 0);
	assert_int_equal(fsio_rmdir(t.dirfd, "a/dir"), 0);
	make("last");
	assert_int_equal(fsio_rename(t.dirfd, "last", "b/last"), 0);
}

static void
names(void **state)
{
	run(act_names, "2 came b/last");
	assert_string_equal(t.seen, "1 made a/one\n1 written a/one\n1 touched a/one\n"
				    "1 went a/one\n2 came b/two\n1 made a/dir/\n"
				    "1 removed a/dir/\n2 came b/last\n");
}

static void
act_exchange(void)
{
	directories();
	assert_int_equal(fsio_rename(t.dirfd, "a", "old"), 0);
	assert_int_equal(fsio_mkdir(t.dirfd, "a", 0700), 0);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "a", ALL, 1), 0); /* the new one */
	make("old/unseen");
	make("a/seen");
	assert_int_equal(fsio_unlink(t.dirfd, "old/unseen"), 0);
	assert_int_equal(fsio_rmdir(t.dirfd, "old"), 0);
	assert_int_equal(fsio_rename(t.dirfd, "a/seen", "b/last"), 0);
}

/* What the path names now is seen; what it named before is not. */
static void
a_replaced_directory_is_lost(void **state)
{
	run(act_exchange, "2 came b/last");
	assert_non_null(strstr(t.seen, "1 lost a\n"));
	assert_null(strstr(t.seen, "unseen"));
	assert_non_null(strstr(t.seen, "1 made a/seen\n"));
}

static void
act_rename(void)
{
	directories();
	assert_int_equal(fsio_rename(t.dirfd, "a", "x"), 0);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, "x", ALL, 4), 0);
	make("x/here");
	assert_int_equal(fsio_rename(t.dirfd, "x/here", "b/last"), 0);
	assert_int_equal(fsio_rename(t.dirfd, "x", "a"), 0);
}

static void
a_renamed_directory_has_its_new_path(void **state)
{
	run(act_rename, "2 came b/last");
	assert_non_null(strstr(t.seen, "4 made x/here\n"));
	assert_null(strstr(t.seen, "a/here"));
}

static void
act_remove(void)
{
	directories();
	assert_int_equal(fsio_rmdir(t.dirfd, "a"), 0);
}

static void
a_removed_directory_is_lost_once(void **state)
{
	run(act_remove, "1 lost a");
	assert_string_equal(t.seen, "1 lost a\n");
}

static void
act_flood(void)
{
	char path[64];

	directories();
	for (int i = 0; i < FLOOD; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		make(path);
		assert_int_equal(fsio_unlink(t.dirfd, path), 0);
	}
	make("last");
	assert_int_equal(fsio_rename(t.dirfd, "last", "b/last"), 0);
}

/* The kernel drops what is too much and says so; afterwards all goes on. That it does so here
 * depends on the loop, which stands still meanwhile. */
static void
act_flood_in_the_loop(struct post *p)
{
	static const struct watch_calls calls = {event, lost, settled};
	int rc = 0;

	t.w = watch_new(t.loop, &calls, &t, &rc);
	assert_non_null(t.w);
	act_flood();
}

static void
a_flood_is_told_as_such(void **state)
{
	t.seen[0] = '\0';
	t.lost_all = 0;
	t.until = "lost everything";
	t.loop = loop_new("watch");
	post_to(t.loop, &t.post, act_flood_in_the_loop);
	loop_run(t.loop);
	assert_int_equal(t.lost_all, 1);
	watch_free(t.w);
	loop_free(t.loop);
}

static void
act_many(void)
{
	act_flood();
}

/* Thousands of events cost few turns. */
static void
a_flood_costs_few_reads(void **state)
{
	run(act_many, "2 came b/last");
	assert_true(t.settled > 0);
	assert_true(t.settled < 500);
}

static void
begin_without(struct post *p)
{
	static const struct watch_calls calls = {event, lost, settled};
	struct rlimit before;
	int rc = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, before.rlim_max}), 0);
	t.w = watch_new(t.loop, &calls, &t, &rc);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_null(t.w);
	assert_int_equal(rc, -EMFILE);
	watch_stop(NULL);
	watch_free(NULL);
	loop_stop(t.loop);
}

/* Asked for, it tells inside the call; what was told so does not come again. */
static void
begin_catching_up(struct post *p)
{
	static const struct watch_calls calls = {event, lost, settled};
	int rc = 0;

	t.until = NULL;
	t.seen[0] = '\0';
	t.settled = 0;
	t.w = watch_new(t.loop, &calls, &t, &rc);
	assert_non_null(t.w);
	assert_int_equal(watch_add_blk(t.w, t.dirfd, ".", ALL, 1), 0);
	watch_catch_up(t.w);
	assert_string_equal(t.seen, "");
	assert_int_equal(mkdirat(t.dirfd, "x", 0700), 0);
	watch_catch_up(t.w);
	assert_string_equal(t.seen, "1 made ./x/\n");
	assert_int_equal(t.settled, 1);
	watch_catch_up(t.w);
	assert_int_equal(t.settled, 1);
	watch_catch_up(NULL);
	t.until = "1 removed ./x/";
	assert_int_equal(unlinkat(t.dirfd, "x", AT_REMOVEDIR), 0);
}

static void
catching_up(void **state)
{
	t.loop = loop_new("watch");
	post_to(t.loop, &t.post, begin_catching_up);
	loop_run(t.loop);
	assert_string_equal(t.seen, "1 made ./x/\n1 removed ./x/\n");
	watch_free(t.w);
	loop_free(t.loop);
}

static void
nothing_to_be_had(void **state)
{
	t.loop = loop_new("watch");
	post_to(t.loop, &t.post, begin_without);
	loop_run(t.loop);
	loop_free(t.loop);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(names, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_replaced_directory_is_lost, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_renamed_directory_has_its_new_path, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_removed_directory_is_lost_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_flood_is_told_as_such, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_flood_costs_few_reads, setup, teardown),
	    cmocka_unit_test_setup_teardown(catching_up, setup, teardown),
	    cmocka_unit_test(nothing_to_be_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
