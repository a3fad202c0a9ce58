/*
 * journal_kept_test.c - mail that a run left in the journal, and a start takes over from there.
 */
#include "journal_fixture.h"

enum { LETTERS = 20 };

static struct letter letters[LETTERS];

struct arrivals {
	struct spool_arrival *of[LETTERS];
	size_t n;
};

static void
arrived(void *ctx, struct spool_arrival *a)
{
	struct arrivals *all = ctx;

	all->of[all->n++] = a;
}

static bool
is_first(size_t i)
{
	return i == 0;
}

/* Files that are there count, half ones go, and what is
 * marked stays so. */
static void
what_was_young_stays_so(void **state)
{
	struct arrivals all = {.n = 0};
	struct journal_fixture f, copy;
	struct journal_kept *kept;
	unsigned damaged;
	char id[32];

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	for (size_t i = 0; i < LETTERS; i++) {
		snprintf(id, sizeof(id), "ID%05zu", i);
		letter_make(&letters[i], id, 2, 1000);
	}
	batch_run(&f, letters, LETTERS);
	journal_mark(letters[5].commit.mail, 0);
	for (size_t i = 0; i < LETTERS; i++)
		journal_leave(letters[i].commit.mail);
	journal_fixture_copy(&f, &copy);
	assert_int_equal(writer_file_blk(copy.spool, QUEUE_INCOMING, letters[3].id,
			     letters[3].bytes.bytes, 0700),
	    0);
	assert_int_equal(writer_file_blk(copy.spool, QUEUE_ACTIVE, letters[4].id,
			     str_head(letters[4].bytes.bytes, 100), 0700),
	    0);
	assert_int_equal(journal_put_in_order_blk(copy.spool, &damaged), 19);
	assert_int_equal(journal_put_in_order_blk(copy.spool, &damaged), 19);
	assert_int_equal(count_files(&copy, QUEUE_ACTIVE), 0);
	copy.loop = loop_new("journal");
	copy.journal = journal_new(copy.spool, copy.loop, &copy.o);
	assert_int_equal(journal_adopt_blk(copy.journal, &kept), 0);
	assert_int_equal(loop_start(copy.loop), 0);
	assert_int_equal(journal_kept_next_blk(kept, arrived, &all), 1);
	assert_int_equal(journal_kept_next_blk(kept, arrived, &all), 0);
	assert_int_equal(all.n, 19);
	journal_kept_free(kept);
	/* New mail goes behind it, and one of the old is delivered. */
	journal_done(all.of[0]->mail);
	all.of[0]->mail = NULL;
	for (size_t i = 0; i < 19; i++)
		spool_arrival_free(all.of[i]);
	snprintf(letters[0].id, sizeof(letters[0].id), "NEW");
	journal_leave(letter_run(&copy, &letters[0]));
	assert_int_equal(journal_fixture_close(&copy), 0);
	assert_int_equal(count_files(&copy, QUEUE_INCOMING), 20);
	assert_true(file_is(&copy, QUEUE_INCOMING, &letters[0]));
	assert_true(file_is(&copy, QUEUE_INCOMING, &letters[19]));
	check_done(&copy, QUEUE_INCOMING, &letters[5], is_first);
	assert_int_equal(journal_fixture_close(&f), 0);
	for (size_t i = 0; i < LETTERS; i++)
		letter_free(&letters[i]);
	journal_fixture_free(&copy);
	journal_fixture_free(&f);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_young_stays_so),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
