/*
 * listing_reader.c - messages for a listing, one by one: by id, or a queue as far as is wanted.
 *
 * The daemon lists what is not in its memory a piece at a time, when the client has taken the piece
 * before; a lane's thread must not stand and wait for that, so the place in the queue is kept here.
 */
#include <dirent.h>
#include "listing_read.h"
#include "names.h"
#include "pp/base/mem.h"

struct listing_reader {
	struct listing_read read;
	enum queue queue; /* QUEUE_COUNT = in none */
	struct names names;
	char id[SPOOL_ID_MAX];
	char scratch[LISTING_SCRATCH];
};

struct listing_reader *
listing_reader_new(const struct spool *s)
{
	struct listing_reader *r = MEM_NEW(struct listing_reader);

	r->read = (struct listing_read){.spool = s, .scratch = r->scratch, .log_fd = -1};
	r->queue = QUEUE_COUNT;
	return r;
}

void
listing_reader_free(struct listing_reader *r)
{
	if (r == NULL)
		return;
	names_close(&r->names);
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

int
listing_reader_open_blk(struct listing_reader *r, enum queue q)
{
	int rc;

	names_close(&r->names);
	rc = names_open(&r->names, r->read.spool, q);
	r->queue = rc < 0 ? QUEUE_COUNT : q;
	return rc;
}

int
listing_reader_next_blk(struct listing_reader *r, struct arena *a, struct listing *ret)
{
	struct name n;
	int rc = 0;

	while (r->queue != QUEUE_COUNT && (rc = names_next(&r->names, &n)) == 1) {
		if (n.type != DT_REG || !spool_id_valid(str_of(n.name)))
			continue;
		memcpy(r->id, n.name, strlen(n.name) + 1);
		r->read.arena = a;
		return listing_read(&r->read, r->queue, r->id, n.dir->fd, r->id, ret) == 0 ? 1 : 2;
	}
	names_close(&r->names);
	r->queue = QUEUE_COUNT;
	return rc;
}
