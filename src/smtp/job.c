/*
 * The life of a delivery: next hops, their addresses one after the other, a session, the message,
 * and what becomes of each recipient.
 *
 * Trouble is noted per recipient and forgotten when a later host takes the mail; only when nothing
 * is left to try does the last trouble become the recipient's status. Destination trouble is
 * handed to the queue manager only when the delivery ended with it.
 */
#include "internal.h"
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"

bool
smtp_job_open(const struct smtp_job *j, size_t rcpt)
{
	return j->d->rcpt[rcpt].status.cls == STATUS_NONE;
}

size_t
smtp_job_open_count(const struct smtp_job *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->d->rcpt_count; i++)
		n += smtp_job_open(j, i);
	return n;
}

static void
unlink_job(struct smtp_job *j)
{
	if (j->prev)
		j->prev->next = j->next;
	else
		j->smtp->jobs = j->next;
	if (j->next)
		j->next->prev = j->prev;
}

void
smtp_job_free(struct smtp_job *j)
{
	if (j->password)
		explicit_bzero(j->password, strlen(j->password));
	smtp_international_free(j->international);
	smtp_setup_unref(j->setup);
	arena_fini(&j->arena);
	mem_free(j);
}

/* Every recipient is settled. */
static void
finish(struct smtp_job *j)
{
	struct smtp *s = j->smtp;
	struct delivery *d = j->d;

	PP_ASSERT(!j->session && !j->query && j->racer_count == 0);
	smtp_tls_slot_cancel(&j->tls_wait);
	smtp_dns_filter_cancel(j);
	unlink_job(j);
	if (j->is_asking || j->generic.is_asking)
		j->is_dead = true; /* the answer frees it */
	else
		smtp_job_free(j);
	delivery_done(d);
	smtp_agent_job_ended(s);
}

/* What our own side has set wrong is not held against the mail: it waits. */
static void
soften_configuration(struct smtp_job *j)
{
	const struct params *p = j->svc->p;
	const char *name = NULL;

	if (j->trouble.cls != STATUS_PERM || j->kind == SMTP_TROUBLE_MESSAGE)
		return;
	if (j->hop_count > 0 && j->hops[j->hop_count - 1].is_fallback)
		name = "smtp_fallback_relay";
	else if (*p->relayhost && str_eq(str_of(p->relayhost), str_of(j->d->nexthop)))
		name = "relayhost";
	if (!name)
		return;
	log_warn(j->svc->program, "%s configuration problem", name);
	j->trouble.cls = STATUS_TEMP;
	j->trouble.subject = 3;
	j->trouble.detail = 5;
	for (size_t i = 0; i < j->d->rcpt_count; i++)
		if (smtp_job_open(j, i))
			j->last[i] = j->trouble;
}

/* RFC 5321 3.8: 421 closes the door; RFC 3463 3.8: x.7.z is policy, 3.5: x.4.5 is more than may
 * pass. Statuses of our own making have no reply code. */
enum delivery_cause
smtp_cause_of(const struct status *st, enum delivery_cause otherwise)
{
	if (st->smtp == 0 || st->cls != STATUS_TEMP)
		return otherwise;
	if (st->subject == 4 && st->detail == 5)
		return CAUSE_QUOTA;
	return st->smtp == 421 || st->subject == 7 ? CAUSE_TOLD_OFF : otherwise;
}

static bool
has_words(const char *text, const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		if (strcasestr(text, words[i]))
			return true;
	return false;
}

/* Does this answer to MAIL speak of us and the relay rather than of the message? Only what is
 * unmistakable: RFC 5321 4.2.2 421, RFC 4954 6 (log in first, or again), RFC 3463 x.4.5, and what
 * the large providers say when an account has sent enough. */
static bool
is_about_relay(const struct status *st)
{
	static const char *const words[] = {"quota exceeded", "sending limit", "sending quota",
	    "throttling failure", "sending rate exceeded", "rate limit exceeded",
	    "daily user sending", "too many messages", NULL};

	if (st->smtp == 0 || st->text == NULL)
		return false;
	return st->smtp == 421 || st->smtp == 530 || st->smtp == 534 || st->smtp == 535 ||
	       st->smtp == 538 || (st->subject == 4 && st->detail == 5) ||
	       has_words(st->text, words);
}

