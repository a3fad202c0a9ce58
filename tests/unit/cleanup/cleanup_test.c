/*
 * cleanup_test.c - what cleanup does to headers, recipients and lines, and what it refuses.
 */
#include <sys/resource.h>
#include <signal.h>
#include "cleanup_run.h"

#define RECEIVED "Received: by x"
#define TAIL "Message-Id: <STAMP.ID@mail.pennypost.test>\nDate: DATE\n"

/* In: after the Received header. Out: after "Received: by x\n"; DATE, STAMP and ID are masks. */
static const struct header_row {
	const char *what, *in, *out;
	const char *sender, *fullname; /* NULL: s@ok.test, "" */
	const char *const *extra;      /* parameters */
	bool remote;
	unsigned utf8;
} header_rows[] = {
    {"nothing", "", TAIL "From: s@ok.test\n"},
    {"empty header", "\n", TAIL "From: s@ok.test\n\n"},
    {"body only", "body\n", TAIL "From: s@ok.test\n\nbody\n"},
    {"first line folded", " x\ny: z\n", TAIL "From: s@ok.test\n\n x\ny: z\n"},
    {"no line end", "From: a@b.test\n\nlast", "From: a@b.test\n" TAIL "\nlast\n"},
    {"all there", "From: a@b.test\nDate: d\nMessage-Id: <i>\n\n",
	"From: a@b.test\nDate: d\nMessage-Id: <i>\n\n"},
    {"names without case", "FROM: a@b.test\ndate: d\nMESSAGE-ID: <i>\n\nx\n",
	"FROM: a@b.test\ndate: d\nMESSAGE-ID: <i>\n\nx\n"},
    {"dropped",
	"From: a@b.test\nBcc: secret@x.test,\n more@x.test\nReturn-Path: <x>\nContent-Length: 3\n"
	"resent-bcc: y\nTo: z@x.test\n\nx\n",
	"From: a@b.test\nTo: z@x.test\nResent-Message-Id: <STAMP.ID@mail.pennypost.test>\n"
	"Resent-Date: DATE\nResent-From: s@ok.test\n\nx\n"},
    {"completed", "From: al\nTo: bob, Carl <carl>,\n d@e.test\nCc: x: y;\nSubject: al\n\nTo: bob\n",
	"From: al@pennypost.test\nTo: bob@pennypost.test, Carl <carl@pennypost.test>,\n d@e.test\n"
	"Cc: x: y@pennypost.test;\nSubject: al\n" TAIL "\nTo: bob\n"},
    {"remote is left alone", "From: al\nTo: bob\n\nx\n", "From: al\nTo: bob\n\nx\n",
	.remote = true},
    {"remote with always_add_missing_headers", "To: bob\n\nx\n",
	"To: bob\n" TAIL "From: s@ok.test\n\nx\n", .remote = true,
	.extra = (const char *const[]){"always_add_missing_headers=yes", NULL}},
    {"remote with a domain of its own", "From: al\n\nx\n", "From: al@far.test\n\nx\n",
	.remote = true,
	.extra = (const char *const[]){"remote_header_rewrite_domain=far.test", NULL}},
    {"null sender", "To: a@b.test\n\nx\n", "To: a@b.test\n" TAIL "From: MAILER-DAEMON\n\nx\n",
	.sender = "", .fullname = "Some One"},
    {"full name", "\nx\n", TAIL "From: Some One <s@ok.test>\n\nx\n", .fullname = "Some One"},
    {"quoted name", "\nx\n", TAIL "From: \"A. \\\"B\\\" C\\\\\" <s@ok.test>\n\nx\n",
	.fullname = "A. \"B\" C\\"},
    {"quoted address", "\nx\n", TAIL "From: \"a b\"@ok.test\n\nx\n", .sender = "a b@ok.test"},
    {"unqualified sender", "\nx\n", TAIL "From: root <root@pennypost.test>\n\nx\n",
	.sender = "root", .fullname = "root"},
    {"resent", "Resent-To: bob\nFrom: a@b.test\nDate: d\nMessage-Id: <i>\n\nx\n",
	"Resent-To: bob@pennypost.test\nFrom: a@b.test\nDate: d\nMessage-Id: <i>\n"
	"Resent-Message-Id: <STAMP.ID@mail.pennypost.test>\nResent-Date: DATE\n"
	"Resent-From: s@ok.test\n\nx\n"},
    {"resent, all there", "Resent-From: b@x.test\nResent-Date: d\nResent-Message-Id: <r>\n\nx\n",
	"Resent-From: b@x.test\nResent-Date: d\nResent-Message-Id: <r>\n\nx\n"},
    {"undisclosed", "From: a@b.test\n\nx\n",
	"From: a@b.test\n" TAIL "To: undisclosed-recipients:;\n\nx\n",
	.extra = (const char *const[]){"undisclosed_recipients_header=To: undisclosed-recipients:;",
	    NULL}},
    {"disclosed", "From: a@b.test\nCc: c@d.test\n\nx\n",
	"From: a@b.test\nCc: c@d.test\n" TAIL "\nx\n",
	.extra = (const char *const[]){"undisclosed_recipients_header=To: undisclosed-recipients:;",
	    NULL}},
    {"mailbox line", "From al Sat Nov 21 2026\nFrom: a@b.test\n\nFrom x\n",
	"X-Mailbox-Line: From al Sat Nov 21 2026\nFrom: a@b.test\n" TAIL "\nFrom x\n"},
    {"header ends at a bad line", "From: a@b.test\nno header\nTo: bob\n",
	"From: a@b.test\n" TAIL "\nno header\nTo: bob\n"},
    {"bare CR in header and body", "From: a@b.test\nSubject: a\rX: y\n\na\rb\r\n",
	"From: a@b.test\nSubject: a X: y\n" TAIL "\na b \n"},
    {"bare CR kept", "From: a@b.test\n\na\rb\r\n", "From: a@b.test\n" TAIL "\na\rb\r\n",
	.extra = (const char *const[]){"cleanup_replace_stray_cr_lf=no", NULL}},
    {"8-bit header", "From: a@b.test\nSubject: \xc3\xa9\n\nx\n",
	"From: a@b.test\nSubject: \xc3\xa9\n" TAIL "\nx\n", .utf8 = UTF8_REQUESTED | UTF8_HEADER,
	.extra = (const char *const[]){"smtputf8_enable=yes", NULL}},
    {"header cut at its limit", "X: 34567890\n234567890\nFrom: a@b.test\n\nx\n",
	"X: 34567890\n" TAIL "From: s@ok.test\n\n234567890\nFrom: a@b.test\n\nx\n",
	.extra = (const char *const[]){"header_size_limit=20", NULL}},
};

