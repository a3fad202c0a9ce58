/*
 * qshape.h - what the files of the qshape command share.
 * THREAD qshape_file: any, each call with its own buffer; the rest the command's own.
 * OWNS   see each.
 */
#pragma once
#include "pp/base/buf.h"
#include "pp/base/hash.h"
#include "pp/base/mem.h"

enum {
	QSHAPE_BUCKETS_MAX = 1000,
	QSHAPE_ADDRESS_MAX = 4096, /* of a longer one the end is looked at, where its domain is */
};

struct qshape_options {
	bool by_sender, with_parents, is_linear;
	unsigned buckets, width, min_subdomains;
	unsigned top; /* rows to show; 0 = all */
	double tick;  /* minutes */
};

/* qshape_table.c: counts by domain and age. */
struct qshape_row {
	UT_hash_handle hh;
	struct str name;
	int64_t subdomains; /* seen below a parent */
	int64_t *count;     /* 0 = all, 1 .. buckets = by age */
};

struct qshape_table {
	const struct qshape_options *o;
	int64_t now;
	struct arena arena;
	struct qshape_row *rows, *total;
};

void qshape_table_init(struct qshape_table *t, const struct qshape_options *o, int64_t now);
void qshape_table_fini(struct qshape_table *t);
/* One recipient or sender of a message that came at `time`; domain as qshape_domain makes it. */
void qshape_count(struct qshape_table *t, int64_t time, struct str domain);
/* Takes the messages that qshape_file or qshape_put have written; returns how many. */
unsigned qshape_count_all(struct qshape_table *t, struct str messages);
void qshape_print(struct qshape_table *t, struct buf *to);
/* The key an address counts under. */
struct str qshape_domain(struct str address, char to[QSHAPE_ADDRESS_MAX]);

/* qshape_file.c: appends the message in a file to `to`, or nothing when it does not count. */
void qshape_file(const char *path, bool by_sender, struct buf *to);
/* The same from values: begin, an address each, end. */
size_t qshape_put_begin(struct buf *to, int64_t time);
void qshape_put(struct buf *to, struct str address);
void qshape_put_end(struct buf *to, size_t at, unsigned addresses);

/* qshape_walk.c: counts the files below each path, a directory of any depth or a file. `counted`
 * is told after a few of them how many messages came. */
void qshape_walk(char *const *paths, size_t n, bool by_sender,
    void (*counted)(void *ctx, struct str messages), void *ctx);
