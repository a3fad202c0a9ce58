/*
 * report.c - what a notice says.
 *
 * The machine-readable part follows RFC 3464 to the letter, because mailing lists and senders'
 * software act on it; the human part says what happened, what it means and what to do, shortly.
 */
#include <stdio.h>
#include <strings.h>
#include "pp/mail/address.h"
#include "report.h"

enum { WRAP_AT = 79, NOTICE_RCPT_MAX = 2000 };

static const struct {
	const char *subject, *log_name, *what, *original;
} kinds[] = {
    [BOUNCE_FAILURE] = {"Undelivered Mail Returned to Sender", "sender non-delivery",
	"Undelivered ",
	"The mail you sent could not be delivered to the recipients named below.\n"
	"It will not be tried again. A copy is attached.\n"},
    [BOUNCE_DELAY] = {"Delayed Mail (still being retried)", "sender delay", "Undelivered ",
	"The mail you sent has not yet reached the recipients named below.\n"
	"Nothing needs to be done: delivery is tried again and again, and you\n"
	"will hear once more if it cannot be delivered at all.\n"},
    [BOUNCE_SUCCESS] = {"Successful Mail Delivery Report", "sender delivery status", "",
	"The mail you sent was handed over for the recipients named below. You\n"
	"get this report because the sender asked for it.\n"},
};

const char *
report_name(enum bounce_kind kind)
{
	return kinds[kind].log_name;
}

void
report_wrap(struct buf *to, struct str text)
{
	const char *indent = "";
	size_t room = WRAP_AT;

	while (text.n > room) {
		size_t cut = str_rindex(str_head(text, room), ' ');

		/* No blank to break at: an overlong word stays whole. */
		if (cut == 0 || cut >= room)
			cut = str_index(text, ' ');
		buf_adds(to, indent);
		buf_add(to, str_head(text, cut));
		buf_addc(to, '\n');
		text = str_from(text, cut + 1);
		indent = "    ";
		room = WRAP_AT - 4;
	}
	if (text.n == 0)
		return;
	buf_adds(to, indent);
	buf_add(to, text);
	buf_addc(to, '\n');
}

