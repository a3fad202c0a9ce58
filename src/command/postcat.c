/*
 * postcat.c - shows queue files: envelope, headers and body, as Postfix's postcat prints them.
 *
 * It is the administrator's window into files of any state, so it prints whatever can be framed
 * and names types it does not know. Reading is bounded where the original's is not: a pointer that
 * leads in circles is an error, and a size record of zeros is not followed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/mail/header.h"
#include "pp/runtime/log.h"
#include "pp/spool/reader.h"

enum {
	SHOW_ENVELOPE = 1,
	SHOW_HEADER = 2,
	SHOW_BODY = 4,
	SHOW_ALL = SHOW_ENVELOPE | SHOW_HEADER | SHOW_BODY,
	FILE_MAX = 1 << 30,
};

#define USAGE                                                                                      \
	"usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] "              \
	"[-e (envelope records)] [-h (header text)] [-q (access queue)] [-v] [file(s)...]"

enum part { PART_ENVELOPE, PART_HEADER, PART_BODY, PART_EXTRACTED };

struct postcat {
	struct command command;
	unsigned show;
	bool offsets, types, verbose;
	bool raw; /* pointers are not followed; like Postfix's, of effect only where they are shown
		   */
	bool by_id;
	off_t start;
	/* Of one file. */
	const char *path;
	struct reader *reader;
	off_t content_at, content_end; /* 0 = not known */
	enum part part;
	bool open_line; /* the last record was an unterminated piece */
	/* Like Postfix's, -b begins with the second piece of a header line that is too long for one
	 * record, while for -h the line goes on. */
	bool rest_as_body;
};

static void
put_prefix(const struct postcat *pc, off_t at, int type)
{
	if (pc->offsets)
		printf("%9lu ", (unsigned long)at);
	if (pc->types)
		printf("%3d ", type);
}

static void
put_marker(const struct postcat *pc, off_t at, int type, const char *what)
{
	if ((pc->show & SHOW_ENVELOPE) == 0)
		return;
	if (type > 0)
		put_prefix(pc, at, type);
	printf("*** %s %s ***\n", what, pc->path);
}

static void
put_text(struct str s)
{
	fwrite(s.p, 1, s.n, stdout);
}

/* ctime(3)'s form, or the text as it is when it is no time. */
static void
put_time(const char *name, struct str text)
{
	struct str first;
	int64_t sec;
	time_t t;
	char stamp[32];

	if (!str_token(&text, " ", &first) || record_number(first, &sec) < 0)
		sec = 0;
	t = (time_t)sec;
	if (ctime_r(&t, stamp) == NULL)
		snprintf(stamp, sizeof(stamp), "?\n");
	printf("%s: %s", name, stamp);
}

static void
put_envelope(const struct postcat *pc, const struct record *rec)
{
	const char *name = record_name(rec->type);
	struct str payload = str_head(rec->payload, str_index(rec->payload, '\0'));
	struct str create = STR("create_time=");

	if (rec->type == REC_TIME || rec->type == REC_WARN) {
		put_time(name, payload);
	} else if (rec->type == REC_ATTR && str_starts(payload, create)) {
		put_time("create_time", str_from(payload, create.n));
	} else {
		printf("%s: ", name ? name : "unknown_record_type");
		put_text(payload);
		putchar('\n');
	}
}

static void
warn(const struct postcat *pc, const char *text)
{
	fflush(stdout); /* in order, where both go to one place */
	log_warn(pc->command.name, "%s: %s", pc->path, text);
}

static bool
attr_is_good(const struct postcat *pc, const struct record *rec)
{
	char text[256];

	if (rec->type != REC_ATTR || str_index(rec->payload, '=') < rec->payload.n)
		return true;
	snprintf(text, sizeof(text), "malformed attribute: missing '=' after attribute name: %.*s",
	    (int)str_head(rec->payload, 128).n, rec->payload.p);
	warn(pc, text);
	return false;
}

static bool
part_is_shown(const struct postcat *pc)
{
	static const unsigned shown_by[] = {[PART_ENVELOPE] = SHOW_ENVELOPE,
	    [PART_HEADER] = SHOW_HEADER,
	    [PART_BODY] = SHOW_BODY,
	    [PART_EXTRACTED] = SHOW_ENVELOPE};

	return (pc->show & shown_by[pc->part]) != 0 ||
	       (pc->part == PART_HEADER && pc->rest_as_body && (pc->show & SHOW_BODY));
}

