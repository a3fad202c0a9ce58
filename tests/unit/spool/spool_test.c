/*
 * spool_test.c - the directory: how it is made, ids, paths, moves, scans, the lock.
 */
#include <pthread.h>
#include "spool_dir.h"
#include "pp/runtime/loop.h"
#include "spool/internal.h"

struct fixture {
	char dir[64];
	struct spool *s;
};

static int
setup(void **state)
{
	struct fixture *f = MEM_NEW(struct fixture);

	spool_dir_make(f->dir);
	f->s = spool_dir_open(f->dir, false, 0);
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
directories_have_their_modes(void **state)
{
	static const struct {
		const char *name;
		mode_t mode;
	} t[] = {
	    {"maildrop", 01733},
	    {"incoming", 0700},
	    {"active", 0700},
	    {"deferred", 0700},
	    {"hold", 0700},
	    {"corrupt", 0700},
	    {"defer", 0700},
	    {"bounce", 0700},
	    {"trace", 0700},
	    {"flush", 0700},
	    {"saved", 0700},
	    {"deleted", 0700},
	    {"private", 0700},
	    {"public", 0711},
	    {"pid", 0755},
	};
	struct fixture *f = *state;
	struct stat st;

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		assert_int_equal(fsio_stat(spool_dirfd(f->s), t[i].name, &st), 0);
		assert_true(S_ISDIR(st.st_mode));
		assert_int_equal(st.st_mode & 07777, t[i].mode);
	}
}

static void
opening_refuses(void **state)
{
	struct fixture *f = *state;
	struct spool_options o = {.directory = "/nonexistent/spool", .hash_queue_names = ""};
	char path[128];
	struct spool *s;
	struct buf err;

	buf_init(&err, 1024);
	assert_int_equal(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &s, &err), -ENOENT);
	assert_string_equal(
	    buf_cstr(&err), "open queue directory /nonexistent/spool: No such file or directory");
	buf_clear(&err);
	assert_int_equal(spool_open(&o, false, (uid_t)-1, (gid_t)-1, &s, &err), -ENOENT);
	if (geteuid() == 0) {
		/* A queue that belongs to somebody else. */
		snprintf(path, sizeof(path), "%s/active", f->dir);
		assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
		o.directory = f->dir;
		buf_clear(&err);
		assert_int_equal(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &s, &err), -EPERM);
		assert_non_null(
		    strstr(buf_cstr(&err), "/active belongs to uid 12345, not to uid 0"));
		/* The top in a stranger's hands: what is missing is not made there. */
		assert_int_equal(chown(path, 0, (gid_t)-1), 0);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(chown(f->dir, 12345, (gid_t)-1), 0);
		buf_clear(&err);
		assert_int_equal(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &s, &err), -EPERM);
		assert_non_null(
		    strstr(buf_cstr(&err), " belongs to uid 12345, not to uid 0: give"));
		assert_int_equal(access(path, F_OK), -1);
	}
	buf_fini(&err);
}

static void
ids_are_valid(void **state)
{
	static const struct {
		const char *id;
		bool valid, is_long;
	} t[] = {
	    {"067DDA8CB1A", true, false},
	    {"a_Z9", true, false},
	    {"", false, false},
	    {"bad/id", false, false},
	    {"..", false, false},
	    {"a b", false, false},
	    {"ABC#FIX", false, false},
	    {"4jX4rX6Z77z1cN0M", true, true},
	    {"4jX4rXzzzzz1cN0M", true, true},
	    {"123456789z1", true, false},
	    {"0123456789012345678901234567890123456789012345678901234567890123", false, false},
	    {"012345678901234567890123456789012345678901234567890123456789012", true, false},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		assert_int_equal(spool_id_valid(str_of(t[i].id)), t[i].valid);
		assert_int_equal(spool_id_is_long(str_of(t[i].id)), t[i].is_long);
	}
	assert_false(spool_id_valid((struct str){"a\0b", 3}));
}

