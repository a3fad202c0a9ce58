/*
 * postqueue.c - lists and flushes the queue, for every user.
 *
 * A listing comes from our running daemon, which has it in memory and knows more than Postfix's
 * protocol can say; else by that protocol, so that this command lists a running Postfix as well;
 * and while nobody answers from the files, for those who may read them. Messages are printed as
 * they come; memory is that of one message.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "common.h"
#include "postqueue.h"
#include "pp/command/command.h"
#include "pp/control/client.h"
#include "pp/mail/esmtp.h"
#include "pp/map/matchlist.h"
#include "pp/runtime/crew.h"
#include "pp/runtime/log.h"
#include "rights.h"

#define USAGE                                                                                      \
	"usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s " \
	"site"
#define SHOWQ_SOCKET "public/showq"
/* Where Postfix's command would have asked for what concerns one message or one site. */
#define FLUSH_SOCKET "public/flush"

enum {
	EXIT_UNAVAILABLE = 69,
	SHOWN_MAX = 100, /* of a name that is refused */
	ID_MAX = 255,    /* of what may be asked for; ours are shorter */
	SOCKET_CHUNK = 64 * 1024,
	STOP = 1, /* nothing more can be printed */
};

struct postqueue {
	struct command command;
	bool is_verbose;
	struct printer printer;
	struct listing_decoder *decoder;
};

static void
check_right(struct postqueue *pq, const char *parameter, const char *list, const char *what)
{
	struct buf why;

	buf_init(&why, 2048);
	if (rights_check(pq->command.config->params, parameter, list, what, &why) != 1)
		command_fatal(&pq->command, "%s", buf_cstr(&why));
	buf_fini(&why);
}

static void
may_list(struct postqueue *pq)
{
	check_right(pq, "authorized_mailq_users",
	    pq->command.config->params->authorized_mailq_users, "view the mail queue");
}

static void
may_flush(struct postqueue *pq)
{
	check_right(pq, "authorized_flush_users",
	    pq->command.config->params->authorized_flush_users, "flush the mail queue");
}

static void
tell_connect(const struct postqueue *pq, const char *socket_name)
{
	if (pq->is_verbose)
		log_info(pq->command.name, "connect to subsystem %s", socket_name);
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
	int rc;

	if (!may_read_files(s))
		command_fatal(&pq->command,
		    "Queue report unavailable - mail system is down "
		    "(Connect to the Postfix showq service: %s)",
		    strerror(-why));
	log_warn(pq->command.name,
	    "Mail system is down -- accessing queue directly "
	    "(Connect to the Postfix showq service: %s)",
	    strerror(-why));
	rc = listing_walk_blk(s, crew_threads(), each, &pq->printer);
	if (rc < 0)
		command_fatal(&pq->command, "read queue directory: %s", strerror(-rc));
}

static int
take_bytes(void *ctx, struct str bytes)
{
	struct postqueue *pq = ctx;

	return listing_decode(pq->decoder, bytes);
}

/* From our daemon. 1 = it does not run, or is no daemon that knows this order. */
static int
list_ours(struct postqueue *pq)
{
	struct buf err;
	int rc;

	buf_init(&err, 1024);
	tell_connect(pq, CONTROL_SOCKET);
	rc = control_stream(
	    pq->command.config->params->queue_directory, "list", take_bytes, pq, &err);
	if (rc == -EREMOTEIO && !str_starts(buf_str(&err), STR("unknown command")))
		command_fatal(&pq->command, "%s", buf_cstr(&err));
	buf_fini(&err);
	return rc == -ENOENT || rc == -ECONNREFUSED || rc == -EACCES || rc == -ENOTDIR ||
		       rc == -EREMOTEIO
		   ? 1
		   : rc;
}

static void
list(struct postqueue *pq, listing_each *each)
{
	int fd, rc;

	command_spool(&pq->command);
	pq->decoder = listing_decoder_new(each, &pq->printer);
	rc = list_ours(pq);
	if (rc == 1 && pq->printer.out.error == 0) {
		tell_connect(pq, SHOWQ_SOCKET);
		fd = showq_connect(pq->command.spool);
		if (fd < 0) {
			listing_decoder_free(pq->decoder);
			list_files(pq, each, fd);
			return;
		}
		rc = showq_receive(fd, pq->decoder);
		fsio_close(fd);
	}
	if (rc == 0 && !listing_decoder_complete(pq->decoder))
		rc = -EBADMSG;
	listing_decoder_free(pq->decoder);
	if (rc < 0) {
		output_end(&pq->printer.out);
		command_fatal(&pq->command, "malformed showq server response");
	}
}

