/*
 * smtpd_fixture.h - a whole SMTP server in this process: real configuration, spool, lanes, loop.
 *
 * For unit tests and fuzz targets, which include it once. The server runs on a thread of its own;
 * the test is the client, at the other end of a socket pair or of a TCP connection to itself.
 */
#pragma once
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "pp/runtime/log.h"
#include "pp/smtpd/smtpd.h"

#ifndef FIXTURE_LOG
#define FIXTURE_LOG "%s/log"
#endif

enum { FIXTURE_WAIT_MS = 20000 };

struct fixture {
	char dir[64], log[96];
	struct config *config;
	struct spool *spool;
	struct lane *disk, *slow;
	struct loop *loop;
	struct smtpd_counts *counts;
	struct smtpd *smtpd;
	struct cleanup_setup cleanup;
	struct smtpd_setup *setup;
	bool is_kept; /* queue files stay, to be looked at */
	char last_id[SPOOL_ID_MAX];
	unsigned commits;
	int64_t stop_ms; /* deadline of the stop; 0 = at once */
	int done[2];     /* a byte comes when the loop's thread has done what was posted */
};

struct fixture_post {
	struct post post;
	struct fixture *f;
	int fd;
};

static inline void
fixture_write(const struct fixture *f, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	file = fopen(path, "w");
	PP_ASSERT(file != NULL);
	fputs(text, file);
	fclose(file);
}

/* The configuration alone. false: config_load refused it, with the text in err. */
static inline bool
fixture_config(struct fixture *f, const char *main_cf, const char *master_cf, struct buf *err)
{
	struct config_source src = {.dir = f->dir, .hostname = "mail.pennypost.test"};
	struct config_report report;
	struct buf text;
	int rc;

	snprintf(f->dir, sizeof(f->dir), "%s/pp-smtpd-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	PP_ASSERT(mkdtemp(f->dir) != NULL);
	snprintf(f->log, sizeof(f->log), FIXTURE_LOG, f->dir);
	buf_init(&text, 1 << 16);
	buf_printf(&text,
	    "compatibility_level = 3.6\n"
	    "queue_directory = %s/spool\nmail_name = Postfix\nmyhostname = mail.pennypost.test\n"
	    "mydestination = pennypost.test\nmynetworks = 127.0.0.0/8\n"
	    "smtpd_error_sleep_time = 0\n%s",
	    f->dir, main_cf);
	fixture_write(f, "main.cf", buf_cstr(&text));
	fixture_write(f, "master.cf", master_cf ? master_cf : "127.0.0.1:0 inet n - n - - smtpd\n");
	buf_fini(&text);
	config_report_init(&report);
	rc = config_load(&src, &f->config, &report);
	for (const struct config_note *n = report.first; n && rc < 0; n = n->next)
		buf_printf(err, "%s, line %d: %s\n", n->file, n->line, n->text);
	config_report_fini(&report);
	return rc == 0;
}

static inline void
fixture_arrived(void *ctx, struct spool_arrival *a)
{
	struct fixture *f = ctx;
	char path[SPOOL_PATH_MAX];

	f->commits++;
	memcpy(f->last_id, a->id, sizeof(f->last_id));
	spool_path(f->spool, a->queue, a->id, path);
	if (!f->is_kept)
		PP_ASSERT(unlinkat(spool_dirfd(f->spool), path, 0) == 0);
	spool_arrival_free(a);
}

/* Spool, route and the compiled listener. err gets what the setup refuses. */
static inline int
fixture_setup(struct fixture *f, struct buf *err)
{
	char spool[96];
	struct spool_options o = {
	    .directory = spool, .hash_queue_names = "deferred", .hash_queue_depth = 1};

	snprintf(spool, sizeof(spool), "%s/spool", f->dir);
	PP_ASSERT(spool_open(&o, true, geteuid(), (gid_t)-1, &f->spool, err) == 0);
	spool_set_commit_hook(f->spool, fixture_arrived, f);
	f->disk = lane_new("disk", 1);
	spool_set_lane(f->spool, f->disk);
	f->cleanup.spool = f->spool;
	f->cleanup.config = f->config;
	PP_ASSERT(route_new(f->config, &f->cleanup.route, err) == 0);
	return smtpd_setup_new_blk(
	    f->config, config_service_next(f->config, NULL), &f->cleanup, &f->setup, err);
}

static inline void
fixture_begin(struct fixture *f)
{
	struct log_options log = {
	    .syslog_name = "postfix", .host = "mail", .file = f->log, .facility = 16};

	signal(SIGPIPE, SIG_IGN);
	PP_ASSERT(log_setup(&log) == 0 && pipe2(f->done, O_CLOEXEC) == 0);
	f->slow = lane_new("slow", 1);
	f->loop = loop_new("io0");
	f->counts = smtpd_counts_new(f->loop);
	f->smtpd = smtpd_new(f->loop, NULL, f->slow, f->disk, f->counts);
	PP_ASSERT(loop_start(f->loop) == 0);
}

static inline void
fixture_start(struct fixture *f, const char *main_cf)
{
	struct buf err;
	int rc;

	*f = (struct fixture){0};
	buf_init(&err, 8192);
	rc = fixture_config(f, main_cf, NULL, &err) ? fixture_setup(f, &err) : -EINVAL;
	if (rc < 0)
		printf("# setup: %s\n", buf_cstr(&err));
	PP_ASSERT(rc == 0);
	buf_fini(&err);
	fixture_begin(f);
}

static inline void
fixture_accept(struct post *p)
{
	struct fixture_post *m = PP_CONTAINER(p, struct fixture_post, post);

	smtpd_accept(m->f->smtpd, m->f->setup, m->fd);
	free(m);
}

static inline void
fixture_give(struct fixture *f, int fd)
{
	struct fixture_post *m = calloc(1, sizeof(*m));

	m->f = f;
	m->fd = fd;
	post_to(f->loop, &m->post, fixture_accept);
}

/* Our end of a new session. */
static inline int
fixture_connect(struct fixture *f)
{
	int fd[2];

	PP_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	PP_ASSERT(fcntl(fd[1], F_SETFL, O_NONBLOCK) == 0);
	fixture_give(f, fd[1]);
	return fd[0];
}

/* The same over TCP, from 127.0.0.1. */
static inline int
fixture_connect_tcp(struct fixture *f)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(sa);
	int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ours, theirs;

	PP_ASSERT(bind(listening, (struct sockaddr *)&sa, n) == 0 && listen(listening, 1) == 0);
	PP_ASSERT(getsockname(listening, (struct sockaddr *)&sa, &n) == 0);
	ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	PP_ASSERT(connect(ours, (struct sockaddr *)&sa, n) == 0);
	theirs = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	PP_ASSERT(theirs >= 0);
	close(listening);
	fixture_give(f, theirs);
	return ours;
}

