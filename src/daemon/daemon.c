/*
 * daemon.c - `pennypost run`: the order in which the house comes to life and goes to sleep.
 *
 * Start: configuration, spool and its lock, sockets, then the user change, then threads. Stop is
 * the same in reverse: no new mail in, no new delivery out, what runs is finished or broken off at
 * the deadline, every thread is asked to free what is its own, and only then do the loops end.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/control/client.h"
#include "pp/daemon/daemon.h"
#include "pp/delivery/agents.h"
#include "pp/net/sasl.h"
#include "pp/runtime/last.h"
#include "pp/spool/journal.h"
#include "pp/spool/receipts.h"

/* After all deadlines: for threads to end, and for the journal to become files. */
enum { THREADS_MS = 5000, FILES_MS = 30000 };

static unsigned
io_wanted(const struct params *p)
{
	cpu_set_t set;
	int n = (int)p->workers;

	if (n == 0 && sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	return n < 1 ? 1 : n > IO_MAX ? IO_MAX : (unsigned)n;
}

static void
agent_add(struct daemon *d, const struct delivery_agent *agent, void *const *ctx)
{
	PP_ASSERT(d->agent_count < AGENTS_MAX);
	d->agents[d->agent_count++] = (struct qmgr_agent){agent, ctx};
}

/* The table of delivery agents: a new one is a row here. */
static const struct delivery_agent agent_smtp = {"smtp", smtp_deliver};
static const struct delivery_agent agent_lmtp = {"lmtp", smtp_deliver};

static void
agents_make(struct daemon *d)
{
	for (unsigned i = 0; i < d->io_count; i++)
		d->smtp_ctx[i] = d->io[i]->smtp;
	agent_add(d, &agent_smtp, d->smtp_ctx);
	agent_add(d, &agent_lmtp, d->smtp_ctx);
	agent_add(d, &delivery_agent_error, NULL);
	agent_add(d, &delivery_agent_discard, NULL);
}

static void
committed(void *ctx, struct spool_arrival *a)
{
	struct daemon *d = ctx;

	qmgr_arrive(d->qmgr, a);
}

static void
signalled(void *ctx, int signum)
{
	struct daemon *d = ctx;

	if (signum == SIGHUP)
		daemon_reload(d);
	else
		daemon_stop(d, signum);
}

/* A daemon in the background must not hold the terminal it was started from. */
static void
let_go_stderr(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0)
		dup2(null, 2);
	fsio_close(null);
}

static void
ready_tell(struct daemon *d)
{
	struct buf text = {.max = 64 * 1024};

	for (size_t r = 0; r < d->gen->n; r++)
		for (size_t i = 0; i < d->gen->rows[r].n; i++)
			buf_printf(&text, "listening %s %s\n", d->gen->rows[r].fds[i].name,
			    d->gen->rows[r].service);
	buf_adds(&text, "ready\n");
	if (d->ready_fd >= 0) {
		fsio_write(d->ready_fd, buf_str(&text));
		fsio_close(d->ready_fd);
		d->ready_fd = -1;
	}
	buf_fini(&text);
	if (d->is_background)
		let_go_stderr();
}

/* All io loops have their objects: the queue manager and everything that feeds it may begin. Only
 * then are the doors opened, so no mail is taken that nobody would deliver. */
