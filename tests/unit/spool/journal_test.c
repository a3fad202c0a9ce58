/*
 * journal_test.c - messages through a real journal, and what a replay brings back of it: exactly
 * what was acknowledged and is not done, whatever happened to the files in between.
 */
#include "journal_fixture.h"

static struct letter letters[300];

static void
make_letters(size_t n, size_t rcpts, size_t content)
{
	for (size_t i = 0; i < n; i++) {
		char id[32];

		snprintf(id, sizeof(id), "ID%05zu", i);
		letter_make(&letters[i], id, rcpts, content);
	}
}

static void
free_letters(size_t n)
{
	for (size_t i = 0; i < n; i++)
		letter_free(&letters[i]);
}

static void
leave_letters(size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (letters[i].commit.mail)
			journal_leave(letters[i].commit.mail);
}

static bool
every_third(size_t i)
{
	return i % 3 == 0;
}

static bool
nobody(size_t i)
{
	return false;
}

static void
a_kill_leaves_what_is_not_done(void **state)
{
	struct journal_fixture f, copy;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(300, 2, 3000);
	batch_run(&f, letters, 300);
	assert_int_equal(count_files(&f, QUEUE_INCOMING), 0);
	for (size_t i = 0; i < 300; i++) {
		assert_int_equal(letters[i].commit.rc, 0);
		if (i % 2 == 0)
			journal_done(letters[i].commit.mail);
		else
			journal_leave(letters[i].commit.mail);
	}
	journal_fixture_copy(&f, &copy);
	assert_true(journal_is_left_blk(copy.spool));
	assert_int_equal(replay(&copy), 150);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(file_is(&copy, QUEUE_INCOMING, &letters[i]), i % 2 == 1);
	assert_false(journal_is_left_blk(copy.spool));
	assert_int_equal(replay(&copy), 0);
	/* The close does the same. */
	assert_int_equal(journal_fixture_close(&f), 0);
	assert_int_equal(count_files(&f, QUEUE_INCOMING), 150);
	assert_false(journal_is_left_blk(f.spool));
	free_letters(300);
	journal_fixture_free(&copy);
	journal_fixture_free(&f);
}

static void
finished_recipients_stay_finished(void **state)
{
	struct journal_fixture f, copy;
	struct letter few = {0}, many = {0};
	struct journal_mail *m;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	letter_make(&few, "FEW", 1, 100);
	letter_make(&many, "MANY", 1000, 100);
	m = letter_run(&f, &many);
	journal_leave(letter_run(&f, &few));
	journal_fixture_copy(&f, &copy);
	replay(&copy);
	check_done(&copy, QUEUE_INCOMING, &many, nobody);
	journal_fixture_free(&copy);
	for (size_t i = 0; i < 1000; i++)
		if (every_third(i))
			journal_mark(m, i);
	journal_leave(m);
	assert_int_equal(journal_fixture_close(&f), 0);
	check_done(&f, QUEUE_INCOMING, &many, every_third);
	check_done(&f, QUEUE_INCOMING, &few, nobody);
	letter_free(&few);
	letter_free(&many);
	journal_fixture_free(&f);
}

/* Bytes of the first segment of a copy. */
static void
scribble(const struct journal_fixture *f, off_t at, struct str bytes)
{
	int fd = fsio_open_update(spool_dirfd(f->spool), "journal/0");

	assert_true(fd >= 0);
	assert_int_equal(fsio_pwrite(fd, bytes, at), 0);
	fsio_close(fd);
}

/* One byte of it is another. */
static void
flip(const struct journal_fixture *f, off_t at)
{
	int fd = fsio_open_update(spool_dirfd(f->spool), "journal/0");
	char c;

	assert_int_equal(fsio_pread(fd, &c, 1, at), 1);
	c = (char)~c;
	assert_int_equal(fsio_pwrite(fd, (struct str){&c, 1}, at), 0);
	fsio_close(fd);
}

static void
cut_off(const struct journal_fixture *f, off_t size)
{
	int fd = fsio_open_update(spool_dirfd(f->spool), "journal/0");

	assert_true(fd >= 0);
	assert_int_equal(fsio_truncate(fd, size), 0);
	fsio_close(fd);
}

