/*
 * qshape.c - fuzzes what qshape makes of a queue file, of which some are written by any user.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "command/qshape.h"
#include "pp/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void
forget(void)
{
	unlink(path);
}

static int
scratch_file(void)
{
	static int fd = -1;

	if (fd < 0) {
		snprintf(path, sizeof(path), "/tmp/fuzz-qshape-XXXXXX");
		fd = mkstemp(path);
		if (fd < 0 || fchmod(fd, 0700) < 0)
			exit(1);
		atexit(forget);
	}
	return fd;
}

static void
count(bool by_sender)
{
	const struct qshape_options o = {.buckets = 5,
	    .width = 80,
	    .min_subdomains = 1,
	    .tick = 5,
	    .with_parents = true,
	    .by_sender = by_sender};
	struct qshape_table t;
	struct buf messages, out;

	buf_init(&messages, 1 << 24);
	buf_init(&out, 1 << 24);
	qshape_table_init(&t, &o, 1795296600);
	qshape_file(path, by_sender, &messages);
	PP_ASSERT(qshape_count_all(&t, buf_str(&messages)) <= 1);
	qshape_print(&t, &out);
	qshape_table_fini(&t);
	buf_fini(&messages);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = scratch_file();

	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		return 0;
	count(false);
	count(true);
	return 0;
}
