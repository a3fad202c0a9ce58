/*
 * journal_mail.c - one message in the journal: what is done of it, and its bytes.
 *
 * What is done is a bit in a page of the file that is mapped: a mark costs no system call and
 * outlives the process. Any thread may set one, for each message has bytes of its own.
 */
#include "segment.h"

void
journal_text_take(const struct journal_mail *m, struct journal_text *ret)
{
	snap_ref(&m->segment->snap);
	*ret = (struct journal_text){m->segment, m->at, m->n};
}

void
journal_text_give(struct journal_text *t)
{
	snap_unref(&t->segment->snap);
	t->segment = NULL;
}

ssize_t
journal_text_read_blk(const struct journal_text *t, char *to, size_t n, off_t at)
{
	size_t left = at < (off_t)t->n ? t->n - (size_t)at : 0;

	return fsio_pread(t->segment->fd, to, n < left ? n : left, t->at + at);
}

bool
journal_is_filling(const struct journal_mail *m)
{
	struct journal *j = m->segment->journal;

	return !counter_take(&j->used, 0, (int64_t)j->limit * 3 / 4);
}

void
journal_mark(struct journal_mail *m, size_t n)
{
	PP_ASSERT(m->unit + 1 + n / JOURNAL_BITS < JOURNAL_UNITS);
	segment_map(m->segment)[m->unit + 1 + n / JOURNAL_BITS] |= (char)(1u << n % JOURNAL_BITS);
}

void
journal_done(struct journal_mail *m)
{
	struct segment *g = m->segment;

	segment_map(g)[m->unit] |= JOURNAL_ALL_DONE;
	mem_free(m);
	snap_unref(&g->snap);
}

void
journal_leave(struct journal_mail *m)
{
	mem_free(m);
}
