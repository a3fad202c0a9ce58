/*
 * repair_test.c - a spool that was left in disorder, and each thing that is said about it.
 */
#include "spool_dir.h"
#include "pp/spool/repair.h"

enum { NOW = 1800000000 };

static void
note_down(void *ctx, const struct repair_note *n)
{
	static const char *const words[] = {"requeued", "purged", "moved", "finished", "removed",
	    "removed-directory", "orphan", "bogus", "corrupt", "mode"};

	buf_printf(ctx, "%s %s%s%s%s\n", words[n->what], n->path, n->to ? " " : "",
	    n->to ? n->to : "", n->rc < 0 ? " failed" : "");
}

struct fixture {
	char dir[64];
	struct spool *s;
	struct buf notes;
	int fd;
};

static int
setup(void **state)
{
	struct fixture *f = MEM_NEW(struct fixture);

	spool_dir_make(f->dir);
	f->s = spool_dir_open(f->dir, false, 0);
	f->fd = spool_dirfd(f->s);
	buf_init(&f->notes, 20000);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	buf_fini(&f->notes);
	spool_close(f->s);
	spool_dir_remove(f->dir);
	mem_free(f);
	return 0;
}

static void
put(struct fixture *f, const char *path, mode_t mode, int64_t mtime)
{
	test_write(f->fd, path, STR("x"), mode);
	assert_int_equal(fsio_set_mtime(f->fd, path, mtime), 0);
}

static bool
exists(struct fixture *f, const char *path)
{
	struct stat st;

	return fsio_stat(f->fd, path, &st) == 0;
}

static bool
noted(struct fixture *f, const char *line)
{
	return strstr(buf_cstr(&f->notes), line) != NULL;
}

static void
active_goes_back_to_incoming(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	put(f, "active/AAAAA1", 0700, 5);
	put(f, "active/AAAAA2", 0700, 5);
	put(f, "incoming/AAAAA2", 0700, 6);
	assert_int_equal(repair_active_blk(f->s, NOW, note_down, &f->notes), 0);
	assert_true(noted(f, "requeued active/AAAAA1 incoming/AAAAA1\n"));
	assert_int_equal(fsio_stat(f->fd, "incoming/AAAAA1", &st), 0);
	assert_int_equal(st.st_mtime, NOW);
	/* Two messages of one id: neither is destroyed. */
	assert_true(noted(f, "requeued active/AAAAA2 failed\n"));
	assert_true(exists(f, "active/AAAAA2") && exists(f, "incoming/AAAAA2"));
}

static void
old_half_files_are_purged(void **state)
{
	struct fixture *f = *state;
	const int64_t old = NOW - 7 * 86400 - 1;

	put(f, "incoming/AAAAA1", 0600, old);
	put(f, "incoming/AAAAA2", 0600, NOW - 86400);
	put(f, "incoming/AAAAA3", 0700, old);
	put(f, "incoming/685256.28462", 0600, old);
	put(f, "incoming/685256.28463", 0600, NOW);
	assert_int_equal(repair_purge_blk(f->s, QUEUE_INCOMING, NOW, note_down, &f->notes), 0);
	assert_true(noted(f, "purged incoming/AAAAA1\n"));
	assert_true(noted(f, "purged incoming/685256.28462\n"));
	assert_false(exists(f, "incoming/AAAAA1") || exists(f, "incoming/685256.28462"));
	assert_true(exists(f, "incoming/AAAAA2") && exists(f, "incoming/AAAAA3") &&
		    exists(f, "incoming/685256.28463"));
}

