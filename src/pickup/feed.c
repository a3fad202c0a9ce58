/*
 * feed.c - the records of a submission into cleanup, from wherever they come.
 */
#include "internal.h"
#include "pp/map/userlist.h"
#include "pp/runtime/log.h"

bool
pickup_may_submit(const struct userlist *users, uid_t uid, uid_t daemon_uid)
{
	return uid == 0 || uid == daemon_uid || users == NULL || userlist_is_everybody(users);
}

void
pickup_feed_open(struct pickup_feed *f, const struct cleanup_setup *setup)
{
	f->cleanup = cleanup_new(setup);
	f->params = setup->config->params;
	f->line_limit = (size_t)f->params->line_length_limit;
}

void
pickup_feed_envelope(struct pickup_feed *f, const struct pickup_file *file)
{
	const struct envelope *e = &file->envelope;
	const char *id = cleanup_id(f->cleanup);
	struct arena a = {0};

	log_info("pickup", "%s: uid=%ld from=<%s>%s%s", id, (long)file->uid, e->sender,
	    file->requeued ? " orig_id=" : "", file->requeued ? file->id : "");
	cleanup_sender(f->cleanup, e);
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (!e->rcpt[i].done)
			cleanup_rcpt(f->cleanup, &e->rcpt[i]);
	cleanup_content(
	    f->cleanup, arena_printf(&a, "Received: by %s (%s, from userid %ld)\n\tid %s; %s",
			    f->params->myhostname, f->params->mail_name, (long)file->uid, id,
			    cleanup_date(loop_wall_us() / 1000000).text));
	arena_fini(&a);
}

/* Lines of a requeued file may be longer than ours are made. */
static void
feed_line(struct pickup_feed *f, struct str text, bool last)
{
	size_t limit = f->line_limit;

	for (; text.n > limit; text = str_from(text, limit))
		cleanup_line(f->cleanup, str_head(text, limit), false);
	cleanup_line(f->cleanup, text, last);
}

static void
feed_extracted(struct pickup_feed *f, const struct record *rec)
{
	struct recipient r = {.offset = -1};
	struct arena a = {0};
	int64_t v;

	if (rec->type == REC_ATTR && str_starts(rec->payload, STR("notify_flags="))) {
		if (record_number(str_from(rec->payload, 13), &v) == 0 && v > 0 && v < 16)
			f->notify = (unsigned)v;
	} else if (rec->type == REC_RCPT) {
		r.address = arena_str(&a, rec->payload);
		r.notify = f->notify;
		f->notify = 0;
		cleanup_rcpt(f->cleanup, &r);
		arena_fini(&a);
	}
}

void
pickup_feed_record(struct pickup_feed *f, const struct record *rec)
{
	if (rec->type == REC_EXTRACTED)
		f->extracted = true;
	else if (f->extracted)
		feed_extracted(f, rec);
	else
		feed_line(f, rec->payload, rec->type == REC_LINE);
}