static void
what_is_torn_ends_it(void **state)
{
	struct journal_fixture f, copy;
	off_t third;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(5, 1, 1000);
	batch_run(&f, letters, 5);
	third = JOURNAL_FRONT +
		2 * (off_t)JOURNAL_UNIT * journal_entry_units(7, letters[0].bytes.bytes.n, 1);
	/* In its head, its id, its content; before those, and behind. */
	for (off_t at = 0; at < 1000; at += 37) {
		journal_fixture_copy(&f, &copy);
		scribble(&copy, third + at, STR("\xff\xfe\xfd"));
		assert_int_equal(replay(&copy), 2);
		assert_true(file_is(&copy, QUEUE_INCOMING, &letters[0]));
		assert_true(file_is(&copy, QUEUE_INCOMING, &letters[1]));
		journal_fixture_free(&copy);
	}
	/* Cut off. */
	for (off_t at = 0; at < 1000; at += 99) {
		journal_fixture_copy(&f, &copy);
		cut_off(&copy, third + at);
		assert_int_equal(replay(&copy), 2);
		journal_fixture_free(&copy);
	}
	leave_letters(5);
	assert_int_equal(journal_fixture_close(&f), 0);
	free_letters(5);
	journal_fixture_free(&f);
}

static void
damaged_heads_are_kept_aside(void **state)
{
	struct journal_fixture f, copy;
	unsigned damaged = 0;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(2, 1, 1000);
	batch_run(&f, letters, 2);
	leave_letters(2);
	for (off_t at = 0; at < (off_t)sizeof(struct journal_head); at++) {
		struct stat st;

		journal_fixture_copy(&f, &copy);
		flip(&copy, at);
		if (at == 20) /* the name is taken */
			test_write(spool_dirfd(copy.spool), "journal/0.damaged", STR("x"), 0600);
		assert_int_equal(journal_replay_blk(copy.spool, (uid_t)-1, (gid_t)-1, &damaged), 0);
		assert_int_equal(damaged, 1);
		assert_false(journal_is_left_blk(copy.spool));
		assert_int_equal(fsio_stat(spool_dirfd(copy.spool),
				     at == 20 ? "journal/0.damaged.1" : "journal/0.damaged", &st),
		    0);
		assert_true(st.st_size > JOURNAL_FRONT);
		journal_fixture_free(&copy);
	}
	assert_int_equal(journal_fixture_close(&f), 0);
	free_letters(2);
	journal_fixture_free(&f);
}

static void
foreign_files_do_not_matter(void **state)
{
	static const char *const empty[] = {"journal/3", "journal/77"};
	static const char *const foreign[] = {
	    "journal/007", "journal/x", "journal/1.damaged", "journal/99999999999999"};
	struct journal_fixture f;
	struct stat st;
	char blank[JOURNAL_FRONT / 2] = {0};

	journal_fixture_make(&f);
	for (size_t i = 0; i < PP_COUNT(foreign); i++)
		test_write(spool_dirfd(f.spool), foreign[i], STR("foreign"), 0600);
	test_write(spool_dirfd(f.spool), empty[0], STR(""), 0600);
	test_write(spool_dirfd(f.spool), empty[1], (struct str){blank, sizeof(blank)}, 0600);
	assert_int_equal(mkdirat(spool_dirfd(f.spool), "journal/0", 0700), 0);
	assert_int_equal(symlinkat("x", spool_dirfd(f.spool), "journal/1"), 0);
	assert_int_equal(mkfifoat(spool_dirfd(f.spool), "journal/2", 0600), 0);
	assert_int_equal(replay(&f), 0);
	for (size_t i = 0; i < PP_COUNT(foreign); i++)
		assert_int_equal(fsio_stat(spool_dirfd(f.spool), foreign[i], &st), 0);
	for (size_t i = 0; i < PP_COUNT(empty); i++)
		assert_int_equal(fsio_stat(spool_dirfd(f.spool), empty[i], &st), -ENOENT);
	assert_false(journal_is_left_blk(f.spool));
	/* Names that are taken are not tried again. */
	journal_fixture_open(&f);
	make_letters(4, 1, 1000);
	for (size_t i = 0; i < 4; i++) {
		batch_run(&f, &letters[i], 1);
		assert_int_equal(letters[i].commit.rc, i < 3 ? -EEXIST : 0);
	}
	leave_letters(4);
	assert_int_equal(journal_fixture_close(&f), 0);
	assert_int_equal(count_files(&f, QUEUE_INCOMING), 1);
	free_letters(4);
	journal_fixture_free(&f);
}

