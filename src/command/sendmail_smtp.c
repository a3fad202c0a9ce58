/*
 * sendmail_smtp.c - `sendmail -bs`: SMTP on standard input and output, for mail readers.
 *
 * Each message is submitted like any other, to the daemon or to maildrop, so this needs no network,
 * no daemon and no relay policy: whoever may run sendmail may send. The dialog blocks; replies are
 * written when nothing of the client's input is left to read, which is what PIPELINING asks for
 * (RFC 2920 3.2).
 */
#include <errno.h>
#include <unistd.h>
#include "pp/mail/dot.h"
#include "pp/mail/esmtp.h"
#include "pp/runtime/log.h"
#include "sendmail.h"

enum {
	IN_SIZE = 16 * 1024,
	OUT_MAX = 64 * 1024,
	ERRORS_MAX = 20,
	EXTENSIONS = ESMTP_SIZE | ESMTP_8BITMIME | ESMTP_DSN
};

struct session {
	struct sendmail *sm;
	char in[IN_SIZE];
	size_t at, end; /* of what was read and not used yet */
	bool eof, quit;
	unsigned errors;
	struct buf line, out;
	bool line_too_long;
	struct arena arena; /* of the transaction */
	bool has_mail;
	struct envelope envelope;
	struct esmtp_rcpt *rcpt;
	size_t rcpt_count, rcpt_room;
	int rc; /* exit code of the command */
};

static void
flush(struct session *s)
{
	if (s->out.n > 0 && fsio_write(1, buf_str(&s->out)) < 0)
		s->eof = true;
	buf_clear(&s->out);
}

static void __attribute__((format(printf, 2, 3))) reply(struct session *s, const char *fmt, ...)
{
	va_list ap;

	if (s->out.n > OUT_MAX / 2)
		flush(s);
	va_start(ap, fmt);
	buf_vprintf(&s->out, fmt, ap);
	va_end(ap);
	buf_adds(&s->out, "\r\n");
}

static void __attribute__((format(printf, 2, 3))) refuse(struct session *s, const char *fmt, ...)
{
	va_list ap;

	s->errors++;
	va_start(ap, fmt);
	buf_vprintf(&s->out, fmt, ap);
	va_end(ap);
	buf_adds(&s->out, "\r\n");
}

static void
refuse_status(struct session *s, const struct status *st)
{
	refuse(s, "%u %s %s", st->smtp, status_dsn(st).text, st->text);
}

/* More input, into the empty buffer. */
static bool
fill(struct session *s)
{
	ssize_t n;

	flush(s);
	if (s->eof)
		return false;
	do
		n = read(0, s->in, sizeof(s->in));
	while (n < 0 && errno == EINTR);
	s->at = 0;
	s->end = n > 0 ? (size_t)n : 0;
	s->eof = n <= 0;
	return n > 0;
}

/* A command line without its end, in s->line. */
static bool
read_line(struct session *s)
{
	buf_clear(&s->line);
	s->line_too_long = false;
	while (s->at < s->end || fill(s)) {
		struct str rest = {s->in + s->at, s->end - s->at};
		size_t n = str_index(rest, '\n');

		if (buf_add(&s->line, str_head(rest, n)) < 0)
			s->line_too_long = true;
		s->at += n < rest.n ? n + 1 : n;
		if (n < rest.n)
			return true;
	}
	return false;
}

static void
reset(struct session *s)
{
	arena_fini(&s->arena);
	s->has_mail = false;
	s->envelope = (struct envelope){0};
	s->rcpt = NULL;
	s->rcpt_count = s->rcpt_room = 0;
}

static void
cmd_ehlo(struct session *s, struct str args)
{
	const struct params *p = s->sm->params;

	if (args.n == 0) {
		refuse(s, "501 Syntax: EHLO hostname");
		return;
	}
	reset(s);
	reply(s, "250-%s", p->myhostname);
	reply(s, "250-PIPELINING");
	if (p->message_size_limit > 0)
		reply(s, "250-SIZE %lld", (long long)p->message_size_limit);
	else
		reply(s, "250-SIZE");
	reply(s, "250-ENHANCEDSTATUSCODES");
	reply(s, "250-8BITMIME");
	reply(s, "250 DSN");
}