static void
all_created(struct daemon *d)
{
	struct qmgr_options o = {
	    .loop = d->qmgr_loop,
	    .setup = d->gen->cleanup,
	    .disk = d->disk,
	    .slow = d->slow,
	    .background = d->background,
	    .io = d->io_loops,
	    .io_count = d->io_count,
	    .agents = d->agents,
	    .receipts = d->receipts,
	    .kept = d->kept,
	};
	struct buf err = {.max = 1024};
	struct arena scratch = {0};

	o.rates_file =
	    arena_printf(&scratch, "%s/rates", d->gen->cleanup.config->params->data_directory);
	agents_make(d);
	o.agent_count = d->agent_count;
	d->qmgr = qmgr_new(&o);
	arena_fini(&scratch);
	qmgr_on_event(d->qmgr, daemon_event, d);
	spool_set_commit_hook(d->spool, committed, d);
	d->pickup = pickup_new(d->main, d->disk, &d->gen->cleanup);
	pickup_submitters(d->pickup, d->gen->users[RIGHT_SUBMIT]);
	d->control = control_server_new(
	    d->main, CONTROL_SOCKET, daemon_orders, daemon_orders_count(), d, &err);
	if (d->control == NULL)
		log_warn("master", "%s: commands cannot reach the daemon", buf_cstr(&err));
	buf_clear(&err);
	d->showq = control_server_new(d->main, "public/showq", &daemon_showq, 1, d, &err);
	if (d->showq == NULL)
		log_warn("master", "%s: the queue cannot be listed", buf_cstr(&err));
	buf_fini(&err);
	daemon_triggers_open(d);
	daemon_submit_open(d);
	d->phase = PHASE_OPEN;
	d->io_open = d->io_count;
	for (unsigned i = 0; i < d->io_count; i++)
		io_reload(d->io[i], d->gen);
}

static void
all_open(struct daemon *d)
{
	d->phase = PHASE_RUN;
	ready_tell(d);
	qmgr_start(d->qmgr);
	pickup_wake(d->pickup);
	daemon_purge_at_start(d);
	daemon_rest_start(d);
	/* Told to stop while the doors were being opened: there may be sessions already. */
	if (d->stopping)
		daemon_stop_parts(d, d->gen->cleanup.config->params->shutdown_timeout);
}

void
daemon_io_started(struct daemon *d, struct io *io)
{
	if (io->failed && d->exit_code == 0) {
		log_fatal("master", "dns_resolvers: %s", buf_cstr(&io->error));
		d->exit_code = 1;
	}
	if (--d->io_open > 0)
		return;
	if (d->phase == PHASE_RUN)
		daemon_reloaded(d);
	else if (d->exit_code != 0 || (d->stopping && d->phase == PHASE_CREATE))
		daemon_end(d);
	else if (d->phase == PHASE_CREATE)
		all_created(d);
	else
		all_open(d);
}

/* Nothing runs any more: each thread frees what is its own. */
void
daemon_end(struct daemon *d)
{
	d->io_open = d->io_count;
	for (unsigned i = 0; i < d->io_count; i++)
		io_fini(d->io[i]);
}

void
daemon_part_stopped(struct daemon *d)
{
	if (--d->stops_open == 0)
		daemon_end(d);
}

static void
part_stopped(void *ctx)
{
	daemon_part_stopped(ctx);
}

static void
too_late(void)
{
	log_warn("master", "stopped without waiting any longer: the disk, or something else that "
			   "was asked, does not answer; what was under way is in the spool for the "
			   "next start");
}

void
daemon_stop(struct daemon *d, int signum)
{
	int64_t deadline = d->gen->cleanup.config->params->shutdown_timeout;

	if (d->stopping)
		return;
	d->stopping = true;
	if (signum)
		log_info("master", "terminating on signal %d", signum);
	last_resort(deadline + THREADS_MS, d->exit_code, too_late);
	if (d->phase != PHASE_RUN || d->reload)
		return; /* goes on when the answers are there: daemon_io_started, daemon_reloaded */
	daemon_stop_parts(d, deadline);
}

void
daemon_stop_parts(struct daemon *d, int64_t deadline_ms)
{
	/* The queue manager waits a little longer than those it waits for. */
	d->stops_open = d->io_count + 2;
	qmgr_stop(d->qmgr, deadline_ms + 2000, part_stopped, d);
	pickup_stop(d->pickup, part_stopped, d);
	for (unsigned i = 0; i < d->io_count; i++)
		io_stop(d->io[i], deadline_ms);
}

void
daemon_io_ended(struct daemon *d)
{
	if (--d->io_open > 0)
		return;
	if (d->pickup)
		pickup_free(d->pickup);
	daemon_watchers_end(d);
	control_server_free(d->control);
	control_server_free(d->showq);
	daemon_triggers_close(d);
	for (size_t i = 0; i < PP_COUNT(d->signals); i++)
		signal_unwatch(d->signals[i]);
	/* Answers of the lanes still reach all loops; writers given up from here on clean up at
	 * once. */
	spool_set_lane(d->spool, NULL);
	daemon_purge_end(d);
	daemon_rest_end(d);
	lane_free(d->sasl);
	lane_free(d->slow);
	lane_free(d->background);
	lane_free(d->disk);
	for (unsigned i = 0; i < d->io_count; i++)
		loop_stop(d->io_loops[i]);
	loop_stop(d->qmgr_loop);
	if (d->journal_loop)
		loop_stop(d->journal_loop);
	loop_stop(d->main);
}

