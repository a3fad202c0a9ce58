/*
 * listing_test.c - entries from files, and the showq protocol both ways, in pieces of any size.
 */
#include "spool_dir.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/listing.h"
#include "pp/spool/reader.h"

/* What Postfix 3.7 says on public/showq, byte for byte. */
static const char protocol[] = "protocol\0mail_queue_list_protocol\0\0";
static const char message[] =
    "queue_name\0hold\0queue_id\0B9EABA72909\0time\0"
    "1795305142\0size\0"
    "287\0forced_expire\0"
    "1\0sender\0s@ok.test\0recipient\0r0@refused.test\0reason\0connect to "
    "127.0.0.1[127.0.0.1]:1: Connection refused\0recipient\0\"x y\"@refused.test\0reason\0\0\0";

static const struct listing_recipient two[] = {
    {"r0@refused.test", "connect to 127.0.0.1[127.0.0.1]:1: Connection refused", "none", "4.4.1"},
    {"\"x y\"@refused.test", "", "", ""},
};
static const struct listing one = {.queue = QUEUE_HOLD,
    .id = "B9EABA72909",
    .arrival = 1795305142,
    .size = 287,
    .forced_expire = true,
    .sender = "s@ok.test",
    .rcpt = two,
    .rcpt_count = 2};

struct seen {
	int n, stop_at;
	bool extended;
	struct buf text;
};

static int
see(void *ctx, const struct listing *l)
{
	struct seen *s = ctx;

	buf_printf(&s->text, "%s %s %lld %lld %d %s", spool_queue_name(l->queue), l->id,
	    (long long)l->arrival, (long long)l->size, l->forced_expire, l->sender);
	for (size_t i = 0; i < l->rcpt_count; i++)
		buf_printf(&s->text, " <%s|%s>", l->rcpt[i].address, l->rcpt[i].reason);
	for (size_t i = 0; s->extended && i < l->rcpt_count; i++)
		buf_printf(&s->text, " (%s|%s)", l->rcpt[i].relay, l->rcpt[i].dsn);
	if (s->extended)
		buf_printf(&s->text, " %lld %u", (long long)l->next_attempt, l->attempts);
	buf_addc(&s->text, '\n');
	return ++s->n == s->stop_at ? -EPIPE : 0;
}

static void
encoding_is_postfix(void **state)
{
	struct buf b;

	buf_init(&b, 10000);
	listing_encode_begin(&b);
	assert_true(str_eq(buf_str(&b), (struct str){protocol, sizeof(protocol) - 1}));
	buf_clear(&b);
	assert_int_equal(listing_encode(&b, &one, false), 0);
	assert_true(str_eq(buf_str(&b), (struct str){message, sizeof(message) - 1}));
	buf_clear(&b);
	listing_encode_end(&b);
	assert_true(str_eq(buf_str(&b), (struct str){"\0", 1}));
	buf_fini(&b);
	buf_init(&b, 50);
	assert_int_equal(listing_encode(&b, &one, false), -ENOBUFS);
	buf_fini(&b);
}

/* What only we say, in the same framing. */
static void
encoding_extended(void **state)
{
	static const char want[] = "queue_name\0deferred\0queue_id\0A1\0time\0"
				   "5\0size\0"
				   "0\0forced_expire\0"
				   "0\0sender\0s@x\0next_attempt\0"
				   "1795305142\0attempts\0"
				   "12\0recipient\0r@y\0reason\0why\0relay\0mx.y\0dsn\0"
				   "4.4.1\0recipient\0q@y\0reason\0\0\0";
	static const struct listing_recipient rcpt[] = {
	    {"r@y", "why", "mx.y", "4.4.1"}, {"q@y", "", "", ""}};
	struct listing l = {.queue = QUEUE_DEFERRED,
	    .id = "A1",
	    .arrival = 5,
	    .sender = "s@x",
	    .rcpt = rcpt,
	    .rcpt_count = 2,
	    .next_attempt = 1795305142,
	    .attempts = 12};
	struct buf b;

	buf_init(&b, 10000);
	assert_int_equal(listing_encode(&b, &l, true), 0);
	assert_true(str_eq(buf_str(&b), (struct str){want, sizeof(want) - 1}));
	/* Postfix's own postqueue must not see a word of it. */
	buf_clear(&b);
	assert_int_equal(listing_encode(&b, &l, false), 0);
	assert_null(memmem(buf_cstr(&b), b.n, "attempt", 7));
	assert_null(memmem(buf_cstr(&b), b.n, "relay", 5));
	assert_null(memmem(buf_cstr(&b), b.n, "dsn", 3));
	/* Elsewhere than in deferred there is no next attempt. */
	buf_clear(&b);
	l.queue = QUEUE_HOLD;
	assert_int_equal(listing_encode(&b, &l, true), 0);
	assert_null(memmem(buf_cstr(&b), b.n, "attempt", 7));
	assert_non_null(memmem(buf_cstr(&b), b.n, "relay\0mx.y", 10));
	buf_fini(&b);
}

