/*
 * pickup_test.c - files in maildrop, of Postfix's sendmail and of people with bad intentions.
 */
#include <sys/un.h>
#include <sys/socket.h>
#include "cleanup_run.h"
#include "pp/map/userlist.h"
#include "pp/pickup/pickup.h"
#include "pp/runtime/log.h"

struct fixture {
	struct cleanup_run r; /* for its spool, configuration and route */
	struct pickup *pickup;
	struct timer poll, limit;
	struct arena arena;
	char log[96];
	const char *until; /* in the log; NULL = until maildrop is empty */
	int arrivals;
	char ids[64][SPOOL_ID_MAX];
	bool timed_out;
	struct userlist *users; /* who may submit; NULL = everybody */
};

static struct fixture *current; /* for the timers */

static void
arrived(void *ctx, struct spool_arrival *a)
{
	struct fixture *f = ctx;

	if (f->arrivals < 64)
		memcpy(f->ids[f->arrivals], a->id, sizeof(a->id));
	f->arrivals++;
	spool_arrival_free(a);
}

static void
stopped(void *ctx)
{
	struct fixture *f = ctx;

	pickup_free(f->pickup);
	timer_stop(&f->limit);
	loop_stop(f->r.loop);
}

static bool
log_has(struct fixture *f, const char *text)
{
	struct buf log;
	bool has;

	test_read(&log, "%s", f->log);
	has = strstr(buf_cstr(&log), text) != NULL;
	buf_fini(&log);
	return has;
}

static bool
is_over(struct fixture *f)
{
	struct dirent *d;
	char path[128];
	int n = 0;
	DIR *dir;

	if (f->until)
		return log_has(f, f->until);
	snprintf(path, sizeof(path), "%s/maildrop", f->r.dir);
	dir = opendir(path);
	while ((d = readdir(dir)) != NULL)
		n += d->d_name[0] != '.';
	closedir(dir);
	return n == 0;
}

static void
poll_end(struct timer *t)
{
	if (!is_over(current) && !current->timed_out) {
		timer_start(current->r.loop, t, 1, poll_end);
		return;
	}
	pickup_stop(current->pickup, stopped, current);
}

static void
too_late(struct timer *t)
{
	current->timed_out = true;
}

static void
begin(struct post *p)
{
	struct fixture *f = current;
	const struct cleanup_setup setup = {
	    .spool = f->r.spool, .config = f->r.config, .route = f->r.route};

	f->pickup = pickup_new(f->r.loop, f->r.lane, &setup);
	if (f->users)
		pickup_submitters(f->pickup, f->users);
	pickup_wake(f->pickup);
	pickup_wake(f->pickup);
	pickup_reload(f->pickup, &setup);
	timer_start(f->r.loop, &f->poll, 0, poll_end);
	timer_start(f->r.loop, &f->limit, 20000, too_late);
}

static void
run(struct fixture *f, const char *until)
{
	current = f;
	f->until = until;
	f->arrivals = 0;
	f->r.lane = lane_new("disk", 2);
	spool_set_lane(f->r.spool, f->r.lane);
	f->r.loop = loop_new("test");
	post_to(f->r.loop, &f->r.post, begin);
	loop_run(f->r.loop);
	lane_free(f->r.lane);
	loop_free(f->r.loop);
	if (f->timed_out)
		fail_msg("did not end");
}

static void
open_fixture(struct fixture *f, const char *const *extra)
{
	*f = (struct fixture){0};
	run_open(&f->r, extra);
	spool_set_commit_hook(f->r.spool, arrived, f);
	snprintf(f->log, sizeof(f->log), "%s/log", f->r.dir);
	log_setup(&(struct log_options){.syslog_name = "postfix", .host = "h", .file = f->log});
}

static void
close_fixture(struct fixture *f)
{
	arena_fini(&f->arena);
	run_close(&f->r);
}

/* name -> maildrop/name */
static const char *
drop_path(struct fixture *f, const char *name)
{
	return arena_printf(&f->arena, "maildrop/%s", name);
}

static void
drop(struct fixture *f, const char *name, struct str bytes, mode_t mode)
{
	test_write(spool_dirfd(f->r.spool), drop_path(f, name), bytes, mode);
}

