/*
 * headers.c - the header block: what is dropped, completed, counted and added.
 *
 * Headers pass one by one and are written as they end, so a header block of any length needs the
 * memory of its longest header. Only addresses are changed, and only for mail that starts here
 * (RFC 5321 6.4 forbids to repair what others relay through us). Missing headers go to the end of
 * the block, when it is known that they are missing.
 */
#include <time.h>
#include "internal.h"
#include "pp/mail/address_list.h"
#include "pp/mail/mime.h"
#include "pp/mail/utf8.h"
#include "pp/runtime/log.h"

static bool
has(const struct cleanup *c, enum header_id id)
{
	return c->seen >> id & 1;
}

static bool
is_dropped(const struct cleanup *c, struct str name)
{
	struct str rest = str_of(c->params->message_drop_headers), word;

	while (str_token(&rest, ", \t\r\n", &word))
		if (str_caseeq(word, name))
			return true;
	return false;
}

/* The lines of a header, which are joined by LF. */
static void
put_lines(struct cleanup *c, struct str text)
{
	for (;;) {
		size_t n = str_index(text, '\n');

		cleanup_put_line(c, str_head(text, n));
		if (n == text.n)
			return;
		text = str_from(text, n + 1);
	}
}

/* How addresses of the header are completed: by our names for local mail, else by
 * remote_header_rewrite_domain, else not at all. */
static bool
completion(const struct cleanup *c, struct address_rules *ret)
{
	const struct params *p = c->params;
	struct str remote = str_trim(str_of(p->remote_header_rewrite_domain));

	if (c->local) {
		*ret = (struct address_rules){
		    .myorigin = str_trim(str_of(p->myorigin)),
		    .mydomain = str_trim(str_of(p->mydomain)),
		    .append_at_myorigin = p->append_at_myorigin,
		    .append_dot_mydomain = p->append_dot_mydomain,
		};
		return true;
	}
	*ret = (struct address_rules){
	    .myorigin = remote,
	    .mydomain = remote,
	    .append_at_myorigin = true,
	    .append_dot_mydomain = true,
	};
	return remote.n > 0;
}

static void
put_header(struct cleanup *c, const struct header *h, struct str text)
{
	struct buf *out = &c->rewritten;
	struct address_rules rules;

	if (!(header_flags(h->id) & (HDR_IS_SENDER | HDR_IS_RECIPIENT)) || !completion(c, &rules)) {
		put_lines(c, text);
		return;
	}
	buf_clear(out);
	buf_add(out, h->name);
	buf_addc(out, ':');
	if (address_list_rewrite(out, h->value, &rules) > 0 && !buf_overflowed(out))
		put_lines(c, buf_str(out));
	else
		put_lines(c, text);
}

static void
log_id(struct cleanup *c, const char *name, struct str value)
{
	if (name[0] == 'm')
		c->id_logged = true;
	value = str_trim(value);
	log_info("cleanup", "%s: %s=%.*s", c->id, name, STR_FMT(value));
}

/* RFC 5321 6.3: counting Received headers is how loops end. */
static void
count_hop(struct cleanup *c)
{
	if (++c->hops >= c->params->hopcount_limit && c->trouble.cls == STATUS_NONE) {
		log_warn("cleanup", "%s: message rejected: hopcount exceeded", c->id);
		cleanup_fail(c, STATUS_PERM, 554, 4, 0, "Error: too many hops");
	}
}

static void
header_done(struct cleanup *c)
{
	struct str text = buf_str(&c->header.text);
	struct header h;

	if (!header_parse(text, &h)) {
		put_lines(c, text);
		return;
	}
	c->seen |= (uint64_t)1 << h.id;
	if (header_flags(h.id) & HDR_IS_RESENT)
		c->resent = true;
	if (is_dropped(c, h.name))
		return;
	if (utf8_has_8bit(text)) {
		c->utf8 |= UTF8_HEADER;
		if (c->autodetect_utf8)
			c->utf8 |= UTF8_REQUESTED;
	}
	switch (h.id) {
	case HDR_RECEIVED:
		count_hop(c);
		break;
	case HDR_MESSAGE_ID:
		log_id(c, "message-id", h.value);
		break;
	case HDR_RESENT_MESSAGE_ID:
		log_id(c, "resent-message-id", h.value);
		break;
	case HDR_CONTENT_TRANSFER_ENCODING:
		if (mime_encoding(h.value) == BODY_8BIT)
			c->encoding = BODY_8BIT;
		break;
	default:
		break;
	}
	put_header(c, &h, text);
}

