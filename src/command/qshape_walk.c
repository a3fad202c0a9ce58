/*
 * qshape_walk.c - every file below the queues, read by a few threads.
 *
 * One thread walks directories and hands out names by the handful; files are read where there is a
 * hand free, and counted by the one thread that has the table. Trouble with a directory is told on
 * standard error, and the others are counted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "pp/base/fsio.h"
#include "pp/runtime/crew.h"
#include "qshape.h"

enum {
	DEPTH_MAX = 32,
	PATH_BYTES = 4096,
	PIECES = 64,
	PIECE_FILES = 64,
	NAME_LENGTH_MIN = 6,
	MESSAGES_MAX = 256 << 20,
};

struct piece {
	struct buf paths; /* NUL behind each */
	struct buf messages;
};

struct walk {
	char *const *queues;
	size_t queue_count, queue; /* and the next one */
	DIR *dir[DEPTH_MAX];
	size_t length[DEPTH_MAX]; /* of path, without what lies in it */
	unsigned depth;
	char path[PATH_BYTES];
	bool by_sender;
	struct piece piece[PIECES];
	void (*counted)(void *ctx, struct str messages);
	void *ctx;
};

static bool
is_queue_file(const char *name)
{
	size_t n = 0;

	while (str_isalnum(name[n]))
		n++;
	return n >= NAME_LENGTH_MIN && name[n] == '\0';
}

static void
complain(const struct walk *w, const char *name)
{
	bool may_enter = faccessat(AT_FDCWD, w->path, X_OK, AT_EACCESS) == 0;
	const char *why = strerror(errno);

	if (may_enter)
		fprintf(stderr, "Can't opendir(%s): %s\n", w->path, why);
	else if (w->depth == 0)
		fprintf(stderr, "Can't cd to %s: %s\n", w->path, why);
	else
		fprintf(stderr, "Can't cd to (%.*s/) %s: %s\n", (int)w->length[w->depth - 1],
		    w->path, name, why);
}

/* The directory at w->path. */
static void
enter(struct walk *w, const char *name)
{
	int fd = w->depth < DEPTH_MAX ? fsio_open_dir(AT_FDCWD, w->path) : -ELOOP;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL) {
		errno = fd < 0 ? -fd : errno;
		if (errno != ENOENT)
			complain(w, name);
		fsio_close(fd);
		return;
	}
	w->dir[w->depth] = dir;
	w->length[w->depth++] = strlen(w->path);
}

static void
leave(struct walk *w)
{
	closedir(w->dir[--w->depth]);
}

static void
add_file(struct walk *w, struct piece *p)
{
	buf_adds(&p->paths, w->path);
	buf_addc(&p->paths, '\0');
}

/* Whether it is a directory, by what readdir says or the file itself. */
static bool
is_directory(const struct walk *w, const struct dirent *d)
{
	struct stat st;

	if (d->d_type != DT_UNKNOWN)
		return d->d_type == DT_DIR;
	return fsio_stat(AT_FDCWD, w->path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* One entry of the innermost directory. 1 = it is a file for the piece. */
static int
step(struct walk *w, struct piece *p)
{
	size_t length = w->length[w->depth - 1];
	struct dirent *d = readdir(w->dir[w->depth - 1]);

	if (d == NULL) {
		leave(w);
		return 0;
	}
	if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
	    length + 1 + strlen(d->d_name) >= PATH_BYTES)
		return 0;
	snprintf(w->path + length, PATH_BYTES - length, "/%s", d->d_name);
	if (is_directory(w, d))
		enter(w, d->d_name);
	else if (is_queue_file(d->d_name)) {
		add_file(w, p);
		return 1;
	}
	return 0;
}

/* The next queue that was named. */
static int
begin(struct walk *w, struct piece *p)
{
	const char *name = w->queues[w->queue++], *slash = strrchr(name, '/');
	struct stat st;

	snprintf(w->path, PATH_BYTES, "%s", name);
	if (fsio_stat(AT_FDCWD, name, &st) < 0) {
		fprintf(stderr, "Can't stat %s: %s\n", name, strerror(errno));
		return 0;
	}
	if (S_ISDIR(st.st_mode)) {
		enter(w, name);
		return 0;
	}
	if (!is_queue_file(slash ? slash + 1 : name))
		return 0;
	add_file(w, p);
	return 1;
}

static int
make(void *ctx, unsigned piece)
{
	struct walk *w = ctx;
	struct piece *p = &w->piece[piece];
	int files = 0;

	buf_clear(&p->paths);
	while (files < PIECE_FILES && (w->depth > 0 || w->queue < w->queue_count))
		files += w->depth > 0 ? step(w, p) : begin(w, p);
	return files > 0;
}

static void
work(void *ctx, unsigned piece)
{
	struct walk *w = ctx;
	struct piece *p = &w->piece[piece];

	buf_clear(&p->messages);
	for (struct str rest = buf_str(&p->paths); rest.n > 0;
	     rest = str_from(rest, strlen(rest.p) + 1))
		qshape_file(rest.p, w->by_sender, &p->messages);
}

static int
take(void *ctx, unsigned piece)
{
	struct walk *w = ctx;

	w->counted(w->ctx, buf_str(&w->piece[piece].messages));
	return 0;
}

void
qshape_walk(char *const *paths, size_t n, bool by_sender,
    void (*counted)(void *ctx, struct str messages), void *ctx)
{
	struct walk *w = MEM_NEW(struct walk);
	const struct crew crew = {.threads = crew_threads(),
	    .pieces = PIECES,
	    .make = make,
	    .work = work,
	    .take = take,
	    .ctx = w};

	*w = (struct walk){.queues = paths,
	    .queue_count = n,
	    .by_sender = by_sender,
	    .counted = counted,
	    .ctx = ctx};
	for (unsigned i = 0; i < PIECES; i++) {
		buf_init(&w->piece[i].paths, (size_t)PIECE_FILES * PATH_BYTES);
		buf_init(&w->piece[i].messages, MESSAGES_MAX);
	}
	crew_run_blk(&crew);
	for (unsigned i = 0; i < PIECES; i++) {
		buf_fini(&w->piece[i].paths);
		buf_fini(&w->piece[i].messages);
	}
	mem_free(w);
}
