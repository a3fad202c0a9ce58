/*
 * common.c - the beginning and the end of every queue command.
 *
 * A command is short: an error that makes it useless ends the process at once, with one line in
 * Postfix's form. Warnings of the configuration are the daemon's and `check`'s to give, not every
 * command's; an error of it is fatal here as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <syslog.h>
#include <unistd.h>
#include "common.h"
#include "pp/config/list.h"
#include "pp/runtime/log.h"
#include "pp/spool/journal.h"

/* Whoever starts a command without standard output gets an error for it, and not the first file
 * that is opened written over. */
static void
occupy_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
			return;
}

void
command_environment(void)
{
	const char *zone = getenv("TZ");

	if (!getauxval(AT_SECURE))
		return;
	clearenv();
	/* The C library takes no file names from it here. */
	if (zone)
		setenv("TZ", zone, 1);
}

void
command_begin(struct command *c, char **argv)
{
	const struct log_options o = {
	    .syslog_name = "postfix", .file = "/dev/null", .facility = LOG_MAIL, .to_stderr = 1};

	occupy_standard_streams();
	command_environment();
	argv[0] = (char *)(uintptr_t)c->name; /* getopt(3) names it in its complaints */
	optind = 1;
	log_setup(&o);
}

void
command_fatal(struct command *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	log_fatal(c->name, "%s", text);
	exit(c->fatal_code);
}

/* Whether the system's own main.cf names this directory, so that a set-gid command may read it. */
static bool
is_alternate_dir(const char *dir)
{
	struct config_source src = {.dir = CONFIG_DIR_DEFAULT};
	struct config_report report;
	struct config *cfg = NULL;
	struct str rest, word;
	bool found = str_eq(str_of(dir), STR(CONFIG_DIR_DEFAULT));

	config_report_init(&report);
	if (!found && config_load(&src, &cfg, &report) == 0) {
		rest = str_of(cfg->params->alternate_config_directories);
		while (!found && list_next(&rest, &word) > 0)
			found = str_eq(word, str_of(dir));
		snap_unref(&cfg->snap);
	}
	config_report_fini(&report);
	return found;
}

bool
command_dir_allowed(const char *name, const char *dir)
{
	if (!getauxval(AT_SECURE) || getuid() == 0 || is_alternate_dir(dir))
		return true;
	log_error(name, "unauthorized configuration directory name: %s", dir);
	log_fatal(name, "specify \"alternate_config_directories = %s\" in %s/main.cf", dir,
	    CONFIG_DIR_DEFAULT);
	return false;
}

/* Postfix's words for the one mistake that everybody makes with -c. */
static void
check_main_cf(struct command *c, const char *dir)
{
	struct buf path = {.max = 4096};

	buf_printf(&path, "%s/main.cf", dir);
	if (access(buf_cstr(&path), F_OK) < 0)
		command_fatal(c, "open %s: %s", buf_cstr(&path), strerror(errno));
	buf_fini(&path);
}

void
command_config(struct command *c)
{
	struct config_source src = {.environ = environ, .is_root = geteuid() == 0, .is_mute = true};
	struct config_report report;
	struct buf text;
	int rc;

	if (c->config_option && !command_dir_allowed(c->name, c->config_option))
		exit(c->fatal_code);
	src.dir = config_dir(c->config_option, environ, &src.is_dir_required);
	config_report_init(&report);
	rc = config_load(&src, &c->config, &report);
	if (rc == 0) {
		config_report_fini(&report);
		return;
	}
	check_main_cf(c, src.dir);
	buf_init(&text, 4096);
	for (struct config_note *n = report.first; n; n = n->next) {
		if (!n->is_error)
			continue;
		config_note_text(n, &text);
		break;
	}
	command_fatal(c, "%s", text.n ? buf_cstr(&text) : strerror(-rc));
}

/* A daemon that was killed may have left acknowledged mail in its journal: a command that looks at
 * the files is to see it. Who has not the right to that sees what there is. */
static void
replay_journal(struct command *c)
{
	struct stat st;
	int lock, turn;
	unsigned damaged = 0;
	int64_t n = 0;

	if (!journal_is_left_blk(c->spool) ||
	    fsio_stat(spool_dirfd(c->spool), spool_queue_name(QUEUE_INCOMING), &st) < 0)
		return;
	lock = spool_lock_file(c->spool);
	turn = fsio_open_dir(spool_dirfd(c->spool), "journal");
	/* Shared with other commands, of which one does it; a running daemon has it for itself.
	 * What cannot be locked (the file is gone, or not ours to read) may be a running daemon's.
	 */
	if (turn >= 0 && lock >= 0 && spool_hold(lock) == 0) {
		if (fsio_lock(turn, true) == 0)
			n = journal_replay_blk(c->spool, st.st_uid, st.st_gid, &damaged);
		spool_unhold(lock);
	}
	fsio_close(turn);
	fsio_close(lock);
	if (damaged > 0)
		log_warn(c->name,
		    "%u damaged files of the journal are kept as %s/journal/*.damaged", damaged,
		    spool_directory(c->spool));
	if (n == -ENOSPC || n == -EDQUOT)
		command_fatal(c,
		    "%s: no room for the files of the mail that a killed daemon left in its "
		    "journal: %s: nothing was changed; make room on that file system, or start "
		    "the daemon, which delivers that mail without files",
		    spool_directory(c->spool), strerror((int)-n));
	if (n < 0)
		log_warn(c->name, "mail in the journal cannot be made into files: %s",
		    strerror((int)-n));
}

void
command_spool(struct command *c)
{
	const struct params *p = c->config->params;
	const struct spool_options o = {.directory = p->queue_directory,
	    .hash_queue_names = p->hash_queue_names,
	    .hash_queue_depth = (int)p->hash_queue_depth,
	    .long_ids = p->enable_long_queue_ids};
	struct buf err;

	buf_init(&err, 1024);
	if (spool_open(&o, false, (uid_t)-1, (gid_t)-1, &c->spool, &err) < 0)
		command_fatal(c, "%s", buf_cstr(&err));
	buf_fini(&err);
	replay_journal(c);
}

int
command_end(struct command *c, int code)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		command_fatal(c, "write to standard output: %s", strerror(errno));
	spool_close(c->spool);
	if (c->config)
		snap_unref(&c->config->snap);
	return code;
}