static int
decode(struct str in, size_t step, struct seen *seen, bool *complete)
{
	struct listing_decoder *d;
	int rc = 0;

	seen->n = 0;
	buf_init(&seen->text, 1 << 20);
	d = listing_decoder_new(see, seen);
	while (rc == 0 && in.n > 0) {
		rc = listing_decode(d, str_head(in, step));
		in = str_from(in, step);
	}
	*complete = listing_decoder_complete(d);
	listing_decoder_free(d);
	return rc;
}

static void
decoding_in_pieces(void **state)
{
	struct seen seen = {0};
	bool complete;
	struct buf b, want;

	buf_init(&b, 10000);
	buf_init(&want, 10000);
	buf_add(&b, (struct str){protocol, sizeof(protocol) - 1});
	for (int i = 0; i < 2; i++) {
		buf_add(&b, (struct str){message, sizeof(message) - 1});
		buf_printf(&want,
		    "hold B9EABA72909 1795305142 287 1 s@ok.test <%s|%s> <\"x y\"@refused.test|>\n",
		    two[0].address, two[0].reason);
	}
	buf_addc(&b, '\0');
	for (size_t step = 1; step < b.n + 1; step += step < 20 ? 1 : 97) {
		assert_int_equal(decode(buf_str(&b), step, &seen, &complete), 0);
		assert_true(complete);
		assert_string_equal(buf_cstr(&seen.text), buf_cstr(&want));
		buf_fini(&seen.text);
	}
	/* Cut short: nothing is wrong, but it is not complete. */
	assert_int_equal(decode(str_head(buf_str(&b), b.n - 1), 50, &seen, &complete), 0);
	assert_false(complete);
	buf_fini(&seen.text);
	seen.stop_at = 1;
	assert_int_equal(decode(buf_str(&b), 1000, &seen, &complete), -EPIPE);
	assert_int_equal(seen.n, 1);
	buf_fini(&seen.text);
	buf_fini(&b);
	buf_fini(&want);
}

static void
decoding_refuses(void **state)
{
#define S(text)                                                                                    \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}
#define HEAD "protocol\0mail_queue_list_protocol\0\0"
	static const struct str t[] = {
	    S("HTTP/1.0 400\r\n\0\0"),
	    S("\0"),
	    S("protocol\0other\0\0"),
	    S(HEAD "queue_name\0nosuch\0\0"),
	    S(HEAD "queue_name\0hold\0queue_id\0../x\0\0"),
	    S(HEAD "queue_name\0hold\0\0"),
	    S(HEAD "queue_id\0ABCDEF\0\0"),
	    S(HEAD "reason\0first\0\0"),
	    S(HEAD "size\0x\0\0"),
	    S(HEAD "unknown\0"
		   "1\0\0"),
	    S(HEAD "\0trailing"),
	    S(HEAD "dsn\0"
		   "4.4.1\0\0"),
	    S(HEAD "attempts\0"
		   "99999999999\0\0"),
	};
	struct seen seen = {0};
	bool complete;
	char *big = mem_alloc(200000);

	for (size_t i = 0; i < PP_COUNT(t); i++) {
		assert_int_equal(decode(t[i], 5, &seen, &complete), -EBADMSG);
		assert_int_equal(seen.n, 0);
		buf_fini(&seen.text);
	}
	memset(big, 'x', 200000);
	assert_int_equal(decode((struct str){big, 200000}, 1000, &seen, &complete), -EBADMSG);
	buf_fini(&seen.text);
	mem_free(big);
}

