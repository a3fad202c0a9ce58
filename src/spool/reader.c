/*
 * reader.c - records out of a queue file, through a small window, following pointers.
 *
 * A file is hostile until proven otherwise: it may have been cut by a crash, or be somebody's
 * invention. Two limits end every loop of pointers: Postfix's own on backward jumps, and the sum
 * of the bytes read, since no well-formed file leads a reader over the same record twice.
 */
#include <errno.h>
#include <stdio.h>
#include "internal.h"
#include "pp/spool/reader.h"

enum {
	WINDOW = 8 * 1024, /* the envelope of most messages in one read */
	BACK_JUMPS_MAX = 10000,
	HEAD_MAX = 1 + 6,
	POINTER_SHOWN_MAX = 128,
	PATIENCE = 16 * 1024 * 1024,
};

struct reader {
	int fd;         /* -1: bytes in memory */
	struct str all; /* those bytes; of a file: the window */
	off_t all_at;   /* file offset of all.p[0] */
	struct buf window;
	off_t size;        /* of the file when it was opened */
	off_t at;          /* where the next record stands */
	off_t last_target; /* of the last jump */
	unsigned back_jumps;
	int64_t budget; /* bytes that may still be read */
	int64_t patience;
	bool raw;
	size_t limit; /* of a payload */
	char error[256];
};

static void
allow_one_pass(struct reader *r)
{
	/* Half again, for a file that grows while it is read. */
	r->budget = r->size + r->size / 2 + WINDOW + r->patience;
	r->back_jumps = 0;
	r->last_target = 0;
}

struct reader *
reader_open_fd(int fd)
{
	struct reader *r = MEM_NEW(struct reader);
	struct stat st;

	PP_ASSERT(fd >= 0);
	r->fd = fd;
	/* fstat of an open descriptor fails for no reason that reading would not show as well. */
	if (fstat(fd, &st) == 0)
		r->size = st.st_size;
	buf_init(&r->window, RECORD_PAYLOAD_MAX + HEAD_MAX + WINDOW);
	r->limit = RECORD_PAYLOAD_MAX;
	allow_one_pass(r);
	return r;
}

struct reader *
reader_open_bytes(struct str bytes)
{
	struct reader *r = MEM_NEW(struct reader);

	r->fd = -1;
	r->all = bytes;
	r->size = (off_t)bytes.n;
	r->limit = RECORD_PAYLOAD_MAX;
	buf_init(&r->window, 0);
	allow_one_pass(r);
	return r;
}

void
reader_close(struct reader *r)
{
	if (r == NULL)
		return;
	fsio_close(r->fd);
	buf_fini(&r->window);
	mem_free(r);
}

void
reader_set_raw(struct reader *r, bool raw)
{
	r->raw = raw;
}

void
reader_set_patient(struct reader *r)
{
	r->patience = PATIENCE;
	allow_one_pass(r);
}

void
reader_set_limit(struct reader *r, size_t payload)
{
	r->limit = payload < RECORD_PAYLOAD_MAX ? payload : RECORD_PAYLOAD_MAX;
}

const char *
reader_error(const struct reader *r)
{
	return r->error;
}

off_t
reader_tell(const struct reader *r)
{
	return r->at;
}

off_t
reader_size(const struct reader *r)
{
	return r->size;
}

int
reader_seek(struct reader *r, off_t offset)
{
	if (offset < 0)
		return -EINVAL;
	r->at = offset;
	allow_one_pass(r);
	return 0;
}

void
reader_skip(struct reader *r, int64_t n)
{
	PP_ASSERT(n >= 0);
	if (r->at >= r->size)
		return;
	if (n > r->size - r->at)
		n = r->size - r->at;
	r->at += n;
	r->budget -= n;
}

/* The bytes at r->at: at least `need` of them, fewer only at the end of the file. */
static int
view(struct reader *r, size_t need, struct str *ret)
{
	size_t want = need > WINDOW ? need : WINDOW;
	bool inside = r->at >= r->all_at && r->at - r->all_at <= (off_t)r->all.n;
	char *to;
	ssize_t n;

	*ret = inside ? str_from(r->all, (size_t)(r->at - r->all_at)) : (struct str){"", 0};
	if (r->fd < 0 || ret->n >= need)
		return 0;
	buf_clear(&r->window);
	to = buf_reserve(&r->window, want);
	if (to == NULL)
		return -EBADMSG;
	n = fsio_pread(r->fd, to, want, r->at);
	if (n < 0)
		return (int)n;
	buf_commit(&r->window, (size_t)n);
	r->all = *ret = buf_str(&r->window);
	r->all_at = r->at;
	return 0;
}

static int
bad(struct reader *r, const char *what, int type)
{
	snprintf(r->error, sizeof(r->error), "%s, record type %d", what, type);
	return -EBADMSG;
}

static int
next_raw(struct reader *r, struct record *ret)
{
	struct str in;
	int type = 0, rc = view(r, HEAD_MAX, &in);
	size_t length, used;

	if (rc == 0)
		rc = record_get_head(in, &type, &length, &used);
	if (rc == -EAGAIN)
		return bad(r, "unexpected EOF reading length", type);
	if (rc == -EBADMSG)
		return bad(r, "too many length bits", type);
	if (rc < 0)
		snprintf(r->error, sizeof(r->error), "%s", strerror(-rc));
	if (rc != 0)
		return rc;
	if (length > r->limit)
		return bad(r, "record is too long", type);
	/* Asked before memory is taken for what is not there. */
	if ((off_t)(used + length) <= r->size - r->at)
		rc = view(r, used + length, &in);
	if (rc < 0) {
		snprintf(r->error, sizeof(r->error), "%s", strerror(-rc));
		return rc;
	}
	if (in.n < used + length) {
		snprintf(r->error, sizeof(r->error),
		    "unexpected EOF in data, record type %d length %zu", type, length);
		return -EBADMSG;
	}
	*ret = (struct record){.type = type, .payload = {in.p + used, length}};
	r->at += (off_t)(used + length);
	r->budget -= (int64_t)(used + length);
	return 0;
}

int
reader_follow(struct reader *r, struct str payload)
{
	int64_t target = 0;

	payload = str_head(payload, str_index(payload, '\0'));
	while (payload.n > 0 && str_isspace(payload.p[0]))
		payload = str_from(payload, 1);
	if (payload.n > 0 && str_number(payload, 0, INT64_MAX, &target) < 0) {
		snprintf(r->error, sizeof(r->error), "malformed pointer record value: %.*s",
		    (int)str_head(payload, POINTER_SHOWN_MAX).n, payload.p);
		return -EBADMSG;
	}
	if (target == 0)
		return 0;
	if (target <= r->last_target && ++r->back_jumps > BACK_JUMPS_MAX)
		r->budget = -1;
	if (r->budget < 0) {
		snprintf(r->error, sizeof(r->error), "too many reverse jump records");
		return -EBADMSG;
	}
	r->last_target = r->at = target;
	return 0;
}

int
reader_next(struct reader *r, struct record *ret, off_t *ret_offset)
{
	for (;;) {
		off_t at = r->at;
		int rc = next_raw(r, ret);

		if (rc == 0 && ret->type == REC_POINTER && !r->raw) {
			rc = reader_follow(r, ret->payload);
			if (rc == 0)
				continue;
			r->at = at;
		}
		*ret_offset = at;
		return rc;
	}
}
