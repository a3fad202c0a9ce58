/*
 * journal_marks_test.c - what a commit waits for: its own bytes, and nothing else of the segment.
 */
#include <semaphore.h>
#include <sys/syscall.h>
#include <time.h>
#include "journal_fixture.h"

static sem_t synced;
static _Atomic unsigned alone; /* writes that are syncs of themselves only */

int
fdatasync(int fd)
{
	int rc = (int)syscall(SYS_fdatasync, fd);

	sem_post(&synced);
	return rc;
}

ssize_t
pwritev2(int fd, const struct iovec *v, int count, off_t at, int flags)
{
	alone += flags == RWF_DSYNC;
	return syscall(SYS_pwritev2, fd, v, (long)count, (long)at, 0L, (long)flags);
}

/* They are written a second later, when nobody waits for it. */
static void
a_commit_does_not_wait_for_marks(void **state)
{
	struct timespec until = {.tv_sec = time(NULL) + 20};
	static const char *const ids[] = {"ID1", "ID2", "ID3"};
	struct letter letters[3] = {0};
	struct journal_fixture f;
	struct journal_mail *m;

	sem_init(&synced, 0, 0);
	alone = 0;
	journal_fixture_make(&f);
	journal_fixture_open(&f);
	for (size_t i = 0; i < PP_COUNT(letters); i++)
		letter_make(&letters[i], ids[i], 1, 100);
	m = letter_run(&f, &letters[0]);
	while (sem_trywait(&synced) == 0)
		continue;
	journal_leave(letter_run(&f, &letters[1]));
	assert_int_equal(alone, 1);
	assert_int_equal(sem_trywait(&synced), -1);
	journal_done(m);
	assert_int_equal(sem_timedwait(&synced, &until), 0);
	journal_leave(letter_run(&f, &letters[2]));
	assert_int_equal(alone, 2);
	assert_int_equal(journal_fixture_close(&f), 0);
	for (size_t i = 0; i < PP_COUNT(letters); i++)
		letter_free(&letters[i]);
	journal_fixture_free(&f);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_commit_does_not_wait_for_marks),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
