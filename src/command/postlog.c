/*
 * postlog.c - a line for the mail log from scripts, as the daemon would write it.
 *
 * A file of maillog_file is appended to, syslog is told; what this user may not write, and the
 * daemon's standard output, goes through the daemon.
 */
#include <errno.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/control/client.h"
#include "pp/runtime/log.h"

#define USAGE "usage: postlog [-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]"

enum { TEXT_MAX = 2048 };

struct postlog {
	struct command command;
	enum log_level level;
	const char *tag; /* -t, or NULL */
	char name[LOG_TAG_MAX + 1];
	bool by_daemon;
	int reason; /* -errno of writing it ourselves */
};

static enum log_level
level_of(struct postlog *pl, const char *word)
{
	static const struct {
		const char *word;
		enum log_level level;
	} words[] = {
	    {"info", LOG_LEVEL_INFO},
	    {"warn", LOG_LEVEL_WARN},
	    {"warning", LOG_LEVEL_WARN},
	    {"error", LOG_LEVEL_ERROR},
	    {"fatal", LOG_LEVEL_FATAL},
	    {"panic", LOG_LEVEL_PANIC},
	};

	for (size_t i = 0; i < PP_COUNT(words); i++)
		if (str_caseeq(str_of(words[i].word), str_of(word)))
			return words[i].level;
	command_fatal(&pl->command, "bad severity: \"%s\"", word);
}

static void
options(struct postlog *pl, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+c:ip:t:v")) != -1) {
		switch (c) {
		case 'c':
			pl->command.config_option = optarg;
			break;
		case 'p':
			pl->level = level_of(pl, optarg);
			break;
		case 't':
			pl->tag = optarg;
			break;
		case '?':
			command_fatal(&pl->command, "%s", USAGE);
		default: /* -i: our process is always named; -v */
			break;
		}
	}
}

/* Decides who writes. */
static void
open_log(struct postlog *pl)
{
	const struct params *p = pl->command.config->params;
	struct str host = str_head(str_of(p->myhostname), str_index(str_of(p->myhostname), '.'));
	char label[256];
	struct log_options o = {.syslog_name = p->syslog_name,
	    .host = label,
	    .facility = log_facility(p->syslog_facility),
	    .to_stderr = isatty(STDERR_FILENO),
	    .owner = -1};

	snprintf(label, sizeof(label), "%.*s", STR_FMT(host));
	snprintf(pl->name, sizeof(pl->name), "%s", pl->tag ? pl->tag : "");
	if (pl->tag == NULL)
		snprintf(pl->name, sizeof(pl->name), "%s/postlog", p->syslog_name);
	if (*p->maillog_file == '\0')
		pl->by_daemon = access("/dev/log", W_OK) < 0;
	else if (strcmp(p->maillog_file, "-") == 0 || strcmp(p->maillog_file, "/dev/stdout") == 0)
		pl->by_daemon = true;
	else
		o.file = p->maillog_file;
	if (pl->by_daemon)
		o.file = "/dev/stdout"; /* when there is none */
	pl->reason = log_setup(&o);
	pl->by_daemon |= pl->reason < 0;
}

static bool
send(const struct postlog *pl, const char *text)
{
	char line[TEXT_MAX + LOG_TAG_MAX + 64];
	struct buf err;
	int rc;

	buf_init(&err, 1024);
	snprintf(line, sizeof(line), "log %d %ld %s\t%.*s", pl->level, (long)getpid(), pl->name,
	    TEXT_MAX, text);
	for (char *p = line; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = '?';
	rc = control_call(pl->command.config->params->queue_directory, line, NULL, NULL, &err);
	buf_fini(&err);
	return rc == 0;
}

static void
write_line(struct postlog *pl, const char *text)
{
	if (pl->by_daemon && send(pl, text))
		return;
	if (pl->reason < 0)
		command_fatal(&pl->command, "open %s: %s", pl->command.config->params->maillog_file,
		    strerror(-pl->reason));
	log_for(pl->level, pl->name, 0, text);
}

static void
write_words(struct postlog *pl, char **words)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	for (size_t i = 0; words[i] && !buf_overflowed(&text); i++) {
		struct str word = str_of(words[i]);

		if (i > 0)
			buf_addc(&text, ' ');
		buf_add(&text, str_head(word, TEXT_MAX - buf_str(&text).n));
	}
	write_line(pl, buf_cstr(&text));
	buf_fini(&text);
}

/* A long line is cut: what is beyond the limit is passed over. */
static void
write_input(struct postlog *pl)
{
	char text[TEXT_MAX];
	size_t n = 0;
	int c;

	while ((c = getc(stdin)) != EOF) {
		if (c != '\n') {
			if (n < sizeof(text) - 1)
				text[n++] = (char)(c ? c : '?');
			continue;
		}
		text[n] = '\0';
		write_line(pl, text);
		n = 0;
	}
	text[n] = '\0';
	if (n > 0)
		write_line(pl, text);
}

int
postlog_main(int argc, char **argv)
{
	struct postlog pl = {.command = {.name = "postlog", .fatal_code = 1}};

	command_begin(&pl.command, argv);
	options(&pl, argc, argv);
	command_config(&pl.command);
	open_log(&pl);
	if (argv[optind])
		write_words(&pl, argv + optind);
	else
		write_input(&pl);
	return command_end(&pl.command, 0);
}