static void
put_case(struct spool *s, const char *name, const char *queue, const char *id, mode_t mode,
    const char *log)
{
	struct buf file;
	char path[128];

	assert_true(test_read(&file, "tests/corpus/cases/%s/qfile", name));
	snprintf(path, sizeof(path), "%s/%s", queue, id);
	test_write(spool_dirfd(s), path, buf_str(&file), mode);
	buf_fini(&file);
	if (log == NULL)
		return;
	assert_true(test_read(&file, "tests/corpus/cases/%s/defer.log", name));
	test_write(spool_dirfd(s), log, buf_str(&file), 0600);
	buf_fini(&file);
}

static void
walking_a_spool(void **state)
{
	struct seen seen = {0};
	struct spool *s;
	char dir[64];

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	assert_int_equal(fsio_mkdir(spool_dirfd(s), "deferred/8", 0700), 0);
	assert_int_equal(fsio_mkdir(spool_dirfd(s), "defer/8", 0700), 0);
	put_case(s, "smtp-1rcpt", "hold", "AAAAA1", 0700, NULL);
	put_case(s, "defer-mixed", "deferred/8", "892FBA8CB7B", 0710, "defer/8/892FBA8CB7B");
	put_case(s, "smtp-null-sender", "active", "AAAAA2", 0700, NULL);
	put_case(s, "drop-simple", "maildrop", "AAAAA3", 0744, NULL);
	put_case(s, "drop-simple", "maildrop", "AAAAA4", 0600, NULL); /* not ready */
	test_write(spool_dirfd(s), "incoming/AAAAA5", STR("rubbish"), 0700);
	buf_init(&seen.text, 100000);
	assert_int_equal(listing_walk_blk(s, 2, see, &seen), 0);
	assert_int_equal(seen.n, 4);
	assert_true(str_starts(buf_str(&seen.text), STR("maildrop AAAAA3 1795")));
	assert_non_null(strstr(buf_cstr(&seen.text), "\nactive AAAAA2 "));
	assert_non_null(strstr(buf_cstr(&seen.text), " 0 MAILER-DAEMON <"));
	/* In the order of the log, each once, and marked as expired. */
	assert_non_null(strstr(buf_cstr(&seen.text),
	    "\ndeferred 892FBA8CB7B 1795295835 291 1 sender@ok.test <full@mixed.test|host "
	    "127.0.0.1[127.0.0.1] said: 452 4.2.2 mailbox full (in reply to RCPT TO command)> "
	    "<x@refused.test|connect to 127.0.0.1[127.0.0.1]:22102: Connection refused> "
	    "<deferme@ok.test|"));
	assert_non_null(strstr(buf_cstr(&seen.text), "\nhold AAAAA1 "));
	buf_fini(&seen.text);
	seen = (struct seen){.stop_at = 2};
	buf_init(&seen.text, 100000);
	assert_int_equal(listing_walk_blk(s, 2, see, &seen), -EPIPE);
	buf_fini(&seen.text);
	spool_close(s);
	spool_dir_remove(dir);
}

