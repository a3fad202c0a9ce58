/*
 * postmap.h - what the files of postmap, postalias and newaliases share.
 * THREAD the command's only one; everything blocks.
 * OWNS   see each.
 */
#pragma once
#include "common.h"
#include "pp/base/hash.h"
#include "pp/map/text.h"

struct postmap {
	struct command command;
	bool is_alias;
	bool keeps_case;             /* -f */
	bool takes_files;            /* -F: values are names of files */
	bool takes_bytes;            /* -u: lines need not be UTF-8 */
	bool does_replace;           /* -r */
	bool is_silent;              /* -w: about keys that are there already */
	bool is_sequence, is_insert; /* -s, -i */
	unsigned parts;              /* -b -h -m */
	const char *query, *delete;  /* -q, -d */
};

enum { PART_BODY = 1, PART_HEADER = 2, PART_MIME = 4 };

/* "type:name" of the command line. */
struct postmap_table {
	const char *type, *name;
	bool is_proxy; /* it was proxy:type:name */
};

/* postmap.c: the whole command; a table of its command line, cut in place; the check of one. */
int postmap_run(struct postmap *pm, int argc, char **argv);
struct postmap_table postmap_table_of(struct postmap *pm, char *word);
void postmap_build(struct postmap *pm, const struct postmap_table *t);

/* A table whose text is the table. Entries in the order of the file; only the first of equal keys
 * is in the hash. */
struct postmap_entry {
	UT_hash_handle hh;
	struct postmap_entry *next;
	struct str key, value; /* the key folded as asked */
	struct str raw;        /* as it is written */
	size_t from, to;       /* its lines in the text, and comments around them */
	struct str new_value;  /* what an edit puts in its place */
	bool is_gone;
};

struct postmap_text {
	struct arena arena;
	struct buf bytes;
	struct postmap_entry *first, **last, *hash;
};

/* postmap_text.c. What is wrong is told; a file that cannot be read ends the process. */
void postmap_text_init(struct postmap_text *t);
void postmap_text_fini(struct postmap_text *t);
enum postmap_tell {
	TELL_NOTHING,
	TELL_BUILD,  /* as postmap when it builds the table */
	TELL_LOOKUP, /* as texthash when it is looked into */
	TELL_INPUT,  /* as building, but nothing of keys that are there already */
};
void postmap_text_read(struct postmap *pm, const struct postmap_table *table,
    struct postmap_text *t, enum postmap_tell tell);
/* The same of t->bytes, which are called `source`. */
void postmap_text_parse(struct postmap *pm, const struct postmap_table *table, const char *source,
    struct postmap_text *t, enum postmap_tell tell);
/* NULL when it is not there. */
struct postmap_entry *
postmap_text_find(const struct postmap *pm, const struct postmap_text *t, struct str key);
/* The files that a value names, in `to`. 0, or -errno and the file in `name`. */
int postmap_value_files(struct str value, struct buf *to, struct buf *name);

/* postmap_edit.c: entries from standard input, in; and out. */
void postmap_insert(struct postmap *pm, const struct postmap_table *table);
/* Whether one of the keys was there; "-" = from standard input. */
bool postmap_delete(struct postmap *pm, const struct postmap_table *table, const char *key);
/* The next line of standard input; false at its end. */
bool postmap_input(struct buf *line);

/* postmap_message.c: calls for each header and body line of the message on standard input. */
void postmap_message(unsigned parts, void (*each)(void *ctx, struct str key), void *ctx);
