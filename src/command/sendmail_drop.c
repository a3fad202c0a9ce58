/*
 * sendmail_drop.c - one submission: handed over to the daemon, or a file in maildrop as Postfix's
 * sendmail and postdrop write it.
 *
 * First all of it is here, in memory or, when it is larger, in the file that maildrop would get: a
 * slow writer on standard input so costs the daemon nothing, and what the daemon does not take can
 * still be given to maildrop. Mode 0744 makes that file a submission, and only after fsync does the
 * caller hear that it is safe. A file made here belongs to the submitting user, which is how pickup
 * knows who that was.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include "pp/mail/address.h"
#include "pp/mail/utf8.h"
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"
#include "pp/spool/receipts.h"
#include "sendmail.h"

enum {
	MEMORY_MAX = 512 * 1024, /* above it goes into a file */
	OUT_MAX = 1024 * 1024,
	ATTR_MAX = 128 * 1024,
	NAME_TRIES = 100,
};

/* For the signal handler: the half file of this process. */
static volatile int half_dirfd = -1;
static char half_path[SPOOL_PATH_MAX];

static void
on_signal(int sig)
{
	if (half_dirfd >= 0)
		unlinkat(half_dirfd, half_path, 0);
	_exit(EX_TEMPFAIL);
}

void
sendmail_drop_signals(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};
	struct sigaction sa = {.sa_handler = on_signal}, old;

	for (unsigned i = 0; i < PP_COUNT(signals); i++) {
		/* nohup stays in force. */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	}
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
}

static void
put_time(struct sendmail_drop *d)
{
	int64_t us = loop_wall_us();

	record_putf(
	    &d->out, REC_TIME, "%lld %lld", (long long)(us / 1000000), (long long)(us % 1000000));
}

void
sendmail_drop_open(struct sendmail_drop *d, struct sendmail *sm)
{
	*d = (struct sendmail_drop){.sm = sm, .fd = -1};
	buf_init(&d->out, OUT_MAX);
	half_dirfd = -1;
	put_time(d);
}

static int
create(struct sendmail_drop *d)
{
	const struct spool *spool = d->sm->spool;
	int fd = -EEXIST;

	/* Other processes make ids of the same clock. */
	for (unsigned i = 0; fd == -EEXIST && i < NAME_TRIES; i++) {
		if (d->is_in_doubt && i == 0)
			intake_handed_name(d->handed, d->id);
		else
			spool_id_new(d->sm->spool, d->id);
		spool_path(spool, QUEUE_MAILDROP, d->id, d->path);
		memcpy(half_path, d->path, sizeof(half_path));
		fd = fsio_create(spool_dirfd(spool), d->path, 0600);
	}
	if (fd >= 0)
		half_dirfd = spool_dirfd(spool);
	return fd;
}

/* What is too large for our memory is kept where it may have to stay. Where nothing can be written
 * the daemon is the only way, and until it took all a file that nobody sees is as good. */
static void
make_file(struct sendmail_drop *d, bool is_last_way)
{
	d->path[0] = '\0';
	if (sendmail_spool(d->sm) != 0)
		d->rc = d->no_file = -ENOENT;
	else if ((d->fd = create(d)) < 0)
		d->rc = d->no_file = d->fd;
	if (d->rc < 0 && !is_last_way && (d->fd = memfd_create("mail", MFD_CLOEXEC)) >= 0)
		d->rc = 0;
}

static void
flush(struct sendmail_drop *d, bool is_last_way)
{
	if (d->rc == 0 && buf_overflowed(&d->out))
		d->rc = -ENOBUFS;
	if (d->rc == 0 && d->fd < 0)
		make_file(d, is_last_way);
	if (d->rc == 0)
		d->rc = fsio_write(d->fd, buf_str(&d->out));
	buf_clear(&d->out);
}

void
sendmail_drop_put(struct sendmail_drop *d, int type, struct str payload)
{
	if (d->rc < 0)
		return;
	record_put(&d->out, type, payload);
	if (buf_str(&d->out).n >= MEMORY_MAX || buf_overflowed(&d->out))
		flush(d, false);
}

void
sendmail_drop_attr(struct sendmail_drop *d, const char *name, const char *value)
{
	struct buf b;

	if (value == NULL)
		return;
	buf_init(&b, ATTR_MAX);
	buf_printf(&b, "%s=%s", name, value);
	sendmail_drop_put(d, REC_ATTR, buf_str(&b));
	buf_fini(&b);
}

void
sendmail_drop_number(struct sendmail_drop *d, const char *name, unsigned value)
{
	struct buf b;

	if (value == 0)
		return;
	buf_init(&b, 64);
	buf_printf(&b, "%s=%u", name, value);
	sendmail_drop_put(d, REC_ATTR, buf_str(&b));
	buf_fini(&b);
}

