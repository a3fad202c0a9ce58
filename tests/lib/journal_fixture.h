/*
 * journal_fixture.h - a spool with a journal, messages to put into it, and what a replay of its
 * files brings back.
 */
#pragma once
#include "spool_dir.h"
#include "pp/runtime/loop.h"
#include "pp/spool/journal.h"
#include "pp/spool/reader.h"
#include "pp/spool/writer.h"
#include "spool/journal.h"

struct letter {
	struct journal_commit commit;
	struct spool_bytes bytes;
	char id[SPOOL_ID_MAX];
	struct batch *batch;
};

/* Messages that are committed together, on a loop of their own. */
struct batch {
	struct post post;
	struct loop *loop;
	struct journal *journal;
	struct letter *letters;
	size_t n, answered;
};

struct journal_fixture {
	char dir[64];
	struct spool *spool;
	struct loop *loop;
	struct journal *journal;
	struct journal_options o;
};

static inline void
letter_bytes_gone(struct snap *snap)
{
	(void)snap;
}

/* A queue file with so many recipients, and about so many bytes of content. */
static inline void
letter_make(struct letter *l, const char *id, size_t rcpts, size_t content)
{
	struct record_size size = {.rcpt_count = (int64_t)rcpts};
	char line[61];
	struct buf b;

	memset(line, 'x', sizeof(line));
	snprintf(l->id, sizeof(l->id), "%s", id);
	buf_init(&b, 64 << 20);
	record_put_size(&b, &size);
	record_putf(&b, REC_TIME, "%d %d", 1795295131, 5);
	record_put(&b, REC_SENDER, STR("s@x.test"));
	for (size_t i = 0; i < rcpts; i++)
		record_putf(&b, REC_RCPT, "r%zu@x.test", i);
	record_put(&b, REC_CONTENT, STR(""));
	size.data_offset = (int64_t)b.n;
	record_putf(&b, REC_LINE, "Subject: %s", id);
	while (b.n < content)
		record_put(&b, REC_LINE, (struct str){line, sizeof(line)});
	size.data_size = size.content_length = (int64_t)b.n - size.data_offset;
	record_put(&b, REC_EXTRACTED, STR(""));
	record_put(&b, REC_END, STR(""));
	/* The size record stands first and has always the same length. */
	{
		struct buf head;

		buf_init(&head, 1024);
		record_put_size(&head, &size);
		memcpy(b.p, head.p, head.n);
		buf_fini(&head);
	}
	snap_init(&l->bytes.snap, letter_bytes_gone);
	l->bytes.bytes = (struct str){b.p, b.n};
	l->commit = (struct journal_commit){.bytes = &l->bytes, .id = l->id, .rcpt_count = rcpts};
}

static inline void
letter_free(struct letter *l)
{
	mem_free((void *)(uintptr_t)l->bytes.bytes.p);
	l->bytes.bytes.p = NULL;
}

static inline void
letter_answered(struct journal_commit *c)
{
	struct batch *b = PP_CONTAINER(c, struct letter, commit)->batch;

	assert_ptr_equal(loop_current(), b->loop);
	assert_true((c->rc == 0) == (c->mail != NULL));
	if (++b->answered == b->n)
		loop_stop(b->loop);
}

static inline void
batch_begin(struct post *p)
{
	struct batch *b = PP_CONTAINER(p, struct batch, post);

	for (size_t i = 0; i < b->n; i++) {
		b->letters[i].batch = b;
		b->letters[i].commit.done = letter_answered;
		journal_append(b->journal, &b->letters[i].commit);
	}
}

/* Commits all of them and waits for the answers. */
static inline void
batch_run(struct journal_fixture *f, struct letter *letters, size_t n)
{
	struct batch b = {.journal = f->journal, .letters = letters, .n = n};

	b.loop = loop_new("batch");
	post_to(b.loop, &b.post, batch_begin);
	loop_run(b.loop);
	loop_free(b.loop);
	assert_int_equal(b.answered, n);
}

/* One message, committed; its place in the journal. */
static inline struct journal_mail *
letter_run(struct journal_fixture *f, struct letter *l)
{
	batch_run(f, l, 1);
	assert_int_equal(l->commit.rc, 0);
	return l->commit.mail;
}

static inline void
journal_fixture_make(struct journal_fixture *f)
{
	const char *memory = "/dev/shm/pp-test-XXXXXX";

	*f = (struct journal_fixture){
	    .o = {.size_limit = 2 * (int64_t)JOURNAL_SIZE, .message_limit = 256 * 1024}};
	snprintf(f->dir, sizeof(f->dir), "%s", memory);
	if (mkdtemp(f->dir) == NULL)
		spool_dir_make(f->dir);
	f->spool = spool_dir_open(f->dir, false, 64 << 20);
}

