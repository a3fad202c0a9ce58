/*
 * listing_read.c - what a queue listing says of one message, read from its two files.
 *
 * As Postfix's showq: recipients of the deferral log come first, in its order and with their
 * reasons, then those of the queue file that were not in it. Damaged files are shown as far as
 * they can be read. Only a file without a sender is left out (showq breaks off there, and with it
 * the whole listing, which helps nobody).
 *
 * A listing of a hundred thousand messages is nothing but this, so the usual file is read by hand:
 * one read, four of its records looked at, no copy but of what is shown. What is unusual (pointers,
 * records that are longer than the window) is left to the reader that knows everything.
 */
#include <errno.h>
#include <stdio.h>
#include "deferlog_read.h"
#include "listing_read.h"
#include "pp/base/hash.h"
#include "pp/mail/address.h"
#include "pp/mail/utf8.h"
#include "pp/spool/reader.h"

enum {
	MODE_EXPIRED = 0010,
	WINDOW = LISTING_SCRATCH / 2, /* the other half is for the log */
	RECORD_HEAD_MAX = 1 + 6,
	POINTER_TEXT_MAX = 64,
	RCPT_MAX = 1000000,
	RCPT_FIRST = 4,
	COMPARE_MAX = 8, /* so many recipients are looked up one by one */
	DSN_PLAIN = 5,   /* "4.4.1" */
};

/* An address that the deferral log named already. */
struct named {
	UT_hash_handle hh;
	const char *address;
};

/* What is needed of an envelope. */
struct found {
	struct record_size size;
	bool have_size, have_end, behind_content;
	int64_t arrival_us;
	const char *sender;
	const char **rcpt; /* internal forms of those not done */
	size_t rcpt_count, rcpt_cap;
	size_t rcpt_seen; /* done ones as well */
};

/* Shown as it is: almost every address. */
static bool
plain_address(struct str s)
{
	size_t ats = 0;
	char before = '.';

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '@')
			ats++;
		else if (!str_isalnum(c) && c != '-' && c != '_' && c != '+' && c != '=' &&
			 c != '.')
			return false;
		if ((c == '.' || c == '@') && (before == '.' || before == '@'))
			return false;
		before = c;
	}
	return ats == 1 && before != '.' && before != '@';
}

static const char *
shown(struct arena *a, const char *internal)
{
	if (*internal == '\0')
		return "MAILER-DAEMON";
	if (plain_address(str_of(internal)))
		return internal;
	return address_shown(a, str_of(internal));
}

static const char *
logged(struct arena *a, struct str text)
{
	char *clean = arena_alloc(a, text.n + 1);

	for (size_t i = 0; i < text.n; i++)
		clean[i] = utf8_iscontrol(text.p[i]) ? '?' : text.p[i];
	clean[text.n] = '\0';
	return clean;
}

static const char *
logged_dsn(struct arena *a, struct str text)
{
	struct status st = {.cls = STATUS_TEMP};

	if (text.n == DSN_PLAIN && text.p[0] == '4' && text.p[1] == '.' && text.p[3] == '.' &&
	    str_isdigit(text.p[2]) && str_isdigit(text.p[4]))
		return arena_str(a, text);
	status_parse_dsn(text, &st);
	return arena_strdup(a, status_dsn(&st).text);
}

static void
add_recipient(struct arena *a, struct found *f, struct str payload)
{
	const char **bigger;

	if (f->rcpt_count == f->rcpt_cap) {
		f->rcpt_cap = f->rcpt_cap ? f->rcpt_cap * 2 : RCPT_FIRST;
		bigger = arena_alloc(a, f->rcpt_cap * sizeof(*bigger));
		if (f->rcpt_count > 0)
			memcpy(bigger, f->rcpt, f->rcpt_count * sizeof(*bigger));
		f->rcpt = bigger;
	}
	f->rcpt[f->rcpt_count++] = arena_str(a, str_head(payload, str_index(payload, '\0')));
}

static int64_t
arrival(struct str payload)
{
	struct str token;
	int64_t sec, usec = 0;

	if (!str_token(&payload, " ", &token) ||
	    str_number(token, 0, INT64_MAX / 1000000 - 1, &sec) < 0)
		return 0;
	if (str_token(&payload, " ", &token))
		str_number(token, 0, 999999, &usec);
	return sec * 1000000 + usec;
}