/* 200 KiB each: a segment takes 41 of them. */
enum { BIG = 200 * 1024, FIT = 41 };

static void
the_ring_fills_and_is_used_again(void **state)
{
	struct journal_fixture f, copy;
	size_t taken = 0;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(100, 1, BIG);
	batch_run(&f, letters, 100);
	for (size_t i = 0; i < 100; i++) {
		taken += letters[i].commit.rc == 0;
		assert_int_equal(letters[i].commit.rc, i < taken ? 0 : -ENOSPC);
	}
	assert_in_range(taken, 2 * FIT - 2, 2 * FIT + 2);
	/* All but one of the oldest segment: still full. */
	for (size_t i = 1; i < taken; i++)
		journal_done(letters[i].commit.mail);
	batch_run(&f, &letters[99], 1);
	assert_int_equal(letters[99].commit.rc, -ENOSPC);
	journal_done(letters[0].commit.mail);
	/* Round and round: never anything of the past. */
	for (int turn = 0; turn < 12; turn++) {
		batch_run(&f, letters, 30);
		for (size_t i = 0; i < 30; i++) {
			assert_int_equal(letters[i].commit.rc, 0);
			if (i != 7)
				journal_done(letters[i].commit.mail);
		}
		journal_fixture_copy(&f, &copy);
		assert_int_equal(replay(&copy), 1);
		assert_true(file_is(&copy, QUEUE_INCOMING, &letters[7]));
		journal_fixture_free(&copy);
		journal_done(letters[7].commit.mail);
	}
	journal_fixture_copy(&f, &copy);
	assert_int_equal(replay(&copy), 0);
	journal_fixture_free(&copy);
	assert_int_equal(journal_fixture_close(&f), 0);
	assert_int_equal(count_files(&f, QUEUE_INCOMING), 0);
	free_letters(100);
	journal_fixture_free(&f);
}

/* The body of a mail that looks like an entry, exactly where the walk comes: at the end of what a
 * younger life of the segment has written. */
static void
a_body_is_no_entry(void **state)
{
	struct journal_fixture f, copy;
	struct journal_head head;
	struct str id = STR("FORGED"), file = letters[0].bytes.bytes;
	struct journal_entry_head e;
	struct buf b;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(1, 1, 1000);
	journal_leave(letter_run(&f, &letters[0]));
	file = letters[0].bytes.bytes;
	journal_fixture_copy(&f, &copy);
	assert_true(test_read(&b, "%s/journal/0", copy.dir));
	memcpy(&head, b.p, sizeof(head));
	buf_fini(&b);
	head.salt = 0; /* all but that can be guessed */
	journal_entry_fill(&e, &head, journal_entry_units(id.n, file.n, 1),
	    journal_content_hash(id, file), id, file.n);
	buf_init(&b, 10000);
	buf_add(&b, (struct str){(const char *)&e, sizeof(e)});
	buf_add(&b, id);
	buf_add(&b, file);
	scribble(&copy, JOURNAL_FRONT + (off_t)JOURNAL_UNIT * journal_entry_units(7, file.n, 1),
	    buf_str(&b));
	assert_int_equal(replay(&copy), 1);
	buf_fini(&b);
	assert_int_equal(journal_fixture_close(&f), 0);
	free_letters(1);
	journal_fixture_free(&copy);
	journal_fixture_free(&f);
}

/* A file of that name is there before the replay. */
struct there {
	enum queue queue;
	mode_t mode;
	size_t length; /* 0 = all of it */
	int scribbled; /* bytes changed */
	bool is_kept, is_marked;
};

