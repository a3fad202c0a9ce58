/*
 * bytes.c - the bytes of a queue file that nobody needs to read from its file.
 *
 * In memory as long as the cache has room. What the journal has need not be: the same object then
 * says where it stands there, and keeps its segment from being used again.
 */
#include <errno.h>
#include "internal.h"

static void
bytes_destroy(struct snap *snap)
{
	struct spool_bytes *b = PP_CONTAINER(snap, struct spool_bytes, snap);

	if (b->text.segment)
		journal_text_give(&b->text);
	else if (!b->is_passing)
		counter_give(b->spool->cache_used, (int64_t)b->bytes.n);
	mem_free((void *)(uintptr_t)b->bytes.p);
	mem_free(b);
}

static struct spool_bytes *
bytes_new(const struct spool *s)
{
	struct spool_bytes *b = MEM_NEW(struct spool_bytes);

	snap_init(&b->snap, bytes_destroy);
	b->spool = s;
	return b;
}

struct spool_bytes *
spool_bytes_in_journal(const struct spool *s, const struct journal_mail *m)
{
	struct spool_bytes *b = bytes_new(s);

	journal_text_take(m, &b->text);
	return b;
}

int
spool_bytes_load_blk(const struct spool_bytes *b, struct str *ret, char **ret_memory)
{
	ssize_t n;

	*ret = b->bytes;
	*ret_memory = NULL;
	if (b->text.segment == NULL)
		return 0;
	*ret_memory = mem_alloc(b->text.n);
	n = journal_text_read_blk(&b->text, *ret_memory, b->text.n, 0);
	*ret = (struct str){*ret_memory, b->text.n};
	if (n == (ssize_t)b->text.n)
		return 0;
	mem_free(*ret_memory);
	*ret_memory = NULL;
	return n < 0 ? (int)n : -EIO;
}

struct spool_bytes *
spool_bytes_keep(struct spool *s, struct buf *from, bool may_pass)
{
	size_t n = buf_str(from).n;
	bool has_room = counter_take(s->cache_used, (int64_t)n, s->cache_size);
	struct spool_bytes *b;

	PP_ASSERT(from->head == 0);
	if (!has_room && !may_pass)
		return NULL;
	b = bytes_new(s);
	b->is_passing = !has_room;
	/* Exactly as long as it is: the buffer has grown by doubling. */
	b->bytes = (struct str){mem_realloc(from->p, n), n};
	buf_init(from, from->max);
	return b;
}
