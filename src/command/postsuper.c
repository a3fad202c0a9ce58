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
#include "postsuper.h"
#include "pp/command/command.h"
#include "pp/runtime/log.h"
#include "pp/spool/bulk.h"
#include "pp/spool/repair.h"

#define USAGE                                                                                      \
	"usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] "          \
	"[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] "      \
	"[-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] "               \
	"[-S (redundant structure fix)][-v (verbose)] [queue...]"

/* Their bits in `queues`: what a name on the command line may be, and what is meant without one. */
enum {
	NAMES = MAIL_QUEUES | LOG_QUEUES,
	WAITING = IN(QUEUE_INCOMING) | IN(QUEUE_ACTIVE) | IN(QUEUE_DEFERRED),
	ORPHAN_AGE = 3600, /* seconds, while a daemon runs */
};

const struct postsuper_action postsuper_actions[ACTIONS] = {
    [REQUEUE] = {WAITING | IN(QUEUE_HOLD), "requeue", "requeued", "Requeued"},
    [DELETE] = {MAIL_QUEUES, "delete", "removed", "Deleted"},
    [EXPIRE] = {WAITING | IN(QUEUE_HOLD), "expire", "expired", "Force-expired"},
    [HOLD] = {WAITING, "hold", "placed on hold", "Placed on hold"},
    [RELEASE] = {IN(QUEUE_HOLD), NULL, "released from hold", "Released from hold"},
};

void
postsuper_complain(struct postsuper *ps, enum action a, const char *id, int rc)
{
	if (rc == -EEXIST)
		log_warn(ps->command.name, "%s: not %s: there is another message of this id", id,
		    postsuper_actions[a].word);
	else
		log_warn(ps->command.name, "%s: not %s: %s", id, postsuper_actions[a].word,
		    strerror(-rc));
	/* Postfix goes on after these two. */
	ps->failed |= rc != -EEXIST && a != EXPIRE;
}

/* An id, `-` for ids from standard input, or ALL. */
static void
request(struct postsuper *ps, const enum action *a, size_t n, const char *what)
{
	bool all = strcmp(what, "ALL") == 0;

	for (size_t i = 0; i < n; i++) {
		ps->asked[a[i]] = true;
		if (all)
			postsuper_all(ps, a[i]);
	}
	if (!all)
		postsuper_ids(ps, a, n, what);
	postsuper_tell(ps);
}

/* In the words of Postfix's -v. */
static void
tell_repair(void *ctx, const struct repair_note *note)
{
	struct postsuper *ps = ctx;
	const char *name = ps->command.name;

	ps->failed |= note->rc < 0 && note->rc != -EEXIST && note->rc != -ENOENT &&
		      note->what != REPAIR_REMOVED_DIRECTORY;
	if (note->what == REPAIR_REMOVED_DIRECTORY && note->rc < 0)
		log_warn(name, "remove subdirectory %s: %s", note->path, strerror(-note->rc));
	else if (note->what == REPAIR_REMOVED_DIRECTORY)
		log_info(name, "remove directory %s", note->path);
	else if (note->rc == -EEXIST)
		log_warn(name, "%s: not moved: there is another message of this id", note->path);
	else if (note->rc < 0)
		log_warn(name, "%s: %s", note->path, strerror(-note->rc));
	else if (note->what == REPAIR_BOGUS)
		log_warn(name, "bogus file name: %s", note->path);
	else if (note->to)
		log_info(name, "renamed file %s as %s", note->path, note->to);
	else
		log_info(name, "removed file %s%s", note->path,
		    note->what == REPAIR_ORPHAN ? ": a log without a message" : "");
}

static void
repair_queue(struct postsuper *ps, enum queue q, bool purge, bool structure)
{
	const struct spool *s = ps->command.spool;
	int rc = 0;

	if (purge && q <= QUEUE_HOLD)
		rc = repair_purge_blk(s, q, (int64_t)time(NULL), tell_repair, ps);
	if (rc == 0 && structure)
		rc = repair_structure_blk(s, q, tell_repair, ps);
	if (rc < 0)
		command_fatal(&ps->command, "scan %s: %s", spool_queue_name(q), strerror(-rc));
}

static void
repair(struct postsuper *ps, bool purge, bool structure)
{
	static const enum queue order[] = {QUEUE_DEFER, QUEUE_BOUNCE, QUEUE_TRACE, QUEUE_MAILDROP,
	    QUEUE_INCOMING, QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD};
	int64_t before = (int64_t)time(NULL);

	if (structure)
		postsuper_settle(ps);
	postsuper_share(ps);
	if (!postsuper_hold_back(ps))
		before -= ORPHAN_AGE;
	for (size_t i = 0; i < PP_COUNT(order); i++)
		if (ps->queues & IN(order[i]))
			repair_queue(ps, order[i], purge, structure);
	postsuper_let_go(ps);
	postsuper_done(ps);
	if (structure)
		postsuper_purge(ps);
	/* Now that every message is where it can be found. The logs of what was deleted go with
	 * it, without a word. */
	structure = structure && !bulk_purge_needed_blk(ps->command.spool);
	for (size_t i = 0; structure && i < PP_COUNT(order); i++)
		if (ps->queues & LOG_QUEUES & IN(order[i]))
			repair_orphans_blk(ps->command.spool, order[i], before, tell_repair, ps);
	postsuper_say(ps, "changed-all");
}