static void
check_there(const struct journal_fixture *f, const struct there *t)
{
	struct journal_fixture copy;
	char path[SPOOL_PATH_MAX];
	struct buf b;
	struct str s = letters[0].bytes.bytes;

	journal_fixture_copy(f, &copy);
	spool_path(copy.spool, t->queue, letters[0].id, path);
	if (t->queue == QUEUE_DEFERRED)
		assert_int_equal(mkdirat(spool_dirfd(copy.spool), "deferred/I", 0700), 0);
	buf_init(&b, 1 << 20);
	buf_add(&b, str_head(s, t->length ? t->length : s.n));
	for (int i = 0; i < t->scribbled; i++)
		b.p[300 + i] = '\0';
	if (t->is_marked)
		*(char *)memmem(b.p, b.n, "R\tr0@x", 6) = REC_DONE;
	test_write(spool_dirfd(copy.spool), path, buf_str(&b), t->mode);
	assert_int_equal(replay(&copy), t->is_kept ? 0 : 1);
	if (t->is_kept) {
		struct buf now;

		assert_true(file_read(&copy, t->queue, letters[0].id, &now));
		assert_true(str_eq(buf_str(&now), buf_str(&b)));
		assert_int_equal(
		    count_files(&copy, QUEUE_INCOMING), t->queue == QUEUE_INCOMING ? 1 : 0);
		buf_fini(&now);
	} else {
		assert_true(file_is(&copy, QUEUE_INCOMING, &letters[0]));
		assert_int_equal(count_files(&copy, QUEUE_ACTIVE), 0);
	}
	assert_false(journal_is_left_blk(copy.spool));
	buf_fini(&b);
	journal_fixture_free(&copy);
}

static void
files_that_are_there(void **state)
{
	static const struct there cases[] = {
	    {QUEUE_INCOMING, 0700, 0, 0, true, false},
	    {QUEUE_INCOMING, 0600, 0, 0, false, false}, /* whole, and nobody would look at it */
	    {QUEUE_INCOMING, 0600, 200, 0, false, false},
	    {QUEUE_INCOMING, 0700, 0, 100, false, false}, /* a power loss does that */
	    {QUEUE_ACTIVE, 0700, 0, 0, true, false},
	    {QUEUE_ACTIVE, 0700, 0, 0, true, true},
	    {QUEUE_ACTIVE, 0700, 0, 100, false, false},
	    {QUEUE_ACTIVE, 0600, 0, 0, false, false},
	    {QUEUE_ACTIVE, 0600, 100, 0, false, false},
	    {QUEUE_DEFERRED, 0700, 0, 0, true, false},
	    {QUEUE_HOLD, 0700, 0, 0, true, false},
	    {QUEUE_CORRUPT, 0700, 0, 0, true, false},
	};
	struct journal_fixture f;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(1, 2, 2000);
	journal_leave(letter_run(&f, &letters[0]));
	for (size_t i = 0; i < PP_COUNT(cases); i++)
		check_there(&f, &cases[i]);
	assert_int_equal(journal_fixture_close(&f), 0);
	free_letters(1);
	journal_fixture_free(&f);
}

static void
a_replay_that_fails_takes_its_files_back(void **state)
{
	struct journal_fixture f, copy;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	make_letters(20, 1, 1000);
	batch_run(&f, letters, 20);
	leave_letters(20);
	journal_fixture_copy(&f, &copy);
	/* A directory where a file is to be: neither can it be made, nor removed. */
	assert_int_equal(mkdirat(spool_dirfd(copy.spool), "incoming/ID00011", 0700), 0);
	assert_true(replay(&copy) < 0);
	assert_true(journal_is_left_blk(copy.spool));
	assert_int_equal(count_files(&copy, QUEUE_INCOMING), 0);
	assert_true(replay(&copy) < 0);
	assert_int_equal(unlinkat(spool_dirfd(copy.spool), "incoming/ID00011", AT_REMOVEDIR), 0);
	assert_int_equal(replay(&copy), 20);
	for (size_t i = 0; i < 20; i++)
		assert_true(file_is(&copy, QUEUE_INCOMING, &letters[i]));
	assert_int_equal(journal_fixture_close(&f), 0);
	free_letters(20);
	journal_fixture_free(&copy);
	journal_fixture_free(&f);
}

