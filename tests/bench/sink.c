/*
 * sink.c - an SMTP server that keeps nothing and counts everything, for the bench.
 *
 * A thread for each connection, input read in large pieces, all replies to what was read in one
 * write: it must never be what a measurement waits for. With a certificate it offers STARTTLS, and
 * then AUTH, and takes no mail before both; sessions are resumed as OpenSSL does by itself.
 *   sink ADDRESS PORT [CERTIFICATE KEY]
 * says "port N", and then answers lines of its standard input until that ends:
 *   mails N, recipients N   when there are so many: "SECONDS MAILS RECIPIENTS CONNECTIONS BYTES"
 *   watch                   from now on a line "SECONDS" for each mail
 * SECONDS are those of CLOCK_MONOTONIC, taken when the final dot was read.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

struct peer {
	int fd;
	SSL *ssl;
	int authenticated;
	size_t at, end, out;
	char in[65536];
	char reply[8192];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static unsigned long mails, recipients, connections, bytes;
static double latest;
static atomic_int watched;
static SSL_CTX *tls;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int
flush(struct peer *peer)
{
	size_t done = 0;

	while (done < peer->out) {
		const char *text = peer->reply + done;
		size_t left = peer->out - done;
		ssize_t sent =
		    peer->ssl ? SSL_write(peer->ssl, text, (int)left) : write(peer->fd, text, left);

		if (sent <= 0)
			return -1;
		done += (size_t)sent;
	}
	peer->out = 0;
	return 0;
}

static int
say(struct peer *peer, const char *text)
{
	size_t length = strlen(text);

	if (peer->out + length > sizeof(peer->reply) && flush(peer))
		return -1;
	memcpy(peer->reply + peer->out, text, length);
	peer->out += length;
	return 0;
}

/* More input; what was answered goes out before anybody waits. */
static int
fill(struct peer *peer)
{
	ssize_t got;

	if (flush(peer))
		return -1;
	if (peer->at) {
		memmove(peer->in, peer->in + peer->at, peer->end - peer->at);
		peer->end -= peer->at;
		peer->at = 0;
	}
	if (peer->end == sizeof(peer->in))
		return -1;
	if (peer->ssl)
		got =
		    SSL_read(peer->ssl, peer->in + peer->end, (int)(sizeof(peer->in) - peer->end));
	else
		got = read(peer->fd, peer->in + peer->end, sizeof(peer->in) - peer->end);
	if (got <= 0)
		return -1;
	peer->end += (size_t)got;
	return 0;
}

/* A line in place, terminated; its length with the line end, or 0 at the end of all. */
static size_t
next_line(struct peer *peer, char **ret_line)
{
	size_t seen = 0;
	char *newline;

	while (!(newline = memchr(peer->in + peer->at + seen, '\n', peer->end - peer->at - seen))) {
		seen = peer->end - peer->at;
		if (fill(peer))
			return 0;
	}
	*ret_line = peer->in + peer->at;
	*newline = '\0';
	if (newline > *ret_line && newline[-1] == '\r')
		newline[-1] = '\0';
	peer->at += (size_t)(newline + 1 - *ret_line);
	return (size_t)(newline + 1 - *ret_line);
}

static int
take_mail(struct peer *peer, unsigned long its_recipients)
{
	unsigned long size = 0;
	char *line;
	size_t length;
	double when;

	if (say(peer, "354 go on\r\n"))
		return -1;
	do {
		length = next_line(peer, &line);
		if (!length)
			return -1;
		size += length;
	} while (strcmp(line, ".") != 0);
	when = now();
	pthread_mutex_lock(&lock);
	mails++;
	recipients += its_recipients;
	bytes += size;
	latest = when;
	pthread_cond_signal(&arrived);
	if (watched) {
		printf("%.9f\n", when);
		fflush(stdout);
	}
	pthread_mutex_unlock(&lock);
	return say(peer, "250 2.0.0 Ok\r\n");
}

static int
authenticate(struct peer *peer, const char *argument)
{
	char *line;

	if (strncasecmp(argument, "LOGIN", 5) == 0) {
		if (!argument[5] && (say(peer, "334 VXNlcm5hbWU6\r\n") || !next_line(peer, &line)))
			return -1;
		if (say(peer, "334 UGFzc3dvcmQ6\r\n") || !next_line(peer, &line))
			return -1;
	} else if (!strchr(argument, ' ') && (say(peer, "334 \r\n") || !next_line(peer, &line))) {
		return -1;
	}
	peer->authenticated = 1;
	return say(peer, "235 2.7.0 Ok\r\n");
}