static void
put_content(struct postcat *pc, const struct record *rec, off_t at)
{
	if (!part_is_shown(pc))
		return;
	if (!pc->open_line || pc->verbose)
		put_prefix(pc, at, rec->type);
	if (pc->verbose)
		printf("%s: ", rec->type == REC_LINE ? "regular_text" : "unterminated_text");
	put_text(rec->payload);
	if (rec->type == REC_LINE || pc->verbose)
		putchar('\n');
}

static void
text_record(struct postcat *pc, const struct record *rec, off_t at)
{
	struct str s = rec->payload;

	if (pc->part == PART_HEADER && !header_parse(s, NULL) &&
	    !(s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))) {
		pc->rest_as_body = true;
		if (!pc->open_line)
			pc->part = PART_BODY;
	}
	put_content(pc, rec, at);
	pc->open_line = rec->type == REC_PART;
}

static void
content_begins(struct postcat *pc, off_t at)
{
	put_marker(pc, at, REC_CONTENT, "MESSAGE CONTENTS");
	pc->part = PART_HEADER;
	pc->open_line = pc->rest_as_body = false;
}

/* 1 = the file is done. */
static int
show_record(struct postcat *pc, const struct record *rec, off_t at)
{
	bool in_content = pc->part == PART_HEADER || pc->part == PART_BODY;

	switch (rec->type) {
	case REC_CONTENT:
		content_begins(pc, at);
		return 0;
	case REC_EXTRACTED:
		if (!in_content)
			warn(pc, "out-of-order extracted segment marker");
		put_marker(pc, at, REC_EXTRACTED, "HEADER EXTRACTED");
		pc->part = PART_EXTRACTED;
		return 0;
	case REC_END:
		put_marker(pc, at, REC_END, "MESSAGE FILE END");
		return !(pc->raw && pc->verbose);
	case REC_POINTER:
	case REC_PADDING:
		if (!pc->verbose)
			return 0;
		break;
	case REC_LINE:
	case REC_PART:
		/* An L outside the content is a filter; an N belongs there (an offset was given).
		 */
		if (!in_content && rec->type == REC_PART)
			break;
		text_record(pc, rec, at);
		return 0;
	default:
		break;
	}
	if (!part_is_shown(pc) || !attr_is_good(pc, rec))
		return 0;
	put_prefix(pc, at, rec->type);
	put_envelope(pc, rec);
	return 0;
}

/* With a good size record the content need not be looked for, nor read when nobody wants it. */
static void
use_size(struct postcat *pc, const struct record *rec)
{
	struct record_size size;

	if (record_get_size(rec->payload, &size) < 0 || size.data_offset <= 0 ||
	    size.data_size <= 0) {
		fflush(stdout);
		log_warn(pc->command.name, "invalid size record: %.*s", STR_FMT(rec->payload));
		return;
	}
	pc->content_at = size.data_offset;
	pc->content_end = size.data_offset + size.data_size;
	if ((pc->show & SHOW_ENVELOPE) == 0) {
		reader_seek(pc->reader, pc->content_at);
		content_begins(pc, -1);
	}
}

/* Content that is not shown is passed over. 1 = and nothing comes behind it. */
static int
skip_content(struct postcat *pc)
{
	bool wanted = (pc->part == PART_HEADER && (pc->show & (SHOW_HEADER | SHOW_BODY))) ||
		      (pc->part == PART_BODY && (pc->show & SHOW_BODY));

	if (pc->part == PART_EXTRACTED)
		return (pc->show & SHOW_ENVELOPE) == 0;
	if (pc->part == PART_ENVELOPE || wanted)
		return 0;
	if ((pc->show & SHOW_ENVELOPE) == 0)
		return 1;
	if (pc->content_end > 0)
		reader_seek(pc->reader, pc->content_end);
	pc->content_end = 0;
	return 0;
}

static void
show_records(struct postcat *pc)
{
	struct record rec;
	off_t at = -1, real;
	bool followed, first = true;
	int rc, done = 0;

	while (!done) {
		if (at < 0)
			at = reader_tell(pc->reader);
		rc = reader_next(pc->reader, &rec, &real);
		if (rc == 1)
			break;
		if (rc == 0 && first && pc->start == 0)
			put_marker(pc, 0, 0, "ENVELOPE RECORDS");
		first = false;
		if (rc == 0)
			done = show_record(pc, &rec, at);
		followed = rc == 0 && rec.type == REC_POINTER && !pc->raw;
		if (followed)
			rc = reader_follow(pc->reader, rec.payload);
		if (rc < 0) {
			warn(pc, reader_error(pc->reader));
			command_fatal(&pc->command, "%s",
			    followed ? "bad pointer record, or input is not seekable"
				     : "record read error");
		}
		if (rec.type == REC_SIZE && pc->part == PART_ENVELOPE)
			use_size(pc, &rec);
		if (!done)
			done = skip_content(pc);
		/* What is passed over silently is part of the next record's place. */
		if (rec.type != REC_PADDING || pc->verbose)
			at = -1;
	}
}

