/*
 * postsuper.c - deletes, holds, releases, requeues and expires mail, and puts the spool in order.
 *
 * It works on the files alone, each change one rename, unlink or chmod, whether the daemon runs
 * or not; a running one is told afterwards, so that the change takes effect at once. Root becomes
 * the owner of the spool first: what is made here (hash directories) must be the daemon's.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/control/client.h"
#include "pp/runtime/log.h"
#include "pp/spool/repair.h"

#define USAGE                                                                                      \
	"usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] "          \
	"[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] "      \
	"[-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] "               \
	"[-S (redundant structure fix)][-v (verbose)] [queue...]"

enum {
	TELL_MAX = 64, /* more changes than this are told together */
	TRIES = 2,     /* the queue manager may move a file while it is looked for */
	MODE_EXPIRED = 0010,
};

#define IN(q) (1u << (q))
enum {
	ALL_QUEUES = IN(QUEUE_MAILDROP) | IN(QUEUE_INCOMING) | IN(QUEUE_ACTIVE) |
		     IN(QUEUE_DEFERRED) | IN(QUEUE_HOLD) | IN(QUEUE_DEFER) | IN(QUEUE_BOUNCE),
	WAITING = IN(QUEUE_INCOMING) | IN(QUEUE_ACTIVE) | IN(QUEUE_DEFERRED),
};

enum action { REQUEUE, DELETE, EXPIRE, HOLD, RELEASE, ACTIONS };

struct postsuper {
	struct command command;
	unsigned queues; /* named, or all */
	int64_t done[ACTIONS];
	bool asked[ACTIONS];
	bool down; /* no daemon answers */
	bool tell_all;
	int64_t told;
};

/* In the order of the summary. */
static const struct {
	unsigned queues;
	const char *word, *summary;
} actions[ACTIONS] = {
    [REQUEUE] = {WAITING | IN(QUEUE_HOLD), "requeued", "Requeued"},
    [DELETE] = {WAITING | IN(QUEUE_HOLD) | IN(QUEUE_MAILDROP), "removed", "Deleted"},
    [EXPIRE] = {WAITING, "expired", "Force-expired"},
    [HOLD] = {WAITING, "placed on hold", "Placed on hold"},
    [RELEASE] = {IN(QUEUE_HOLD), "released from hold", "Released from hold"},
};

/* The execute bit of the group. -ENOENT also when there is nothing to do. */
static int
expire(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int fd, rc = -ENOENT;

	spool_path(s, q, id, path);
	fd = fsio_open_read(spool_dirfd(s), path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && spool_ready(&st) && (st.st_mode & MODE_EXPIRED) == 0)
		rc = fsio_chmod(fd, (st.st_mode & 07777) | MODE_EXPIRED);
	fsio_close(fd);
	return rc;
}

static int
delete_message(const struct spool *s, enum queue q, const char *id)
{
	const enum queue only[] = {q, QUEUE_COUNT};
	enum queue found;
	struct stat st;
	/* The logs go first, so be sure that they are of a message in this queue. */
	int rc = spool_find_blk(s, id, only, &found, &st);

	return rc < 0 ? rc : spool_remove_blk(s, q, id);
}

static int
act(struct postsuper *ps, enum action a, enum queue q, const char *id)
{
	const struct spool *s = ps->command.spool;

	switch (a) {
	case REQUEUE:
		return spool_move_blk(s, id, q, QUEUE_MAILDROP, (int64_t)time(NULL));
	case DELETE:
		return delete_message(s, q, id);
	case EXPIRE:
		return expire(s, q, id);
	case HOLD:
		return spool_move_blk(s, id, q, QUEUE_HOLD, -1);
	case RELEASE:
		return spool_move_blk(s, id, q, QUEUE_DEFERRED, -1);
	default:
		return -EINVAL;
	}
}

static int
ignore_line(void *ctx, struct str line)
{
	return 0;
}

static void
tell_daemon(struct postsuper *ps, const char *what)
{
	struct buf err;
	int rc;

	if (ps->down)
		return;
	buf_init(&err, 1024);
	rc = control_call(
	    ps->command.config->params->queue_directory, what, ignore_line, NULL, &err);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		ps->down = true;
	else if (rc < 0)
		log_warn(ps->command.name, "the daemon was not told: %s",
		    err.n ? buf_cstr(&err) : strerror(-rc));
	buf_fini(&err);
}

static void
changed(struct postsuper *ps, const char *id)
{
	char line[SPOOL_ID_MAX + 16];

	if (ps->told++ >= TELL_MAX) {
		ps->tell_all = true;
		return;
	}
	snprintf(line, sizeof(line), "changed %s", id);
	tell_daemon(ps, line);
}