static void
drop_case(struct fixture *f, const char *name, mode_t mode)
{
	struct buf file;

	assert_true(test_read(&file, "tests/corpus/cases/%s/qfile", name));
	drop(f, "ABCDEF1", buf_str(&file), mode);
	buf_fini(&file);
}

/* "K payload|" of the records of the file that was made, but T, C, A create_time and content. */
static const char *
envelope(struct fixture *f, const char *id)
{
	struct record rec;
	struct buf file, out;
	struct str in;
	size_t used;
	bool content = false;
	const char *text;

	snprintf(f->r.id, sizeof(f->r.id), "%s", id);
	run_file(&f->r, QUEUE_INCOMING, &file);
	buf_init(&out, 1 << 20);
	in = buf_str(&file);
	for (; record_get(in, &rec, &used) == 0; in = str_from(in, used)) {
		content = rec.type == REC_CONTENT || (content && rec.type != REC_EXTRACTED);
		if (!content && rec.type != REC_SIZE && rec.type != REC_TIME &&
		    !str_starts(rec.payload, STR("create_time=")))
			buf_printf(&out, "%c %.*s|", rec.type, STR_FMT(rec.payload));
	}
	text = arena_str(&f->arena, buf_str(&out));
	buf_fini(&out);
	buf_fini(&file);
	return text;
}

static void
test_corpus(void **state)
{
	static const struct {
		const char *name, *want;
	} rows[] = {
	    {"drop-simple",
		"A rewrite_context=local|F root|S sender@ok.test|A dsn_orig_rcpt=rfc822;a@ok.test|"
		"O a@ok.test|R a@ok.test|X |E |"},
	    {"drop-noargs-user",
		"A rewrite_context=local|F |S alice@pennypost.test|"
		"A dsn_orig_rcpt=rfc822;a@ok.test|O a@ok.test|R a@ok.test|"
		"A dsn_orig_rcpt=rfc822;bob@pennypost.test|O bob|R bob@pennypost.test|X |E |"},
	    {"drop-dsn",
		"A envelope_id=env1|A ret_flags=2|A rewrite_context=local|F Full Name|"
		"S sender@ok.test|A notify_flags=10|A dsn_orig_rcpt=rfc822;a@ok.test|O a@ok.test|"
		"R a@ok.test|A notify_flags=10|A dsn_orig_rcpt=rfc822;b@ok.test|O b@ok.test|"
		"R b@ok.test|X |E |"},
	    {"drop-8bit",
		"A rewrite_context=local|F root|S sender@ok.test|A encoding=8bit|"
		"A dsn_orig_rcpt=rfc822;a@ok.test|O a@ok.test|R a@ok.test|X |A encoding=8bit|E |"},
	    {"drop-v", "A rewrite_context=local|F root|S sender@ok.test|A trace_flags=1024|"
		       "A dsn_orig_rcpt=rfc822;a@ok.test|O a@ok.test|R a@ok.test|X |E |"},
	    {"drop-Bnull",
		"A rewrite_context=local|F root|S |A dsn_orig_rcpt=rfc822;a@ok.test|O a@ok.test|"
		"R a@ok.test|X |E |"},
	    {"drop-utf8", "A rewrite_context=local|F root|S s\xc3\xabnder@ok.test|"
			  "A dsn_orig_rcpt=utf-8;ren\xc3\xa9"
			  "e@ok.test|O ren\xc3\xa9"
			  "e@ok.test|R ren\xc3\xa9"
			  "e@ok.test|X |E |"},
	};
	struct fixture f;

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		const char *got;

		open_fixture(&f, NULL);
		drop_case(&f, rows[i].name, 0744);
		run(&f, NULL);
		assert_int_equal(f.arrivals, 1);
		got = envelope(&f, f.ids[0]);
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s\nnot %s", rows[i].name, got, rows[i].want);
		close_fixture(&f);
	}
}

static void
test_log_and_received(void **state)
{
	struct fixture f;
	struct buf got;
	char *start;

	open_fixture(&f, NULL);
	drop_case(&f, "drop-noargs-user", 0744);
	run(&f, NULL);
	assert_true(log_has(
	    &f, arena_printf(&f.arena, "%s: uid=%ld from=<alice>\n", f.ids[0], (long)getuid())));
	buf_init(&got, 1 << 16);
	snprintf(f.r.id, sizeof(f.r.id), "%s", f.ids[0]);
	run_content(&f.r, QUEUE_INCOMING, &got);
	start = arena_printf(&f.arena,
	    "Received: by mail.pennypost.test (Postfix, from userid %ld)\n\tid %s; ",
	    (long)getuid(), f.ids[0]);
	assert_memory_equal(buf_cstr(&got), start, strlen(start));
	assert_non_null(strstr(buf_cstr(&got), "\nFrom: s@ok.test\nTo: x@y.test\n"));
	buf_fini(&got);
	close_fixture(&f);
}

