/*
 * bulk_internal.h - what the files of bulk actions share.
 *
 * deleted/BATCH/LEAF/FILE: a batch for each run of a deletion, locked by flock(2) while somebody is
 * at work on it; a leaf for each directory that files came from, called as its path with dots for
 * slashes ("deferred.0", "hold"), so that it is known what is in it and where it was.
 * The logs of what lies there are still in their own directories, until the purge comes to it.
 */
#pragma once
#include "names.h"
#include "pp/spool/bulk.h"

/* A file there that is not ready may be on its way to become mail. */
bool bulk_has_writers(enum queue q);
/* Tells the caller; nothing when rc >= 0 or when it has gone. */
void bulk_failed(const struct bulk *b, enum queue q, const char *id, int rc);

/* "deferred/0" <-> "deferred.0". */
void bulk_leaf_name(const char *path, char leaf[SPOOL_PATH_MAX]);
/* QUEUE_COUNT: that is no leaf. */
enum queue bulk_leaf_path(const char *leaf, char path[SPOOL_PATH_MAX]);

/* Which log directories have a file at all; a bit for each queue. */
unsigned bulk_logs_present(const struct spool *s);
/* Unlinks the logs of id. Any thread. */
int bulk_logs_unlink(const struct spool *s, unsigned present, const char *id);

/* Is it still being written, or may become mail? Without a daemon only submissions are. */
bool bulk_half_written(const struct bulk *b, enum queue q, const struct stat *st);
/* Postfix counts those. */
bool bulk_counts(const struct stat *st);
/* Those that are empty. */
void bulk_remove_leaves(const struct spool *s, int batch_fd);

/* pair.c: where the id lies in q, when that is a second name of what is in hold. */
bool pair_is(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX]);
