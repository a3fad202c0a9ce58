/*
 * start.c - everything that is done once, as root if we are root, before the first thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <stdlib.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/spool/journal.h"

extern char **environ;

/* Without maillog_file: syslog where there is one, else stdout (a container, a terminal). */
void
daemon_log_setup(const struct config *cfg, uid_t uid, bool to_stderr)
{
	const struct params *p = cfg->params;
	char host[256];
	struct log_options o = {
	    .syslog_name = p->syslog_name,
	    .host = host,
	    .file = *p->maillog_file ? p->maillog_file : NULL,
	    .facility = log_facility(p->syslog_facility),
	    .to_stderr = to_stderr,
	    .owner = geteuid() == 0 ? (long)uid : -1,
	};
	size_t dot = str_index(str_of(p->myhostname), '.');
	int rc;

	snprintf(host, sizeof(host), "%.*s", (int)dot, p->myhostname);
	if (o.file == NULL && (isatty(1) || access("/dev/log", W_OK) < 0))
		o.file = "/dev/stdout";
	rc = log_setup(&o);
	if (rc == 0)
		return;
	o.file = "/dev/stdout";
	log_setup(&o);
	log_warn(
	    "master", "maillog_file %s: %s: logging to stdout", p->maillog_file, strerror(-rc));
}

static void
complain(const struct say *s, struct buf *text)
{
	s->line(s->ctx, true, buf_cstr(text));
	buf_clear(text);
}

/* Postfix's second lock, so that neither starts while the other runs. */
static int
lock_data_directory(struct daemon *d, const char *dir, const struct say *s)
{
	struct buf text = {.max = 4096};
	char line[32];
	int dirfd, rc = fsio_mkdir(AT_FDCWD, dir, 0700);

	if (rc == 0 && geteuid() == 0 && fchownat(AT_FDCWD, dir, d->uid, d->gid, 0) < 0)
		rc = -errno;
	dirfd = fsio_open_dir(AT_FDCWD, dir);
	rc = dirfd < 0 ? dirfd : fsio_open_append(dirfd, "master.lock", 0600);
	fsio_close(dirfd);
	if (rc < 0) {
		buf_printf(&text, "data_directory %s: %s", dir, strerror(-rc));
		complain(s, &text);
		buf_fini(&text);
		return rc;
	}
	d->master_lock = rc;
	if (flock(rc, LOCK_EX | LOCK_NB) < 0) {
		buf_printf(&text,
		    "%s/master.lock is held: another mail system uses this data_directory", dir);
		complain(s, &text);
		buf_fini(&text);
		return -EWOULDBLOCK;
	}
	snprintf(line, sizeof(line), "%*ld\n", 10, (long)getpid());
	if (ftruncate(rc, 0) == 0)
		fsio_pwrite(rc, str_of(line), 0);
	return 0;
}

static int
take_spool(struct daemon *d, const struct config *cfg, const struct say *s)
{
	const struct params *p = cfg->params;
	const struct spool_options o = {
	    .directory = p->queue_directory,
	    .hash_queue_names = p->hash_queue_names,
	    .hash_queue_depth = (int)p->hash_queue_depth,
	    .long_ids = p->enable_long_queue_ids,
	    .message_cache_size = p->message_cache_size,
	};
	struct buf text = {.max = 4096};
	pid_t holder = 0;
	int rc = spool_open(&o, true, d->uid, d->setgid_group, &d->spool, &text);

	if (rc < 0) {
		complain(s, &text);
		goto out;
	}
	rc = spool_lock(d->spool, &holder);
	if (rc == -EWOULDBLOCK)
		buf_printf(&text,
		    "queue_directory %s is in use by the mail system with pid %ld: stop it first, "
		    "or "
		    "name another queue_directory",
		    p->queue_directory, (long)holder);
	else if (rc < 0)
		buf_printf(
		    &text, "queue_directory %s: lock: %s", p->queue_directory, strerror(-rc));
	if (rc < 0)
		complain(s, &text);
	else if (geteuid() == 0)
		spool_lock_show(d->spool, d->gid);
out:
	buf_fini(&text);
	return rc;
}

/* Connections are limited by numbers of ours, not by a small default of the shell. */
static void
raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max < 65536 ? r.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* The working directory will be the queue's: a relative -c must still be found at a reload. */
static int
fix_config_dir(struct daemon *d, const struct say *s)
{
	bool required;
	const char *dir = config_dir(d->config_dir, environ, &required);
	struct buf text = {.max = 4096};
	char *whole;

	if (dir == NULL || *dir == '\0' || *dir == '/')
		return 0;
	whole = realpath(dir, NULL);
	if (whole == NULL) {
		buf_printf(&text, "configuration directory %s: %s", dir, strerror(errno));
		complain(s, &text);
		buf_fini(&text);
		return -EINVAL;
	}
	d->config_dir = d->config_dir_whole = whole;
	return 0;
}

/* Takes the spool and both locks; relative names from then on are below the queue directory, as in
 * Postfix's daemons, and the control socket's address fits whatever the depth. */
static int
take_directories(struct daemon *d, const struct config *cfg, const struct say *s)
{
	int rc = take_spool(d, cfg, s);

	if (rc == 0)
		rc = lock_data_directory(d, cfg->params->data_directory, s);
	if (rc == 0 && fchdir(spool_dirfd(d->spool)) < 0)
		rc = -errno;
	return rc;
}

/* What a run that was killed has acknowledged and not delivered. */
static int
order_journal(struct daemon *d, struct buf *text)
{
	const char *directory = spool_directory(d->spool);
	unsigned damaged = 0;
	int64_t n = journal_put_in_order_blk(d->spool, &damaged);

	if (damaged > 0)
		log_warn("master",
		    "%u damaged files of the journal, or of another version: mail in them is not "
		    "delivered; they are kept as %s/journal/*.damaged",
		    damaged, directory);
	d->is_kept = n > 0;
	if (n < 0)
		buf_printf(text, "%s/journal holds mail of the last run that cannot be read: %s",
		    directory, strerror((int)-n));
	else if (n > 0)
		log_info(
		    "master", "%lld messages of the last run found in the journal", (long long)n);
	return n < 0 ? (int)n : 0;
}

int
daemon_prepare(struct daemon *d, const struct say *s, void (*log_ready)(void *ctx))
{
	struct buf text = {.max = 4096};
	struct config *cfg;
	int rc = fix_config_dir(d, s);

	d->uid = geteuid();
	d->was_root = d->uid == 0;
	if (getcwd(d->cwd, sizeof(d->cwd)) == NULL)
		d->cwd[0] = '\0';
	cfg = rc < 0 ? NULL : generation_load(d, s);
	if (cfg == NULL)
		return -EINVAL;
	rc = privileges_find_owner(cfg, &d->uid, &d->gid, &d->setgid_group, s);
	if (rc == 0) {
		daemon_log_setup(cfg, d->uid, false);
		log_ready(s->ctx);
		raise_descriptor_limit();
		umask(077);
		rc = take_directories(d, cfg, s);
	}
	if (rc < 0) {
		snap_unref(&cfg->snap);
		return rc;
	}
	d->gen = generation_new(cfg, d->spool, NULL, s);
	if (d->gen == NULL)
		return -EINVAL;
	rc = privileges_drop(d->uid, d->gid, &text);
	generation_check_files(d->gen, s);
	if (rc == 0)
		rc = order_journal(d, &text);
	if (buf_str(&text).n > 0)
		complain(s, &text);
	buf_fini(&text);
	return rc;
}
