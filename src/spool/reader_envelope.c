/*
 * reader_envelope.c - the envelope of a queue file, checked as Postfix's queue manager does.
 *
 * Two readers share it. A delivery needs every promise of the format kept, since recipients are
 * marked done by their offset; what breaks one is said with its place, and the file goes to
 * corrupt/. A listing shows whatever can be shown, so that a damaged file is still seen.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/spool/reader.h"

enum {
	HINTS_KNOWN = 0x1f, /* mixed recipients, and NOTIFY_ bits << 1 */
	RCPT_FIRST = 4,
	RCPT_MAX = 1000000,
};

struct parse {
	struct reader *reader;
	enum reader_kind kind;
	struct arena *arena;
	struct envelope *env;
	struct buf *why;
	size_t rcpt_cap;
	struct record_size size;
	bool have_size, have_end, at_extracted;
	int64_t rcpts; /* R, D and `/` */
	/* Of the next recipient. */
	const char *orig, *orcpt;
	unsigned notify;
	unsigned strays;
	struct reader_part *part; /* NULL: all of them */
	/* Older names, used where the log_ ones are absent. */
	const char *client_name, *client_address, *client_port, *helo, *protocol;
};

static int
damaged(struct parse *p, off_t at, const char *what)
{
	buf_clear(p->why);
	buf_printf(p->why, "%s at offset %lld", what, (long long)at);
	return -EBADMSG;
}

/* Text is read up to a NUL, as every reader of these files does. */
static const char *
text(struct parse *p, struct str s)
{
	return arena_str(p->arena, str_head(s, str_index(s, '\0')));
}

static int
get_size(struct parse *p, struct str payload, off_t at)
{
	struct record_size *s = &p->size;

	if (p->have_size)
		return 0;
	if (record_get_size(payload, s) < 0)
		return p->kind == READER_LISTING ? 0 : damaged(p, at, "weird size record");
	p->have_size = true;
	p->env->data_offset = s->data_offset;
	p->env->data_size = s->data_size;
	p->env->content_length = s->content_length;
	p->env->utf8 = (unsigned)s->utf8;
	if (p->kind == READER_LISTING)
		return 0;
	if (s->data_offset <= 0 || s->data_size <= 0 || s->content_length < 0 || s->rcpt_count < 0)
		return damaged(p, at, "invalid size record");
	if (s->hints & ~(int64_t)HINTS_KNOWN)
		return damaged(p, at, "invalid size record: unknown flags");
	return 0;
}

static void
get_time(struct parse *p, struct str payload)
{
	struct str token;
	int64_t sec, usec = 0;

	if (p->env->arrival_us != 0 || !str_token(&payload, " ", &token))
		return;
	if (str_number(token, 0, INT64_MAX / 1000000 - 1, &sec) < 0)
		return;
	if (str_token(&payload, " ", &token))
		str_number(token, 0, 999999, &usec);
	p->env->arrival_us = sec * 1000000 + usec;
}

static struct recipient *
add_recipient(struct parse *p)
{
	struct envelope *e = p->env;
	struct recipient *bigger;

	if (e->rcpt_count == RCPT_MAX)
		return NULL;
	if (e->rcpt_count == p->rcpt_cap) {
		p->rcpt_cap = p->rcpt_cap ? p->rcpt_cap * 2 : RCPT_FIRST;
		bigger = arena_alloc(p->arena, p->rcpt_cap * sizeof(*bigger));
		if (e->rcpt_count > 0)
			memcpy(bigger, e->rcpt, e->rcpt_count * sizeof(*bigger));
		e->rcpt = bigger;
	}
	return &e->rcpt[e->rcpt_count++];
}

/* The part is full: what is said of recipients is passed over. */
static bool
is_full(const struct parse *p)
{
	return p->part && p->env->rcpt_count >= p->part->max;
}

/* R, D or `/`: takes what the records before it said, and ends it. */
static int
get_recipient(struct parse *p, const struct record *rec, off_t at)
{
	struct recipient *r;

	if (p->part && rec->type == REC_RCPT && is_full(p)) {
		p->part->left++;
	} else if (rec->type == REC_RCPT || (rec->type == REC_DONE && !p->part)) {
		r = add_recipient(p);
		if (r == NULL)
			return damaged(p, at, "too many recipients");
		r->address = text(p, rec->payload);
		r->orig = p->orig ? p->orig : r->address;
		r->orcpt = p->orcpt;
		r->notify = p->notify;
		r->offset = at;
		r->done = rec->type == REC_DONE;
		if (is_full(p))
			p->part->next = reader_tell(p->reader);
	}
	p->orig = p->orcpt = NULL;
	p->notify = 0;
	p->rcpts++;
	return 0;
}