static inline void
journal_fixture_open(struct journal_fixture *f)
{
	f->loop = loop_new("journal");
	f->journal = journal_new(f->spool, f->loop, &f->o);
	assert_int_equal(loop_start(f->loop), 0);
}

static inline int
journal_fixture_close(struct journal_fixture *f)
{
	loop_stop(f->loop);
	loop_join(f->loop);
	loop_free(f->loop);
	return journal_close(f->journal);
}

static inline void
journal_fixture_free(struct journal_fixture *f)
{
	spool_close(f->spool);
	spool_dir_remove(f->dir);
}

static inline void
copy_one(const struct journal_fixture *from, const struct journal_fixture *to, const char *name)
{
	struct buf b;
	char path[128];

	assert_true(test_read(&b, "%s/journal/%s", from->dir, name));
	snprintf(path, sizeof(path), "journal/%s", name);
	test_write(spool_dirfd(to->spool), path, buf_str(&b), 0600);
	buf_fini(&b);
}

/* What a kill at this moment leaves of the journal, in a spool of its own. */
static inline void
journal_fixture_copy(const struct journal_fixture *from, struct journal_fixture *to)
{
	char path[128];
	struct dirent *e;
	DIR *d;

	journal_fixture_make(to);
	snprintf(path, sizeof(path), "%s/journal", from->dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			copy_one(from, to, e->d_name);
	closedir(d);
}

static inline int64_t
replay(const struct journal_fixture *f)
{
	return journal_replay_blk(f->spool, (uid_t)-1, (gid_t)-1, NULL);
}

static inline void
arrival_seen(void *ctx, struct spool_arrival *a)
{
	*(int64_t *)ctx += a->mail != NULL;
	spool_arrival_free(a);
}

/* The other way, that of a start: how many messages were taken over. They are left in the journal,
 * whose end makes them files. */
static inline int64_t
take_over(struct journal_fixture *f)
{
	struct journal_kept *kept;
	unsigned damaged;
	int64_t n = journal_put_in_order_blk(f->spool, &damaged), taken = 0;
	int rc = n < 0 ? (int)n : 0;

	if (rc < 0)
		return rc;
	f->loop = loop_new("journal");
	f->journal = journal_new(f->spool, f->loop, &f->o);
	rc = journal_adopt_blk(f->journal, &kept);
	assert_int_equal(loop_start(f->loop), 0);
	while (rc >= 0 && (rc = journal_kept_next_blk(kept, arrival_seen, &taken)) > 0)
		continue;
	journal_kept_free(kept);
	if (rc == 0)
		rc = journal_fixture_close(f);
	assert_true(rc < 0 || n == taken);
	return rc < 0 ? rc : taken;
}

static inline int
count_file(void *ctx, const struct spool_entry *e)
{
	*(int *)ctx += spool_ready(&e->st);
	return 0;
}

/* Mail in that queue. */
static inline int
count_files(const struct journal_fixture *f, enum queue q)
{
	int n = 0;

	assert_int_equal(spool_scan_blk(f->spool, q, count_file, &n), 0);
	return n;
}

static inline bool
file_read(const struct journal_fixture *f, enum queue q, const char *id, struct buf *to)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;

	spool_path(f->spool, q, id, path);
	return test_read(to, "%s/%s", f->dir, path) &&
	       fsio_stat(spool_dirfd(f->spool), path, &st) == 0 && spool_ready(&st);
}

/* Mail, there, and exactly what was committed. */
static inline bool
file_is(const struct journal_fixture *f, enum queue q, const struct letter *l)
{
	struct buf b;
	bool same = file_read(f, q, l->id, &b) && str_eq(buf_str(&b), l->bytes.bytes);

	buf_fini(&b);
	return same;
}

/* Of a queue file: are exactly these recipients finished? */
static inline void
check_done(const struct journal_fixture *f, enum queue q, const struct letter *l,
    bool (*is_done)(size_t i))
{
	struct arena a = {0};
	struct envelope e;
	struct reader *r;
	struct buf b, why;

	buf_init(&why, 1024);
	assert_true(file_read(f, q, l->id, &b));
	r = reader_open_bytes(buf_str(&b));
	assert_int_equal(reader_envelope(r, READER_QUEUE, &a, &e, &why), 0);
	assert_int_equal(e.rcpt_count, l->commit.rcpt_count);
	for (size_t i = 0; i < e.rcpt_count; i++)
		assert_int_equal(e.rcpt[i].done, is_done(i));
	reader_close(r);
	arena_fini(&a);
	buf_fini(&b);
	buf_fini(&why);
}
