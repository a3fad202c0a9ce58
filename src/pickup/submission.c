/*
 * submission.c - one file of maildrop on its way through cleanup.
 *
 * Reading runs on the disk lane in batches, cleanup on the loop; at any moment one of the two works
 * on the submission, so nothing is shared. The mail is committed to the queue first and its file
 * removed after that: the other order could lose it. So that a kill between the two does not have
 * it taken in twice, what becomes of the file is noted (intake_new). What is malformed, or
 * refused for good, or comes from a user who may not submit, or no longer, goes to corrupt/:
 * somebody wrote it, and may want it back. Only what is no file is removed.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "internal.h"
#include "pp/map/userlist.h"
#include "pp/runtime/log.h"
#include "pp/spool/receipts.h"
#include "pp/spool/repair.h"

struct submission {
	struct lane_job job;
	struct userlist_query asked; /* whether its owner may submit */
	struct loop *loop;
	struct lane *disk;
	struct cleanup_setup setup;
	struct userlist *users;
	char id[SPOOL_ID_MAX];
	struct pickup_file file;
	struct pickup_feed feed;
	struct intake *intake; /* or NULL */
	int rc;                /* of the job */
	enum pickup_result result;
	void (*done)(void *ctx, const char *id, enum pickup_result r);
	void *done_ctx;
};

static void read_more(struct submission *s);

static void
finish(struct submission *s, enum pickup_result result)
{
	void (*done)(void *, const char *, enum pickup_result) = s->done;
	void *ctx = s->done_ctx;
	char id[SPOOL_ID_MAX];

	memcpy(id, s->id, sizeof(id));
	/* A file that cannot be removed now is then removed by the next start. */
	if (result != PICKUP_LEFT)
		intake_drop(s->intake);
	pickup_file_close(&s->file);
	userlist_unref(s->users);
	cleanup_setup_unref(&s->setup);
	mem_free(s);
	done(ctx, id, result);
}

static void
work_remove(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);
	char path[SPOOL_PATH_MAX];

	spool_path(s->setup.spool, QUEUE_MAILDROP, s->id, path);
	/* The logs of a requeued mail are of its old life. Of others the id may be anybody's. */
	s->rc = s->file.requeued ? spool_remove_blk(s->setup.spool, QUEUE_MAILDROP, s->id)
				 : fsio_unlink(spool_dirfd(s->setup.spool), path);
}

static void
removed(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);
	enum pickup_result result = s->result;

	if (s->rc < 0 && s->rc != -ENOENT) {
		log_warn("pickup", "remove maildrop/%s: %s", s->id, strerror(-s->rc));
		result = result == PICKUP_TAKEN ? PICKUP_LEFT : PICKUP_KEPT;
	}
	finish(s, result);
}

/* The file goes, then the result is told. */
static void
remove_file(struct submission *s, enum pickup_result result)
{
	s->result = result;
	lane_run(s->disk, lane_key(s->id), &s->job, work_remove, removed);
}

static void
work_set_aside(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);

	char path[SPOOL_PATH_MAX];

	s->rc = repair_corrupt_blk(s->setup.spool, QUEUE_MAILDROP, s->id, path);
}

static void
set_aside(struct submission *s, const char *why)
{
	log_warn("pickup", "maildrop/%s from uid %ld: %s: saving the file in corrupt", s->id,
	    (long)s->file.uid, why);
	s->result = PICKUP_DISCARDED;
	lane_run(s->disk, lane_key(s->id), &s->job, work_set_aside, removed);
}

/* rc of opening or reading the file; cleanup is out of it already. */
static void
file_trouble(struct submission *s)
{
	if (s->rc == -ESTALE) {
		finish(s, PICKUP_DISCARDED); /* gone, or no longer offered */
	} else if (s->rc == -EBADMSG && !s->file.no_mail) {
		set_aside(s, s->file.why);
	} else if (s->rc == -EBADMSG) {
		log_warn("pickup", "maildrop/%s from uid %ld: malformed: %s: removed", s->id,
		    (long)s->file.uid, s->file.why);
		remove_file(s, PICKUP_DISCARDED);
	} else {
		log_warn("pickup", "read maildrop/%s: %s%s", s->id, strerror(-s->rc),
		    s->rc == -EACCES ? ": chown it to the owner of the queue" : "");
		finish(s, PICKUP_KEPT);
	}
}