/* No recipient came behind it. */
static void
stray(struct parse *p, const char *what, const char *address)
{
	enum { ADDRESS_SHOWN = 100 };

	if (address == NULL || p->kind != READER_QUEUE || p->strays++ > 0)
		return;
	buf_printf(p->why, "ignoring out-of-order %s <%.*s>", what,
	    (int)str_head(str_of(address), ADDRESS_SHOWN).n, address);
}

static unsigned
small_number(struct str value)
{
	int64_t v;

	return record_number(value, &v) < 0 || v < 0 || v > INT32_MAX ? 0 : (unsigned)v;
}

/* Attributes whose value is kept as it is. */
static bool
get_text_attr(struct parse *p, struct str name, struct str value)
{
	struct envelope *e = p->env;
	struct origin *o = &e->origin;
	const struct {
		const char *name;
		const char **to;
	} known[] = {
	    {"log_client_name", &o->client_name},
	    {"log_client_address", &o->client_address},
	    {"log_client_port", &o->client_port},
	    {"log_helo_name", &o->helo},
	    {"log_protocol_name", &o->protocol},
	    {"log_ident", &o->ident},
	    {"reverse_client_name", &o->reverse_name},
	    {"server_address", &o->server_address},
	    {"server_port", &o->server_port},
	    {"client_name", &p->client_name},
	    {"client_address", &p->client_address},
	    {"client_port", &p->client_port},
	    {"helo_name", &p->helo},
	    {"protocol_name", &p->protocol},
	    {"sasl_method", &e->sasl_method},
	    {"sasl_username", &e->sasl_username},
	    {"sasl_sender", &e->sasl_sender},
	    {"envelope_id", &e->envid},
	    {"dsn_orig_rcpt", &p->orcpt},
	};

	for (size_t i = 0; i < PP_COUNT(known); i++) {
		if (!str_eq(name, str_of(known[i].name)))
			continue;
		*known[i].to = text(p, value);
		return true;
	}
	return false;
}

static void
get_other_attr(struct parse *p, struct str name, struct str value)
{
	struct envelope *e = p->env;

	if (str_eq(name, STR("create_time"))) {
		if (record_number(value, &e->create_time) < 0 || e->create_time < 0)
			e->create_time = 0;
	} else if (str_eq(name, STR("rewrite_context"))) {
		e->origin.local = str_eq(value, STR("local"));
	} else if (str_eq(name, STR("encoding"))) {
		e->encoding = str_caseeq(value, STR("8bit"))   ? BODY_8BIT
			      : str_caseeq(value, STR("7bit")) ? BODY_7BIT
							       : BODY_UNKNOWN;
	} else if (str_eq(name, STR("ret_flags"))) {
		e->ret = small_number(value) & (RET_FULL | RET_HDRS);
	} else if (str_eq(name, STR("notify_flags"))) {
		p->notify = small_number(value) &
			    (NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY);
	} else if (str_eq(name, STR("trace_flags"))) {
		e->trace_flags = small_number(value);
	} else if (str_eq(name, STR("client_address_type"))) {
		e->origin.address_family = (int)small_number(value);
	}
}

static int
get_attr(struct parse *p, struct str payload, off_t at)
{
	size_t eq = str_index(payload, '=');
	struct str name = str_trim(str_head(payload, eq)), value;

	if (eq == payload.n) {
		if (p->kind == READER_LISTING)
			return 0;
		return damaged(p, at, "bad attribute record: no '=' behind the name");
	}
	value = str_trim(str_from(payload, eq + 1));
	if (str_eq(name, STR("dsn_orig_rcpt")) && is_full(p))
		return 0;
	if (str_eq(name, STR("dsn_orig_rcpt")))
		stray(p, "DSN original recipient", p->orcpt);
	if (!get_text_attr(p, name, value))
		get_other_attr(p, name, value);
	return 0;
}

