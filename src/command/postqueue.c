/*
 * postqueue.c - lists and flushes the queue, for every user.
 *
 * A listing comes from the running daemon by Postfix's own protocol, so this command also reads
 * a real Postfix, and Postfix's reads ours. Without a daemon the files are read, by those who may.
 * Messages are printed as they come; memory is that of one message.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/control/client.h"
#include "pp/map/matchlist.h"
#include "pp/mail/utf8.h"
#include "pp/runtime/crew.h"
#include "pp/runtime/log.h"
#include "pp/spool/listing.h"

#define USAGE                                                                                      \
	"usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s " \
	"site"
#define SHOWQ_SOCKET "public/showq"

enum {
	EXIT_UNAVAILABLE = 69,
	REASON_COLUMN = 76,
	SOCKET_CHUNK = 64 * 1024,
};

/* The two layouts of -p; which one depends on enable_long_queue_ids alone. */
static const struct layout {
	const char *header;
	int id_width, size_width, time_width;
} short_layout = {"-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------", 11, 7, 20},
  long_layout = {
      "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------", 17, 8, 19};

struct postqueue {
	struct command command;
	const struct layout *layout;
	int64_t count, bytes;
};

static void
put_clean(const char *text)
{
	char part[512];
	struct str rest = str_of(text);

	while (rest.n > 0) {
		size_t n = rest.n < sizeof(part) ? rest.n : sizeof(part);

		/* Not through the middle of a character. */
		while (
		    n < rest.n && n > sizeof(part) - 4 && ((unsigned char)rest.p[n] & 0xc0) == 0x80)
			n--;
		memcpy(part, rest.p, n);
		utf8_clean(part, n);
		fwrite(part, 1, n, stdout);
		rest = str_from(rest, n);
	}
}

static void
print_recipients(const struct postqueue *pq, const struct listing *l)
{
	const struct layout *lay = pq->layout;
	int indent = lay->id_width + lay->size_width + lay->time_width + 3;
	const char *last = "";

	for (size_t i = 0; i < l->rcpt_count; i++) {
		const char *reason = l->rcpt[i].reason;

		if (strcmp(reason, last) != 0) {
			const char *text = *reason ? reason : "reason unavailable";
			int pad =
			    REASON_COLUMN -
			    (int)(strlen(text) < REASON_COLUMN ? strlen(text) : REASON_COLUMN);

			printf("%*s(", pad, "");
			put_clean(text);
			printf(")\n");
		}
		last = reason;
		printf("%*s", indent, "");
		put_clean(l->rcpt[i].address);
		putchar('\n');
	}
}

static int
print_entry(void *ctx, const struct listing *l)
{
	struct postqueue *pq = ctx;
	const struct layout *lay = pq->layout;
	char id[SPOOL_ID_MAX + 2], when[32];
	time_t t = (time_t)l->arrival;

	if (pq->count++ == 0)
		printf("%s\n", lay->header);
	else
		putchar('\n');
	pq->bytes += l->size;
	snprintf(id, sizeof(id), "%s%s%s", l->id,
	    l->queue == QUEUE_ACTIVE ? "*"
	    : l->queue == QUEUE_HOLD ? "!"
				     : "",
	    l->forced_expire ? "#" : "");
	if (ctime_r(&t, when) == NULL)
		snprintf(when, sizeof(when), "?");
	printf("%-*s %*lld %-*.*s ", lay->id_width, id, lay->size_width, (long long)l->size,
	    lay->time_width, lay->time_width, when);
	put_clean(l->sender);
	putchar('\n');
	print_recipients(pq, l);
	return ferror(stdout) ? -EPIPE : 0;
}

static void
print_end(const struct postqueue *pq)
{
	if (pq->count == 0)
		printf("Mail queue is empty\n");
	else
		printf("\n-- %llu Kbytes in %llu Request%s.\n",
		    (unsigned long long)pq->bytes / 1024, (unsigned long long)pq->count,
		    pq->count == 1 ? "" : "s");
}

