/*
 * bulk_move_test.c - whole queues moved, by rename and by link: what a kill left, what the file
 * system refuses, and what a queue manager does in between.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "spool_dir.h"
#include "pp/spool/bulk.h"
#include "pp/spool/pair.h"
#include "spool/internal.h"

struct fixture {
	char dir[64];
	struct spool *s;
	struct bulk b;
	int fd;
	int failures, asked;
	char failed[256];
};

static void
failed(void *ctx, enum queue q, const char *id, int rc)
{
	struct fixture *f = ctx;

	f->failures++;
	snprintf(f->failed, sizeof(f->failed), "%s %s %s", spool_queue_name(q), id, strerror(-rc));
}

static int
setup(void **state)
{
	struct fixture *f = MEM_NEW(struct fixture);
	struct spool_options o = {
	    .directory = f->dir, .hash_queue_names = "deferred defer hold", .hash_queue_depth = 1};
	struct buf err;

	spool_dir_make(f->dir);
	buf_init(&err, 1024);
	assert_int_equal(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &f->s, &err), 0);
	f->fd = spool_dirfd(f->s);
	f->b = (struct bulk){.spool = f->s, .live = true, .failed = failed, .ctx = f};
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	spool_close(f->s);
	spool_dir_remove(f->dir);
	mem_free(f);
	return 0;
}

static void
put(const struct fixture *f, const char *path, mode_t mode)
{
	spool_make_parents(f->s, path);
	test_write(f->fd, path, str_of(path), mode);
}

static bool
is_there(const struct fixture *f, const char *path)
{
	struct stat st;

	return fsio_stat(f->fd, path, &st) == 0;
}

/* n messages with logs, all in the hash directory A. */
static void
put_many(const struct fixture *f, const char *queue, int n)
{
	int first = *queue == 'h' ? 1000 : 0;
	char path[SPOOL_PATH_MAX];

	for (int i = first; i < first + n; i++) {
		snprintf(path, sizeof(path), "%s/A/A%04d", queue, i);
		put(f, path, 0700);
		snprintf(path, sizeof(path), "defer/A/A%04d", i);
		put(f, path, 0600);
	}
}

static int files_met;

static int
count_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)path, (void)st, (void)ftw;
	files_met += flag == FTW_F;
	return 0;
}

static int
files_in(const struct fixture *f, const char *folder)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->dir, folder);
	files_met = 0;
	nftw(path, count_file, 16, FTW_PHYS);
	return files_met;
}

static void
moves(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int64_t n = 0;

	put(f, "deferred/A/A1", 0700);
	put(f, "deferred/B/B1", 0710);
	put(f, "deferred/misplaced", 0700);
	put(f, "deferred/A/A2", 0400);
	put(f, "deferred/A/no-id", 0700);
	put(f, "deferred/B/B2", 0700);
	put(f, "hold/B/B2", 0700);
	assert_int_equal(symlinkat("/etc/passwd", f->fd, "deferred/A/A3"), 0);
	assert_int_equal(bulk_move_blk(&f->b, QUEUE_DEFERRED, QUEUE_HOLD, -1, &n), 0);
	assert_int_equal(n, 4);
	assert_true(is_there(f, "hold/A/A1") && is_there(f, "hold/B/B1"));
	assert_true(is_there(f, "hold/m/misplaced") && is_there(f, "hold/A/A2"));
	assert_true(is_there(f, "deferred/A/no-id") && is_there(f, "deferred/A/A3"));
	assert_true(is_there(f, "deferred/B/B2"));
	assert_int_equal(f->failures, 1);
	assert_string_equal(f->failed, "deferred B2 File exists");
	/* Into a flat queue, with a time. */
	n = 0;
	assert_int_equal(bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_MAILDROP, 1000, &n), 0);
	assert_int_equal(n, 4); /* A2 could still be being written */
	assert_int_equal(fsio_stat(f->fd, "maildrop/B1", &st), 0);
	assert_int_equal(st.st_mtime, 1000);
	assert_true(is_there(f, "hold/A/A2"));
	f->b.live = false;
	assert_int_equal(bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_MAILDROP, -1, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(f->failures, 1);
	assert_int_equal(unlinkat(f->fd, "corrupt", AT_REMOVEDIR), 0);
	assert_int_equal(bulk_move_blk(&f->b, QUEUE_CORRUPT, QUEUE_HOLD, -1, &n), -ENOENT);
}

