/*
 * submission.c - one file of maildrop on its way through cleanup.
 *
 * Reading runs on the disk lane in batches, cleanup on the loop; at any moment one of the two works
 * on the submission, so nothing is shared. The mail is committed to the queue first and its file
 * removed after that: the other order could lose it. So that a kill between the two does not have
 * it taken in twice, what becomes of the file is noted (handover_new). What is malformed, or
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
	struct cleanup *cleanup;
	struct handover *handover; /* or NULL */
	size_t used;               /* of file.records */
	unsigned notify;           /* of the next extracted recipient */
	bool extracted;
	int rc; /* of the job */
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
		handover_drop(s->handover);
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

	s->cleanup = NULL;
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

/* Lines of a requeued file may be longer than ours are made. */
static void
feed_line(struct submission *s, struct str text, bool last)
{
	size_t limit = s->file.line_limit;

	for (; text.n > limit; text = str_from(text, limit))
		cleanup_line(s->cleanup, str_head(text, limit), false);
	cleanup_line(s->cleanup, text, last);
}

static void
feed_extracted(struct submission *s, const struct record *rec)
{
	struct recipient r = {.offset = -1};
	struct arena a = {0};
	int64_t v;

	if (rec->type == REC_ATTR && str_starts(rec->payload, STR("notify_flags="))) {
		if (record_number(str_from(rec->payload, 13), &v) == 0 && v > 0 && v < 16)
			s->notify = (unsigned)v;
	} else if (rec->type == REC_RCPT) {
		r.address = arena_str(&a, rec->payload);
		r.notify = s->notify;
		s->notify = 0;
		cleanup_rcpt(s->cleanup, &r);
		arena_fini(&a);
	}
}

static void
feed(struct submission *s, const struct record *rec)
{
	if (rec->type == REC_EXTRACTED)
		s->extracted = true;
	else if (s->extracted)
		feed_extracted(s, rec);
	else
		feed_line(s, rec->payload, rec->type == REC_LINE);
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
		cleanup_abort(s->cleanup);
		s->cleanup = NULL;
		file_trouble(s);
		return;
	}
	while (record_get(in, &rec, &used) == 0) {
		feed(s, &rec);
		in = str_from(in, used);
	}
	if (s->file.ended || cleanup_trouble(s->cleanup))
		cleanup_end(s->cleanup, cleaned_up, s);
	else if (cleanup_full(s->cleanup))
		cleanup_on_drain(s->cleanup, drained, s);
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
start_cleanup(struct submission *s)
{
	const struct params *p = s->setup.config->params;
	const struct envelope *e = &s->file.envelope;
	struct arena a = {0};
	const char *id;

	s->cleanup = cleanup_new(&s->setup);
	id = cleanup_id(s->cleanup);
	s->handover = handover_new(s->setup.spool, s->id, &s->file.st, id);
	cleanup_hand_over(s->cleanup, s->handover);
	log_info("pickup", "%s: uid=%ld from=<%s>%s%s", id, (long)s->file.uid, e->sender,
	    s->file.requeued ? " orig_id=" : "", s->file.requeued ? s->id : "");
	cleanup_sender(s->cleanup, e);
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (!e->rcpt[i].done)
			cleanup_rcpt(s->cleanup, &e->rcpt[i]);
	cleanup_content(s->cleanup,
	    arena_printf(&a, "Received: by %s (%s, from userid %ld)\n\tid %s; %s", p->myhostname,
		p->mail_name, (long)s->file.uid, id, cleanup_date(loop_wall_us() / 1000000).text));
	arena_fini(&a);
}

static void
accept_file(struct submission *s)
{
	start_cleanup(s);
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

/* The owner of a file is who put it there, whatever program that was. */
static bool
may_submit(const struct submission *s)
{
	uid_t uid = s->file.uid;

	return uid == 0 || uid == s->file.daemon_uid || s->users == NULL ||
	       userlist_is_everybody(s->users);
}

static void
opened(struct lane_job *job)
{
	struct submission *s = PP_CONTAINER(job, struct submission, job);

	if (s->rc < 0)
		file_trouble(s);
	else if (may_submit(s))
		accept_file(s);
	else
		userlist_find(s->users, s->disk, &s->asked, s->file.uid, owner_known);
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
