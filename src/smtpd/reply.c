/*
 * reply.c - what the client is told, and what the log is told about it.
 *
 * Replies only go into the stream's buffer: the session sends them together, so that all answers
 * to a pipelined group leave in one write. Whatever stands in a reply may stem from the client, so
 * it is made printable here, in the one place every reply passes.
 */
#include <stdio.h>
#include "internal.h"
#include "pp/mail/utf8.h"

void
smtpd_reply(struct smtpd_session *s, const char *fmt, ...)
{
	char text[SMTPD_LINE_MAX + 3];
	va_list ap;
	size_t n;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, SMTPD_LINE_MAX, fmt, ap);
	va_end(ap);
	n = len < 0 ? 0 : len < SMTPD_LINE_MAX ? (size_t)len : SMTPD_LINE_MAX - 1;
	utf8_clean(text, n);
	if (s->setup->p->soft_bounce && n > 4 && text[0] == '5') {
		text[0] = '4';
		if (text[4] == '5' && n > 5 && text[5] == '.')
			text[4] = '4';
	}
	memcpy(text + n, "\r\n", 2);
	stream_write(s->stream, (struct str){text, n + 2});
	s->is_unflushed = true;
}

void
smtpd_reply_status(struct smtpd_session *s, const struct status *st)
{
	unsigned code = st->smtp ? st->smtp : st->cls == STATUS_PERM ? 554 : 451;

	smtpd_reply(s, "%u %s %s", code, status_dsn(st).text, st->text ? st->text : "Error");
}

void
smtpd_log_event(struct smtpd_session *s, const char *event, const char *text)
{
	const struct transaction *t = &s->t;
	struct buf line;

	buf_init(&line, SMTPD_LINE_MAX * 2);
	buf_printf(&line, "%s: %s: %s from %s: %s;",
	    t->cleanup ? cleanup_id(t->cleanup) : "NOQUEUE", event, s->where, s->client, text);
	if (t->sender_text)
		buf_printf(&line, " from=<%s>", t->sender_text);
	if (t->rcpt_text)
		buf_printf(&line, " to=<%s>", t->rcpt_text);
	buf_printf(&line, " proto=%s", s->is_esmtp ? "ESMTP" : "SMTP");
	if (s->helo)
		buf_printf(&line, " helo=<%s>", s->helo);
	log_info("smtpd", "%s", buf_cstr(&line));
	buf_fini(&line);
}
