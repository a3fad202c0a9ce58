/*
 * listing_test.c - entries from files, and the showq protocol both ways, in pieces of any size.
 */
#include "spool_dir.h"
#include "pp/spool/listing.h"

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

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(encoding_is_postfix),
	    cmocka_unit_test(decoding_in_pieces),
	    cmocka_unit_test(decoding_refuses),
	    cmocka_unit_test(walking_a_spool),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
