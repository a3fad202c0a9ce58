/*
 * bulk_test.c - whole queues marked and deleted; and what the other side does in between,
 * which is played here step by step, and once by a thread.
 */
#include <pthread.h>
#include "spool_dir.h"
#include "pp/spool/bulk.h"
#include "spool/internal.h"

struct fixture {
	char dir[64];
	struct spool *s;
	struct bulk b;
	int fd;
	int failures;
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
marks(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int64_t n = 0;

	put(f, "deferred/A/A1", 0700);
	put(f, "deferred/A/A2", 0740);
	put(f, "deferred/A/A3", 0710);
	put(f, "deferred/A/A4", 0600);
	put(f, "deferred/A/no-id", 0700);
	assert_int_equal(bulk_expire_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(fsio_stat(f->fd, "deferred/A/A2", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(bulk_expire_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(f->failures, 0);
}

static void
deletes_a_full_directory(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int64_t n = 0;

	put_many(f, "deferred", 100);
	assert_int_equal(fchmodat(f->fd, "deferred/A", 0750, 0), 0);
	put(f, "deferred/A/Aunready", 0600);
	put(f, "deferred/A/no-id", 0700);
	assert_int_equal(symlinkat("/etc/passwd", f->fd, "deferred/A/Alink"), 0);
	put(f, "deferred/B/B1", 0700);
	put(f, "bounce/B1", 0600);
	put(f, "trace/A0007", 0600);
	/* Mail that lives on, with logs in the same directories. */
	put(f, "active/Alive", 0700);
	put(f, "defer/A/Alive", 0600);
	put(f, "bounce/Alive", 0600);
	assert_false(bulk_purge_needed_blk(f->s));
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(n, 101);
	assert_int_equal(f->failures, 0);
	assert_int_equal(files_in(f, "deferred"), 1);
	assert_true(is_there(f, "deferred/A/no-id") && is_there(f, "deferred/A/Alink"));
	assert_int_equal(fsio_stat(f->fd, "deferred/A", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_true(is_there(f, "active/Alive"));
	assert_true(bulk_purge_needed_blk(f->s));
	assert_true(files_in(f, "deleted") >= 100);
	assert_int_equal(bulk_purge_blk(f->s, 16, NULL, NULL), 0);
	assert_false(bulk_purge_needed_blk(f->s));
	assert_int_equal(files_in(f, "deleted"), 0);
	assert_int_equal(files_in(f, "defer"), 1);
	assert_int_equal(files_in(f, "bounce"), 1);
	assert_int_equal(files_in(f, "trace"), 0);
	assert_true(is_there(f, "defer/A/Alive") && is_there(f, "bounce/Alive"));
	/* Nothing is left to do, and nothing is left behind. */
	n = 0;
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(n, 0);
	assert_false(bulk_purge_needed_blk(f->s));
}

/* New mail is made in hold: what is not ready may be a mail in a moment. */
static void
leaves_half_written_mail(void **state)
{
	static const enum queue queues[] = {QUEUE_HOLD, QUEUE_INCOMING, QUEUE_MAILDROP};
	static const char *const half[] = {"hold/A/Ahalf", "incoming/Ahalf", "maildrop/Ahalf"};
	struct fixture *f = *state;
	int64_t n = 0;

	put_many(f, "hold", 100);
	put(f, "incoming/A1", 0700);
	put(f, "maildrop/A2", 0744);
	for (size_t i = 0; i < PP_COUNT(half); i++)
		put(f, half[i], 0600);
	for (size_t i = 0; i < PP_COUNT(queues); i++) {
		assert_int_equal(bulk_delete_blk(&f->b, queues[i], &n), 0);
		assert_true(is_there(f, half[i]));
		assert_int_equal(files_in(f, spool_queue_name(queues[i])), 1);
	}
	assert_int_equal(n, 102);
	assert_int_equal(bulk_purge_blk(f->s, 2, NULL, NULL), 0);
	assert_false(bulk_purge_needed_blk(f->s));
	/* Without a daemon nobody goes on with them, but for submissions. */
	f->b.live = false;
	for (size_t i = 0; i < PP_COUNT(queues); i++)
		assert_int_equal(bulk_delete_blk(&f->b, queues[i], &n), 0);
	assert_int_equal(n, 102);
	assert_false(is_there(f, half[0]) || is_there(f, half[1]));
	assert_true(is_there(f, half[2]));
	assert_int_equal(f->failures, 0);
}

/* Somebody found his directory just before it was exchanged, and acts in it just after. */
static void
late_arrivals(void **state)
{
	struct fixture *f = *state;
	int hold, deferred;
	int64_t n = 0;

	put_many(f, "deferred", 50);
	put_many(f, "hold", 50);
	put(f, "active/Alate", 0700);
	put(f, "defer/A/Alate", 0600);
	put(f, "active/Aother", 0700);
	hold = fsio_open_dir(f->fd, "hold/A");
	deferred = fsio_open_dir(f->fd, "deferred/A");
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_HOLD, &n), 0);
	assert_int_equal(n, 100);
	/* A writer is not done: its mail is kept. */
	test_write(hold, "Awriter", STR("x"), 0600);
	/* What was deferred in the same moment was deleted with the others, and its log. */
	assert_int_equal(fsio_rename_between(f->fd, "active/Alate", deferred, "Alate"), 0);
	/* One that is deferred afterwards finds the directory as it was. */
	assert_int_equal(spool_move_blk(f->s, "Aother", QUEUE_ACTIVE, QUEUE_DEFERRED, -1), 0);
	assert_int_equal(bulk_purge_blk(f->s, 4, NULL, NULL), 0);
	assert_true(is_there(f, "hold/A/Awriter") && is_there(f, "deferred/A/Aother"));
	assert_false(is_there(f, "defer/A/Alate") || is_there(f, "deferred/A/Alate"));
	assert_false(bulk_purge_needed_blk(f->s));
	fsio_close(hold);
	fsio_close(deferred);
}

static bool
stop_at_once(void *ctx)
{
	++*(int *)ctx;
	return true;
}

/* Killed between the exchange and the rest. */
static void
goes_on_after_a_kill(void **state)
{
	struct fixture *f = *state;
	int batch, asked = 0;

	assert_int_equal(fsio_mkdir(f->fd, "deleted/5f.1", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deleted/5f.1/deferred.A", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deleted/5f.1/defer.A", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deleted/5f.1/strange", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deleted/empty", 0700), 0);
	put(f, "deleted/file", 0600);
	test_write(f->fd, "deleted/5f.1/deferred.A/A1", STR("x"), 0700);
	test_write(f->fd, "deleted/5f.1/deferred.A/no-id", STR("x"), 0700);
	test_write(f->fd, "deleted/5f.1/deferred.A/no-id2", STR("x"), 0700);
	test_write(f->fd, "deleted/5f.1/defer.A/A2", STR("x"), 0600);
	test_write(f->fd, "deleted/5f.1/strange/A3", STR("x"), 0600);
	put(f, "defer/A/A1", 0600);
	put(f, "bounce/A1", 0600);
	put(f, "deferred/A/no-id2", 0600);
	/* Somebody is at work on it. */
	batch = fsio_open_dir(f->fd, "deleted/5f.1");
	assert_int_equal(fsio_lock(batch, false), 0);
	assert_int_equal(bulk_purge_blk(f->s, 2, NULL, NULL), 0);
	assert_true(is_there(f, "deleted/5f.1/deferred.A/A1"));
	assert_false(is_there(f, "deleted/empty"));
	fsio_close(batch);
	assert_int_equal(bulk_purge_blk(f->s, 2, stop_at_once, &asked), 0);
	assert_int_equal(asked, 1);
	assert_true(is_there(f, "deleted/5f.1/deferred.A/A1"));
	assert_int_equal(bulk_purge_blk(f->s, 2, NULL, NULL), 0);
	assert_false(is_there(f, "defer/A/A1") || is_there(f, "bounce/A1"));
	assert_true(is_there(f, "deferred/A/no-id"));
	/* What has no place stays, and what is not ours. */
	assert_int_equal(files_in(f, "deleted"), 3);
	assert_true(is_there(f, "deleted/5f.1/deferred.A/no-id2"));
	assert_true(is_there(f, "deleted/5f.1/strange/A3") && is_there(f, "deleted/file"));
}

static void
without_the_directory(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int64_t n = 0;

	put_many(f, "deferred", 40);
	put(f, "deferred/A/no-id", 0700);
	assert_int_equal(unlinkat(f->fd, "deleted", AT_REMOVEDIR), 0);
	put(f, "deleted", 0600);
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(n, 40);
	assert_int_equal(files_in(f, "deferred"), 1);
	assert_int_equal(files_in(f, "defer"), 0);
	assert_false(bulk_purge_needed_blk(f->s));
	assert_int_equal(bulk_purge_blk(f->s, 2, NULL, NULL), -ENOTDIR);
	assert_int_equal(unlinkat(f->fd, "deleted", 0), 0);
	assert_int_equal(bulk_purge_blk(f->s, 2, NULL, NULL), 0);
	/* Made again by who may. */
	assert_int_equal(bulk_prepare_blk(f->s, geteuid(), (gid_t)-1), 0);
	assert_int_equal(bulk_prepare_blk(f->s, geteuid(), (gid_t)-1), 0);
	assert_int_equal(fsio_stat(f->fd, "deleted", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* And without a right to one, by the deletion itself. */
	assert_int_equal(unlinkat(f->fd, "deleted", AT_REMOVEDIR), 0);
	put_many(f, "deferred", 40);
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(n, 80);
	assert_int_equal(files_in(f, "deleted"), 40);
}

enum { RACE = 400, ROUNDS = 20 };

/* What a queue manager does all day. */
static void *
mover(void *arg)
{
	const struct fixture *f = arg;
	char id[SPOOL_ID_MAX];

	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < RACE; i++) {
			snprintf(id, sizeof(id), "A%04d", i);
			if (spool_move_blk(f->s, id, QUEUE_DEFERRED, QUEUE_ACTIVE, -1) == 0)
				spool_defer_blk(f->s, id, 1000, 3);
		}
	return NULL;
}

/* Each message is somewhere, and at one place only; logs are there for those that live. */
static void
nothing_is_lost_in_between(void **state)
{
	struct fixture *f = *state;
	pthread_t t;
	int64_t n = 0;

	put_many(f, "deferred", RACE);
	assert_int_equal(pthread_create(&t, NULL, mover, f), 0);
	for (int i = 0; i < 5; i++) {
		int64_t held = 0;

		assert_int_equal(bulk_move_blk(&f->b, QUEUE_DEFERRED, QUEUE_HOLD, -1, &held), 0);
		assert_int_equal(bulk_move_blk(&f->b, QUEUE_HOLD, QUEUE_DEFERRED, -1, &held), 0);
	}
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	pthread_join(t, NULL);
	assert_int_equal(files_in(f, "hold"), 0);
	assert_int_equal(files_in(f, "deferred") + files_in(f, "active") + files_in(f, "deleted") -
			     (RACE - files_in(f, "defer")),
	    RACE);
	assert_true(files_in(f, "deferred") + files_in(f, "active") <= files_in(f, "defer"));
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(bulk_purge_blk(f->s, 4, NULL, NULL), 0);
	assert_int_equal(files_in(f, "defer"), 0);
	assert_false(bulk_purge_needed_blk(f->s));
	assert_int_equal(f->failures, 0);
}

/* The logs of what is in deleted/ go before that itself does; no others. */
static void
purges_the_logs_first(void **state)
{
	struct fixture *f = *state;
	int64_t n = 0;

	put_many(f, "deferred", 100);
	put_many(f, "hold", 100);
	put(f, "hold/A/Ahalf", 0600);
	put(f, "defer/A/Ahalf", 0600);
	put(f, "bounce/A0001", 0600);
	put(f, "trace/A1001", 0600);
	put(f, "active/Alive", 0700);
	put(f, "defer/A/Alive", 0600);
	put(f, "trace/Alive", 0600);
	assert_int_equal(bulk_purge_logs_blk(f->s, 4), 0);
	assert_int_equal(files_in(f, "defer"), 202);
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_DEFERRED, &n), 0);
	assert_int_equal(bulk_delete_blk(&f->b, QUEUE_HOLD, &n), 0);
	assert_int_equal(n, 200);
	assert_int_equal(files_in(f, "defer"), 202);
	assert_int_equal(bulk_purge_logs_blk(f->s, 4), 0);
	assert_int_equal(files_in(f, "deleted"), 200);
	assert_int_equal(files_in(f, "defer"), 2);
	assert_int_equal(files_in(f, "bounce"), 0);
	assert_int_equal(files_in(f, "trace"), 1);
	assert_true(is_there(f, "hold/A/Ahalf"));
	assert_int_equal(bulk_purge_logs_blk(f->s, 4), 0);
	assert_int_equal(bulk_purge_blk(f->s, 4, NULL, NULL), 0);
	assert_false(bulk_purge_needed_blk(f->s));
	assert_int_equal(files_in(f, "defer"), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    T(marks),
	    T(deletes_a_full_directory),
	    T(leaves_half_written_mail),
	    T(late_arrivals),
	    T(goes_on_after_a_kill),
	    T(without_the_directory),
	    T(nothing_is_lost_in_between),
	    T(purges_the_logs_first),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
