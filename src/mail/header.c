/*
 * header.c - header lines: what is one, which one it is, and folded ones put together.
 *
 * Everything known about a header name is one row of one table. The collector is pushed pieces of
 * lines, as records come, and never holds more than the limit; it does not take the piece that ends
 * a header, so its user needs no state of its own.
 */
#include "pp/base/assert.h"
#include "pp/mail/header.h"

static const struct {
	const char *name;
	unsigned flags;
} headers[HDR_COUNT] = {
    [HDR_OTHER] = {"", 0},
    [HDR_AUTO_SUBMITTED] = {"Auto-Submitted", 0},
    [HDR_BCC] = {"Bcc", HDR_IS_RECIPIENT | HDR_IS_EXTRACT},
    [HDR_CC] = {"Cc", HDR_IS_RECIPIENT | HDR_IS_EXTRACT},
    [HDR_CONTENT_LENGTH] = {"Content-Length", 0},
    [HDR_CONTENT_TRANSFER_ENCODING] = {"Content-Transfer-Encoding", HDR_IS_MIME},
    [HDR_CONTENT_TYPE] = {"Content-Type", HDR_IS_MIME},
    [HDR_DATE] = {"Date", 0},
    [HDR_DELIVERED_TO] = {"Delivered-To", 0},
    [HDR_DISPOSITION_NOTIFICATION_TO] = {"Disposition-Notification-To", HDR_IS_SENDER},
    [HDR_ERRORS_TO] = {"Errors-To", HDR_IS_SENDER},
    [HDR_FROM] = {"From", HDR_IS_SENDER},
    [HDR_MAIL_FOLLOWUP_TO] = {"Mail-Followup-To", HDR_IS_SENDER},
    [HDR_MESSAGE_ID] = {"Message-Id", 0},
    [HDR_MIME_VERSION] = {"MIME-Version", HDR_IS_MIME},
    [HDR_RECEIVED] = {"Received", 0},
    [HDR_REPLY_TO] = {"Reply-To", HDR_IS_SENDER},
    [HDR_RESENT_BCC] = {"Resent-Bcc", HDR_IS_RECIPIENT | HDR_IS_EXTRACT | HDR_IS_RESENT},
    [HDR_RESENT_CC] = {"Resent-Cc", HDR_IS_RECIPIENT | HDR_IS_EXTRACT | HDR_IS_RESENT},
    [HDR_RESENT_DATE] = {"Resent-Date", HDR_IS_RESENT},
    [HDR_RESENT_FROM] = {"Resent-From", HDR_IS_SENDER | HDR_IS_RESENT},
    [HDR_RESENT_MESSAGE_ID] = {"Resent-Message-Id", HDR_IS_RESENT},
    [HDR_RESENT_REPLY_TO] = {"Resent-Reply-To", HDR_IS_SENDER | HDR_IS_RESENT},
    [HDR_RESENT_SENDER] = {"Resent-Sender", HDR_IS_SENDER | HDR_IS_RESENT},
    [HDR_RESENT_TO] = {"Resent-To", HDR_IS_RECIPIENT | HDR_IS_EXTRACT | HDR_IS_RESENT},
    [HDR_RETURN_PATH] = {"Return-Path", HDR_IS_SENDER},
    [HDR_RETURN_RECEIPT_TO] = {"Return-Receipt-To", HDR_IS_SENDER},
    [HDR_SENDER] = {"Sender", HDR_IS_SENDER},
    [HDR_SUBJECT] = {"Subject", 0},
    [HDR_TO] = {"To", HDR_IS_RECIPIENT | HDR_IS_EXTRACT},
};

const char *
header_name(enum header_id id)
{
	PP_ASSERT(id < HDR_COUNT);
	return headers[id].name;
}

unsigned
header_flags(enum header_id id)
{
	PP_ASSERT(id < HDR_COUNT);
	return headers[id].flags;
}

enum header_id
header_id(struct str name)
{
	for (unsigned id = HDR_OTHER + 1; id < HDR_COUNT; id++)
		if (str_caseeq(name, str_of(headers[id].name)))
			return (enum header_id)id;
	return HDR_OTHER;
}

bool
header_parse(struct str line, struct header *ret)
{
	size_t name = 0, colon;

	/* RFC 5322 3.6.8: printable US-ASCII but the colon; 4.5: blanks before the colon. */
	while (name < line.n && line.p[name] > ' ' && line.p[name] < 0x7f && line.p[name] != ':')
		name++;
	for (colon = name; colon < line.n; colon++)
		if (line.p[colon] != ' ' && line.p[colon] != '\t')
			break;
	if (name == 0 || colon == line.n || line.p[colon] != ':')
		return false;
	if (ret) {
		ret->name = str_head(line, name);
		ret->value = str_from(line, colon + 1);
		ret->id = header_id(ret->name);
	}
	return true;
}

bool
header_is_mailbox_line(struct str line)
{
	while (line.n && line.p[0] == '>')
		line = str_from(line, 1);
	return str_starts(line, STR("From "));
}

void
header_collector_init(struct header_collector *c, size_t limit)
{
	*c = (struct header_collector){.limit = limit};
	buf_init(&c->text, limit);
}

void
header_collector_fini(struct header_collector *c)
{
	buf_fini(&c->text);
}

/* Appends what there is room for; after a cut nothing more. */
static void
collect(struct header_collector *c, struct str s)
{
	size_t room = c->cut ? 0 : c->limit - buf_str(&c->text).n;

	c->cut = c->cut || s.n > room;
	buf_add(&c->text, str_head(s, room));
}

static void
start(struct header_collector *c)
{
	buf_clear(&c->text);
	c->cut = c->ready = false;
}

enum header_event
header_push(struct header_collector *c, struct str piece, bool last)
{
	bool pending = buf_str(&c->text).n > 0 && !c->ready;

	if (!c->open) {
		bool fold = pending && piece.n && (piece.p[0] == ' ' || piece.p[0] == '\t');

		if (pending && !fold) {
			c->ready = true;
			return HEADER_READY;
		}
		if (!fold) {
			start(c);
			if (!header_parse(piece, NULL))
				return HEADER_END;
		} else {
			/* Without room for more than the line break an empty line would be left:
			 * the end of all headers. */
			c->cut = c->cut || buf_str(&c->text).n + 2 > c->limit;
			collect(c, STR("\n"));
		}
	}
	collect(c, piece);
	c->open = !last;
	return HEADER_MORE;
}

bool
header_finish(struct header_collector *c)
{
	bool pending = buf_str(&c->text).n > 0 && !c->ready;

	if (!pending)
		start(c);
	c->ready = pending;
	c->open = false;
	return pending;
}
