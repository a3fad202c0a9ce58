/*
 * names.h - the names in a queue, whatever its hash depth, without a look at the files.
 */
#pragma once
#include "internal.h"

/* A directory being read or, while somebody holds a reference, used to get at its files. */
struct names_dir {
	int fd;
	int level;                 /* 0 = the queue itself */
	char path[SPOOL_PATH_MAX]; /* below the queue directory */
	unsigned refs;             /* of one thread */
	struct names_dir *above;
	void *stream;
};
void names_dir_ref(struct names_dir *d);
/* NULL is taken. */
void names_dir_unref(struct names_dir *d);

struct names {
	const struct spool *spool;
	enum queue queue;
	bool letters;          /* go into one-letter directories */
	bool dots;             /* give names that begin with a dot, too */
	struct names_dir *dir; /* where it is; NULL = at the end */
};

struct name {
	const char *name;   /* until the next call */
	unsigned char type; /* as in struct dirent, never unknown */
	uint64_t inode;
	struct names_dir *dir; /* no reference is given */
};

/* -errno when the directory of the queue cannot be read. */
int names_open(struct names *n, const struct spool *s, enum queue q);
/* One that was opened by the caller: the descriptor becomes ours. */
int names_open_fd(struct names *n, const struct spool *s, enum queue q, int fd, const char *path);
/* Directory order, depth first. 1, 0 = that was all, or -errno. What begins with a dot is left out,
 * and so are directories that were gone into. */
int names_next(struct names *n, struct name *ret);
void names_close(struct names *n);
/* Below the queue directory. False: that is too long for a file of ours. */
bool names_path(const struct name *n, char path[SPOOL_PATH_MAX]);
/* Is that the directory which the id is hashed to? */
bool names_in_place(const struct spool *s, enum queue q, const struct name *n);
