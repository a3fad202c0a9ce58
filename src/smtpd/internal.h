/*
 * internal.h - what the files of smtpd/ share: the session and the compiled setup.
 * THREAD a setup any (immutable, but for its counter), a session and struct smtpd their loop.
 * OWNS   a session: its stream, arenas, the open cleanup; see session.c for its end.
 * ERRORS see smtpd.h.
 */
#pragma once
#include <sys/queue.h>
#include "pp/base/sm.h"
#include "pp/mail/dot.h"
#include "pp/mail/esmtp.h"
#include "pp/map/matchlist.h"
#include "pp/runtime/counter.h"
#include "pp/runtime/log.h"
#include "pp/smtpd/smtpd.h"
#include "restrict.h"

enum {
	SMTPD_LINE_MAX = 2048,         /* bytes of a command line, without its end */
	SMTPD_HELO_MAX = 512,          /* bytes kept of a HELO argument */
	SMTPD_SESSIONS_DEFAULT = 2000, /* per service, when master.cf gives no maxproc */
	SMTPD_SPACE_CACHE_MS = 1000,
};

/* session.c: states[] */
enum session_state {
	SESSION_GREETING, /* before the 220: names, limits, client restrictions */
	SESSION_IDLE,     /* no transaction */
	SESSION_MAIL,     /* a sender */
	SESSION_RCPT,     /* recipients too */
	SESSION_DATA,     /* content is read */
	SESSION_COMMIT,   /* content is complete, the spool decides */
	SESSION_ENDED,    /* the stream is gone; perhaps one answer is still waited for */
};

/* The one open question of a session. While there is one, no line is read. */
enum question {
	ASK_NOTHING,
	ASK_SLEEP, /* the pause after too many errors */
	ASK_NAME,  /* resolver: can be cancelled */
	ASK_DNS,   /* resolver for a restriction: can be cancelled */
	ASK_COUNT,
	ASK_MAP,
	ASK_CLASS,
	ASK_SPACE,
	ASK_DRAIN, /* cleanup is full: content waits */
	ASK_COMMIT,
};

enum smtpd_command {
	COMMAND_HELO,
	COMMAND_EHLO,
	COMMAND_XCLIENT,
	COMMAND_XFORWARD,
	COMMAND_STARTTLS,
	COMMAND_AUTH,
	COMMAND_MAIL,
	COMMAND_RCPT,
	COMMAND_DATA,
	COMMAND_BDAT,
	COMMAND_RSET,
	COMMAND_NOOP,
	COMMAND_VRFY,
	COMMAND_ETRN,
	COMMAND_QUIT,
	COMMAND_UNKNOWN,
	COMMAND_COUNT,
};

struct smtpd_stats {
	unsigned total[COMMAND_COUNT], ok[COMMAND_COUNT];
};

enum bare_newline { BARE_NORMALIZE, BARE_NOTE, BARE_REJECT };

struct smtpd_setup {
	struct snap snap;
	struct arena arena;
	struct config *config;
	const struct service *service;
	const struct params *p; /* with the service's -o */
	struct cleanup_setup cleanup;
	struct restrict_list lists[STAGE_COUNT];
	struct map *listed[ROUTE_DEFAULT]; /* valid recipients by class; NULL: all */
	struct restrict_class *classes;
	unsigned class_count;
	struct netlist *mynetworks, *exceptions, *bare_exclusions;
	struct map **maps; /* opened for restrictions */
	unsigned map_count;
	const char *greeting;  /* "220 ...\r\n" */
	const char *discarded; /* " ETRN CHUNKING", for the log; NULL = nothing to say */
	struct str ehlo_reply; /* the whole answer */
	unsigned extensions;   /* ESMTP_ bits that are offered */
	unsigned params;       /* those whose parameters are taken */
	enum bare_newline bare_newline;
	bool is_parents; /* smtpd_access_maps: bare names match subdomains */
	bool is_rewrite_mynetworks, is_rewrite_interfaces;
	bool is_no_symbols; /* forbidden: a command that does not begin with a letter */
	int queue_dirfd;
	int64_t session_limit;
	struct counter sessions;
};

struct transaction {
	struct arena arena;
	struct esmtp_mail mail;
	const char *sender_text; /* for log and replies: external form */
	struct cleanup *cleanup; /* from the first good RCPT on */
	struct esmtp_rcpt rcpt;  /* the one being looked at */
	const char *rcpt_text;   /* of it; from DATA on: of the only one, or NULL */
	const char *first_text;
	enum route_class rcpt_class; /* of rcpt, completed */
	int64_t rcpt_count, overshoot;
	int64_t size; /* bytes of content, lines counted with CRLF */
	bool is_hold, is_discard, is_too_big;
	struct dot_decoder dot;
};

struct smtpd_session {
	LIST_ENTRY(smtpd_session) link;
	struct smtpd *server;
	struct smtpd_setup *setup;
	struct stream *stream;
	struct arena arena, scratch; /* of the session, of the command */
	struct timer timer;
	int64_t deadline;
	uint8_t state, question, command;
	bool is_esmtp, is_improper, is_counted, is_slept, is_eof, is_unflushed;
	bool is_long;      /* a line was too long: its rest is swallowed */
	bool is_closing;   /* the last reply was given: nothing is "lost" */
	bool is_announced; /* "connect from" was logged */
	bool is_mynetworks;
	bool is_hold, is_discard; /* said of the client or its HELO: for every message */
	int64_t errors, junk;
	size_t scanned; /* bytes of input known to hold no LF */
	size_t behind;  /* bytes of input behind the command that runs */
	const char *address, *name, *reverse, *client; /* client = "NAME[ADDR]" */
	const char *where; /* the word for the log: CONNECT, RCPT, UNKNOWN .. */
	const char *helo;  /* NULL before; cleaned */
	char *helo_memory;
	const char *denied; /* rejected at CONNECT: answer to everything but QUIT */
	const char *long_line;
	struct resolver_query *query;
	struct transaction t;
	struct restrict_run run;
	struct smtpd_stats stats;
	/* of ASK_CLASS */
	struct route_query class_query;
	enum cmd_result (*class_next)(struct smtpd_session *s, enum verdict v);
	/* of ASK_SPACE */
	int64_t space_size;
	enum cmd_result (*space_next)(struct smtpd_session *s, int rc);
};

