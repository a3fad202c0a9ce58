/*
 * restrictions.c - one row and one function per restriction.
 *
 * To add one: write the function and its row, take its name out of restrict_unsupported. Functions
 * look at the session only; what they judge is always about the client, its HELO name, the sender
 * or the recipient, whichever list they stand in (smtpd_delay_reject), so they name their subject
 * themselves where it is not that of the list.
 */
#include "internal.h"

static struct restrict_subject
client_subject(const struct smtpd_session *s)
{
	return (struct restrict_subject){s->client, "Client host"};
}

static struct restrict_subject
helo_subject(const struct smtpd_session *s)
{
	return (struct restrict_subject){s->helo, "Helo command"};
}

static struct restrict_subject
sender_subject(const struct smtpd_session *s)
{
	return (struct restrict_subject){s->t.sender_text, "Sender address"};
}

static struct restrict_subject
rcpt_subject(const struct smtpd_session *s)
{
	return (struct restrict_subject){s->t.rcpt_text, "Recipient address"};
}

static enum verdict
permit(struct restrict_run *r, const struct restriction *it)
{
	return VERDICT_OK;
}

/* Needs what this server does not offer yet (AUTH, client certificates): nobody has it. */
static enum verdict
permit_nobody(struct restrict_run *r, const struct restriction *it)
{
	return VERDICT_DUNNO;
}

static enum verdict
reject(struct restrict_run *r, const struct restriction *it)
{
	return restrict_reject(r, r->session->setup->p->reject_code, "5.7.1",
	    "<%s>: %s rejected: Access denied", r->subject.name, r->subject.what);
}

static enum verdict
defer(struct restrict_run *r, const struct restriction *it)
{
	return restrict_reject(r, r->session->setup->p->defer_code, "4.3.2",
	    "<%s>: %s rejected: Try again later", r->subject.name, r->subject.what);
}

static enum verdict
warn_if_reject(struct restrict_run *r, const struct restriction *it)
{
	r->stack[r->depth - 1].is_next_warn = true;
	return VERDICT_DUNNO;
}

static enum verdict
defer_if_permit(struct restrict_run *r, const struct restriction *it)
{
	restrict_defer_if_permit(r, "4.7.0", "<%s>: %s rejected: defer_if_permit requested",
	    r->subject.name, r->subject.what);
	return VERDICT_DUNNO;
}

static enum verdict
defer_if_reject(struct restrict_run *r, const struct restriction *it)
{
	restrict_defer_if_reject(r, "4.7.0", "<%s>: %s rejected: defer_if_reject requested",
	    r->subject.name, r->subject.what);
	return VERDICT_DUNNO;
}

static enum verdict
permit_mynetworks(struct restrict_run *r, const struct restriction *it)
{
	return r->session->is_mynetworks ? VERDICT_OK : VERDICT_DUNNO;
}

static bool
is_own_client(const struct smtpd_session *s)
{
	const struct stream_peer *local = stream_local(s->stream);

	return str_starts(str_of(s->address), STR("127.")) || strcmp(s->address, "::1") == 0 ||
	       strcmp(s->address, local->address) == 0;
}

static enum verdict
permit_inet_interfaces(struct restrict_run *r, const struct restriction *it)
{
	return is_own_client(r->session) ? VERDICT_OK : VERDICT_DUNNO;
}

/* The recipient as it will be routed. */
static struct str
completed_rcpt(struct smtpd_session *s)
{
	return str_of(
	    route_complete(s->setup->cleanup.route, &s->scratch, str_of(s->t.rcpt.address)));
}

/* Ours, or a domain we relay for. user%elsewhere@ours, elsewhere!user@ours and "a@b"@ours are
 * other people's destinations behind one of ours: a stranger does not get them. */
static bool
is_auth_destination(struct smtpd_session *s)
{
	struct str address = completed_rcpt(s), local, domain;

	/* RFC 5321 4.5.1: a bare postmaster is always taken. */
	if (str_caseeq(str_of(s->t.rcpt.address), STR("postmaster")))
		return true;
	if (s->t.rcpt_class == ROUTE_DEFAULT)
		return false;
	if (s->setup->p->allow_untrusted_routing)
		return true;
	address_split(address, &local, &domain);
	for (size_t i = 0; i < local.n; i++)
		if (local.p[i] == '@' || local.p[i] == '%' || local.p[i] == '!')
			return false;
	return true;
}

static enum verdict
permit_auth_destination(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	return s->t.rcpt.address && is_auth_destination(s) ? VERDICT_OK : VERDICT_DUNNO;
}

static enum verdict
reject_unauth_destination(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.rcpt.address == NULL || is_auth_destination(s))
		return VERDICT_DUNNO;
	return restrict_reject(r, s->setup->p->relay_domains_reject_code, "5.7.1",
	    "<%s>: Relay access denied", s->t.rcpt_text);
}