static void
paths_are_hashed(void **state)
{
	struct fixture *f = *state;
	char path[SPOOL_PATH_MAX], letters[SPOOL_DEPTH_MAX + 1];

	spool_path(f->s, QUEUE_DEFERRED, "067DDA8CB1A", path);
	assert_string_equal(path, "deferred/0/067DDA8CB1A");
	spool_path(f->s, QUEUE_HOLD, "067DDA8CB1A", path);
	assert_string_equal(path, "hold/067DDA8CB1A");
	spool_path_depth(QUEUE_DEFERRED, "AB", 3, path);
	assert_string_equal(path, "deferred/A/B/_/AB");
	/* Long: by the microseconds, which are the last four digits before the z. */
	spool_hash_letters("4jX4rX6Z77z1cN0M", letters);
	assert_string_equal(letters, "E1DD3___________");
}

enum { ID_THREADS = 4, IDS = 20000 };

static void *
make_ids(void *arg)
{
	char(*ids)[SPOOL_ID_MAX] = mem_alloc((size_t)IDS * SPOOL_ID_MAX);

	for (int i = 0; i < IDS; i++)
		spool_id_new(arg, ids[i]);
	return ids;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
no_id_is_given_twice(void **state)
{
	struct fixture *f = *state;
	char(*all)[SPOOL_ID_MAX] = mem_alloc((size_t)ID_THREADS * IDS * SPOOL_ID_MAX);
	pthread_t t[ID_THREADS];

	for (int long_ids = 0; long_ids < 2; long_ids++) {
		f->s->long_ids = long_ids;
		for (int i = 0; i < ID_THREADS; i++)
			assert_int_equal(pthread_create(&t[i], NULL, make_ids, f->s), 0);
		for (int i = 0; i < ID_THREADS; i++) {
			void *ids;

			pthread_join(t[i], &ids);
			memcpy(all[i * IDS], ids, (size_t)IDS * SPOOL_ID_MAX);
			mem_free(ids);
		}
		qsort(all, (size_t)ID_THREADS * IDS, SPOOL_ID_MAX, by_name);
		for (int i = 0; i < ID_THREADS * IDS; i++) {
			assert_true(spool_id_valid(str_of(all[i])));
			assert_int_equal(spool_id_is_long(str_of(all[i])), long_ids);
			assert_true(i == 0 || strcmp(all[i - 1], all[i]) != 0);
		}
	}
	mem_free(all);
}

/* The clock stepped back between two daemons: directories remember how late it was. */
static void
ids_are_later_than_the_files(void **state)
{
	struct fixture *f = *state;
	int64_t future = loop_wall_us() / 1000000 + 100000;
	struct spool *again;
	char id[SPOOL_ID_MAX], seconds[32];

	assert_int_equal(fsio_set_mtime(spool_dirfd(f->s), "deferred", future), 0);
	again = spool_dir_open(f->dir, false, 0);
	spool_id_new(again, id);
	snprintf(seconds, sizeof(seconds), "%lX", (unsigned long)future);
	assert_string_equal(id + 5, seconds);
	spool_close(again);
}

static void
moves_never_overwrite(void **state)
{
	struct fixture *f = *state;
	const enum queue all[] = {QUEUE_INCOMING, QUEUE_HOLD, QUEUE_DEFERRED, QUEUE_COUNT};
	int dir = spool_dirfd(f->s);
	enum queue q;
	struct stat st;

	test_write(dir, "incoming/ABCDEF", STR("one"), 0700);
	assert_int_equal(spool_move_blk(f->s, "ABCDEF", QUEUE_INCOMING, QUEUE_DEFERRED, 1000), 0);
	assert_int_equal(fsio_stat(dir, "deferred/A/ABCDEF", &st), 0);
	assert_int_equal(st.st_mtime, 1000);
	assert_int_equal(spool_move_blk(f->s, "ABCDEF", QUEUE_INCOMING, QUEUE_HOLD, -1), -ENOENT);
	assert_int_equal(spool_find_blk(f->s, "ABCDEF", all, &q, &st), 0);
	assert_int_equal(q, QUEUE_DEFERRED);
	assert_int_equal(spool_find_blk(f->s, "NOSUCH", all, &q, &st), -ENOENT);

	test_write(dir, "incoming/ABCDEF", STR("two"), 0700);
	assert_int_equal(
	    spool_move_blk(f->s, "ABCDEF", QUEUE_INCOMING, QUEUE_DEFERRED, -1), -EEXIST);
	assert_int_equal(fsio_stat(dir, "incoming/ABCDEF", &st), 0);
	/* Found at another depth than the configured one. */
	assert_int_equal(fsio_mkdir(dir, "hold/B", 0700), 0);
	test_write(dir, "hold/B/BBCDEF", STR("x"), 0700);
	assert_int_equal(spool_move_blk(f->s, "BBCDEF", QUEUE_HOLD, QUEUE_ACTIVE, 5), 0);
	assert_int_equal(fsio_stat(dir, "active/BBCDEF", &st), 0);
	assert_int_equal(st.st_mtime, 5);
}

/* Where only we look: in the nanoseconds of the next attempt. */
static void
attempts_are_kept(void **state)
{
	static const struct {
		unsigned given, kept;
	} t[] = {{1, 1}, {7, 7}, {99999, 99999}, {4000000, 99999}, {0, 0}};
	struct fixture *f = *state;
	struct stat st;

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		test_write(spool_dirfd(f->s), "active/ABCDEF", STR("m"), 0700);
		assert_int_equal(spool_defer_blk(f->s, "ABCDEF", 5000, t[i].given), 0);
		assert_int_equal(fsio_stat(spool_dirfd(f->s), "deferred/A/ABCDEF", &st), 0);
		assert_int_equal(st.st_mtime, 5000);
		assert_int_equal(st.st_atime, 5000);
		assert_int_equal(spool_attempts(&st, false), t[i].kept);
		assert_int_equal(spool_attempts(&st, true), t[i].kept ? t[i].kept : 1);
		assert_int_equal(fsio_unlink(spool_dirfd(f->s), "deferred/A/ABCDEF"), 0);
	}
	/* A time that an administrator gave by hand. */
	st.st_mtim.tv_nsec = 123456789;
	assert_int_equal(spool_attempts(&st, false), 0);
	assert_int_equal(spool_attempts(&st, true), 1);
	assert_int_equal(spool_defer_blk(f->s, "NOSUCH", 5000, 1), -ENOENT);
}

