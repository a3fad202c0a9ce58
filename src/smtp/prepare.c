/*
 * What a session needs before it may connect: the credentials for this server and a TLS context.
 *
 * Both may have to be read from files, so both are asked for before the connection is made: a
 * server is not kept waiting for our disk, and a password file that cannot be read ends the
 * delivery before anything was sent in the wrong way.
 */
#include "internal.h"
#include "pp/map/key.h"

static bool
is_implicit(const struct smtp_job *j)
{
	/* Port 465 speaks TLS from the first byte (RFC 8314 3.3), told so or not. */
	return j->svc->p->smtp_tls_wrappermode || j->hops[j->hop].port == 465;
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
	    .level = j->is_plain ? TLS_NONE : j->svc->level,
	    .implicit_tls = is_implicit(j),
	    .tls = tls,
	};

	if (o.implicit_tls && o.level < TLS_ENCRYPT)
		o.level = TLS_ENCRYPT;
	j->target++;
	j->addresses++;
	j->is_plain = false;
	j->d->relay = NULL;
	j->d->conn_use = 1;
	j->session = smtp_session_new(j->smtp, j, &o);
	if (j->password)
		explicit_bzero(j->password, strlen(j->password));
	j->user = j->password = NULL;
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

		smtp_job_give_up(j, &st, CAUSE_OWN);
	}
}

static void
find_context(struct smtp_job *j)
{
	enum tls_level level = j->is_plain ? TLS_NONE : j->svc->level;
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
	    level == TLS_MAY && !is_implicit(j) ? sv->tls_may : sv->tls_must, &j->tls_wait);
	if (c)
		start_session(j, c);
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
	struct smtp_job *j = PP_CONTAINER(q, struct smtp_job, password_query);
	struct str value = buf_str(&q->value);
	struct status st = {0};

	if (q->result < 0)
		st = smtp_error_password_map(&j->arena, buf_cstr(&q->value));
	else if (q->result > 0 && !take_password(j, value))
		st = smtp_error_password_entry(
		    &j->arena, arena_str(&j->arena, j->password_keys[q->hit].text));
	if (value.n > 0)
		explicit_bzero((char *)(uintptr_t)value.p, value.n);
	map_query_fini(q);
	j->is_asking = false;
	if (j->is_dead)
		smtp_job_free(j);
	else if (st.cls == STATUS_NONE)
		find_context(j);
	else
		smtp_job_give_up(
		    j, &st, CAUSE_AUTH); /* never without the password it should have */
}

void
smtp_prepare(struct smtp_job *j)
{
	const struct smtp_hop *hop = smtp_job_hop(j);
	char *host = arena_strdup(&j->arena, j->targets[j->target].host);
	struct map_keys keys = {0};
	unsigned n;

	if (!j->svc->passwords) {
		find_context(j);
		return;
	}
	/* The sender when credentials go by sender, the next hop as given, its host, and the host
	 * that is really connected to. */
	key_sasl_password(
	    &j->arena, str_of(j->identity), str_of(hop->text), str_of(hop->host), &keys);
	for (n = 0; n < keys.n; n++)
		j->password_keys[n] = keys.a[n];
	for (char *c = host; *c; c++)
		*c = str_lower(*c);
	if (!str_caseeq(str_of(host), str_of(hop->host)))
		j->password_keys[n++] = (struct map_key){.text = str_of(host)};
	j->is_asking = true;
	map_find(
	    j->svc->passwords, j->smtp->slow, &j->password_query, j->password_keys, n, on_password);
}
