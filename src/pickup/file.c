/*
 * file.c - a file in maildrop, read as what it is: bytes from anybody on this machine.
 *
 * Who submitted it is the owner of the file, whatever it says. Every type and length is checked
 * before the loop sees a record; attributes are taken from a short list, so that nobody can claim a
 * client address or a login; routing records (L, >) are dropped. Only a file of the daemon's own
 * user that nobody else can read may be a whole queue file: postsuper -r put it there.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/mail/utf8.h"

static int
malformed(struct pickup_file *f, const char *why, off_t at)
{
	snprintf(f->why, sizeof(f->why), "%s at offset %lld", why, (long long)at);
	return -EBADMSG;
}

/* One record with the checks that hold for all. 1 = the end of the file. */
static int
next(struct pickup_file *f, struct record *rec, off_t *at)
{
	int rc = reader_next(f->reader, rec, at);

	if (rc == -EBADMSG)
		malformed(f, reader_error(f->reader), *at);
	else if (rc == 1)
		rc = malformed(f, "end record missing", reader_tell(f->reader));
	return rc;
}

static bool
has_bad_bytes(struct str s)
{
	return utf8_has_control(s);
}

static unsigned
number(struct str value, unsigned mask)
{
	int64_t v;

	return record_number(value, &v) < 0 || v < 0 || v > UINT32_MAX ? 0 : (unsigned)v & mask;
}

/* What a submitter may say of the message or of the next recipient; all else is ignored. */
static void
take_attr(struct pickup_file *f, struct str payload)
{
	size_t eq = str_index(payload, '=');
	struct str name = str_trim(str_head(payload, eq));
	struct str value = str_trim(str_from(payload, eq + 1));
	struct envelope *e = &f->envelope;

	if (has_bad_bytes(value))
		return;
	if (str_eq(name, STR("rewrite_context")))
		e->origin.local = str_eq(value, STR("local"));
	else if (str_eq(name, STR("envelope_id")))
		e->envid = arena_str(&f->arena, value);
	else if (str_eq(name, STR("ret_flags")))
		e->ret = number(value, RET_FULL | RET_HDRS);
	else if (str_eq(name, STR("trace_flags")))
		e->trace_flags = number(value, 512 | 1024);
	else if (str_eq(name, STR("encoding")))
		e->encoding = str_eq(value, STR("8bit"))   ? BODY_8BIT
			      : str_eq(value, STR("7bit")) ? BODY_7BIT
							   : BODY_UNKNOWN;
	else if (str_eq(name, STR("notify_flags")))
		f->next_rcpt.notify = number(value, 15);
	else if (str_eq(name, STR("dsn_orig_rcpt")))
		f->next_rcpt.orcpt = arena_str(&f->arena, value);
}

static void
take_time(struct pickup_file *f, struct str payload)
{
	struct str sec, usec = STR("");
	int64_t s, us = 0;

	if (!str_token(&payload, " ", &sec) || str_number(sec, 1, INT32_MAX * 16LL, &s) < 0)
		return;
	if (str_token(&payload, " ", &usec) && str_number(usec, 0, 999999, &us) < 0)
		us = 0;
	f->envelope.arrival_us = s * 1000000 + us;
}

static int
take_rcpt(struct pickup_file *f, struct str address)
{
	struct envelope *e = &f->envelope;
	struct recipient *next_rcpt = &f->next_rcpt;

	if (e->rcpt_count >= PICKUP_RCPT_MAX)
		return -E2BIG;
	if (e->rcpt_count == f->rcpt_room) {
		size_t more = f->rcpt_room ? f->rcpt_room * 2 : 8;
		struct recipient *bigger = arena_alloc(&f->arena, more * sizeof(*bigger));

		if (f->rcpt_room)
			memcpy(bigger, e->rcpt, f->rcpt_room * sizeof(*bigger));
		e->rcpt = bigger;
		f->rcpt_room = more;
	}
	next_rcpt->address = next_rcpt->orig = arena_str(&f->arena, address);
	next_rcpt->offset = -1;
	e->rcpt[e->rcpt_count++] = *next_rcpt;
	*next_rcpt = (struct recipient){0};
	return 0;
}

/* An envelope record other than M: what Postfix's postdrop lets through. */
static int
take_record(struct pickup_file *f, const struct record *rec, off_t at)
{
	struct envelope *e = &f->envelope;
	struct str text = rec->payload;

	switch (rec->type) {
	case REC_TIME:
		take_time(f, text);
		return 0;
	case REC_FULLNAME:
		if (!has_bad_bytes(text))
			e->fullname = arena_str(&f->arena, text);
		return 0;
	case REC_SENDER:
		if (e->sender || has_bad_bytes(text))
			return malformed(f, "bad sender record", at);
		e->sender = arena_str(&f->arena, text);
		return 0;
	case REC_RCPT:
		if (e->sender == NULL || has_bad_bytes(text))
			return malformed(f, "bad recipient record", at);
		return take_rcpt(f, text) < 0 ? malformed(f, "too many recipients", at) : 0;
	case REC_VERP:
		if (text.n == 2 && !has_bad_bytes(text))
			e->verp = arena_str(&f->arena, text);
		return 0;
	case REC_ATTR:
		take_attr(f, text);
		return 0;
	case REC_FILTER:
	case REC_REDIRECT:
		return 0;
	default:
		return malformed(f, "unexpected record type", at);
	}
}