/* More recipients than any chunk holds, in pieces that end anywhere. */
static void
decoding_a_huge_message(void **state)
{
	enum { RCPT = 20000 };
	struct listing_recipient *rcpt = mem_alloc(RCPT * sizeof(*rcpt));
	struct listing l = one;
	struct seen seen = {.extended = true}, again = seen;
	struct arena a = {0};
	struct buf b;
	bool complete;

	for (int i = 0; i < RCPT; i++)
		rcpt[i] = (struct listing_recipient){.address = arena_printf(&a, "r%d@x.test", i),
		    .reason = i % 3 ? "later" : "",
		    .relay = i % 3 ? "mx.x.test" : "",
		    .dsn = i % 3 ? "4.2.0" : ""};
	l.rcpt = rcpt;
	l.rcpt_count = RCPT;
	buf_init(&b, 64 << 20);
	listing_encode_begin(&b);
	for (int i = 0; i < 3; i++)
		listing_encode(&b, &l, true);
	listing_encode_end(&b);
	assert_int_equal(decode(buf_str(&b), 4093, &seen, &complete), 0);
	assert_true(complete && seen.n == 3);
	assert_int_equal(decode(buf_str(&b), b.n, &again, &complete), 0);
	assert_string_equal(buf_cstr(&seen.text), buf_cstr(&again.text));
	assert_non_null(strstr(buf_cstr(&seen.text), " <r19999@x.test|later>"));
	buf_fini(&seen.text);
	buf_fini(&again.text);
	buf_fini(&b);
	mem_free(rcpt);
	arena_fini(&a);
}

/* As the reader that knows everything sees it: by hand it must be the same. */
static void
by_reader(int dirfd, const char *path, struct buf *to)
{
	int fd = fsio_open_read(dirfd, path);
	struct reader *r = reader_open_fd(fd);
	struct envelope env;
	struct arena a = {0};
	struct buf why;

	buf_init(&why, 256);
	assert_int_equal(reader_envelope(r, READER_LISTING, &a, &env, &why), 0);
	if (env.sender != NULL) {
		buf_printf(to, "%lld %lld %s", (long long)(env.arrival_us / 1000000),
		    (long long)env.data_size, env.sender);
		for (size_t i = 0; i < env.rcpt_count; i++)
			if (!env.rcpt[i].done)
				buf_printf(to, " <%s>", env.rcpt[i].address);
	}
	buf_fini(&why);
	reader_close(r);
	arena_fini(&a);
}

static struct spool *case_spool;
static int cases;

static void
compare_file(struct str bytes, const char *what)
{
	struct spool_entry e = {.id = "A1", .queue = QUEUE_HOLD, .path = "hold/A1"};
	int dir = spool_dirfd(case_spool);
	struct arena a = {0};
	struct buf want, got;
	struct listing l;

	test_write(dir, "hold/A1", bytes, 0700);
	assert_int_equal(fsio_set_mtime(dir, "hold/A1", 0), 0);
	assert_int_equal(fsio_stat(dir, "hold/A1", &e.st), 0);
	buf_init(&want, 16 << 20);
	buf_init(&got, 16 << 20);
	by_reader(dir, "hold/A1", &want);
	if (listing_load_blk(case_spool, &e, &a, &l) == 0) {
		bool null = strcmp(l.sender, "MAILER-DAEMON") == 0;

		buf_printf(&got, "%lld %lld %s", (long long)l.arrival, (long long)l.size,
		    null ? "" : l.sender);
		for (size_t i = 0; i < l.rcpt_count; i++)
			buf_printf(&got, " <%s>", l.rcpt[i].address);
	}
	/* Quoting is another test's. */
	if (strchr(buf_cstr(&got), '"') == NULL && strchr(buf_cstr(&got), '?') == NULL &&
	    strstr(buf_cstr(&got), "<MAILER-DAEMON>") == NULL &&
	    strcmp(buf_cstr(&want), buf_cstr(&got)) != 0)
		fail_msg("%s\n%s\n%s", what, buf_cstr(&want), buf_cstr(&got));
	cases++;
	fsio_unlink(dir, "hold/A1");
	buf_fini(&want);
	buf_fini(&got);
	arena_fini(&a);
}

static void
compare_case(const char *name)
{
	struct buf file;

	for (int damaged = 0; damaged < 2; damaged++) {
		if (test_read(
			&file, "tests/corpus/%s/%s/qfile", damaged ? "damaged" : "cases", name))
			compare_file(buf_str(&file), name);
		buf_fini(&file);
	}
}

