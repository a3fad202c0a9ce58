/*
 * sync.c - new queue files made safe together.
 *
 * A file of its own sync costs the disk two waits for each mail, and the journal, which has the
 * mail safe already, waits behind them. So files are only written, and while one sync of the whole
 * file system runs the next ones gather. Nobody waits for it but those who have something to write
 * down about such a mail.
 */
#include <errno.h>
#include "internal.h"

enum { FEW = 4 };

static void sync_start(struct qmgr *q);

/* A few are not worth the wait for what others have written to the same file system. */
static int
sync_few(const struct qmgr *q)
{
	struct qmgr_unsynced *u;
	unsigned n = 0;
	int rc = 0;

	STAILQ_FOREACH (u, &q->syncing, link)
		n++;
	if (n > FEW)
		return -E2BIG;
	STAILQ_FOREACH (u, &q->syncing, link)
		if (rc == 0)
			rc = writer_file_sync_blk(q->spool, u->queue, u->id);
	return rc;
}

static void
sync_work(struct lane_job *job)
{
	struct qmgr *q = PP_CONTAINER(job, struct qmgr, sync_job);
	struct qmgr_unsynced *u;

	q->sync_rc = sync_few(q);
	if (q->sync_rc == -E2BIG || q->sync_rc == -ENOENT)
		q->sync_rc = fsio_sync_all(spool_dirfd(q->spool));
	if (q->sync_rc == 0)
		return;
	/* Half of it may be there: made again, or by the next start. */
	STAILQ_FOREACH (u, &q->syncing, link)
		spool_unlink_blk(q->spool, u->queue, u->id);
}

static void
sync_done(struct lane_job *job)
{
	struct qmgr *q = PP_CONTAINER(job, struct qmgr, sync_job);
	STAILQ_HEAD(, qmgr_unsynced) over = STAILQ_HEAD_INITIALIZER(over);
	struct qmgr_unsynced *u;
	int rc = q->sync_rc;

	q->jobs--;
	q->is_syncing = false;
	STAILQ_CONCAT(&over, &q->syncing);
	while ((u = STAILQ_FIRST(&over)) != NULL) {
		STAILQ_REMOVE_HEAD(&over, link);
		u->synced(u, rc); /* may free it */
	}
	sync_start(q);
	qmgr_idle_check(q);
}

static void
sync_start(struct qmgr *q)
{
	/* After the deadline of a stop the lanes are on their way out: the journal has it all. */
	if (q->is_syncing || STAILQ_EMPTY(&q->unsynced) || (q->stopping && q->stopped == NULL))
		return;
	STAILQ_CONCAT(&q->syncing, &q->unsynced);
	q->is_syncing = true;
	q->jobs++;
	lane_run(q->o.background, LANE_SYNC, &q->sync_job, sync_work, sync_done);
}

void
qmgr_sync(struct qmgr *q, struct qmgr_unsynced *u)
{
	STAILQ_INSERT_TAIL(&q->unsynced, u, link);
	sync_start(q);
}
