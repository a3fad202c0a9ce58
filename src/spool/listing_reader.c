/*
 * listing_reader.c - messages for a listing, one by one and by id.
 *
 * The daemon keeps what a listing says of deferred mail in memory and reads it by this. What the
 * messages need in common (a buffer, the directories) is kept from one to the next.
 *
 * Two small files each, a million of them, of which nothing is in memory after a boot: then most of
 * the time is that of requests to the disk, one for each file. The system can be told of many files
 * by one call only, where they are mapped side by side. It asks the disk for all of it at once, and
 * where files lie one behind the other, as those of mail that was deferred together do, for many in
 * one request: a third less time and work.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "listing_read.h"
#include "pp/base/mem.h"

struct listing_reader {
	struct listing_read read;
	int dir_fd; /* the directory the last message was in, or -1 */
	char dir[SPOOL_PATH_MAX];
	char scratch[LISTING_SCRATCH];
};

struct listing_reader *
listing_reader_new(const struct spool *s)
{
	struct listing_reader *r = MEM_NEW(struct listing_reader);

	r->dir_fd = -1;
	r->read = (struct listing_read){.spool = s, .scratch = r->scratch, .log_fd = -1};
	return r;
}

void
listing_reader_free(struct listing_reader *r)
{
	if (r == NULL)
		return;
	listing_read_end(&r->read);
	fsio_close(r->dir_fd);
	mem_free(r);
}

int
listing_reader_load_blk(
    struct listing_reader *r, enum queue q, const char *id, struct arena *a, struct listing *ret)
{
	char path[SPOOL_PATH_MAX];
	size_t slash;

	spool_path(r->read.spool, q, id, path);
	slash = str_rindex(str_of(path), '/');
	path[slash] = '\0';
	if (r->dir_fd < 0 || strcmp(path, r->dir) != 0) {
		fsio_close(r->dir_fd);
		r->dir_fd = fsio_open_dir(r->read.spool->dirfd, path);
		memcpy(r->dir, path, slash + 1);
	}
	if (r->dir_fd < 0)
		return r->dir_fd;
	r->read.arena = a;
	return listing_read(&r->read, q, id, r->dir_fd, path + slash + 1, ret);
}

/* The first page of each file; none is looked at, so that no memory is taken. */
struct ahead {
	char *area;
	size_t page, used;
};

static int
open_in(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];

	spool_path(s, q, id, path);
	return fsio_open_quietly(s->dirfd, path);
}

static void
put(struct ahead *a, int fd)
{
	char *to = a->area + a->used * a->page;

	if (fd >= 0 && mmap(to, a->page, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == to)
		a->used++;
	fsio_close(fd);
}

/* Also where nothing is known of it. */
static bool
is_in_memory(int fd)
{
	char byte;
	struct iovec to = {&byte, 1};

	return preadv2(fd, &to, 1, 0, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

void
listing_reader_ahead_blk(struct listing_reader *r, enum queue q,
    const char *(*id)(void *ctx, size_t i), void *ctx, size_t n)
{
	const struct spool *s = r->read.spool;
	struct ahead a = {.page = (size_t)sysconf(_SC_PAGESIZE)};
	size_t room = 2 * n * a.page;
	int fd = n > 1 ? open_in(s, q, id(ctx, 0)) : -1;

	if (fd < 0 || is_in_memory(fd)) {
		fsio_close(fd);
		return;
	}
	a.area = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a.area == MAP_FAILED) {
		fsio_close(fd);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		put(&a, i == 0 ? fd : open_in(s, q, id(ctx, i)));
		put(&a, open_in(s, QUEUE_DEFER, id(ctx, i)));
	}
	madvise(a.area, a.used * a.page, MADV_WILLNEED);
	munmap(a.area, room);
}
