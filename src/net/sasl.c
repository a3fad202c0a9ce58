/*
 * sasl.c - the client side of SASL: what may be used, and the exchange itself by libsasl2.
 *
 * The mechanisms are chosen here before libsasl2 sees them: from a fixed list, minus what the
 * filter and the security options forbid, so that a refusal can name each mechanism the server
 * offered and why it was passed over. libsasl2 is called on one lane only, because 2.1.28 is not
 * safe in threads; an exchange is freed there too. Passwords lie in one place and are wiped.
 */
#include <errno.h>
#include <stdio.h>
#include "pp/base/mem.h"
#include "pp/net/sasl.h"
#include "sasl_library.h"

enum {
	CHALLENGE_MAX = 12288, /* RFC 4954 4: base64 */
	RESPONSE_MAX = 12288,
	RESPONSE_SPACE = RESPONSE_MAX + 8,
	OFFER_MAX = 16, /* mechanisms that a message names */
	TEXT_MAX = 1024,
	LANE_KEY = 0,
};

/* What a mechanism gives, by the flags of its plugin. */
static const struct mechanism {
	const char *name;
	unsigned has;
} mechanisms[] = {
    {"PLAIN", SASL_SEC_NOANONYMOUS},
    {"LOGIN", SASL_SEC_NOANONYMOUS},
    {"CRAM-MD5", SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT},
    {"SCRAM-SHA-1",
	SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT | SASL_SEC_NOACTIVE | SASL_SEC_MUTUAL_AUTH},
    {"SCRAM-SHA-256",
	SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT | SASL_SEC_NOACTIVE | SASL_SEC_MUTUAL_AUTH},
};

static const struct {
	const char *name;
	unsigned flag;
} security_words[] = {
    {"noplaintext", SASL_SEC_NOPLAINTEXT},
    {"noactive", SASL_SEC_NOACTIVE},
    {"nodictionary", SASL_SEC_NODICTIONARY},
    {"noanonymous", SASL_SEC_NOANONYMOUS},
    {"forward_secrecy", SASL_SEC_FORWARD_SECRECY},
    {"mutual_auth", SASL_SEC_MUTUAL_AUTH},
};

struct sasl_exchange {
	struct lane_job job; /* a step; one at a time */
	struct lane_job end; /* queued behind a running step */
	struct lane *lane;
	char *host, *user, *offered, *filter, *options;
	sasl_secret_t *secret;
	size_t secret_size;
	bool tls;
	sasl_conn_t *conn; /* the lane's */
	sasl_callback_t callbacks[4];
	bool busy, freed;
	/* of the running step */
	struct buf challenge;
	struct buf response;
	bool has_response;
	int rc;
	char mech[SASL_MECHNAMEMAX + 1];
	char error[TEXT_MAX];
	sasl_answer *answer;
	void *ctx;
};

int
sasl_load_blk(struct buf *err)
{
	return sasl_library_load_blk(err);
}

void
sasl_stop(void)
{
	sasl_library_stop();
}

static int
parse_options(const char *options, unsigned *ret, struct str *ret_bad)
{
	struct str rest = str_of(options), word;

	*ret = 0;
	while (str_token(&rest, ", \t\r\n", &word)) {
		size_t i = 0;

		while (i < PP_COUNT(security_words) &&
		       !str_caseeq(word, str_of(security_words[i].name)))
			i++;
		if (i == PP_COUNT(security_words)) {
			*ret_bad = word;
			return -EINVAL;
		}
		*ret |= security_words[i].flag;
	}
	return 0;
}

int
sasl_security_options_check(const char *options, struct buf *err)
{
	struct str bad;
	unsigned flags;
	int rc = parse_options(options, &flags, &bad);

	if (rc < 0)
		buf_printf(err,
		    "unknown SASL security option \"%.*s\"; known are noplaintext noactive "
		    "nodictionary noanonymous forward_secrecy mutual_auth",
		    STR_FMT(bad));
	return rc;
}

/* -- on the lane ------------------------------------------------------------------------------- */

static int
give_name(void *ctx, int id, const char **to, unsigned *n)
{
	const struct sasl_exchange *x = ctx;

	if (to == NULL || (id != SASL_CB_USER && id != SASL_CB_AUTHNAME))
		return SASL_BADPARAM;
	/* The authorization identity stays empty: that of the user (RFC 4616 2). */
	*to = id == SASL_CB_AUTHNAME ? x->user : "";
	if (n)
		*n = (unsigned)strlen(*to);
	return SASL_OK;
}

