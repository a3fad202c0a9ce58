/*
 * internal.h - the one object that ties the rooms together. The main loop's, but for struct io,
 * which belongs to its io loop once that runs.
 */
#pragma once
#include <sys/queue.h>
#include "pp/control/server.h"
#include "pp/net/listener.h"
#include "pp/pickup/pickup.h"
#include "pp/qmgr/qmgr.h"
#include "pp/runtime/log.h"
#include "pp/runtime/signal.h"
#include "pp/smtp/smtp.h"
#include "pp/smtpd/smtpd.h"

enum {
	IO_MAX = 64,
	LISTENERS_MAX = 32,  /* master.cf inet rows */
	LISTEN_FDS_MAX = 16, /* addresses of one row */
	AGENTS_MAX = 8,
	DISK_THREADS = 4,
	SLOW_THREADS = 2,
	BACKGROUND_THREADS = 4, /* listings, details, syncs, orphans */
};

/* One master.cf inet row that is ours, bound. */
struct listen_row {
	char service[80];
	struct listener_fd *fds;
	size_t n;
	struct smtpd_setup *setup;
};

enum right {
	RIGHT_LIST,
	RIGHT_SHOWQ, /* the same, by Postfix's protocol */
	RIGHT_FLUSH,
	RIGHT_SUBMIT,
	RIGHT_COUNT,
};

struct userlist;

/* Everything compiled from one configuration. */
struct generation {
	struct cleanup_setup cleanup; /* holds config and route */
	struct smtp_setup *smtp;
	struct userlist *users[RIGHT_COUNT];
	struct listen_row rows[LISTENERS_MAX];
	size_t n;
};

struct io_door {
	struct io *io;
	struct listener *listener;
	size_t row;
};

struct io {
	struct post post;
	struct daemon *daemon;
	struct loop *loop;
	unsigned index;
	struct resolver *resolver;
	struct smtpd *smtpd;
	struct smtp *smtp;
	struct io_door *doors; /* while they are open */
	size_t door_count;
	struct smtpd_setup *setups[LISTENERS_MAX]; /* by row; own references */
	bool failed;
	struct buf error;
	unsigned stops_open;
};

enum phase { PHASE_CREATE, PHASE_OPEN, PHASE_RUN };

struct daemon {
	struct loop *main;
	enum phase phase;
	struct generation *gen;
	struct spool *spool;
	const char *config_dir; /* -c made absolute, or NULL */
	char cwd[4096];         /* where it was started; "" = unknown */
	bool was_root;          /* when it was started */
	char *config_dir_whole; /* its memory, when it was relative */
	int ready_fd;           /* -1 = none */
	bool is_background;
	int master_lock; /* fd of data_directory/master.lock */
	uid_t uid;
	gid_t gid, setgid_group;
	struct lane *disk, *slow, *background, *sasl;
	struct loop *journal_loop; /* NULL without a journal */
	struct journal *journal;
	bool is_kept;              /* mail of the last run is in the journal */
	struct journal_kept *kept; /* what is in it, or NULL */
	struct receipts *receipts; /* or NULL */
	struct smtpd_counts *counts;
	struct io *io[IO_MAX];
	struct loop *io_loops[IO_MAX];
	unsigned io_count, io_open;
	struct qmgr *qmgr;
	struct loop *qmgr_loop;
	void *smtp_ctx[IO_MAX];
	struct qmgr_agent agents[AGENTS_MAX];
	size_t agent_count;
	struct pickup *pickup;
	struct control_server *control, *showq, *triggers[2];
	struct signal_watch *signals[3];
	LIST_HEAD(, watcher) watchers;
	struct reload *reload;
	struct daemon_purge *purge; /* under way */
	struct {
		struct timer timer;
		int64_t spent_us;
	} rest;
	bool stopping, reload_again;
	unsigned stops_open;
	int exit_code;
};

/* generation.c: 0, or -1 with errors and warnings told to `say`. Blocks. */
struct say {
	void (*line)(void *ctx, bool is_error, const char *text);
	void *ctx;
};
struct config *generation_load(const struct daemon *d, const struct say *say);
struct generation *generation_new(
    struct config *cfg, struct spool *spool, const struct generation *old, const struct say *say);
/* Compiles everything but binds nothing; takes the reference of cfg. 0 or -errno. */
/* Warns about files that cannot be read, as the user that will read them. */
void generation_check_files(const struct generation *g, const struct say *say);
int generation_check(struct config *cfg, const struct say *say);
void generation_free(struct generation *g, const struct generation *keep_fds_of);

/* privileges.c */
int privileges_find_owner(const struct config *cfg, uid_t *ret_uid, gid_t *ret_gid,
    gid_t *ret_setgid_group, const struct say *say);
int privileges_drop(uid_t uid, gid_t gid, struct buf *err);

/* io.c */
struct io *io_new(struct daemon *d, unsigned index);
void io_start(struct io *io, const struct generation *g);
void io_reload(struct io *io, const struct generation *g);
void io_stop(struct io *io, int64_t deadline_ms);
void io_fini(struct io *io);
/* daemon.c: answers of the io loops, on the main loop */
void daemon_io_started(struct daemon *d, struct io *io);
void daemon_part_stopped(struct daemon *d);
void daemon_io_ended(struct daemon *d);
void daemon_stop(struct daemon *d, int signum);
void daemon_stop_parts(struct daemon *d, int64_t deadline_ms);
void daemon_end(struct daemon *d);
/* reload.c */
void daemon_reload(struct daemon *d);
/* All io loops use the new generation. */
void daemon_reloaded(struct daemon *d);
/* orders.c */
extern const struct control_command daemon_orders[];
size_t daemon_orders_count(void);
void daemon_event(void *ctx, const char *line);
void daemon_watchers_end(struct daemon *d);
/* purge.c: unlinks what was deleted, in the background; does nothing twice at once. */
void daemon_purge(struct daemon *d);
void daemon_purge_at_start(struct daemon *d);
void daemon_purge_end(struct daemon *d);
/* rest.c: memory is given back whenever there is nothing to do. */
void daemon_rest_start(struct daemon *d);
void daemon_rest_end(struct daemon *d);
/* rights.c: run(d, r, arg), now or later, when who asks may do that; else the request ends. */
typedef void right_run(void *daemon, struct control_request *r, const char *arg);
void rights_ask(
    struct daemon *d, struct control_request *r, enum right right, const char *arg, right_run *run);
int rights_compile(struct generation *g, struct buf *err);
void rights_free(struct generation *g);
/* showq.c */
void daemon_order_list(void *ctx, struct control_request *r, const char *arg);
extern const struct control_command daemon_showq;
/* trigger.c */
void daemon_triggers_open(struct daemon *d);
void daemon_triggers_close(struct daemon *d);
/* The socket of pickup, where our own sendmail hands mail over. */
void daemon_submit_open(struct daemon *d);
/* start.c */
int daemon_prepare(struct daemon *d, const struct say *say, void (*log_ready)(void *ctx));
void daemon_log_setup(const struct config *cfg, uid_t uid, bool to_stderr);
