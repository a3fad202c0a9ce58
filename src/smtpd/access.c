/*
 * access.c - what the right-hand side of an access table does.
 *
 * Actions are a table of words. Those that Postfix has and this version cannot carry out (FILTER,
 * REDIRECT, BCC, PREPEND, ..) are answered with 451 and a warning in the log: mail that somebody
 * wanted redirected must not slip by as if nothing had been said.
 */
#include "internal.h"

typedef enum verdict action_run(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject);

/* "5.7.1 text" or "text": cuts the enhanced code off when its class fits. */
static const char *
split_dsn(struct restrict_run *r, struct str *text, const char *fallback, char class)
{
	struct status st = {0};
	size_t used = status_parse_dsn(*text, &st);

	if (used == 0 || text->p[0] != class)
		return fallback;
	*text = str_trim(str_from(*text, used));
	return arena_printf(&r->session->scratch, "%s", status_dsn(&st).text);
}

static enum verdict
refuse(struct restrict_run *r, int64_t code, const char *dsn, struct str text,
    struct restrict_subject subject)
{
	dsn = split_dsn(r, &text, dsn, (char)('0' + code / 100));
	if (text.n == 0)
		text = STR("Access denied");
	return restrict_reject(
	    r, code, dsn, "<%s>: %s rejected: %.*s", subject.name, subject.what, STR_FMT(text));
}

static enum verdict
act_ok(struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	return VERDICT_OK;
}

static enum verdict
act_dunno(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	return VERDICT_DUNNO;
}

static enum verdict
act_reject(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	return refuse(r, r->session->setup->p->access_map_reject_code, "5.7.1", text, subject);
}

static enum verdict
act_defer(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	return refuse(r, r->session->setup->p->access_map_defer_code, "4.7.1", text, subject);
}

static enum verdict
act_defer_if_permit(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	if (text.n == 0)
		text = STR("Service unavailable");
	restrict_defer_if_permit(
	    r, "4.7.1", "<%s>: %s rejected: %.*s", subject.name, subject.what, STR_FMT(text));
	return VERDICT_DUNNO;
}

static enum verdict
act_defer_if_reject(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	if (text.n == 0)
		text = STR("Service unavailable");
	restrict_defer_if_reject(
	    r, "4.7.1", "<%s>: %s rejected: %.*s", subject.name, subject.what, STR_FMT(text));
	return VERDICT_DUNNO;
}

static void
log_action(struct restrict_run *r, const char *event, const char *word, struct str text,
    struct restrict_subject subject)
{
	struct smtpd_session *s = r->session;
	const char *line;

	if (text.n > 0 && event[0] != 'h' && event[0] != 'd')
		line = arena_str(&s->scratch, text);
	else if (text.n > 0)
		line = arena_printf(
		    &s->scratch, "<%s>: %s %.*s", subject.name, subject.what, STR_FMT(text));
	else
		line = arena_printf(
		    &s->scratch, "<%s>: %s triggers %s action", subject.name, subject.what, word);
	smtpd_log_event(s, event, line);
}

static enum verdict
act_warn(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	log_action(r, "warn", "WARN", text, subject);
	return VERDICT_DUNNO;
}

static enum verdict
act_info(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	log_action(r, "info", "INFO", text, subject);
	return VERDICT_DUNNO;
}

static enum verdict
act_hold(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	if (r->is_warn)
		return VERDICT_DUNNO;
	log_action(r, "hold", "HOLD", text, subject);
	r->session->t.is_hold = true;
	return VERDICT_DUNNO;
}

static enum verdict
act_discard(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	if (r->is_warn)
		return VERDICT_DUNNO;
	log_action(r, "discard", "DISCARD", text, subject);
	r->session->t.is_discard = true;
	return VERDICT_OK;
}

static enum verdict
misconfigured(struct restrict_run *r)
{
	return restrict_reject(r, 451, "4.3.5", "Server configuration error");
}

static enum verdict
act_unsupported(
    struct restrict_run *r, struct str text, const char *table, struct restrict_subject subject)
{
	log_warn("smtpd",
	    "access table %s: entry for <%s> has an action that this version does not do; "
	    "the mail is deferred",
	    table, subject.name);
	return misconfigured(r);
}

static const struct {
	const char *word;
	action_run *run;
} actions[] = {
    {"OK", act_ok},
    {"RELAY", act_ok},
    {"DUNNO", act_dunno},
    {"REJECT", act_reject},
    {"DEFER", act_defer},
    {"DEFER_IF_PERMIT", act_defer_if_permit},
    {"DEFER_IF_REJECT", act_defer_if_reject},
    {"WARN", act_warn},
    {"INFO", act_info},
    {"HOLD", act_hold},
    {"DISCARD", act_discard},
    {"FILTER", act_unsupported},
    {"REDIRECT", act_unsupported},
    {"BCC", act_unsupported},
    {"PREPEND", act_unsupported},
};

static bool
is_digits(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!str_isdigit(s.p[i]))
			return false;
	return s.n > 0;
}

/* "550 text", "421 4.7.0 text": but a number alone means OK (popauth tables are like that). */
static enum verdict
act_code(struct restrict_run *r, struct str word, struct str text, struct restrict_subject subject)
{
	int64_t code;

	if (text.n == 0)
		return VERDICT_OK;
	if (word.n != 3 || str_number(word, 400, 599, &code) < 0)
		return misconfigured(r);
	return refuse(r, code, code >= 500 ? "5.7.1" : "4.7.1", text, subject);
}

enum verdict
access_action(
    struct restrict_run *r, struct str value, const char *table, struct restrict_subject subject)
{
	struct arena *a = &r->session->scratch;
	struct restrict_list *list;
	struct str word, text;
	size_t end = 0;

	value = str_trim(value);
	while (end < value.n && !str_isspace(value.p[end]))
		end++;
	word = str_head(value, end);
	text = str_trim(str_from(value, end));
	if (is_digits(word))
		return act_code(r, word, text, subject);
	for (size_t i = 0; i < PP_COUNT(actions); i++)
		if (str_caseeq(word, str_of(actions[i].word)))
			return actions[i].run(r, text, table, subject);
	/* Not an action: restrictions that need no table of their own. */
	list = ARENA_NEW(a, struct restrict_list);
	if (value.n > 0 && restrict_compile_words(r->session->setup, a,
			       (struct str){arena_str(a, value), value.n}, list) == 0)
		return restrict_push(r, list);
	log_warn(
	    "smtpd", "access table %s: entry for <%s> has an unknown action", table, subject.name);
	return misconfigured(r);
}