static void
cmd_helo(struct session *s, struct str args)
{
	if (args.n == 0) {
		refuse(s, "501 Syntax: HELO hostname");
		return;
	}
	reset(s);
	reply(s, "250 %s", s->sm->params->myhostname);
}

static void
cmd_mail(struct session *s, struct str args)
{
	int64_t limit = s->sm->params->message_size_limit;
	struct address_path path;
	struct esmtp_mail mail;
	enum address_error error;
	enum esmtp_error bad;
	struct str word;

	if (s->has_mail) {
		refuse(s, "503 5.5.1 Error: nested MAIL command");
		return;
	}
	error = address_path(&s->arena, args, "FROM", ADDRESS_UTF8, &path);
	if (error == ADDRESS_NO_KEYWORD) {
		refuse(s, "501 5.5.4 Syntax: MAIL FROM:<address>");
		return;
	}
	if (error != ADDRESS_OK) {
		refuse(s, "501 5.1.7 Bad sender address syntax");
		return;
	}
	bad = esmtp_mail_params(&s->arena, path.rest, EXTENSIONS, &mail, &word);
	if (bad != ESMTP_OK) {
		struct status st = esmtp_error_status(&s->arena, bad, word);

		refuse_status(s, &st);
		return;
	}
	if (limit > 0 && mail.size > limit) {
		refuse(s, "552 5.3.4 Message size exceeds fixed limit");
		return;
	}
	s->has_mail = true;
	s->envelope = (struct envelope){
	    .sender = path.address,
	    .fullname = "",
	    .envid = mail.envid,
	    .ret = mail.ret,
	    .encoding = mail.encoding,
	    .origin.local = true,
	};
	reply(s, "250 2.1.0 Ok");
}

static void
add_rcpt(struct session *s, const struct esmtp_rcpt *r)
{
	if (s->rcpt_count == s->rcpt_room) {
		size_t room = s->rcpt_room ? s->rcpt_room * 2 : 8;
		struct esmtp_rcpt *bigger = arena_alloc(&s->arena, room * sizeof(*bigger));

		if (s->rcpt_count)
			memcpy(bigger, s->rcpt, s->rcpt_count * sizeof(*bigger));
		s->rcpt = bigger;
		s->rcpt_room = room;
	}
	s->rcpt[s->rcpt_count++] = *r;
}

static void
cmd_rcpt(struct session *s, struct str args)
{
	struct address_path path;
	struct esmtp_rcpt rcpt = {0};
	enum address_error error;
	enum esmtp_error bad;
	struct str word;

	if (!s->has_mail) {
		refuse(s, "503 5.5.1 Error: need MAIL command");
		return;
	}
	if (s->rcpt_count >= (size_t)s->sm->params->smtpd_recipient_limit) {
		refuse(s, "452 4.5.3 Error: too many recipients");
		return;
	}
	error = address_path(&s->arena, args, "TO", ADDRESS_UTF8, &path);
	if (error == ADDRESS_NO_KEYWORD) {
		refuse(s, "501 5.5.4 Syntax: RCPT TO:<address>");
		return;
	}
	if (error != ADDRESS_OK || path.address[0] == '\0') {
		refuse(s, "501 5.1.3 Bad recipient address syntax");
		return;
	}
	rcpt.address = path.address;
	bad = esmtp_rcpt_params(&s->arena, path.rest, EXTENSIONS, &rcpt, &word);
	if (bad != ESMTP_OK) {
		struct status st = esmtp_error_status(&s->arena, bad, word);

		refuse_status(s, &st);
		return;
	}
	add_rcpt(s, &rcpt);
	reply(s, "250 2.1.5 Ok");
}

/* The content, up to the final dot; false when the input ended before. */
static bool
read_content(struct session *s, struct sendmail_drop *d)
{
	struct dot_decoder dec;
	enum dot_result result = DOT_MORE;

	dot_decoder_init(&dec, (size_t)s->sm->params->line_length_limit, DOT_SMTP);
	while (result != DOT_END && (s->at < s->end || fill(s))) {
		struct str in = {s->in + s->at, s->end - s->at};
		struct dot_piece piece;

		while ((result = dot_decode(&dec, &in, &piece)) == DOT_PIECE)
			sendmail_drop_line(d, piece.bytes, piece.last);
		s->at = s->end - in.n;
	}
	dot_decoder_fini(&dec);
	return result == DOT_END;
}