static void
cleaned_up(void *ctx, const struct status *st, const char *id)
{
	struct submission *s = ctx;
	char why[256];

	s->feed.cleanup = NULL;
	if (st->cls == STATUS_OK) {
		remove_file(s, PICKUP_TAKEN);
	} else if (st->cls == STATUS_TEMP) {
		log_warn("pickup", "maildrop/%s: %s: will try again", s->id, st->text);
		finish(s, PICKUP_TROUBLE);
	} else {
		snprintf(why, sizeof(why), "%s %s", status_dsn(st).text, st->text);
		set_aside(s, why);
	}
}

static void
drained(void *ctx)
{
	read_more(ctx);
}

static void
have_records(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);
	struct str in = buf_str(&s->file.records);
	struct record rec;
	size_t used;

	if (s->rc < 0) {
		cleanup_abort(s->feed.cleanup);
		s->feed.cleanup = NULL;
		file_trouble(s);
		return;
	}
	while (record_get(in, &rec, &used) == 0) {
		pickup_feed_record(&s->feed, &rec);
		in = str_from(in, used);
	}
	if (s->file.ended || cleanup_trouble(s->feed.cleanup))
		cleanup_end(s->feed.cleanup, cleaned_up, s);
	else if (cleanup_full(s->feed.cleanup))
		cleanup_on_drain(s->feed.cleanup, drained, s);
	else
		read_more(s);
}

static void
work_read(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);

	s->rc = pickup_file_read_blk(&s->file);
}

static void
read_more(struct submission *s)
{
	lane_run(s->disk, lane_key(s->id), &s->job, work_read, have_records);
}

static void
accept_file(struct submission *s)
{
	pickup_feed_open(&s->feed, &s->setup);
	s->intake = intake_new(s->setup.spool, s->id, &s->file.st, cleanup_id(s->feed.cleanup));
	cleanup_intake(s->feed.cleanup, s->intake);
	pickup_feed_envelope(&s->feed, &s->file);
	read_more(s);
}

static void
owner_known(struct userlist_query *q)
{
	struct submission *s = PP_CONTAINER(q, struct submission, asked);
	char why[USERLIST_NAME_MAX + 80];

	if (q->result == 1) {
		accept_file(s);
	} else if (q->result < 0) {
		log_warn("pickup", "maildrop/%s: authorized_submit_users: %s: will try again",
		    s->id, strerror(-q->result));
		finish(s, PICKUP_KEPT);
	} else {
		snprintf(why, sizeof(why), "User %s(%ld) is not allowed to submit mail", q->name,
		    (long)q->uid);
		set_aside(s, why);
	}
}

static void
opened(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);

	if (s->rc < 0) {
		file_trouble(s);
	} else if (intake_was_handed(s->setup.spool, s->file.uid, s->id)) {
		log_info("pickup",
		    "maildrop/%s from uid %ld: the last run had taken it already: removed", s->id,
		    (long)s->file.uid);
		remove_file(s, PICKUP_TAKEN);
	} else if (pickup_may_submit(s->users, s->file.uid, s->file.daemon_uid)) {
		accept_file(s);
	} else {
		userlist_find(s->users, s->disk, &s->asked, s->file.uid, owner_known);
	}
}

static void
work_open(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);

	s->rc = pickup_file_open_blk(&s->file);
}

static struct submission *
submission_new(const struct cleanup_setup *setup, struct lane *disk, const char *id,
    void (*done)(void *ctx, const char *id, enum pickup_result r), void *ctx)
{
	struct submission *s = MEM_NEW(struct submission);

	s->loop = loop_current();
	s->disk = disk;
	cleanup_setup_ref(&s->setup, setup);
	snprintf(s->id, sizeof(s->id), "%s", id);
	s->done = done;
	s->done_ctx = ctx;
	s->file.spool = setup->spool;
	s->file.id = s->id;
	s->file.line_limit = (size_t)setup->config->params->line_length_limit;
	s->file.daemon_uid = geteuid();
	/* A batch ends behind the record that fills it. */
	buf_init(&s->file.records, PICKUP_BATCH + PICKUP_RECORD_MAX);
	return s;
}

void
submission_start(const struct cleanup_setup *setup, struct lane *disk, const char *id,
    struct userlist *users, void (*done)(void *ctx, const char *id, enum pickup_result r),
    void *ctx)
{
	struct submission *s = submission_new(setup, disk, id, done, ctx);

	if (users)
		userlist_ref(users);
	s->users = users;
	lane_run(disk, lane_key(s->id), &s->job, work_open, opened);
}

void
submission_remove(const struct cleanup_setup *setup, struct lane *disk, const char *id,
    void (*done)(void *ctx, const char *id, enum pickup_result r), void *ctx)
{
	remove_file(submission_new(setup, disk, id, done, ctx), PICKUP_TAKEN);
}