static bool
is_left_out(const struct smtp_job *j, size_t hop)
{
	return hop < j->list_count && ((j->d->hops_left_out >> hop) & 1);
}

/* The next one of the list that may be tried; hop_count: none. */
static size_t
next_hop(const struct smtp_job *j, size_t hop)
{
	while (hop < j->hop_count && is_left_out(j, hop))
		hop++;
	return hop;
}

/* Done with this hop: the queue manager is told when it was in trouble. */
static void
leave_hop(struct smtp_job *j)
{
	struct delivery *d = j->d;

	if (!j->is_hop_bad || j->hop >= j->list_count || j->list_count < 2)
		return;
	if (!d->hops_trouble)
		d->hops_trouble = arena_alloc(&d->arena, SMTP_HOPS_MAX * sizeof *d->hops_trouble);
	d->hops_trouble[j->hop] = arena_strdup(&d->arena, j->trouble.text);
}

/* Nothing is left to try. */
static void
conclude(struct smtp_job *j)
{
	struct delivery *d = j->d;

	leave_hop(j);
	if (smtp_job_open_count(j) > 0 || d->rcpt_count == 0) {
		soften_configuration(j);
		d->cause = j->cause;
		if (j->kind != SMTP_TROUBLE_MESSAGE && j->trouble.cls == STATUS_TEMP)
			d->hop = status_copy(&d->arena, &j->trouble);
	}
	for (size_t i = 0; i < d->rcpt_count; i++) {
		if (!smtp_job_open(j, i))
			continue;
		if (j->last[i].cls == STATUS_NONE)
			j->last[i] = smtp_error_nowhere(&j->arena);
		delivery_settle(d, &d->rcpt[i], &j->last[i]);
	}
	finish(j);
}

void
smtp_job_give_up(struct smtp_job *j, const struct status *st, enum delivery_cause cause)
{
	bool is_hop = cause != CAUSE_NONE;

	smtp_prepare_stop(j);
	smtp_race_end(j);
	j->trouble = *st;
	j->cause = cause;
	j->kind = is_hop ? SMTP_TROUBLE_SESSION : SMTP_TROUBLE_MESSAGE;
	for (size_t i = 0; i < j->d->rcpt_count; i++)
		j->last[i] = *st;
	conclude(j);
}

void
smtp_job_decide(struct smtp_job *j, size_t rcpt, const struct status *st)
{
	struct status own = *st;

	if (j->svc->p->soft_bounce && own.cls == STATUS_PERM)
		own.cls = STATUS_TEMP;
	if (own.cls == STATUS_TEMP) {
		j->last[rcpt] = own;
		j->cause = smtp_cause_of(&own, j->cause);
	} else {
		delivery_settle(j->d, &j->d->rcpt[rcpt], &own);
	}
}

void
smtp_job_decide_all(struct smtp_job *j, const struct status *st)
{
	struct status own = *st;

	if (j->list_count > 1 && is_about_relay(st)) {
		j->is_hop_bad = true;
		j->trouble = own;
		if (next_hop(j, j->hop + 1) < j->hop_count)
			own.cls = STATUS_TEMP; /* the next relay has not said no */
	}
	for (size_t i = 0; i < j->d->rcpt_count; i++)
		if (smtp_job_open(j, i))
			smtp_job_decide(j, i, &own);
}

bool
smtp_job_may_try_more(const struct smtp_job *j)
{
	const struct params *p = j->svc->p;

	return (p->smtp_mx_address_limit == 0 || j->addresses < p->smtp_mx_address_limit) &&
	       (p->smtp_mx_session_limit == 0 || j->sessions < p->smtp_mx_session_limit);
}

static bool
has_next(const struct smtp_job *j)
{
	return (smtp_job_may_try_more(j) &&
		   (j->target < j->target_count || smtp_lookup_has_more(j))) ||
	       next_hop(j, j->hop + 1) < j->hop_count;
}

static void start_hop(struct smtp_job *j);

