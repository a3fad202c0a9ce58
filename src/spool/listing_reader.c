/*
 * listing_reader.c - messages for a listing, one by one and by id.
 *
 * The daemon keeps what a listing says of deferred mail in memory and reads it by this. What the
 * messages need in common (a buffer, the directory of the logs) is kept from one to the next.
 */
#include "listing_read.h"
#include "pp/base/mem.h"

struct listing_reader {
	struct listing_read read;
	char scratch[LISTING_SCRATCH];
};

struct listing_reader *
listing_reader_new(const struct spool *s)
{
	struct listing_reader *r = MEM_NEW(struct listing_reader);

	r->read = (struct listing_read){.spool = s, .scratch = r->scratch, .log_fd = -1};
	return r;
}

void
listing_reader_free(struct listing_reader *r)
{
	if (r == NULL)
		return;
	listing_read_end(&r->read);
	mem_free(r);
}

int
listing_reader_load_blk(
    struct listing_reader *r, enum queue q, const char *id, struct arena *a, struct listing *ret)
{
	char path[SPOOL_PATH_MAX];

	spool_path(r->read.spool, q, id, path);
	r->read.arena = a;
	return listing_read(&r->read, q, id, r->read.spool->dirfd, path, ret);
}