static void
removal_takes_the_logs(void **state)
{
	struct fixture *f = *state;
	int dir = spool_dirfd(f->s);
	struct stat st;

	assert_int_equal(fsio_mkdir(dir, "defer/A", 0700), 0);
	test_write(dir, "active/ABCDEF", STR("m"), 0700);
	test_write(dir, "defer/A/ABCDEF", STR("m"), 0600);
	test_write(dir, "bounce/ABCDEF", STR("m"), 0600);
	test_write(dir, "trace/ABCDEF", STR("m"), 0600);
	assert_int_equal(spool_remove_blk(f->s, QUEUE_ACTIVE, "ABCDEF"), 0);
	assert_int_equal(fsio_stat(dir, "active/ABCDEF", &st), -ENOENT);
	assert_int_equal(fsio_stat(dir, "defer/A/ABCDEF", &st), -ENOENT);
	assert_int_equal(fsio_stat(dir, "bounce/ABCDEF", &st), -ENOENT);
	assert_int_equal(fsio_stat(dir, "trace/ABCDEF", &st), -ENOENT);
	assert_int_equal(spool_remove_blk(f->s, QUEUE_ACTIVE, "ABCDEF"), -ENOENT);
}

struct seen {
	int files, misplaced, stop_after;
};

static int
see(void *ctx, const struct spool_entry *e)
{
	struct seen *seen = ctx;

	seen->files++;
	seen->misplaced += e->misplaced;
	assert_int_equal(e->queue, QUEUE_DEFERRED);
	assert_true(strlen(e->path) > strlen(e->id));
	return seen->files == seen->stop_after ? 7 : 0;
}

static void
scans_see_all_depths(void **state)
{
	struct fixture *f = *state;
	int dir = spool_dirfd(f->s);
	struct seen seen = {0};

	assert_int_equal(fsio_mkdir(dir, "deferred/A", 0700), 0);
	assert_int_equal(fsio_mkdir(dir, "deferred/A/B", 0700), 0);
	assert_int_equal(fsio_mkdir(dir, "deferred/lost", 0700), 0);
	test_write(dir, "deferred/A/ABCDE1", STR(""), 0700);
	test_write(dir, "deferred/A/B/ABCDE2", STR(""), 0700);
	test_write(dir, "deferred/ABCDE3", STR(""), 0600);
	test_write(dir, "deferred/12345.678", STR(""), 0600); /* no id */
	test_write(dir, "deferred/lost/ABCDE4", STR(""), 0700);
	assert_int_equal(spool_scan_blk(f->s, QUEUE_DEFERRED, see, &seen), 0);
	assert_int_equal(seen.files, 3);
	assert_int_equal(seen.misplaced, 2);
	seen = (struct seen){.stop_after = 2};
	assert_int_equal(spool_scan_blk(f->s, QUEUE_DEFERRED, see, &seen), 7);
	assert_int_equal(seen.files, 2);
	assert_int_equal(fsio_rmdir(dir, "trace"), 0);
	assert_int_equal(spool_scan_blk(f->s, QUEUE_TRACE, see, &seen), -ENOENT);
}

