/*
 * internal.h - what the files of config/ share.
 * THREAD the one that loads; a published configuration no longer changes.
 * OWNS   everything a configuration is made of lies in its arena.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/base/hash.h"
#include "pp/config/config.h"
#include "pp/config/expand.h"
#include "pp/config/settings.h"

enum {
	CONFIG_FILE_MAX = 4 << 20,   /* bytes of main.cf, master.cf or a .._FILE */
	CONFIG_VALUE_MAX = 256 << 10 /* bytes of one expanded value */
};

/* A set of settings: a hash for looking up, which uthash also keeps in order of arrival. */
struct setting_entry {
	struct setting setting;
	const char *content; /* of the file that the value names, which then counts instead */
	const char *text;    /* expanded */
	UT_hash_handle hh;
};

struct settings {
	struct setting_entry *hash;
};

struct service_entry {
	struct service service; /* first */
	struct service_option *options, **last_option;
	struct settings overrides; /* of its -o, and service_name */
	const char **columns;
	const char **texts; /* per parameter, expanded; shared with the configuration's or own */
	struct service_entry *next;
};

/* TRANSPORT_what that somebody set. */
struct transport_value {
	const char *name; /* "slow_destination_concurrency_limit" */
	const char *text;
	int64_t number;
	UT_hash_handle hh;
};

struct config_data {
	struct config cfg; /* first: what the world sees */
	struct arena arena;
	struct settings settings;
	struct service_entry *services;
	const char **defaults; /* per parameter, before expansion */
	const char **texts;    /* per parameter, expanded */
	struct transport_value *transports;
	struct settings mentioned; /* names that some text reads as $name or as a class */
	struct settings tables;    /* X of ldap:X, which reads X_server_host .. */
	unsigned suggestions;      /* given so far */
};

static inline struct config_data *
config_data(const struct config *cfg)
{
	return cfg->data;
}

/* settings.c */
struct setting_entry *settings_find(const struct settings *s, struct str name);
/* Adds or replaces; all strings must live as long as the arena. */
struct setting_entry *settings_put(struct settings *s, struct arena *a, const char *name,
    const char *value, const char *file, int line);
void settings_fini(struct settings *s);

/* The parsers. They only see bytes, so they can be tested and fuzzed without a file. */
int maincf_parse(struct str text, const char *file, struct settings *to, struct arena *a,
    struct config_report *report);
int mastercf_parse(
    struct str text, const char *file, struct config_data *to, struct config_report *report);
/* The rows that stand for a missing master.cf. */
const char *mastercf_builtin(bool is_root);

void environment_apply(char *const *environ, struct config_data *d, struct config_report *report);

/* Defaults that depend on the machine. Needs the settings. */
void defaults_compute(struct config_data *d, const struct config_source *src);

/* A place to look names up: a service's overrides (or NULL) before the configuration. */
struct scope {
	struct config_data *d;
	const struct settings *overrides;
};
const char *scope_lookup(void *arg, struct str name);
int scope_expand(const struct scope *sc, struct str text, struct buf *to, struct buf *err);
/* Expands and reads every parameter as seen in a scope. Of a service (sc->overrides) only what
 * differs from the configuration itself is reported. */
void params_read(
    const struct scope *sc, struct params *to, const char **texts, struct config_report *report);
/* In the copy of an LMTP service, the lmtp_x become its smtp_x: one client, two sets of names. */
void params_use_lmtp(struct params *p, const char **texts);

/* One value by its row: writes the field at its offset. The text, with a NUL behind it, must live
 * as long as that. */
int param_parse(
    const struct param *p, struct str text, struct arena *a, struct params *to, struct buf *err);
unsigned param_count(void);
unsigned param_index(const struct param *p);

void transport_read(struct config_data *d, struct config_report *report);
/* The row of a name such as slow_destination_rate_delay, when slow is a transport; else NULL. */
const struct transport_param *transport_param_split(const struct config_data *d, struct str name);

/* Unknown names, levels, and what contradicts itself. */
void check_names(struct config_data *d, struct config_report *report);
void check_values(struct config_data *d, struct config_report *report);
