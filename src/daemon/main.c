/*
 * main.c - one binary, many names.
 *
 * The name it is called by, or the first word after it, chooses a row of tbl/commands.def.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "pp/base/str.h"
#include "pp/command/command.h"
#include "pp/daemon/daemon.h"

static const struct {
	const char *word;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
#define COMMAND(word, function, link, summary) {#word, function, summary},
#include "pp/tbl/commands.def"
#undef COMMAND
};

static int
usage(FILE *to)
{
	fprintf(to,
	    "pennypost %s: a mail transfer agent\n\n"
	    "usage: pennypost [-c CONFIG_DIR] COMMAND [ARGUMENTS]\n\n",
	    PP_VERSION);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(to, "  %-12s %s\n", commands[i].word, commands[i].summary);
	return to == stdout ? 0 : 64;
}

static int
options(int argc, char **argv, struct daemon_options *o)
{
	for (int i = 1; i < argc; i++) {
		int64_t fd;

		if (strcmp(argv[i], "-c") == 0 && i + 1 < argc) {
			o->config_dir = argv[++i];
		} else if (strcmp(argv[i], "--ready-fd") == 0 && i + 1 < argc &&
			   str_number(str_of(argv[i + 1]), 1, INT32_MAX, &fd) == 0) {
			o->ready_fd = (int)fd;
			fcntl(o->ready_fd, F_SETFD, FD_CLOEXEC);
			i++;
		} else {
			fprintf(stderr, "usage: pennypost [-c CONFIG_DIR] %s [--ready-fd N]\n",
			    argv[0]);
			return 64;
		}
	}
	return 0;
}

/* In the foreground the log may be the terminal; then a second copy on stderr would be noise. */
int
run_main(int argc, char **argv)
{
	struct daemon_options o = {.ready_fd = -1, .also_stderr = true};
	int rc = options(argc, argv, &o);

	return rc ? rc : daemon_run(&o);
}

static int
child_failed(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

/* The parent waits until the child serves, or has said on stderr why it does not. */
int
start_main(int argc, char **argv)
{
	struct daemon_options o = {.ready_fd = -1, .also_stderr = true};
	int ready[2], rc = options(argc, argv, &o);
	char byte[4096];
	ssize_t n;
	pid_t pid;

	if (rc)
		return rc;
	if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "pennypost: fatal: start: %s\n", strerror(errno));
		return 1;
	}
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		setsid();
		dup2(null, 0);
		dup2(null, 1);
		close(ready[0]);
		o.ready_fd = ready[1];
		o.is_background = true;
		return daemon_run(&o);
	}
	close(ready[1]);
	while ((n = read(ready[0], byte, sizeof(byte))) < 0 && errno == EINTR)
		;
	close(ready[0]);
	return n > 0 ? 0 : child_failed(pid);
}

int
check_main(int argc, char **argv)
{
	struct daemon_options o = {.ready_fd = -1};
	int rc = options(argc, argv, &o);

	return rc ? rc : daemon_check(&o);
}

static int
dispatch(const char *word, int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(word, commands[i].word) == 0)
			return commands[i].run(argc, argv);
	return -1;
}

/* The next file would become standard error, and what is for people go into a queue file or to a
 * client. As with a closed one, reading and writing fail. */
static void
occupy_standard_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			exit(71);
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "pennypost";
	int at = 1, rc;

	occupy_standard_descriptors();
	if (strcmp(name, "pennypost") != 0 && (rc = dispatch(name, argc, argv)) >= 0)
		return rc;
	if (argc > 2 && strcmp(argv[1], "-c") == 0) {
		setenv("MAIL_CONFIG", argv[2], 1);
		at = 3;
	}
	if (argc <= at)
		return usage(stderr);
	if (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0 ||
	    strcmp(argv[at], "help") == 0)
		return usage(stdout);
	if (strcmp(argv[at], "--version") == 0 || strcmp(argv[at], "version") == 0)
		return printf("pennypost %s\n", PP_VERSION) < 0;
	rc = dispatch(argv[at], argc - at, argv + at);
	if (rc >= 0)
		return rc;
	fprintf(stderr, "pennypost: fatal: no such command: %s (see pennypost --help)\n", argv[at]);
	return 64;
}