static void
complain(const struct postsuper *ps, enum action a, const char *id, int rc)
{
	if (rc == -EEXIST)
		log_warn(ps->command.name, "%s: not %s: there is another message of this id", id,
		    actions[a].word);
	else
		log_warn(ps->command.name, "%s: not %s: %s", id, actions[a].word, strerror(-rc));
}

static void
act_on_id(struct postsuper *ps, enum action a, unsigned queues, const char *id)
{
	int rc = -ENOENT;

	for (int tries = 0; tries < TRIES && rc == -ENOENT; tries++)
		for (unsigned q = 0; q < QUEUE_COUNT && rc == -ENOENT; q++)
			if (queues & ps->queues & IN(q))
				rc = act(ps, a, (enum queue)q, id);
	if (rc == -ENOENT)
		return;
	if (rc < 0) {
		complain(ps, a, id, rc);
		return;
	}
	ps->done[a]++;
	log_info(ps->command.name, "%s: %s", id, actions[a].word);
	changed(ps, id);
}

struct bulk {
	struct postsuper *ps;
	enum action action;
};

static int
act_on_entry(void *ctx, const struct spool_entry *e)
{
	struct bulk *b = ctx;
	int rc = spool_adopt_blk(b->ps->command.spool, e);

	if (rc == 0)
		rc = act(b->ps, b->action, e->queue, e->id);
	if (rc == 0)
		b->ps->done[b->action]++;
	else if (rc != -ENOENT)
		complain(b->ps, b->action, e->id, rc);
	return 0;
}

static void
act_on_all(struct postsuper *ps, enum action a, unsigned queues)
{
	struct bulk b = {.ps = ps, .action = a};

	for (unsigned q = 0; q < QUEUE_COUNT; q++) {
		int rc;

		if ((queues & ps->queues & IN(q)) == 0)
			continue;
		rc = spool_scan_blk(ps->command.spool, (enum queue)q, act_on_entry, &b);
		if (rc < 0)
			command_fatal(&ps->command, "scan %s: %s", spool_queue_name((enum queue)q),
			    strerror(-rc));
	}
	ps->tell_all = true;
}

static void
one_id(struct postsuper *ps, enum action a, unsigned queues, struct str id)
{
	char text[SPOOL_ID_MAX];

	if (!spool_id_valid(id)) {
		log_warn(ps->command.name, "invalid mail queue id: %.*s", STR_FMT(id));
		return;
	}
	memcpy(text, id.p, id.n);
	text[id.n] = '\0';
	act_on_id(ps, a, queues, text);
}

/* What a running daemon has in active may be on its way to the receiver at this moment: taken in
 * once more it would arrive twice. It is requeued when it has come back. */
static unsigned
requeue_queues(const struct postsuper *ps)
{
	pid_t holder;

	if (spool_lock_test(ps->command.spool, &holder) == 0)
		return actions[REQUEUE].queues;
	return actions[REQUEUE].queues & ~(unsigned)IN(QUEUE_ACTIVE);
}

/* An id, `-` for ids from standard input, or ALL. */
static void
request(struct postsuper *ps, enum action a, unsigned queues, const char *what)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	ps->asked[a] = true;
	if (strcmp(what, "ALL") == 0) {
		act_on_all(ps, a, queues);
	} else if (strcmp(what, "-") == 0) {
		while ((n = getline(&line, &room, stdin)) >= 0) {
			struct str id = str_trim((struct str){line, (size_t)n});

			if (id.n > 0)
				one_id(ps, a, queues, id);
		}
		free(line);
	} else {
		one_id(ps, a, queues, str_of(what));
	}
}

static void
tell_repair(void *ctx, const struct repair_note *note)
{
	const char *name = "postsuper";

	if (note->rc < 0)
		log_warn(name, "%s: %s", note->path, strerror(-note->rc));
	else if (note->what == REPAIR_BOGUS)
		log_warn(name, "bogus file name: %s", note->path);
	else if (note->to)
		log_info(name, "moved %s to %s", note->path, note->to);
	else
		log_info(name, "removed %s", note->path);
}

static void
repair(struct postsuper *ps, bool purge, bool structure)
{
	const struct spool *s = ps->command.spool;

	for (unsigned q = 0; q < QUEUE_COUNT; q++) {
		int rc = 0;

		if ((ps->queues & IN(q)) == 0)
			continue;
		if (structure)
			rc = repair_structure_blk(s, (enum queue)q, tell_repair, NULL);
		if (rc == 0 && purge && q <= QUEUE_HOLD)
			rc = repair_purge_blk(
			    s, (enum queue)q, (int64_t)time(NULL), tell_repair, NULL);
		if (rc < 0)
			command_fatal(&ps->command, "scan %s: %s", spool_queue_name((enum queue)q),
			    strerror(-rc));
	}
	ps->tell_all = true;
}