static int
give_password(sasl_conn_t *conn, void *ctx, int id, sasl_secret_t **to)
{
	struct sasl_exchange *x = ctx;

	if (to == NULL || id != SASL_CB_PASS)
		return SASL_BADPARAM;
	*to = x->secret;
	return SASL_OK;
}

static const struct mechanism *
mechanism_find(struct str name)
{
	for (size_t i = 0; i < PP_COUNT(mechanisms); i++)
		if (str_caseeq(name, str_of(mechanisms[i].name)))
			return &mechanisms[i];
	return NULL;
}

/* smtp_sasl_mechanism_filter: the first pattern that fits decides, `!` in front means no. */
static bool
filter_allows(const char *filter, struct str name)
{
	struct str rest = str_of(filter), word;
	bool any = false;

	while (str_token(&rest, ", \t\r\n", &word)) {
		bool no = word.p[0] == '!';

		any = true;
		if (str_caseeq(str_from(word, no), name) || str_casestarts(word, STR("static:")))
			return !no;
	}
	return !any;
}

/* The names of the options that `m` does not fulfil, "" when it does. */
static void
missing_options(const struct mechanism *m, unsigned wanted, struct buf *to)
{
	for (size_t i = 0; i < PP_COUNT(security_words); i++)
		if ((wanted & ~m->has) & security_words[i].flag)
			buf_printf(to, " %s", security_words[i].name);
}

/* A mechanism name of the server, for a message: RFC 4422 3.1 allows these characters only. */
static bool
name_is_clean(struct str name)
{
	if (name.n == 0 || name.n > SASL_MECHNAMEMAX)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!str_isalnum(name.p[i]) && name.p[i] != '-' && name.p[i] != '_')
			return false;
	return true;
}

/* Sorts what was offered: `usable` gets the good ones, `why` a clause for each other. */
static bool
sort_offer(const struct sasl_exchange *x, unsigned flags, struct buf *usable, struct buf *why)
{
	struct str rest = str_of(x->offered), name;
	bool forbidden = false;
	unsigned n = 0;

	while (str_token(&rest, " \t\r\n,", &name) && n++ < OFFER_MAX) {
		const struct mechanism *m = mechanism_find(name);
		const char *lead = buf_str(why).n > 0 ? ", " : "";
		struct buf missing;

		buf_init(&missing, 200);
		if (m)
			missing_options(m, flags, &missing);
		if (!name_is_clean(name))
			buf_printf(why, "%sone with an unprintable name", lead);
		else if (m == NULL)
			buf_printf(why, "%s%.*s is not supported", lead, STR_FMT(name));
		else if (!filter_allows(x->filter, name))
			buf_printf(
			    why, "%s%s is excluded by smtp_sasl_mechanism_filter", lead, m->name);
		else if (buf_str(&missing).n > 0)
			buf_printf(why, "%s%s is forbidden by %s%s", lead, m->name,
			    x->tls ? "smtp_sasl_tls_security_options"
				   : "smtp_sasl_security_options",
			    buf_cstr(&missing));
		else
			buf_printf(usable, "%s%s", buf_str(usable).n > 0 ? " " : "", m->name);
		forbidden = forbidden || buf_str(&missing).n > 0;
		buf_fini(&missing);
	}
	return forbidden;
}

static void
no_mechanism(struct sasl_exchange *x, const char *usable, const char *why, bool forbidden)
{
	struct buf text;

	buf_init(&text, TEXT_MAX - 1);
	if (str_trim(str_of(x->offered)).n == 0)
		buf_adds(&text, "server offered no mechanism");
	else
		buf_printf(&text, "server offered no usable mechanism: %s", why);
	if (usable[0])
		buf_printf(&text, "%slibsasl2 has no plugin for %s (package libsasl2-modules)",
		    why[0] ? ", " : "", usable);
	if (forbidden && x->tls)
		buf_adds(&text, "; set smtp_sasl_tls_security_options = noanonymous");
	else if (forbidden)
		buf_adds(&text,
		    "; use TLS with smtp_sasl_tls_security_options = noanonymous, or set "
		    "smtp_sasl_security_options = noanonymous");
	snprintf(x->error, sizeof(x->error), "%s", buf_cstr(&text));
	buf_fini(&text);
	x->rc = -ENOENT;
}

