/*
 * sendmail.h - what the files of the sendmail command share.
 * THREAD the command's only one; everything blocks.
 * OWNS   see each.
 * ERRORS functions that return int: 0, or an exit code of sysexits.h after the reason was told.
 */
#pragma once
#include <sysexits.h>
#include "pp/config/config.h"
#include "pp/mail/envelope.h"
#include "pp/spool/record.h"
#include "pp/spool/spool.h"

enum { SENDMAIL_RCPT_MAX = 100 * 1000 };

/* What the command line said. */
struct sendmail_options {
	const char *config_dir;
	const char *sender;   /* -f, -r; NULL = the login name */
	const char *fullname; /* -F */
	const char *envid;
	const char *verp;
	unsigned notify, ret, trace_flags;
	enum body_encoding encoding;
	bool extract;    /* -t */
	bool ignore_dot; /* -i */
	bool gateway;    /* -G */
	bool verbose;
	char mode; /* m, s, p, i, q (flush), n (nothing to do) or v */
	const char *flush_id, *flush_site;
};

/* Everything a submission needs. */
struct sendmail {
	struct sendmail_options o;
	struct config *config;
	const struct params *params;
	struct spool *spool;
	struct arena arena;
	const char *login; /* of the real uid */
	char *const *rcpt; /* words of the command line */
	size_t rcpt_count;
};

int sendmail_options(int argc, char **argv, struct sendmail_options *o, int *ret_first);

/* sendmail_drop.c: one submission. The first trouble sticks; sendmail_drop_end tells it. */
struct sendmail_drop {
	struct sendmail *sm;
	char id[SPOOL_ID_MAX];
	char path[SPOOL_PATH_MAX];
	int fd;            /* of what did not fit into `out`; -1 = all did */
	int no_file;       /* -errno: there cannot be one in maildrop */
	char refusal[256]; /* of the daemon, when it gave one */
	int rc;            /* -errno */
	bool too_big, bad_rcpt;
	char handed[SPOOL_ID_MAX]; /* the id that the daemon has given it, when it is_in_doubt */
	bool is_in_doubt;          /* whether the daemon has taken it */
	int64_t size;              /* of the content */
	struct buf out;
};
void sendmail_drop_open(struct sendmail_drop *d, struct sendmail *sm);
void sendmail_drop_put(struct sendmail_drop *d, int type, struct str payload);
void sendmail_drop_attr(struct sendmail_drop *d, const char *name, const char *value);
void sendmail_drop_number(struct sendmail_drop *d, const char *name, unsigned value);
/* The attributes of the message, F and S, in Postfix's order. */
void sendmail_drop_envelope(struct sendmail_drop *d, const struct envelope *e);
void sendmail_drop_rcpt(
    struct sendmail_drop *d, unsigned notify, const char *orcpt, const char *address);
/* A piece of a line of content. */
void sendmail_drop_line(struct sendmail_drop *d, struct str piece, bool last);
/* 0: the mail is safe, with the daemon or in maildrop. Otherwise nothing is left behind. */
int sendmail_drop_end(struct sendmail_drop *d);
void sendmail_drop_abort(struct sendmail_drop *d);
/* Nothing is left behind when a signal ends the command either. */
void sendmail_drop_signals(void);

/* sendmail_handover.c: all records but E to the daemon, then E. 0: it has committed the mail. Else
 * -errno, and it is to be put into maildrop. */
int sendmail_handover(struct sendmail_drop *d);

/* sendmail.c: opens the spool when it is first needed. 0, or an exit code after it was told. */
int sendmail_spool(struct sendmail *sm);

/* sendmail_input.c: standard input into a drop, up to its end or a lone dot. */
int sendmail_input(struct sendmail *sm, struct sendmail_drop *d);

/* Tells the daemon, when it runs, to look into maildrop. */
void sendmail_wake(const struct sendmail *sm);

/* sendmail_smtp.c: -bs. */
int sendmail_smtp(struct sendmail *sm);
