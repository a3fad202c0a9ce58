/*
 * corpus_test.c - messages of the corpus, fed to cleanup as they once came to Postfix: the records
 * must be Postfix's, in its order.
 *
 * The input is taken from the queue file itself: its envelope, and its content without what cleanup
 * had put in. What must differ (queue id, time of arrival) is masked on both sides.
 */
#include "cleanup_run.h"
#include "pp/mail/address.h"

enum {
	ADDED_ID = 1,
	ADDED_DATE = 2,
	ADDED_FROM = 4,
	ADDED_BLANK = 8, /* the empty line before the body */
	ENCODING = 16,   /* BODY= or -B was given */
	WARN = 32,       /* delay_warning_time */
};

static const struct {
	const char *name;
	unsigned flags;
} cases[] = {
    {"smtp-1rcpt", 0},
    {"smtp-2dom", 0},
    {"smtp-50rcpt-10dom", 0},
    {"smtp-500rcpt", 0},
    {"smtp-8bit-undeclared", ADDED_ID | ADDED_DATE},
    {"smtp-8bitmime", ADDED_ID | ADDED_DATE | ENCODING},
    {"smtp-dsn-all", 0},
    {"smtp-dsn-utf8orcpt", 0},
    {"smtp-emptybody", ADDED_ID | ADDED_DATE},
    {"smtp-helo-only", 0},
    {"smtp-hugehdr", ADDED_ID | ADDED_DATE},
    {"smtp-literal", 0},
    {"smtp-longhdr", ADDED_ID | ADDED_DATE},
    {"smtp-longline", 0},
    {"smtp-mime", ADDED_ID | ADDED_DATE | ENCODING},
    {"smtp-noblank", ADDED_ID | ADDED_DATE},
    {"smtp-nohdr", ADDED_ID | ADDED_DATE | ADDED_FROM | ADDED_BLANK},
    {"smtp-null-sender", 0},
    {"smtp-quoted", 0},
    {"smtp-utf8-addr", ADDED_ID | ADDED_DATE | ENCODING},
    {"smtp-utf8-unneeded", 0},
    {"smtp-warn", WARN},
    {"smtp-xclient", 0},
    {"sm-7bit", ADDED_ID | ADDED_DATE | ENCODING},
    {"sm-crlf", ADDED_ID | ADDED_DATE | ADDED_FROM},
    {"sm-dsn", ADDED_ID | ADDED_DATE},
    {"sm-fullname", ADDED_ID | ADDED_DATE | ADDED_FROM},
    {"sm-t", ADDED_ID | ADDED_DATE | ADDED_FROM},
    {"sm-verp", ADDED_ID | ADDED_DATE},
    {"bounce-deferred", ADDED_ID},
    {"notice-bounce-pm", ADDED_ID},
};

struct source {
	const char *id;
	struct buf file;
	struct arena arena;
	struct envelope envelope;
	struct recipient *extracted;
	size_t extracted_count;
	struct str size; /* payload of C */
	char received[512];
};

static bool
skipped(struct str line, unsigned flags)
{
	static const struct {
		unsigned flag;
		const char *start;
	} rows[] = {
	    {ADDED_ID, "Message-Id: <2026"}, {ADDED_DATE, "Date: "}, {ADDED_FROM, "From: "}};

	for (size_t i = 0; i < PP_COUNT(rows); i++)
		if (flags & rows[i].flag && str_starts(line, str_of(rows[i].start)))
			return true;
	return false;
}

/* Content records -> pieces, without what was added. */
static void
take_content(struct source *s, struct cleanup_run *r, struct str in, unsigned flags)
{
	bool in_received = true, in_header = true;
	struct record rec;
	size_t used;

	r->pieces = arena_alloc(&s->arena, s->file.n * sizeof(*r->pieces));
	for (; record_get(in, &rec, &used) == 0 && rec.type != REC_EXTRACTED;
	     in = str_from(in, used)) {
		if (in_received && (str_starts(rec.payload, STR("Received: ")) ||
				       str_starts(rec.payload, STR("\t")))) {
			size_t n = strlen(s->received);

			snprintf(s->received + n, sizeof(s->received) - n, "%s%.*s", n ? "\n" : "",
			    STR_FMT(rec.payload));
			continue;
		}
		in_received = false;
		if (in_header && rec.payload.n == 0 && rec.type == REC_LINE) {
			in_header = false;
			if (flags & ADDED_BLANK)
				continue;
		}
		if (in_header && skipped(rec.payload, flags))
			continue;
		r->pieces[r->piece_count++] = (struct run_piece){rec.payload, rec.type == REC_LINE};
	}
}

/* As it came: under its original name, and without what cleanup makes up itself. */
static void
undo_rcpt(struct source *s, struct recipient *rcpt)
{
	const char *quoted = address_quoted(&s->arena, str_of(rcpt->orig));

	rcpt->address = rcpt->orig;
	rcpt->orig = NULL;
	if (strcmp(rcpt->orcpt, arena_printf(&s->arena, "rfc822;%s", quoted)) == 0)
		rcpt->orcpt = NULL;
}

