/*
 * spool_dir.h - a spool in a scratch directory, and the corpus of queue files, for tests.
 */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"
#include "pp/spool/spool.h"

static char test_root[512]; /* argv[1]: the source root */

static inline void
test_set_root(int argc, char **argv)
{
	snprintf(test_root, sizeof(test_root), "%s", argc > 1 ? argv[1] : ".");
}

static inline int
spool_dir_forget(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static inline void
spool_dir_remove(const char *path)
{
	nftw(path, spool_dir_forget, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new directory; the name is written to `path`. */
static inline void
spool_dir_make(char path[64])
{
	snprintf(path, 64, "/tmp/pp-test-XXXXXX");
	assert_non_null(mkdtemp(path));
}

static inline struct spool *
spool_dir_open(const char *path, bool long_ids, int64_t cache)
{
	const struct spool_options o = {.directory = path,
	    .hash_queue_names = "deferred, defer",
	    .hash_queue_depth = 1,
	    .long_ids = long_ids,
	    .message_cache_size = cache};
	struct spool *s = NULL;
	struct buf err;

	buf_init(&err, 1024);
	if (spool_open(&o, true, (uid_t)-1, (gid_t)-1, &s, &err) != 0)
		fail_msg("%s", buf_cstr(&err));
	buf_fini(&err);
	return s;
}

/* A whole file, absolute or below the source root; false when there is none. */
static inline bool test_read(struct buf *to, const char *fmt, ...) PP_PRINTF(2, 3);

static inline bool
test_read(struct buf *to, const char *fmt, ...)
{
	char name[512], path[1100];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : test_root,
	    name[0] == '/' ? "" : "/", name);
	buf_init(to, 64 << 20);
	rc = fsio_read_all(AT_FDCWD, path, to);
	return rc == 0;
}

static inline void
test_write(int dirfd, const char *path, struct str bytes, mode_t mode)
{
	int fd = fsio_create(dirfd, path, mode);

	assert_true(fd >= 0);
	assert_int_equal(fsio_write(fd, bytes), 0);
	fsio_chmod(fd, mode);
	fsio_close(fd);
}

/* Calls `each` with the name of every folder of tests/corpus/KIND; returns how many. */
static inline int
corpus_each(const char *kind, void (*each)(const char *name))
{
	char path[1024];
	struct dirent **list;
	int n, did = 0;

	snprintf(path, sizeof(path), "%s/tests/corpus/%s", test_root, kind);
	n = scandir(path, &list, NULL, alphasort);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			each(list[i]->d_name);
			did++;
		}
		free(list[i]);
	}
	free(list);
	return did;
}