static void
next_address(struct smtp_job *j)
{
	if (smtp_race_goes_on(j))
		return;
	if (smtp_job_may_try_more(j)) {
		if (j->target < j->target_count) {
			smtp_prepare(j);
			return;
		}
		if (smtp_lookup_more(j))
			return;
	}
	if (next_hop(j, j->hop + 1) < j->hop_count) {
		leave_hop(j);
		j->hop = next_hop(j, j->hop + 1);
		start_hop(j);
		return;
	}
	conclude(j);
}

static void
start_hop(struct smtp_job *j)
{
	const struct smtp_hop *hop = smtp_job_hop(j);
	struct smtp_session *ss = NULL;

	j->is_hop_bad = false;
	j->addresses = j->sessions = 0;
	j->has_policy = false;
	j->target = j->target_count = j->mx_next = j->mx_count = 0;
	if (!*hop->host) {
		struct status st = smtp_error_syntax(&j->arena, hop->text);

		smtp_job_addresses(j, &st);
		return;
	}
	if (!j->is_fresh)
		ss = smtp_cache_take(j->smtp, j->svc, hop->text, j->identity);
	if (!ss) {
		smtp_lookup_start(j);
		return;
	}
	ss->job = j;
	smtp_session_begin(ss);
	j->session = ss;
	j->sessions++;
	smtp_job_connected(j);
	j->d->connect_us = j->d->start_us;
	smtp_job_ready(j);
}

/* The trouble of all that is open; logged when another host is tried next. */
static void
note_trouble(struct smtp_job *j, const struct status *st, enum smtp_trouble kind)
{
	j->trouble = *st;
	j->kind = kind;
	for (size_t i = 0; i < j->d->rcpt_count; i++)
		if (smtp_job_open(j, i))
			j->last[i] = *st;
	if (kind == SMTP_TROUBLE_CONNECT)
		log_info(j->svc->program, "%s", st->text);
	else if (has_next(j))
		log_info(j->svc->program, "%s: %s", j->d->queue_id, st->text);
}

void
smtp_job_addresses(struct smtp_job *j, const struct status *failed)
{
	if (failed) {
		struct status st = *failed;

		if (j->svc->p->soft_bounce && st.cls == STATUS_PERM)
			st.cls = STATUS_TEMP;
		j->cause = CAUSE_NAME;
		j->is_hop_bad = true;
		note_trouble(j, &st, SMTP_TROUBLE_LOOKUP);
	}
	next_address(j);
}

void
smtp_job_address_failed(struct smtp_job *j, const struct status *st)
{
	smtp_prepare_stop(j);
	j->target++;
	j->addresses++;
	j->cause = CAUSE_TLS;
	note_trouble(j, st, SMTP_TROUBLE_SESSION);
	next_address(j);
}

void
smtp_job_connected(struct smtp_job *j)
{
	if (j->session->uses == 0)
		j->sessions++;
	j->d->relay = arena_strdup(&j->d->arena, j->session->address);
}

void
smtp_job_ready(struct smtp_job *j)
{
	struct delivery *d = j->d;

	j->session->uses++;
	d->conn_use = j->session->uses;
	if (d->conn_use == 1)
		d->connect_us = loop_wall_us();
	j->cause = CAUSE_NONE;
	j->is_hop_bad = false;
	if (d->rcpt_count > 0) {
		smtp_transaction_start(j);
		return;
	}
	smtp_session_release(j->session, false);
	j->session = NULL;
	finish(j);
}

/* RFC 7435: with level may, mail that has waited goes in clear rather than not at all; at first it
 * waits, for most trouble with TLS passes. */
static bool
may_go_plain(const struct smtp_job *j)
{
	/* In whole seconds, as retry times are: the second attempt is not a fraction too early. */
	int64_t waited = j->d->active_us / 1000000 - j->d->arrival_us / 1000000;

	return waited >= j->svc->p->minimal_backoff_time / 1000;
}

void
smtp_job_session_failed(
    struct smtp_job *j, const struct status *st, enum smtp_trouble kind, bool plain)
{
	struct status soft = *st;