/* Builds a file: pairs of type and payload. */
static struct str
build(struct buf *b, const char *const *records)
{
	buf_init(b, 1 << 20);
	for (; records[0]; records += 2)
		record_put(b, records[0][0], str_of(records[1]));
	return buf_str(b);
}

static void
test_attributes(void **state)
{
	static const char *const records[] = {"L", "smtp:[evil]", ">", "evil@x.test", "A",
	    "log_client_name=trusted", "A", "sasl_username=root", "A", "rewrite_context=remote",
	    "A", "trace_flags=4294967295", "A", "create_time=1", "A", "nonsense", "F", "a\nb", "S",
	    "s@ok.test", "V", "+=", "A", "notify_flags=255", "A", "dsn_orig_rcpt=rfc822;o@x.test",
	    "R", "a@ok.test", "M", "", "N", "body", "X", "", "A", "notify_flags=2", "R", "bob", "A",
	    "notify_flags=99", "R", "carl", "E", "", NULL};
	struct fixture f;
	struct buf b;

	open_fixture(&f, NULL);
	drop(&f, "ABC123", build(&b, records), 0744);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 1);
	assert_string_equal(envelope(&f, f.ids[0]),
	    "A rewrite_context=remote|F |S s@ok.test|V +=|A trace_flags=1536|A notify_flags=15|"
	    "A dsn_orig_rcpt=rfc822;o@x.test|O a@ok.test|R a@ok.test|X |"
	    "A notify_flags=2|A dsn_orig_rcpt=rfc822;bob@pennypost.test|O bob|R bob@pennypost.test|"
	    "A dsn_orig_rcpt=rfc822;carl@pennypost.test|O carl|R carl@pennypost.test|E |");
	buf_fini(&b);
	close_fixture(&f);
}

static void
test_malformed(void **state)
{
	static char longer[2050];
	static const struct {
		const char *records[16], *why;
		size_t cut; /* bytes off the end */
	} rows[] = {
	    {{"S", "s", "R", "r", "M", "", "N", "x", "X", "", NULL}, "end record missing"},
	    {{"S", "s", "R", "r", "M", "", "N", "x", "X", "", "E", "", NULL}, "", 3},
	    {{"R", "r", "M", "", "X", "", "E", "", NULL}, "bad recipient record"},
	    {{"M", "", "X", "", "E", "", NULL}, "sender record missing"},
	    {{"S", "s", "S", "t", "M", "", "X", "", "E", "", NULL}, "bad sender record"},
	    {{"S", "s\n", "M", "", "X", "", "E", "", NULL}, "bad sender record"},
	    {{"S", "s", "R", "a\rb", "M", "", "X", "", "E", "", NULL}, "bad recipient record"},
	    {{"S", "s", "O", "o", "R", "r", "M", "", "X", "", "E", "", NULL},
		"unexpected record type"},
	    {{"C", "1 2 3", "S", "s", "R", "r", "M", "", "X", "", "E", "", NULL},
		"unexpected record type"},
	    {{"S", "s", "R", "r", "M", "", "p", "              0", "X", "", "E", "", NULL},
		"unexpected record type"},
	    {{"S", "s", "R", "r", "M", "", "N", longer, "X", "", "E", "", NULL},
		"record is too long"},
	    {{"S", "s", "R", "r", "M", "", "X", "", "L", "smtp:x", "E", "", NULL},
		"unexpected record type"},
	    {{"S", "s", "R", "r", "M", "", "X", "", "R", "a\x7f", "E", "", NULL},
		"bad recipient record"},
	    {{"Hello", "", NULL}, "unexpected record type"},
	    {{NULL}, "end record missing"},
	};
	struct fixture f;

	memset(longer, 'x', sizeof(longer) - 1);
	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		struct buf b;
		struct str bytes = build(&b, rows[i].records);

		open_fixture(&f, NULL);
		bytes.n -= rows[i].cut;
		drop(&f, "ABC123", bytes, 0744);
		run(&f, NULL);
		assert_int_equal(f.arrivals, 0);
		assert_int_equal(run_count(&f.r, QUEUE_INCOMING), 0);
		if (!log_has(&f, arena_printf(&f.arena, ": %s", rows[i].why)) ||
		    !log_has(&f, ": saving the file in corrupt"))
			fail_msg("row %zu: not \"%s\"", i, rows[i].why);
		assert_int_equal(run_count(&f.r, QUEUE_CORRUPT), 1);
		buf_fini(&b);
		close_fixture(&f);
	}
}

