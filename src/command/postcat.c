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
#include "pp/control/client.h"
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
	off_t content_at, content_end; /* -1 = not known */
	bool have_size;
	enum part part;
	/* What was shown last is a piece whose line goes on. The rest of a header line that is too
	 * long for one record belongs to the header then, else it begins the body, as Postfix has
	 * it. */
	bool open_line;
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

static struct str
until_nul(struct str s)
{
	return str_head(s, str_index(s, '\0'));
}

/* Cuts off the number a text begins with, as strtol(3) does; false when there is none. */
static bool
leading_number(struct str *text, int64_t *ret)
{
	struct str s = *text;
	bool negative;
	int64_t n;
	size_t digits = 0;

	while (s.n > 0 && str_isspace(s.p[0]))
		s = str_from(s, 1);
	negative = s.n > 0 && s.p[0] == '-';
	if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
		s = str_from(s, 1);
	while (digits < s.n && str_isdigit(s.p[digits]))
		digits++;
	if (str_number(str_head(s, digits), 0, INT64_MAX, &n) < 0)
		return false;
	*ret = negative ? -n : n;
	*text = str_from(s, digits);
	return true;
}

static void
put_time(const char *name, struct str text)
{
	int64_t n = 0;
	time_t t;
	char stamp[64];

	leading_number(&text, &n);
	t = (time_t)n;
	if (ctime_r(&t, stamp) == NULL)
		snprintf(stamp, sizeof(stamp), "%lld\n", (long long)t);
	printf("%s: %s", name, stamp);
}

static void
warn(const struct postcat *pc, const char *text)
{
	fflush(stdout); /* in order, where both go to one place */
	log_warn(pc->command.name, "%s: %s", pc->path, text);
}

static void
bad_attr(const struct postcat *pc, const char *what, struct str text)
{
	char line[256];

	snprintf(line, sizeof(line), "malformed attribute: %s: %.*s", what,
	    (int)str_head(text, 100).n, text.p);
	warn(pc, line);
}

static void
put_attr(const struct postcat *pc, struct str text)
{
	struct str rest = str_trim(text), name;
	size_t n = 0;

	while (n < rest.n && rest.p[n] != '=' && !str_isspace(rest.p[n]))
		n++;
	name = str_head(rest, n);
	rest = str_trim(str_from(rest, n));
	if (n == 0) {
		bad_attr(pc, "missing attribute name", text);
	} else if (rest.n == 0 || rest.p[0] != '=') {
		bad_attr(pc, "missing '=' after attribute name", text);
	} else if (str_eq(name, STR("create_time"))) {
		put_time("create_time", str_from(rest, 1));
	} else {
		rest = str_trim(str_from(rest, 1));
		printf("named_attribute: %.*s=", STR_FMT(name));
		put_text(rest);
		putchar('\n');
	}
}

static void
put_envelope(const struct postcat *pc, const struct record *rec)
{
	const char *name = record_name(rec->type);
	struct str text = until_nul(rec->payload);

	switch (rec->type) {
	case REC_TIME:
	case REC_WARN:
		put_time(name, text);
		return;
	case REC_ATTR:
		put_attr(pc, text);
		return;
	case REC_FILTER: /* shares its type with text, and what is done with it */
	case REC_PADDING:
		text = rec->payload;
		break;
	default:
		break;
	}
	printf("%s: ", name ? name : "unknown_record_type");
	put_text(text);
	putchar('\n');
}

static bool
part_is_shown(const struct postcat *pc)
{
	static const unsigned shown_by[] = {[PART_ENVELOPE] = SHOW_ENVELOPE,
	    [PART_HEADER] = SHOW_HEADER,
	    [PART_BODY] = SHOW_BODY,
	    [PART_EXTRACTED] = SHOW_ENVELOPE};

	return (pc->show & shown_by[pc->part]) != 0;
}