	j->session = NULL;
	if (j->svc->p->soft_bounce && soft.cls == STATUS_PERM)
		soft.cls = STATUS_TEMP;
	if (plain && may_go_plain(j)) {
		log_info(
		    j->svc->program, "%s: %s; trying again without TLS", j->d->queue_id, st->text);
		j->is_plain = true;
		j->target--;
		j->addresses--;
		j->sessions--;
		smtp_prepare(j);
		return;
	}
	j->is_hop_bad = j->cause != CAUSE_OWN;
	note_trouble(j, &soft, kind);
	next_address(j);
}

void
smtp_job_again(struct smtp_job *j)
{
	j->session = NULL;
	j->is_fresh = true;
	start_hop(j);
}

void
smtp_job_transaction_done(struct smtp_job *j, enum smtp_trouble kind)
{
	const char *said = NULL;

	j->session = NULL;
	j->is_fresh = false;
	if (!j->is_hop_bad && kind == SMTP_TROUBLE_MESSAGE && j->hop < j->list_count)
		j->d->hops_worked |= (uint64_t)1 << j->hop;
	if (smtp_job_open_count(j) == 0) {
		leave_hop(j);
		finish(j);
		return;
	}
	j->kind = kind;
	if (j->cause == CAUSE_NONE && kind == SMTP_TROUBLE_SESSION)
		j->cause = CAUSE_SESSION;
	for (size_t i = 0; i < j->d->rcpt_count; i++) {
		if (!smtp_job_open(j, i))
			continue;
		if (has_next(j) && (!said || strcmp(said, j->last[i].text) != 0))
			log_info(j->svc->program, "%s: %s", j->d->queue_id, j->last[i].text);
		said = j->last[i].text;
		j->trouble = j->last[i];
	}
	next_address(j);
}

void
smtp_job_break_off(struct smtp_job *j)
{
	struct status st = smtp_error_stopping(&j->arena);

	smtp_transaction_end(j);
	if (j->session)
		smtp_session_close(j->session);
	j->session = NULL;
	if (j->query)
		resolver_cancel(j->query);
	j->query = NULL;
	j->d->is_broken_off = true;
	smtp_job_give_up(j, &st, CAUSE_NONE);
}

void
smtp_job_new(struct smtp *s, struct delivery *d)
{
	struct smtp_job *j = MEM_NEW(struct smtp_job);
	const struct params *p;

	j->smtp = s;
	j->d = d;
	j->setup = s->setup;
	smtp_setup_ref(j->setup);
	j->next = s->jobs;
	if (j->next)
		j->next->prev = j;
	s->jobs = j;
	j->last = arena_alloc(&j->arena, d->rcpt_count * sizeof *j->last);
	j->svc = smtp_setup_find(s->setup, d);
	if (!j->svc || s->is_stopping) {
		struct status st = j->svc ? smtp_error_stopping(&j->arena)
					  : smtp_error_no_service(&j->arena, d->transport);

		d->is_broken_off = j->svc != NULL;
		delivery_settle_rest(d, &st);
		finish(j);
		return;
	}
	p = j->svc->p;
	d->relay = NULL;
	j->identity = p->smtp_sender_dependent_authentication && j->svc->passwords ? d->sender : "";
	smtp_target_parse(
	    &j->arena, d->nexthop, p->known_tcp_ports, j->svc->port, false, j->hops, &j->hop_count);
	if (j->svc->is_lmtp)
		smtp_target_parse_lmtp(
		    &j->arena, p->known_tcp_ports, j->svc->port, j->hops, j->hop_count);
	if (j->hop_count == 0) {
		struct status st = smtp_error_syntax(&j->arena, d->nexthop);

		smtp_job_give_up(j, &st, CAUSE_NONE);
		return;
	}
	j->list_count = j->hop_count;
	j->hop = next_hop(j, 0) % j->hop_count;
	smtp_target_parse(&j->arena, p->smtp_fallback_relay, p->known_tcp_ports, j->svc->port, true,
	    j->hops, &j->hop_count);
	smtp_target_use_srv(&j->arena, p->use_srv_lookup, p->smtp_tcp_port, j->hops, j->hop_count);
	if (j->svc->generic)
		smtp_generic_start(j);
	else
		smtp_job_mapped(j);
}

void
smtp_job_mapped(struct smtp_job *j)
{
	smtp_international_start(j, start_hop);
}