static void
messages_at_the_limits(void **state)
{
	struct journal_fixture f;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	assert_true(journal_takes(f.journal, 0));
	assert_true(journal_takes(f.journal, 256 * 1024));
	assert_false(journal_takes(f.journal, 256 * 1024 + 1));
	/* Who asks for more than a segment holds is told so, and others go on. */
	letter_make(&letters[0], "HUGE", 1, JOURNAL_UNITS * (size_t)JOURNAL_UNIT);
	letter_make(&letters[1], "WHOLE", 1,
	    JOURNAL_UNITS * (size_t)JOURNAL_UNIT - 400); /* nearly all of one */
	letter_make(&letters[2], "SMALL", 1, 100);
	batch_run(&f, letters, 3);
	assert_int_equal(letters[0].commit.rc, -EFBIG);
	assert_int_equal(letters[1].commit.rc, 0);
	assert_int_equal(letters[2].commit.rc, 0);
	leave_letters(3);
	assert_int_equal(journal_fixture_close(&f), 0);
	assert_int_equal(count_files(&f, QUEUE_INCOMING), 2);
	free_letters(3);
	journal_fixture_free(&f);
}

struct sender {
	struct loop *loop;
	struct batch batch;
	struct letter own[200];
	size_t next;
};

static void sender_next(struct sender *s);

static void
sender_answered(struct journal_commit *c)
{
	struct letter *l = PP_CONTAINER(c, struct letter, commit);
	struct sender *s = PP_CONTAINER(l->batch, struct sender, batch);

	assert_int_equal(c->rc, 0);
	journal_mark(c->mail, 0);
	if (++s->batch.answered == 200)
		loop_stop(s->loop);
	if (s->batch.answered % 4 == 0)
		journal_leave(c->mail);
	else
		journal_done(c->mail);
	sender_next(s);
}

static void
sender_next(struct sender *s)
{
	struct letter *l = &s->own[s->next];

	if (s->next == 200)
		return;
	s->next++;
	l->batch = &s->batch;
	l->commit.done = sender_answered;
	journal_append(s->batch.journal, &l->commit);
}

static void
sender_begin(struct post *p)
{
	struct sender *s = PP_CONTAINER(p, struct sender, batch.post);

	for (int i = 0; i < 8; i++)
		sender_next(s);
}

static void
many_loops_at_once(void **state)
{
	enum { LOOPS = 4 };
	struct sender *senders = mem_alloc(LOOPS * sizeof(*senders));
	struct journal_fixture f;

	journal_fixture_make(&f);
	journal_fixture_open(&f);
	for (int n = 0; n < LOOPS; n++) {
		struct sender *s = &senders[n];

		for (size_t i = 0; i < 200; i++) {
			char id[32];

			snprintf(id, sizeof(id), "L%dX%05zu", n, i);
			letter_make(&s->own[i], id, 2, 100 + 150 * i);
		}
		s->loop = loop_new("sender");
		s->batch.journal = f.journal;
		post_to(s->loop, &s->batch.post, sender_begin);
		assert_int_equal(loop_start(s->loop), 0);
	}
	for (int n = 0; n < LOOPS; n++) {
		loop_join(senders[n].loop);
		loop_free(senders[n].loop);
	}
	assert_int_equal(journal_fixture_close(&f), 0);
	assert_int_equal(count_files(&f, QUEUE_INCOMING), LOOPS * 50);
	for (int n = 0; n < LOOPS; n++)
		for (size_t i = 0; i < 200; i++)
			letter_free(&senders[n].own[i]);
	mem_free(senders);
	journal_fixture_free(&f);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_kill_leaves_what_is_not_done),
	    cmocka_unit_test(finished_recipients_stay_finished),
	    cmocka_unit_test(what_is_torn_ends_it),
	    cmocka_unit_test(damaged_heads_are_kept_aside),
	    cmocka_unit_test(foreign_files_do_not_matter),
	    cmocka_unit_test(the_ring_fills_and_is_used_again),
	    cmocka_unit_test(a_body_is_no_entry),
	    cmocka_unit_test(files_that_are_there),
	    cmocka_unit_test(a_replay_that_fails_takes_its_files_back),
	    cmocka_unit_test(messages_at_the_limits),
	    cmocka_unit_test(many_loops_at_once),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
