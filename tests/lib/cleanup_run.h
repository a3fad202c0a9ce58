/*
 * cleanup_run.h - one message through cleanup, with a real loop, lane and spool, for tests.
 */
#pragma once
#include "spool_dir.h"
#include "pp/cleanup/cleanup.h"
#include "pp/runtime/loop.h"
#include "pp/spool/reader.h"

/* One piece of a line, as SMTP or pickup would give it. */
struct run_piece {
	struct str bytes;
	bool last;
};

struct cleanup_run {
	char dir[64];
	struct spool *spool;
	struct config *config;
	struct route *route;
	struct lane *lane;
	struct loop *loop;
	struct post post;
	struct cleanup *cleanup;
	/* The message. */
	const struct envelope *envelope;
	const char *received;
	struct run_piece *pieces;
	size_t piece_count, piece_at;
	const struct recipient *extracted;
	size_t extracted_count;
	bool hold, abort_it;
	/* The outcome. */
	struct status status; /* text in the arena */
	struct arena arena;
	char id[SPOOL_ID_MAX];
	int dones;
	bool in_call;
};

static inline struct config *
run_config(const char *const *extra)
{
	const char *names[32] = {"myhostname=mail.pennypost.test", "mydomain=pennypost.test",
	    "myorigin=pennypost.test", "mydestination=pennypost.test, localhost",
	    "mail_name=Postfix", "inet_interfaces=127.0.0.1", "compatibility_level=3.6"};
	struct config_source src = {.extra = names, .hostname = "mail.pennypost.test"};
	struct config_report report;
	struct config *cfg = NULL;
	size_t n = 7;

	for (; extra && *extra; extra++)
		names[n++] = *extra;
	config_report_init(&report);
	if (config_load(&src, &cfg, &report) != 0)
		fail_msg("%s", report.first ? report.first->text : "config_load");
	config_report_fini(&report);
	return cfg;
}

static inline void
run_open(struct cleanup_run *r, const char *const *extra)
{
	struct buf err;

	*r = (struct cleanup_run){0};
	setenv("TZ", "UTC", 1);
	spool_dir_make(r->dir);
	r->spool = spool_dir_open(r->dir, false, 0);
	r->config = run_config(extra);
	buf_init(&err, 1024);
	if (route_new(r->config, &r->route, &err) != 0)
		fail_msg("%s", buf_cstr(&err));
	buf_fini(&err);
}

static inline void
run_close(struct cleanup_run *r)
{
	arena_fini(&r->arena);
	route_unref(r->route);
	snap_unref(&r->config->snap);
	spool_close(r->spool);
	spool_dir_remove(r->dir);
}

static inline void
run_done(void *ctx, const struct status *st, const char *id)
{
	struct cleanup_run *r = ctx;

	assert_false(r->in_call);
	r->dones++;
	r->status = status_copy(&r->arena, st);
	snprintf(r->id, sizeof(r->id), "%s", id);
	loop_stop(r->loop);
}

static inline void run_feed(void *ctx);

static inline void
run_feed(void *ctx)
{
	struct cleanup_run *r = ctx;

	while (r->piece_at < r->piece_count) {
		struct run_piece *p = &r->pieces[r->piece_at++];

		cleanup_line(r->cleanup, p->bytes, p->last);
		if (cleanup_full(r->cleanup)) {
			cleanup_on_drain(r->cleanup, run_feed, r);
			return;
		}
	}
	for (size_t i = 0; i < r->extracted_count; i++)
		cleanup_rcpt(r->cleanup, &r->extracted[i]);
	if (r->abort_it) {
		cleanup_abort(r->cleanup);
		loop_stop(r->loop);
		return;
	}
	r->in_call = true;
	cleanup_end(r->cleanup, run_done, r);
	r->in_call = false;
}

static inline void
run_begin(struct post *p)
{
	struct cleanup_run *r = PP_CONTAINER(p, struct cleanup_run, post);
	const struct cleanup_setup setup = {
	    .spool = r->spool, .config = r->config, .route = r->route};

	r->cleanup = cleanup_new(&setup);
	snprintf(r->id, sizeof(r->id), "%s", cleanup_id(r->cleanup));
	cleanup_sender(r->cleanup, r->envelope);
	for (size_t i = 0; i < r->envelope->rcpt_count; i++)
		cleanup_rcpt(r->cleanup, &r->envelope->rcpt[i]);
	if (r->hold)
		cleanup_hold(r->cleanup);
	cleanup_content(r->cleanup, r->received);
	run_feed(r);
}

static inline void
run_message(struct cleanup_run *r)
{
	r->dones = 0;
	r->piece_at = 0;
	r->lane = lane_new("disk", 1);
	spool_set_lane(r->spool, r->lane);
	r->loop = loop_new("test");
	post_to(r->loop, &r->post, run_begin);
	loop_run(r->loop);
	lane_free(r->lane);
	loop_free(r->loop);
}

/* Content as text, lines ended by LF, cut into pieces of at most 2048 bytes. */
static inline void
run_set_text(struct cleanup_run *r, struct str text)
{
	size_t cap = text.n / 2048 + 2;

	for (size_t i = 0; i < text.n; i++)
		cap += text.p[i] == '\n';
	r->pieces = arena_alloc(&r->arena, cap * sizeof(*r->pieces));
	r->piece_count = 0;
	while (text.n > 0) {
		size_t n = str_index(text, '\n');
		bool cut = n >= 2048;

		if (cut)
			n = 2048;
		r->pieces[r->piece_count++] = (struct run_piece){str_head(text, n), !cut};
		text = str_from(text, cut ? n : n + 1);
	}
}

/* The file that was made, in memory. */
static inline void
run_file(struct cleanup_run *r, enum queue q, struct buf *to)
{
	char path[SPOOL_PATH_MAX];

	spool_path(r->spool, q, r->id, path);
	if (!test_read(to, "%s/%s", r->dir, path))
		fail_msg("no file %s", path);
}

/* Its content, lines ended by LF. */
static inline void
run_content(struct cleanup_run *r, enum queue q, struct buf *to)
{
	struct record rec;
	struct buf file;
	struct str in;
	bool content = false;
	size_t used;

	run_file(r, q, &file);
	in = buf_str(&file);
	while (record_get(in, &rec, &used) == 0 && rec.type != REC_EXTRACTED) {
		if (content) {
			buf_add(to, rec.payload);
			if (rec.type == REC_LINE)
				buf_addc(to, '\n');
		}
		content |= rec.type == REC_CONTENT;
		in = str_from(in, used);
	}
	buf_fini(&file);
}

static inline int
run_count_one(void *ctx, const struct spool_entry *e)
{
	++*(int *)ctx;
	return 0;
}

static inline int
run_count(struct cleanup_run *r, enum queue q)
{
	int n = 0;

	assert_int_equal(spool_scan_blk(r->spool, q, run_count_one, &n), 0);
	return n;
}
