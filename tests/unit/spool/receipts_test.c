/*
 * receipts_test.c - what is sealed becomes a mark, and nothing else does.
 */
#include "journal_fixture.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/receipts.h"
#include "spool/receipts.h"

enum { RCPTS = 7 };

struct fixture {
	char dir[64];
	struct spool *spool;
	struct receipts *receipts;
	struct letter letter;
	struct arena arena;
	struct envelope envelope;
	struct recipient *rcpt[RCPTS];
};

static void
load(struct fixture *f)
{
	struct stat st;
	struct buf why;

	arena_fini(&f->arena);
	buf_init(&why, 512);
	assert_int_equal(reader_load_blk(f->spool, QUEUE_ACTIVE, f->letter.id, &f->arena,
			     &f->envelope, &st, &why),
	    0);
	buf_fini(&why);
	assert_int_equal(f->envelope.rcpt_count, RCPTS);
	for (size_t i = 0; i < RCPTS; i++)
		f->rcpt[i] = &f->envelope.rcpt[i];
}

static void
make(struct fixture *f)
{
	*f = (struct fixture){0};
	spool_dir_make(f->dir);
	f->spool = spool_dir_open(f->dir, false, 0);
	letter_make(&f->letter, "12345ABCDEF0", RCPTS, 100);
	assert_int_equal(
	    writer_file_blk(f->spool, QUEUE_ACTIVE, f->letter.id, f->letter.bytes.bytes, 0700), 0);
	assert_int_equal(receipts_new_blk(f->spool, &f->receipts), 0);
	load(f);
}

static void
end(struct fixture *f)
{
	arena_fini(&f->arena);
	letter_free(&f->letter);
	spool_close(f->spool);
	spool_dir_remove(f->dir);
}

/* The process is gone, the file is there. Bits: who is marked. */
static unsigned
kill_and_replay(struct fixture *f)
{
	unsigned done = 0;

	receipts_free(f->receipts);
	assert_true(receipts_left_blk(f->spool));
	assert_int_equal(receipts_replay_blk(f->spool, NULL), 0);
	assert_false(receipts_left_blk(f->spool));
	load(f);
	for (unsigned i = 0; i < RCPTS; i++)
		done |= (unsigned)f->envelope.rcpt[i].done << i;
	return done;
}

static void
signed_are_marked(void **state)
{
	struct fixture f;
	struct receipt *r;

	make(&f);
	r = receipt_new(f.receipts, f.letter.id, f.rcpt, RCPTS);
	receipt_sign(r, 0);
	receipt_sign(r, 3);
	receipt_sign(r, 6);
	receipt_sign(r, 6);
	assert_int_equal(kill_and_replay(&f), 1 << 0 | 1 << 3 | 1 << 6);
	end(&f);
}

static void
dropped_are_not(void **state)
{
	struct fixture f;
	struct receipt *r, *other;

	make(&f);
	r = receipt_new(f.receipts, f.letter.id, f.rcpt, RCPTS);
	receipt_sign(r, 1);
	other = receipt_new(f.receipts, f.letter.id, f.rcpt + 4, 1);
	receipt_sign(other, 0);
	receipt_drop(r);
	/* Its slots have their turn again, and nothing of before is in them. */
	r = receipt_new(f.receipts, f.letter.id, f.rcpt, RCPTS);
	assert_int_equal(kill_and_replay(&f), 1 << 4);
	end(&f);
}

static void
what_is_mixed_up_seals_nothing(void **state)
{
	struct fixture f;
	struct receipt *r;
	struct receipts_slot slot;
	int fd;

	make(&f);
	r = receipt_new(f.receipts, f.letter.id, f.rcpt, 4);
	for (size_t i = 0; i < 4; i++)
		receipt_sign(r, i);
	fd = openat(spool_dirfd(f.spool), RECEIPTS_FILE, O_RDWR);
	assert_int_equal(pread(fd, &slot, sizeof(slot), RECEIPTS_HEAD), sizeof(slot));
	slot.place[0].offset = slot.place[1].offset;
	slot.place[2].seal++;
	slot.place[3].offset = (uint64_t)f.rcpt[5]->offset;
	assert_int_equal(pwrite(fd, &slot, sizeof(slot), RECEIPTS_HEAD), sizeof(slot));
	close(fd);
	assert_int_equal(kill_and_replay(&f), 1 << 1);
	end(&f);
}

static void
there_may_be_no_room(void **state)
{
	struct receipt *all = NULL, *r;
	struct fixture f;
	size_t n = 0;

	make(&f);
	while ((r = receipt_new(f.receipts, f.letter.id, f.rcpt, RCPTS)) != NULL) {
		r->next = all;
		all = r;
		n++;
	}
	assert_int_equal(n, RECEIPTS_SLOTS / 2);
	receipt_sign(NULL, 3);
	receipt_drop(all);
	assert_non_null(receipt_new(f.receipts, f.letter.id, f.rcpt, RCPTS));
	assert_int_equal(kill_and_replay(&f), 0);
	end(&f);
}

static void
ids_go_on_behind_those_of_before(void **state)
{
	char before[SPOOL_ID_MAX], after[SPOOL_ID_MAX];
	struct fixture f;

	make(&f);
	counter_next(f.spool->last_id, INT64_C(4000000000) * 1000000); /* the clock is far ahead */
	spool_id_new(f.spool, before);
	receipts_free(f.receipts);
	spool_close(f.spool); /* without the lock: as if killed */
	f.spool = spool_dir_open(f.dir, false, 0);
	assert_int_equal(receipts_replay_blk(f.spool, NULL), 0);
	spool_id_new(f.spool, after);
	assert_string_equal(before + 5, "EE6B2800");
	assert_string_equal(after + 5, "EE6B2800");
	assert_true(strcmp(after, before) > 0);
	end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(signed_are_marked),
	    cmocka_unit_test(dropped_are_not),
	    cmocka_unit_test(what_is_mixed_up_seals_nothing),
	    cmocka_unit_test(there_may_be_no_room),
	    cmocka_unit_test(ids_go_on_behind_those_of_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
