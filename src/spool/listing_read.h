/*
 * listing_read.h - one message for a listing, for as little as it may cost.
 */
#pragma once
#include "internal.h"
#include "pp/spool/listing.h"

enum { LISTING_SCRATCH = 16 * 1024 };

/* What one thread needs to read many. */
struct listing_read {
	const struct spool *spool;
	struct arena *arena; /* for what is told */
	char *scratch;       /* LISTING_SCRATCH bytes */
	bool logs_in_place;  /* no log lies at another hash depth than its own */
	int log_fd;          /* the directory the last log was in, or -1 */
	char log_dir[SPOOL_PATH_MAX];
};

/* name: below dirfd. 1 = nothing to show, -ENOENT = gone. */
int listing_read(struct listing_read *r, enum queue q, const char *id, int dirfd, const char *name,
    struct listing *ret);
void listing_read_end(struct listing_read *r);