/* A file that no window holds: records at every place of its edges, and a far end. */
static void
compare_large(void)
{
	struct buf file;

	for (int shift = 0; shift < 40; shift++) {
		const struct record_size size = {.data_size = 100002, .data_offset = 0};
		size_t at;

		buf_init(&file, 4 << 20);
		record_put_size(&file, &size);
		record_put(&file, REC_TIME, STR("1795305142 77"));
		record_put(&file, REC_SENDER, STR("s@ok.test"));
		record_putf(&file, REC_ATTR, "pad=%*s", shift, "");
		for (int i = 0; i < 1000; i++)
			record_putf(&file, i % 50 ? REC_RCPT : REC_DONE, "r%d@refused.test", i);
		at = file.n;
		record_put(&file, REC_CONTENT, STR(""));
		for (int i = 0; i < 1000; i++)
			record_putf(&file, REC_LINE, "%*s", 97, "");
		record_put(&file, REC_EXTRACTED, STR(""));
		record_put(&file, REC_RCPT, STR("last@refused.test"));
		record_put(&file, REC_END, STR(""));
		{
			struct buf head;

			buf_init(&head, 1000);
			record_put_size(&head, &(struct record_size){.data_size = 99000,
						   .data_offset = (int64_t)at + 2});
			memcpy(file.p, head.p, head.n);
			buf_fini(&head);
		}
		compare_file(buf_str(&file), "large");
		compare_file(str_head(buf_str(&file), 9000 + (size_t)shift), "large and cut");
		buf_fini(&file);
	}
	buf_init(&file, 1 << 20);
	record_put(&file, REC_SENDER, STR("s@ok.test"));
	record_putf(&file, REC_RCPT, "%09000d", 1);
	record_put(&file, REC_RCPT, STR("r@ok.test"));
	compare_file(buf_str(&file), "a record that is longer than the window");
	buf_fini(&file);
}

static void
by_hand_as_by_the_reader(void **state)
{
	char dir[64];

	spool_dir_make(dir);
	case_spool = spool_dir_open(dir, false, 0);
	corpus_each("cases", compare_case);
	corpus_each("damaged", compare_case);
	assert_true(cases > 60);
	compare_large();
	spool_close(case_spool);
	spool_dir_remove(dir);
}

static void
put_message(const struct spool *s, const char *path, const char *rcpt, int n)
{
	struct buf file;

	buf_init(&file, 1 << 20);
	record_put(&file, REC_TIME, STR("1000 1"));
	record_put(&file, REC_SENDER, STR("s@ok.test"));
	for (int i = 0; i < n; i++)
		record_putf(&file, REC_RCPT, "%s%d@x.test", rcpt, i);
	test_write(spool_dirfd(s), path, buf_str(&file), 0700);
	buf_fini(&file);
}

