/*
 * hand_test.c - one id in several places: found, put right, set aside.
 */
#include "spool_dir.h"
#include "pp/spool/hand.h"

static struct {
	char dir[64];
	struct spool *s;
} t;

static int
setup(void **state)
{
	spool_dir_make(t.dir);
	t.s = spool_dir_open(t.dir, false, 0);
	return 0;
}

static int
teardown(void **state)
{
	spool_close(t.s);
	spool_dir_remove(t.dir);
	return 0;
}

static void
put(const char *path)
{
	int fd = fsio_create(spool_dirfd(t.s), path, 0700);

	assert_true(fd >= 0);
	fsio_close(fd);
}

static bool
is_there(const char *path)
{
	struct stat st;

	return fsio_stat(spool_dirfd(t.s), path, &st) == 0;
}

static void
make(const char *path)
{
	assert_int_equal(fsio_mkdir(spool_dirfd(t.s), path, 0700), 0);
}

static void
places(void **state)
{
	struct hand_places p;

	hand_places_blk(t.s, "ABCD", &p);
	assert_int_equal(p.found, 0);
	put("hold/ABCD");
	put("deferred/ABCD"); /* at another depth than it is hashed to */
	make("incoming/A");
	make("incoming/A/B");
	put("incoming/A/B/ABCD");
	make("active/ABCD"); /* no file */
	hand_places_blk(t.s, "ABCD", &p);
	assert_int_equal(p.found, 1u << QUEUE_HOLD | 1u << QUEUE_DEFERRED | 1u << QUEUE_INCOMING);
	assert_true(spool_ready(&p.st[QUEUE_DEFERRED]));
}

static void
put_right(void **state)
{
	assert_int_equal(hand_put_right_blk(t.s, QUEUE_DEFERRED, "ABCD"), -ENOENT);
	put("deferred/ABCD");
	assert_int_equal(hand_put_right_blk(t.s, QUEUE_DEFERRED, "ABCD"), 1);
	assert_true(is_there("deferred/A/ABCD"));
	assert_int_equal(hand_put_right_blk(t.s, QUEUE_DEFERRED, "ABCD"), 0);
}

/* Nothing is overwritten, and the new name is one that nobody has. */
static void
set_aside(void **state)
{
	char first[SPOOL_ID_MAX], second[SPOOL_ID_MAX], path[SPOOL_PATH_MAX];

	make("deferred/X");
	put("deferred/X/ABCD");
	put("hold/ABCD");
	assert_int_equal(hand_set_aside_blk(t.s, QUEUE_DEFERRED, "ABCD", NULL, first), -ENOENT);
	assert_int_equal(
	    hand_set_aside_blk(t.s, QUEUE_DEFERRED, "ABCD", "deferred/X/ABCD", first), 0);
	assert_int_equal(hand_set_aside_blk(t.s, QUEUE_HOLD, "ABCD", NULL, second), 0);
	assert_string_not_equal(first, second);
	spool_path(t.s, QUEUE_HOLD, first, path);
	assert_true(is_there(path));
	spool_path(t.s, QUEUE_HOLD, second, path);
	assert_true(is_there(path));
	assert_false(is_there("hold/ABCD"));
}

static char seen[1024];

static int
directory(void *ctx, const char *path)
{
	size_t n = strlen(seen);

	snprintf(seen + n, sizeof(seen) - n, "%s\n", path);
	return ctx && strcmp(path, "deferred/A") == 0 ? -ENOSPC : 0;
}

static void
directories(void **state)
{
	seen[0] = '\0';
	assert_int_equal(hand_directories_blk(t.s, QUEUE_HOLD, directory, NULL), 0);
	assert_string_equal(seen, "hold\n");
	make("deferred/A");
	make("deferred/A/B"); /* empty ones too */
	make("deferred/name");
	put("deferred/C"); /* a file */
	seen[0] = '\0';
	assert_int_equal(hand_directories_blk(t.s, QUEUE_DEFERRED, directory, NULL), 0);
	assert_string_equal(seen, "deferred\ndeferred/A\ndeferred/A/B\n");
	seen[0] = '\0';
	assert_int_equal(hand_directories_blk(t.s, QUEUE_DEFERRED, directory, seen), -ENOSPC);
	assert_string_equal(seen, "deferred\ndeferred/A\n");
	assert_int_equal(fsio_rmdir(spool_dirfd(t.s), "hold"), 0);
	assert_int_equal(hand_directories_blk(t.s, QUEUE_HOLD, directory, NULL), -ENOENT);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(places, setup, teardown),
	    cmocka_unit_test_setup_teardown(put_right, setup, teardown),
	    cmocka_unit_test_setup_teardown(set_aside, setup, teardown),
	    cmocka_unit_test_setup_teardown(directories, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