/* What is made from here on must be the daemon's. */
static void
become_owner(struct postsuper *ps)
{
	struct passwd pw, *found = NULL;
	struct stat st;
	char text[4096];
	gid_t gid;
	int rc = fsio_stat(spool_dirfd(ps->command.spool), spool_queue_name(QUEUE_INCOMING), &st);

	if (rc < 0)
		command_fatal(&ps->command, "%s/%s: %s", spool_directory(ps->command.spool),
		    spool_queue_name(QUEUE_INCOMING), strerror(-rc));
	if (st.st_uid != geteuid() && geteuid() != 0)
		command_fatal(&ps->command, "use of this command is reserved for the superuser");
	getpwuid_r(st.st_uid, &pw, text, sizeof(text), &found);
	gid = found ? found->pw_gid : st.st_gid;
	ps->lock = spool_lock_file(ps->command.spool);
	if (ps->all)
		bulk_prepare_blk(ps->command.spool, st.st_uid, gid);
	if (st.st_uid != geteuid() &&
	    (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(st.st_uid) < 0))
		command_fatal(&ps->command, "become uid %ld: %s", (long)st.st_uid, strerror(errno));
}

/* What is done to mail belongs into the mail log, not only on the screen. */
static void
open_log(struct postsuper *ps)
{
	const struct params *p = ps->command.config->params;
	struct str label = str_head(str_of(p->myhostname), str_index(str_of(p->myhostname), '.'));
	char host[64];
	struct log_options o = {.syslog_name = p->syslog_name,
	    .host = host,
	    .facility = log_facility(p->syslog_facility),
	    .to_stderr = 1};

	if (*p->maillog_file && str_starts(str_of(p->maillog_file), STR("/dev/")))
		return; /* the daemon's standard output is not ours */
	snprintf(host, sizeof(host), "%.*s", STR_FMT(label));
	o.file = *p->maillog_file ? p->maillog_file : NULL;
	log_setup(&o);
}

/* As in Postfix, options end at the first name. */
static const char options[] = "+c:d:e:f:h:H:pr:sSv";

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
		ps->verbose |= c == 'v';
		ps->all |= optarg != NULL && strcmp(optarg, "ALL") == 0;
		ps->delete_all |= c == 'd' && strcmp(optarg, "ALL") == 0;
		*ret_purge |= c == 'p';
		*ret_structure |= c == 's' || c == 'S';
	}
	if (!any)
		*ret_purge = *ret_structure = true;
	ps->named = optind < argc;
}

/* After the log is open: a wrong name is told there as well. Before anything is done, where Postfix
 * finds out when it comes to it. */
static void
scan_names(struct postsuper *ps, int argc, char **argv)
{
	for (int i = optind; i < argc; i++) {
		enum queue q = spool_queue_find(str_of(argv[i]));

		if (q != QUEUE_COUNT && (NAMES & IN(q)))
			ps->queues |= IN(q);
		else if (strcmp(argv[i], "flush") != 0) /* nothing of ours is in there */
			command_fatal(&ps->command, "invalid directory name: %s", argv[i]);
	}
	if (!ps->named)
		ps->queues = NAMES;
}

static void
run_requests(struct postsuper *ps, int argc, char **argv)
{
	static const struct {
		char option;
		size_t n;
		enum action actions[2];
	} table[] = {
	    {'d', 1, {DELETE}},
	    {'e', 1, {EXPIRE}},
	    {'f', 2, {EXPIRE, RELEASE}},
	    {'h', 1, {HOLD}},
	    {'H', 1, {RELEASE}},
	    {'r', 1, {REQUEUE}},
	};
	int c;

	optind = 1;
	while ((c = getopt(argc, argv, options)) != -1)
		for (size_t i = 0; i < PP_COUNT(table); i++)
			if (table[i].option == c)
				request(ps, table[i].actions, table[i].n, optarg);
}

int
postsuper_main(int argc, char **argv)
{
	struct postsuper ps = {.command = {.name = "postsuper", .fatal_code = 1}, .moving = -1};
	bool purge = false, structure = false, was_root = geteuid() == 0;

	command_begin(&ps.command, argv);
	buf_init(&ps.changed, 8192);
	scan_options(&ps, argc, argv, &purge, &structure);
	command_config(&ps.command);
	if (was_root)
		open_log(&ps);
	command_spool(&ps.command);
	become_owner(&ps);
	if (!was_root)
		open_log(&ps);
	scan_names(&ps, argc, argv);
	if (purge || structure)
		repair(&ps, purge, structure);
	run_requests(&ps, argc, argv);
	for (unsigned a = 0; a < ACTIONS; a++)
		if (ps.asked[a])
			log_info(ps.command.name, "%s: %lld message%s",
			    postsuper_actions[a].summary, (long long)ps.done[a],
			    ps.done[a] == 1 ? "" : "s");
	if (ps.delete_all)
		postsuper_purge(&ps);
	buf_fini(&ps.changed);
	fsio_close(ps.lock);
	return command_end(&ps.command, ps.failed ? ps.command.fatal_code : 0);
}