static void
take(struct arena *a, struct found *f, int type, struct str payload)
{
	switch (type) {
	case REC_SIZE:
		if (!f->have_size)
			f->have_size = record_get_size(payload, &f->size) == 0;
		break;
	case REC_TIME:
		if (f->arrival_us == 0)
			f->arrival_us = arrival(payload);
		break;
	case REC_SENDER:
		if (f->sender == NULL)
			f->sender = arena_str(a, str_head(payload, str_index(payload, '\0')));
		break;
	case REC_RCPT:
		if (f->rcpt_seen++ < RCPT_MAX)
			add_recipient(a, f, payload);
		break;
	case REC_DONE:
		f->rcpt_seen++;
		break;
	default:
		f->have_end = type == REC_END;
		break;
	}
}

/* A part of the file in the scratch memory. Its size is known: no read is made to see the end. */
struct window {
	int fd;
	char *bytes;
	off_t at, size; /* of the file: when it was opened */
	size_t n;
};

/* The bytes at `at`: `need` of them, or what there is until the end of the file. */
static int
look(struct window *w, off_t at, size_t need, struct str *ret)
{
	ssize_t n;

	if (at < w->at || at + (off_t)need > w->at + (off_t)w->n) {
		if (at >= w->at && w->at + (off_t)w->n >= w->size && w->n > 0) {
			*ret = str_from((struct str){w->bytes, w->n}, (size_t)(at - w->at));
			return 0;
		}
		n = fsio_pread(
		    w->fd, w->bytes, w->size - at < WINDOW ? (size_t)(w->size - at) : WINDOW, at);
		if (n < 0)
			return (int)n;
		w->at = at;
		w->n = (size_t)n;
	}
	*ret = (struct str){w->bytes + (at - w->at), w->n - (size_t)(at - w->at)};
	return 0;
}

static bool
wanted(int type)
{
	return type == REC_SIZE || type == REC_TIME || type == REC_SENDER || type == REC_RCPT ||
	       type == REC_POINTER;
}

/* A place where a milter could have put a pointer, and did not. */
static bool
is_dummy(struct str payload)
{
	int64_t target;

	return payload.n <= POINTER_TEXT_MAX && record_number(payload, &target) == 0 && target == 0;
}

/* 0, or 1: this is one for the reader. What is damaged ends the file. */
static int
read_by_hand(struct listing_read *r, struct window *w, struct found *f)
{
	off_t at = 0;

	while (!f->have_end) {
		const struct record_size *size = &f->size;
		size_t length, used;
		struct str in;
		int type;

		if (f->have_size && !f->behind_content && size->data_offset > 0 &&
		    at == size->data_offset && size->data_size >= 0) {
			f->behind_content = true;
			at = size->data_size < w->size - at ? at + size->data_size : w->size;
		}
		if (look(w, at, RECORD_HEAD_MAX, &in) < 0 ||
		    record_get_head(in, &type, &length, &used) != 0 ||
		    length > RECORD_PAYLOAD_MAX || (off_t)(used + length) > w->size - at)
			return 0;
		if (!wanted(type)) {
			take(r->arena, f, type, STR(""));
		} else {
			if (used + length > WINDOW)
				return 1;
			if (look(w, at, used + length, &in) < 0 || in.n < used + length)
				return 0;
			/* The reader takes a dummy and what is behind it at once. */
			if (type == REC_POINTER &&
			    (!is_dummy((struct str){in.p + used, length}) ||
				at + (off_t)(used + length) == size->data_offset))
				return 1;
			take(r->arena, f, type, (struct str){in.p + used, length});
		}
		at += (off_t)(used + length);
	}
	return 0;
}

