/*
 * secrets.c - the password files of destinations that reject our credentials.
 *
 * Nobody waits an interval for the password that he has just corrected: while there is such a
 * destination, the files are looked at twice a second, and any change is news. A look costs one
 * stat, and there is none at other times; what is no file (a directory server) is tried again after
 * the interval alone.
 */
#include <sys/stat.h>
#include "internal.h"

enum {
	LOOK_MS = 500,
	CLOCK_US = 10 * 1000, /* a file's time may be so much behind */
};

struct qmgr_secrets {
	struct qmgr *q;
	struct lane_job job;
	struct timer timer;
	char *files; /* the settings, joined */
	uint64_t seen, now;
	int64_t since_us;  /* a rejected attempt began; what was changed after it is news */
	int64_t newest_us; /* change of any of them */
	bool is_looking, is_first;
};

static int64_t
changed_us(const struct stat *st)
{
	return (int64_t)st->st_ctim.tv_sec * 1000000 + st->st_ctim.tv_nsec / 1000;
}

/* Of all files: changes when one of them does. */
static void
look_work(struct lane_job *job)
{
	struct qmgr_secrets *s = PP_CONTAINER(job, struct qmgr_secrets, job);
	struct str rest = str_of(s->files), token;
	struct arena a = {0};

	s->now = 0;
	s->newest_us = 0;
	while (str_token(&rest, ", \t\r\n{}", &token)) {
		size_t at = str_index(token, '/');
		struct stat st = {0};

		if (at == token.n || stat(arena_str(&a, str_from(token, at)), &st) < 0)
			continue;
		s->now = s->now * 31 + (uint64_t)st.st_mtim.tv_sec * 1000000007 +
			 (uint64_t)st.st_mtim.tv_nsec + st.st_ino * 7 + (uint64_t)st.st_size;
		if (changed_us(&st) > s->newest_us)
			s->newest_us = changed_us(&st);
	}
	arena_fini(&a);
}

static bool
is_rejected(const struct qmgr_destination *d)
{
	return d->s.dead && d->s.cause == CAUSE_AUTH && d->transport->service;
}

static void look_fired(struct timer *t);

static void
changed(struct qmgr *q)
{
	struct qmgr_destination *d, *next;

	log_info(
	    "qmgr", "a password file has changed: trying again where credentials were rejected");
	HASH_ITER (hh, q->destinations, d, next) {
		if (!is_rejected(d))
			continue;
		d->pins++;
		schedule_revive(&d->s, true, loop_now(q->loop));
		qmgr_waiting_call(d);
		d->pins--;
		qmgr_destination_release(d);
	}
}

static void
look_done(struct lane_job *job)
{
	struct qmgr_secrets *s = PP_CONTAINER(job, struct qmgr_secrets, job);
	struct qmgr *q = s->q;

	q->jobs--;
	s->is_looking = false;
	/* Nobody looked between the attempt and now. */
	if (s->is_first)
		s->seen = s->now - (s->newest_us + CLOCK_US > s->since_us);
	s->is_first = false;
	if (s->seen != s->now && !q->stopping)
		changed(q);
	s->seen = s->now;
	if (!q->stopping)
		timer_start(q->loop, &s->timer, LOOK_MS, look_fired);
	qmgr_idle_check(q);
}

static void
look(struct qmgr_secrets *s)
{
	s->is_looking = true;
	s->q->jobs++;
	lane_run(s->q->o.background, LANE_SYNC, &s->job, look_work, look_done);
}

/* Their settings; NULL = nobody rejects us any more. */
static char *
files_of(const struct qmgr *q)
{
	char *text = NULL;

	for (const struct qmgr_destination *d = q->destinations; d; d = d->hh.next) {
		const char *own =
		    is_rejected(d) ? d->transport->service->params->smtp_sasl_password_maps : "";

		if (!*own || (text && strstr(text, own)))
			continue;
		struct arena a = {0};
		char *joined = mem_strdup(arena_printf(&a, "%s %s", text ? text : "", own));

		arena_fini(&a);
		mem_free(text);
		text = joined;
	}
	return text;
}

static void
look_fired(struct timer *t)
{
	struct qmgr_secrets *s = PP_CONTAINER(t, struct qmgr_secrets, timer);
	char *files = files_of(s->q);

	if (files == NULL) {
		qmgr_secrets_stop(s->q);
		return;
	}
	/* Of another set: nothing to compare with. */
	s->is_first = strcmp(files, s->files) != 0;
	s->since_us = INT64_MAX;
	mem_free(s->files);
	s->files = files;
	look(s);
}

void
qmgr_secrets_watch(struct qmgr_destination *d)
{
	struct qmgr *q = d->q;
	char *files;

	if (q->secrets || (files = files_of(q)) == NULL)
		return;
	q->secrets = MEM_NEW(struct qmgr_secrets);
	q->secrets->q = q;
	q->secrets->files = files;
	q->secrets->is_first = true;
	q->secrets->since_us = d->tried_us;
	look(q->secrets);
}

void
qmgr_secrets_stop(struct qmgr *q)
{
	struct qmgr_secrets *s = q->secrets;

	if (s == NULL || s->is_looking)
		return;
	timer_stop(&s->timer);
	mem_free(s->files);
	mem_free(s);
	q->secrets = NULL;
}
