/*
 * postqueue.h - the two forms a listing is printed in, and where they go.
 * THREAD the command's only one.
 * OWNS   output: its buffer, freed by output_fini. Entries are read where they are.
 * ERRORS postqueue_print_* return 0, or 1 when nothing more can be written; output.error says why.
 */
#pragma once
#include <time.h>
#include "pp/spool/listing.h"

/* Bytes for a descriptor, written in pieces of OUTPUT_PIECE. */
struct output {
	int fd;
	int error; /* errno of the first write that failed */
	size_t n;
	char *p;
};

void output_init(struct output *o, int fd);
void output_fini(struct output *o);
void output_put(struct output *o, const char *p, size_t n);
/* Writes what is left; 0 or -errno. A reader that has gone is no error: it has seen enough. */
int output_end(struct output *o);

enum { CLOCK_DAYS = 64, CLOCK_SPANS = 1024, CLOCK_TEXT = 20 };

/* Local times as text. Arrivals are a few days, and a few changes of the clocks: what the C library
 * said of a quarter of an hour or of a day is kept. */
struct local_clock {
	struct {
		int64_t start; /* of the quarter; -1 = unused */
		int64_t offset;
		bool is_uniform; /* one offset holds for all of it */
	} spans[CLOCK_SPANS];
	struct {
		int64_t day; /* since 1970, local; -1 = unused */
		char text[12];
	} days[CLOCK_DAYS];
};

void local_clock_init(struct local_clock *c);
/* The first 20 bytes of ctime(3): "Sat Nov 21 21:20:38 ". */
void local_clock_text(struct local_clock *c, int64_t when, char to[CLOCK_TEXT]);

struct printer {
	struct output out;
	bool long_ids; /* the wider layout of -p */
	int64_t count, bytes;
	struct local_clock clock;
};

/* -p */
int postqueue_print_entry(void *printer, const struct listing *l);
void postqueue_print_end(struct printer *p);
/* -j */
int postqueue_print_json(void *printer, const struct listing *l);