/* Who owns the file decides, unless that is root or the daemon's user. */
static void
test_submitters(void **state)
{
	static const struct {
		const char *list, *log;
		int owner; /* -1 = the user of this test */
		unsigned arrivals;
		int in_corrupt;
	} rows[] = {
	    {"static:all", "uid=54321 from=<s>", 54321, 1, 0},
	    {"unknown", "uid=54321 from=<s>", 54321, 1, 0},
	    {"nobody",
		"User unknown(54321) is not allowed to submit mail: saving the file in corrupt",
		54321, 0, 1},
	    {"!unknown, static:all", "User unknown(54321) is not allowed", 54321, 0, 1},
	    {"nobody", " from=<s>", -1, 1, 0},
	    {"hash:/nonexistent", "authorized_submit_users: No such file", 54321, 0, 0},
	};

	for (size_t i = 0; i < PP_COUNT(rows); i++) {
		static const char *const records[] = {
		    "S", "s", "R", "r@x.test", "M", "", "N", "x", "X", "", "E", "", NULL};
		struct buf b, err = {.max = 1000};
		struct fixture f;

		if (rows[i].owner >= 0 && geteuid() != 0)
			continue; /* only root can give a file away */
		open_fixture(&f, NULL);
		drop(&f, "ABC123", build(&b, records), 0744);
		if (rows[i].owner >= 0)
			assert_int_equal(fchownat(spool_dirfd(f.r.spool), drop_path(&f, "ABC123"),
					     (uid_t)rows[i].owner, (gid_t)-1, 0),
			    0);
		assert_int_equal(userlist_new_blk(rows[i].list, &f.users, &err), 0);
		run(&f, rows[i].log);
		assert_int_equal(f.arrivals, rows[i].arrivals);
		assert_int_equal(run_count(&f.r, QUEUE_CORRUPT), rows[i].in_corrupt);
		userlist_unref(f.users);
		buf_fini(&b);
		close_fixture(&f);
	}
}

static void
test_no_files(void **state)
{
	struct fixture f;
	char path[160], other[160];
	int fd;

	open_fixture(&f, NULL);
	snprintf(path, sizeof(path), "%s/maildrop/AAA111", f.r.dir);
	assert_int_equal(mkfifo(path, 0744), 0);
	snprintf(path, sizeof(path), "%s/maildrop/AAA222", f.r.dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	snprintf(path, sizeof(path), "%s/maildrop/AAA333", f.r.dir);
	snprintf(other, sizeof(other), "%s/secret", f.r.dir);
	fd = open(other, O_CREAT | O_RDWR, 0744);
	assert_true(fd >= 0);
	fchmod(fd, 0744);
	close(fd);
	assert_int_equal(link(other, path), 0);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 0);
	for (int i = 1; i <= 2; i++)
		assert_true(log_has(
		    &f, arena_printf(&f.arena,
			    "maildrop/AAA%d%d%d from uid %ld: malformed: not a regular file", i, i,
			    i, (long)getuid())));
	assert_true(log_has(&f, "malformed: the file has other names"));
	assert_int_equal(access(other, F_OK), 0);
	close_fixture(&f);
}

/* Half-written files are not looked at; many come in one go. */
static void
test_many(void **state)
{
	static const char *const records[] = {
	    "S", "s@ok.test", "R", "a@ok.test", "M", "", "N", "body", "X", "", "E", "", NULL};
	struct fixture f;
	struct buf b;
	char path[128];

	open_fixture(&f, NULL);
	build(&b, records);
	for (int i = 0; i < 1100; i++)
		drop(&f, arena_printf(&f.arena, "ABC%05d", i), buf_str(&b), 0744);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 1100);
	assert_int_equal(run_count(&f.r, QUEUE_INCOMING), 1100);
	drop(&f, "HALF001", str_head(buf_str(&b), 9), 0600);
	drop(&f, "ZZZ9999", buf_str(&b), 0744);
	run(&f, "from=<s@ok.test>");
	snprintf(path, sizeof(path), "%s/maildrop/HALF001", f.r.dir);
	assert_int_equal(access(path, F_OK), 0);
	buf_fini(&b);
	close_fixture(&f);
}