static void
structure(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fsio_mkdir(f->fd, "deferred/A", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deferred/A/B", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deferred/odd", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "deferred/full", 0700), 0);
	put(f, "deferred/A/AAAAA1", 0700, 5);
	put(f, "deferred/AAAAA2", 0700, 5);
	put(f, "deferred/A/B/ABAAA3", 0700, 5);
	put(f, "deferred/BAAAA4#FIX", 0700, 5);
	put(f, "deferred/bogus.name", 0700, 5);
	put(f, "deferred/123.456", 0600, 5);
	put(f, "deferred/2", 0700, 5);
	put(f, "deferred/notes", 0700, 5);
	put(f, "deferred/another", 0700, 5);
	put(f, "deferred/.hidden", 0700, 5);
	put(f, "deferred/full/x", 0600, 5);
	put(f, "deferred/CCCCC5", 0700, 5);
	assert_int_equal(fsio_mkdir(f->fd, "deferred/C", 0700), 0);
	put(f, "deferred/C/CCCCC5", 0700, 5);
	assert_int_equal(symlinkat("/etc/passwd", f->fd, "deferred/AAAAA6"), 0);
	assert_int_equal(repair_structure_blk(f->s, QUEUE_DEFERRED, note_down, &f->notes), 0);
	assert_true(noted(f, "moved deferred/AAAAA2 deferred/A/AAAAA2\n"));
	assert_true(noted(f, "moved deferred/A/B/ABAAA3 deferred/A/ABAAA3\n"));
	assert_true(noted(f, "finished deferred/BAAAA4#FIX deferred/B/BAAAA4\n"));
	assert_true(noted(f, "bogus deferred/bogus.name\n"));
	assert_true(noted(f, "bogus deferred/2\n") && noted(f, "bogus deferred/another\n"));
	assert_true(noted(f, "bogus deferred/.hidden\n") && noted(f, "bogus deferred/123.456\n"));
	assert_true(noted(f, "removed-directory deferred/full failed\n"));
	assert_true(noted(f, "removed-directory deferred/odd\n"));
	assert_true(noted(f, "removed-directory deferred/A/B\n") && !exists(f, "deferred/A/B"));
	assert_true(noted(f, "removed deferred/AAAAA6\n"));
	assert_true(noted(f, "moved deferred/CCCCC5 failed\n"));
	assert_false(noted(f, "AAAAA1"));
	assert_true(exists(f, "deferred/C/CCCCC5") && exists(f, "deferred/CCCCC5"));
	assert_true(exists(f, "deferred/B/BAAAA4") && exists(f, "/etc/passwd"));
	assert_int_equal(repair_structure_blk(f->s, QUEUE_DEFER, note_down, &f->notes), 0);
}

/* Depth and names were changed: files follow, the directories of before go. */
static void
other_depths(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fsio_mkdir(f->fd, "hold/A", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "hold/A/B", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "hold/A/C", 0700), 0);
	assert_int_equal(fsio_mkdir(f->fd, "hold/B", 0700), 0);
	put(f, "hold/A/B/ABAAA1", 0700, 5);
	put(f, "hold/B/no.id", 0700, 5);
	assert_int_equal(repair_structure_blk(f->s, QUEUE_HOLD, note_down, &f->notes), 0);
	assert_true(noted(f, "moved hold/A/B/ABAAA1 hold/ABAAA1\n"));
	assert_true(noted(f, "removed-directory hold/A\n") && !exists(f, "hold/A"));
	assert_true(noted(f, "bogus hold/B/no.id\n") && exists(f, "hold/B/no.id"));
	buf_clear(&f->notes);
	assert_int_equal(repair_structure_blk(f->s, QUEUE_HOLD, note_down, &f->notes), 0);
	assert_string_equal(buf_cstr(&f->notes), "bogus hold/B/no.id\n");
}

static void
logs_without_a_message(void **state)
{
	static const char *const homes[] = {"maildrop/AAAAA1", "incoming/AAAAA2", "active/AAAAA3",
	    "deferred/A/AAAAA4", "hold/AAAAA5", "corrupt/AAAAA6", "deferred/AAAAA7"};
	struct fixture *f = *state;
	char path[64];

	for (size_t i = 0; i < PP_COUNT(homes); i++) {
		snprintf(path, sizeof(path), "bounce/AAAAA%zu", i + 1);
		put(f, path, 0600, NOW - 10);
		fsio_mkdir(f->fd, "deferred/A", 0700);
		put(f, homes[i], 0700, NOW - 10);
	}
	put(f, "bounce/AAAAA8", 0600, NOW - 10);
	put(f, "bounce/AAAAA9", 0600, NOW);
	assert_int_equal(repair_orphans_blk(f->s, QUEUE_BOUNCE, NOW, note_down, &f->notes), 0);
	assert_string_equal(buf_cstr(&f->notes), "orphan bounce/AAAAA8\n");
	assert_false(exists(f, "bounce/AAAAA8"));
	assert_true(exists(f, "bounce/AAAAA9") && exists(f, "bounce/AAAAA1"));
}