static const struct recipient one[] = {{.address = "a@ok.test"}};

static struct envelope
submitted(const char *sender, const char *fullname, const struct recipient *r, size_t n)
{
	return (struct envelope){
	    .sender = sender ? sender : "s@ok.test",
	    .fullname = fullname ? fullname : "",
	    .arrival_us = 1795295131000000,
	    .origin.local = true,
	    .rcpt = (struct recipient *)(uintptr_t)r,
	    .rcpt_count = n,
	};
}

/* Masks what each run has new. */
static void
mask(struct buf *to, struct str text, const char *id)
{
	static const char date[] = "Sat, 21 Nov 2026 21:05:31 +0000 (UTC)";

	while (text.n > 0) {
		size_t n = 1;

		if (str_starts(text, str_of(id))) {
			buf_adds(to, "ID");
			n = strlen(id);
		} else if (str_starts(text, str_of(date))) {
			buf_adds(to, "DATE");
			n = strlen(date);
		} else if (str_starts(text, STR("Message-Id: <20")) && text.n > 27) {
			buf_adds(to, "Message-Id: <STAMP");
			n = 13 + 14;
		} else {
			buf_addc(to, *text.p);
		}
		text = str_from(text, n);
	}
}

static unsigned
utf8_flags(struct cleanup_run *r)
{
	struct record_size size;
	struct record rec;
	struct buf file;
	size_t used;

	run_file(r, QUEUE_INCOMING, &file);
	assert_int_equal(record_get(buf_str(&file), &rec, &used), 0);
	assert_int_equal(record_get_size(rec.payload, &size), 0);
	buf_fini(&file);
	return (unsigned)size.utf8;
}

static void
check_header(const struct header_row *row)
{
	struct envelope e = submitted(row->sender, row->fullname, one, 1);
	struct cleanup_run r;
	struct buf got, masked, want;

	run_open(&r, row->extra);
	e.origin.local = !row->remote;
	r.envelope = &e;
	r.received = RECEIVED;
	run_set_text(&r, str_of(row->in));
	run_message(&r);
	buf_init(&got, 1 << 20);
	buf_init(&masked, 1 << 20);
	buf_init(&want, 1 << 20);
	if (r.status.cls != STATUS_OK)
		fail_msg("%s: %s", row->what, r.status.text);
	run_content(&r, QUEUE_INCOMING, &got);
	mask(&masked, buf_str(&got), r.id);
	buf_printf(&want, RECEIVED "\n%s", row->out);
	if (strcmp(buf_cstr(&masked), buf_cstr(&want)) != 0)
		fail_msg("%s: wanted\n%s\ngot\n%s", row->what, buf_cstr(&want), buf_cstr(&masked));
	if (row->utf8)
		assert_int_equal(utf8_flags(&r), row->utf8);
	buf_fini(&got);
	buf_fini(&masked);
	buf_fini(&want);
	run_close(&r);
}

