/*
 * repair_internal.h - what the files of the repair share.
 */
#pragma once
#include "internal.h"
#include "pp/spool/repair.h"

struct repair {
	const struct spool *spool;
	enum queue queue;
	int64_t now;
	repair_tell *tell;
	void *ctx;
};

/* Tells the caller; nothing when it has gone. */
void
repair_say(const struct repair *r, enum repair_what what, const char *path, const char *to, int rc);
