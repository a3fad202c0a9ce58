/*
 * From a next hop to addresses: MX records, then the addresses of their hosts, one preference at a
 * time, so that nothing is asked for that no delivery needs.
 *
 * Only what name service says for certain is permanent (RFC 5321 5.1, RFC 7505); every doubt
 * defers. For the services of use_srv_lookup SRV records take the place of MX (RFC 2782, RFC 6186);
 * each of their hosts is looked up when its turn comes. A host of ours in the list cuts it off
 * there: what is worse than ourselves would send it back.
 */
#include <sys/un.h>
#include "internal.h"
#include "pp/runtime/log.h"

enum { TARGETS_MAX = RESOLVER_MX_MAX * 4 };

static uint64_t *
seed_of(struct smtp_job *j)
{
	return j->svc->p->smtp_randomize_addresses ? &j->smtp->seed : NULL;
}

/* Would a connection there come back to us? Only at a port where we listen, or at the usual one of
 * the transport. */
static bool
can_loop(struct smtp_job *j, unsigned port)
{
	return smtp_job_hop(j)->use_mx && smtp_setup_listens(j->setup, port);
}

/* Of a host; SRV records say it. */
static unsigned
port_of(struct smtp_job *j, const struct resolver_mx *mx)
{
	return j->is_srv ? mx->port : smtp_job_hop(j)->port;
}

static bool
is_own_name(struct smtp_job *j, const char *host)
{
	struct str name = str_of(host);

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	return str_caseeq(name, str_of(j->svc->p->myhostname));
}

/* Of the preference just looked up. */
static bool
has_myself(struct smtp_job *j, size_t first)
{
	for (size_t i = first; i < j->group_end; i++)
		if (j->is_mx && can_loop(j, port_of(j, &j->mx[i])) && is_own_name(j, j->mx[i].host))
			return true;
	for (size_t i = 0; i < j->target_count; i++)
		if (can_loop(j, j->targets[i].port) &&
		    smtp_setup_owns(j->setup, j->targets[i].text))
			return true;
	return false;
}

static void lookup_host(struct smtp_job *j);
static void leave_srv(struct smtp_job *j, const struct status *why, bool is_allowed);

/* All hosts of one preference were asked. */
static void
group_done(struct smtp_job *j)
{
	size_t first = j->group_end;
	struct status st;

	while (first > 0 && j->mx[first - 1].preference == j->mx[j->group_end - 1].preference)
		first--;
	if (has_myself(j, first)) {
		j->mx_count = j->mx_next = first;
		j->target_count = 0;
		if (!j->mx_tried) {
			st = smtp_error_loop(&j->arena, smtp_job_hop(j)->host);
			smtp_job_addresses(j, &st);
			return;
		}
	}
	if (j->target_count == 0 && smtp_lookup_more(j))
		return;
	if (j->target_count == 0 && j->is_srv && !j->mx_tried) {
		st = j->lookup;
		log_warn(j->svc->program, "no SRV host for %s has a valid address record",
		    smtp_job_hop(j)->srv);
		leave_srv(j, &st, false);
		return;
	}
	if (j->target_count > 0) {
		j->mx_tried = true;
		smtp_target_sort(j->targets, j->target_count, j->svc->prefer,
		    j->svc->p->smtp_balance_inet_protocols, seed_of(j));
		smtp_job_addresses(j, NULL);
		return;
	}
	st = j->lookup;
	smtp_job_addresses(j, j->mx_tried ? NULL : &st);
}

static const char *
address_type(const struct smtp_job *j)
{
	return j->svc->family == AF_INET ? "A" : "AAAA";
}

static void
host_failed(struct smtp_job *j, const char *host, const struct resolver_answer *a)
{
	bool temporary = a->result == RESOLVER_TRY_AGAIN || a->result == RESOLVER_MALFORMED;
	const char *text = a->text ? a->text : "Host found but no data record of requested type";

	/* One host in doubt keeps the whole in doubt. */
	if (j->lookup.cls == STATUS_TEMP)
		return;
	if (a->result == RESOLVER_FILTERED)
		j->lookup = smtp_error_filtered(&j->arena, text);
	else if (j->svc->use_native)
		j->lookup = smtp_error_native(&j->arena, host, temporary);
	else
		j->lookup = smtp_error_dns(&j->arena, host, address_type(j), text, temporary);
	if (j->lookup.cls == STATUS_PERM && j->is_mx &&
	    j->svc->p->smtp_defer_if_no_mx_address_found)
		j->lookup.cls = STATUS_TEMP;
}

