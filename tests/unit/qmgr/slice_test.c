/*
 * slice_test.c - messages with more recipients than there is room for in memory.
 */
#include "qmgr_fixture.h"

/* Recipients that have no room are read part by part: each is tried once and has its own result,
 * and no more of them are out than the limit says. */
static void
recipients_in_slices(void **state)
{
	char names[60][24];
	const char *to[60];
	struct deferlog_entry *e;
	struct arena a = {0};
	size_t n;

	for (unsigned i = 0; i < 60; i++) {
		snprintf(names[i], sizeof names[i], "%s%u@d%u.test",
		    i % 10 == 3   ? "temp"
		    : i % 10 == 7 ? "perm"
				  : "ok",
		    i, i % 7);
		to[i] = names[i];
	}
	open_with_more("qmgr_message_recipient_limit=8", "qmgr_message_recipient_minimum=2", NULL);
	put("", to, 60);
	run_slowly("deferred", 1);
	assert_true(t.most_out <= 8);
	assert_int_equal(t.asked, 60);
	assert_int_equal(open_recipients(t.r.id, QUEUE_DEFERRED), 6);
	assert_int_equal(deferlog_read_blk(t.r.spool, QUEUE_DEFER, t.r.id, &a, &e, &n), 0);
	assert_int_equal(n, 6);
	for (size_t i = 0; i < n; i++)
		assert_true(str_starts(str_of(e[i].recipient), STR("temp")));
	arena_fini(&a);
	/* Those that are left are tried again, and no others. */
	t.after_start = flush_now;
	run_slowly("deferred", 1);
	assert_int_equal(t.asked, 6);
	run_close(&t.r);
}

static const char *const many[] = {"ok1@a.test", "ok2@a.test", "ok3@a.test", "ok4@a.test",
    "ok5@a.test", "ok6@a.test", "ok7@a.test", "ok8@a.test", "ok9@a.test"};

/* However full memory is, each message has its minimum, so that one does not wait for another. */
static void
minimum_for_each(void **state)
{
	open_with_more("qmgr_message_recipient_limit=1", "qmgr_message_recipient_minimum=2", NULL);
	for (int i = 0; i < 3; i++)
		put("s@x.test", many, 9);
	run_slowly("removed", 3);
	assert_int_equal(t.asked, 27);
	assert_true(t.most_out <= 6);
	run_close(&t.r);
}

/* A transport that has its share in memory gets no more, whatever room there is. */
static void
transport_has_a_limit(void **state)
{
	open_with_more("qmgr_message_recipient_minimum=2", "qmgr_message_recipient_limit=6",
	    "smtp_recipient_limit=2");
	put("s@x.test", many, 9);
	run_slowly("removed", 1);
	assert_int_equal(t.asked, 9);
	assert_int_equal(
	    t.attempts, 4); /* 3 and 3, for it was not known yet whose they are; 2; 1 */
	run_close(&t.r);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recipients_in_slices),
	    cmocka_unit_test(minimum_for_each),
	    cmocka_unit_test(transport_has_a_limit),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