/* As shown to people: an address that cannot be quoted (a damaged one) with its controls as `?`. */
static const char *
shown(struct arena *a, const char *address)
{
	const char *quoted = address_quoted(a, str_of(address));
	char *plain;

	if (quoted)
		return quoted;
	plain = arena_strdup(a, address);
	for (char *p = plain; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return plain;
}

static void
boundary(const struct report *r, struct buf *to)
{
	buf_printf(to, "%s.%lld/%s", r->id, (long long)r->now, r->myhostname);
}

static void
delimiter(const struct report *r, struct buf *to, const char *description)
{
	buf_adds(to, "\n--");
	boundary(r, to);
	buf_printf(to, "\nContent-Description: %s\n", description);
}

static void
header(const struct report *r, struct buf *to, struct arena *a)
{
	buf_adds(to, "Date: ");
	buf_adds(to, cleanup_date(r->now).text);
	buf_printf(to, "\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\nSubject: %s\nTo: %s\n",
	    r->myorigin, kinds[r->kind].subject, shown(a, r->envelope->sender));
	buf_adds(to, "Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
		     "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"");
	boundary(r, to);
	buf_adds(to, "\"\n");
	if (r->envelope->encoding == BODY_8BIT)
		buf_adds(to, "Content-Transfer-Encoding: 8bit\n");
	buf_adds(to, "\nThis is a MIME-encapsulated message.\n");
}

static void
human_rcpt(const struct deferlog_entry *e, struct buf *to, struct arena *a)
{
	const char *address = shown(a, e->recipient);
	bool renamed = e->orig && *e->orig && strcasecmp(e->orig, e->recipient) != 0;

	buf_addc(to, '\n');
	report_wrap(to, str_of(renamed ? arena_printf(a, "<%s> (expanded from <%s>): %s", address,
					     shown(a, e->orig), e->status.text)
				       : arena_printf(a, "<%s>: %s", address, e->status.text)));
}

static void
human_part(const struct report *r, struct buf *to, struct arena *a)
{
	bool is_8bit = r->envelope->encoding == BODY_8BIT;

	delimiter(r, to, "Notification");
	buf_printf(to, "Content-Type: text/plain; charset=%s\n%s\n", is_8bit ? "utf-8" : "us-ascii",
	    is_8bit ? "Content-Transfer-Encoding: 8bit\n" : "");
	buf_printf(to, "This is %s, a mail server at %s.\n\n", r->mail_name, r->myhostname);
	buf_adds(to, kinds[r->kind].original);
	if (r->expired)
		buf_adds(to, "\nIt was tried until its time in the queue had run out.\n");
	buf_adds(to, "\nIf you need help, forward this message to your postmaster.\n");
	for (size_t i = 0; i < r->n && i < NOTICE_RCPT_MAX; i++)
		human_rcpt(&r->entries[i], to, a);
}

/* RFC 3464 2.3: fields of one recipient. */
static void
machine_rcpt(
    const struct report *r, const struct deferlog_entry *e, struct buf *to, struct arena *a)
{
	const struct status *st = &e->status;
	struct status dsn = *st;

	if (r->kind == BOUNCE_FAILURE && r->expired)
		dsn.cls = STATUS_TEMP; /* what was found last, not a verdict of the receiver */
	buf_printf(to, "\nFinal-Recipient: rfc822; %s\n", shown(a, e->recipient));
	if (e->orcpt)
		buf_printf(to, "Original-Recipient: %s\n", e->orcpt);
	buf_printf(to, "Action: %s\nStatus: %s\n",
	    r->kind == BOUNCE_FAILURE ? "failed"
	    : r->kind == BOUNCE_DELAY ? "delayed"
				      : e->action,
	    status_dsn(&dsn).text);
	if (st->remote)
		buf_printf(to, "Remote-MTA: dns; %s\n", st->remote);
	if (st->diagnostic)
		report_wrap(
		    to, str_of(arena_printf(a, "Diagnostic-Code: smtp; %s", st->diagnostic)));
	else
		report_wrap(to, str_of(arena_printf(a, "Diagnostic-Code: X-%s; %s", r->mail_name,
				    st->text ? st->text : "")));
	if (r->kind == BOUNCE_DELAY) {
		buf_adds(to, "Will-Retry-Until: ");
		buf_adds(to, cleanup_date(r->retry_until).text);
		buf_addc(to, '\n');
	}
}

static void
machine_part(const struct report *r, struct buf *to, struct arena *a)
{
	delimiter(r, to, "Delivery report");
	buf_printf(
	    to, "Content-Type: message/delivery-status\n\nReporting-MTA: dns; %s\n", r->myhostname);
	if (r->envelope->envid)
		buf_printf(to, "Original-Envelope-Id: %s\n", r->envelope->envid);
	buf_printf(to, "X-%s-Queue-ID: %s\nX-%s-Sender: rfc822; %s\nArrival-Date: ", r->mail_name,
	    r->id, r->mail_name, shown(a, r->envelope->sender));
	buf_adds(to, cleanup_date(r->envelope->arrival_us / 1000000).text);
	buf_addc(to, '\n');
	for (size_t i = 0; i < r->n && i < NOTICE_RCPT_MAX; i++)
		machine_rcpt(r, &r->entries[i], to, a);
}

void
report_head(const struct report *r, struct buf *to)
{
	struct arena a = {0};
	char what[64];

	header(r, to, &a);
	human_part(r, to, &a);
	machine_part(r, to, &a);
	snprintf(what, sizeof(what), "%sMessage%s", kinds[r->kind].what,
	    r->headers_only ? " Headers" : "");
	delimiter(r, to, what);
	buf_printf(
	    to, "Content-Type: %s\n", r->headers_only ? "text/rfc822-headers" : "message/rfc822");
	if (r->envelope->encoding == BODY_8BIT)
		buf_adds(to, "Content-Transfer-Encoding: 8bit\n");
	buf_printf(to, "\nReturn-Path: <%s>\n", shown(&a, r->envelope->sender));
	arena_fini(&a);
}

void
report_tail(const struct report *r, struct buf *to)
{
	buf_adds(to, "\n--");
	boundary(r, to);
	buf_adds(to, "--\n");
}
