/*
 * pair_test.c - messages with a name in hold and one elsewhere: who may end that, and where.
 */
#include "spool_dir.h"
#include "pp/spool/pair.h"
#include "spool/internal.h"

struct fixture {
	char dir[64];
	struct spool *s;
	int fd, told;
	char path[SPOOL_PATH_MAX];
};

static int
setup(void **state)
{
	struct fixture *f = MEM_NEW(struct fixture);
	struct spool_options o = {
	    .directory = f->dir, .hash_queue_names = "deferred", .hash_queue_depth = 1};
	struct buf err;

	spool_dir_make(f->dir);
	buf_init(&err, 1024);
	assert_int_equal(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &f->s, &err), 0);
	f->fd = spool_dirfd(f->s);
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
put(const struct fixture *f, const char *path)
{
	spool_make_parents(f->s, path);
	test_write(f->fd, path, STR("x"), 0700);
}

static void
put_pair(const struct fixture *f, const char *path, const char *second)
{
	put(f, path);
	spool_make_parents(f->s, second);
	assert_int_equal(fsio_link(f->fd, path, f->fd, second), 0);
}

static bool
is_there(const struct fixture *f, const char *path)
{
	struct stat st;

	return fsio_stat(f->fd, path, &st) == 0;
}

static void
told(void *ctx, const char *path)
{
	struct fixture *f = ctx;

	f->told++;
	snprintf(f->path, sizeof(f->path), "%s", path);
}

static void
locks(void **state)
{
	struct fixture *f = *state;
	int alone = pair_lock_blk(f->s, true, true), a, b;

	assert_true(alone >= 0);
	assert_int_equal(pair_lock_blk(f->s, true, false), -EWOULDBLOCK);
	assert_int_equal(pair_lock_blk(f->s, false, false), -EWOULDBLOCK);
	assert_int_equal(pair_settle_all_blk(f->s, false, told, f), -EWOULDBLOCK);
	pair_unlock(alone);
	a = pair_lock_blk(f->s, false, true);
	b = pair_lock_blk(f->s, false, false);
	assert_true(a >= 0 && b >= 0);
	assert_int_equal(pair_lock_blk(f->s, true, false), -EWOULDBLOCK);
	pair_unlock(a);
	pair_unlock(b);
	pair_unlock(-ENOENT);
	assert_int_equal(fsio_rmdir(f->fd, "hold"), 0);
	assert_int_equal(pair_lock_blk(f->s, true, true), -ENOENT);
	assert_int_equal(pair_settle_all_blk(f->s, true, told, f), -ENOENT);
}

static void
marks(void **state)
{
	struct fixture *f = *state;

	assert_false(pair_is_begun_blk(f->s));
	assert_int_equal(pair_begin_blk(f->s), 0);
	assert_int_equal(pair_begin_blk(f->s), 0);
	assert_true(pair_is_begun_blk(f->s));
	pair_end_blk(f->s);
	assert_false(pair_is_begun_blk(f->s));
	pair_end_blk(f->s);
	assert_int_equal(fsio_rmdir(f->fd, "deleted"), 0);
	assert_int_equal(pair_begin_blk(f->s), -ENOENT);
	assert_false(pair_is_begun_blk(f->s));
}

static void
settles_one(void **state)
{
	static const struct {
		const char *path, *second; /* NULL = no second name */
		enum queue q;
		const char *id;
		bool is_pair;
	} table[] = {
	    {"hold/A1", "deferred/A/A1", QUEUE_DEFERRED, "A1", true},
	    {"hold/A2", "deferred/A2", QUEUE_DEFERRED, "A2", true}, /* at another depth */
	    {"hold/A/A3", "incoming/A3", QUEUE_INCOMING, "A3", true},
	    {"hold/A4", "active/A4", QUEUE_ACTIVE, "A4", true},
	    {"deferred/A/A5", "public/A5", QUEUE_DEFERRED, "A5", false}, /* a backup */
	    {"deferred/A/A6", NULL, QUEUE_DEFERRED, "A6", false},
	    {"hold/A7", "deferred/A/A8", QUEUE_DEFERRED, "A8", false}, /* of other names */
	    {"hold/A9", NULL, QUEUE_DEFERRED, "A9", false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < PP_COUNT(table); i++) {
		const char *second = table[i].second;
		int rc, lock;

		if (second)
			put_pair(f, table[i].path, second);
		else
			put(f, table[i].path);
		/* Somebody is at work. */
		lock = pair_lock_blk(f->s, false, true);
		rc = pair_settle_blk(f->s, table[i].q, table[i].id);
		assert_int_equal(rc, table[i].is_pair ? -EWOULDBLOCK : 0);
		pair_unlock(lock);
		assert_true(second == NULL || is_there(f, second));
		rc = pair_settle_blk(f->s, table[i].q, table[i].id);
		assert_int_equal(rc, table[i].is_pair);
		assert_true(is_there(f, table[i].path));
		assert_true(second == NULL || is_there(f, second) == !table[i].is_pair);
	}
	/* Two messages of one id. */
	put(f, "hold/B1");
	put_pair(f, "deferred/B/B1", "public/B1");
	assert_int_equal(pair_settle_blk(f->s, QUEUE_DEFERRED, "B1"), 0);
	assert_true(is_there(f, "hold/B1") && is_there(f, "deferred/B/B1"));
}

static void
settles_all(void **state)
{
	struct fixture *f = *state;

	put_pair(f, "hold/A1", "deferred/A/A1");
	put_pair(f, "hold/A2", "incoming/A2");
	put_pair(f, "hold/A3", "active/A3");
	put_pair(f, "hold/A4", "public/A4");
	put(f, "hold/A5");
	put(f, "deferred/A/A6");
	assert_int_equal(pair_begin_blk(f->s), 0);
	assert_int_equal(pair_settle_all_blk(f->s, false, told, f), 2);
	assert_int_equal(f->told, 2);
	assert_true(is_there(f, "hold/A1") && !is_there(f, "deferred/A/A1"));
	assert_true(is_there(f, "hold/A2") && !is_there(f, "incoming/A2"));
	/* The queue manager's own, and what is no queue. */
	assert_true(is_there(f, "active/A3") && is_there(f, "public/A4"));
	assert_false(pair_is_begun_blk(f->s));
	assert_int_equal(pair_settle_all_blk(f->s, true, told, f), 0);
	assert_int_equal(f->told, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    T(locks),
	    T(marks),
	    T(settles_one),
	    T(settles_all),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