static void
finish_message(struct session *s, struct sendmail_drop *d)
{
	bool too_big = d->too_big, full;
	int rc = sendmail_drop_end(d);

	full = d->rc == -ENOSPC || d->rc == -EDQUOT;
	if (rc == 0) {
		reply(s, "250 2.0.0 Ok: queued as %s", d->id);
	} else if (too_big) {
		refuse(s, "552 5.3.4 Error: message file too big");
	} else if (full) {
		refuse(s, "452 4.3.1 Error: insufficient system storage");
	} else {
		refuse(s, "451 4.3.0 Error: queue file write error");
	}
}

static void
cmd_data(struct session *s, struct str args)
{
	struct sendmail_drop d;

	if (args.n > 0) {
		refuse(s, "501 5.5.4 Syntax: DATA");
		return;
	}
	if (s->rcpt_count == 0) {
		refuse(s, "503 5.5.1 Error: need RCPT command");
		return;
	}
	sendmail_drop_open(&d, s->sm);
	sendmail_drop_envelope(&d, &s->envelope);
	for (size_t i = 0; i < s->rcpt_count; i++)
		sendmail_drop_rcpt(&d, s->rcpt[i].notify, s->rcpt[i].orcpt, s->rcpt[i].address);
	sendmail_drop_put(&d, REC_CONTENT, STR(""));
	reply(s, "354 End data with <CR><LF>.<CR><LF>");
	if (!read_content(s, &d)) {
		sendmail_drop_abort(&d);
		s->rc = EX_IOERR;
		return;
	}
	sendmail_drop_put(&d, REC_EXTRACTED, STR(""));
	finish_message(s, &d);
	reset(s);
}

static void
cmd_rset(struct session *s, struct str args)
{
	if (args.n > 0) {
		refuse(s, "501 5.5.4 Syntax: RSET");
		return;
	}
	reset(s);
	reply(s, "250 2.0.0 Ok");
}

static void
cmd_noop(struct session *s, struct str args)
{
	reply(s, "250 2.0.0 Ok");
}

static void
cmd_vrfy(struct session *s, struct str args)
{
	const char *address;

	if (address_parse(&s->arena, args, ADDRESS_UTF8, &address) != ADDRESS_OK)
		refuse(s, "501 5.1.3 Bad recipient address syntax");
	else
		reply(s, "252 2.0.0 %.*s", STR_FMT(args));
}

static void
cmd_quit(struct session *s, struct str args)
{
	s->quit = true;
	reply(s, "221 2.0.0 Bye");
}

static void
command(struct session *s)
{
	static const struct {
		const char *verb;
		void (*run)(struct session *s, struct str args);
	} commands[] = {
	    {"HELO", cmd_helo},
	    {"EHLO", cmd_ehlo},
	    {"MAIL", cmd_mail},
	    {"RCPT", cmd_rcpt},
	    {"DATA", cmd_data},
	    {"RSET", cmd_rset},
	    {"NOOP", cmd_noop},
	    {"VRFY", cmd_vrfy},
	    {"QUIT", cmd_quit},
	};
	struct str verb, args;

	if (s->line_too_long || !esmtp_command(str_trim(buf_str(&s->line)), &verb, &args)) {
		refuse(s, "500 5.5.2 Error: bad syntax");
		return;
	}
	for (unsigned i = 0; i < PP_COUNT(commands); i++) {
		if (str_caseeq(verb, str_of(commands[i].verb))) {
			commands[i].run(s, args);
			return;
		}
	}
	refuse(s, "500 5.5.2 Error: command not recognized");
}

int
sendmail_smtp(struct sendmail *sm)
{
	struct session *s = MEM_NEW(struct session);
	int rc;

	s->sm = sm;
	buf_init(&s->line, (size_t)sm->params->line_length_limit);
	buf_init(&s->out, OUT_MAX);
	reply(s, "220 %s ESMTP %s", sm->params->myhostname, sm->params->mail_name);
	while (!s->quit && s->rc == 0 && read_line(s)) {
		command(s);
		if (s->errors > ERRORS_MAX && !s->quit) {
			reply(s, "421 4.7.0 %s Error: too many errors", sm->params->myhostname);
			s->quit = true;
		}
	}
	flush(s);
	rc = s->rc;
	reset(s);
	buf_fini(&s->line);
	buf_fini(&s->out);
	mem_free(s);
	return rc;
}
