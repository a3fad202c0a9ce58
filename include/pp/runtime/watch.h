/*
 * watch.h - directories under watch: names that come, go or change, told on a loop (inotify).
 * THREAD watch_new, watch_stop and the calls: the loop. watch_add_blk: any that may block.
 *        watch_free: any, after watch_stop and when nobody adds any more.
 * OWNS   the watch; paths are copied. What an event points to lives until the call returns.
 * ERRORS -errno. Where the system has no more watches the caller looks for itself now and then.
 *
 * At rest an event is told at once. Under load they are read a few times per second only, so that
 * who makes thousands of them himself hardly pays for being told.
 */
#pragma once
#include "pp/runtime/loop.h"

enum watch_what {
	WATCH_MADE = 1,    /* a name was made; who made the file may still be writing it */
	WATCH_WRITTEN = 2, /* closed after it was open for writing */
	WATCH_TOUCHED = 4, /* owner, mode or times changed */
	WATCH_CAME = 8,    /* renamed to here */
	WATCH_WENT = 16,   /* renamed away from here */
	WATCH_REMOVED = 32,
};

struct watch_event {
	enum watch_what what;
	bool is_dir;      /* the name is that of a directory */
	int tag;          /* as given to watch_add_blk */
	const char *path; /* of the watched directory, as given to watch_add_blk */
	const char *name;
};

struct watch_calls {
	void (*event)(void *ctx, const struct watch_event *e);
	/* Look for yourself: this directory was replaced or removed and is no longer watched, or
	 * (path NULL) events were lost. */
	void (*lost)(void *ctx, int tag, const char *path);
	/* Everything that was known at one moment has been told. */
	void (*settled)(void *ctx);
};

struct watch;

/* NULL with -errno in ret_rc when the system has no inotify to give. */
struct watch *watch_new(struct loop *l, const struct watch_calls *calls, void *ctx, int *ret_rc);
/* Watches one directory (its names, not those below) for `what`, a sum of enum watch_what. A
 * directory that is watched already stays so. -ECANCELED after watch_stop. */
int watch_add_blk(struct watch *w, int dirfd, const char *path, unsigned what, int tag);
/* Tells, inside the call, what has happened up to now and was not told yet. NULL is taken. */
void watch_catch_up(struct watch *w);
/* No call comes after it. NULL is taken by both. */
void watch_stop(struct watch *w);
void watch_free(struct watch *w);