static void
text_record(struct postcat *pc, const struct record *rec, off_t at)
{
	/* Whoever wants offsets gets a line for each record. */
	bool ends = rec->type == REC_LINE || pc->verbose || pc->offsets;
	struct str s = rec->payload;

	if (pc->part == PART_HEADER && !pc->open_line && !header_parse(s, NULL) &&
	    !(s.n > 0 && str_isspace(s.p[0])))
		pc->part = PART_BODY;
	if (!part_is_shown(pc))
		return;
	put_prefix(pc, at, rec->type);
	if (pc->verbose)
		printf("%s: ", rec->type == REC_LINE ? "regular_text" : "unterminated_text");
	put_text(s);
	if (ends)
		putchar('\n');
	pc->open_line = !ends;
}

static bool
in_content(const struct postcat *pc)
{
	return pc->part == PART_HEADER || pc->part == PART_BODY;
}

static void
content_begins(struct postcat *pc, off_t at)
{
	if (in_content(pc))
		warn(pc, "out-of-order message content marker");
	put_marker(pc, at, REC_CONTENT, "MESSAGE CONTENTS");
	pc->part = PART_HEADER;
	pc->open_line = false;
}

/* 1 = the file is done. */
static int
show_record(struct postcat *pc, const struct record *rec, off_t at)
{
	switch (rec->type) {
	case REC_CONTENT:
		content_begins(pc, at);
		return 0;
	case REC_EXTRACTED:
		if (!in_content(pc))
			warn(pc, "out-of-order extracted segment marker");
		put_marker(pc, at, REC_EXTRACTED, "HEADER EXTRACTED");
		pc->part = PART_EXTRACTED;
		return 0;
	case REC_END:
		if (in_content(pc))
			warn(pc, "out-of-order message end marker");
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
		if (!in_content(pc) && rec->type == REC_PART)
			break;
		text_record(pc, rec, at);
		return 0;
	default:
		break;
	}
	if (!part_is_shown(pc))
		return 0;
	put_prefix(pc, at, rec->type);
	put_envelope(pc, rec);
	return 0;
}

/* As far as sscanf(3) would come; what is missing is -1. */
static void
first_numbers(struct str text, int64_t *ret_size, int64_t *ret_offset)
{
	*ret_size = *ret_offset = -1;
	if (leading_number(&text, ret_size))
		leading_number(&text, ret_offset);
}

static void
seek_to(struct postcat *pc, off_t at)
{
	if (reader_seek(pc->reader, at) < 0)
		command_fatal(&pc->command, "seek error: %s", strerror(EINVAL));
}

/* With a good size record the content need not be looked for, nor read when nobody wants it. */
static void
use_size(struct postcat *pc, const struct record *rec)
{
	struct str text = until_nul(rec->payload);
	int64_t size, offset;

	if (pc->have_size) {
		fflush(stdout);
		log_warn(pc->command.name, "file contains multiple size records");
		return;
	}
	first_numbers(text, &size, &offset);
	pc->have_size = offset >= 0;
	if (offset <= 0 || size <= 0) {
		fflush(stdout);
		log_warn(pc->command.name, "invalid size record: %.*s", (int)str_head(text, 100).n,
		    text.p);
	}
	if (offset >= 0) {
		pc->content_at = offset;
		pc->content_end = offset + size;
	}
	if ((pc->show & SHOW_ENVELOPE) == 0) {
		seek_to(pc, offset);
		pc->part = PART_HEADER;
		pc->open_line = false;
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
	/* Never back, as a size record of zeros would have it: the original never ends then. */
	if (pc->content_at >= 0 && pc->content_end > reader_tell(pc->reader))
		reader_skip(pc->reader, pc->content_end - reader_tell(pc->reader));
	else if (pc->content_at >= 0 && pc->content_end < 0)
		seek_to(pc, pc->content_end);
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
		if (rec.type == REC_SIZE)
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
	pc->content_at = pc->content_end = -1;
	pc->have_size = false;
	reader_set_raw(r, pc->verbose);
	reader_set_patient(r);
	if (pc->start > 0) {
		reader_seek(r, pc->start);
	} else if (first < 0 || strchr("CTcFILSDRO/WVA>K<inoM", first) == NULL) {
		if (first >= 0)
			warn(pc, "input is not a valid queue file");
		reader_close(r);
		return;
	}
	show_records(pc);
	reader_close(r);
}

static int
first_byte(int fd)
{
	char first;

	return fsio_pread(fd, &first, 1, 0) == 1 ? (unsigned char)first : -1;
}

/* Content and pointers are found by seeking, so what cannot seek is read whole first. */
static void
show_pipe(struct postcat *pc, int fd, const char *shown)
{
	enum { CHUNK = 64 * 1024 };
	struct buf bytes;
	ssize_t n = 1;
	char *to;

	buf_init(&bytes, FILE_MAX);
	while (n != 0) {
		to = buf_reserve(&bytes, CHUNK);
		if (to == NULL)
			command_fatal(&pc->command, "read %s: %s", shown, strerror(EFBIG));
		n = read(fd, to, CHUNK);
		if (n < 0 && errno != EINTR)
			command_fatal(&pc->command, "read %s: %s", shown, strerror(errno));
		if (n > 0)
			buf_commit(&bytes, (size_t)n);
	}
	show_file(pc, shown, reader_open_bytes(buf_str(&bytes)),
	    bytes.n > 0 ? (unsigned char)bytes.p[0] : -1);
	buf_fini(&bytes);
	fsio_close(fd);
}

/* Takes the descriptor. */
static void
show_fd(struct postcat *pc, int fd, const char *shown)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		command_fatal(&pc->command, "open %s: %s", shown, strerror(errno));
	if (S_ISREG(st.st_mode)) {
		show_file(pc, shown, reader_open_fd(fd), first_byte(fd));
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		show_pipe(pc, fd, shown);
		return;
	}
	fflush(stdout);
	log_warn(pc->command.name, "close %s: %s", shown, strerror(EISDIR));
	fsio_close(fd);
}

