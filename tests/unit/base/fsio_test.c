/*
 * fsio_test.c - file system calls: whole or not at all, never through a link, never over a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/fsio.h"

static char dir_name[64];
static int dir;

static int
setup(void **state)
{
	snprintf(dir_name, sizeof(dir_name), "/tmp/fsio-XXXXXX");
	if (mkdtemp(dir_name) == NULL)
		return -1;
	dir = fsio_open_dir(AT_FDCWD, dir_name);
	return dir < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	static const char *const names[] = {"a", "b", "link", "sub/x", "conf"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlinkat(dir, names[i], 0);
	unlinkat(dir, "sub", AT_REMOVEDIR);
	fsio_close(dir);
	return rmdir(dir_name);
}

static void
create_write_read(void **state)
{
	struct buf b = {.max = 100};
	struct stat st;
	char got[8];
	int fd;

	umask(077);
	fd = fsio_create(dir, "a", 0644);
	assert_true(fd >= 0);
	assert_int_equal(fsio_create(dir, "a", 0600), -EEXIST);
	assert_int_equal(fsio_write(fd, STR("hello")), 0);
	assert_int_equal(fsio_pwrite(fd, STR("J"), 0), 0);
	assert_int_equal(fsio_pread(fd, got, 8, 1), 4);
	assert_memory_equal(got, "ello", 4);
	assert_int_equal(fsio_sync(fd), 0);
	fsio_close(fd);
	assert_int_equal(fsio_stat(dir, "a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fsio_read_all(dir, "a", &b), 0);
	assert_string_equal(buf_cstr(&b), "Jello");
	buf_fini(&b);
	buf_init(&b, 3);
	assert_int_equal(fsio_read_all(dir, "a", &b), -EFBIG);
	buf_fini(&b);
	assert_int_equal(fsio_read_all(dir, "none", &b), -ENOENT);
}

static void
rename_never_overwrites(void **state)
{
	fsio_close(fsio_create(dir, "a", 0600));
	fsio_close(fsio_create(dir, "b", 0600));
	assert_int_equal(fsio_rename(dir, "a", "b"), -EEXIST);
	assert_int_equal(fsio_unlink(dir, "b"), 0);
	assert_int_equal(fsio_rename(dir, "a", "b"), 0);
	assert_int_equal(fsio_rename(dir, "a", "c"), -ENOENT);
	assert_int_equal(fsio_unlink(dir, "a"), -ENOENT);
}

static void
links_are_not_followed(void **state)
{
	fsio_close(fsio_create(dir, "a", 0600));
	assert_int_equal(symlinkat("a", dir, "link"), 0);
	assert_int_equal(fsio_open_read(dir, "link"), -ELOOP);
	assert_int_equal(fsio_open_update(dir, "link"), -ELOOP);
	assert_int_equal(fsio_open_append(dir, "link", 0600), -ELOOP);
	assert_int_equal(fsio_create(dir, "link", 0600), -EEXIST);
}

static void
replace_is_whole(void **state)
{
	struct buf b = {.max = 100};
	struct stat st;

	assert_int_equal(fsio_replace(dir, "conf", STR("one\n"), 0600), 0);
	assert_int_equal(fsio_replace(dir, "conf", STR("two\n"), 0600), 0);
	assert_int_equal(fsio_read_all(dir, "conf", &b), 0);
	assert_string_equal(buf_cstr(&b), "two\n");
	assert_int_equal(fsio_replace(dir, "none/conf", STR("x"), 0600), -ENOENT);
	assert_int_equal(fsio_mkdir(dir, "sub", 0700), 0);
	assert_int_equal(fsio_mkdir(dir, "sub", 0700), -EEXIST);
	fsio_close(fsio_create(dir, "sub/x", 0600));
	assert_int_equal(fsio_set_mtime(dir, "sub/x", 1234567890), 0);
	assert_int_equal(fsio_stat(dir, "sub/x", &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1234567890);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(create_write_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(rename_never_overwrites, setup, teardown),
	    cmocka_unit_test_setup_teardown(links_are_not_followed, setup, teardown),
	    cmocka_unit_test_setup_teardown(replace_is_whole, setup, teardown),
	};

	return cmocka_run_group_tests_name("fsio", tests, NULL, NULL);
}
