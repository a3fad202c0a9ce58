/*
 * listing_file.c - any bytes as a queue file that is listed: read by hand it is what the reader
 * that knows everything sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pp/base/assert.h"
#include "pp/mail/address.h"
#include "pp/spool/listing.h"
#include "pp/spool/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct spool *spool;
static char directory[] = "/tmp/pp-fuzz-XXXXXX";

static void
forget(void)
{
	unlinkat(spool_dirfd(spool), "hold/A1", 0);
	unlinkat(spool_dirfd(spool), "hold", AT_REMOVEDIR);
	rmdir(directory);
}

static void
prepare(void)
{
	const struct spool_options o = {.directory = directory, .hash_queue_names = ""};
	struct buf err;

	buf_init(&err, 1024);
	PP_ASSERT(mkdtemp(directory) != NULL);
	PP_ASSERT(spool_open(&o, false, (uid_t)-1, (gid_t)-1, &spool, &err) == 0);
	PP_ASSERT(fsio_mkdir(spool_dirfd(spool), "hold", 0700) == 0);
	atexit(forget);
}

/* As both sides show it. */
static void
add_address(struct buf *to, struct arena *a, const char *internal)
{
	buf_printf(to, "%s\n", *internal ? address_shown(a, str_of(internal)) : "MAILER-DAEMON");
}

static void
by_reader(struct str bytes, struct buf *to, struct arena *a)
{
	struct reader *r = reader_open_bytes(bytes);
	struct envelope env;
	struct buf why;

	buf_init(&why, 256);
	PP_ASSERT(reader_envelope(r, READER_LISTING, a, &env, &why) == 0);
	if (env.sender != NULL) {
		/* Of what cannot be, the file itself tells; its time was set to 0. */
		buf_printf(to, "%lld %lld ",
		    (long long)(env.arrival_us < 0 ? 0 : env.arrival_us / 1000000),
		    env.data_size < 0 ? (long long)bytes.n : (long long)env.data_size);
		add_address(to, a, env.sender);
		for (size_t i = 0; i < env.rcpt_count; i++)
			if (!env.rcpt[i].done)
				add_address(to, a, env.rcpt[i].address);
	}
	buf_fini(&why);
	reader_close(r);
}

static void
by_hand(struct str bytes, struct buf *to, struct arena *a)
{
	struct spool_entry e = {.id = "A1", .queue = QUEUE_HOLD, .path = "hold/A1"};
	int dir = spool_dirfd(spool), fd;
	struct listing l;

	fsio_unlink(dir, e.path);
	fd = fsio_create(dir, e.path, 0700);
	PP_ASSERT(fd >= 0 && fsio_write(fd, bytes) == 0);
	fsio_close(fd);
	PP_ASSERT(fsio_set_mtime(dir, e.path, 0) == 0 && fsio_stat(dir, e.path, &e.st) == 0);
	if (listing_load_blk(spool, &e, a, &l) != 0)
		return;
	buf_printf(to, "%lld %lld %s\n", (long long)l.arrival, (long long)l.size, l.sender);
	for (size_t i = 0; i < l.rcpt_count; i++)
		buf_printf(to, "%s\n", l.rcpt[i].address);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct arena a = {0};
	struct buf want, got;

	if (spool == NULL)
		prepare();
	buf_init(&want, 64 << 20);
	buf_init(&got, 64 << 20);
	by_reader(in, &want, &a);
	by_hand(in, &got, &a);
	PP_ASSERT(str_eq(buf_str(&want), buf_str(&got)));
	buf_fini(&want);
	buf_fini(&got);
	arena_fini(&a);
	return 0;
}
