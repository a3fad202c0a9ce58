/*
 * log.c - one line per event, off the path of the mail.
 *
 * Whoever logs only formats into a shared buffer; the log thread writes whole batches. The buffer
 * is bounded: when the disk is slower than the daemon the caller of a line waits a moment for the
 * writer (back pressure), and if the sink fails altogether lines are counted as lost and the count
 * is the first line written when it works again. The mutex here is never held across a write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/buf.h"
#include "pp/base/mem.h"
#include "pp/runtime/log.h"

enum {
	LINE_MAX_BYTES = 2048,
	QUEUE_MAX = 4 * 1024 * 1024,
	QUEUE_URGENT = 32 * 1024,
	GATHER_NS = 2 * 1000 * 1000,
	QUEUE_KEEP = 64 * 1024, /* a buffer that grew above this is given back */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more, room;
	struct buf queue; /* lines that wait for the writer */
	pthread_t thread;
	bool running, ending, reopen;
	int fd;     /* -1: syslog */
	char *path; /* file to reopen, NULL for stdout and syslog */
	char *name, *host;
	int facility;
	bool to_stderr;
	unsigned long lost;
	long pid;
	char tag[80]; /* syslog's, the writer's */
} lg = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .more = PTHREAD_COND_INITIALIZER,
    .room = PTHREAD_COND_INITIALIZER,
    .queue = {.max = QUEUE_MAX},
    .fd = 2,
    .facility = LOG_MAIL,
};

/* Each queued line begins with its syslog priority as one byte. */
static const struct {
	const char *word;
	int priority;
} levels[] = {
    {"", LOG_INFO},
    {"warning: ", LOG_WARNING},
    {"error: ", LOG_ERR},
    {"fatal: ", LOG_CRIT},
    {"panic: ", LOG_CRIT},
};

static size_t
utf8_length(const unsigned char *p, size_t n)
{
	size_t len = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
		     : p[0] >= 0xe0 && p[0] <= 0xef ? 3
		     : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
						    : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/* Hostile text may not break a line in two or move a terminal's cursor. */
static void
make_printable(char *text, size_t n)
{
	unsigned char *p = (unsigned char *)text;

	for (size_t i = 0; i < n;) {
		size_t len = p[i] < 0x80 ? 0 : utf8_length(p + i, n - i);

		if (len > 0) {
			i += len;
			continue;
		}
		if (p[i] < 0x20 || p[i] >= 0x7f)
			p[i] = '?';
		i++;
	}
}

static int
write_whole(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t did = write(fd, p, n);

		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return did < 0 ? -errno : -EIO;
		p += did;
		n -= (size_t)did;
	}
	return 0;
}

/* "tag TAB text". syslog(3) wants the tag beforehand, and keeps the pointer to it. */
static void
to_syslog(int priority, struct str line)
{
	size_t tab = str_index(line, '\t');

	if (!str_eq(str_head(line, tab), str_of(lg.tag))) {
		snprintf(lg.tag, sizeof(lg.tag), "%.*s", (int)tab, line.p);
		openlog(lg.tag, LOG_PID, lg.facility);
	}
	line = str_from(line, tab + 1);
	syslog(priority, "%.*s", STR_FMT(line));
}

/* Writer only. The priority bytes stand at line starts: syslog needs them, a file does not. */
static int
write_batch(struct str batch)
{
	struct buf out = {.max = batch.n + 1};
	int rc = 0;

	while (batch.n > 0) {
		int priority = batch.p[0];
		struct str line = str_from(batch, 1);
		size_t end = str_index(line, '\n');

		if (lg.fd < 0)
			to_syslog(priority, str_head(line, end));
		else
			buf_add(&out, str_head(line, end + 1));
		batch = str_from(line, end + 1);
	}
	if (lg.fd >= 0)
		rc = write_whole(lg.fd, buf_cstr(&out), buf_str(&out).n);
	buf_fini(&out);
	return rc;
}

/* Who says a line: program[pid] behind our name, or somebody else by a whole tag. */
struct speaker {
	const char *program, *tag;
	long pid;
};

/* "Nov 21 21:01:55 host name/program[pid]: "; for syslog the tag and a TAB. */
static int
prefix(char *to, size_t size, const struct speaker *who)
{
	const char *name = who->tag ? "" : lg.name ? lg.name : "postfix";
	const char *slash = who->tag ? "" : "/", *program = who->tag ? who->tag : who->program;
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32];

	if (lg.pid == 0)
		lg.pid = (long)getpid();
	if (lg.fd < 0)
		return snprintf(to, size, "%s%s%s\t", name, slash, program);
	localtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%b %e %H:%M:%S", &tm);
	return snprintf(to, size, "%s %s %s%s%s[%ld]: ", stamp, lg.host ? lg.host : "localhost",
	    name, slash, program, who->pid ? who->pid : lg.pid);
}