static void
get_warn_time(struct parse *p, struct str payload, off_t at)
{
	int64_t when;

	if (record_number(payload, &when) < 0)
		return;
	p->env->warn_time = when;
	p->env->warn_offset = at;
}

/* One record. -EBADMSG, or 0. */
static int
take(struct parse *p, const struct record *rec, off_t at)
{
	struct envelope *e = p->env;

	switch (rec->type) {
	case REC_SIZE:
		return get_size(p, rec->payload, at);
	case REC_TIME:
		get_time(p, rec->payload);
		return 0;
	case REC_SENDER:
		if (e->sender == NULL)
			e->sender = text(p, rec->payload);
		return 0;
	case REC_ATTR:
		return get_attr(p, rec->payload, at);
	case REC_ORCPT:
		if (is_full(p))
			return 0;
		stray(p, "original recipient", p->orig);
		p->orig = text(p, rec->payload);
		return 0;
	case REC_RCPT:
	case REC_DONE:
	case REC_DELETED:
		return get_recipient(p, rec, at);
	case REC_FULLNAME:
		e->fullname = text(p, rec->payload);
		return 0;
	case REC_FILTER:
		e->filter = text(p, rec->payload);
		return 0;
	case REC_REDIRECT:
		e->redirect = text(p, rec->payload);
		return 0;
	case REC_WARN:
		get_warn_time(p, rec->payload, at);
		return 0;
	case REC_END:
		p->have_end = true;
		return 0;
	default:
		return 0;
	}
}

static bool
allowed(int type)
{
	return type > 0 && type < 128 && memchr("CTcFILSDRO/WVA>K<inopMXPreE", type, 27) != NULL;
}

static int
unexpected(struct parse *p, int type, off_t at)
{
	char what[64];

	if (type > ' ' && type < 127)
		snprintf(what, sizeof(what), "Unexpected record type '%c'", type);
	else
		snprintf(what, sizeof(what), "Unexpected record type %d", type);
	return damaged(p, at, what);
}

/* Between the segments lies the content; it is read by deliveries only. */
static bool
skip_content(struct parse *p)
{
	off_t at = reader_tell(p->reader);

	if (!p->have_size || p->at_extracted || p->size.data_offset <= 0 ||
	    at != p->size.data_offset)
		return false;
	if (p->size.data_size < 0)
		return false;
	p->at_extracted = true;
	reader_skip(p->reader, p->size.data_size);
	return true;
}

static int
read_queue(struct parse *p)
{
	struct record rec;
	off_t at = 0;
	int rc = 0;

	while (rc == 0 && !p->have_end) {
		bool must_be_x = skip_content(p);

		rc = reader_next(p->reader, &rec, &at);
		if (rc == 1)
			return damaged(p, at, "missing end record");
		if (rc < 0)
			return rc == -EBADMSG ? damaged(p, at, reader_error(p->reader)) : rc;
		if (!allowed(rec.type) || (must_be_x && rec.type != REC_EXTRACTED))
			return unexpected(p, rec.type, at);
		rc = take(p, &rec, at);
	}
	if (rc < 0)
		return rc;
	if (!p->have_size)
		return damaged(p, 0, "missing size record");
	if (!p->at_extracted)
		return damaged(p, at, "content is not where the size record says");
	if (p->env->arrival_us == 0)
		return damaged(p, at, "missing arrival time record");
	if (p->env->sender == NULL)
		return damaged(p, at, "missing sender record");
	/* Postfix drops such a file; but nobody takes mail without recipients, so it had some. */
	if (p->rcpts == 0)
		return damaged(p, at, "no recipient record");
	if (p->rcpts != p->size.rcpt_count)
		buf_printf(p->why, "%srcpt count mismatch (%lld)", p->why->n > 0 ? "; " : "",
		    (long long)(p->size.rcpt_count - p->rcpts));
	return 0;
}

static int
read_listing(struct parse *p)
{
	struct record rec;
	off_t at;

	while (!p->have_end) {
		skip_content(p);
		if (reader_next(p->reader, &rec, &at) != 0)
			break;
		take(p, &rec, at);
	}
	if (!p->have_size)
		p->env->data_size = reader_size(p->reader);
	return 0;
}