static void
test_requeued(void **state)
{
	struct fixture f;
	char path[160];

	/* Delivered recipients are not asked for again; the log of its old life goes. */
	open_fixture(&f, NULL);
	snprintf(path, sizeof(path), "%s/defer/A", f.r.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	test_write(spool_dirfd(f.r.spool), "defer/A/ABCDEF1", STR("log"), 0600);
	drop_case(&f, "defer-mixed", 0700);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 1);
	assert_true(log_has(
	    &f, arena_printf(&f.arena, "%s: uid=%ld from=<sender@ok.test> orig_id=ABCDEF1\n",
		    f.ids[0], (long)getuid())));
	assert_null(strstr(envelope(&f, f.ids[0]), "D "));
	assert_non_null(strstr(envelope(&f, f.ids[0]), "R deferme@ok.test|"));
	snprintf(path, sizeof(path), "%s/defer/A/ABCDEF1", f.r.dir);
	assert_int_equal(access(path, F_OK), -1);
	close_fixture(&f);

	/* A notice, and edits of a milter. */
	open_fixture(&f, NULL);
	drop_case(&f, "requeued-2", 0700);
	run(&f, NULL);
	assert_string_equal(envelope(&f, f.ids[0]),
	    "A log_message_origin=local|A trace_flags=0|S |A encoding=8bit|A "
	    "dsn_orig_rcpt=rfc822;x@refused.test|"
	    "O x@refused.test|R x@refused.test|X |A encoding=8bit|E |");
	close_fixture(&f);
	open_fixture(&f, NULL);
	drop_case(&f, "milter-body-long", 0700);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 1);
	close_fixture(&f);

	/* Longer lines than we make; readable by all, it is no queue file but a lie. */
	open_fixture(&f, NULL);
	drop_case(&f, "smtp-longline", 0700);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 1);
	drop_case(&f, "requeued-0", 0744);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 0);
	assert_true(
	    log_has(&f, ": unexpected record type at offset 0: saving the file in corrupt"));
	close_fixture(&f);
}

/* Damaged mail of ours is not thrown away, nor is what cleanup refuses. */
static void
test_set_aside(void **state)
{
	static const char *const extra[] = {"message_size_limit=50", NULL};
	struct fixture f;
	struct buf file;

	open_fixture(&f, NULL);
	assert_true(test_read(&file, "tests/corpus/cases/requeued-0/qfile"));
	drop(&f, "ABCDEF1", str_head(buf_str(&file), 300), 0700);
	buf_fini(&file);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 0);
	assert_int_equal(run_count(&f.r, QUEUE_CORRUPT), 1);
	assert_true(log_has(&f, "saving the file in corrupt"));
	close_fixture(&f);

	open_fixture(&f, extra);
	drop_case(&f, "drop-simple", 0744);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 0);
	assert_int_equal(run_count(&f.r, QUEUE_CORRUPT), 1);
	assert_true(log_has(&f, "5.3.4 Error: message file too big: saving the file in corrupt"));
	close_fixture(&f);
}

/* With the disk in trouble the file stays; afterwards it is taken. */
static void
test_trouble(void **state)
{
	struct fixture f;
	char path[128];

	open_fixture(&f, NULL);
	snprintf(path, sizeof(path), "%s/incoming", f.r.dir);
	assert_int_equal(rmdir(path), 0);
	drop_case(&f, "drop-simple", 0744);
	run(&f, "Error: queue file write error: will try again");
	assert_int_equal(f.arrivals, 0);
	assert_int_equal(mkdir(path, 0700), 0);
	run(&f, NULL);
	assert_int_equal(f.arrivals, 1);
	close_fixture(&f);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_corpus),
	    cmocka_unit_test(test_log_and_received),
	    cmocka_unit_test(test_attributes),
	    cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_submitters),
	    cmocka_unit_test(test_no_files),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_requeued),
	    cmocka_unit_test(test_set_aside),
	    cmocka_unit_test(test_trouble),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