/* A display name: as it is when it is a row of atoms, else as a quoted string (RFC 5322 3.2.5). */
static void
add_phrase(struct buf *to, struct str name)
{
	bool quote = false;

	for (size_t i = 0; i < name.n; i++)
		quote |= strchr("()<>[]:;@\\,.\"", name.p[i]) != NULL;
	if (!quote) {
		buf_add(to, name);
		return;
	}
	buf_addc(to, '"');
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] == '"' || name.p[i] == '\\')
			buf_addc(to, '\\');
		buf_addc(to, name.p[i]);
	}
	buf_addc(to, '"');
}

static void
add_message_id(struct cleanup *c, const char *prefix)
{
	time_t t = (time_t)c->create_time;
	char stamp[32];
	struct tm tm;
	char *line;

	if (gmtime_r(&t, &tm) == NULL || strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &tm) == 0)
		memcpy(stamp, "0", 2);
	line = arena_printf(
	    &c->arena, "%sMessage-Id: <%s.%s@%s>", prefix, stamp, c->id, c->params->myhostname);
	cleanup_put_line(c, str_of(line));
	log_id(c, c->resent ? "resent-message-id" : "message-id",
	    str_from(str_of(line), str_index(str_of(line), '<')));
}

static void
add_from(struct cleanup *c, const char *prefix)
{
	struct str name = str_trim(str_of(c->fullname));
	struct buf line;

	buf_init(&line, 8192);
	buf_printf(&line, "%sFrom: ", prefix);
	if (c->sender[0] == '\0') {
		buf_adds(&line, "MAILER-DAEMON");
	} else if (name.n == 0) {
		address_quote(&line, str_of(c->sender));
	} else {
		add_phrase(&line, name);
		buf_adds(&line, " <");
		address_quote(&line, str_of(c->sender));
		buf_addc(&line, '>');
	}
	if (utf8_has_8bit(buf_str(&line)))
		c->utf8 |= UTF8_HEADER;
	put_lines(c, buf_str(&line));
	buf_fini(&line);
}

static void
add_missing(struct cleanup *c)
{
	const char *prefix = c->resent ? "Resent-" : "";
	const char *undisclosed = c->params->undisclosed_recipients_header;

	if (!has(c, c->resent ? HDR_RESENT_MESSAGE_ID : HDR_MESSAGE_ID))
		add_message_id(c, prefix);
	if (!has(c, c->resent ? HDR_RESENT_DATE : HDR_DATE))
		cleanup_put_line(c, str_of(arena_printf(&c->arena, "%sDate: %s", prefix,
					cleanup_date(c->arrival_us / 1000000).text)));
	if (!has(c, c->resent ? HDR_RESENT_FROM : HDR_FROM))
		add_from(c, prefix);
	if (undisclosed[0] != '\0' && !has(c, HDR_TO) && !has(c, HDR_CC) &&
	    !has(c, HDR_RESENT_TO) && !has(c, HDR_RESENT_CC))
		cleanup_put_line(c, str_trim(str_of(undisclosed)));
}

static void
block_end(struct cleanup *c)
{
	if (c->writer == NULL)
		return;
	if (c->local || c->params->always_add_missing_headers)
		add_missing(c);
	/* Whoever searches the log for a message finds one such line, whatever the mail had. */
	if (!c->id_logged)
		log_id(c, "message-id", STR("<>"));
}

/* The mbox separator that some programs leave as first line becomes a header of its own. */
static void
mailbox_line(struct cleanup *c, struct str piece)
{
	if (!c->any_line && header_is_mailbox_line(piece))
		header_push(&c->header, STR("X-Mailbox-Line: "), false);
	c->any_line = true;
}

bool
cleanup_headers_piece(struct cleanup *c, struct str piece, bool last)
{
	enum header_event event;

	mailbox_line(c, piece);
	for (;;) {
		event = header_push(&c->header, piece, last);
		if (event != HEADER_READY)
			break;
		header_done(c);
	}
	if (event == HEADER_MORE)
		return true;
	block_end(c);
	return false;
}

void
cleanup_headers_finish(struct cleanup *c)
{
	if (header_finish(&c->header))
		header_done(c);
	block_end(c);
}
