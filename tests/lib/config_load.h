/*
 * config_load.h - loads configurations of a scratch directory, for the tests of config/.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/fsio.h"
#include "pp/config/settings.h"

#define ENV(a) ((char *const *)(uintptr_t)(a)) /* environ is not const */

static char dir[] = "/tmp/config_test.XXXXXX";

static void
put(const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (text)
		assert_int_equal(fsio_replace(AT_FDCWD, path, str_of(text), 0644), 0);
	else
		unlink(path);
}

struct loaded {
	struct config *cfg;
	struct config_report report;
	struct buf notes; /* "file:line text" lines, the directory taken off */
	int rc;
};

static void
load_source(struct loaded *l, struct config_source *src)
{
	*l = (struct loaded){0};
	config_report_init(&l->report);
	buf_init(&l->notes, 100000);
	l->rc = config_load(src, &l->cfg, &l->report);
	for (const struct config_note *n = l->report.first; n; n = n->next) {
		struct str file = str_of(n->file);

		if (str_starts(file, str_of(dir)))
			file = str_from(file, sizeof(dir));
		buf_printf(&l->notes, "%s %.*s:%d %s\n", n->is_error ? "E" : "W", STR_FMT(file),
		    n->line, n->text);
	}
}

static void
load(struct loaded *l, const char *main_cf, const char *master_cf, const char *const *env)
{
	struct config_source src = {
	    .environ = ENV(env), .is_root = true, .hostname = "h.example.org"};

	put("main.cf", main_cf);
	put("master.cf", master_cf);
	if (main_cf || master_cf)
		src.dir = dir;
	load_source(l, &src);
}

static void
done(struct loaded *l)
{
	if (l->cfg)
		snap_unref(&l->cfg->snap);
	config_report_fini(&l->report);
	buf_fini(&l->notes);
}

/* Loads, expects success without a word. */
static inline void
load_clean(struct loaded *l, const char *main_cf, const char *master_cf)
{
	load(l, main_cf, master_cf, NULL);
	if (l->rc != 0 || l->notes.n > 0)
		fail_msg("%d %s", l->rc, buf_cstr(&l->notes));
}

static int
setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int
teardown(void **state)
{
	put("main.cf", NULL);
	put("master.cf", NULL);
	put("secret", NULL);
	put("mailname", NULL);
	return rmdir(dir);
}