static void
failed(struct sasl_exchange *x, int sasl_rc)
{
	const char *text = x->conn ? sasl_errdetail(x->conn) : NULL;

	snprintf(x->error, sizeof(x->error), "%s",
	    text && text[0] ? text : sasl_errstring(sasl_rc, NULL, NULL));
	x->rc = -EPROTO;
}

static void
keep_response(struct sasl_exchange *x, const char *bytes, unsigned n, bool is_first)
{
	unsigned room = (n + 2) / 3 * 4 + 1, used = 0;
	char *to;

	x->has_response = bytes != NULL;
	if (bytes == NULL)
		return;
	if (n > RESPONSE_MAX / 4 * 3 || (to = buf_reserve(&x->response, room)) == NULL) {
		snprintf(x->error, sizeof(x->error), "the response is too long");
		x->rc = -EPROTO;
		return;
	}
	if (n > 0 && sasl_encode64(bytes, n, to, room, &used) != SASL_OK)
		used = 0;
	buf_commit(&x->response, used);
	/* RFC 4954 4: an empty initial response is "=", a later one an empty line. */
	if (n == 0 && is_first)
		buf_adds(&x->response, "=");
}

static void
first_work(struct lane_job *job)
{
	struct sasl_exchange *x = PP_CONTAINER(job, struct sasl_exchange, job);
	sasl_security_properties_t props = {.max_ssf = 0};
	struct buf usable, why;
	struct str bad = {0};
	const char *out = NULL, *mech = NULL;
	unsigned n = 0, flags = 0;
	bool forbidden;
	int rc;

	buf_init(&usable, 512);
	buf_init(&why, TEXT_MAX);
	if (parse_options(x->options, &flags, &bad) < 0) {
		snprintf(x->error, sizeof(x->error), "unknown SASL security option \"%.*s\"",
		    STR_FMT(bad));
		x->rc = -ENOENT;
		goto out;
	}
	forbidden = sort_offer(x, flags, &usable, &why);
	if (buf_str(&usable).n == 0) {
		no_mechanism(x, "", buf_cstr(&why), forbidden);
		goto out;
	}
	rc = sasl_library_start();
	if (rc == SASL_OK)
		rc = sasl_client_new("smtp", x->host, NULL, NULL, x->callbacks, 0, &x->conn);
	if (rc == SASL_OK) {
		props.security_flags = flags;
		rc = sasl_setprop(x->conn, SASL_SEC_PROPS, &props);
	}
	if (rc == SASL_OK)
		rc = sasl_client_start(x->conn, buf_cstr(&usable), NULL, &out, &n, &mech);
	if (rc == SASL_NOMECH) {
		no_mechanism(x, buf_cstr(&usable), buf_cstr(&why), false);
	} else if (rc != SASL_OK && rc != SASL_CONTINUE) {
		failed(x, rc);
	} else {
		snprintf(x->mech, sizeof(x->mech), "%s", mech);
		keep_response(x, out, n, true);
	}
out:
	buf_fini(&usable);
	buf_fini(&why);
}

static void
next_work(struct lane_job *job)
{
	struct sasl_exchange *x = PP_CONTAINER(job, struct sasl_exchange, job);
	struct str challenge = buf_str(&x->challenge);
	char *clear = mem_alloc(challenge.n + 1);
	const char *out = NULL;
	unsigned n = 0;
	int rc = SASL_OK;

	if (x->conn == NULL) {
		snprintf(x->error, sizeof(x->error), "a challenge without an exchange");
		x->rc = -EPROTO;
	} else if (buf_overflowed(&x->challenge)) {
		snprintf(x->error, sizeof(x->error), "the challenge is longer than %d bytes",
		    CHALLENGE_MAX);
		x->rc = -EPROTO;
	} else if (challenge.n > 0 && sasl_decode64(challenge.p, (unsigned)challenge.n, clear,
					  (unsigned)challenge.n + 1, &n) != SASL_OK) {
		snprintf(x->error, sizeof(x->error), "the challenge is not valid base64");
		x->rc = -EPROTO;
	} else {
		unsigned got = n;

		n = 0;
		rc = sasl_client_step(x->conn, clear, got, NULL, &out, &n);
		if (rc != SASL_OK && rc != SASL_CONTINUE)
			failed(x, rc);
		else
			keep_response(x, out ? out : "", out ? n : 0, false);
	}
	explicit_bzero(clear, challenge.n + 1);
	mem_free(clear);
}