static void
become_owner(struct postsuper *ps)
{
	struct passwd pw, *found = NULL;
	struct stat st;
	char text[4096];
	int rc = fsio_stat(spool_dirfd(ps->command.spool), spool_queue_name(QUEUE_INCOMING), &st);

	if (rc < 0)
		command_fatal(&ps->command, "%s/%s: %s", spool_directory(ps->command.spool),
		    spool_queue_name(QUEUE_INCOMING), strerror(-rc));
	if (st.st_uid == geteuid())
		return;
	if (geteuid() != 0)
		command_fatal(&ps->command, "use of this command is reserved for the superuser");
	getpwuid_r(st.st_uid, &pw, text, sizeof(text), &found);
	if (setgroups(0, NULL) < 0 || setgid(found ? found->pw_gid : st.st_gid) < 0 ||
	    setuid(st.st_uid) < 0)
		command_fatal(&ps->command, "become uid %ld: %s", (long)st.st_uid, strerror(errno));
}

/* What is done to mail belongs into the mail log, not only on the screen. */
static void
open_log(struct postsuper *ps)
{
	const struct params *p = ps->command.config->params;
	struct str label = str_head(str_of(p->myhostname), str_index(str_of(p->myhostname), '.'));
	char host[64];
	struct log_options o = {
	    .syslog_name = p->syslog_name, .host = host, .facility = LOG_MAIL, .to_stderr = 1};

	if (*p->maillog_file && str_starts(str_of(p->maillog_file), STR("/dev/")))
		return; /* the daemon's standard output is not ours */
	snprintf(host, sizeof(host), "%.*s", STR_FMT(label));
	o.file = *p->maillog_file ? p->maillog_file : NULL;
	log_setup(&o);
}

static const char options[] = "c:d:e:f:h:H:pr:sSv";

/* First turn: all but the requests, so that a usage error comes before anything is done. */
static void
scan_options(struct postsuper *ps, int argc, char **argv, bool *ret_purge, bool *ret_structure)
{
	bool any = false;
	int c;

	while ((c = getopt(argc, argv, options)) != -1) {
		if (c == '?')
			command_fatal(&ps->command, "%s", USAGE);
		if (c == 'c')
			ps->command.config_option = optarg;
		any |= c != 'c' && c != 'v';
		*ret_purge |= c == 'p';
		*ret_structure |= c == 's' || c == 'S';
	}
	if (!any)
		*ret_purge = *ret_structure = true;
	for (int i = optind; i < argc; i++) {
		enum queue q = spool_queue_find(str_of(argv[i]));

		if (q != QUEUE_COUNT && (ALL_QUEUES & IN(q)))
			ps->queues |= IN(q);
		else if (strcmp(argv[i], "flush") != 0) /* nothing of ours is in there */
			command_fatal(&ps->command, "invalid directory name: %s", argv[i]);
	}
	if (optind == argc)
		ps->queues = ALL_QUEUES;
}

static void
run_requests(struct postsuper *ps, int argc, char **argv)
{
	int c;

	optind = 1;
	while ((c = getopt(argc, argv, options)) != -1) {
		switch (c) {
		case 'd':
			request(ps, DELETE, actions[DELETE].queues, optarg);
			break;
		case 'e':
			request(ps, EXPIRE, actions[EXPIRE].queues, optarg);
			break;
		case 'f':
			request(ps, EXPIRE, actions[EXPIRE].queues | IN(QUEUE_HOLD), optarg);
			request(ps, RELEASE, actions[RELEASE].queues, optarg);
			break;
		case 'h':
			request(ps, HOLD, actions[HOLD].queues, optarg);
			break;
		case 'H':
			request(ps, RELEASE, actions[RELEASE].queues, optarg);
			break;
		case 'r':
			request(ps, REQUEUE, requeue_queues(ps), optarg);
			break;
		default:
			break;
		}
	}
}

int
postsuper_main(int argc, char **argv)
{
	struct postsuper ps = {.command = {.name = "postsuper", .fatal_code = 1}};
	bool purge = false, structure = false;

	command_begin(&ps.command, argv);
	scan_options(&ps, argc, argv, &purge, &structure);
	command_config(&ps.command);
	open_log(&ps);
	command_spool(&ps.command);
	become_owner(&ps);
	if (purge || structure)
		repair(&ps, purge, structure);
	run_requests(&ps, argc, argv);
	if (ps.tell_all)
		tell_daemon(&ps, "changed-all");
	for (unsigned a = 0; a < ACTIONS; a++)
		if (ps.asked[a])
			log_info(ps.command.name, "%s: %lld message%s", actions[a].summary,
			    (long long)ps.done[a], ps.done[a] == 1 ? "" : "s");
	return command_end(&ps.command, 0);
}
