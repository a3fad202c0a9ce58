/*
 * sendmail_options.c - forty years of command line options.
 *
 * Programs call sendmail with options of Sendmail, Postfix and Exim, so all of them are known here
 * and most do nothing. None writes a file or runs anything, whatever a web form may smuggle in
 * (security: -X and -O QueueDirectory are how PHP mailers were broken). What is unknown is refused:
 * a mail sent with half of what was asked for is worse than an error the caller sees.
 */
#include <getopt.h>
#include "pp/runtime/log.h"
#include "sendmail.h"
#include "pp/mail/utf8.h"

/* Options may follow recipients, as with Postfix: only -- ends them. The colon leaves the messages
 * to us. */
#define OPTION_LETTERS ":A:B:C:F:GIL:N:O:R:UV:X:b:cd::e:f:h:imno:p:q::r:stvx::"

static int
usage(const char *text, const char *value)
{
	log_fatal("sendmail", "%s%s", text, value);
	return EX_USAGE;
}

static int
set_mode(struct sendmail_options *o, const char *arg)
{
	if (arg[0] == '\0' || arg[1] != '\0')
		return usage("unsupported: -b", arg);
	switch (arg[0]) {
	case 'm':
	case 'p':
	case 'i':
	case 's':
		o->mode = arg[0];
		return 0;
	case 'v':
		o->mode = 'm';
		o->trace_flags |= 512;
		return 0;
	case 'd':
	case 'D':
	case 'l':
		return usage(
		    "this is not how the mail system is started: use `pennypost start`", "");
	default:
		return usage("unsupported: -b", arg);
	}
}

static int
set_encoding(struct sendmail_options *o, const char *arg)
{
	if (str_caseeq(str_of(arg), STR("8BITMIME")))
		o->encoding = BODY_8BIT;
	else if (str_caseeq(str_of(arg), STR("7BIT")))
		o->encoding = BODY_7BIT;
	else
		return usage("-B option needs 8BITMIME or 7BIT", "");
	return 0;
}

/* RFC 3461 4.1. A bad value is ignored with warnings, as Postfix does it. */
static void
set_notify(struct sendmail_options *o, const char *arg)
{
	struct str rest = str_of(arg), word;
	unsigned notify = 0;

	while (str_token(&rest, ", ", &word)) {
		unsigned bit = str_caseeq(word, STR("never"))     ? NOTIFY_NEVER
			       : str_caseeq(word, STR("success")) ? NOTIFY_SUCCESS
			       : str_caseeq(word, STR("failure")) ? NOTIFY_FAILURE
			       : str_caseeq(word, STR("delay"))   ? NOTIFY_DELAY
								  : 0;

		if (bit == 0) {
			log_warn("sendmail", "unknown DSN NOTIFY command value \"%.*s\" in \"%s\"",
			    STR_FMT(word), arg);
			notify = 0;
			break;
		}
		notify |= bit;
	}
	if (notify == 0 || (notify & NOTIFY_NEVER && notify != NOTIFY_NEVER))
		log_warn("sendmail", "bad -N option value -- ignored");
	else
		o->notify = notify;
}

static void
set_ret(struct sendmail_options *o, const char *arg)
{
	if (str_caseeq(str_of(arg), STR("full")))
		o->ret = RET_FULL;
	else if (str_caseeq(str_of(arg), STR("hdrs")))
		o->ret = RET_HDRS;
	else
		log_warn("sendmail", "bad -R option value -- ignored");
}

static int
set_envid(struct sendmail_options *o, const char *arg)
{
	if (utf8_has_control(str_of(arg)) || strlen(arg) > 100)
		return usage("-V option needs at most 100 printable characters", "");
	o->envid = arg;
	return 0;
}

/* -XV, -XV+=: VERP. Other -X were Sendmail's log files. */
static int
set_verp(struct sendmail_options *o, const char *arg)
{
	size_t n = strlen(arg);

	if (arg[0] != 'V')
		return 0;
	if (n != 1 && n != 3)
		return usage("-XV option needs two delimiter characters: -X", arg);
	if (n == 3 && (strchr("-=+", arg[1]) == NULL || strchr("-=+", arg[2]) == NULL))
		return usage("-XV option needs two of the characters -=+: -X", arg);
	o->verp = arg + 1; /* "" = the default */
	return 0;
}

static int
set_queue(struct sendmail_options *o, const char *arg)
{
	if (arg == NULL || arg[0] == '\0') {
		o->mode = 'q';
	} else if (arg[0] == 'I') {
		o->mode = 'q';
		o->flush_id = arg + 1;
		return arg[1] != '\0' ? 0 : usage("specify: -qIqueueid", "");
	} else if (arg[0] == 'R') {
		o->mode = 'q';
		o->flush_site = arg + 1;
		return arg[1] != '\0' ? 0 : usage("specify: -qRsitename", "");
	} else if (str_isdigit(arg[0])) {
		/* An interval: the daemon has its own. Nothing is to be read. */
		if (o->mode == 'm')
			o->mode = 'n';
	} else {
		const char letter[2] = {arg[0], '\0'};

		return usage("unsupported: -q", letter);
	}
	return 0;
}

static int
set_option(struct sendmail_options *o, int letter, const char *arg)
{
	switch (letter) {
	case 'B':
		return set_encoding(o, arg);
	case 'C':
		o->config_dir = arg;
		return 0;
	case 'F':
		o->fullname = arg;
		return 0;
	case 'G':
		o->gateway = true;
		return 0;
	case 'I':
		o->mode = 'i';
		return 0;
	case 'N':
		set_notify(o, arg);
		return 0;
	case 'R':
		set_ret(o, arg);
		return 0;
	case 'V':
		return set_envid(o, arg);
	case 'X':
		return set_verp(o, arg);
	case 'b':
		return set_mode(o, arg);
	case 'f':
	case 'r':
		o->sender = arg;
		return 0;
	case 'i':
		o->ignore_dot = true;
		return 0;
	case 'o':
		if (str_eq(str_of(arg), STR("i")))
			o->ignore_dot = true;
		return 0;
	case 'q':
		return set_queue(o, arg);
	case 't':
		o->extract = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	default:
		return 0; /* A L O U c d e h m n p s x: of no meaning here */
	}
}

int
sendmail_options(int argc, char **argv, struct sendmail_options *o, int *ret_first)
{
	int letter, rc;

	opterr = 0;
	optind = 1;
	while ((letter = getopt(argc, argv, OPTION_LETTERS)) != -1) {
		char name[2] = {(char)optopt, '\0'};

		if (letter == '?')
			return usage(
			    "usage: sendmail [options] [recipient ...]: invalid option -", name);
		if (letter == ':')
			return usage(
			    "usage: sendmail [options] [recipient ...]: nothing follows -", name);
		rc = set_option(o, letter, optarg);
		if (rc != 0)
			return rc;
	}
	if (o->verbose && o->mode == 'm' && !(o->trace_flags & 512))
		o->trace_flags |= 1024;
	*ret_first = optind;
	return 0;
}