/* The list grows with the answers: most are short. */
static void
make_room(struct smtp_job *j, size_t n)
{
	struct smtp_target *t = arena_alloc(&j->arena, (j->target_count + n) * sizeof *j->targets);

	if (j->target_count > 0)
		memcpy(t, j->targets, j->target_count * sizeof *t);
	j->targets = t;
}

static void
use_addresses(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;
	const struct resolver_mx *mx = &j->mx[j->mx_next];
	const char *canonical = a->canonical ? arena_strdup(&j->arena, a->canonical) : NULL;
	const char *host = mx->host;
	const char *shown =
	    canonical && j->svc->p->smtp_cname_overrides_servername ? canonical : host;

	j->mx_next++;
	if (a->result != RESOLVER_OK || a->n == 0)
		host_failed(j, host, a);
	else
		make_room(j, a->n);
	for (size_t i = 0; a->result == RESOLVER_OK && i < a->n; i++) {
		struct smtp_target *t = &j->targets[j->target_count];

		if (j->target_count == TARGETS_MAX)
			break;
		if (a->address[i].sa.ss_family != AF_INET && a->address[i].sa.ss_family != AF_INET6)
			continue;
		*t = (struct smtp_target){.sa = a->address[i].sa,
		    .host = shown,
		    .port = port_of(j, mx),
		    .canonical = canonical,
		    .is_secure = a->is_secure};
		memcpy(t->text, a->address[i].text, sizeof a->address[i].text);
		smtp_target_set_port(&t->sa, t->port);
		j->target_count++;
	}
	if (j->mx_next < j->group_end)
		lookup_host(j);
	else
		group_done(j);
}

static void
on_address(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;

	smtp_dns_answer(j, j->mx[j->mx_next].host, "A", a, use_addresses);
}

static void
lookup_host(struct smtp_job *j)
{
	unsigned flags = (j->svc->use_native ? RESOLVER_NATIVE : 0) | j->svc->search;

	/* Addresses of hosts that somebody may have made up prove nothing (RFC 7672 2.2.1), but
	 * Postfix looks for them, too: smtp_tls_dane_insecure_mx_policy. */
	if (j->svc->use_dnssec)
		flags |= RESOLVER_SECURE;
	j->query = resolver_find_address(
	    j->smtp->resolver, j->mx[j->mx_next].host, j->svc->family, flags, on_address, j);
}

bool
smtp_lookup_has_more(const struct smtp_job *j)
{
	return j->mx_next < j->mx_count;
}

bool
smtp_lookup_more(struct smtp_job *j)
{
	if (!smtp_lookup_has_more(j))
		return false;
	j->target_count = j->target = 0;
	j->group_end = j->mx_next + 1;
	/* Hosts of SRV records are in order already, one behind the other. */
	while (!j->is_srv && j->group_end < j->mx_count &&
	       j->mx[j->group_end].preference == j->mx[j->mx_next].preference)
		j->group_end++;
	lookup_host(j);
	return true;
}

/* The host itself, without MX records (RFC 5321 5.1: an implicit MX), or because of brackets. */
static void
use_host(struct smtp_job *j)
{
	struct resolver_mx *mx = ARENA_NEW(&j->arena, struct resolver_mx);
	const char *host = smtp_job_hop(j)->host;

	memcpy(mx->host, host, strlen(host) + 1); /* shorter than RESOLVER_NAME_MAX: target.c */
	j->mx = mx;
	j->mx_count = 1;
	smtp_lookup_more(j);
}

static void
use_mx(struct smtp_job *j, const struct resolver_answer *a)
{
	size_t n = a->n < RESOLVER_MX_MAX ? a->n : RESOLVER_MX_MAX;

	j->mx = arena_alloc(&j->arena, n * sizeof *j->mx);
	memcpy(j->mx, a->mx, n * sizeof *j->mx);
	j->mx_count = n;
	j->is_mx = true;
	j->is_mx_secure = a->is_secure;
	if (j->is_srv)
		smtp_target_sort_srv(j->mx, n, &j->smtp->seed);
	else
		smtp_target_sort_mx(j->mx, n, seed_of(j));
	smtp_lookup_more(j);
}

