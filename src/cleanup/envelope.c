/*
 * envelope.c - the first segment of a queue file, and the recipients of both.
 *
 * The records stand in the order in which Postfix writes them for each source of mail, since its
 * tools and whoever looks at a spool by hand know that order. Addresses are completed here, once;
 * what was asked for is kept beside (O, dsn_orig_rcpt), because delivery reports must name what the
 * sender wrote (RFC 3461 4.2).
 */
#include <sys/socket.h>
#include "internal.h"
#include "pp/mail/utf8.h"

enum { DUPS_MAX = 100000 }; /* duplicate_filter_limit = 0 means no limit to Postfix */

struct cleanup_dup {
	UT_hash_handle hh;
	char key[];
};

/* A named attribute; nothing for NULL. Values come from the network: no controls get through. */
static void
attr(struct cleanup *c, const char *name, const char *value)
{
	struct buf *line = &c->rewritten;

	if (value == NULL)
		return;
	buf_clear(line);
	buf_printf(line, "%s=%s", name, value);
	if (buf_overflowed(line)) {
		cleanup_fail(c, STATUS_PERM, 552, 3, 4, "Error: message envelope too big");
		return;
	}
	utf8_clean(line->p, line->n);
	cleanup_put(c, REC_ATTR, buf_str(line));
}

static void
attr_number(struct cleanup *c, const char *name, unsigned value)
{
	if (value != 0)
		cleanup_putf(c, REC_ATTR, "%s=%u", name, value);
}

void
cleanup_envelope_encoding(struct cleanup *c, enum body_encoding e)
{
	if (e != BODY_UNKNOWN)
		attr(c, "encoding", e == BODY_8BIT ? "8bit" : "7bit");
}

static void
attr_dsn(struct cleanup *c, const struct envelope *e)
{
	attr(c, "envelope_id", e->envid);
	attr_number(c, "ret_flags", e->ret);
}

static void
attr_origin(struct cleanup *c, const struct origin *o)
{
	struct arena a = {0};

	attr(c, "log_client_name", o->client_name);
	attr(c, "log_client_address", o->client_address);
	attr(c, "log_client_port", o->client_port);
	attr(c, "log_message_origin",
	    arena_printf(
		&a, "%s[%s]", o->client_name ? o->client_name : "unknown", o->client_address));
	attr(c, "log_helo_name", o->helo);
	attr(c, "log_protocol_name", o->protocol);
	attr(c, "client_name", o->client_name);
	attr(c, "reverse_client_name", o->reverse_name);
	attr(c, "client_address", o->client_address);
	attr(c, "client_port", o->client_port);
	attr(c, "server_address", o->server_address);
	attr(c, "server_port", o->server_port);
	attr(c, "helo_name", o->helo);
	attr(c, "protocol_name", o->protocol);
	attr_number(c, "client_address_type", (unsigned)o->address_family);
	arena_fini(&a);
}

static void
put_smtp(struct cleanup *c, const struct envelope *e)
{
	attr(c, "log_ident", e->origin.ident ? e->origin.ident : c->id);
	attr(c, "rewrite_context", c->local ? "local" : "remote");
	attr(c, "sasl_method", e->sasl_method);
	attr(c, "sasl_username", e->sasl_username);
	attr(c, "sasl_sender", e->sasl_sender);
	attr_dsn(c, e);
	cleanup_put(c, REC_SENDER, str_of(c->sender));
	cleanup_envelope_encoding(c, e->encoding);
	attr_origin(c, &e->origin);
	attr_number(c, "trace_flags", e->trace_flags);
}

static void
put_submitted(struct cleanup *c, const struct envelope *e)
{
	attr_dsn(c, e);
	attr(c, "rewrite_context", c->local ? "local" : "remote");
	cleanup_put(c, REC_FULLNAME, str_of(c->fullname));
	cleanup_put(c, REC_SENDER, str_of(c->sender));
	if (e->verp)
		cleanup_put(c, REC_VERP, str_of(e->verp));
	attr_number(c, "trace_flags", e->trace_flags);
	cleanup_envelope_encoding(c, e->encoding);
}