static void
enqueue(struct str line)
{
	bool was_empty = lg.queue.n == 0;

	while (lg.queue.n + line.n > QUEUE_MAX && lg.running && !lg.ending)
		pthread_cond_wait(&lg.room, &lg.lock);
	if (buf_add(&lg.queue, line) < 0)
		lg.lost++;
	/* One wake-up per batch: while something waits the writer is on its way already. */
	if (lg.running && (was_empty || lg.queue.n >= QUEUE_URGENT))
		pthread_cond_signal(&lg.more);
}

static void
flush_now(void)
{
	if (lg.queue.n == 0)
		return;
	if (write_batch(buf_str(&lg.queue)) < 0)
		lg.lost++;
	buf_clear(&lg.queue);
}

static void
log_line(unsigned level, const struct speaker *who, const char *fmt, va_list ap) PP_PRINTF(3, 0);

/* By write(2) alone: dprintf(3) asks the kernel three times what standard error is. */
static void
show(const char *name, const char *text, size_t n)
{
	char line[LINE_MAX_BYTES + LOG_TAG_MAX + 4];
	int len = snprintf(line, sizeof(line), "%s: %.*s", name, (int)n, text);

	write_whole(2, line, len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

static void
log_line(unsigned level, const struct speaker *who, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES + 128];
	size_t n, room = LINE_MAX_BYTES;
	int head, body;

	pthread_mutex_lock(&lg.lock);
	line[0] = (char)levels[level].priority;
	head = 1 + prefix(line + 1, sizeof(line) - LINE_MAX_BYTES / 2, who);
	n = (size_t)head;
	body = snprintf(line + n, room - n, "%s", levels[level].word);
	n += (size_t)body;
	body = vsnprintf(line + n, room - n, fmt, ap);
	if (body < 0)
		body = 0;
	n += (size_t)body < room - n ? (size_t)body : room - n - 1;
	make_printable(line + head, n - (size_t)head);
	line[n++] = '\n';
	enqueue((struct str){line, n});
	if (!lg.running)
		flush_now();
	if (lg.to_stderr)
		show(who->tag ? who->tag : who->program, line + head, n - (size_t)head);
	pthread_mutex_unlock(&lg.lock);
}

static void
log_va(unsigned level, const char *program, const char *fmt, va_list ap) PP_PRINTF(3, 0);

static void
log_va(unsigned level, const char *program, const char *fmt, va_list ap)
{
	const struct speaker who = {.program = program};

	log_line(level, &who, fmt, ap);
}

static void
log_for_va(enum log_level level, const char *tag, long pid, const char *fmt, ...) PP_PRINTF(4, 5);

static void
log_for_va(enum log_level level, const char *tag, long pid, const char *fmt, ...)
{
	const struct speaker who = {.tag = tag, .pid = pid};
	va_list ap;

	va_start(ap, fmt);
	log_line(level, &who, fmt, ap);
	va_end(ap);
}

void
log_for(enum log_level level, const char *tag, long pid, const char *text)
{
	char clean[LOG_TAG_MAX + 1];

	snprintf(clean, sizeof(clean), "%s", tag);
	make_printable(clean, strlen(clean));
	log_for_va(level, clean, pid, "%s", text);
}

void
log_info(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(0, program, fmt, ap);
	va_end(ap);
}

void
log_warn(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(1, program, fmt, ap);
	va_end(ap);
}

void
log_error(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(2, program, fmt, ap);
	va_end(ap);
}

void
log_fatal(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(3, program, fmt, ap);
	va_end(ap);
}

static int
open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

	return fd < 0 ? -errno : fd;
}

int
log_setup(const struct log_options *o)
{
	int fd = -1, rc = 0;
	bool is_stdout = o->file && (!strcmp(o->file, "/dev/stdout") || !strcmp(o->file, "-"));

	if (is_stdout)
		fd = 1; /* opening /dev/stdout fails for a pipe owned by somebody else */
	else if (o->file)
		fd = open_file(o->file);
	if (o->file && fd < 0)
		return fd;
	/* A daemon that will give up root must be able to reopen its file after a rotation. */
	if (fd > 2 && o->owner >= 0 && fchown(fd, (uid_t)o->owner, (gid_t)-1) < 0)
		rc = 0;
	pthread_mutex_lock(&lg.lock);
	if (lg.fd > 2)
		close(lg.fd);
	mem_free(lg.path);
	mem_free(lg.name);
	mem_free(lg.host);
	lg.fd = fd;
	lg.path = o->file && !is_stdout ? mem_strdup(o->file) : NULL;
	lg.name = mem_strdup(o->syslog_name);
	lg.host = mem_strdup(o->host ? o->host : "localhost");
	lg.facility = o->facility;
	lg.tag[0] = '\0';
	lg.pid = (long)getpid();
	lg.to_stderr = o->to_stderr != 0;
	pthread_mutex_unlock(&lg.lock);
	return rc;
}

