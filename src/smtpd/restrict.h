/*
 * restrict.h - access restrictions: compiled lists, and the machine that walks them.
 * THREAD compiled lists any (immutable); a run: the loop of its session.
 * OWNS   compiled lists live in the arena of their setup, a run in its session.
 * ERRORS of compiling: texts. A run never fails: what cannot be known now is a 4xx.
 * SEE    access(5).
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/base/mem.h"
#include "pp/map/key.h"

struct smtpd_session;
struct smtpd_setup;
struct resolver_answer;

/* What a command came to. */
enum cmd_result {
	CMD_OK,
	CMD_NONE,  /* an error, but no command at all */
	CMD_BAD,   /* counts as an error */
	CMD_SOFT,  /* failed, but is no error of the client's */
	CMD_WAIT,  /* smtpd_session_answered comes later */
	CMD_MORE,  /* content follows: smtpd_session_done comes behind it */
	CMD_CLOSE, /* the reply was the last one */
	CMD_CLOSE_BAD,
};

enum restrict_stage {
	STAGE_CLIENT,
	STAGE_HELO,
	STAGE_SENDER,
	STAGE_RELAY,
	STAGE_RECIPIENT,
	STAGE_LISTED, /* smtpd_reject_unlisted_recipient */
	STAGE_DATA,
	STAGE_END_OF_DATA,
	STAGE_COUNT,
};

enum { RESTRICT_DEPTH_MAX = 8, RESTRICT_LIST_MAX = 100, CLASSES_MAX = 100 };

enum verdict {
	VERDICT_DUNNO,
	VERDICT_OK,
	VERDICT_REJECT, /* run->reply holds the reply */
	VERDICT_WAIT,   /* restrict_answered comes later */
	VERDICT_LIST,   /* restrict_push was called */
};

struct restrict_run;
struct restriction;

enum restrict_arg { ARG_NONE, ARG_MAP, ARG_WORD };

/* One row per restriction: restrictions.c. */
struct restrict_row {
	const char *name;
	enum verdict (*run)(struct restrict_run *r, const struct restriction *it);
	enum restrict_arg arg;
};
extern const struct restrict_row restrict_rows[];
extern const size_t restrict_row_count;
/* Names of Postfix's that are not done here: a start error, not a silent hole. */
extern const char *const restrict_unsupported[];

struct restriction {
	const struct restrict_row *row; /* NULL: a restriction class */
	const char *arg;                /* "hash:/etc/postfix/access" */
	struct map *map;
	const struct restrict_list *list;
};

struct restrict_list {
	const char *name; /* of the parameter */
	struct restriction *a;
	unsigned n;
};

enum { CLASS_NEW, CLASS_OPEN, CLASS_DONE };

struct restrict_class {
	struct restrict_list list;
	int mark;
};

struct restrict_frame {
	const struct restrict_list *list;
	unsigned at;
	bool is_warn, is_next_warn; /* warn_if_reject, for all of the list or for the next */
};

/* unlisted.c */
struct restrict_run;
enum verdict smtpd_reject_unlisted_recipient(struct restrict_run *r, const struct restriction *it);

/* What is judged: "<x@y>: Recipient address rejected". */
struct restrict_subject {
	const char *name, *what;
};

struct restrict_run {
	struct smtpd_session *session;
	const uint8_t *stages;
	uint8_t stage_count, stage_at;
	uint8_t depth;
	bool is_warn;
	struct restrict_frame stack[RESTRICT_DEPTH_MAX];
	struct restrict_subject subject; /* of the stage */
	struct restrict_subject asked;   /* of the table being asked */
	const struct restriction *asking;
	const char *reply; /* "554 5.7.1 <x>: ..." */
	const char *defer_if_permit, *defer_if_reject;
	bool is_disconnect; /* 421, 521 */
	struct map_query query;
	enum verdict (*found)(struct restrict_run *r, int result, struct buf *value);
	uint8_t asked_class; /* of unlisted.c */
	enum cmd_result (*next)(struct smtpd_session *s, enum verdict v);
};

/* Walks the lists of the stages in order; a permit ends its own list, a reject everything. next is
 * called at once, or, after CMD_WAIT, later. v is VERDICT_OK or VERDICT_REJECT. */
enum cmd_result restrict_run(struct smtpd_session *s, const uint8_t *stages, unsigned n,
    enum cmd_result (*next)(struct smtpd_session *s, enum verdict v));
/* For restrictions that returned VERDICT_WAIT; the question is over (smtpd_session_told). */
void restrict_answered(struct restrict_run *r, enum verdict v);
/* One more list, walked before the rest of this one. */
enum verdict restrict_push(struct restrict_run *r, const struct restrict_list *list);
/* A refusal, subject to warn_if_reject and defer_if_reject; logs it. */
enum verdict restrict_reject(struct restrict_run *r, int64_t code, const char *dsn, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));
/* Remembered, in case the end is a permit (a reject). */
void restrict_defer_if_permit(struct restrict_run *r, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void restrict_defer_if_reject(struct restrict_run *r, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Asks a map; found gets the result as from map_find, now or later. */
enum verdict restrict_ask(struct restrict_run *r, struct map *map, const struct map_keys *keys,
    enum verdict (*found)(struct restrict_run *r, int result, struct buf *value));
/* Asks a table; the value is taken as an action on `subject` (access.c). */
enum verdict restrict_lookup(struct restrict_run *r, const struct restriction *it,
    const struct map_keys *keys, struct restrict_subject subject);
/* The right-hand side of an access table. */
enum verdict access_action(
    struct restrict_run *r, struct str value, const char *table, struct restrict_subject subject);

/* restrict_compile.c: the text of a parameter, or of an access table at run time (no tables may be
 * opened then: setup->arena is not used, `a` is). -EINVAL with a text. */
int restrict_compile_blk(struct smtpd_setup *setup, const char *name, const char *text,
    const char *table_default, struct restrict_list *ret, struct buf *err);
/* All of smtpd_restriction_classes; comes before the lists that name them. */
int restrict_compile_classes_blk(struct smtpd_setup *s, struct buf *err);
int restrict_compile_words(
    struct smtpd_setup *s, struct arena *a, struct str text, struct restrict_list *ret);
const struct restrict_row *restrict_find(struct str name);
/* Does the list refuse other people's destinations before it permits everybody? */
bool restrict_guards_relay(const struct restrict_list *l);