static void
attempts_and_relays(void **state)
{
	struct deferlog_entry e[20];
	struct seen seen = {.extended = true};
	struct spool *s;
	char dir[64];

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	/* Tried three times: one recipient with a host that answered, one without. */
	put_message(s, "active/A1", "r", 3);
	for (int i = 0; i < 2; i++)
		e[i] = (struct deferlog_entry){.recipient = i ? "r1@x.test" : "r0@x.test",
		    .offset = 10,
		    .status = {.cls = STATUS_TEMP,
			.subject = 4,
			.detail = (unsigned short)i,
			.text = "later",
			.remote = i ? "mx.x.test" : NULL}};
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "A1", e, 2), 0);
	assert_int_equal(spool_defer_blk(s, "A1", 5000, 3), 0);
	/* As Postfix leaves it: no nanoseconds. With a log it was tried, without not. */
	assert_int_equal(fsio_mkdir(spool_dirfd(s), "deferred/B", 0700), 0);
	put_message(s, "deferred/B/B1", "r", 1);
	put_message(s, "deferred/B/B2", "r", 1);
	assert_int_equal(fsio_set_mtime(spool_dirfd(s), "deferred/B/B1", 6000), 0);
	assert_int_equal(fsio_set_mtime_ns(spool_dirfd(s), "deferred/B/B2", 7000, 500000000), 0);
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "B1", e, 1), 0);
	/* In hold it keeps its log, which lies at a depth of its own here. */
	put_message(s, "hold/C1", "r", 30);
	for (int i = 0; i < 20; i++)
		e[i] = (struct deferlog_entry){
		    .recipient = i % 2 ? "r1@x.test" : "r29@x.test", .action = "delayed"};
	assert_int_equal(deferlog_append_blk(s, QUEUE_DEFER, "C1", e, 20), 0);
	assert_int_equal(renameat(spool_dirfd(s), "defer/C/C1", spool_dirfd(s), "defer/C1"), 0);
	buf_init(&seen.text, 100000);
	assert_int_equal(listing_walk_blk(s, 3, see, &seen), 0);
	assert_int_equal(seen.n, 4);
	assert_non_null(strstr(buf_cstr(&seen.text),
	    "deferred A1 1000 52 0 s@ok.test <r0@x.test|later> <r1@x.test|later> <r2@x.test|> "
	    "(none|4.4.0) (mx.x.test|4.4.1) (|) 5000 3\n"));
	assert_non_null(strstr(buf_cstr(&seen.text), " (none|4.4.0) 6000 1\n"));
	assert_non_null(strstr(buf_cstr(&seen.text), " <r0@x.test|> (|) 7000 0\n"));
	assert_non_null(strstr(buf_cstr(&seen.text), "hold C1 1000 "));
	assert_non_null(strstr(buf_cstr(&seen.text),
	    "<r1@x.test|(description unavailable)> <r0@x.test|> <r2@x.test|>"));
	assert_null(strstr(buf_cstr(&seen.text), "<r28@x.test|> <r29@x.test"));
	buf_fini(&seen.text);
	spool_close(s);
	spool_dir_remove(dir);
}

/* More than a chunk, in directory order whatever thread reads them. */
static void
many_in_order(void **state)
{
	enum { MANY = 1000 };
	struct seen first = {0}, next = {0}, few = {.stop_at = 300};
	struct spool *s;
	char dir[64], path[64];

	spool_dir_make(dir);
	s = spool_dir_open(dir, false, 0);
	for (int i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "deferred/%X", (unsigned)i);
		assert_int_equal(fsio_mkdir(spool_dirfd(s), path, 0700), 0);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "%s%.1X/%.1XA%d", i % 3 ? "deferred/" : "hold/",
		    (unsigned)i % 16, (unsigned)i % 16, i);
		if (i % 3 == 0)
			memmove(path + 5, path + 7, strlen(path + 7) + 1);
		put_message(s, path, "r", 1 + i % 5);
	}
	test_write(spool_dirfd(s), "deferred/1/1Ahalf", STR("x"), 0600);
	test_write(spool_dirfd(s), "deferred/1/no-id", STR("x"), 0700);
	assert_int_equal(symlinkat("1A1", spool_dirfd(s), "deferred/1/1Alink"), 0);
	assert_int_equal(mkfifoat(spool_dirfd(s), "deferred/1/1Afifo", 0700), 0);
	buf_init(&first.text, 1 << 20);
	buf_init(&next.text, 1 << 20);
	buf_init(&few.text, 1 << 20);
	assert_int_equal(listing_walk_blk(s, 1, see, &first), 0);
	assert_int_equal(first.n, MANY);
	assert_int_equal(listing_walk_blk(s, 4, see, &next), 0);
	assert_string_equal(buf_cstr(&first.text), buf_cstr(&next.text));
	assert_int_equal(listing_walk_blk(s, 4, see, &few), -EPIPE);
	assert_int_equal(few.n, 300);
	buf_fini(&first.text);
	buf_fini(&next.text);
	buf_fini(&few.text);
	spool_close(s);
	spool_dir_remove(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(encoding_is_postfix),
	    cmocka_unit_test(decoding_in_pieces),
	    cmocka_unit_test(decoding_refuses),
	    cmocka_unit_test(walking_a_spool),
	    cmocka_unit_test(encoding_extended),
	    cmocka_unit_test(decoding_a_huge_message),
	    cmocka_unit_test(by_hand_as_by_the_reader),
	    cmocka_unit_test(attempts_and_relays),
	    cmocka_unit_test(many_in_order),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