int
log_facility(const char *word)
{
	static const struct {
		const char *word;
		int facility;
	} table[] = {{"auth", LOG_AUTH}, {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},
	    {"daemon", LOG_DAEMON}, {"ftp", LOG_FTP}, {"kern", LOG_KERN}, {"lpr", LOG_LPR},
	    {"news", LOG_NEWS}, {"security", LOG_AUTH}, {"syslog", LOG_SYSLOG}, {"user", LOG_USER},
	    {"uucp", LOG_UUCP}, {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},
	    {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},
	    {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7}};

	for (size_t i = 0; i < PP_COUNT(table); i++)
		if (strcmp(table[i].word, word) == 0)
			return table[i].facility;
	return LOG_MAIL;
}

bool
log_is_stdout(void)
{
	bool is_stdout;

	pthread_mutex_lock(&lg.lock);
	is_stdout = lg.fd == 1;
	pthread_mutex_unlock(&lg.lock);
	return is_stdout;
}

static void
reopen_now(void)
{
	int fd;

	lg.reopen = false;
	if (lg.path == NULL)
		return;
	fd = open_file(lg.path);
	if (fd < 0)
		return; /* the old file keeps working */
	close(lg.fd);
	lg.fd = fd;
}

/* A moment for more lines to come: one write for all of them. Ends early when there are many. */
static void
gather(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (!lg.ending && lg.queue.n < QUEUE_URGENT)
		if (pthread_cond_timedwait(&lg.more, &lg.lock, &until) == ETIMEDOUT)
			break;
}

static void *
log_thread(void *arg)
{
	struct buf batch = {.max = QUEUE_MAX};

	pthread_mutex_lock(&lg.lock);
	while (!lg.ending || lg.queue.n > 0) {
		struct buf swap;
		unsigned long lost = lg.lost;

		if (lg.queue.n == 0) {
			pthread_cond_wait(&lg.more, &lg.lock);
			gather();
			continue;
		}
		if (lg.reopen)
			reopen_now();
		swap = lg.queue;
		lg.queue = batch;
		batch = swap;
		lg.lost = 0;
		pthread_cond_broadcast(&lg.room);
		pthread_mutex_unlock(&lg.lock);
		if (lost > 0 && lg.fd >= 0)
			dprintf(lg.fd, "warning: %lu log lines were lost here\n", lost);
		if (write_batch(buf_str(&batch)) < 0)
			lost++;
		else
			lost = 0;
		if (batch.cap > QUEUE_KEEP)
			buf_shrink(&batch);
		buf_clear(&batch);
		pthread_mutex_lock(&lg.lock);
		lg.lost += lost;
	}
	pthread_mutex_unlock(&lg.lock);
	buf_fini(&batch);
	return NULL;
}

void
log_start(void)
{
	pthread_condattr_t attr;

	pthread_mutex_lock(&lg.lock);
	flush_now();
	lg.ending = false;
	/* Should the wall clock be set back, nobody waits an hour for the next lines. */
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_destroy(&lg.more);
	pthread_cond_init(&lg.more, &attr);
	pthread_condattr_destroy(&attr);
	lg.running = loop_thread_start(&lg.thread, "log", log_thread, NULL) == 0;
	pthread_mutex_unlock(&lg.lock);
}

void
log_stop(void)
{
	pthread_mutex_lock(&lg.lock);
	if (!lg.running) {
		pthread_mutex_unlock(&lg.lock);
		return;
	}
	lg.ending = true;
	pthread_cond_signal(&lg.more);
	pthread_mutex_unlock(&lg.lock);
	pthread_join(lg.thread, NULL);
	pthread_mutex_lock(&lg.lock);
	lg.running = false;
	flush_now();
	buf_shrink(&lg.queue);
	pthread_mutex_unlock(&lg.lock);
}

void
log_reopen(void)
{
	pthread_mutex_lock(&lg.lock);
	lg.reopen = true;
	pthread_mutex_unlock(&lg.lock);
}
