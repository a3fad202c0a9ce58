/*
 * AUTH: credentials were found before the connection was made, the exchange itself is net/sasl's.
 *
 * A server that offers no AUTH although there is a password gets the mail without, as Postfix does
 * it, but the log says so: this is how a relay that dropped AUTH in clear is noticed.
 */
#include <errno.h>
#include "internal.h"
#include "pp/runtime/lane.h"
#include "pp/runtime/log.h"

static void
ready(struct smtp_session *ss)
{
	smtp_session_move(ss, SMTP_READY);
	stream_deadline(ss->stream, -1);
	sasl_exchange_free(ss->sasl);
	ss->sasl = NULL;
	if (ss->o.password)
		explicit_bzero((char *)(uintptr_t)ss->o.password, strlen(ss->o.password));
	ss->o.password = NULL;
	smtp_job_ready(ss->job);
}

static void
exchange_failed(struct smtp_session *ss, int err, const char *why)
{
	struct status st = smtp_error_auth_failed(&ss->arena, ss->peer, err, why ? why : "");

	smtp_session_fail(ss, &st, true, false);
}

static void
on_step(void *ctx, int rc, const char *mech, const char *response, const char *error)
{
	struct smtp_session *ss = ctx;
	int64_t timeout = ss->o.svc->p->smtp_mail_timeout;

	if (rc < 0) {
		exchange_failed(ss, rc, error);
		return;
	}
	if (ss->is_auth_sent)
		smtp_session_command(ss, timeout, "%s", response ? response : "");
	else
		smtp_session_command(ss, timeout, "AUTH %s%s%s", mech, response ? " " : "",
		    response ? response : "");
	ss->is_auth_sent = true;
	stream_resume(ss->stream);
}

/* The server has said no to this login not long ago: it is not asked again. */
static bool
rejected_before(struct smtp_session *ss)
{
	const struct status *said = smtp_auth_cache_find(ss);
	struct status st;

	if (!said)
		return false;
	st = smtp_error_auth_cached(&ss->arena, ss->peer, said);
	if (ss->o.svc->p->smtp_sasl_auth_soft_bounce)
		st.cls = STATUS_TEMP;
	smtp_session_fail(ss, &st, true, false);
	return true;
}

static void
authenticate(struct smtp_session *ss, const char *allowed)
{
	const struct params *p = ss->o.svc->p;
	bool has_tls = stream_tls(ss->stream) != NULL;
	struct sasl_options o = {
	    .host = ss->o.target->host,
	    .user = ss->o.user,
	    .password = ss->o.password,
	    .offered = ss->ehlo.mechs,
	    .filter = allowed,
	    .security_options = ss->is_verified ? p->smtp_sasl_tls_verified_security_options
				: has_tls       ? p->smtp_sasl_tls_security_options
						: p->smtp_sasl_security_options,
	    .tls = has_tls,
	};

	ss->sasl = sasl_exchange_new(ss->smtp->sasl, &o);
	sasl_exchange_first(ss->sasl, on_step, ss);
}

/* ---- smtp_sasl_mechanism_filter, which may have tables ---- */

/* Leaves those of the offer that the list has, or what is wrong with the list. */
static int
filter_offer(struct smtp_session *ss, bool may_block)
{
	const struct domainlist *l = ss->o.svc->mechanisms;
	struct str rest = str_of(ss->ehlo.mechs), word;
	struct buf why;
	int rc = 0;

	buf_init(&ss->allowed, 2048);
	buf_init(&why, 1024);
	while (rc >= 0 && str_token(&rest, " ", &word)) {
		rc = may_block ? domainlist_match_blk(l, word, &why) : domainlist_match(l, word);
		if (rc > 0)
			buf_printf(&ss->allowed, "%.*s ", STR_FMT(word));
	}
	if (rc < 0) {
		buf_clear(&ss->allowed);
		buf_add(&ss->allowed, buf_str(&why));
	} else if (buf_str(&ss->allowed).n == 0) {
		buf_adds(&ss->allowed, "none"); /* an empty list would mean all */
	}
	buf_fini(&why);
	return rc < 0 ? rc : 0;
}

static void
filtered(struct smtp_session *ss)
{
	if (ss->filter_error < 0) {
		struct status st = smtp_error_filter(&ss->arena, buf_cstr(&ss->allowed));

		smtp_session_fail(ss, &st, true, false);
	} else {
		authenticate(ss, buf_cstr(&ss->allowed));
	}
	buf_fini(&ss->allowed);
}

static void
filter_work(struct lane_job *job)
{
	struct smtp_session *ss = PP_CONTAINER(job, struct smtp_session, filter_job);

	ss->filter_error = filter_offer(ss, true);
}

static void
filter_done(struct lane_job *job)
{
	struct smtp_session *ss = PP_CONTAINER(job, struct smtp_session, filter_job);

	smtp_session_enter(ss);
	ss->is_asking = false;
	if (ss->state == SMTP_DEAD)
		buf_fini(&ss->allowed);
	else
		filtered(ss);
	smtp_session_leave(ss);
}

static void
filter(struct smtp_session *ss)
{
	const struct domainlist *l = ss->o.svc->mechanisms;

	if (domainlist_is_static(l)) {
		ss->filter_error = filter_offer(ss, false);
		filtered(ss);
		return;
	}
	ss->is_asking = true;
	stream_deadline(ss->stream, -1);
	lane_run(ss->smtp->slow, domainlist_lane_key(l), &ss->filter_job, filter_work, filter_done);
}

void
smtp_session_auth(struct smtp_session *ss)
{
	bool has_tls = stream_tls(ss->stream) != NULL;

	if (ss->o.user && !(ss->ehlo.ext & ESMTP_AUTH) && ss->o.svc->p->smtp_sasl_auth_enforce) {
		struct status st = smtp_error_auth_not_offered(&ss->arena, ss->peer);

		smtp_session_fail(ss, &st, true, false);
		return;
	}
	if (ss->o.user && !(ss->ehlo.ext & ESMTP_AUTH) && !ss->is_noted) {
		ss->is_noted = true;
		log_warn(ss->o.svc->program,
		    "host %s does not offer AUTH%s: mail goes without, although there is a "
		    "password for "
		    "it in smtp_sasl_password_maps",
		    ss->address, has_tls ? "" : " without TLS");
	}
	if (!ss->o.user || !(ss->ehlo.ext & ESMTP_AUTH)) {
		ready(ss);
		return;
	}
	smtp_session_move(ss, SMTP_AUTH);
	if (rejected_before(ss))
		return;
	stream_pause(ss->stream); /* one question at a time: now it is libsasl2's turn */
	if (!ss->o.svc->mechanisms)
		authenticate(ss, "");
	else
		filter(ss);
}
void
smtp_session_auth_replied(struct smtp_session *ss)
{
	struct str lines = reply_lines(&ss->reply);

	if (reply_class(&ss->reply) == 2) {
		ss->is_authenticated = true;
		ready(ss);
	} else if (ss->reply.code == 334) {
		stream_pause(ss->stream);
		sasl_exchange_next(ss->sasl, str_trim(str_from(lines, 4)), on_step, ss);
	} else {
		struct status said = smtp_error_auth_said(&ss->arena, ss->peer, &ss->reply, true);
		struct status st = said;

		if (ss->o.svc->p->smtp_sasl_auth_soft_bounce)
			st.cls = STATUS_TEMP;

		/* RFC 4954 6: only this code is about the credentials. */
		if (ss->reply.code == 535)
			smtp_auth_cache_put(ss, &said);
		smtp_session_fail(ss, &st, true, false);
	}
}