static void
print_list(struct postqueue *pq, bool json)
{
	struct printer *p = &pq->printer;
	int rc;

	may_list(pq);
	signal(SIGPIPE, SIG_IGN); /* a reader that has seen enough is no trouble */
	output_init(&p->out, STDOUT_FILENO);
	local_clock_init(&p->clock);
	p->long_ids = pq->command.config->params->enable_long_queue_ids;
	list(pq, json ? postqueue_print_json : postqueue_print_entry);
	if (!json)
		postqueue_print_end(p);
	rc = output_end(&p->out);
	output_fini(&p->out);
	if (rc < 0)
		command_fatal(&pq->command, "output write error: %s", strerror(-rc));
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
	tell_connect(pq, CONTROL_SOCKET);
	rc = control_call(
	    pq->command.config->params->queue_directory, line, ignore_line, NULL, &err);
	if (rc == -EREMOTEIO && str_starts(buf_str(&err), STR("User ")))
		command_fatal(&pq->command, "%s", buf_cstr(&err));
	if (rc < 0 && rc != -EREMOTEIO && argument)
		log_warn(pq->command.name, "connect to " FLUSH_SOCKET ": %s", strerror(-rc));
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		command_fatal(&pq->command, "Cannot flush mail queue - mail system is down");
	if (rc < 0)
		command_fatal(&pq->command, "Cannot flush mail queue - %s",
		    err.n ? buf_cstr(&err) : strerror(-rc));
	buf_fini(&err);
}

/* What a message says of a name that nobody would want to read to its end. */
static const char *
shown(const char *name, char to[SHOWN_MAX + 4])
{
	bool is_long = strlen(name) > SHOWN_MAX;

	snprintf(to, SHOWN_MAX + 4, "%.*s%s", SHOWN_MAX, name, is_long ? "..." : "");
	return to;
}

/* Four numbers up to 255, also with zeros in front. */
static bool
is_ipv4(struct str s)
{
	unsigned parts = 0;
	int64_t n;

	for (; parts < 4 && s.n > 0; parts++) {
		size_t dot = str_index(s, '.');

		if (str_number(str_head(s, dot), 0, 255, &n) < 0 || dot > 3)
			return false;
		if (dot < s.n && parts == 3)
			return false;
		s = str_from(s, dot + (parts < 3));
	}
	return parts == 4 && s.n == 0;
}

/* RFC 5321 4.1.3 */
static bool
is_literal(struct str s)
{
	struct in6_addr address;
	char text[64];

	if (s.n < 3 || s.n > sizeof(text) || s.p[s.n - 1] != ']')
		return false;
	s = str_from(str_head(s, s.n - 1), 1);
	if (!str_casestarts(s, STR("IPv6:")))
		return is_ipv4(s);
	snprintf(text, sizeof(text), "%.*s", STR_FMT(str_from(s, 5)));
	return inet_pton(AF_INET6, text, &address) == 1;
}

static bool
site_is_valid(struct str site)
{
	if (site.n > 0 && site.p[0] == '[')
		return is_literal(site);
	return site.n > 0 && site.p[site.n - 1] != '.' && esmtp_helo_valid(site);
}

static void
flush_site(struct postqueue *pq, const char *site)
{
	const struct params *p = pq->command.config->params;
	struct domainlist *domains;
	char text[SHOWN_MAX + 4];
	struct buf err;
	int rc;

	if (!site_is_valid(str_of(site)))
		command_fatal(&pq->command, "Cannot flush mail queue - invalid destination: \"%s\"",
		    shown(site, text));
	may_flush(pq);
	buf_init(&err, 1024);
	rc = domainlist_new_blk(p->fast_flush_domains,
	    domainlist_flags(p->parent_domain_matches_subdomains, "fast_flush_domains"), &domains,
	    &err);
	if (rc < 0)
		command_fatal(&pq->command, "fast_flush_domains: %s", buf_cstr(&err));
	rc = domainlist_match_blk(domains, str_of(site), NULL);
	domainlist_unref(domains);
	buf_fini(&err);
	if (rc < 0)
		command_fatal(&pq->command, "fast_flush_domains: %s", strerror(-rc));
	if (rc == 0)
		command_fatal(
		    &pq->command, "Flush service is not configured for destination \"%s\"", site);
	order(pq, "flush-site", site);
}

static bool
id_is_valid(struct str id)
{
	for (size_t i = 0; i < id.n; i++)
		if (!str_isalnum(id.p[i]) && id.p[i] != '_')
			return false;
	return id.n > 0 && id.n <= ID_MAX;
}

static void
flush_id(struct postqueue *pq, const char *id)
{
	char text[SHOWN_MAX + 4];

	if (!id_is_valid(str_of(id)))
		command_fatal(
		    &pq->command, "Cannot flush queue ID - invalid name: \"%s\"", shown(id, text));
	may_flush(pq);
	/* Nothing can be queued under a name that is longer than ours, but the daemon has to be
	 * there to say so. */
	if (spool_id_valid(str_of(id)))
		order(pq, "flush-id", id);
	else
		order(pq, "flush-id", "0");
}

static int
options(struct postqueue *pq, int argc, char **argv, const char **ret_argument)
{
	int c, mode = 0;

	while ((c = getopt(argc, argv, "c:fi:jps:v")) != -1) {
		if (c == 'v') {
			pq->is_verbose = getuid() == 0;
			continue;
		}
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
	switch (mode) {
	case 'p':
	case 'j':
		print_list(&pq, mode == 'j');
		break;
	case 'i':
		flush_id(&pq, argument);
		break;
	case 's':
		flush_site(&pq, argument);
		break;
	default:
		may_flush(&pq);
		order(&pq, "flush", NULL);
		break;
	}
	return command_end(&pq.command, 0);
}
