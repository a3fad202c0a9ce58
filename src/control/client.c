/*
 * client.c - the commands' side of the control socket.
 *
 * A blocking socket and nothing else: a command asks one thing and prints what comes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "pp/base/fsio.h"
#include "pp/base/mem.h"
#include "pp/control/client.h"

enum { ANSWER_LINE_MAX = 1024 * 1024, STREAM_CHUNK = 256 * 1024 };

/* A path that does not fit into sockaddr_un is reached through a descriptor of its directory. */
static int
socket_path(struct sockaddr_un *sa, const char *directory, const char *name, int *ret_dirfd)
{
	int n = snprintf(sa->sun_path, sizeof(sa->sun_path), "%s/%s", directory, name);

	*ret_dirfd = -1;
	if (n >= 0 && (size_t)n < sizeof(sa->sun_path))
		return 0;
	*ret_dirfd = fsio_open_dir(AT_FDCWD, directory);
	if (*ret_dirfd < 0)
		return *ret_dirfd;
	snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", *ret_dirfd, name);
	return 0;
}

/* Without the timeout a daemon that is stopped, its queue of connections full, would keep us. */
int
control_set_timeout(int fd, int64_t ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
		       setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0
		   ? -errno
		   : 0;
}

int
control_connect(const char *directory, const char *name, int64_t timeout_ms)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, dirfd, rc = socket_path(&sa, directory, name, &dirfd);

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 ? -errno : 0;
	if (rc == 0 && timeout_ms > 0)
		rc = control_set_timeout(fd, timeout_ms);
	while (rc == 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		if (errno != EINTR)
			rc = -errno;
	fsio_close(dirfd);
	if (rc == 0)
		return fd;
	fsio_close(fd);
	return rc;
}

static int
take_lines(struct buf *in, int (*line)(void *, struct str), void *ctx, struct buf *err)
{
	for (;;) {
		struct str all = buf_str(in);
		size_t end = str_index(all, '\n');
		struct str one = str_head(all, end);
		int rc;

		if (end == all.n)
			return 0;
		if (str_starts(one, STR("error "))) {
			buf_add(err, str_from(one, 6));
			return -EREMOTEIO;
		}
		rc = line ? line(ctx, one) : 0;
		buf_consume(in, end + 1);
		if (rc != 0)
			return rc;
	}
}

static int
converse(int fd, const char *command, int (*line)(void *, struct str), void *ctx, struct buf *err)
{
	struct buf in = {.max = ANSWER_LINE_MAX};
	int rc = fsio_write(fd, str_of(command));

	if (rc == 0)
		rc = fsio_write(fd, STR("\n"));
	while (rc == 0) {
		char *to = buf_reserve(&in, 4096);
		ssize_t n;

		if (to == NULL) {
			rc = -EMSGSIZE;
			break;
		}
		n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = n < 0 ? -errno : 0;
			break;
		}
		buf_commit(&in, (size_t)n);
		rc = take_lines(&in, line, ctx, err);
	}
	buf_fini(&in);
	return rc;
}

int
control_peer(const char *queue_directory, pid_t *ret_pid)
{
	int fd = control_connect(queue_directory, CONTROL_SOCKET, 0), rc = 0;
	struct ucred who;
	socklen_t n = sizeof(who);

	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
		rc = -errno;
	else
		*ret_pid = who.pid;
	close(fd);
	return rc;
}

int
control_call(const char *queue_directory, const char *command, int (*line)(void *, struct str),
    void *ctx, struct buf *err)
{
	int fd = control_connect(queue_directory, CONTROL_SOCKET, 0), rc;

	if (fd < 0)
		return fd;
	rc = converse(fd, command, line, ctx, err);
	close(fd);
	return rc;
}

/* At least n bytes, fewer only when the answer ends before; -errno. */
static ssize_t
receive(int fd, char *to, size_t size, size_t n)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = read(fd, to + have, size - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

static int
stream(int fd, const char *command, int (*bytes)(void *, struct str), void *ctx, struct buf *err)
{
	const struct str refusal = STR("error ");
	char *chunk = mem_alloc(STREAM_CHUNK);
	int rc = fsio_write(fd, str_of(command));
	size_t wanted = refusal.n;

	if (rc == 0)
		rc = fsio_write(fd, STR("\n"));
	while (rc == 0) {
		ssize_t n = receive(fd, chunk, STREAM_CHUNK, wanted);
		struct str s = {chunk, n > 0 ? (size_t)n : 0};

		if (n <= 0) {
			rc = (int)n;
			break;
		}
		if (wanted > 1 && str_starts(s, refusal)) {
			buf_add(err, str_trim(str_from(s, refusal.n)));
			rc = -EREMOTEIO;
			break;
		}
		wanted = 1;
		rc = bytes(ctx, s);
	}
	mem_free(chunk);
	return rc;
}

int
control_stream(const char *queue_directory, const char *command, int (*bytes)(void *, struct str),
    void *ctx, struct buf *err)
{
	int fd = control_connect(queue_directory, CONTROL_SOCKET, 0), rc;

	if (fd < 0)
		return fd;
	rc = stream(fd, command, bytes, ctx, err);
	close(fd);
	return rc;
}