static void
finish(struct parse *p)
{
	struct envelope *e = p->env;
	struct origin *o = &e->origin;

	o->client_name = o->client_name ? o->client_name : p->client_name;
	o->client_address = o->client_address ? o->client_address : p->client_address;
	o->client_port = o->client_port ? o->client_port : p->client_port;
	o->helo = o->helo ? o->helo : p->helo;
	o->protocol = o->protocol ? o->protocol : p->protocol;
	if (e->create_time == 0)
		e->create_time = e->arrival_us / 1000000;
}

static int
read_whole(struct reader *r, enum reader_kind kind, struct arena *a, struct reader_part *part,
    struct envelope *ret, struct buf *why)
{
	struct envelope env = {.warn_offset = -1};
	struct parse p = {
	    .reader = r, .kind = kind, .arena = a, .env = &env, .why = why, .part = part};
	int rc;

	if (part)
		part->next = (off_t)(part->left = 0);
	reader_seek(r, 0);
	reader_set_raw(r, false);
	rc = kind == READER_QUEUE ? read_queue(&p) : read_listing(&p);
	if (rc < 0)
		return rc;
	finish(&p);
	*ret = env;
	return 0;
}

int
reader_envelope(
    struct reader *r, enum reader_kind kind, struct arena *a, struct envelope *ret, struct buf *why)
{
	return read_whole(r, kind, a, NULL, ret, why);
}

int
reader_envelope_part(struct reader *r, struct arena *a, struct reader_part *part,
    struct envelope *ret, struct buf *why)
{
	return read_whole(r, READER_QUEUE, a, part, ret, why);
}

/* Until the part is full and one more is met. */
static int
read_more(struct parse *p)
{
	struct record rec;
	off_t at = 0;
	int rc = 0;

	while (rc == 0 && !p->have_end && p->part->left == 0) {
		skip_content(p);
		rc = reader_next(p->reader, &rec, &at);
		if (rc == 1)
			return damaged(p, at, "missing end record");
		if (rc < 0)
			return rc == -EBADMSG ? damaged(p, at, reader_error(p->reader)) : rc;
		if (!allowed(rec.type))
			return unexpected(p, rec.type, at);
		if (rec.type != REC_SIZE && rec.type != REC_SENDER && rec.type != REC_TIME)
			rc = take(p, &rec, at);
	}
	return rc;
}

int
reader_more_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct reader_part *part, struct envelope *env, struct buf *why)
{
	struct envelope own = *env;
	struct parse p = {.kind = READER_QUEUE,
	    .arena = a,
	    .env = &own,
	    .why = why,
	    .part = part,
	    .have_size = true,
	    .size = {.data_offset = env->data_offset, .data_size = env->data_size},
	    .at_extracted = part->next > env->data_offset};
	char path[SPOOL_PATH_MAX];
	int fd, rc;

	spool_path(s, q, id, path);
	fd = fsio_open_read(s->dirfd, path);
	if (fd < 0)
		return fd;
	own.rcpt = NULL;
	own.rcpt_count = 0;
	part->left = 0;
	p.reader = reader_open_fd(fd);
	reader_set_raw(p.reader, false);
	rc = reader_seek(p.reader, part->next);
	if (rc == 0)
		rc = read_more(&p);
	reader_close(p.reader);
	env->rcpt = own.rcpt;
	env->rcpt_count = own.rcpt_count;
	return rc;
}

int
reader_load_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct envelope *ret, struct stat *ret_stat, struct buf *why)
{
	return reader_load_part_blk(s, q, id, a, NULL, ret, ret_stat, why);
}

int
reader_load_part_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct reader_part *part, struct envelope *ret, struct stat *ret_stat, struct buf *why)
{
	char path[SPOOL_PATH_MAX];
	struct reader *r;
	int fd, rc;

	spool_path(s, q, id, path);
	fd = fsio_open_read(s->dirfd, path);
	if (fd == -ENOENT && spool_locate(s, q, id, path, ret_stat) == 0)
		fd = fsio_open_read(s->dirfd, path);
	if (fd < 0)
		return fd;
	if (fstat(fd, ret_stat) < 0) {
		rc = -errno;
		fsio_close(fd);
		return rc;
	}
	if (!S_ISREG(ret_stat->st_mode)) {
		buf_adds(why, "not a regular file");
		fsio_close(fd);
		return -EBADMSG;
	}
	r = reader_open_fd(fd);
	rc = read_whole(r, READER_QUEUE, a, part, ret, why);
	reader_close(r);
	return rc;
}
