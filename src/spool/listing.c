/*
 * listing.c - what a queue listing says of one message, read from its files.
 *
 * As Postfix's showq: recipients of the deferral log come first, in its order and with their
 * reasons, then those of the queue file that were not in it. Damaged files are shown as far as
 * they can be read. Only a file without a sender is left out (showq breaks off there, and with it
 * the whole listing, which helps nobody).
 */
#include <errno.h>
#include "internal.h"
#include "pp/base/hash.h"
#include "pp/mail/address.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/listing.h"
#include "pp/spool/reader.h"

enum { MODE_EXPIRED = 0010 };

const enum queue listing_queues[] = {
    QUEUE_MAILDROP, QUEUE_ACTIVE, QUEUE_INCOMING, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_COUNT};

/* An address that the deferral log named already. */
struct named {
	UT_hash_handle hh;
	const char *address;
};

static const char *
shown(struct arena *a, const char *internal)
{
	const char *quoted = *internal ? address_quoted(a, str_of(internal)) : "MAILER-DAEMON";
	char *clean;

	if (quoted != NULL)
		return quoted;
	clean = arena_strdup(a, internal);
	for (char *p = clean; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return clean;
}

static void
add_named(struct named **set, struct arena *a, const char *address)
{
	struct named *n;

	HASH_FIND_STR(*set, address, n);
	if (n != NULL)
		return;
	n = ARENA_NEW(a, struct named);
	n->address = address;
	HASH_ADD_KEYPTR(hh, *set, n->address, strlen(n->address), n);
}

static void
add_recipients(struct arena *a, const struct envelope *env, const struct deferlog_entry *log,
    size_t log_n, struct listing *l)
{
	struct listing_recipient *to;
	struct named *set = NULL, *n;

	to = arena_alloc(a, (env->rcpt_count + log_n) * sizeof(*to));
	l->rcpt = to;
	l->rcpt_count = log_n;
	for (size_t i = 0; i < log_n; i++, to++) {
		to->address = shown(a, log[i].recipient);
		to->reason = log[i].status.text ? log[i].status.text : "";
		to->relay = log[i].status.remote ? log[i].status.remote : "none";
		to->dsn = arena_strdup(a, status_dsn(&log[i].status).text);
		add_named(&set, a, log[i].recipient);
	}
	for (size_t i = 0; i < env->rcpt_count; i++) {
		const struct recipient *r = &env->rcpt[i];

		HASH_FIND_STR(set, r->address, n);
		if (r->done || n != NULL)
			continue;
		*to++ = (struct listing_recipient){
		    .address = shown(a, r->address), .reason = "", .relay = "", .dsn = ""};
		l->rcpt_count++;
	}
	HASH_CLEAR(hh, set);
}

int
listing_load_blk(
    const struct spool *s, const struct spool_entry *e, struct arena *a, struct listing *ret)
{
	struct deferlog_entry *log = NULL;
	struct envelope env;
	struct reader *r;
	struct buf why;
	size_t log_n = 0;
	int fd, rc;

	if (!spool_ready(&e->st))
		return 1;
	fd = fsio_open_read(s->dirfd, e->path);
	if (fd < 0)
		return fd;
	r = reader_open_fd(fd);
	buf_init(&why, 256);
	rc = reader_envelope(r, READER_LISTING, a, &env, &why);
	buf_fini(&why);
	reader_close(r);
	if (rc < 0)
		return rc;
	if (env.sender == NULL)
		return 1;
	/* Also in maildrop: a requeued message keeps its log. */
	deferlog_read_blk(s, QUEUE_DEFER, e->id, a, &log, &log_n);
	*ret = (struct listing){.queue = e->queue,
	    .id = e->id,
	    .arrival = env.arrival_us ? env.arrival_us / 1000000 : (int64_t)e->st.st_mtime,
	    .size = env.data_size,
	    .forced_expire = (e->st.st_mode & MODE_EXPIRED) != 0,
	    .sender = shown(a, env.sender)};
	if (e->queue == QUEUE_DEFERRED) {
		ret->next_attempt = (int64_t)e->st.st_mtime;
		ret->attempts = spool_attempts(&e->st, log_n > 0);
	}
	add_recipients(a, &env, log, log_n, ret);
	return 0;
}

struct walk {
	const struct spool *spool;
	listing_each *each;
	void *ctx;
};

static int
walk_one(void *ctx, const struct spool_entry *e)
{
	const struct walk *w = ctx;
	struct arena a = {0};
	struct listing l;
	int rc = listing_load_blk(w->spool, e, &a, &l);

	/* A file that is gone or cannot be read must not hide the others. */
	rc = rc == 0 ? w->each(w->ctx, &l) : 0;
	arena_fini(&a);
	return rc;
}

int
listing_walk_blk(const struct spool *s, unsigned threads, listing_each *each, void *ctx)
{
	struct walk w = {.spool = s, .each = each, .ctx = ctx};

	for (const enum queue *q = listing_queues; *q != QUEUE_COUNT; q++) {
		int rc = spool_scan_blk(s, *q, walk_one, &w);

		if (rc != 0 && rc != -ENOENT)
			return rc;
	}
	return 0;
}