/* A mail that has just come may have no file yet: a daemon that is asked about it makes one. */
static void
ask_for_file(const struct spool *s, const char *id)
{
	char order[SPOOL_ID_MAX + sizeof("changed ")];
	struct buf err;

	buf_init(&err, 1024);
	snprintf(order, sizeof(order), "changed %s", id);
	control_call(spool_directory(s), order, NULL, NULL, &err);
	buf_fini(&err);
}

static int
open_id(const struct spool *s, const char *id, char path[SPOOL_PATH_MAX])
{
	static const enum queue queues[] = {
	    QUEUE_MAILDROP, QUEUE_INCOMING, QUEUE_ACTIVE, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_COUNT};
	enum queue q;
	struct stat st;
	int fd = -ENOENT;

	/* Twice, since a daemon may move it from behind to a queue that was looked at before. */
	for (unsigned tries = 0; tries < 2 && fd == -ENOENT; tries++) {
		fd = spool_find_blk(s, id, queues, &q, &st);
		if (fd == 0)
			fd = spool_find_path_blk(s, q, id, path);
		if (fd == 0)
			fd = fsio_open_read(spool_dirfd(s), path);
		if (fd == -ENOENT && tries == 0)
			ask_for_file(s, id);
	}
	if (fd == -ENOENT) { /* where nothing is ever put, but Postfix looks as well */
		snprintf(path, SPOOL_PATH_MAX, "saved/%s", id);
		fd = fsio_open_read(spool_dirfd(s), path);
	}
	return fd;
}

static void
show_id(struct postcat *pc, const char *id)
{
	char path[SPOOL_PATH_MAX];
	int fd;

	if (!spool_id_valid(str_of(id)))
		command_fatal(&pc->command, "bad mail queue ID: %s", id);
	fd = open_id(pc->command.spool, id, path);
	if (fd < 0)
		command_fatal(&pc->command, "open queue file %s: %s", id, strerror(-fd));
	show_file(pc, path, reader_open_fd(fd), first_byte(fd));
}

static void
options(struct postcat *pc, int argc, char **argv)
{
	int64_t n;
	int c;

	while ((c = getopt(argc, argv, "+bc:dehoqrs:v")) != -1) {
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
	if (pc.by_id || pc.command.config_option)
		command_config(&pc.command);
	if (pc.by_id)
		command_spool(&pc.command);
	if (optind >= argc)
		show_fd(&pc, dup(STDIN_FILENO), "stdin");
	for (int i = optind; i < argc; i++) {
		if (pc.by_id)
			show_id(&pc, argv[i]);
		else
			show_fd(&pc, open(argv[i], O_RDONLY | O_CLOEXEC), argv[i]);
	}
	return command_end(&pc.command, 0);
}
