/*
 * cleanup.c - any envelope and content through cleanup: what is accepted is a queue file that the
 * reader takes, whose content holds no CR or LF.
 *
 * Input: a byte of flags, then lines: sender, full name, recipient, ORCPT; the rest is content, in
 * pieces as a session would cut them.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pp/cleanup/cleanup.h"
#include "pp/runtime/lane.h"
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"
#include "pp/spool/reader.h"

enum { PIECE = 2048 };

static struct fuzz {
	char dir[64];
	struct cleanup_setup setup;
	struct loop *loop;
	struct post post;
	int pipe[2];
	/* The message. */
	const struct envelope *envelope;
	const char *received;
	struct str text;
	bool extracted;
	char id[SPOOL_ID_MAX];
} * fuzz;

static void
done(void *ctx, const struct status *st, const char *id)
{
	struct fuzz *f = ctx;
	char byte = (char)st->cls;

	snprintf(f->id, sizeof(f->id), "%s", id);
	PP_ASSERT(st->cls != STATUS_NONE && st->text != NULL);
	PP_ASSERT(write(f->pipe[1], &byte, 1) == 1);
}

static void
feed(struct cleanup *c, struct str text)
{
	while (text.n > 0) {
		size_t n = str_index(text, '\n');
		bool cut = n >= PIECE;

		n = cut ? PIECE : n;
		cleanup_line(c, str_head(text, n), !cut);
		text = str_from(text, cut ? n : n + 1);
	}
}

static void
begin(struct post *p)
{
	struct fuzz *f = PP_CONTAINER(p, struct fuzz, post);
	struct cleanup *c = cleanup_new(&f->setup);

	cleanup_sender(c, f->envelope);
	cleanup_rcpt(c, &f->envelope->rcpt[0]);
	cleanup_content(c, f->received);
	feed(c, f->text);
	if (f->extracted)
		cleanup_rcpt(c, &f->envelope->rcpt[0]);
	cleanup_end(c, done, f);
}

static int
forget(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void
remove_spool(void)
{
	nftw(fuzz->dir, forget, 16, FTW_DEPTH | FTW_PHYS);
}

static void
open_spool(struct buf *err)
{
	const struct spool_options o = {.directory = fuzz->dir, .hash_queue_names = ""};
	bool shm = access("/dev/shm", W_OK) == 0;

	snprintf(fuzz->dir, sizeof(fuzz->dir), "%s/pp-fuzz-XXXXXX", shm ? "/dev/shm" : "/tmp");
	PP_ASSERT(mkdtemp(fuzz->dir) != NULL);
	atexit(remove_spool);
	PP_ASSERT(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &fuzz->setup.spool, err) == 0);
}

static void
start(void)
{
	static const char *const extra[] = {"myhostname=mail.pennypost.test",
	    "header_size_limit=3000", "delay_warning_time=1h", "hopcount_limit=5",
	    "undisclosed_recipients_header=To: undisclosed-recipients:;", NULL};
	const struct config_source src = {.extra = extra, .hostname = "mail.pennypost.test"};
	struct config_report report;
	struct buf err;

	/* The log would be most of the time. */
	PP_ASSERT(freopen("/dev/null", "w", stdout) != NULL);
	log_setup(&(struct log_options){.syslog_name = "fuzz", .file = "/dev/null"});
	fuzz = MEM_NEW(struct fuzz);
	buf_init(&err, 1024);
	config_report_init(&report);
	PP_ASSERT(config_load(&src, &fuzz->setup.config, &report) == 0);
	PP_ASSERT(route_new(fuzz->setup.config, &fuzz->setup.route, &err) == 0);
	open_spool(&err);
	config_report_fini(&report);
	buf_fini(&err);
	PP_ASSERT(pipe(fuzz->pipe) == 0);
	spool_set_lane(fuzz->setup.spool, lane_new("disk", 1));
	fuzz->loop = loop_new("fuzz");
	PP_ASSERT(loop_start(fuzz->loop) == 0);
}

static const char *
line(struct arena *a, struct str *in)
{
	size_t n = str_index(*in, '\n');
	const char *text = arena_str(a, str_head(*in, n));

	*in = str_from(*in, n + 1);
	return text;
}

static void
check_file(struct fuzz *f, struct arena *a)
{
	struct envelope e;
	struct record rec;
	struct stat st;
	struct buf why, file;
	struct str in;
	char path[SPOOL_PATH_MAX];
	size_t used;
	bool content = false;

	buf_init(&why, 512);
	if (reader_load_blk(f->setup.spool, QUEUE_INCOMING, f->id, a, &e, &st, &why) != 0) {
		fprintf(stderr, "%s\n", buf_cstr(&why));
		abort();
	}
	buf_fini(&why);
	PP_ASSERT(e.rcpt_count > 0 && e.sender != NULL);
	spool_path(f->setup.spool, QUEUE_INCOMING, f->id, path);
	buf_init(&file, 16 << 20);
	PP_ASSERT(fsio_read_all(spool_dirfd(f->setup.spool), path, &file) == 0);
	for (in = buf_str(&file); record_get(in, &rec, &used) == 0; in = str_from(in, used)) {
		content |= rec.type == REC_CONTENT;
		PP_ASSERT(!content || (memchr(rec.payload.p, '\n', rec.payload.n) == NULL &&
					  memchr(rec.payload.p, '\r', rec.payload.n) == NULL));
	}
	buf_fini(&file);
	PP_ASSERT(fsio_unlink(spool_dirfd(f->setup.spool), path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct recipient rcpt = {0};
	struct envelope e = {.rcpt = &rcpt, .rcpt_count = 1, .arrival_us = 1795295131000000};
	struct arena a = {0};
	struct fuzz *f;
	char flags, cls;

	if (size < 1)
		return 0;
	if (fuzz == NULL)
		start();
	f = fuzz;
	flags = *in.p;
	in = str_from(in, 1);
	e.sender = line(&a, &in);
	e.fullname = line(&a, &in);
	rcpt.address = line(&a, &in);
	if (flags & 8)
		rcpt.orcpt = line(&a, &in);
	e.origin.local = flags & 1;
	if (flags & 2)
		e.origin.client_address = "192.0.2.1";
	if (flags & 4)
		e.fullname = NULL;
	f->extracted = flags & 16;
	f->envelope = &e;
	f->received = flags & 32 ? NULL : "Received: by x\n\tid y";
	f->text = in;
	post_to(f->loop, &f->post, begin);
	while (read(f->pipe[0], &cls, 1) != 1)
		PP_ASSERT(errno == EINTR); /* the fuzzer's own alarm */
	if (cls == STATUS_OK)
		check_file(f, &a);
	arena_fini(&a);
	return 0;
}