static void
test_headers(void **state)
{
	for (size_t i = 0; i < PP_COUNT(header_rows); i++)
		check_header(&header_rows[i]);
}

/* Runs and checks the reply; nothing may be left in the spool after a refusal. */
static void
expect(struct cleanup_run *r, struct envelope *e, const char *text, unsigned smtp, const char *dsn,
    const char *reply)
{
	r->envelope = e;
	if (r->received == NULL)
		r->received = RECEIVED;
	if (text)
		run_set_text(r, str_of(text));
	run_message(r);
	assert_int_equal(r->dones, 1);
	assert_int_equal(r->status.smtp, smtp);
	assert_string_equal(status_dsn(&r->status).text, dsn);
	if (reply)
		assert_string_equal(r->status.text, reply);
	assert_int_equal(run_count(r, QUEUE_INCOMING), smtp == 250 && !r->hold);
	assert_int_equal(run_count(r, QUEUE_HOLD), smtp == 250 && r->hold);
}

static void
test_hops(void **state)
{
	struct envelope e = submitted(NULL, NULL, one, 1);
	struct cleanup_run r;
	struct buf text;

	buf_init(&text, 1 << 16);
	for (int i = 0; i < 48; i++)
		buf_adds(&text, "Received: x\n");
	run_open(&r, NULL);
	expect(&r, &e, buf_cstr(&text), 250, "2.0.0", NULL);
	run_close(&r);
	buf_adds(&text, "Received: x\n\nbody\n");
	run_open(&r, NULL);
	expect(&r, &e, buf_cstr(&text), 554, "5.4.0", "Error: too many hops");
	run_close(&r);
	buf_fini(&text);
}

static void
test_size_limit(void **state)
{
	static const char *const extra[] = {"message_size_limit=100", NULL};
	char text[128];
	struct envelope e = submitted(NULL, NULL, one, 1);
	struct cleanup_run r;

	/* 4 + 2, 2, 90 + 2: the limit is of the bytes as SMTP counts them. */
	snprintf(text, sizeof(text), "X: y\n\n%090d\n", 0);
	run_open(&r, extra);
	expect(&r, &e, text, 250, "2.0.0", NULL);
	run_close(&r);
	snprintf(text, sizeof(text), "X: y\n\n%091d\n", 0);
	run_open(&r, extra);
	expect(&r, &e, text, 552, "5.3.4", "Error: message file too big");
	run_close(&r);
	/* A notice of ours is never too big. */
	run_open(&r, extra);
	e.fullname = NULL;
	expect(&r, &e, text, 250, "2.0.0", NULL);
	run_close(&r);
}

static void
test_big_message(void **state)
{
	static const char *const extra[] = {"message_size_limit=0", NULL};
	struct envelope e = submitted(NULL, NULL, one, 1);
	struct cleanup_run r;
	size_t n = 200000;
	struct buf got;

	run_open(&r, extra);
	r.pieces = arena_alloc(&r.arena, n * sizeof(*r.pieces));
	for (size_t i = 0; i < n; i++)
		r.pieces[i] =
		    (struct run_piece){STR("0123456789012345678901234567890123456789"), true};
	r.piece_count = n;
	expect(&r, &e, NULL, 250, "2.0.0", NULL);
	buf_init(&got, 64 << 20);
	run_content(&r, QUEUE_INCOMING, &got);
	assert_true(got.n > n * 41);
	buf_fini(&got);
	run_close(&r);
}

/* The file system says no: to the file, and in the middle of it. */
static void
test_write_errors(void **state)
{
	struct envelope e = submitted(NULL, NULL, one, 1);
	struct rlimit old, low;
	struct cleanup_run r;
	char path[128];
	size_t n = 50000;

	run_open(&r, NULL);
	snprintf(path, sizeof(path), "%s/incoming", r.dir);
	assert_int_equal(rmdir(path), 0);
	r.envelope = &e;
	r.received = RECEIVED;
	run_set_text(&r, STR("\nx\n"));
	run_message(&r);
	assert_int_equal(r.status.smtp, 451);
	assert_string_equal(status_dsn(&r.status).text, "4.3.0");
	assert_string_equal(r.status.text, "Error: queue file write error");
	run_close(&r);

	run_open(&r, NULL);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 500 * 1000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	r.pieces = arena_alloc(&r.arena, n * sizeof(*r.pieces));
	for (size_t i = 0; i < n; i++)
		r.pieces[i] =
		    (struct run_piece){STR("0123456789012345678901234567890123456789"), true};
	r.piece_count = n;
	expect(&r, &e, NULL, 451, "4.3.0", "Error: queue file write error");
	setrlimit(RLIMIT_FSIZE, &old);
	run_close(&r);
}