static int
start_tls(struct peer *peer)
{
	if (say(peer, "220 2.0.0 go on\r\n") || flush(peer))
		return -1;
	peer->at = peer->end = 0;
	peer->ssl = SSL_new(tls);
	return peer->ssl && SSL_set_fd(peer->ssl, peer->fd) == 1 && SSL_accept(peer->ssl) == 1 ? 0
											       : -1;
}

static const char *
greeting(const struct peer *peer)
{
	if (!tls)
		return "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n";
	if (!peer->ssl)
		return "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250 STARTTLS\r\n";
	return "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250 AUTH PLAIN LOGIN\r\n";
}

static void
talk(struct peer *peer)
{
	unsigned long its_recipients = 0;
	char *line;
	int bad = say(peer, "220 sink ESMTP\r\n");

	while (!bad && next_line(peer, &line)) {
		if (strncasecmp(line, "MAIL", 4) == 0) {
			its_recipients = 0;
			bad = say(peer, tls && !peer->authenticated ? "530 5.7.0 AUTH first\r\n"
								    : "250 2.1.0 Ok\r\n");
		} else if (strncasecmp(line, "RCPT", 4) == 0) {
			its_recipients++;
			bad = say(peer, "250 2.1.5 Ok\r\n");
		} else if (strcasecmp(line, "DATA") == 0) {
			bad = take_mail(peer, its_recipients);
		} else if (strncasecmp(line, "EHLO", 4) == 0) {
			bad = say(peer, greeting(peer));
		} else if (strcasecmp(line, "STARTTLS") == 0 && tls && !peer->ssl) {
			bad = start_tls(peer);
		} else if (strncasecmp(line, "AUTH ", 5) == 0 && peer->ssl) {
			bad = authenticate(peer, line + 5);
		} else if (strcasecmp(line, "QUIT") == 0) {
			if (!say(peer, "221 2.0.0 bye\r\n"))
				flush(peer);
			return;
		} else {
			bad = say(peer, "250 2.0.0 Ok\r\n");
		}
	}
}

static void *
serve(void *argument)
{
	struct peer *peer = argument;
	int one = 1;

	setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	talk(peer);
	if (peer->ssl) {
		SSL_shutdown(peer->ssl);
		SSL_free(peer->ssl);
	}
	close(peer->fd);
	free(peer);
	return NULL;
}

static void *
accept_all(void *argument)
{
	int listening = *(int *)argument;
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 256 * 1024);
	for (;;) {
		struct peer *peer = malloc(sizeof(*peer));

		if (!peer)
			abort();
		peer->ssl = NULL;
		peer->authenticated = 0;
		peer->at = peer->end = peer->out = 0;
		peer->fd = accept(listening, NULL, NULL);
		pthread_mutex_lock(&lock);
		connections++;
		pthread_mutex_unlock(&lock);
		if (peer->fd < 0 || pthread_create(&thread, &attributes, serve, peer) != 0) {
			perror("sink");
			abort();
		}
	}
	return NULL;
}

static void
answer(const char *line)
{
	unsigned long count = 0;
	char what[16] = "";

	if (sscanf(line, "%15s %lu", what, &count) < 1)
		return;
	if (strcmp(what, "watch") == 0) {
		watched = 1;
		return;
	}
	pthread_mutex_lock(&lock);
	while ((strcmp(what, "mails") == 0 ? mails : recipients) < count)
		pthread_cond_wait(&arrived, &lock);
	printf("%.9f %lu %lu %lu %lu\n", latest, mails, recipients, connections, bytes);
	fflush(stdout);
	pthread_mutex_unlock(&lock);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int one = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t acceptor;
	char line[100];

	signal(SIGPIPE, SIG_IGN);
	if (argc != 3 && argc != 5)
		return 2;
	if (argc == 5) {
		tls = SSL_CTX_new(TLS_server_method());
		if (!tls || SSL_CTX_use_certificate_chain_file(tls, argv[3]) != 1 ||
		    SSL_CTX_use_PrivateKey_file(tls, argv[4], SSL_FILETYPE_PEM) != 1)
			return 1;
		SSL_CTX_set_session_id_context(tls, (const unsigned char *)"sink", 4);
	}
	inet_pton(AF_INET, argv[1], &address.sin_addr);
	address.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listening, (struct sockaddr *)&address, length) || listen(listening, 4096) ||
	    getsockname(listening, (struct sockaddr *)&address, &length) ||
	    pthread_create(&acceptor, NULL, accept_all, &listening) != 0) {
		perror("sink");
		return 1;
	}
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		answer(line);
	return 0;
}
