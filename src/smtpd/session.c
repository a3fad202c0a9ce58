/*
 * session.c - the life of an SMTP session: bytes in, lines out of them, commands run, replies sent.
 *
 * A session never waits: a command that needs an answer from elsewhere leaves a question open, and
 * no further line is looked at until it is told. Lines are views into the stream's input, nothing
 * is copied. Replies gather in the output and leave in one write when no complete line is left. A
 * session that dies with a question open stays as a shell until the answer comes, then it is freed.
 */
#include <errno.h>
#include "internal.h"

static const struct sm_state states[] = {
    [SESSION_GREETING] = {"greeting", SM_TO(SESSION_IDLE) | SM_TO(SESSION_ENDED)},
    [SESSION_IDLE] = {"idle", SM_TO(SESSION_MAIL) | SM_TO(SESSION_ENDED)},
    [SESSION_MAIL] = {"mail", SM_TO(SESSION_RCPT) | SM_TO(SESSION_IDLE) | SM_TO(SESSION_ENDED)},
    [SESSION_RCPT] = {"rcpt", SM_TO(SESSION_DATA) | SM_TO(SESSION_IDLE) | SM_TO(SESSION_ENDED)},
    [SESSION_DATA] = {"data", SM_TO(SESSION_COMMIT) | SM_TO(SESSION_IDLE) | SM_TO(SESSION_ENDED)},
    [SESSION_COMMIT] = {"commit", SM_TO(SESSION_IDLE) | SM_TO(SESSION_ENDED)},
    [SESSION_ENDED] = {"ended", 0},
};

static void timer_fired(struct timer *t);

void
smtpd_session_move(struct smtpd_session *s, enum session_state to)
{
	sm_move(states, &s->state, to);
}

/* The clock for what the client has to do next starts again. A running timer is left alone and
 * looks at the deadline when it fires: most deadlines are moved long before. */
void
smtpd_session_expect(struct smtpd_session *s)
{
	int64_t in_ms = s->setup->p->smtpd_timeout;

	s->deadline = loop_now(s->server->loop) + in_ms;
	if (s->timer.loop == NULL)
		timer_start(s->server->loop, &s->timer, in_ms, timer_fired);
}

void
smtpd_session_reset(struct smtpd_session *s)
{
	struct transaction *t = &s->t;

	if (t->cleanup)
		cleanup_abort(t->cleanup);
	dot_decoder_fini(&t->dot);
	arena_fini(&t->arena);
	*t = (struct transaction){0};
	if (s->state != SESSION_IDLE && s->state != SESSION_GREETING && s->state != SESSION_ENDED)
		smtpd_session_move(s, SESSION_IDLE);
}

static void
free_session(struct smtpd_session *s)
{
	struct smtpd *d = s->server;
	struct smtpd_setup *setup = s->setup;

	PP_ASSERT(s->state == SESSION_ENDED && s->question == ASK_NOTHING);
	if (s->is_counted)
		smtpd_counts_leave(s);
	smtpd_session_reset(s);
	arena_fini(&s->scratch);
	arena_fini(&s->arena);
	mem_free(s->helo_memory);
	counter_give(&setup->sessions, 1);
	smtpd_session_gone(d, s);
	mem_free(s);
	smtpd_setup_unref(setup);
}

static void
log_disconnect(struct smtpd_session *s)
{
	struct buf line;

	if (!s->is_announced)
		return;
	buf_init(&line, SMTPD_LINE_MAX);
	smtpd_stats_print(&s->stats, &line);
	log_info("smtpd", "disconnect from %s %s", s->client, buf_cstr(&line));
	buf_fini(&line);
}

/* The last act of the stream. The session is gone, or waits for its open answer. */
static void
end(struct smtpd_session *s)
{
	bool is_waiting = s->question == ASK_COUNT || s->question == ASK_MAP ||
			  s->question == ASK_CLASS || s->question == ASK_SPACE ||
			  s->question == ASK_COMMIT;

	if (s->is_unflushed)
		stream_flush(s->stream);
	stream_close(s->stream);
	s->stream = NULL;
	timer_stop(&s->timer);
	if (s->query)
		resolver_cancel(s->query);
	s->query = NULL;
	if (s->question == ASK_COMMIT)
		s->t.cleanup = NULL; /* it is the spool's now, whatever becomes of the client */
	else if (s->t.cleanup)
		cleanup_abort(s->t.cleanup);
	s->t.cleanup = NULL;
	log_disconnect(s);
	smtpd_session_move(s, SESSION_ENDED);
	if (is_waiting)
		return;
	s->question = ASK_NOTHING;
	free_session(s);
}

