/*
 * internal.h - what the files of spool/ share and nobody else sees.
 */
#pragma once
#include "pp/base/mem.h"
#include "pp/runtime/counter.h"
#include "pp/runtime/lane.h"
#include "pp/spool/spool.h"
#include "pp/spool/writer.h"

#define SPOOL_DELETED "deleted" /* mail that is to be unlinked: bulk.h */
#define SPOOL_JOURNAL "journal"
#define SPOOL_LOCK_FILE "pid/master.pid"

enum {
	SPOOL_DEPTH_MAX = 16,   /* levels of one-letter directories */
	SPOOL_SEARCH_DEPTH = 4, /* other depths at which a missing id is looked for */
	RECORD_PAYLOAD_MAX = 16 * 1024 * 1024,
};

struct spool {
	char *directory;
	int dirfd;
	int lock_fd; /* -1 = not held */
	bool hashed[QUEUE_COUNT];
	int depth;
	bool long_ids;
	int queue_fd[QUEUE_COUNT]; /* incoming and hold, kept open for their fsync; else -1 */
	int64_t cache_size;
	struct counter *cache_used;     /* bytes of spool_bytes alive */
	struct counter *last_id;        /* microseconds of the last id given */
	struct receipts_file *receipts; /* or NULL */
	struct intakes_left *intakes;   /* from the replay to receipts_new_blk; or NULL */
	struct lane *lane;
	struct journal *journal; /* or NULL */
	spool_commit_hook *hook;
	void *hook_ctx;
};

/* The ids to come are later than this one. */
void spool_id_seen(const struct spool *s, const char *id);
/* With the lock: when the ids are ahead of the clock, they stay so after the next start. */
void spool_ids_keep(const struct spool *s);

/* The letters a file of this id is hashed by; always SPOOL_DEPTH_MAX of them. */
void spool_hash_letters(const char *id, char letters[SPOOL_DEPTH_MAX + 1]);
/* The path at another depth than the configured one. */
void spool_path_depth(enum queue q, const char *id, int depth, char path[SPOOL_PATH_MAX]);
/* Makes the one-letter directories above `path`. */
int spool_make_parents(const struct spool *s, const char *path);
/* fsync of the directory that holds `path` of queue q. */
int spool_sync_parent(const struct spool *s, enum queue q, const char *path);
/* Where the id really is in q: at its hash path, else at any other depth. -ENOENT. */
int spool_locate(const struct spool *s, enum queue q, const char *id, char path[SPOOL_PATH_MAX],
    struct stat *ret);
/* A new file, 0600, hash directories made. */
int spool_create_file(const struct spool *s, const char *path);
/* Mode, fsync, fsync of the directory: from here on it is mail. */
int spool_finish_file(const struct spool *s, enum queue q, const char *path, int fd, mode_t mode);
/* All of it; on failure the file is removed. */
int spool_write_file(
    const struct spool *s, enum queue q, const char *path, struct str bytes, mode_t mode);

/* Takes the memory of `from`, when the cache has room for it, or when it may pass without being
 * counted; `from` is empty then. Else NULL. */
struct spool_bytes *spool_bytes_keep(struct spool *s, struct buf *from, bool may_pass);

/* One of the spool's directories, with the modes that Postfix gives it. */
struct directory {
	const char *name;
	mode_t mode, mode_no_group;
	bool to_group, to_root;
	bool ours; /* Postfix has none */
};
/* 1 = made, 0 = was there, else -errno. */
int spool_make_directory(int dirfd, const struct directory *d, uid_t uid, gid_t gid);
extern const struct directory spool_directories[];
extern const size_t spool_directory_count;