static void
end_work(struct lane_job *job)
{
	struct sasl_exchange *x = PP_CONTAINER(job, struct sasl_exchange, end);

	if (x->conn)
		sasl_dispose(&x->conn);
}

/* -- on the loop ------------------------------------------------------------------------------- */

static void
wipe_buf(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_fini(b);
}

static void
wipe_string(char *s)
{
	explicit_bzero(s, strlen(s));
	mem_free(s);
}

static void
ended(struct lane_job *job)
{
	struct sasl_exchange *x = PP_CONTAINER(job, struct sasl_exchange, end);

	wipe_buf(&x->challenge);
	wipe_buf(&x->response);
	explicit_bzero(x->secret, x->secret_size);
	mem_free(x->secret);
	wipe_string(x->user);
	mem_free(x->host);
	mem_free(x->offered);
	mem_free(x->filter);
	mem_free(x->options);
	mem_free(x);
}

static void
step_done(struct lane_job *job)
{
	struct sasl_exchange *x = PP_CONTAINER(job, struct sasl_exchange, job);
	struct buf response = x->response;
	char mech[sizeof(x->mech)], error[sizeof(x->error)];
	const char *text = x->has_response ? buf_cstr(&response) : NULL;

	/* Taken out of the exchange: the callback may start the next step or free it. */
	buf_init(&x->response, RESPONSE_SPACE);
	memcpy(mech, x->mech, sizeof(mech));
	memcpy(error, x->error, sizeof(error));
	wipe_buf(&x->challenge);
	x->busy = false;
	/* Freed meanwhile: `ended` comes next. */
	if (!x->freed && x->rc < 0)
		x->answer(x->ctx, x->rc, mech, NULL, error);
	else if (!x->freed)
		x->answer(x->ctx, 0, mech, text, NULL);
	wipe_buf(&response);
}

static void
step(struct sasl_exchange *x, void (*work)(struct lane_job *), sasl_answer *answer, void *ctx)
{
	PP_ASSERT(!x->busy && !x->freed);
	x->busy = true;
	x->rc = 0;
	x->error[0] = '\0';
	x->has_response = false;
	x->answer = answer;
	x->ctx = ctx;
	lane_run(x->lane, LANE_KEY, &x->job, work, step_done);
}

void
sasl_exchange_first(struct sasl_exchange *x, sasl_answer *answer, void *ctx)
{
	step(x, first_work, answer, ctx);
}

void
sasl_exchange_next(struct sasl_exchange *x, struct str challenge, sasl_answer *answer, void *ctx)
{
	buf_add(&x->challenge, str_trim(challenge));
	step(x, next_work, answer, ctx);
}

void
sasl_exchange_free(struct sasl_exchange *x)
{
	if (x == NULL)
		return;
	PP_ASSERT(!x->freed);
	x->freed = true;
	lane_run(x->lane, LANE_KEY, &x->end, end_work, ended);
}

static char *
copy(const char *s)
{
	return mem_strdup(s ? s : "");
}

struct sasl_exchange *
sasl_exchange_new(struct lane *sasl, const struct sasl_options *o)
{
	struct sasl_exchange *x = MEM_NEW(struct sasl_exchange);
	size_t n = strlen(o->password);

	x->lane = sasl;
	x->host = copy(o->host);
	x->user = copy(o->user);
	x->offered = copy(o->offered);
	x->filter = copy(o->filter);
	x->options = copy(o->security_options);
	x->tls = o->tls;
	x->secret_size = sizeof(*x->secret) + n;
	x->secret = mem_alloc(x->secret_size);
	x->secret->len = n;
	memcpy(x->secret->data, o->password, n);
	x->callbacks[0] =
	    (sasl_callback_t){SASL_CB_USER, (int (*)(void))(void (*)(void))give_name, x};
	x->callbacks[1] =
	    (sasl_callback_t){SASL_CB_AUTHNAME, (int (*)(void))(void (*)(void))give_name, x};
	x->callbacks[2] =
	    (sasl_callback_t){SASL_CB_PASS, (int (*)(void))(void (*)(void))give_password, x};
	x->callbacks[3] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
	buf_init(&x->challenge, CHALLENGE_MAX);
	buf_init(&x->response, RESPONSE_SPACE);
	return x;
}