static enum verdict
defer_unauth_destination(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.rcpt.address == NULL || is_auth_destination(s))
		return VERDICT_DUNNO;
	return restrict_reject(r, 454, "4.7.1", "<%s>: Relay access denied", s->t.rcpt_text);
}

static enum verdict
reject_unauth_pipelining(struct restrict_run *r, const struct restriction *it)
{
	if (!r->session->is_improper)
		return VERDICT_DUNNO;
	return restrict_reject(r, 503, "5.5.0",
	    "<%s>: %s rejected: Improper use of SMTP command pipelining", r->subject.name,
	    r->subject.what);
}

static enum verdict
check_client_access(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;
	struct map_keys *keys = ARENA_NEW(&s->scratch, struct map_keys);

	key_client(&s->scratch, str_of(s->name), str_of(s->address), s->setup->is_parents, keys);
	return restrict_lookup(r, it, keys, client_subject(s));
}

static enum verdict
check_reverse_client_hostname_access(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;
	struct map_keys *keys = ARENA_NEW(&s->scratch, struct map_keys);

	key_client(&s->scratch, str_of(s->reverse), str_of(s->address), s->setup->is_parents, keys);
	return restrict_lookup(r, it, keys, client_subject(s));
}

static enum verdict
check_helo_access(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;
	struct map_keys *keys;

	if (s->helo == NULL)
		return VERDICT_DUNNO;
	keys = ARENA_NEW(&s->scratch, struct map_keys);
	key_domain(&s->scratch, str_of(s->helo), s->setup->is_parents, keys);
	return restrict_lookup(r, it, keys, helo_subject(s));
}

static enum verdict
check_address(struct restrict_run *r, const struct restriction *it, struct str address,
    struct restrict_subject subject)
{
	struct smtpd_session *s = r->session;
	const struct params *p = s->setup->p;
	struct map_keys *keys = ARENA_NEW(&s->scratch, struct map_keys);

	key_access_address(&s->scratch, address, p->recipient_delimiter, s->setup->is_parents,
	    p->smtpd_null_access_lookup_key, keys);
	return restrict_lookup(r, it, keys, subject);
}

static enum verdict
check_sender_access(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.mail.address == NULL)
		return VERDICT_DUNNO;
	return check_address(r, it,
	    str_of(route_complete(s->setup->cleanup.route, &s->scratch, str_of(s->t.mail.address))),
	    sender_subject(s));
}

static enum verdict
check_recipient_access(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.rcpt.address == NULL)
		return VERDICT_DUNNO;
	return check_address(r, it, completed_rcpt(s), rcpt_subject(s));
}

/* A bare postmaster is always a good recipient: RFC 5321 4.5.1. */
static enum verdict
reject_non_fqdn(struct restrict_run *r, struct str address, struct restrict_subject subject)
{
	struct str local, domain;

	if (address.n == 0)
		return VERDICT_DUNNO;
	if (!address_split(address, &local, &domain)) {
		if (str_caseeq(address, STR("postmaster")))
			return VERDICT_DUNNO;
	} else if (esmtp_helo_fqdn(domain)) {
		return VERDICT_DUNNO;
	}
	return restrict_reject(r, r->session->setup->p->non_fqdn_reject_code, "5.5.2",
	    "<%s>: %s rejected: need fully-qualified address", subject.name, subject.what);
}

static enum verdict
reject_non_fqdn_sender(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.mail.address == NULL)
		return VERDICT_DUNNO;
	return reject_non_fqdn(r, str_of(s->t.mail.address), sender_subject(s));
}

static enum verdict
reject_non_fqdn_recipient(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.rcpt.address == NULL)
		return VERDICT_DUNNO;
	return reject_non_fqdn(r, str_of(s->t.rcpt.address), rcpt_subject(s));
}

static enum verdict
reject_invalid_helo(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->helo == NULL || esmtp_helo_valid(str_of(s->helo)))
		return VERDICT_DUNNO;
	return restrict_reject(r, s->setup->p->invalid_hostname_reject_code, "5.5.2",
	    "<%s>: Helo command rejected: Invalid name", s->helo);
}

static enum verdict
reject_non_fqdn_helo(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->helo == NULL || esmtp_helo_fqdn(str_of(s->helo)))
		return VERDICT_DUNNO;
	return restrict_reject(r, s->setup->p->non_fqdn_reject_code, "5.5.2",
	    "<%s>: Helo command rejected: need fully-qualified hostname", s->helo);
}

static enum verdict
reject_unknown_client(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (strcmp(s->name, "unknown") != 0)
		return VERDICT_DUNNO;
	return restrict_reject(r, s->setup->p->unknown_client_reject_code, "4.7.25",
	    "Client host rejected: cannot find your hostname, [%s]", s->address);
}

static enum verdict
reject_unknown_reverse(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (strcmp(s->reverse, "unknown") != 0)
		return VERDICT_DUNNO;
	return restrict_reject(r, s->setup->p->unknown_client_reject_code, "4.7.25",
	    "Client host rejected: cannot find your reverse hostname, [%s]", s->address);
}

