/*
 * late.c - loads a library and fills a table with the addresses of its functions.
 *
 * All or nothing: the table is written only when each function was found, so a library of another
 * version is an error with a name in it, not a jump to nowhere later.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include "pp/base/assert.h"
#include "pp/runtime/late.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *
open_first(const char *files, struct buf *err)
{
	void *library = NULL;

	for (const char *file = files; *file && library == NULL; file += strlen(file) + 1) {
		library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
		/* The reason of the first: that is the one which was built for. */
		if (library == NULL && file == files)
			buf_adds(err, dlerror());
	}
	return library;
}

static int
load(const struct late *l, struct buf *err)
{
	void *library = open_first(l->files, err), *found[LATE_MAX];
	size_t n = 0;

	if (library == NULL)
		return -ELIBACC;
	buf_clear(err); /* of a first file that another stood in for */
	for (const char *name = l->names; *name; name += strlen(name) + 1) {
		PP_ASSERT(n < LATE_MAX);
		found[n] = dlsym(library, name);
		if (found[n++] == NULL) {
			buf_printf(err, "%s: %s is missing", l->files, name);
			return -ELIBACC;
		}
	}
	memcpy(l->calls, found, n * sizeof(*found));
	return 0;
}

int
late_load_blk(const struct late *l, struct buf *err)
{
	struct buf why = {.max = 1024};
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (l->calls[0] == NULL)
		rc = load(l, &why);
	pthread_mutex_unlock(&lock);
	if (rc < 0)
		buf_printf(err, "a library cannot be loaded: %s", buf_cstr(&why));
	buf_fini(&why);
	return rc;
}