/* "lost connection", "timeout", "too many errors". */
static void
log_reason(struct smtpd_session *s, const char *reason)
{
	if (!s->is_announced)
		return;
	if (s->state == SESSION_DATA)
		log_info("smtpd", "%s after DATA (%lld bytes) from %s", reason,
		    (long long)s->t.size, s->client);
	else
		log_info("smtpd", "%s after %s from %s", reason, s->where, s->client);
}

void
smtpd_session_shut(struct smtpd_session *s, const char *reply)
{
	smtpd_reply(s, "%s", reply);
	end(s);
}

/* After a message nothing was lost. */
static void
lost(struct smtpd_session *s)
{
	if (s->state == SESSION_DATA || strcmp(s->where, "END-OF-MESSAGE") != 0)
		log_reason(s, "lost connection");
	end(s);
}

static void
timed_out(struct smtpd_session *s)
{
	log_reason(s, "timeout");
	smtpd_reply(s, "421 4.4.2 %s Error: timeout exceeded", s->setup->p->myhostname);
	end(s);
}

static void
timer_fired(struct timer *t)
{
	struct smtpd_session *s = PP_CONTAINER(t, struct smtpd_session, timer);
	int64_t left = s->deadline - loop_now(s->server->loop);

	if (s->question == ASK_SLEEP) {
		smtpd_session_told(s);
		smtpd_session_pump(s);
	} else if (s->question != ASK_NOTHING) {
		/* It is we who are slow; the clock starts again when we have answered. */
		timer_start(s->server->loop, t, s->setup->p->smtpd_timeout, timer_fired);
	} else if (left > 0) {
		timer_start(s->server->loop, t, left, timer_fired);
	} else {
		timed_out(s);
	}
}

void
smtpd_session_ask(struct smtpd_session *s, enum question q)
{
	PP_ASSERT(s->question == ASK_NOTHING);
	s->question = (uint8_t)q;
}

bool
smtpd_session_told(struct smtpd_session *s)
{
	PP_ASSERT(s->question != ASK_NOTHING);
	s->question = ASK_NOTHING;
	if (s->state == SESSION_ENDED) {
		free_session(s);
		return false;
	}
	if (s->state != SESSION_GREETING)
		smtpd_session_expect(s);
	return true;
}

void
smtpd_session_done(struct smtpd_session *s, enum cmd_result r)
{
	PP_ASSERT(r != CMD_WAIT && r != CMD_MORE);
	if (r == CMD_OK || r == CMD_CLOSE)
		s->stats.ok[s->command]++;
	if (r == CMD_BAD || r == CMD_NONE || r == CMD_CLOSE_BAD)
		s->errors++;
	if (r == CMD_CLOSE || r == CMD_CLOSE_BAD)
		s->is_closing = true;
	s->is_long = s->is_slept = false;
	arena_fini(&s->scratch);
	if (!s->is_closing)
		smtpd_session_expect(s);
}

void
smtpd_session_answered(struct smtpd_session *s, enum cmd_result r)
{
	smtpd_session_done(s, r);
	smtpd_session_pump(s);
}

/* Too long: what does not fit is dropped as it comes, so the input never grows with it. */
static bool
find_long_line(struct smtpd_session *s, struct str in)
{
	if (s->is_long || in.n > SMTPD_LINE_MAX + 1) {
		if (!s->is_long)
			s->long_line = arena_str(&s->scratch, str_head(in, SMTPD_LINE_MAX));
		s->is_long = true;
		stream_consume(s->stream, in.n);
		in.n = 0;
	}
	s->scanned = in.n;
	return false;
}

/* The next complete line, without its end. RFC 5321 2.3.8 wants CRLF; a bare LF is taken too. */
static bool
find_line(struct smtpd_session *s, struct str *ret, size_t *ret_used)
{
	struct str in = stream_in(s->stream);
	size_t lf = s->scanned + str_index(str_from(in, s->scanned), '\n');

	if (lf == in.n)
		return find_long_line(s, in);
	*ret_used = lf + 1;
	if (s->is_long) {
		*ret = (struct str){s->long_line, SMTPD_LINE_MAX};
		return true;
	}
	*ret = str_head(in, lf > 0 && in.p[lf - 1] == '\r' ? lf - 1 : lf);
	s->is_long = ret->n > SMTPD_LINE_MAX;
	*ret = str_head(*ret, SMTPD_LINE_MAX);
	return true;
}