static void
put_notice(struct cleanup *c, const struct envelope *e)
{
	attr(c, "log_message_origin", "local");
	cleanup_putf(c, REC_ATTR, "trace_flags=%u", e->trace_flags);
	attr_dsn(c, e);
	cleanup_put(c, REC_SENDER, str_of(c->sender));
	cleanup_envelope_encoding(c, e->encoding);
}

/* smtputf8_autodetect_classes: notices are of the classes bounce and notify. */
static bool
is_detected(const struct cleanup *c)
{
	static const char *const names[][2] = {[CLEANUP_SMTP] = {"smtpd", "smtpd"},
	    [CLEANUP_SUBMITTED] = {"sendmail", "sendmail"},
	    [CLEANUP_NOTICE] = {"bounce", "notify"}};
	struct str rest = str_of(c->params->smtputf8_autodetect_classes), word;

	while (str_token(&rest, ", \t\r\n", &word))
		if (str_caseeq(word, STR("all")) || str_caseeq(word, str_of(names[c->source][0])) ||
		    str_caseeq(word, str_of(names[c->source][1])))
			return true;
	return false;
}

static void
set_sender(struct cleanup *c, const struct envelope *e)
{
	const char *sender = e->sender ? e->sender : "";

	c->source = e->origin.client_address ? CLEANUP_SMTP
		    : e->fullname            ? CLEANUP_SUBMITTED
					     : CLEANUP_NOTICE;
	c->local = e->origin.local || c->source == CLEANUP_NOTICE;
	c->autodetect_utf8 = c->params->smtputf8_enable && is_detected(c);
	c->encoding = e->encoding;
	c->utf8 = e->utf8;
	if (e->arrival_us > 0)
		c->arrival_us = e->arrival_us;
	c->sender = route_complete(c->setup.route, &c->arena, str_of(sender));
	if (e->fullname) {
		c->fullname = arena_strdup(&c->arena, e->fullname);
		utf8_clean((char *)(uintptr_t)c->fullname, strlen(c->fullname));
	}
	if (utf8_has_8bit(str_of(c->sender)))
		c->utf8 |= UTF8_SENDER;
}

void
cleanup_sender(struct cleanup *c, const struct envelope *e)
{
	PP_ON(c->loop);
	PP_ASSERT(c->phase == CLEANUP_NEW);
	c->phase = CLEANUP_ENVELOPE;
	set_sender(c, e);
	if (utf8_has_control(str_of(c->sender))) {
		cleanup_fail(c, STATUS_PERM, 501, 1, 7, "Bad sender address syntax");
		return;
	}
	cleanup_putf(c, REC_TIME, "%lld %lld", (long long)(c->arrival_us / 1000000),
	    (long long)(c->arrival_us % 1000000));
	cleanup_putf(c, REC_ATTR, "create_time=%lld", (long long)c->create_time);
	if (e->filter)
		cleanup_put(c, REC_FILTER, str_of(e->filter));
	if (c->source == CLEANUP_SMTP)
		put_smtp(c, e);
	else if (c->source == CLEANUP_SUBMITTED)
		put_submitted(c, e);
	else
		put_notice(c, e);
}

void
cleanup_envelope_warn(struct cleanup *c)
{
	int64_t delay = c->params->delay_warning_time / 1000;

	if (c->warn_put)
		return;
	c->warn_put = true;
	if (delay > 0 && c->sender[0] != '\0')
		cleanup_putf(c, REC_WARN, "%15lld", (long long)(c->create_time + delay));
}

/* Appends in lower case, the local part too: RFC 5321 2.4 lets it differ by case, but nobody wants
 * two copies for it, and Postfix gives one. A NUL behind it keeps neighbours apart. */
static void
key_add(struct buf *key, const char *address)
{
	for (; *address; address++)
		buf_addc(key, str_lower(*address));
	buf_addc(key, '\0');
}

