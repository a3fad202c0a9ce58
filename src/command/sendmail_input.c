/*
 * sendmail_input.c - the message on standard input, line by line into maildrop.
 *
 * It passes in pieces of line_length_limit, so its size does not matter to memory; only the header
 * that is being looked at for -t is held. Line ends are not the dot decoder's: a CR before the LF
 * goes or stays as sendmail_fix_line_endings says, and a lone dot ends the input without -i.
 */
#include <errno.h>
#include <unistd.h>
#include "pp/mail/address_list.h"
#include "pp/mail/header.h"
#include "pp/mail/utf8.h"
#include "pp/runtime/log.h"
#include "sendmail.h"

enum { READ_SIZE = 32 * 1024, STRIP_NEVER, STRIP_ALWAYS, STRIP_LIKE_FIRST };

struct input {
	struct sendmail *sm;
	struct sendmail_drop *drop;
	struct buf piece;
	size_t limit;
	unsigned strip; /* STRIP_.. */
	bool pending_cr;
	bool mid_line, any_line, ended;
	bool skip_line; /* the mbox separator in front of the message */
	/* For -t. */
	bool in_header;
	struct header_collector header;
	struct recipients {
		const char **a;
		size_t n, cap;
	} plain, resent, bad;
	bool is_resent; /* there is a Resent- field of recipients, even of none */
	bool too_many, cut;
};

static void
add_recipient(struct input *in, struct recipients *r, const char *address)
{
	if (r->n >= SENDMAIL_RCPT_MAX) {
		in->too_many = true;
		return;
	}
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		r->a = mem_realloc(r->a, r->cap * sizeof(*r->a));
	}
	r->a[r->n++] = address;
}

/* Beside good addresses it becomes a recipient all the same, and comes back as a bounce: a warning
 * alone is heard by nobody where a program submits. */
static void
not_understood(struct input *in, enum header_id id, struct str text)
{
	char *raw = arena_str(&in->sm->arena, str_head(text, 200));

	utf8_clean(raw, strlen(raw));
	log_warn("sendmail", "no address is understood in \"%s: %s\": nobody gets it there",
	    header_name(id), raw);
	add_recipient(in, &in->bad, raw);
}

static void
extract(struct input *in)
{
	struct arena *a = &in->sm->arena;
	struct address_mailbox m;
	struct address_list list;
	struct header h;
	bool resent, any = false;
	int rc;

	if (!header_parse(buf_str(&in->header.text), &h) || !(header_flags(h.id) & HDR_IS_EXTRACT))
		return;
	resent = header_flags(h.id) & HDR_IS_RESENT;
	in->is_resent |= resent;
	in->cut |= in->header.cut;
	address_list_init(&list, h.value);
	while ((rc = address_list_next(&list, a, &m)) > 0) {
		any = true;
		if (m.address[0] != '\0')
			add_recipient(in, resent ? &in->resent : &in->plain, m.address);
	}
	in->too_many |= rc < 0;
	/* An empty list and an empty group ("undisclosed-recipients:;") name nobody on purpose. */
	if (list.bad.n > 0)
		not_understood(in, h.id, list.bad);
	else if (!any && !address_list_is_empty(h.value) && str_index(h.value, ';') == h.value.n)
		not_understood(in, h.id, str_trim(h.value));
}

static void
look_for_recipients(struct input *in, struct str piece, bool last)
{
	enum header_event event;

	if (!in->in_header)
		return;
	while ((event = header_push(&in->header, piece, last)) == HEADER_READY)
		extract(in);
	if (event == HEADER_END)
		in->in_header = false;
}

/* A piece of a line is complete. */
static void
emit(struct input *in, bool last)
{
	struct str piece = buf_str(&in->piece);

	if (!in->any_line && header_is_mailbox_line(piece))
		in->skip_line = true;
	in->any_line = true;
	if (last && !in->mid_line && !in->sm->o.ignore_dot && str_eq(piece, STR(".")))
		in->ended = true;
	if (!in->ended && !in->skip_line) {
		look_for_recipients(in, piece, last);
		sendmail_drop_line(in->drop, piece, last);
	}
	in->mid_line = !last;
	in->skip_line &= !last;
	buf_clear(&in->piece);
}

static void
push(struct input *in, char byte)
{
	buf_addc(&in->piece, byte);
	if (buf_str(&in->piece).n >= in->limit)
		emit(in, false);
}