/* So many that the names of the messages are walked. */
static void
many_logs(void **state)
{
	static const char *const queues[] = {"deferred", "hold", "corrupt"};
	struct fixture *f = *state;
	char path[64], name[32];
	size_t orphans = 0, told = 0;

	for (int c = 0; c < 16; c++) {
		snprintf(path, sizeof(path), "deferred/%X", c);
		assert_int_equal(fsio_mkdir(f->fd, path, 0700), 0);
	}
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "%05X%05X", i * 7919 & 0xfffff, i);
		snprintf(path, sizeof(path), "bounce/%s", name);
		put(f, path, 0600, i % 100 == 99 ? NOW : NOW - 10);
		if (i % 2 == 0)
			snprintf(path, sizeof(path), "deferred/%c/%s", name[0], name);
		else
			snprintf(path, sizeof(path), "%s/%s", queues[i % PP_COUNT(queues)], name);
		if (i % 10 != 9)
			put(f, path, 0700, NOW - 10);
		else
			orphans += i % 100 != 99;
	}
	/* No message, but of its name. */
	put(f, "bounce/ABCDE1", 0600, NOW - 10);
	assert_int_equal(fsio_mkdir(f->fd, "hold/ABCDE1", 0700), 0);
	assert_int_equal(repair_orphans_blk(f->s, QUEUE_BOUNCE, NOW, note_down, &f->notes), 0);
	assert_true(noted(f, "orphan bounce/ABCDE1\n"));
	for (const char *p = buf_cstr(&f->notes); *p; p++)
		told += *p == '\n';
	assert_int_equal(told, orphans + 1);
	assert_false(noted(f, "00000"));
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(path, sizeof(path), "bounce/%05X%05X", i * 7919 & 0xfffff, i);
		assert_int_equal(exists(f, path), i % 10 != 9 || i % 100 == 99);
	}
}

static void
corrupt_names_stay_free(void **state)
{
	struct fixture *f = *state;
	char path[SPOOL_PATH_MAX];

	for (int i = 0; i < 3; i++) {
		char want[64] = "corrupt/AAAAA1";

		if (i > 0)
			snprintf(want, sizeof(want), "corrupt/AAAAA1.%d", i);
		put(f, "active/AAAAA1", 0400, 5);
		assert_int_equal(repair_corrupt_blk(f->s, QUEUE_ACTIVE, "AAAAA1", path), 0);
		assert_string_equal(path, want);
		assert_true(exists(f, path));
	}
	assert_int_equal(repair_corrupt_blk(f->s, QUEUE_ACTIVE, "AAAAA1", path), -ENOENT);
}

static void
checks_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(repair_check_blk(f->s, geteuid(), (gid_t)-1, note_down, &f->notes), 0);
	assert_int_equal(f->notes.n, 0);
	assert_int_equal(fchmodat(f->fd, "active", 0755, 0), 0);
	assert_int_equal(fsio_rmdir(f->fd, "hold"), 0);
	assert_int_equal(repair_check_blk(f->s, geteuid() + 1, (gid_t)-1, note_down, &f->notes), 0);
	assert_true(noted(f, "mode active has mode 0755, which is more than 0700\n"));
	assert_true(noted(f, "mode hold No such file or directory failed\n"));
	assert_true(noted(f, "mode incoming belongs to uid "));
	assert_false(noted(f, "mode pid"));
	assert_int_equal(fsio_stat(f->fd, "active", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
}

static int
adopt(void *ctx, const struct spool_entry *e)
{
	return spool_adopt_blk(ctx, e);
}

static void
adopting(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fsio_mkdir(f->fd, "deferred/X", 0700), 0);
	put(f, "deferred/X/AAAAA1", 0700, 5); /* at a wrong letter: only a scan finds it */
	assert_int_equal(spool_scan_blk(f->s, QUEUE_DEFERRED, adopt, f->s), 0);
	assert_true(exists(f, "deferred/A/AAAAA1"));
}

int
main(int argc, char **argv)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    WITH(active_goes_back_to_incoming),
	    WITH(old_half_files_are_purged),
	    WITH(structure),
	    WITH(other_depths),
	    WITH(logs_without_a_message),
	    WITH(many_logs),
	    WITH(corrupt_names_stay_free),
	    WITH(checks_change_nothing),
	    WITH(adopting),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
