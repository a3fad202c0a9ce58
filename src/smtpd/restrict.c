/*
 * restrict.c - walks compiled restrictions until one decides.
 *
 * A restriction answers at once or later (a table on a lane, DNS), so the place in the lists is
 * kept in a small stack instead of on the C stack: lists within lists (restriction classes, access
 * tables that name restrictions) are frames. The walk always goes on where it stopped, and the
 * command that asked learns the one result through `next`.
 */
#include <stdarg.h>
#include <stdio.h>
#include "internal.h"

static struct restrict_subject
stage_subject(const struct smtpd_session *s, enum restrict_stage stage)
{
	switch (stage) {
	case STAGE_CLIENT:
		return (struct restrict_subject){s->client, "Client host"};
	case STAGE_HELO:
		return (struct restrict_subject){s->helo ? s->helo : "", "Helo command"};
	case STAGE_SENDER:
		return (struct restrict_subject){s->t.sender_text, "Sender address"};
	case STAGE_DATA:
		return (struct restrict_subject){"DATA", "Data command"};
	case STAGE_END_OF_DATA:
		return (struct restrict_subject){"END-OF-MESSAGE", "End-of-data"};
	default:
		return (struct restrict_subject){s->t.rcpt_text, "Recipient address"};
	}
}

enum verdict
restrict_push(struct restrict_run *r, const struct restrict_list *list)
{
	if (r->depth == RESTRICT_DEPTH_MAX) {
		log_warn("smtpd", "%s: restrictions are nested too deeply", list->name);
		return restrict_reject(r, 451, "4.3.5", "<%s>: %s rejected: %s", r->subject.name,
		    r->subject.what, "Server configuration error");
	}
	r->stack[r->depth] = (struct restrict_frame){.list = list, .is_warn = r->is_warn};
	r->depth++;
	return VERDICT_LIST;
}

/* The next restriction of the innermost list that has one; NULL: the stage's list is done. */
static const struct restriction *
next_restriction(struct restrict_run *r)
{
	while (r->depth > 0) {
		struct restrict_frame *f = &r->stack[r->depth - 1];

		if (f->at == f->list->n) {
			r->depth--;
			continue;
		}
		r->is_warn = f->is_warn || f->is_next_warn;
		f->is_next_warn = false;
		return &f->list->a[f->at++];
	}
	return NULL;
}

static enum verdict
walk_stage(struct restrict_run *r)
{
	const struct restriction *it;

	while ((it = next_restriction(r)) != NULL) {
		enum verdict v;

		r->asking = it;
		v = it->row ? it->row->run(r, it) : restrict_push(r, it->list);
		if (v != VERDICT_DUNNO && v != VERDICT_LIST)
			return v;
	}
	return VERDICT_OK;
}

static void
enter_stage(struct restrict_run *r)
{
	struct smtpd_session *s = r->session;
	enum restrict_stage stage = r->stages[r->stage_at];

	r->depth = 0;
	r->is_warn = false;
	r->defer_if_reject = NULL; /* it counts within its own list only */
	r->subject = stage_subject(s, stage);
	restrict_push(r, &s->setup->lists[stage]);
}

/* `v` is what the restriction that was waited for came to. */
static enum verdict
walk(struct restrict_run *r, enum verdict v)
{
	if (v == VERDICT_DUNNO || v == VERDICT_LIST)
		v = walk_stage(r);
	while (v == VERDICT_OK && ++r->stage_at < r->stage_count) {
		enter_stage(r);
		v = walk_stage(r);
	}
	if (v == VERDICT_OK && r->defer_if_permit) {
		r->reply = r->defer_if_permit;
		smtpd_log_event(r->session, "reject", r->reply);
		v = VERDICT_REJECT;
	}
	return v;
}

enum cmd_result
restrict_run(struct smtpd_session *s, const uint8_t *stages, unsigned n,
    enum cmd_result (*next)(struct smtpd_session *s, enum verdict v))
{
	struct restrict_run *r = &s->run;
	enum verdict v = VERDICT_OK;

	*r = (struct restrict_run){
	    .session = s, .stages = stages, .stage_count = (uint8_t)n, .next = next};
	if (n > 0) {
		enter_stage(r);
		v = walk(r, VERDICT_LIST);
	}
	return v == VERDICT_WAIT ? CMD_WAIT : next(s, v);
}

