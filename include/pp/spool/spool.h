/*
 * spool.h - the queue directory: its folders, its lock, and moves of whole messages.
 * THREAD spool_* without _blk: any. *_blk block: lanes and commands only. The object is immutable
 *        after spool_open, so every thread may hold it; order per message comes from the lane key.
 * OWNS   the descriptor of the directory, the lock; spool_close gives them back.
 * ERRORS -errno; a human-readable text in `err` where one is taken.
 * SEE    writer.h for new messages, repair.h for the start.
 */
#pragma once
#include "pp/base/fsio.h"

enum queue {
	QUEUE_MAILDROP,
	QUEUE_INCOMING,
	QUEUE_ACTIVE,
	QUEUE_DEFERRED,
	QUEUE_HOLD,
	QUEUE_CORRUPT,
	/* logs, same layout rules */
	QUEUE_DEFER,
	QUEUE_BOUNCE,
	QUEUE_TRACE,
	QUEUE_COUNT,
};

enum { SPOOL_ID_MAX = 64, SPOOL_PATH_MAX = 256 };

struct spool;

struct spool_options {
	const char *directory;        /* queue_directory */
	const char *hash_queue_names; /* "deferred, defer" */
	int hash_queue_depth;
	bool long_ids;              /* enable_long_queue_ids */
	int64_t message_cache_size; /* bytes of fresh mail kept in memory for its delivery */
};

/* Opens the directory; with `create` also makes what is missing, with the modes of the spec
 * (maildrop 1730 and public 2710 for group `gid`; 1733 and 0711 when gid is (gid_t)-1), owned by
 * uid when this process is root. Refuses a directory that belongs to somebody else. */
int spool_open(const struct spool_options *o, bool create, uid_t uid, gid_t gid, struct spool **ret,
    struct buf *err);
void spool_close(struct spool *s);
int spool_dirfd(const struct spool *s);
const char *spool_directory(const struct spool *s);

/* Takes pid/master.pid as Postfix's master does (exclusive flock, "%*d\n" pid inside).
 * -EWOULDBLOCK with the holder's pid (0 = unknown) when somebody has it. */
int spool_lock(struct spool *s, pid_t *ret_holder);
/* Root's lock file can be looked at by this group: a command that has become the owner of the spool
 * must see whether a daemon runs. */
void spool_lock_show(const struct spool *s, gid_t gid);
/* Is it held by a daemon now? 1 and its pid, 0, or -errno. */
int spool_lock_test(const struct spool *s, pid_t *ret_holder);
/* For a command, while it may open it: the file that is locked, for the two below. Or -errno, which
 * they take too: where no daemon was ever, there is nothing to lock. */
int spool_lock_file(const struct spool *s);
/* No daemon starts until spool_unhold. 0, or -EWOULDBLOCK: one runs. */
int spool_hold(int fd);
void spool_unhold(int fd);

/* For a command that changes whole queues beside a daemon, from before it says so until it is
 * through or dead: a descriptor to close, or -errno. */
int spool_changing_blk(const struct spool *s);
/* For the daemon: is one at it? Does not wait. */
bool spool_is_changing(const struct spool *s);

const char *spool_queue_name(enum queue q);
/* QUEUE_COUNT when there is none of that name. */
enum queue spool_queue_find(struct str name);
/* Letters, digits and `_`, 1 to SPOOL_ID_MAX - 1 of them. */
bool spool_id_valid(struct str id);
/* Has it the shape of enable_long_queue_ids? */
bool spool_id_is_long(struct str id);
/* A fresh id of this process: never given twice, never the id of a file that exists by inode rules
 * of either side (short: 5 hex digits of microsecond + seconds in hex; long: Postfix's shape). */
void spool_id_new(struct spool *s, char id[SPOOL_ID_MAX]);
/* "deferred/0/067DDA8CB1A", hashed as configured. */
void spool_path(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX]);

/* rename(2) that never overwrites, making hash directories on the way; mtime < 0 leaves it. */
int spool_move_blk(
    const struct spool *s, const char *id, enum queue from, enum queue to, int64_t mtime);
/* active -> deferred. The time of the file is that of its next attempt, as everybody expects; how
 * many rounds were tried is kept in its nanoseconds, where nobody looks. */
int spool_defer_blk(const struct spool *s, const char *id, int64_t next_attempt, unsigned attempts);
/* What was kept. Nanoseconds of others: one round when there is a log of it, else none. */
unsigned spool_attempts(const struct stat *st, bool has_log);
/* Removes the logs, then the message. */
int spool_remove_blk(const struct spool *s, enum queue q, const char *id);
/* Removes the message alone: for one that never had a log. */
int spool_unlink_blk(const struct spool *s, enum queue q, const char *id);
/* Where a message is now: searches the given queues in order (QUEUE_COUNT ends the list),
 * at the configured hash path, then at the other depths of its own letters. -ENOENT. */
int spool_find_blk(const struct spool *s, const char *id, const enum queue *queues,
    enum queue *ret_queue, struct stat *ret_stat);
/* Its path in that queue, at whatever depth it lies. -ENOENT. */
int
spool_find_path_blk(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX]);

/* One file met by a scan. */
struct spool_entry {
	const char *id;
	enum queue queue;
	struct stat st;
	bool misplaced; /* not at its hash path: use `path` */
	const char *path;
};
/* Calls `each` for every file with a valid id, directory order, any hash depth; a non-zero
 * answer ends the scan and is returned. */
int spool_scan_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx);
/* The same for every name: also those that are no id, and directories that hash nothing. */
int spool_scan_any_blk(const struct spool *s, enum queue q,
    int (*each)(void *ctx, const struct spool_entry *e), void *ctx);
/* Moves a misplaced file to where its id is hashed; 0 when it lies there already. */
int spool_adopt_blk(const struct spool *s, const struct spool_entry *e);
/* Regular and (mode & 0700) == 0700. */
bool spool_ready(const struct stat *st);