void
pickup_file_expect(struct pickup_file *f)
{
	f->envelope.fullname = "";
	f->envelope.origin.local = true;
	f->in_envelope = true;
}

static int
read_submitted(struct pickup_file *f)
{
	pickup_file_expect(f);
	while (f->in_envelope) {
		struct record rec;
		off_t at;
		int rc = next(f, &rec, &at);

		if (rc == 0)
			rc = pickup_file_take(f, &rec, at);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int
read_requeued(struct pickup_file *f)
{
	struct buf why;
	int rc;

	buf_init(&why, sizeof(f->why) - 1);
	rc = reader_seek(f->reader, 0);
	if (rc == 0)
		rc = reader_envelope(f->reader, READER_QUEUE, &f->arena, &f->envelope, &why);
	if (rc == -EBADMSG)
		snprintf(f->why, sizeof(f->why), "%s", buf_cstr(&why));
	buf_fini(&why);
	return rc < 0 ? rc : reader_seek(f->reader, f->envelope.data_offset);
}

/* Does the file begin with a size record, as only cleanup writes it? */
static bool
has_size_record(int fd)
{
	char type;

	return fsio_pread(fd, &type, 1, 0) == 1 && type == REC_SIZE;
}

static int
check(struct pickup_file *f, int fd, struct stat *st)
{
	if (fstat(fd, st) != 0)
		return -errno;
	f->uid = st->st_uid;
	f->no_mail = !S_ISREG(st->st_mode) || st->st_nlink != 1;
	if (!S_ISREG(st->st_mode))
		return malformed(f, "not a regular file", 0);
	if (!spool_ready(st))
		return -ESTALE;
	if (st->st_nlink != 1)
		return malformed(f, "the file has other names", 0);
	f->requeued = (st->st_uid == f->daemon_uid || st->st_uid == 0) &&
		      !(st->st_mode & S_IROTH) && has_size_record(fd);
	return 0;
}

int
pickup_file_open_blk(struct pickup_file *f)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int fd, rc;

	spool_path(f->spool, QUEUE_MAILDROP, f->id, path);
	fd = fsio_open_read(spool_dirfd(f->spool), path);
	if (fd == -ELOOP || fd == -ENXIO) {
		if (fsio_stat(spool_dirfd(f->spool), path, &st) == 0)
			f->uid = st.st_uid;
		f->no_mail = true;
		return malformed(f, "not a regular file", 0);
	}
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	rc = check(f, fd, &st);
	if (rc < 0) {
		fsio_close(fd);
		return rc;
	}
	f->reader = reader_open_fd(fd);
	if (!f->requeued) {
		reader_set_raw(f->reader, true);
		reader_set_limit(f->reader, f->line_limit);
	}
	rc = f->requeued ? read_requeued(f) : read_submitted(f);
	if (rc == 0 && f->envelope.arrival_us == 0)
		f->envelope.arrival_us = (int64_t)st.st_mtim.tv_sec * 1000000;
	f->in_content = true;
	return rc;
}

/* 0 = keep it for the loop, 1 = leave it out, -EBADMSG. */
static int
filter(struct pickup_file *f, const struct record *rec, off_t at)
{
	if (f->in_content) {
		if (rec->type == REC_LINE || rec->type == REC_PART)
			return 0;
		if (rec->type == REC_EXTRACTED) {
			f->in_content = false;
			/* reader_envelope has given the recipients of both segments. */
			f->ended = f->requeued;
			return 0;
		}
		return f->requeued && rec->type == REC_PADDING
			   ? 1
			   : malformed(f, "unexpected record type", at);
	}
	switch (rec->type) {
	case REC_END:
		f->ended = true;
		return 0;
	case REC_ATTR:
		return 0;
	case REC_RCPT:
		return has_bad_bytes(rec->payload) ? malformed(f, "bad recipient record", at) : 0;
	default:
		return malformed(f, "unexpected record type", at);
	}
}

int
pickup_file_take(struct pickup_file *f, const struct record *rec, off_t at)
{
	int rc;

	if (!f->in_envelope) {
		rc = filter(f, rec, at);
		return rc < 0 ? rc : rc == 1 ? PICKUP_SKIP : PICKUP_FEED;
	}
	if (rec->type != REC_CONTENT) {
		rc = take_record(f, rec, at);
		return rc < 0 ? rc : PICKUP_SKIP;
	}
	if (f->envelope.sender == NULL)
		return malformed(f, "sender record missing", at);
	f->in_envelope = false;
	f->in_content = true;
	return PICKUP_ENVELOPE_ENDS;
}

int
pickup_file_read_blk(struct pickup_file *f)
{
	buf_clear(&f->records);
	while (!f->ended && buf_str(&f->records).n < PICKUP_BATCH) {
		struct record rec;
		off_t at;
		int rc = next(f, &rec, &at);

		if (rc == 0)
			rc = filter(f, &rec, at);
		if (rc == 1)
			continue;
		if (rc == 0)
			rc = record_put(&f->records, rec.type, rec.payload);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void
pickup_file_close(struct pickup_file *f)
{
	if (f->reader)
		reader_close(f->reader);
	f->reader = NULL;
	buf_fini(&f->records);
	arena_fini(&f->arena);
}