static void
take_envelope(struct source *s, unsigned flags)
{
	struct reader *reader = reader_open_bytes(buf_str(&s->file));
	struct envelope *e = &s->envelope;
	struct record rec;
	struct buf why;
	size_t used, first = 0;

	buf_init(&why, 512);
	if (reader_envelope(reader, READER_QUEUE, &s->arena, e, &why) != 0)
		fail_msg("%s", buf_cstr(&why));
	buf_fini(&why);
	reader_close(reader);
	record_get(buf_str(&s->file), &rec, &used);
	s->size = rec.payload;
	while (first < e->rcpt_count && e->rcpt[first].offset < e->data_offset)
		first++;
	for (size_t i = 0; i < e->rcpt_count; i++)
		undo_rcpt(s, &e->rcpt[i]);
	s->extracted = e->rcpt + first;
	s->extracted_count = e->rcpt_count - first;
	e->rcpt_count = first;
	if (!(flags & ENCODING))
		e->encoding = BODY_UNKNOWN;
	e->utf8 &= UTF8_REQUESTED;
	if (e->origin.ident && strcmp(e->origin.ident, s->id) == 0)
		e->origin.ident = NULL;
	if (s->extracted_count == 0 && e->fullname && strstr(s->id, "29D12A8CB94"))
		e->verp = "+=";
}

/* Every occurrence of `id` -> "ID". */
static void
mask_id(struct buf *to, struct str text, const char *id, const char *other)
{
	while (text.n > 0) {
		size_t n = str_starts(text, str_of(id))      ? strlen(id)
			   : str_starts(text, str_of(other)) ? strlen(other)
							     : 0;

		if (n > 0)
			buf_adds(to, "ID");
		else
			buf_addc(to, *text.p);
		text = str_from(text, n > 0 ? n : 1);
	}
}

/* The records as text. D is R: whether it was delivered since does not matter. */
static void
dump(struct buf *to, struct str in, const char *id, const char *other)
{
	struct record rec;
	size_t used;

	for (; record_get(in, &rec, &used) == 0; in = str_from(in, used)) {
		if (rec.type == REC_SIZE)
			continue;
		buf_printf(to, "%c ", rec.type == REC_DONE ? REC_RCPT : rec.type);
		if (str_starts(rec.payload, STR("create_time=")) || rec.type == REC_WARN)
			rec.payload = STR("-");
		if (str_starts(rec.payload, STR("Message-Id: <2026"))) {
			buf_adds(to, "Message-Id: <STAMP");
			rec.payload = str_from(rec.payload, 27);
		}
		mask_id(to, rec.payload, id, other);
		buf_addc(to, '\n');
		if (rec.type == REC_END)
			return;
	}
}

static void
compare(struct source *s, struct cleanup_run *r, const char *name)
{
	struct record_size want, got;
	struct buf file, a, b;
	struct record rec;
	size_t used;

	run_file(r, QUEUE_INCOMING, &file);
	buf_init(&a, 1 << 20);
	buf_init(&b, 1 << 20);
	dump(&a, buf_str(&s->file), s->id, r->id);
	dump(&b, buf_str(&file), s->id, r->id);
	if (strcmp(buf_cstr(&a), buf_cstr(&b)) != 0) {
		fprintf(stderr, "=== %s: wanted\n%s=== got\n%s", name, buf_cstr(&a), buf_cstr(&b));
		fail_msg("%s differs", name);
	}
	assert_int_equal(record_get(buf_str(&file), &rec, &used), 0);
	assert_int_equal(record_get_size(rec.payload, &got), 0);
	assert_int_equal(record_get_size(s->size, &want), 0);
	assert_int_equal(got.rcpt_count, want.rcpt_count);
	assert_int_equal(got.hints, want.hints);
	assert_int_equal(got.utf8, want.utf8);
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&file);
}

static void
find_id(struct source *s, const char *name)
{
	struct buf meta;
	const char *at;

	assert_true(test_read(&meta, "tests/corpus/cases/%s/meta.json", name));
	at = strstr(buf_cstr(&meta), "\"queue_id\": \"");
	assert_non_null(at);
	s->id = arena_str(&s->arena, (struct str){at + 13, strcspn(at + 13, "\"")});
	buf_fini(&meta);
}

static void
check(const char *name, unsigned flags)
{
	static const char *const warn[] = {"delay_warning_time=1h", NULL};
	struct source s = {0};
	struct cleanup_run r;
	bool pm = strcmp(name, "notice-bounce-pm") == 0;

	run_open(&r, flags & WARN || pm ? warn : NULL);
	find_id(&s, name);
	assert_true(test_read(&s.file, "tests/corpus/cases/%s/qfile", name));
	take_envelope(&s, flags);
	take_content(&s, &r, str_from(buf_str(&s.file), (size_t)s.envelope.data_offset), flags);
	r.envelope = &s.envelope;
	r.received = s.received;
	r.extracted = s.extracted;
	r.extracted_count = s.extracted_count;
	run_message(&r);
	if (r.status.cls != STATUS_OK)
		fail_msg("%s: %s", name, r.status.text);
	compare(&s, &r, name);
	run_close(&r);
	buf_fini(&s.file);
	arena_fini(&s.arena);
}

static void
test_corpus(void **state)
{
	for (size_t i = 0; i < PP_COUNT(cases); i++)
		check(cases[i].name, cases[i].flags);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus)};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