static void
one_daemon_per_spool(void **state)
{
	struct fixture *f = *state;
	struct spool *other = spool_dir_open(f->dir, false, 0);
	struct buf pid;
	pid_t holder = 1;
	int fd;

	assert_int_equal(spool_lock_test(f->s, &holder), 0);
	assert_int_equal(spool_lock(f->s, &holder), 0);
	assert_int_equal(spool_lock(other, &holder), -EWOULDBLOCK);
	assert_int_equal(holder, getpid());
	holder = 0;
	assert_int_equal(spool_lock_test(other, &holder), 1);
	assert_int_equal(holder, getpid());
	assert_true(test_read(&pid, "%s/pid/master.pid", f->dir));
	assert_int_equal(pid.n, 33); /* as Postfix writes it */
	buf_fini(&pid);
	fd = spool_lock_file(other);
	assert_int_equal(spool_hold(fd), -EWOULDBLOCK);
	fsio_close(fd);
	spool_close(other);
	assert_string_equal(spool_directory(f->s), f->dir);
}

static void *
give_back(void *fd)
{
	spool_unhold(*(int *)fd);
	return NULL;
}

/* Commands share it, are no daemon to anybody, and are waited for. */
static void
commands_hold_a_daemon_back(void **state)
{
	struct fixture *f = *state;
	struct spool *other = spool_dir_open(f->dir, false, 0);
	pthread_t thread;
	pid_t holder = 1;
	int a, b;

	assert_int_equal(spool_lock_file(f->s), -ENOENT); /* no daemon was here yet */
	assert_int_equal(spool_hold(-ENOENT), 0);
	spool_unhold(-ENOENT);
	test_write(spool_dirfd(f->s), "pid/master.pid", STR("1\n"), 0644);
	a = spool_lock_file(f->s);
	b = spool_lock_file(other);
	assert_int_equal(spool_hold(a), 0);
	assert_int_equal(spool_hold(b), 0);
	assert_int_equal(spool_lock_test(other, &holder), 0);
	spool_unhold(b);
	assert_int_equal(pthread_create(&thread, NULL, give_back, &a), 0);
	assert_int_equal(spool_lock(other, &holder), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(spool_hold(a), -EWOULDBLOCK);
	fsio_close(a);
	fsio_close(b);
	spool_close(other);
}

static void
ready_files(void **state)
{
	static const struct {
		mode_t mode;
		bool ready;
	} t[] = {
	    {S_IFREG | 0700, true},
	    {S_IFREG | 0744, true},
	    {S_IFREG | 0710, true},
	    {S_IFREG | 0600, false},
	    {S_IFREG | 0400, false},
	    {S_IFDIR | 0700, false},
	};

	for (size_t i = 0; i < PP_COUNT(t); i++)
		assert_int_equal(spool_ready(&(struct stat){.st_mode = t[i].mode}), t[i].ready);
	assert_int_equal(spool_queue_find(STR("hold")), QUEUE_HOLD);
	assert_int_equal(spool_queue_find(STR("holder")), QUEUE_COUNT);
}

int
main(int argc, char **argv)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    WITH(directories_have_their_modes),
	    WITH(opening_refuses),
	    cmocka_unit_test(ids_are_valid),
	    WITH(paths_are_hashed),
	    WITH(no_id_is_given_twice),
	    WITH(ids_are_later_than_the_files),
	    WITH(moves_never_overwrite),
	    WITH(attempts_are_kept),
	    WITH(removal_takes_the_logs),
	    WITH(scans_see_all_depths),
	    WITH(one_daemon_per_spool),
	    WITH(commands_hold_a_daemon_back),
	    cmocka_unit_test(ready_files),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
