/*
 * sendmail_handover.c - the submission to the running daemon, instead of a file in maildrop.
 *
 * See src/pickup/handover.c for what is said. E, which makes a mail of it, is sent only when the
 * daemon has answered: until then it commits nothing, and maildrop is as good as it was. Behind E
 * the answer is waited for much longer, for without one the mail may be there: it then goes into
 * maildrop all the same, since twice is better than not at all. The name of that file tells which
 * mail it is, and pickup removes it if it knows that mail.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include "pp/control/client.h"
#include "sendmail.h"

enum {
	STEP_MS = 10 * 1000,    /* each wait for a daemon that should be at work */
	ANSWER_MS = 300 * 1000, /* for its disk */
	ANSWER_MAX = 512,
};

static int
send_file(int to, int from)
{
	off_t at = 0;
	ssize_t n;

	do {
		n = sendfile(to, from, &at, 1 << 20);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

/* What follows `word` in the next line; another word is a refusal. */
static int
expect(int fd, const char *word, char *to, size_t size)
{
	char line[ANSWER_MAX];
	size_t n = 0, word_n = strlen(word);

	while (n == 0 || line[n - 1] != '\n') {
		ssize_t got = n < sizeof(line) ? read(fd, line + n, sizeof(line) - n) : 0;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		n += (size_t)got;
	}
	line[n - 1] = '\0';
	if (strncmp(line, word, word_n) == 0 && line[word_n] == ' ') {
		snprintf(to, size, "%s", line + word_n + 1);
		return 0;
	}
	snprintf(to, size, "%s", str_starts(str_of(line), STR("no ")) ? line + 3 : line);
	return -EREMOTEIO;
}

static int
send_all(const struct sendmail_drop *d, int fd)
{
	int rc = d->fd >= 0 ? send_file(fd, d->fd) : 0;

	return rc == 0 ? fsio_write(fd, buf_str(&d->out)) : rc;
}

static int
converse(struct sendmail_drop *d, int fd)
{
	struct buf end = {.max = 16};
	char text[sizeof(d->refusal)];
	int sent = send_all(d, fd), rc = expect(fd, "ready", text, sizeof(text));

	if (rc == 0 && !spool_id_valid(str_of(text)))
		rc = -EPROTO;
	if (rc == 0)
		snprintf(d->id, sizeof(d->id), "%.*s", SPOOL_ID_MAX - 1, text);
	/* Who refuses does not take it all. */
	if (rc == 0 && sent < 0)
		rc = expect(fd, "ok", text, sizeof(text)) == -EREMOTEIO ? -EREMOTEIO : sent;
	if (rc == 0)
		rc = control_set_timeout(fd, ANSWER_MS);
	if (rc == 0) {
		record_put(&end, REC_END, STR(""));
		fsio_write(fd, buf_str(&end)); /* what fails shows below */
		rc = expect(fd, "ok", text, sizeof(text));
		d->is_in_doubt = rc < 0 && rc != -EREMOTEIO;
		memcpy(d->handed, d->id, sizeof(d->handed));
		buf_fini(&end);
	}
	if (rc == -EREMOTEIO)
		memcpy(d->refusal, text, sizeof(text));
	return rc;
}

int
sendmail_handover(struct sendmail_drop *d)
{
	int fd = control_connect(d->sm->params->queue_directory, SUBMIT_SOCKET, STEP_MS), rc;

	if (fd < 0)
		return fd;
	rc = converse(d, fd);
	close(fd);
	return rc;
}