static inline void
fixture_stopped(void *ctx)
{
	struct fixture *f = ctx;

	PP_ASSERT(write(f->done[1], "s", 1) == 1);
}

static inline void
fixture_stop_post(struct post *p)
{
	struct fixture_post *m = PP_CONTAINER(p, struct fixture_post, post);

	smtpd_stop(m->f->smtpd, m->f->stop_ms, fixture_stopped, m->f);
	free(m);
}

static inline void
fixture_flushed(struct post *p)
{
	struct fixture_post *m = PP_CONTAINER(p, struct fixture_post, post);

	fixture_stopped(m->f);
	free(m);
}

static inline void
fixture_wait_done(struct fixture *f)
{
	struct pollfd pfd = {.fd = f->done[0], .events = POLLIN};
	char c;

	PP_ASSERT(poll(&pfd, 1, FIXTURE_WAIT_MS) == 1 && read(f->done[0], &c, 1) == 1);
}

static inline void
fixture_post(struct fixture *f, void (*run)(struct post *))
{
	struct fixture_post *m = calloc(1, sizeof(*m));

	m->f = f;
	post_to(f->loop, &m->post, run);
}

/* Removes what fixture_config and fixture_setup made. */
static inline void
fixture_clean(struct fixture *f)
{
	char command[160];

	smtpd_setup_unref(f->setup);
	route_unref(f->cleanup.route);
	if (f->spool) {
		lane_free(f->disk);
		spool_close(f->spool);
	}
	if (f->config)
		snap_unref(&f->config->snap);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	PP_ASSERT(system(command) == 0);
}

/* After smtpd_stop: ends everything and checks that nothing is left. */
static inline void
fixture_end(struct fixture *f)
{
	/* Once more around: what was posted while stopping (counts) is done then. */
	fixture_post(f, fixture_flushed);
	fixture_wait_done(f);
	lane_free(f->slow);
	loop_stop(f->loop);
	loop_join(f->loop);
	PP_ASSERT(smtpd_sessions(f->smtpd) == 0);
	smtpd_free(f->smtpd);
	loop_free(f->loop);
	smtpd_counts_free(f->counts);
	close(f->done[0]);
	close(f->done[1]);
	fixture_clean(f);
}

static inline void
fixture_stop(struct fixture *f)
{
	fixture_post(f, fixture_stop_post);
	fixture_wait_done(f);
	fixture_end(f);
}