void
sendmail_drop_envelope(struct sendmail_drop *d, const struct envelope *e)
{
	sendmail_drop_attr(d, "envelope_id", e->envid);
	sendmail_drop_number(d, "ret_flags", e->ret);
	sendmail_drop_attr(d, "rewrite_context", e->origin.local ? "local" : "remote");
	sendmail_drop_put(d, REC_FULLNAME, str_of(e->fullname));
	sendmail_drop_put(d, REC_SENDER, str_of(e->sender));
	if (e->verp)
		sendmail_drop_put(d, REC_VERP, str_of(e->verp));
	sendmail_drop_number(d, "trace_flags", e->trace_flags);
	if (e->encoding != BODY_UNKNOWN)
		sendmail_drop_attr(d, "encoding", e->encoding == BODY_8BIT ? "8bit" : "7bit");
}

void
sendmail_drop_rcpt(struct sendmail_drop *d, unsigned notify, const char *orcpt, const char *address)
{
	/* Pickup throws a whole submission away for one of these: tell the user instead. */
	if (utf8_has_control(str_of(address)) || strlen(address) > ADDRESS_MAX)
		d->bad_rcpt = true;
	sendmail_drop_number(d, "notify_flags", notify);
	sendmail_drop_attr(d, "dsn_orig_rcpt", orcpt);
	sendmail_drop_put(d, REC_RCPT, str_of(address));
}

void
sendmail_drop_line(struct sendmail_drop *d, struct str piece, bool last)
{
	int64_t limit = d->sm->params->message_size_limit;

	d->size += (int64_t)piece.n + (last ? 2 : 0);
	if (limit > 0 && d->size > limit)
		d->too_big = true;
	else
		sendmail_drop_put(d, last ? REC_LINE : REC_PART, piece);
}

void
sendmail_drop_abort(struct sendmail_drop *d)
{
	if (half_dirfd >= 0)
		fsio_unlink(half_dirfd, d->path);
	fsio_close(d->fd);
	half_dirfd = -1;
	d->fd = -1;
	buf_fini(&d->out);
}

/* The name is as much part of the mail as its bytes. Who may write into maildrop may often not
 * open it; file systems then sync the name of a new file together with the file. */
static int
sync_directory(const struct sendmail_drop *d)
{
	int fd = fsio_open_dir(spool_dirfd(d->sm->spool), spool_queue_name(QUEUE_MAILDROP));
	int rc;

	if (fd < 0)
		return fd == -EACCES ? 0 : fd;
	rc = fsio_sync(fd);
	fsio_close(fd);
	return rc;
}

static int
refuse(struct sendmail_drop *d)
{
	if (d->too_big)
		log_fatal("sendmail", "%s(%ld): message file too big (message_size_limit is %lld)",
		    d->sm->login, (long)getuid(), (long long)d->sm->params->message_size_limit);
	else
		log_fatal("sendmail", "%s(%ld): malformed recipient address", d->sm->login,
		    (long)getuid());
	sendmail_drop_abort(d);
	return EX_DATAERR;
}

static int
fail(struct sendmail_drop *d)
{
	const char *login = d->sm->login;
	long uid = (long)getuid();

	if (d->no_file == -ENOENT && d->path[0] == '\0')
		; /* told */
	else if (d->no_file < 0 && d->refusal[0])
		log_fatal("sendmail",
		    "%s(%ld): the mail system does not take it: %s; nor maildrop: "
		    "%s/%s: %s",
		    login, uid, d->refusal, d->sm->params->queue_directory, d->path,
		    strerror(-d->no_file));
	else
		log_fatal("sendmail", "%s(%ld): queue file write error: %s/%s: %s", login, uid,
		    d->sm->params->queue_directory, d->path, strerror(-d->rc));
	sendmail_drop_abort(d);
	return EX_TEMPFAIL;
}

/* So that pickup knows it for what the daemon may have. Without that it may be sent twice. */
static void
take_handed_name(struct sendmail_drop *d)
{
	char id[SPOOL_ID_MAX], path[SPOOL_PATH_MAX];

	if (!d->is_in_doubt || half_dirfd < 0)
		return;
	intake_handed_name(d->handed, id);
	spool_path(d->sm->spool, QUEUE_MAILDROP, id, path);
	if (fsio_rename(half_dirfd, d->path, path) < 0)
		return;
	memcpy(half_path, path, sizeof(half_path));
	memcpy(d->path, path, sizeof(d->path));
}

static int
finish_file(struct sendmail_drop *d)
{
	take_handed_name(d);
	sendmail_drop_put(d, REC_END, STR(""));
	/* In a file of no name it cannot stay. */
	if (d->rc == 0 && d->no_file < 0)
		d->rc = d->no_file;
	flush(d, true);
	if (d->rc == 0)
		d->rc = fsio_chmod(d->fd, 0744);
	if (d->rc == 0)
		d->rc = fsio_sync(d->fd);
	if (d->rc == 0)
		d->rc = sync_directory(d);
	if (d->rc < 0)
		return fail(d);
	half_dirfd = -1;
	fsio_close(d->fd);
	buf_fini(&d->out);
	sendmail_wake(d->sm);
	return 0;
}

int
sendmail_drop_end(struct sendmail_drop *d)
{
	if (d->too_big || d->bad_rcpt)
		return refuse(d);
	if (d->rc < 0 || sendmail_handover(d) < 0)
		return finish_file(d);
	sendmail_drop_abort(d); /* of the file, if there is one */
	return 0;
}