static void
use_mx_answer(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;
	const char *domain = smtp_job_hop(j)->host;
	struct status st;

	switch (a->result) {
	case RESOLVER_OK:
		if (a->n == 0) {
			use_host(j);
			return;
		}
		if (a->n != 1 || a->mx[0].host[0]) {
			use_mx(j, a);
			return;
		}
		st = smtp_error_null_mx(&j->arena, domain);
		break;
	case RESOLVER_NO_DATA:
		use_host(j);
		return;
	case RESOLVER_NOT_FOUND:
		/* Postfix asks for the address then, and says so; there is none either, unless the
		 * name is short for another. */
		if (j->svc->search) {
			use_host(j);
			return;
		}
		st = smtp_error_dns(&j->arena, domain, address_type(j), a->text, false);
		break;
	case RESOLVER_FILTERED:
		st = smtp_error_filtered(&j->arena, a->text);
		break;
	case RESOLVER_TRY_AGAIN:
	case RESOLVER_MALFORMED:
	default:
		if (j->svc->p->ignore_mx_lookup_error) {
			use_host(j);
			return;
		}
		st = smtp_error_dns(&j->arena, domain, "MX", a->text, true);
		break;
	}
	smtp_job_addresses(j, &st);
}

static void
on_mx(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;

	smtp_dns_answer(j, smtp_job_hop(j)->host, "MX", a, use_mx_answer);
}

static void
use_domain(struct smtp_job *j)
{
	const struct smtp_hop *hop = smtp_job_hop(j);

	if (hop->use_mx && j->svc->use_dns)
		j->query = resolver_find_mx(j->smtp->resolver, hop->host,
		    j->svc->use_dnssec ? RESOLVER_SECURE : 0, on_mx, j);
	else
		use_host(j);
}

/* Not there, or in doubt: as if nobody had asked for SRV, where that is allowed. A service that is
 * decidedly not there (RFC 2782) stays so. */
static void
leave_srv(struct smtp_job *j, const struct status *why, bool is_allowed)
{
	j->is_mx = j->is_srv = false;
	j->mx_count = j->mx_next = j->group_end = 0;
	if (!is_allowed && !j->svc->p->allow_srv_lookup_fallback) {
		smtp_job_addresses(j, why);
		return;
	}
	log_info(
	    j->svc->program, "skipping SRV lookup for %s: %s", smtp_job_hop(j)->srv, why->text);
	j->lookup = (struct status){0};
	use_domain(j);
}

static void
use_srv(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;
	const char *name = smtp_job_hop(j)->srv;
	bool temporary = a->result == RESOLVER_TRY_AGAIN || a->result == RESOLVER_MALFORMED;
	struct status st;

	if (a->result == RESOLVER_OK && a->n > 0 && a->mx[0].host[0]) {
		j->is_srv = true;
		use_mx(j, a);
		return;
	}
	if (a->result == RESOLVER_OK && a->n > 0)
		st = smtp_error_null_srv(&j->arena, name);
	else if (a->result == RESOLVER_FILTERED)
		st = smtp_error_filtered(&j->arena, a->text);
	else
		st = smtp_error_dns(&j->arena, name, "SRV", a->text, temporary);
	leave_srv(j, &st, temporary && j->svc->p->ignore_srv_lookup_error);
}

static void
on_srv(void *ctx, const struct resolver_answer *a)
{
	struct smtp_job *j = ctx;

	smtp_dns_answer(j, smtp_job_hop(j)->srv, "SRV", a, use_srv);
}

/* The socket of an LMTP server. Relative paths begin at the queue directory, as Postfix's do. */
static void
use_path(struct smtp_job *j)
{
	const char *path = smtp_job_hop(j)->host;
	struct smtp_target *t = ARENA_NEW(&j->arena, struct smtp_target);
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&t->sa;
	const char *whole = path;

	if (*path != '/')
		whole = arena_printf(&j->arena, "%s/%s", j->svc->p->queue_directory, path);
	if (strlen(whole) >= sizeof un->sun_path) {
		struct status st = smtp_error_syntax(&j->arena, smtp_job_hop(j)->text);

		smtp_job_addresses(j, &st);
		return;
	}
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, whole, strlen(whole) + 1);
	memcpy(t->text, path, strlen(path) + 1);
	t->host = j->svc->p->myhostname;
	j->targets = t;
	j->target_count = 1;
	smtp_job_addresses(j, NULL);
}

void
smtp_lookup_start(struct smtp_job *j)
{
	const struct smtp_hop *hop = smtp_job_hop(j);

	j->mx_count = j->mx_next = j->group_end = 0;
	j->target_count = j->target = 0;
	j->is_mx = j->is_srv = j->mx_tried = false;
	j->lookup = (struct status){0};
	if (hop->is_unix)
		use_path(j);
	else if (hop->srv && j->svc->use_dns)
		j->query = resolver_find_srv(j->smtp->resolver, hop->srv,
		    j->svc->use_dnssec ? RESOLVER_SECURE : 0, on_srv, j);
	else
		use_domain(j);
}
