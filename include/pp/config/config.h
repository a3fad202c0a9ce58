/*
 * config.h - main.cf, master.cf and the environment as one immutable snapshot.
 * THREAD config_load where blocking is allowed (start, a lane, commands); everything else any.
 * OWNS   config_load's result is the caller's reference: snap_unref(&cfg->snap) ends it. All that
 *        these functions return lives as long as the snapshot. Nothing is printed or logged here.
 * ERRORS config_load: 0, or -EINVAL when the report holds errors; then no snapshot is given.
 * SEE    params.h for the parameters, report.h for the report, settings.h for what postconf needs.
 */
#pragma once
#include "pp/base/mem.h"
#include "pp/config/params.h"
#include "pp/config/report.h"
#include "pp/runtime/snap.h"

#define CONFIG_DIR_DEFAULT "/etc/pennypost"

struct config_data;

struct config {
	struct snap snap;            /* first: snap_ref, snap_unref */
	const struct params *params; /* main.cf, environment and defaults; no service's -o */
	const char *dir;             /* the directory asked for, "" when none */
	bool has_main, has_master;   /* whether the files exist */
	struct config_data *data;
};

/* Where a configuration comes from. {.environ = environ, .is_root = geteuid() == 0} is a start. */
struct config_source {
	const char *dir;      /* holds main.cf and master.cf; NULL or "": no files are read */
	bool is_dir_required; /* dir/main.cf must exist: the user named the directory */
	char *const *environ; /* POSTFIX_<parameter>, <PARAMETER>, .._FILE; NULL: none is asked */
	bool is_root;         /* decides port 25 or 2525 and the spool when there is no file */
	const char *const *extra; /* "name=value" of a command line, NULL at the end; may be NULL */
	bool is_lenient;          /* give the snapshot in spite of unusable values (postconf) */
	bool is_mute; /* who needs no mynetworks: its default, which takes an inquiry about all
		       * interfaces, is not made */
	const char *hostname; /* NULL: gethostname(2) */
	const char *cwd;      /* below it the default spool of who is not root; NULL: getcwd(2) */
};

int config_load(const struct config_source *src, struct config **ret, struct config_report *report);
/* The directory that -c OPTION (may be NULL), MAIL_CONFIG or the default name. */
const char *config_dir(const char *option, char *const *environ, bool *ret_required);

/* The expanded text of any name, also of one that users made up and of a restriction class;
 * NULL when nobody defined it. A parameter without a setting gives its default. */
const char *config_text(const struct config *cfg, const char *name);
/* Where a parameter got its value: "/etc/pennypost/main.cf, line 12", "environment variable
 * RELAYHOST", "default". Never NULL. */
const char *config_origin(const struct config *cfg, const char *name);

/* Parameters of a transport: `what` is "destination_concurrency_limit", "destination_rate_delay",
 * "initial_destination_concurrency" ... The value of TRANSPORT_what, else of default_what (or of
 * `what` alone). Times are milliseconds. `what` must be one of tbl/transport_params.def. */
int64_t config_transport_number(const struct config *cfg, const char *transport, const char *what);
const char *
config_transport_text(const struct config *cfg, const char *transport, const char *what);

/* A row of master.cf, or of the built-in rows when there is no master.cf. */
struct service {
	const char *name; /* "smtp", "127.0.0.1:2525", "[::1]:587", "slow" */
	const char *type; /* "inet" "unix" "fifo" "pass" "unix-dgram" */
	bool is_private, is_unprivileged, is_chroot;
	int64_t wakeup;              /* milliseconds, 0 = never */
	bool wakeup_if_used;         /* a `?` behind the wakeup time */
	int64_t maxproc;             /* 0 = no limit */
	const char *command;         /* "smtpd", "smtp", "pipe" ... */
	const char *const *args;     /* without the command and without -o; NULL at the end */
	bool is_available;           /* this pennypost has the program */
	const struct params *params; /* with the row's -o; of lmtp, the lmtp_x stand in smtp_x */
	const char *file;            /* "" for built-in rows */
	int line;
};

/* In the order of the file; start with NULL, ends with NULL. */
const struct service *config_service_next(const struct config *cfg, const struct service *prev);
const struct service *
config_service_find(const struct config *cfg, const char *type, const char *name);
/* Like config_text, seen with the -o of a service. */
const char *
config_service_text(const struct config *cfg, const struct service *s, const char *name);
