/*
 * admin.c - stop, reload, status, events: what one tells the running daemon.
 *
 * The daemon is found by the lock on its spool, which ends with it. A number in a file may lie: of
 * a daemon in a container it is 1, and a signal to that one would hit our own init.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include "pp/base/fsio.h"
#include "pp/command/command.h"
#include "pp/config/config.h"
#include "pp/control/client.h"
#include "pp/spool/spool.h"

extern char **environ;

enum { STOP_SLACK = 10000 /* ms beyond shutdown_timeout */ };

struct admin {
	const char *name;
	struct config *cfg;
	struct spool *spool;
	pid_t pid; /* 0 = not running */
};

static int
fatal(const struct admin *a, const char *text)
{
	fprintf(stderr, "pennypost: fatal: %s: %s\n", a->name, text);
	return 1;
}

/* `pennypost status -c DIR` is what `pennypost -c DIR status` is. */
static int
arguments(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "-c") == 0)
		return setenv("MAIL_CONFIG", argv[2], 1);
	if (argc == 1)
		return 0;
	fprintf(stderr, "usage: pennypost [-c CONFIG_DIR] %s\n", argv[0]);
	return -1;
}

static int
admin_open(struct admin *a, const char *name)
{
	struct config_source src = {.environ = environ, .is_root = geteuid() == 0};
	struct config_report report;
	struct buf text = {.max = 16384};
	struct spool_options o = {0};
	int rc;

	*a = (struct admin){.name = name};
	src.dir = config_dir(NULL, environ, &src.is_dir_required);
	config_report_init(&report);
	rc = config_load(&src, &a->cfg, &report);
	for (struct config_note *n = report.first; rc < 0 && n != NULL; n = n->next)
		if (n->is_error)
			config_note_text(n, &text);
	config_report_fini(&report);
	if (rc == 0) {
		o.directory = a->cfg->params->queue_directory;
		o.hash_queue_names = a->cfg->params->hash_queue_names;
		o.hash_queue_depth = (int)a->cfg->params->hash_queue_depth;
		rc = spool_open(&o, false, geteuid(), (gid_t)-1, &a->spool, &text);
	}
	if (rc < 0)
		fatal(a, buf_cstr(&text));
	buf_fini(&text);
	return rc;
}

/* Whether a process of that number is one of us. */
static bool
is_ours(pid_t pid)
{
	char path[64], name[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
	fd = fsio_open_read(AT_FDCWD, path);
	n = fd < 0 ? 0 : fsio_pread(fd, name, sizeof(name), 0);
	fsio_close(fd);
	return n > 0 && str_eq(str_trim((struct str){name, (size_t)n}), STR("pennypost"));
}

/* The process that holds the lock: the kernel says who listens on its socket. A daemon without one
 * (it starts, or ends) is believed what it wrote, if that is one. 1 = found, 0 = nobody runs. */
static int
find_pid(struct admin *a)
{
	pid_t written = 0;
	int held = spool_lock_test(a->spool, &written);
	int rc = held == 0 ? -ENOENT : control_peer(a->cfg->params->queue_directory, &a->pid);

	if (rc == 0 && a->pid == 0) {
		fatal(a, "the daemon runs in another PID namespace: stop it from there");
		return -ESRCH;
	}
	if (rc == 0)
		return 1;
	if (held != 1)
		return 0;
	if (!is_ours(written)) {
		fprintf(stderr,
		    "pennypost: fatal: %s: %s is held by pid %ld, which is no pennypost here\n",
		    a->name, a->cfg->params->queue_directory, (long)written);
		return -ESRCH;
	}
	a->pid = written;
	return 1;
}

static void
admin_close(struct admin *a)
{
	if (a->spool)
		spool_close(a->spool);
	if (a->cfg)
		snap_unref(&a->cfg->snap);
}

static int
print_line(void *ctx, struct str line)
{
	printf("%.*s\n", STR_FMT(line));
	return fflush(stdout) < 0 ? -EPIPE : 0;
}

static int
not_running(struct admin *a)
{
	fprintf(stderr, "pennypost: the mail system is not running (queue_directory %s)\n",
	    a->cfg->params->queue_directory);
	return 1;
}

/* Ends when the process does: a descriptor of it becomes readable then. */
static int
wait_for_end(struct admin *a)
{
	int64_t limit = a->cfg->params->shutdown_timeout + STOP_SLACK;
	struct pollfd p = {.events = POLLIN};
	int n;

	p.fd = pidfd_open(a->pid, 0);
	if (p.fd < 0)
		return errno == ESRCH ? 0 : -errno;
	if (kill(a->pid, SIGTERM) < 0 && errno != ESRCH) {
		n = -errno;
		close(p.fd);
		return n;
	}
	do
		n = poll(&p, 1, limit > INT32_MAX ? INT32_MAX : (int)limit);
	while (n < 0 && errno == EINTR);
	close(p.fd);
	return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : -errno;
}

int
admin_stop(int argc, char **argv)
{
	struct admin a;
	int rc;

	if (arguments(argc, argv) < 0)
		return 64;
	rc = admin_open(&a, "stop");
	if (rc == 0)
		rc = find_pid(&a);
	if (rc == 0) {
		rc = not_running(&a);
	} else if (rc > 0) {
		rc = wait_for_end(&a);
		if (rc < 0)
			fprintf(stderr, "pennypost: fatal: stop: pid %ld: %s\n", (long)a.pid,
			    strerror(-rc));
	}
	admin_close(&a);
	return rc == 0 ? 0 : 1;
}

static int
ask(const char *name, const char *word)
{
	struct admin a;
	struct buf err = {.max = 4096};
	int rc = admin_open(&a, name);

	if (rc == 0)
		rc = control_call(a.cfg->params->queue_directory, word, print_line, NULL, &err);
	else
		rc = -EREMOTEIO;
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		rc = not_running(&a);
	else if (rc < 0 && a.spool)
		fatal(&a, rc == -EREMOTEIO ? buf_cstr(&err) : strerror(-rc));
	buf_fini(&err);
	admin_close(&a);
	return rc == 0 ? 0 : 1;
}

int
admin_reload(int argc, char **argv)
{
	return arguments(argc, argv) < 0 ? 64 : ask("reload", "reload");
}

int
admin_status(int argc, char **argv)
{
	return arguments(argc, argv) < 0 ? 64 : ask("status", "status");
}

int
admin_events(int argc, char **argv)
{
	return arguments(argc, argv) < 0 ? 64 : ask("events", "events");
}
