/*
 * qshape.c - how old the queued mail is, by domain: the first look at a queue that grows.
 *
 * A running daemon knows every message and is asked for queues that may be long; otherwise, and
 * for anything else that is named, the files are read.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/runtime/loop.h"
#include "qshape.h"
#include "qshape_daemon.h"

enum {
	EXIT_USAGE = 255,
	BATCH_MESSAGES = 1000,
	BATCH_DOMAINS = 20,
	OUTPUT_MAX = 1 << 30,
	NUMBER_LIMIT = 1000 * 1000 * 1000,
};

static const char *const default_queues[] = {"incoming", "active"};

struct qshape {
	struct command command;
	struct qshape_options o;
	struct qshape_table table;
	int64_t batch, messages; /* print after so many, when it is a terminal; 0 = never */
	int64_t top;
};

static void
usage(void)
{
	fputs("Usage: qshape [ -s ] [ -p ] [ -m <min_subdomains> ] [ -l ]\n"
	      "\t[ -b <bucket_count> ] [ -t <bucket_time> ] [ -w <terminal_width> ]\n"
	      "\t[ -N <batch_msg_count> ] [ -n <batch_top_domains> ]\n"
	      "\t[ -c <config_directory> ] [ <queue_name> ... ]\n"
	      "\n"
	      "Counts the recipients of queued mail by domain and by age in minutes.\n"
	      "  -s  count senders instead\n"
	      "  -p  count for parent domains too, written with a dot in front\n"
	      "  -m  show a parent only when it has so many subdomains (5)\n"
	      "  -b  so many columns (10), each twice as long as the one before\n"
	      "  -l  all columns equally long\n"
	      "  -t  minutes of the first column (5)\n"
	      "  -w  columns of the screen, when more than 80\n"
	      "  -N  on a terminal, show what there is every so many messages (1000)\n"
	      "  -n  on a terminal, show so many rows (20)\n"
	      "Queues are names in the queue directory or absolute paths; without any,\n"
	      "incoming and active are meant.\n",
	    stderr);
}

/* The number a word begins with; 0 when it is none. */
static double
number(const char *word)
{
	double n = 0, unit = 0;

	if (*word == '-')
		return 0;
	for (word += *word == '+'; str_isdigit(*word) || (*word == '.' && unit == 0); word++) {
		if (*word == '.') {
			unit = 1;
			continue;
		}
		n = n * 10 + (*word - '0');
		unit *= 10;
		if (n > NUMBER_LIMIT)
			break;
	}
	return unit > 0 ? n / unit : n;
}

static unsigned
positive(const char *word, unsigned otherwise)
{
	double n = number(word);

	return n >= 1 ? (unsigned)n : otherwise;
}

static int
options(struct qshape *q, int argc, char **argv)
{
	int c;

	q->o = (struct qshape_options){.buckets = 10, .width = 80, .min_subdomains = 5, .tick = 5};
	q->batch = BATCH_MESSAGES;
	q->top = BATCH_DOMAINS;
	opterr = 0;
	while ((c = getopt(argc, argv, "+lhc:psw:b:t:m:n:N:")) != -1) {
		switch (c) {
		case 'l':
			q->o.is_linear = true;
			break;
		case 'p':
			q->o.with_parents = true;
			break;
		case 's':
			q->o.by_sender = true;
			break;
		case 'c':
			q->command.config_option = optarg;
			break;
		case 'w':
			q->o.width = positive(optarg, 0) > 80 ? positive(optarg, 0) : q->o.width;
			break;
		case 'b':
			q->o.buckets = positive(optarg, q->o.buckets);
			break;
		case 't':
			q->o.tick = number(optarg) > 0 ? number(optarg) : q->o.tick;
			break;
		case 'm':
			q->o.min_subdomains = positive(optarg, q->o.min_subdomains);
			break;
		case 'n':
			q->top = (int64_t)number(optarg);
			break;
		case 'N':
			q->batch = (int64_t)number(optarg);
			break;
		default:
			if (c == '?' && optopt != 0 && strchr("cwbtmnN", optopt))
				break; /* without its argument it is passed over */
			if (c == '?')
				fprintf(
				    stderr, "qshape: Unknown option: %c\n", optopt ? optopt : '-');
			return -EINVAL;
		}
	}
	return 0;
}

static void
show(struct qshape *q)
{
	static const char clear[] = "\033[H\033[2J\033[3J";
	struct buf out;

	buf_init(&out, OUTPUT_MAX);
	if (q->batch > 0)
		buf_adds(&out, clear);
	qshape_print(&q->table, &out);
	fwrite(buf_str(&out).p, 1, buf_str(&out).n, stdout);
	fflush(stdout);
	buf_fini(&out);
}

static void
counted(void *ctx, struct str messages)
{
	struct qshape *q = ctx;
	int64_t before = q->messages;

	q->messages += qshape_count_all(&q->table, messages);
	if (q->batch > 0 && q->messages / q->batch != before / q->batch)
		show(q);
}

/* Only for names in the queue directory is it needed, and it becomes the current one. */
static void
enter_spool(struct qshape *q, char *const *queues, size_t n)
{
	const char *directory;
	size_t i = 0;

	while (i < n && queues[i][0] == '/')
		i++;
	if (i == n)
		return;
	command_config(&q->command);
	directory = q->command.config->params->queue_directory;
	if (chdir(directory) < 0)
		command_fatal(&q->command, "chdir(%s): %s", directory, strerror(errno));
	command_spool(&q->command); /* and what a killed daemon left in its journal */
}

static void
count(struct qshape *q, char **queues, size_t n)
{
	/* What the daemon has told is taken off the list. */
	if (q->command.config != NULL)
		n = qshape_daemon(q->command.config->params->queue_directory, q->o.by_sender,
		    queues, n, counted, q);
	qshape_walk(queues, n, q->o.by_sender, counted, q);
}

int
qshape_main(int argc, char **argv)
{
	struct qshape q = {.command = {.name = "qshape", .fatal_code = 1}};
	char *queues[PP_COUNT(default_queues)], **words;
	size_t n;

	command_begin(&q.command, argv);
	if (options(&q, argc, argv) < 0) {
		usage();
		return EXIT_USAGE;
	}
	if (q.o.buckets > QSHAPE_BUCKETS_MAX)
		command_fatal(&q.command, "-b: at most %d", QSHAPE_BUCKETS_MAX);
	if (!isatty(STDOUT_FILENO))
		q.batch = q.top = 0;
	q.o.top = q.top > 0 ? (unsigned)q.top : 0;
	words = argv + optind;
	n = (size_t)(argc - optind);
	if (n == 0) {
		for (n = 0; n < PP_COUNT(queues); n++)
			queues[n] = (char *)(uintptr_t)default_queues[n];
		words = queues;
	}
	enter_spool(&q, words, n);
	qshape_table_init(&q.table, &q.o, loop_wall_us() / 1000000);
	count(&q, words, n);
	show(&q);
	qshape_table_fini(&q.table);
	return command_end(&q.command, 0);
}
