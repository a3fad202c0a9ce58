/*
 * qshape_file.c - time and addresses of one queue file, with as few system calls as there can be.
 *
 * Which files count is Postfix's rule to the letter, also where it is odd: the size record must be
 * first and an X must stand where it says the content ends. Content is stepped over, so of a whole
 * file two pages are read at most. A pointer that leads backward is followed a limited number of
 * times, where the original goes round for ever.
 */
#include <fcntl.h>
#include <unistd.h>
#include "pp/base/fsio.h"
#include "pp/spool/record.h"
#include "qshape.h"

enum {
	WINDOW = QSHAPE_ADDRESS_MAX,
	BACK_JUMPS_MAX = 10000, /* as reader.c */
	LENGTH_SHIFT_MAX = 14,
};

struct source {
	int fd;
	off_t size, at;  /* of the file; next byte */
	off_t first;     /* what the window begins with */
	size_t n;        /* bytes in it */
	off_t last_jump; /* where the last pointer led */
	int back_jumps;
	char window[WINDOW];
};

struct item {
	int type; /* 0 = none: the end, or damage */
	size_t length;
	off_t payload;
};

/* n <= WINDOW bytes of the file, or NULL. */
static const char *
look(struct source *s, off_t at, size_t n)
{
	if (at < s->first || at + (off_t)n > s->first + (off_t)s->n) {
		ssize_t got = fsio_pread(s->fd, s->window, WINDOW, at);

		s->first = at;
		s->n = got > 0 ? (size_t)got : 0;
		if (s->n < n)
			return NULL;
	}
	return s->window + (at - s->first);
}

static struct item
next(struct source *s)
{
	const char *p = s->at >= 0 ? look(s, s->at, 1) : NULL;
	struct item none = {0}, r = {0};

	if (p == NULL || *p == '0')
		return none;
	r.type = (unsigned char)*p;
	s->at++;
	for (unsigned shift = 0; (p = look(s, s->at, 1)) != NULL; shift += 7) {
		unsigned char c = (unsigned char)*p;

		if (shift > LENGTH_SHIFT_MAX)
			return none;
		s->at++;
		r.length |= (size_t)(c & 0x7f) << shift;
		if ((c & 0x80) == 0)
			break;
	}
	r.payload = s->at;
	if (r.length > 0 && (off_t)r.length > s->size - s->at)
		return none;
	s->at += (off_t)r.length;
	return r;
}

/* The payload, of a very long one the end. */
static struct str
payload(struct source *s, const struct item *r)
{
	size_t n = r->length < WINDOW ? r->length : WINDOW;
	const char *p = look(s, r->payload + (off_t)(r->length - n), n);

	return (struct str){p ? p : "", p ? n : 0};
}

/* The number a text begins with, as Perl sees it; 0 when there is none. */
static int64_t
leading_number(struct str s)
{
	int64_t n = 0;
	bool is_negative;

	while (s.n && str_isspace(s.p[0]))
		s = str_from(s, 1);
	is_negative = s.n && s.p[0] == '-';
	if (is_negative || (s.n && s.p[0] == '+'))
		s = str_from(s, 1);
	for (; s.n && str_isdigit(s.p[0]) && n < INT64_MAX / 100; s = str_from(s, 1))
		n = n * 10 + (s.p[0] - '0');
	return is_negative ? -n : n;
}

/* False when it goes round too often. */
static bool
follow(struct source *s, const struct item *r)
{
	int64_t to = leading_number(payload(s, r));

	if (to <= 0)
		return true;
	if (to <= s->last_jump && ++s->back_jumps > BACK_JUMPS_MAX)
		return false;
	s->last_jump = to;
	s->at = to;
	return true;
}

/* Three numbers at least. */
static bool
content_size(struct str text, int64_t *ret)
{
	struct str rest = text, word;
	int words = 0;

	while (words < 3 && str_token(&rest, " \t\n\r\f\v", &word)) {
		size_t digits = 0;

		while (digits < word.n && str_isdigit(word.p[digits]))
			digits++;
		/* Only behind the third may something else follow. */
		if (digits == 0 || (digits < word.n && words < 2))
			return false;
		words++;
	}
	*ret = leading_number(text);
	return words == 3;
}

/* Goes from an M to the X behind the content. */
static bool
skip_content(struct source *s, bool has_size, int64_t size)
{
	struct item r;

	if (has_size) {
		s->at += size;
		r = next(s);
		return r.type == REC_EXTRACTED;
	}
	do {
		r = next(s);
		if (r.type == REC_POINTER && !follow(s, &r))
			return false;
	} while (r.type == REC_LINE || r.type == REC_PART || r.type == REC_POINTER);
	return r.type == REC_EXTRACTED;
}

