/*
 * listing_reader.c - messages for a listing, one by one and by id.
 *
 * The daemon keeps what a listing says of deferred mail in memory and reads it by this. What the
 * messages need in common (a buffer, the directories) is kept from one to the next.
 */
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
