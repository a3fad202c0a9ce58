/*
 * kept.c - mail of a run that was killed, which is still in the journal.
 *
 * It arrives as if it were new, one segment at a time, so that all of it is never in memory at once
 * twice.
 */
#include "internal.h"

struct taking {
	struct lane_job job;
	struct qmgr *q;
	struct post *first, **last; /* of arrivals */
	int rc;
};

static void
came(void *ctx, struct spool_arrival *a)
{
	struct taking *t = ctx;

	a->post.next = NULL;
	*t->last = &a->post;
	t->last = &a->post.next;
}

static void
next_work(struct lane_job *job)
{
	struct taking *t = PP_CONTAINER(job, struct taking, job);

	t->rc = journal_kept_next_blk(t->q->o.kept, came, t);
}

static void
next_done(struct lane_job *job)
{
	struct taking *t = PP_CONTAINER(job, struct taking, job);
	struct qmgr *q = t->q;
	struct post *p = t->first;

	q->jobs--;
	while (p) {
		struct spool_arrival *a = PP_CONTAINER(p, struct spool_arrival, post);

		p = p->next;
		if (!q->stopping)
			qmgr_message_take(q, a);
		spool_arrival_free(a);
	}
	if (t->rc < 0)
		log_warn("qmgr",
		    "a file of the journal cannot be read: %s: mail in it stays there for the next "
		    "start",
		    strerror(-t->rc));
	if (t->rc == 0) {
		journal_kept_free(q->o.kept);
		q->o.kept = NULL;
	}
	qmgr_kept_take(q);
	mem_free(t);
	qmgr_idle_check(q);
}

void
qmgr_kept_take(struct qmgr *q)
{
	struct taking *t;

	if (q->o.kept == NULL || q->stopping) {
		qmgr_commands_go_on(q);
		return;
	}
	t = MEM_NEW(struct taking);
	t->q = q;
	t->last = &t->first;
	q->jobs++;
	lane_run(q->o.disk, lane_key("journal"), &t->job, next_work, next_done);
}