enum verdict { NO_MAIL, NOT_COUNTED, COUNTED };

struct mail {
	int64_t time;
	bool has_time, has_sender, has_size;
	int64_t size;
	unsigned addresses;
	char sender[WINDOW];
	size_t sender_n;
};

static void
set_sender(struct source *s, const struct item *r, struct mail *m)
{
	struct str text = payload(s, r);

	memcpy(m->sender, text.p, text.n);
	m->sender_n = text.n;
	m->has_sender = true;
}

static enum verdict
begin(struct source *s, struct mail *m)
{
	struct item r = next(s);
	struct str text;

	if (r.type == REC_SIZE) {
		m->has_size = content_size(payload(s, &r), &m->size);
		r = next(s);
		if (r.type != REC_TIME)
			return NOT_COUNTED;
		text = payload(s, &r);
		m->has_time = str_trim(text).n > 0;
		m->time =
		    text.n && str_isspace(text.p[0]) ? 0 : leading_number(text); /* split's way */
		return COUNTED;
	}
	if (r.type != REC_SENDER && r.type != REC_FULLNAME)
		return NO_MAIL;
	m->has_time = true; /* the file's */
	if (r.type == REC_FULLNAME) {
		r = next(s);
		if (r.type != REC_SENDER)
			return NOT_COUNTED;
	}
	set_sender(s, &r, m);
	return COUNTED;
}

static bool
read_mail(struct source *s, struct mail *m, bool by_sender, struct buf *to)
{
	struct item r;

	while ((r = next(s)).type != 0) {
		switch (r.type) {
		case REC_POINTER:
			if (!follow(s, &r))
				return false;
			break;
		case REC_RCPT:
			if (!by_sender)
				qshape_put(to, payload(s, &r));
			m->addresses++;
			break;
		case REC_SENDER:
			set_sender(s, &r, m);
			break;
		case REC_CONTENT:
			if (!m->has_sender || !skip_content(s, m->has_size, m->size))
				return false;
			break;
		case REC_END:
			return m->has_time && m->has_sender && m->addresses > 0;
		default:
			break;
		}
	}
	return false;
}

size_t
qshape_put_begin(struct buf *to, int64_t time)
{
	size_t at = buf_str(to).n;
	uint32_t none = 0;

	buf_add(to, (struct str){(const char *)&time, sizeof(time)});
	buf_add(to, (struct str){(const char *)&none, sizeof(none)});
	return at;
}

void
qshape_put(struct buf *to, struct str address)
{
	char text[QSHAPE_ADDRESS_MAX];
	struct str domain = qshape_domain(address, text);
	uint32_t n = (uint32_t)domain.n;

	buf_add(to, (struct str){(const char *)&n, sizeof(n)});
	buf_add(to, domain);
}

/* What would not fit is left out whole. */
void
qshape_put_end(struct buf *to, size_t at, unsigned addresses)
{
	uint32_t n = addresses;

	if (buf_overflowed(to) || addresses == 0)
		buf_truncate(to, to->head + at);
	else
		memcpy(to->p + to->head + at + sizeof(int64_t), &n, sizeof(n));
	to->overflow = false;
}

static void
parse(struct source *s, const struct stat *st, bool by_sender, struct buf *to)
{
	struct mail m;
	enum verdict v;
	size_t at;

	m.time = (int64_t)st->st_mtime;
	m.has_time = m.has_sender = m.has_size = false;
	m.addresses = 0;
	m.sender_n = 0;
	v = begin(s, &m);
	if (v == NOT_COUNTED)
		return;
	/* The original counts what is no mail as one without a time and a sender. */
	at = qshape_put_begin(to, v == NO_MAIL ? 0 : m.time);
	if (v == COUNTED && !read_mail(s, &m, by_sender, to))
		m.addresses = 0;
	else if (by_sender) {
		qshape_put(to, (struct str){m.sender, m.sender_n});
		m.addresses = 1;
	}
	qshape_put_end(to, at, m.addresses);
}

void
qshape_file(const char *path, bool by_sender, struct buf *to)
{
	struct source s;
	struct stat st;

	s.fd = fsio_open_quietly(AT_FDCWD, path);
	if (s.fd < 0)
		return;
	if (fstat(s.fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0733) == 0700) {
		s.size = st.st_size;
		s.at = s.first = s.last_jump = 0;
		s.n = 0;
		s.back_jumps = 0;
		parse(&s, &st, by_sender, to);
	}
	fsio_close(s.fd);
}