/* Postfix's notion: the same address, asked for under the same name with the same DSN wishes. */
static bool
is_duplicate(struct cleanup *c, const struct recipient *r, const char *address, const char *orcpt)
{
	size_t limit = (size_t)c->params->duplicate_filter_limit;
	struct cleanup_dup *d;
	struct buf key;

	if (limit == 0 || limit > DUPS_MAX)
		limit = DUPS_MAX;
	buf_init(&key, 64 * 1024);
	key_add(&key, address);
	key_add(&key, r->orig ? r->orig : r->address);
	key_add(&key, orcpt);
	buf_printf(&key, "%u", r->notify);
	HASH_FIND(hh, c->dups, key.p, key.n, d);
	if (d == NULL && c->dup_count < limit && !buf_overflowed(&key)) {
		struct cleanup_dup *new = mem_alloc(sizeof(*new) + key.n);

		memcpy(new->key, key.p, key.n);
		HASH_ADD_KEYPTR(hh, c->dups, new->key, key.n, new);
		c->dup_count++;
	}
	buf_fini(&key);
	return d != NULL;
}

void
cleanup_envelope_fini(struct cleanup *c)
{
	struct cleanup_dup *d, *next;

	HASH_ITER (hh, c->dups, d, next) {
		HASH_DEL(c->dups, d);
		mem_free(d);
	}
}

/* What reports call this recipient when the sender did not say: RFC 3461 5.2.1 (b). */
static const char *
original(struct cleanup *c, struct arena *a, const struct recipient *r, const char *address)
{
	const char *raw = r->orig ? r->orig : r->address;
	const char *quoted;
	bool utf8;

	if (r->orcpt)
		return r->orcpt;
	quoted = address_quoted(a, str_of(c->source == CLEANUP_SMTP ? raw : address));
	/* What no grammar knows came from a local submission or from an old queue file, where the
	 * delivery refuses it and its sender hears of it. */
	if (quoted == NULL && c->source == CLEANUP_SMTP)
		return NULL;
	if (quoted == NULL)
		quoted = address;
	utf8 = c->source == CLEANUP_SUBMITTED && utf8_has_8bit(str_of(quoted));
	return arena_printf(a, "%s;%s", utf8 ? "utf-8" : "rfc822", quoted);
}

static void
put_rcpt(struct cleanup *c, struct arena *a, const struct recipient *r)
{
	const char *raw = r->address[0] ? r->address : c->params->empty_address_recipient;
	const char *address = route_complete(c->setup.route, a, str_of(raw));
	const char *orig = r->orig ? r->orig : r->address;
	const char *orcpt = original(c, a, r, address);

	if (orcpt == NULL || utf8_has_control(str_of(orcpt)) || utf8_has_control(str_of(orig))) {
		cleanup_fail(c, STATUS_PERM, 501, 1, 3, "Bad recipient address syntax");
		return;
	}
	if (is_duplicate(c, r, address, orcpt))
		return;
	if (c->phase == CLEANUP_ENVELOPE)
		cleanup_envelope_warn(c);
	if (c->autodetect_utf8 && utf8_has_8bit(str_of(address)))
		c->utf8 |= UTF8_REQUESTED;
	attr_number(c, "notify_flags", r->notify);
	cleanup_putf(c, REC_ATTR, "dsn_orig_rcpt=%s", orcpt);
	cleanup_put(c, REC_ORCPT, str_of(orig));
	cleanup_put(c, REC_RCPT, str_of(address));
	c->hints |= r->notify << 1;
	c->rcpt_count++;
}

void
cleanup_rcpt(struct cleanup *c, const struct recipient *r)
{
	struct arena a = {0};

	PP_ON(c->loop);
	PP_ASSERT(c->phase >= CLEANUP_ENVELOPE && c->phase < CLEANUP_END);
	if (c->phase == CLEANUP_HEADER || c->phase == CLEANUP_BODY)
		cleanup_content_end(c);
	if (c->writer)
		put_rcpt(c, &a, r);
	arena_fini(&a);
}

size_t
cleanup_rcpt_count(const struct cleanup *c)
{
	return c->rcpt_count;
}