/* smtpd.c: one per loop. */
struct smtpd_space {
	struct lane_job job;
	struct smtpd *server;
	struct smtpd_setup *setup; /* a reference while it is asked */
	bool is_asked;
	int rc;
	int64_t bytes, inodes, at; /* at: loop_now of the answer */
	bool is_known;
};

struct smtpd {
	struct loop *loop;
	struct resolver *resolver;
	struct lane *slow, *disk;
	struct smtpd_counts *counts;
	LIST_HEAD(, smtpd_session) sessions;
	unsigned n;
	bool is_stopping;
	struct timer stop_timer;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
	struct post stopped_post;
	int64_t limit_logged_at;
	struct smtpd_space space;
};

/* session.c */
void smtpd_session_start(struct smtpd *d, struct smtpd_setup *setup, int fd);
/* A command (DATA: its content too) came to an end; not CMD_WAIT. */
void smtpd_session_done(struct smtpd_session *s, enum cmd_result r);
/* The same after CMD_WAIT, and on with the next command. The session may be gone afterwards. */
void smtpd_session_answered(struct smtpd_session *s, enum cmd_result r);
/* The banner was written, or the last reply (CMD_CLOSE). */
void smtpd_session_greeted(struct smtpd_session *s, enum cmd_result r);
/* On with what waits in the input. The session may be gone afterwards. */
void smtpd_session_pump(struct smtpd_session *s);
/* The server ends it with this reply. The session may be gone afterwards. */
void smtpd_session_shut(struct smtpd_session *s, const char *reply);
/* One question at a time. */
void smtpd_session_ask(struct smtpd_session *s, enum question q);
/* Ends the question; false: the session had ended meanwhile and is gone now. */
bool smtpd_session_told(struct smtpd_session *s);
void smtpd_session_move(struct smtpd_session *s, enum session_state to);
/* The clock for what the client has to do next starts again. */
void smtpd_session_expect(struct smtpd_session *s);
/* Forgets sender, recipients and an open cleanup. */
void smtpd_session_reset(struct smtpd_session *s);

/* greeting.c: from the accept to the 220. */
void smtpd_greeting_start(struct smtpd_session *s);

/* The client may stay, or gets this reply; from counts.c, never inside smtpd_counts_enter. */
void smtpd_greeting_counted(struct smtpd_session *s, const char *refusal);

/* counts.c */
void smtpd_counts_enter(struct smtpd_session *s);
void smtpd_counts_leave(struct smtpd_session *s);

/* smtpd.c */
void smtpd_session_gone(struct smtpd *d, struct smtpd_session *s);
void smtpd_check_stopped(struct smtpd *d);

/* space.c. next(s, 0), or next(s, -ENOSPC): at once, or later after CMD_WAIT. */
enum cmd_result smtpd_space_check(struct smtpd_session *s, int64_t size,
    enum cmd_result (*next)(struct smtpd_session *s, int rc));

/* verb.c */
enum cmd_result smtpd_verb_run(struct smtpd_session *s, struct str line);
const char *smtpd_verb_name(enum smtpd_command c);
/* "ehlo=1 rcpt=1/2 commands=2/3" */
void smtpd_stats_print(const struct smtpd_stats *st, struct buf *to);

/* reply.c. One line; CRLF is added, controls become `?`. */
void smtpd_reply(struct smtpd_session *s, const char *fmt, ...) PP_PRINTF(2, 3);
void smtpd_reply_status(struct smtpd_session *s, const struct status *st);
/* "ID: reject: RCPT from N[A]: text; from=<> to=<> proto= helo=" */
void smtpd_log_event(struct smtpd_session *s, const char *event, const char *text);

/* unlisted.c */
int smtpd_unlisted_open_blk(struct smtpd_setup *s, struct buf *err);
void smtpd_unlisted_close(struct smtpd_setup *s);

/* received.c */
struct received {
	const char *helo, *name, *address; /* address: "127.0.0.1", "::1" */
	const char *hostname, *mail_name, *protocol, *id;
	const char *rcpt; /* external form of the only recipient, or NULL */
	int64_t now_s;
};
void received_print(const struct received *r, struct buf *to);

/* cmd_*.c: one function per verb. */
enum cmd_result smtpd_cmd_helo(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_ehlo(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_mail(struct smtpd_session *s, struct str args);
/* cmd_mail.c, for RCPT too. */
void smtpd_refuse_param(struct smtpd_session *s, enum esmtp_error e, struct str bad);
bool smtpd_is_undeclared_utf8(const struct smtpd_session *s, const char *address);
bool smtpd_is_undeclared_domain(const struct smtpd_session *s, const char *address);
bool smtpd_is_loose_path(const struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_rcpt(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_data(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_rset(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_noop(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_vrfy(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_quit(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_starttls(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_auth(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_bdat(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_xclient(struct smtpd_session *s, struct str args);
enum cmd_result smtpd_cmd_unknown(struct smtpd_session *s, struct str args);
/* cmd_data.c: takes in what has arrived. False: nothing more can be done now. */
bool smtpd_data_read(struct smtpd_session *s);