/* The letter behind the backslash, or 0. */
static char
json_escape(char c)
{
	switch (c) {
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	case '"':
	case '\\':
		return c;
	default:
		return '\0';
	}
}

static void
json_string(const char *text)
{
	putchar('"');
	for (struct str s = str_of(text); s.n > 0;) {
		unsigned char c = (unsigned char)s.p[0];
		size_t n = utf8_sequence(s);

		if (json_escape(s.p[0]))
			printf("\\%c", json_escape(s.p[0]));
		else if (c < ' ')
			printf("\\u%04X", c);
		else if (n == 0 || c == 0x7f)
			putchar('?');
		else
			fwrite(s.p, 1, n, stdout);
		s = str_from(s, n ? n : 1);
	}
	putchar('"');
}

static int
json_entry(void *ctx, const struct listing *l)
{
	printf("{\"queue_name\": \"%s\", \"queue_id\": ", spool_queue_name(l->queue));
	json_string(l->id);
	printf(
	    ", \"arrival_time\": %lld, \"message_size\": %lld, \"forced_expire\": %s, \"sender\": ",
	    (long long)l->arrival, (long long)l->size, l->forced_expire ? "true" : "false");
	json_string(l->sender);
	printf(", \"recipients\": [");
	for (size_t i = 0; i < l->rcpt_count; i++) {
		printf("%s{\"address\": ", i ? ", " : "");
		json_string(l->rcpt[i].address);
		if (*l->rcpt[i].reason) {
			printf(", \"delay_reason\": ");
			json_string(l->rcpt[i].reason);
		}
		putchar('}');
	}
	printf("]}\n");
	return ferror(stdout) ? -EPIPE : 0;
}

/* The connected socket, or -errno. */
static int
showq_connect(const struct spool *s)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;

	if (fd < 0)
		return -errno;
	/* By descriptor: the path may be longer than an address. */
	snprintf(
	    sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" SHOWQ_SOCKET, spool_dirfd(s));
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == EINTR)
			continue;
		rc = -errno;
		fsio_close(fd);
		return rc;
	}
	return fd;
}

static int
showq_receive(int fd, struct listing_decoder *d)
{
	char chunk[SOCKET_CHUNK];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = recv(fd, chunk, sizeof(chunk), 0)) != 0) {
		if (n > 0)
			rc = listing_decode(d, (struct str){chunk, (size_t)n});
		else if (errno != EINTR)
			rc = -errno;
	}
	if (rc == 0 && !listing_decoder_complete(d))
		rc = -EBADMSG;
	return rc;
}

/* Whether this user may read the files themselves. */
static bool
may_read_files(const struct spool *s)
{
	struct stat st;

	return geteuid() == 0 ||
	       (fsio_stat(spool_dirfd(s), spool_queue_name(QUEUE_INCOMING), &st) == 0 &&
		   st.st_uid == geteuid());
}

static void
list_files(struct postqueue *pq, listing_each *each, int why)
{
	const struct spool *s = pq->command.spool;
	pid_t holder;
	int rc;

	if (!may_read_files(s))
		command_fatal(&pq->command,
		    "Queue report unavailable - mail system is down "
		    "(Connect to the Postfix showq service: %s)",
		    strerror(-why));
	if (spool_lock_test(s, &holder) != 1)
		log_warn(pq->command.name,
		    "Mail system is down -- accessing queue directly "
		    "(Connect to the Postfix showq service: %s)",
		    strerror(-why));
	rc = listing_walk_blk(s, crew_threads(), each, pq);
	if (rc < 0 && rc != -EPIPE)
		command_fatal(&pq->command, "read queue directory: %s", strerror(-rc));
}

static void
list(struct postqueue *pq, listing_each *each)
{
	struct listing_decoder *d;
	int fd, rc;

	command_spool(&pq->command);
	fd = showq_connect(pq->command.spool);
	if (fd < 0) {
		list_files(pq, each, fd);
		return;
	}
	d = listing_decoder_new(each, pq);
	rc = showq_receive(fd, d);
	listing_decoder_free(d);
	fsio_close(fd);
	if (rc < 0 && rc != -EPIPE)
		command_fatal(&pq->command, "malformed showq server response");
}