/* R records of the file, "orig>address" joined by blanks. */
static void
recipients(struct cleanup_run *r, enum queue q, struct buf *to)
{
	struct arena a = {0};
	struct envelope e;
	struct buf file, why;
	struct reader *reader;

	run_file(r, q, &file);
	buf_init(&why, 512);
	reader = reader_open_bytes(buf_str(&file));
	assert_int_equal(reader_envelope(reader, READER_QUEUE, &a, &e, &why), 0);
	for (size_t i = 0; i < e.rcpt_count; i++)
		buf_printf(to, "%s%s>%s", i ? " " : "", e.rcpt[i].orig, e.rcpt[i].address);
	reader_close(reader);
	buf_fini(&file);
	buf_fini(&why);
	arena_fini(&a);
}

static void
test_recipients(void **state)
{
	static const struct recipient many[] = {
	    {.address = "a@ok.test"},
	    {.address = "a@OK.test"}, /* the same, and the next too, as to Postfix */
	    {.address = "A@ok.test"},
	    {.address = "bob"},
	    {.address = "bob"},
	    {.address = "a@ok.test", .notify = NOTIFY_NEVER},
	    {.address = "x@y.test", .orig = "alias"},
	    {.address = ""},
	};
	static const struct recipient extracted[] = {{.address = "bob"}, {.address = "late"}};
	struct envelope e = submitted(NULL, NULL, many, PP_COUNT(many));
	struct cleanup_run r;
	struct buf got;

	run_open(&r, NULL);
	r.extracted = extracted;
	r.extracted_count = 2;
	r.hold = true;
	expect(&r, &e, "\nx\n", 250, "2.0.0", NULL);
	buf_init(&got, 4096);
	recipients(&r, QUEUE_HOLD, &got);
	assert_string_equal(buf_cstr(&got),
	    "a@ok.test>a@ok.test bob>bob@pennypost.test a@ok.test>a@ok.test "
	    "alias>x@y.test >MAILER-DAEMON@pennypost.test late>late@pennypost.test");
	buf_fini(&got);
	run_close(&r);
}

static void
test_duplicate_limit(void **state)
{
	static const char *const extra[] = {"duplicate_filter_limit=1", NULL};
	static const struct recipient many[] = {{.address = "a@x.test"}, {.address = "a@x.test"},
	    {.address = "b@x.test"}, {.address = "b@x.test"}};
	struct envelope e = submitted(NULL, NULL, many, PP_COUNT(many));
	struct cleanup_run r;
	struct buf got;

	run_open(&r, extra);
	expect(&r, &e, "\nx\n", 250, "2.0.0", NULL);
	buf_init(&got, 4096);
	recipients(&r, QUEUE_INCOMING, &got);
	assert_string_equal(
	    buf_cstr(&got), "a@x.test>a@x.test b@x.test>b@x.test b@x.test>b@x.test");
	buf_fini(&got);
	run_close(&r);
}

static void
test_refused(void **state)
{
	static const struct recipient bad[] = {{.address = "a\nb@ok.test"}};
	struct envelope e = submitted("s\r\n@ok.test", NULL, one, 1);
	struct cleanup_run r;

	run_open(&r, NULL);
	expect(&r, &e, "\nx\n", 501, "5.1.7", "Bad sender address syntax");
	e = submitted(NULL, NULL, bad, 1);
	expect(&r, &e, "\nx\n", 501, "5.1.3", "Bad recipient address syntax");
	e = submitted(NULL, NULL, NULL, 0);
	expect(&r, &e, "\nx\n", 554, "5.5.1", "Error: no valid recipients");
	run_close(&r);
}

static void
test_abort(void **state)
{
	struct envelope e = submitted(NULL, NULL, one, 1);
	struct cleanup_run r;

	run_open(&r, NULL);
	r.envelope = &e;
	r.received = RECEIVED;
	r.abort_it = true;
	run_set_text(&r, STR("\nx\n"));
	run_message(&r);
	assert_int_equal(r.dones, 0);
	assert_int_equal(run_count(&r, QUEUE_INCOMING), 0);
	run_close(&r);
}

static void
test_date(void **state)
{
	setenv("TZ", "UTC", 1);
	assert_string_equal(cleanup_date(1795295788).text, "Sat, 21 Nov 2026 21:16:28 +0000 (UTC)");
	assert_string_equal(cleanup_date(1793491200).text, "Sun,  1 Nov 2026 00:00:00 +0000 (UTC)");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_headers),
	    cmocka_unit_test(test_hops),
	    cmocka_unit_test(test_size_limit),
	    cmocka_unit_test(test_big_message),
	    cmocka_unit_test(test_write_errors),
	    cmocka_unit_test(test_recipients),
	    cmocka_unit_test(test_duplicate_limit),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_abort),
	    cmocka_unit_test(test_date),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