enum { RACE = 400, ROUNDS = 20 };

/* Each of both ways, with the mark while it runs and none afterwards. */
static void
moves_by_link(void **state)
{
	static const int depths[] = {0, 1, 2};
	struct fixture *f = *state;

	for (size_t i = 0; i < PP_COUNT(depths); i++) {
		char path[SPOOL_PATH_MAX];
		int64_t n = 0;

		f->s->depth = depths[i];
		f->b.alone = true;
		for (int k = 0; k < 500; k++) {
			snprintf(path, sizeof(path), "deferred/%X/%X%04d", k % 16, k % 16, k);
			put(f, path, 0700);
		}
		put(f, "deferred/A/A1", 0400);
		put(f, "deferred/A/no-id", 0700);
		assert_int_equal(bulk_move_blk(&f->b, QUEUE_DEFERRED, QUEUE_HOLD, -1, &n), 0);
		assert_int_equal(n, 501);
		assert_int_equal(files_in(f, "hold"), 501);
		assert_int_equal(files_in(f, "deferred"), 1);
		spool_path(f->s, QUEUE_HOLD, "70007", path);
		assert_true(is_there(f, path));
		n = 0;
		/* A1 may still be being written. */
		assert_int_equal(bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_DEFERRED, -1, &n), 0);
		assert_int_equal(n, 500);
		assert_int_equal(files_in(f, "hold"), 1);
		spool_path(f->s, QUEUE_DEFERRED, "70007", path);
		assert_true(is_there(f, path));
		assert_false(pair_is_begun_blk(f->s));
		f->b.live = false;
		assert_int_equal(bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_DEFERRED, -1, &n), 0);
		f->b.live = true;
		assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
		assert_int_equal(bulk_purge_blk(f->s, 2, NULL, NULL), 0);
		assert_int_equal(f->failures, 0);
		assert_int_equal(fsio_unlink(f->fd, "deferred/A/no-id"), 0);
	}
}

static bool
is_pair_of(const struct fixture *f, const char *a, const char *b)
{
	struct stat x, y;

	return fsio_stat(f->fd, a, &x) == 0 && fsio_stat(f->fd, b, &y) == 0 && x.st_ino == y.st_ino;
}

/* Killed before: the other half is done. Another message of that id is never touched. */
static void
names_that_are_there(void **state)
{
	static const enum queue ways[][2] = {
	    {QUEUE_DEFERRED, QUEUE_HOLD}, {QUEUE_HOLD, QUEUE_DEFERRED}};
	static const char *const names[][2] = {
	    {"deferred/A/A1", "hold/A/A1"}, {"hold/A/A1", "deferred/A/A1"}};
	struct fixture *f = *state;

	for (size_t i = 0; i < PP_COUNT(ways); i++) {
		const char *from = names[i][0], *to = names[i][1];
		int64_t n = 0;

		put(f, from, 0700);
		assert_int_equal(spool_make_parents(f->s, to), 0);
		assert_int_equal(fsio_link(f->fd, from, f->fd, to), 0);
		assert_int_equal(pair_begin_blk(f->s), 0);
		/* Not by who is not alone. */
		f->b.alone = false;
		assert_int_equal(bulk_move_blk(&f->b, ways[i][0], ways[i][1], -1, &n), 0);
		assert_int_equal(n, 0);
		assert_int_equal(f->failures, 1);
		assert_true(is_pair_of(f, from, to));
		f->b.alone = true;
		assert_int_equal(bulk_move_blk(&f->b, ways[i][0], ways[i][1], -1, &n), 0);
		assert_int_equal(n, 1);
		assert_int_equal(f->failures, 1);
		assert_true(!is_there(f, from) && is_there(f, to));
		assert_false(pair_is_begun_blk(f->s));
		put(f, from, 0700);
		assert_int_equal(bulk_move_blk(&f->b, ways[i][0], ways[i][1], -1, &n), 0);
		assert_int_equal(n, 1);
		assert_int_equal(f->failures, 2);
		assert_non_null(strstr(f->failed, "A1 File exists"));
		assert_true(is_there(f, from) && is_there(f, to) && !is_pair_of(f, from, to));
		assert_int_equal(fsio_unlink(f->fd, from), 0);
		assert_int_equal(fsio_unlink(f->fd, to), 0);
		f->failures = 0;
	}
}

