/*
 * maildrop.c - any bytes as a file in maildrop, and as a requeued one: the parser ends, within its
 * limits, and what it lets through is what cleanup may be given.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pickup/internal.h"

enum { LINE = 2048, ROUNDS_MAX = 10000 };

static struct spool *spool;
static char dir[64];

static int
forget(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void
remove_spool(void)
{
	nftw(dir, forget, 16, FTW_DEPTH | FTW_PHYS);
}

static void
start(void)
{
	const struct spool_options o = {.directory = dir, .hash_queue_names = ""};
	struct buf err;

	buf_init(&err, 1024);
	snprintf(dir, sizeof(dir), "%s/pp-fuzz-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	PP_ASSERT(mkdtemp(dir) != NULL);
	atexit(remove_spool);
	PP_ASSERT(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &spool, &err) == 0);
	buf_fini(&err);
}

static void
check_text(const char *text)
{
	PP_ASSERT(text != NULL && strpbrk(text, "\r\n") == NULL);
}

static void
check_records(const struct pickup_file *f)
{
	struct str in = buf_str(&f->records);
	struct record rec;
	size_t used;

	for (; record_get(in, &rec, &used) == 0; in = str_from(in, used)) {
		PP_ASSERT(rec.type > 0 && strchr("LNXARE", rec.type) != NULL);
		PP_ASSERT(f->requeued || rec.payload.n <= LINE);
	}
	PP_ASSERT(in.n == 0);
}

static void
run(struct str bytes, mode_t mode)
{
	struct pickup_file f = {
	    .spool = spool, .id = "ABCDEF1", .line_limit = LINE, .daemon_uid = geteuid()};
	int fd = fsio_create(spool_dirfd(spool), "maildrop/ABCDEF1", mode), rc;

	PP_ASSERT(fd >= 0 && fsio_write(fd, bytes) == 0);
	fsio_close(fd);
	buf_init(&f.records, PICKUP_BATCH + PICKUP_RECORD_MAX);
	rc = pickup_file_open_blk(&f);
	if (rc == 0 && !f.requeued) {
		check_text(f.envelope.sender);
		check_text(f.envelope.fullname);
		for (size_t i = 0; i < f.envelope.rcpt_count; i++)
			check_text(f.envelope.rcpt[i].address);
		PP_ASSERT(f.envelope.filter == NULL && f.envelope.sasl_username == NULL &&
			  f.envelope.origin.client_address == NULL);
	}
	for (int i = 0; rc == 0 && !f.ended; i++) {
		PP_ASSERT(i < ROUNDS_MAX);
		rc = pickup_file_read_blk(&f);
		if (rc == 0)
			check_records(&f);
	}
	PP_ASSERT(rc == 0 || (rc == -EBADMSG && f.why[0] != '\0'));
	pickup_file_close(&f);
	PP_ASSERT(fsio_unlink(spool_dirfd(spool), "maildrop/ABCDEF1") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = {(const char *)data, size};

	if (spool == NULL)
		start();
	run(bytes, 0744);
	run(bytes, 0700);
	return 0;
}