static void
journal_failed(int rc)
{
	log_warn(
	    "master", "journal: %s: new messages are files until the next start", strerror(-rc));
}

static int
journal_start(struct daemon *d)
{
	const struct params *p = d->gen->cleanup.config->params;
	const struct journal_options o = {.failed = journal_failed,
	    .size_limit = p->journal_size_limit,
	    .message_limit = p->journal_message_limit};
	int rc;

	rc = receipts_new_blk(d->spool, &d->receipts);
	if (rc < 0)
		log_warn("master",
		    "%s/journal/receipts: %s: should this process be killed, a mail whose final "
		    "reply was read may be delivered again",
		    spool_directory(d->spool), strerror(-rc));
	if (!p->journal && !d->is_kept)
		return 0;
	d->journal_loop = loop_new("journal");
	d->journal = journal_new(d->spool, d->journal_loop, &o);
	rc = d->is_kept ? journal_adopt_blk(d->journal, &d->kept) : 0;
	if (rc < 0)
		log_warn("master",
		    "%s/journal: %s: some of the mail of the last run stays there for the next "
		    "start",
		    spool_directory(d->spool), strerror(-rc));
	if (p->journal)
		spool_set_journal(d->spool, d->journal);
	return loop_start(d->journal_loop);
}

static void
journal_end(struct daemon *d)
{
	int64_t rc;

	last_resort(FILES_MS, d->exit_code, too_late);
	receipts_free(d->receipts);
	if (d->journal) {
		loop_free(d->journal_loop);
		spool_set_journal(d->spool, NULL);
		rc = journal_close(d->journal);
	} else {
		rc = journal_replay_blk(d->spool, (uid_t)-1, (gid_t)-1, NULL);
	}
	if (rc < 0)
		log_warn("master",
		    "journal: what it holds cannot be made into files: %s: it stays there, and the "
		    "next start tries again",
		    strerror((int)-rc));
}

static int
loops_start(struct daemon *d)
{
	int rc;

	d->disk = lane_new("disk", DISK_THREADS);
	d->slow = lane_new("slow", SLOW_THREADS);
	d->background = lane_new("back", BACKGROUND_THREADS);
	d->sasl = lane_new("sasl", 1);
	spool_set_lane(d->spool, d->disk);
	d->io_count = io_wanted(d->gen->cleanup.config->params);
	d->io_open = d->io_count;
	d->counts = smtpd_counts_new(d->main);
	d->qmgr_loop = loop_new("qmgr");
	rc = loop_start(d->qmgr_loop);
	if (rc == 0)
		rc = journal_start(d);
	for (unsigned i = 0; rc == 0 && i < d->io_count; i++) {
		d->io[i] = io_new(d, i);
		d->io_loops[i] = d->io[i]->loop;
		rc = loop_start(d->io[i]->loop);
		if (rc == 0)
			io_start(d->io[i], d->gen);
	}
	return rc;
}

static void
loops_free(struct daemon *d)
{
	loop_join(d->qmgr_loop);
	for (unsigned i = 0; i < d->io_count; i++)
		loop_join(d->io_loops[i]);
	if (d->journal_loop)
		loop_join(d->journal_loop);
	qmgr_free(d->qmgr);
	loop_free(d->qmgr_loop);
	for (unsigned i = 0; i < d->io_count; i++) {
		loop_free(d->io_loops[i]);
		mem_free(d->io[i]);
	}
	loop_free(d->main);
	journal_end(d);
	smtpd_counts_free(d->counts);
}