static void
line_end(struct input *in)
{
	if (in->strip == STRIP_LIKE_FIRST)
		in->strip = in->pending_cr ? STRIP_ALWAYS : STRIP_NEVER;
	if (in->pending_cr && in->strip == STRIP_NEVER)
		push(in, '\r');
	in->pending_cr = false;
	emit(in, true);
}

static void
take(struct input *in, struct str bytes)
{
	for (size_t i = 0; i < bytes.n && !in->ended; i++) {
		char byte = bytes.p[i];

		if (byte == '\n') {
			line_end(in);
			continue;
		}
		if (in->pending_cr)
			push(in, '\r');
		in->pending_cr = byte == '\r';
		if (!in->pending_cr)
			push(in, byte);
	}
}

static int
read_all(struct input *in)
{
	char *bytes = mem_realloc(NULL, READ_SIZE); /* its pages come when they are needed */
	int rc = 0;

	while (!in->ended && in->drop->rc == 0 && !in->drop->too_big) {
		ssize_t n = read(0, bytes, READ_SIZE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			log_fatal("sendmail", "%s(%ld): read standard input: %s", in->sm->login,
			    (long)getuid(), strerror(errno));
			rc = EX_IOERR;
		}
		if (n <= 0)
			break;
		take(in, (struct str){bytes, (size_t)n});
	}
	mem_free(bytes);
	if (rc == 0 && in->pending_cr)
		push(in, '\r');
	if (rc == 0 && !in->ended && (in->piece.n > 0 || in->mid_line))
		emit(in, true);
	return rc;
}

/* A mail that is sent again goes to whom it is sent now, not to whom it once was: RFC 5322 3.6.6.
 */
static int
put_recipients(struct input *in)
{
	struct recipients *r;

	if (in->in_header && header_finish(&in->header))
		extract(in);
	r = in->is_resent ? &in->resent : &in->plain;
	if (in->too_many) {
		log_fatal("sendmail",
		    "%s(%ld): more than %d recipients in a field of the message header, or %d in "
		    "all",
		    in->sm->login, (long)getuid(), ADDRESS_LIST_MAX, SENDMAIL_RCPT_MAX);
		return EX_DATAERR;
	}
	if (in->cut) {
		log_fatal("sendmail",
		    "%s(%ld): unable to extract recipients: a field of the message header is "
		    "longer "
		    "than header_size_limit (%lld bytes)",
		    in->sm->login, (long)getuid(), (long long)in->sm->params->header_size_limit);
		return EX_DATAERR;
	}
	if (r->n == 0 && in->sm->rcpt_count == 0) {
		log_fatal("sendmail", "%s(%ld): No recipient addresses found in message header",
		    in->sm->login, (long)getuid());
		return EX_DATAERR;
	}
	for (size_t i = 0; i < r->n; i++)
		sendmail_drop_rcpt(in->drop, in->sm->o.notify, NULL, r->a[i]);
	for (size_t i = 0; i < in->bad.n; i++)
		sendmail_drop_rcpt(in->drop, in->sm->o.notify, NULL, in->bad.a[i]);
	return 0;
}

int
sendmail_input(struct sendmail *sm, struct sendmail_drop *d)
{
	const char *fix = sm->params->sendmail_fix_line_endings;
	struct input in = {.sm = sm, .drop = d, .in_header = sm->o.extract};
	int rc;

	in.limit = (size_t)sm->params->line_length_limit;
	in.strip = str_eq(str_of(fix), STR("never"))    ? STRIP_NEVER
		   : str_eq(str_of(fix), STR("strict")) ? STRIP_LIKE_FIRST
							: STRIP_ALWAYS;
	buf_init(&in.piece, in.limit);
	header_collector_init(&in.header, (size_t)sm->params->header_size_limit);
	sendmail_drop_put(d, REC_CONTENT, STR(""));
	rc = read_all(&in);
	sendmail_drop_put(d, REC_EXTRACTED, STR(""));
	if (rc == 0 && sm->o.extract && d->rc == 0 && !d->too_big)
		rc = put_recipients(&in);
	mem_free(in.plain.a);
	mem_free(in.resent.a);
	mem_free(in.bad.a);
	header_collector_fini(&in.header);
	buf_fini(&in.piece);
	return rc;
}