static bool
must_sleep(struct smtpd_session *s)
{
	const struct params *p = s->setup->p;

	if (s->errors < p->smtpd_soft_error_limit || s->is_slept || p->smtpd_error_sleep_time == 0)
		return false;
	s->is_slept = true;
	smtpd_session_ask(s, ASK_SLEEP);
	timer_start(s->server->loop, &s->timer, p->smtpd_error_sleep_time, timer_fired);
	return true;
}

static bool
is_bare_refused(const struct smtpd_session *s, struct str in, size_t used)
{
	return s->setup->bare_newline == BARE_REJECT && (used < 2 || in.p[used - 2] != '\r') &&
	       !netlist_match_text(s->setup->bare_exclusions, str_of(s->address));
}

/* False: nothing can be done now. */
static bool
run_line(struct smtpd_session *s)
{
	struct str line = {0}, in;
	enum cmd_result r;
	size_t used;

	if (!find_line(s, &line, &used) || must_sleep(s))
		return false;
	in = stream_in(s->stream);
	s->scanned = 0;
	s->behind = in.n - used;
	if (is_bare_refused(s, in, used)) {
		smtpd_reply(s, "%d 5.5.2 %s Error: bare <LF> received",
		    (int)s->setup->p->smtpd_forbid_bare_newline_reject_code,
		    s->setup->p->myhostname);
		r = CMD_CLOSE_BAD;
	} else {
		r = smtpd_verb_run(s, line);
	}
	stream_consume(s->stream, used);
	if (r != CMD_WAIT && r != CMD_MORE)
		smtpd_session_done(s, r);
	return true;
}

static bool
too_many_errors(struct smtpd_session *s)
{
	if (s->is_closing || s->errors < s->setup->p->smtpd_hard_error_limit)
		return false;
	log_reason(s, "too many errors");
	smtpd_reply(s, "421 4.7.0 %s Error: too many errors", s->setup->p->myhostname);
	s->is_closing = true;
	return true;
}

static bool
step(struct smtpd_session *s)
{
	if (s->is_closing || s->question != ASK_NOTHING || stream_full(s->stream))
		return false;
	if (s->state == SESSION_DATA)
		return smtpd_data_read(s);
	if (s->server->is_stopping) {
		smtpd_reply(s, "421 4.3.2 %s Service is shutting down", s->setup->p->myhostname);
		s->is_closing = true;
		return false;
	}
	if (too_many_errors(s))
		return false;
	return run_line(s);
}

void
smtpd_session_pump(struct smtpd_session *s)
{
	if (s->state == SESSION_GREETING)
		return;
	while (step(s))
		;
	if (s->is_closing) {
		end(s);
	} else if (s->is_eof && s->question == ASK_NOTHING) {
		lost(s);
	} else if (s->is_unflushed && s->question != ASK_MAP && s->question != ASK_CLASS &&
		   s->question != ASK_SPACE) {
		s->is_unflushed = false;
		stream_flush(s->stream);
	}
}

void
smtpd_session_greeted(struct smtpd_session *s, enum cmd_result r)
{
	arena_fini(&s->scratch);
	smtpd_session_move(s, SESSION_IDLE);
	s->is_closing = r != CMD_OK;
	smtpd_session_expect(s);
	smtpd_session_pump(s);
}

static void
on_input(void *ctx)
{
	smtpd_session_pump(ctx);
}

/* The peer may have closed only its own direction: what it sent is still answered. */
static void
on_closed(void *ctx, int err)
{
	struct smtpd_session *s = ctx;

	s->is_eof = true;
	if (err != 0)
		lost(s);
	else
		smtpd_session_pump(s);
}

void
smtpd_session_start(struct smtpd *d, struct smtpd_setup *setup, int fd)
{
	static const struct stream_ops ops = {
	    .readable = on_input, .drained = on_input, .closed = on_closed};
	struct smtpd_session *s = MEM_NEW(struct smtpd_session);

	smtpd_setup_ref(setup);
	s->server = d;
	s->setup = setup;
	s->where = "CONNECT";
	s->stream = stream_new(d->loop, fd, &ops, s);
	LIST_INSERT_HEAD(&d->sessions, s, link);
	d->n++;
	stream_resume(s->stream);
	smtpd_greeting_start(s);
}
