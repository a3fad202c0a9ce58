/*
 * What a session needs before it may connect: the policy of the next hop, the credentials for this
 * server and a TLS context.
 *
 * All may have to be read from files, so all is asked for before the connection is made: a server
 * is not kept waiting for our disk, and a table that cannot be read ends the delivery before
 * anything was sent in the wrong way.
 */
#include "internal.h"
#include "pp/map/key.h"

static bool
is_implicit(const struct smtp_job *j)
{
	const char *srv = j->hops[j->hop].srv;

	/* Port 465 speaks TLS from the first byte (RFC 8314 3.3), told so or not; so does what the
	 * SRV records of submissions lead to (5.1). */
	return j->svc->p->smtp_tls_wrappermode || j->targets[j->target].port == 465 ||
	       (j->is_srv && str_casestarts(str_of(srv), STR("_submissions.")));
}

static enum tls_level
level_of(const struct smtp_job *j)
{
	return j->is_plain ? TLS_NONE : j->effective.level;
}

static void
forget_password(struct smtp_job *j)
{
	if (j->password)
		explicit_bzero(j->password, strlen(j->password));
	j->user = j->password = NULL;
}

static void
start_session(struct smtp_job *j, struct tls_context *tls)
{
	struct smtp_session_options o = {
	    .svc = j->svc,
	    .hop = smtp_job_hop(j),
	    .target = &j->targets[j->target],
	    .identity = j->identity,
	    .user = j->user,
	    .password = j->password,
	    .policy = j->effective,
	    .implicit_tls = is_implicit(j),
	    .tls = tls,
	};

	o.policy.level = level_of(j);
	if (o.implicit_tls && o.policy.level < TLS_ENCRYPT)
		o.policy.level = TLS_ENCRYPT;
	j->target++;
	j->addresses++;
	j->is_plain = false;
	j->d->relay = NULL;
	j->d->conn_use = 1;
	j->is_preparing = false;
	smtp_race_add(j, smtp_session_new(j->smtp, j, &o));
	forget_password(j);
}

static void find_context(struct smtp_job *j);

static void
on_context(struct smtp_tls_wait *w, struct tls_context *c, const char *error)
{
	struct smtp_job *j = PP_CONTAINER(w, struct smtp_job, tls_wait);

	if (c) {
		start_session(j, c);
	} else if (!error) {
		find_context(j);
	} else {
		struct status st = smtp_error_tls_context(&j->arena, error);

		/* Another policy may need other files, or none: other destinations go on. */
		smtp_job_give_up(j, &st, CAUSE_TLS);
	}
}

static void
find_context(struct smtp_job *j)
{
	enum tls_level level = level_of(j);
	const struct smtp_service *sv = j->svc;
	struct tls_context *c;

	if (level == TLS_NONE && !is_implicit(j)) {
		start_session(j, NULL);
		return;
	}
	/* The slots are those of the newest set-up. */
	if (j->setup != j->smtp->setup)
		sv = smtp_setup_find(j->smtp->setup, j->d);
	if (!sv) {
		struct status st = smtp_error_no_service(&j->arena, j->d->transport);

		smtp_job_give_up(j, &st, CAUSE_NONE);
		return;
	}
	j->tls_wait.done = on_context;
	c = smtp_tls_slot_get(j->smtp,
	    level == TLS_MAY && !is_implicit(j) ? sv->tls_may : sv->tls_must,
	    j->policy.trust_anchors, &j->tls_wait);
	if (c)
		start_session(j, c);
}

/* An answer of a table came. False: nobody waits for it; the job may be gone. */
static bool
answered(struct smtp_job *j)
{
	map_query_fini(&j->question);
	j->is_asking = false;
	if (j->is_dead) {
		smtp_job_free(j);
		return false;
	}
	if (j->is_again) {
		j->is_again = false;
		smtp_prepare(j);
		return false;
	}
	return j->is_preparing;
}

static void
ask(struct smtp_job *j, struct map *m, unsigned n, void (*done)(struct map_query *))
{
	j->is_asking = true;
	map_find(m, j->smtp->slow, &j->question, j->keys, n, done);
}

/* "user:password"; the password may hold colons. */
static bool
take_password(struct smtp_job *j, struct str value)
{
	size_t colon = str_index(value, ':');

	if (colon == 0 || colon == value.n)
		return false;
	j->user = arena_str(&j->arena, str_head(value, colon));
	j->password = arena_str(&j->arena, str_from(value, colon + 1));
	return true;
}