/* Bounces have one recipient; who sends "from nobody" to many sends spam. Judged from DATA on. */
static enum verdict
reject_multi_recipient_bounce(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;

	if (s->t.mail.address == NULL || s->t.mail.address[0] != '\0' || s->t.rcpt_count < 2)
		return VERDICT_DUNNO;
	return restrict_reject(r, s->setup->p->multi_recipient_bounce_reject_code, "5.5.3",
	    "<%s>: %s rejected: Multi-recipient bounce", r->subject.name, r->subject.what);
}

const struct restrict_row restrict_rows[] = {
    {"permit", permit, ARG_NONE},
    {"reject", reject, ARG_NONE},
    {"defer", defer, ARG_NONE},
    {"warn_if_reject", warn_if_reject, ARG_NONE},
    {"defer_if_permit", defer_if_permit, ARG_NONE},
    {"defer_if_reject", defer_if_reject, ARG_NONE},
    {"permit_mynetworks", permit_mynetworks, ARG_NONE},
    {"permit_inet_interfaces", permit_inet_interfaces, ARG_NONE},
    {"permit_sasl_authenticated", permit_nobody, ARG_NONE},
    {"permit_tls_clientcerts", permit_nobody, ARG_NONE},
    {"permit_tls_all_clientcerts", permit_nobody, ARG_NONE},
    {"permit_auth_destination", permit_auth_destination, ARG_NONE},
    {"reject_unauth_destination", reject_unauth_destination, ARG_NONE},
    {"defer_unauth_destination", defer_unauth_destination, ARG_NONE},
    {"reject_unauth_pipelining", reject_unauth_pipelining, ARG_NONE},
    {"check_client_access", check_client_access, ARG_MAP},
    {"check_reverse_client_hostname_access", check_reverse_client_hostname_access, ARG_MAP},
    {"check_helo_access", check_helo_access, ARG_MAP},
    {"check_sender_access", check_sender_access, ARG_MAP},
    {"check_recipient_access", check_recipient_access, ARG_MAP},
    {"reject_non_fqdn_sender", reject_non_fqdn_sender, ARG_NONE},
    {"reject_non_fqdn_recipient", reject_non_fqdn_recipient, ARG_NONE},
    {"reject_invalid_helo_hostname", reject_invalid_helo, ARG_NONE},
    {"reject_invalid_hostname", reject_invalid_helo, ARG_NONE},
    {"reject_non_fqdn_helo_hostname", reject_non_fqdn_helo, ARG_NONE},
    {"reject_non_fqdn_hostname", reject_non_fqdn_helo, ARG_NONE},
    {"reject_unknown_client_hostname", reject_unknown_client, ARG_NONE},
    {"reject_unknown_client", reject_unknown_client, ARG_NONE},
    {"reject_unknown_reverse_client_hostname", reject_unknown_reverse, ARG_NONE},
    {"reject_unlisted_recipient", smtpd_reject_unlisted_recipient, ARG_NONE},
    {"reject_multi_recipient_bounce", reject_multi_recipient_bounce, ARG_NONE},
};
const size_t restrict_row_count = PP_COUNT(restrict_rows);

const char *const restrict_unsupported[] = {
    "check_address_map",
    "check_ccert_access",
    "check_client_a_access",
    "check_client_mx_access",
    "check_client_ns_access",
    "check_etrn_access",
    "check_helo_a_access",
    "check_helo_mx_access",
    "check_helo_ns_access",
    "check_policy_service",
    "check_recipient_a_access",
    "check_recipient_maps",
    "check_recipient_mx_access",
    "check_recipient_ns_access",
    "check_relay_domains",
    "check_reverse_client_hostname_a_access",
    "check_reverse_client_hostname_mx_access",
    "check_reverse_client_hostname_ns_access",
    "check_sasl_access",
    "check_sender_a_access",
    "check_sender_mx_access",
    "check_sender_ns_access",
    "permit_dnswl_client",
    "permit_mx_backup",
    "permit_naked_ip_address",
    "permit_rhswl_client",
    "reject_authenticated_sender_login_mismatch",
    "reject_known_sender_login_mismatch",
    "reject_maps_rbl",
    "reject_plaintext_session",
    "reject_rbl_client",
    "reject_rhsbl_client",
    "reject_rhsbl_helo",
    "reject_rhsbl_recipient",
    "reject_rhsbl_reverse_client",
    "reject_rhsbl_sender",
    "reject_sender_login_mismatch",
    "reject_unauthenticated_sender_login_mismatch",
    "reject_unknown_address",
    "reject_unknown_forward_client_hostname",
    "reject_unknown_helo_hostname",
    "reject_unknown_hostname",
    "reject_unknown_recipient_domain",
    "reject_unknown_sender_domain",
    "reject_unlisted_sender",
    "reject_unverified_recipient",
    "reject_unverified_sender",
    "sleep",
    NULL,
};