void
restrict_answered(struct restrict_run *r, enum verdict v)
{
	enum cmd_result result;

	v = walk(r, v);
	if (v == VERDICT_WAIT)
		return;
	result = r->next(r->session, v);
	if (result == CMD_MORE)
		smtpd_session_pump(r->session);
	else if (result != CMD_WAIT)
		smtpd_session_answered(r->session, result);
}

static const char *reply_text(struct restrict_run *r, int64_t code, const char *dsn,
    const char *fmt, va_list ap) PP_PRINTF(4, 0);

/* The class digit of an enhanced code follows the reply code: a 450 never says 5.7.1. */
static const char *
reply_text(struct restrict_run *r, int64_t code, const char *dsn, const char *fmt, va_list ap)
{
	struct smtpd_session *s = r->session;
	char text[SMTPD_LINE_MAX];
	int64_t class;

	if (code >= 500 && s->setup->p->soft_bounce)
		code -= 100;
	class = code / 100;
	vsnprintf(text, sizeof(text), fmt, ap);
	if (class != 4 && class != 5)
		return arena_printf(&s->scratch, "%d %s %s", (int)code, dsn, text);
	return arena_printf(&s->scratch, "%d %d%s %s", (int)code, (int)class, dsn + 1, text);
}

enum verdict
restrict_reject(struct restrict_run *r, int64_t code, const char *dsn, const char *fmt, ...)
{
	const char *text;
	va_list ap;

	va_start(ap, fmt);
	text = reply_text(r, code, dsn, fmt, ap);
	va_end(ap);
	if (r->is_warn) {
		smtpd_log_event(r->session, "reject_warning", text);
		return VERDICT_DUNNO;
	}
	if (text[0] == '5' && r->defer_if_reject)
		text = r->defer_if_reject;
	r->is_disconnect = strncmp(text + 1, "21 ", 3) == 0;
	r->reply = text;
	smtpd_log_event(r->session, "reject", text);
	return VERDICT_REJECT;
}

/* The first reason stays. */
void
restrict_defer_if_permit(struct restrict_run *r, const char *dsn, const char *fmt, ...)
{
	va_list ap;

	if (r->defer_if_permit || r->is_warn)
		return;
	va_start(ap, fmt);
	r->defer_if_permit = reply_text(r, 450, dsn, fmt, ap);
	va_end(ap);
}

void
restrict_defer_if_reject(struct restrict_run *r, const char *dsn, const char *fmt, ...)
{
	va_list ap;

	if (r->defer_if_reject || r->is_warn)
		return;
	va_start(ap, fmt);
	r->defer_if_reject = reply_text(r, 450, dsn, fmt, ap);
	va_end(ap);
}

static void
asked(struct map_query *q)
{
	struct restrict_run *r = PP_CONTAINER(q, struct restrict_run, query);
	enum verdict v;

	if (r->session->state == SESSION_ENDED) {
		map_query_fini(q);
		smtpd_session_told(r->session);
		return;
	}
	smtpd_session_told(r->session);
	v = r->found(r, q->result, &q->value);
	map_query_fini(q);
	restrict_answered(r, v);
}

enum verdict
restrict_ask(struct restrict_run *r, struct map *map, const struct map_keys *keys,
    enum verdict (*found)(struct restrict_run *r, int result, struct buf *value))
{
	struct smtpd_session *s = r->session;
	struct buf value;
	enum verdict v;

	if (!map_is_static(map)) {
		r->found = found;
		smtpd_session_ask(s, ASK_MAP);
		map_find(map, s->server->slow, &r->query, keys->a, keys->n, asked);
		return VERDICT_WAIT;
	}
	buf_init(&value, MAP_VALUE_MAX);
	v = found(r, map_find_keys_blk(map, keys->a, keys->n, &value, NULL), &value);
	buf_fini(&value);
	return v;
}

static enum verdict
access_found(struct restrict_run *r, int result, struct buf *value)
{
	if (result > 0)
		return access_action(r, buf_str(value), r->asking->arg, r->asked);
	if (result == 0)
		return VERDICT_DUNNO;
	log_warn("smtpd", "%s: table lookup problem: %s", r->asking->arg, buf_cstr(value));
	return restrict_reject(r, 451, "4.3.5", "<%s>: %s rejected: Server configuration error",
	    r->asked.name, r->asked.what);
}

enum verdict
restrict_lookup(struct restrict_run *r, const struct restriction *it, const struct map_keys *keys,
    struct restrict_subject subject)
{
	r->asked = subject;
	return restrict_ask(r, it->map, keys, access_found);
}