static int
read_by_reader(struct listing_read *r, int dirfd, const char *name, struct found *f)
{
	struct envelope env;
	struct reader *reader;
	struct buf why;
	int fd = fsio_open_read(dirfd, name), rc;

	if (fd < 0)
		return fd;
	reader = reader_open_fd(fd);
	buf_init(&why, 256);
	rc = reader_envelope(reader, READER_LISTING, r->arena, &env, &why);
	buf_fini(&why);
	reader_close(reader);
	if (rc < 0)
		return rc;
	*f = (struct found){.have_size = true,
	    .size.data_size = env.data_size,
	    .arrival_us = env.arrival_us,
	    .sender = env.sender};
	f->rcpt = arena_alloc(r->arena, env.rcpt_count * sizeof(*f->rcpt));
	for (size_t i = 0; i < env.rcpt_count; i++)
		if (!env.rcpt[i].done)
			f->rcpt[f->rcpt_count++] = env.rcpt[i].address;
	return 0;
}

static int
read_message(
    struct listing_read *r, int dirfd, const char *name, struct stat *ret_stat, struct found *f)
{
	struct window w = {.fd = fsio_open_quietly(dirfd, name), .bytes = r->scratch};
	int rc = 0;

	if (w.fd < 0)
		return w.fd == -ELOOP || w.fd == -ENXIO ? 1 : w.fd;
	if (fstat(w.fd, ret_stat) < 0)
		rc = -errno;
	else if (!spool_ready(ret_stat))
		rc = 1;
	w.size = ret_stat->st_size;
	if (rc == 0 && read_by_hand(r, &w, f) == 1)
		rc = read_by_reader(r, dirfd, name, f);
	if (!f->have_size || f->size.data_size < 0)
		f->size.data_size = w.size;
	fsio_close(w.fd);
	if (rc == 0 && f->sender == NULL)
		rc = 1;
	return rc;
}

/* An open log, or -ENOENT. All messages of a hash directory have their logs in one directory. */
static int
open_log(struct listing_read *r, const char *id)
{
	char path[SPOOL_PATH_MAX];
	size_t slash;

	spool_path(r->spool, QUEUE_DEFER, id, path);
	slash = str_rindex(str_of(path), '/');
	path[slash] = '\0';
	if (r->log_fd < 0 || strcmp(path, r->log_dir) != 0) {
		fsio_close(r->log_fd);
		r->log_fd = fsio_open_dir(r->spool->dirfd, path);
		memcpy(r->log_dir, path, slash + 1);
	}
	return r->log_fd < 0 ? r->log_fd : fsio_open_quietly(r->log_fd, id);
}

/* The text of the log, "" when there is none. It lives in the scratch memory or in `big`. */
static struct str
read_log(struct listing_read *r, const char *id, struct buf *big)
{
	char *to = r->scratch + WINDOW;
	int fd = open_log(r, id);
	ssize_t n = 0;

	if (fd >= 0) {
		n = fsio_pread_once(fd, to, WINDOW, 0);
		fsio_close(fd);
	}
	if (fd >= 0 && n >= 0 && n < WINDOW)
		return (struct str){to, (size_t)n};
	if (fd == -ENOENT && r->logs_in_place)
		return STR("");
	deferlog_text_blk(r->spool, QUEUE_DEFER, id, big);
	return buf_str(big);
}

struct entries {
	struct listing_recipient *to;
	size_t n, cap;
};

static void
add_entry(struct arena *a, struct entries *list, const struct deferlog_block *b)
{
	if (list->n == list->cap) {
		struct entries old = *list;

		list->cap = list->cap ? list->cap * 2 : RCPT_FIRST;
		list->to = arena_alloc(a, list->cap * sizeof(*list->to));
		if (list->n > 0)
			memcpy(list->to, old.to, list->n * sizeof(*list->to));
	}
	/* In a log it stands as it is shown. */
	list->to[list->n++] = (struct listing_recipient){
	    .address = b->recipient.n > 0 ? logged(a, b->recipient) : "(MAILER-DAEMON)",
	    .reason = logged(a, b->reason),
	    .relay = b->remote.n > 0 ? logged(a, b->remote) : "none",
	    .dsn = logged_dsn(a, b->status)};
}

static bool
in_few(const struct entries *list, const char *address)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->to[i].address, address) == 0)
			return true;
	return false;
}