static int
ignore_line(void *ctx, struct str line)
{
	return 0;
}

/* One order for the daemon; ends the process when it cannot be given. */
static void
order(struct postqueue *pq, const char *what, const char *argument)
{
	char line[1024];
	struct buf err;
	int rc;

	buf_init(&err, 1024);
	snprintf(line, sizeof(line), "%s%s%s", what, argument ? " " : "", argument ? argument : "");
	rc = control_call(
	    pq->command.config->params->queue_directory, line, ignore_line, NULL, &err);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		command_fatal(&pq->command, "Cannot flush mail queue - mail system is down");
	if (rc < 0)
		command_fatal(&pq->command, "Cannot flush mail queue - %s",
		    err.n ? buf_cstr(&err) : strerror(-rc));
	buf_fini(&err);
}

static bool
site_is_valid(struct str site)
{
	bool was_dot = true;

	if (site.n > 2 && site.p[0] == '[' && site.p[site.n - 1] == ']')
		return true;
	for (size_t i = 0; i < site.n; i++) {
		char c = site.p[i];

		if (c == '.' ? was_dot : !str_isalnum(c) && c != '-' && c != '_' && (c & 0x80) == 0)
			return false;
		was_dot = c == '.';
	}
	return site.n > 0 && !was_dot && site.n <= 255;
}

static void
flush_site(struct postqueue *pq, const char *site)
{
	const struct params *p = pq->command.config->params;
	struct domainlist *domains;
	struct buf err;
	int rc;

	if (!site_is_valid(str_of(site)))
		command_fatal(
		    &pq->command, "Cannot flush mail queue - invalid destination: \"%s\"", site);
	buf_init(&err, 1024);
	rc = domainlist_new_blk(p->fast_flush_domains,
	    domainlist_flags(p->parent_domain_matches_subdomains, "fast_flush_domains"), &domains,
	    &err);
	if (rc < 0)
		command_fatal(&pq->command, "fast_flush_domains: %s", buf_cstr(&err));
	rc = domainlist_match_blk(domains, str_of(site));
	domainlist_unref(domains);
	buf_fini(&err);
	if (rc <= 0)
		command_fatal(
		    &pq->command, "Flush service is not configured for destination \"%s\"", site);
	order(pq, "flush-site", site);
}

static void
flush_id(struct postqueue *pq, const char *id)
{
	if (!spool_id_valid(str_of(id)))
		command_fatal(&pq->command, "Cannot flush queue ID - invalid name: \"%s\"", id);
	order(pq, "flush-id", id);
}

static int
options(struct postqueue *pq, int argc, char **argv, const char **ret_argument)
{
	int c, mode = 0;

	while ((c = getopt(argc, argv, "c:fi:jps:v")) != -1) {
		if (c == 'v')
			continue;
		if (c == 'c') {
			pq->command.config_option = optarg;
			continue;
		}
		if (c == '?' || mode != 0)
			command_fatal(&pq->command, "%s", USAGE);
		mode = c;
		*ret_argument = optarg;
	}
	if (mode == 0 || optind < argc)
		command_fatal(&pq->command, "%s", USAGE);
	return mode;
}

int
postqueue_main(int argc, char **argv)
{
	struct postqueue pq = {.command = {.name = "postqueue", .fatal_code = EXIT_UNAVAILABLE}};
	const char *argument = NULL;
	int mode;

	command_begin(&pq.command, argv);
	mode = options(&pq, argc, argv, &argument);
	command_config(&pq.command);
	pq.layout = pq.command.config->params->enable_long_queue_ids ? &long_layout : &short_layout;
	switch (mode) {
	case 'p':
		list(&pq, print_entry);
		print_end(&pq);
		break;
	case 'j':
		list(&pq, json_entry);
		break;
	case 'i':
		flush_id(&pq, argument);
		break;
	case 's':
		flush_site(&pq, argument);
		break;
	default:
		order(&pq, "flush", NULL);
		break;
	}
	return command_end(&pq.command, 0);
}