static int
run(struct daemon *d)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGHUP};

	log_start();
	log_info("master", "daemon started -- version %s, configuration %s", PP_VERSION,
	    d->gen->cleanup.config->dir);
	d->main = loop_new("main");
	for (size_t i = 0; i < PP_COUNT(wanted); i++)
		d->signals[i] = signal_watch(d->main, wanted[i], signalled, d);
	if (loops_start(d) < 0) {
		log_fatal("master", "threads cannot be started: raise the limit of tasks");
		log_stop();
		_exit(1); /* those that were started hold what could be freed */
	}
	loop_run(d->main);
	loops_free(d);
	sasl_stop();
	return d->exit_code;
}

struct note {
	STAILQ_ENTRY(note) link;
	bool is_error;
	const char *text;
};

/* What is noticed at the start, before it is known where the log goes. */
struct start_notes {
	struct arena arena;
	STAILQ_HEAD(, note) notes;
	bool has_log, is_background, also_stderr;
};

static void
note_show(const struct start_notes *n, bool is_error, const char *text)
{
	if (n->has_log && is_error)
		log_fatal("master", "%s", text);
	else if (n->has_log)
		log_warn("master", "%s", text);
	/* To the eyes of who starts it as well, unless they are on the log already. In the
	 * background nobody's are: standard output leads nowhere then. */
	if (!n->has_log || (n->also_stderr && (n->is_background || !log_is_stdout())))
		dprintf(2, "pennypost: %s: %s\n", is_error ? "fatal" : "warning", text);
}

static void
say_at_start(void *ctx, bool is_error, const char *text)
{
	struct start_notes *n = ctx;
	struct note *e;

	if (n->has_log) {
		note_show(n, is_error, text);
		return;
	}
	e = ARENA_NEW(&n->arena, struct note);
	e->is_error = is_error;
	e->text = arena_strdup(&n->arena, text);
	STAILQ_INSERT_TAIL(&n->notes, e, link);
}

static void
notes_flush(struct start_notes *n)
{
	struct note *e;

	STAILQ_FOREACH (e, &n->notes, link)
		note_show(n, e->is_error, e->text);
	STAILQ_INIT(&n->notes);
	arena_fini(&n->arena);
}

static void
log_is_ready(void *ctx)
{
	struct start_notes *n = ctx;

	n->has_log = true;
	notes_flush(n);
	if (n->is_background && log_is_stdout())
		note_show(n, false,
		    "the log goes to standard output, which a daemon in the background does not "
		    "have: set maillog_file to a file, or to nothing for syslog");
}

int
daemon_run(const struct daemon_options *o)
{
	struct daemon *d = MEM_NEW(struct daemon);
	struct start_notes notes = {
	    .also_stderr = o->also_stderr, .is_background = o->is_background};
	const struct say say = {say_at_start, &notes};
	int rc;

	*d = (struct daemon){.config_dir = o->config_dir,
	    .ready_fd = o->ready_fd,
	    .is_background = o->is_background,
	    .master_lock = -1};
	signal_ignore();
	STAILQ_INIT(&notes.notes);
	rc = daemon_prepare(d, &say, log_is_ready);
	notes_flush(&notes);
	if (rc < 0)
		rc = rc == -EINVAL ? 78 : 1; /* EX_CONFIG: a restart would not help */
	else
		rc = run(d);
	generation_free(d->gen, NULL);
	spool_close(d->spool);
	fsio_close(d->master_lock);
	free(d->config_dir_whole);
	mem_free(d);
	log_stop();
	return rc;
}

static void
say_at_check(void *ctx, bool is_error, const char *text)
{
	fprintf(stderr, "pennypost: %s: %s\n", is_error ? "fatal" : "warning", text);
}

int
daemon_check(const struct daemon_options *o)
{
	struct daemon d = {
	    .config_dir = o->config_dir, .uid = geteuid(), .was_root = geteuid() == 0};
	const struct say say = {say_at_check, NULL};
	struct config *cfg = generation_load(&d, &say);
	uid_t uid;
	gid_t gid, group;
	bool is_good = cfg && privileges_find_owner(cfg, &uid, &gid, &group, &say) == 0;

	if (is_good)
		is_good = generation_check(cfg, &say) == 0;
	else if (cfg)
		snap_unref(&cfg->snap);
	return is_good ? 0 : 78;
}