/* Takes the reader. */
static void
show_file(struct postcat *pc, const char *path, struct reader *r, int first)
{
	pc->path = path;
	pc->reader = r;
	pc->part = PART_ENVELOPE;
	pc->open_line = false;
	pc->content_at = pc->content_end = 0;
	reader_set_raw(r, pc->verbose);
	if (pc->start > 0) {
		reader_seek(r, pc->start);
	} else if (first <= 0 || strchr("CTcFILSDRO/WVA>K<inopM", first) == NULL) {
		if (first > 0)
			warn(pc, "input is not a valid queue file");
		reader_close(r);
		return;
	}
	show_records(pc);
	reader_close(r);
}

static void
show_path(struct postcat *pc, const char *path, const char *shown)
{
	struct buf bytes;
	int rc;

	buf_init(&bytes, FILE_MAX);
	rc = fsio_read_all(AT_FDCWD, path, &bytes);
	if (rc < 0)
		command_fatal(&pc->command, "open %s: %s", shown, strerror(-rc));
	show_file(pc, shown, reader_open_bytes(buf_str(&bytes)),
	    bytes.n > 0 ? (unsigned char)bytes.p[0] : -1);
	buf_fini(&bytes);
}

static void
show_id(struct postcat *pc, const char *id)
{
	static const enum queue queues[] = {
	    QUEUE_MAILDROP, QUEUE_INCOMING, QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_COUNT};
	const struct spool *s = pc->command.spool;
	char path[SPOOL_PATH_MAX], first = '\0';
	enum queue q;
	struct stat st;
	int fd, rc;

	if (!spool_id_valid(str_of(id)))
		command_fatal(&pc->command, "bad mail queue ID: %s", id);
	rc = spool_find_blk(s, id, queues, &q, &st);
	if (rc == 0)
		spool_path(s, q, id, path);
	else if (rc == -ENOENT) /* where nothing is ever put, but Postfix looks as well */
		snprintf(path, sizeof(path), "saved/%s", id);
	fd = rc == 0 || rc == -ENOENT ? fsio_open_read(spool_dirfd(s), path) : rc;
	if (fd < 0)
		command_fatal(&pc->command, "open queue file %s: %s", id, strerror(-fd));
	if (fsio_pread(fd, &first, 1, 0) < 1)
		first = '\0';
	show_file(pc, path, reader_open_fd(fd), (unsigned char)first);
}

static void
options(struct postcat *pc, int argc, char **argv)
{
	int64_t n;
	int c;

	while ((c = getopt(argc, argv, "bc:dehoqrs:v")) != -1) {
		switch (c) {
		case 'b':
			pc->show |= SHOW_BODY;
			break;
		case 'c':
			pc->command.config_option = optarg;
			break;
		case 'd':
			pc->types = true;
			break;
		case 'e':
			pc->show |= SHOW_ENVELOPE;
			break;
		case 'h':
			pc->show |= SHOW_HEADER;
			break;
		case 'o':
			pc->offsets = true;
			break;
		case 'q':
			pc->by_id = true;
			break;
		case 'r':
			pc->raw = true;
			break;
		case 's':
			if (str_number(str_of(optarg), 0, INT64_MAX, &n) < 0)
				command_fatal(&pc->command, "bad offset: %s", optarg);
			pc->start = (off_t)n;
			break;
		case 'v':
			pc->verbose = true;
			break;
		default:
			command_fatal(&pc->command, "%s", USAGE);
		}
	}
	if (pc->show == 0)
		pc->show = SHOW_ALL;
}

int
postcat_main(int argc, char **argv)
{
	struct postcat pc = {.command = {.name = "postcat", .fatal_code = 1}};

	command_begin(&pc.command, argv);
	options(&pc, argc, argv);
	if (pc.by_id) {
		command_config(&pc.command);
		command_spool(&pc.command);
	}
	if (optind >= argc)
		show_path(&pc, "/dev/stdin", "stdin");
	for (int i = optind; i < argc; i++) {
		if (pc.by_id)
			show_id(&pc, argv[i]);
		else
			show_path(&pc, argv[i], argv[i]);
	}
	return command_end(&pc.command, 0);
}