static void
on_password(struct map_query *q)
{
	struct smtp_job *j = PP_CONTAINER(q, struct smtp_job, question);
	struct str value = buf_str(&q->value);
	struct status st = {0};

	if (q->result < 0)
		st = smtp_error_password_map(&j->arena, buf_cstr(&q->value));
	else if (q->result > 0 && !take_password(j, value))
		st = smtp_error_password_entry(
		    &j->arena, arena_str(&j->arena, j->keys[q->hit].text));
	if (value.n > 0)
		explicit_bzero((char *)(uintptr_t)value.p, value.n);
	if (!answered(j))
		return;
	if (st.cls == STATUS_NONE)
		find_context(j);
	else
		smtp_job_give_up(
		    j, &st, CAUSE_AUTH); /* never without the password it should have */
}

static void
add_key(struct smtp_job *j, unsigned *n, const char *text)
{
	j->keys[(*n)++] = (struct map_key){.text = arena_lower(&j->arena, str_of(text))};
}

/* Postfix's order: the sender where credentials go by sender (with its extension, without, its
 * domain), the host that is really connected to, the next hop as given; and, unlike Postfix, its
 * host without port and brackets. */
static void
find_password(struct smtp_job *j)
{
	const struct smtp_hop *hop = smtp_job_hop(j);
	const char *host = j->targets[j->target].host;
	struct map_keys keys = {0};
	unsigned n = 0;

	if (!j->svc->passwords) {
		find_context(j);
		return;
	}
	if (*j->identity)
		key_address(
		    &j->arena, str_of(j->identity), j->svc->p->recipient_delimiter, false, &keys);
	for (; n < keys.n; n++)
		j->keys[n] = keys.a[n];
	add_key(j, &n, host);
	if (!str_caseeq(str_of(hop->text), str_of(host)))
		add_key(j, &n, hop->text);
	if (!str_caseeq(str_of(hop->host), str_of(host)) &&
	    !str_caseeq(str_of(hop->host), str_of(hop->text)))
		add_key(j, &n, hop->host);
	ask(j, j->svc->passwords, n, on_password);
}

void
smtp_prepare_go_on(struct smtp_job *j)
{
	find_password(j);
}

static void
settle_policy(struct smtp_job *j)
{
	enum tls_level level = j->policy.level;

	j->effective = j->policy;
	if (!j->is_plain && (level == TLS_DANE || level == TLS_DANE_ONLY))
		smtp_dane_start(j);
	else
		find_password(j);
}

static void
on_policy(struct map_query *q)
{
	struct smtp_job *j = PP_CONTAINER(q, struct smtp_job, question);
	struct status st = {0};

	if (q->result < 0) {
		st = smtp_error_policy_map(&j->arena, buf_cstr(&q->value));
	} else if (q->result > 0) {
		const char *why =
		    smtp_policy_parse(&j->arena, j->svc, buf_str(&q->value), &j->policy);

		if (why)
			st = smtp_error_tls_policy(&j->arena, j->svc->p->smtp_tls_policy_maps,
			    arena_str(&j->arena, j->keys[q->hit].text), why);
	}
	if (!answered(j))
		return;
	if (st.cls != STATUS_NONE) {
		smtp_job_give_up(j, &st, CAUSE_TLS);
		return;
	}
	j->has_policy = true;
	settle_policy(j);
}

void
smtp_prepare(struct smtp_job *j)
{
	struct map_keys keys = {0};

	j->is_preparing = true;
	j->is_again = j->is_asking; /* one question at a time */
	if (j->is_again)
		return;
	if (j->has_policy) {
		settle_policy(j);
		return;
	}
	j->policy = j->svc->policy;
	if (!j->svc->policies) {
		j->has_policy = true;
		settle_policy(j);
		return;
	}
	key_tls_policy(&j->arena, str_of(smtp_job_hop(j)->text), &keys);
	memcpy(j->keys, keys.a, keys.n * sizeof *keys.a);
	ask(j, j->svc->policies, keys.n, on_policy);
}

void
smtp_prepare_stop(struct smtp_job *j)
{
	if (!j->is_preparing)
		return;
	j->is_preparing = j->is_again = false;
	smtp_tls_slot_cancel(&j->tls_wait);
	smtp_dns_filter_cancel(j);
	if (j->query)
		resolver_cancel(j->query);
	j->query = NULL;
	forget_password(j);
}