static void
forbid_links(int error)
{
	const struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_linkat, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {PP_COUNT(code), (struct sock_filter *)(uintptr_t)code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(77);
}

/* Played by a filter of system calls, in a child: it cannot be taken off again. */
static void
where_links_are_refused(void **state)
{
	static const struct {
		int error;
		bool moved;
	} table[] = {{EPERM, true}, {EOPNOTSUPP, true}, {ENOSYS, true}, {EMLINK, true},
	    {EXDEV, true}, {ENOSPC, false}};
	struct fixture *f = *state;

	f->b.alone = true;
	put_many(f, "deferred", 100);
	for (size_t i = 0; i < PP_COUNT(table); i++) {
		int64_t n = 0;
		int status;
		pid_t child;

		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			forbid_links(table[i].error);
			bulk_move_blk(&f->b, QUEUE_DEFERRED, QUEUE_HOLD, -1, &n);
			_exit(n == 100 ? 0 : f->failures == 100 ? 1 : 2);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), table[i].moved ? 0 : 1);
		assert_int_equal(files_in(f, table[i].moved ? "hold" : "deferred"), 100);
		assert_int_equal(files_in(f, table[i].moved ? "deferred" : "hold"), 0);
		bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_DEFERRED, -1, &n);
	}
}

/* What was begun when the signal came is done. */
static bool
stop_soon(void *ctx)
{
	struct fixture *f = ctx;

	return f->asked++ == 3;
}

static void
stops_with_no_half(void **state)
{
	struct fixture *f = *state;
	int64_t n = 0;

	put_many(f, "deferred", 500);
	f->b.alone = true;
	f->b.stop = stop_soon;
	assert_int_equal(bulk_move_blk(&f->b, QUEUE_DEFERRED, QUEUE_HOLD, -1, &n), 0);
	assert_true(n > 0 && n < 500);
	assert_int_equal(files_in(f, "hold"), n);
	assert_int_equal(files_in(f, "deferred"), 500 - n);
	assert_false(pair_is_begun_blk(f->s));
}

/* A queue manager that knows of pairs: what it has opened in active it may deliver. */
struct taker {
	struct fixture *f;
	unsigned broken;
};

static void *
taker(void *arg)
{
	struct taker *t = arg;
	const struct spool *s = t->f->s;
	char id[SPOOL_ID_MAX], path[SPOOL_PATH_MAX];
	struct stat st;

	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < RACE; i++) {
			snprintf(id, sizeof(id), "A%04d", i);
			if (spool_move_blk(s, id, QUEUE_DEFERRED, QUEUE_ACTIVE, -1) < 0)
				continue;
			spool_path(s, QUEUE_ACTIVE, id, path);
			if (fsio_stat(t->f->fd, path, &st) < 0)
				t->broken++; /* nobody may take it from there */
			else if (st.st_nlink > 1 && pair_settle_blk(s, QUEUE_ACTIVE, id) == 1)
				continue;
			if (spool_move_blk(s, id, QUEUE_ACTIVE, QUEUE_DEFERRED, -1) < 0)
				t->broken++;
		}
	return NULL;
}

static void
told(void *ctx, const char *path)
{
}

static void
nothing_is_lost_between_names(void **state)
{
	struct fixture *f = *state;
	struct taker t = {.f = f};
	pthread_t thread;

	put_many(f, "deferred", RACE);
	f->b.alone = true;
	assert_int_equal(pthread_create(&thread, NULL, taker, &t), 0);
	for (int i = 0; i < ROUNDS; i++) {
		int lock = pair_lock_blk(f->s, true, true);
		int64_t n = 0;

		assert_true(lock >= 0);
		assert_int_equal(bulk_move_blk(&f->b, QUEUE_DEFERRED, QUEUE_HOLD, -1, &n), 0);
		assert_int_equal(bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_DEFERRED, -1, &n), 0);
		pair_unlock(lock);
	}
	pthread_join(thread, NULL);
	assert_int_equal(t.broken, 0);
	assert_int_equal(f->failures, 0);
	/* One that was put back while its other name was looked for may have both. */
	assert_true(pair_settle_all_blk(f->s, true, told, f) >= 0);
	assert_int_equal(files_in(f, "active"), 0);
	assert_int_equal(files_in(f, "hold") + files_in(f, "deferred"), RACE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    T(moves),
	    T(moves_by_link),
	    T(names_that_are_there),
	    T(where_links_are_refused),
	    T(stops_with_no_half),
	    T(nothing_is_lost_between_names),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
