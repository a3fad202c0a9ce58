/*
 * journal_kept.c - what the last run left in the journal and no disk has room for as files: it is
 * young mail again.
 *
 * Its segments become the oldest of this run's journal, so everything else goes the way of all
 * young mail: it is delivered from there, marked there, becomes files when there is room, and who
 * is killed meanwhile finds it as it was. Only one segment is in memory at a time.
 */
#include <errno.h>
#include <stdio.h>
#include "journal_left.h"
#include "segment.h"

struct journal_kept {
	struct journal_left *left;
	struct segment *of[JOURNAL_OLD_MAX]; /* NULL: it could not be opened */
	size_t at;
};

static int
open_segment(struct journal *j, const struct journal_old *old, struct segment **ret)
{
	struct segment *g = MEM_NEW(struct segment);
	char path[JOURNAL_NAME_MAX];
	struct stat st;
	int rc;

	journal_segment_path(old->number, path);
	g->journal = j;
	g->number = old->number;
	g->life = old->head;
	g->fd = fsio_open_update(j->spool->dirfd, path);
	rc = g->fd < 0 ? g->fd : fstat(g->fd, &st) < 0 ? -errno : segment_map_front(g);
	if (rc < 0) {
		segment_free(g);
		return rc;
	}
	g->next = JOURNAL_UNITS; /* nothing is added in this life of it */
	g->ready = (uint32_t)((st.st_size - JOURNAL_FRONT) / JOURNAL_UNIT);
	snap_init(&g->snap, segment_unused); /* a reference until its mail is taken */
	TAILQ_INSERT_TAIL(&j->segments, g, link);
	j->count++;
	counter_take(&j->used, 1, INT64_MAX);
	*ret = g;
	return 0;
}

int
journal_adopt_blk(struct journal *j, struct journal_kept **ret)
{
	struct journal_kept *k = MEM_NEW(struct journal_kept);
	int rc = journal_left_new_blk(j->spool, &k->left), first = rc;

	for (size_t i = 0; rc == 0 && i < k->left->n; i++) {
		const struct journal_old *old = &k->left->old[i];

		if (j->number <= old->number)
			j->number = old->number + 1;
		j->generation = old->head.generation; /* sorted by it */
		rc = open_segment(j, old, &k->of[i]);
		first = first < 0 ? first : rc;
		rc = 0;
	}
	*ret = k;
	return first;
}

void
journal_kept_free(struct journal_kept *k)
{
	if (k)
		journal_left_free(k->left);
	mem_free(k);
}

struct taking {
	struct journal_kept *kept;
	void (*each)(void *ctx, struct spool_arrival *a);
	void *ctx;
};

static struct journal_mail *
mail_new(struct segment *g, const struct journal_left_entry *e)
{
	struct journal_mail *m = MEM_NEW(struct journal_mail);

	m->segment = g;
	m->unit = e->unit;
	m->n = (uint32_t)e->file.n;
	m->at =
	    segment_offset(e->unit) + (off_t)(sizeof(struct journal_entry_head) + strlen(e->id));
	snap_ref(&g->snap);
	return m;
}

static int
take_one(void *ctx, struct journal_left_entry *e)
{
	struct taking *t = ctx;
	struct segment *g = t->kept->of[t->kept->at];
	struct spool_arrival *a;
	struct buf memory;
	struct str file;
	int rc = journal_left_file(e, &memory, &file);

	if (rc == 0 && memory.n == 0)
		rc = buf_add(&memory, file);
	if (rc == 0) {
		a = MEM_NEW(struct spool_arrival);
		snprintf(a->id, sizeof(a->id), "%s", e->id);
		a->queue = QUEUE_INCOMING;
		a->bytes = spool_bytes_keep(g->journal->spool, &memory, true);
		a->mail = mail_new(g, e);
		t->each(t->ctx, a);
	}
	buf_fini(&memory);
	return rc;
}

int
journal_kept_next_blk(
    struct journal_kept *k, void (*each)(void *ctx, struct spool_arrival *a), void *ctx)
{
	struct taking t = {k, each, ctx};
	struct segment *g;
	int rc;

	while (k->at < k->left->n && k->of[k->at] == NULL)
		k->at++;
	if (k->at == k->left->n)
		return 0;
	g = k->of[k->at];
	rc = journal_left_each_blk(k->left, &k->left->old[k->at], take_one, &t);
	k->at++;
	/* Where it could not be read to its end it is not free before that was tried again. */
	if (rc == 0)
		snap_unref(&g->snap);
	return rc < 0 ? rc : 1;
}
