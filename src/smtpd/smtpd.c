/*
 * smtpd.c - the sessions of one io loop: let in, counted, ended.
 *
 * Nothing here knows SMTP beyond two 421 lines. Stopping has two steps, because a message that is
 * half received should be finished: sessions without one end at once, the others at the deadline
 * or with their message.
 */
#include <stdio.h>
#include "internal.h"

struct smtpd *
smtpd_new(struct loop *l, struct resolver *r, struct lane *slow, struct lane *disk,
    struct smtpd_counts *counts)
{
	struct smtpd *d = MEM_NEW(struct smtpd);

	d->loop = l;
	d->resolver = r;
	d->slow = slow;
	d->disk = disk;
	d->counts = counts;
	LIST_INIT(&d->sessions);
	return d;
}

static void
refuse(struct smtpd *d, struct smtpd_setup *setup, int fd, const char *reason)
{
	static const struct stream_ops no_ops = {0};
	struct stream *s = stream_new(d->loop, fd, &no_ops, NULL);
	struct buf text;

	buf_init(&text, SMTPD_LINE_MAX);
	buf_printf(&text, "421 4.3.2 %s %s\r\n", setup->p->myhostname, reason);
	stream_write(s, buf_str(&text));
	stream_flush(s);
	stream_close(s);
	buf_fini(&text);
}

void
smtpd_accept(struct smtpd *d, struct smtpd_setup *setup, int fd)
{
	int64_t now;

	PP_ON(d->loop);
	if (d->is_stopping) {
		refuse(d, setup, fd, "Service is shutting down");
		return;
	}
	if (counter_take(&setup->sessions, 1, setup->session_limit)) {
		smtpd_session_start(d, setup, fd);
		return;
	}
	now = loop_now(d->loop);
	if (d->limit_logged_at == 0 || now - d->limit_logged_at >= 1000) {
		d->limit_logged_at = now;
		log_warn("smtpd",
		    "service %s has reached its limit of %lld sessions: refusing more",
		    setup->service->name, (long long)setup->session_limit);
	}
	refuse(d, setup, fd, "Error: too many connections, try again later");
}

static void
all_stopped(struct post *p)
{
	struct smtpd *d = PP_CONTAINER(p, struct smtpd, stopped_post);

	d->stopped(d->stopped_ctx);
}

void
smtpd_check_stopped(struct smtpd *d)
{
	if (!d->is_stopping || d->n > 0 || d->space.is_asked || d->stopped_post.run)
		return;
	timer_stop(&d->stop_timer);
	post_to(d->loop, &d->stopped_post, all_stopped);
}

void
smtpd_session_gone(struct smtpd *d, struct smtpd_session *s)
{
	LIST_REMOVE(s, link);
	d->n--;
	smtpd_check_stopped(d);
}

/* What is with the spool already is always waited for: its answer is true either way. */
static bool
is_spared(const struct smtpd_session *s, bool is_content_spared)
{
	return s->state == SESSION_ENDED || s->state == SESSION_COMMIT ||
	       (is_content_spared && s->state == SESSION_DATA);
}

static void
shut_all(struct smtpd *d, bool is_content_spared)
{
	struct smtpd_session *s, *next;

	for (s = LIST_FIRST(&d->sessions); s; s = next) {
		char reply[512];

		next = LIST_NEXT(s, link);
		if (is_spared(s, is_content_spared))
			continue;
		snprintf(reply, sizeof(reply), "421 4.3.2 %s Service is shutting down",
		    s->setup->p->myhostname);
		smtpd_session_shut(s, reply);
	}
}

static void
deadline_reached(struct timer *t)
{
	struct smtpd *d = PP_CONTAINER(t, struct smtpd, stop_timer);

	shut_all(d, false);
}

void
smtpd_stop(struct smtpd *d, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx)
{
	PP_ON(d->loop);
	PP_ASSERT(!d->is_stopping);
	d->is_stopping = true;
	d->stopped = stopped;
	d->stopped_ctx = ctx;
	timer_start(d->loop, &d->stop_timer, deadline_ms, deadline_reached);
	shut_all(d, true);
	smtpd_check_stopped(d);
}

void
smtpd_free(struct smtpd *d)
{
	if (d == NULL)
		return;
	PP_ASSERT(d->n == 0);
	mem_free(d);
}

unsigned
smtpd_sessions(const struct smtpd *d)
{
	return d->n;
}
