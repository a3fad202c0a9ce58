/*
 * settings.h - the tables and raw texts behind a configuration, for postconf and the manual.
 * THREAD any.  OWNS nothing: rows are constant, settings live as long as their snapshot.
 * ERRORS none.
 */
#pragma once
#include "pp/config/config.h"

enum param_type {
	PARAM_TEXT,
	PARAM_RAW,
	PARAM_BOOL,
	PARAM_INT,
	PARAM_SIZE,
	PARAM_TIME,
	PARAM_ENUM
};

enum param_level {
	PARAM_EFFECT, /* does something here; an unusable value is an error */
	PARAM_LATER,  /* Postfix does something with it, this version does not: a warning says so */
	PARAM_MOOT,   /* there is nothing here it could be about: accepted in silence */
};

/* A row of tbl/params_*.def. */
struct param {
	enum param_type type;
	enum param_level level;
	int64_t min, max;                   /* INT, SIZE; of TIME min in seconds */
	uint32_t name_n;                    /* length of the name */
	uint32_t offset;                    /* in struct params */
	uint32_t name_at, def_at, words_at; /* see the functions; of an ENUM "a|b|c" */
};
const char *param_name(const struct param *p);
/* Before expansion; "" for computed ones, see config_default. */
const char *param_def(const struct param *p);

/* Rows in the order of the tables; NULL behind the last. */
const struct param *param_at(unsigned i);
const struct param *param_find(struct str name);
const struct param *param_find_caseless(struct str name);
/* Checks one text as a value of the row; 0, or -EINVAL and "must be a number from 1 to 100000". */
int param_check(const struct param *p, struct str text, struct buf *err);
/* The known name that somebody who wrote `name` probably meant, NULL when none is near. */
const char *param_suggest(struct str name);

/* One name as somebody set it. */
struct setting {
	const char *name;
	const char *value; /* before expansion */
	const char *file;  /* or "environment variable NAME", "command line": then line is 0 */
	int line;
	const char *origin; /* as config_origin */
};

/* In the order of first appearance, the last definition's value; NULL starts and ends. */
const struct setting *config_setting_next(const struct config *cfg, const struct setting *prev);
const struct setting *config_setting_find(const struct config *cfg, const char *name);
/* The default before expansion, computed ones included; NULL for a name that nobody knows.
 * Names of the form TRANSPORT_what answer "$default_what". */
const char *config_default(const struct config *cfg, const char *name);
/* Whether the name is some $name's in the configuration, in a table's default, a restriction
 * class, or a TRANSPORT_what of a transport: then it is no stray one. */
bool config_is_used(const struct config *cfg, const char *name);
/* Expands a text as if it were a value of main.cf. 0 or -errno and a text. */
int config_expand(const struct config *cfg, struct str text, struct buf *to, struct buf *err);

/* The rows of tbl/transport_params.def: what follows TRANSPORT_, and where its default stands. */
struct transport_param {
	const char *what;      /* "destination_concurrency_limit" */
	const char *fallback;  /* "default_destination_concurrency_limit" */
	const char *reference; /* the same with a $: the default before expansion */
};
const struct transport_param *transport_param_at(unsigned i);

/* -o settings of a row of master.cf, in order; names repeat when they do in the file. */
struct service_option {
	const char *name, *value; /* before expansion */
	const struct service_option *next;
};
const struct service_option *config_service_options(const struct service *s);
/* The eight columns of a row as written: name type private unpriv chroot wakeup maxproc and
 * command with its arguments, words separated by blanks; -o included. */
const char *const *config_service_columns(const struct service *s);
/* Built-in mail transports besides those of master.cf whose TRANSPORT_what are always known. */
bool config_is_transport(const struct config *cfg, const char *name);