static struct named *
name_all(struct arena *a, const struct entries *list)
{
	struct named *all = arena_alloc(a, list->n * sizeof(*all)), *set = NULL, *n;

	for (size_t i = 0; i < list->n; i++) {
		HASH_FIND_STR(set, list->to[i].address, n);
		if (n != NULL)
			continue;
		all[i].address = list->to[i].address;
		HASH_ADD_KEYPTR(hh, set, all[i].address, strlen(all[i].address), &all[i]);
	}
	return set;
}

/* Behind those of the log come the ones it does not name. */
static void
add_others(struct arena *a, const struct entries *log, const struct found *f, struct listing *l)
{
	struct named *set = log->n > COMPARE_MAX ? name_all(a, log) : NULL, *n = NULL;
	struct listing_recipient *to;

	to = arena_alloc(a, (log->n + f->rcpt_count) * sizeof(*to));
	if (log->n > 0)
		memcpy(to, log->to, log->n * sizeof(*to));
	l->rcpt = to;
	l->rcpt_count = log->n;
	for (size_t i = 0; i < f->rcpt_count; i++) {
		const char *address = shown(a, f->rcpt[i]);

		HASH_FIND_STR(set, address, n);
		if (n != NULL || (set == NULL && in_few(log, address)))
			continue;
		to[l->rcpt_count++] = (struct listing_recipient){
		    .address = address, .reason = "", .relay = "", .dsn = ""};
	}
	HASH_CLEAR(hh, set);
}

static void
add_recipients(struct listing_read *r, const struct found *f, struct str text, struct listing *l)
{
	struct entries log = {0};
	struct deferlog_block b;

	while (log.n < RCPT_MAX && deferlog_next(&text, &b))
		add_entry(r->arena, &log, &b);
	if (log.n == 1 && f->rcpt_count == 1 && strcmp(log.to[0].address, f->rcpt[0]) == 0) {
		l->rcpt = log.to; /* almost all deferred mail */
		l->rcpt_count = 1;
		return;
	}
	add_others(r->arena, &log, f, l);
}

int
listing_read(struct listing_read *r, enum queue q, const char *id, int dirfd, const char *name,
    struct listing *ret)
{
	struct found f = {0};
	struct buf big;
	struct str log;
	struct stat st;
	int rc = read_message(r, dirfd, name, &st, &f);

	if (rc != 0)
		return rc;
	*ret = (struct listing){.queue = q,
	    .id = id,
	    .arrival = f.arrival_us >= 1000000 ? f.arrival_us / 1000000 : (int64_t)st.st_mtime,
	    .size = f.size.data_size,
	    .forced_expire = (st.st_mode & MODE_EXPIRED) != 0,
	    .sender = shown(r->arena, f.sender)};
	buf_init(&big, 0);
	/* Also in maildrop: a requeued message keeps its log. */
	log = read_log(r, id, &big);
	if (q == QUEUE_DEFERRED) {
		ret->next_attempt = (int64_t)st.st_mtime;
		ret->attempts = spool_attempts(&st, log.n > 0);
	}
	add_recipients(r, &f, log, ret);
	buf_fini(&big);
	return 0;
}

void
listing_of_envelope(
    struct arena *a, enum queue q, const char *id, const struct envelope *e, struct listing *ret)
{
	struct listing_recipient *to = arena_alloc(a, (e->rcpt_count + 1) * sizeof(*to));

	*ret = (struct listing){.queue = q,
	    .id = id,
	    .arrival = e->arrival_us / 1000000,
	    .size = e->data_size,
	    .sender = shown(a, e->sender),
	    .rcpt = to};
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (!e->rcpt[i].done)
			to[ret->rcpt_count++] =
			    (struct listing_recipient){.address = shown(a, e->rcpt[i].address),
				.reason = "",
				.relay = "",
				.dsn = ""};
}

struct listing_recipient
listing_of_entry(struct arena *a, const struct deferlog_entry *e)
{
	const struct status *st = &e->status;

	return (struct listing_recipient){.address = shown(a, e->recipient),
	    .reason = logged(a, str_of(st->text ? st->text : "")),
	    .relay = st->remote && *st->remote ? logged(a, str_of(st->remote)) : "none",
	    .dsn = arena_strdup(a, status_dsn(st).text)};
}

void
listing_read_end(struct listing_read *r)
{
	fsio_close(r->log_fd);
	r->log_fd = -1;
}
