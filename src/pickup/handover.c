/*
 * handover.c - submissions that come through a socket instead of maildrop: public/submit.
 *
 * Our sendmail hands over the same records that it would write into a file there, and may say that
 * the mail is safe when cleanup has committed it: one write into the journal that others share,
 * where a file takes two syncs and is read again. Who submits is told by the kernel. What is said
 * here:
 *
 *	daemon: ready QUEUE-ID        client: T A F S R ... M N ... X R ...
 *	                              client: E, only when it has read "ready"
 *	daemon: ok QUEUE-ID, or no WHY
 *
 * Nothing is committed without E. So who did not get that far uses maildrop and sends nothing
 * twice; only an answer that gets lost behind E leaves it in doubt. The client then says in the
 *name of its file which mail that is, and where it was committed that was noted (intake_handed): so
 *one whose daemon was killed is not taken in twice. Clients are strangers: a number of them at
 *once, a smaller one of each user, and a time that only whole pieces extend.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "internal.h"
#include "pp/map/userlist.h"
#include "pp/net/listener.h"
#include "pp/net/stream.h"
#include "pp/runtime/log.h"
#include "pp/spool/receipts.h"

enum {
	SESSIONS_MAX = 128,
	SESSIONS_OF_USER = 48, /* root and the daemon's own user: all of them */
	STEP_MS = 10 * 1000,   /* for the next STEP_BYTES, or the rest */
	STEP_BYTES = 16 * 1024,
	COMPLAINT_MS = 1000,
};

struct session {
	LIST_ENTRY(session) link;
	struct pickup_door *door;
	struct stream *stream; /* NULL when the client is gone */
	struct userlist *users;
	struct userlist_query asked;
	struct pickup_file file; /* without a file: what the records say */
	struct pickup_feed feed;
	off_t at;
	size_t since;          /* bytes since the deadline was set */
	struct intake *intake; /* or NULL */
	bool is_asking, is_ending;
};

struct pickup_door {
	struct loop *loop;
	struct lane *disk;
	struct pickup *pickup;
	struct listener *listener;
	LIST_HEAD(, session) sessions;
	unsigned count;
	int64_t complained_at;
	bool is_stopping;
};

static void
session_free(struct session *s)
{
	struct pickup_door *d = s->door;

	LIST_REMOVE(s, link);
	d->count--;
	stream_close(s->stream);
	if (!s->is_ending)
		cleanup_abort(s->feed.cleanup);
	pickup_file_close(&s->file);
	userlist_unref(s->users);
	mem_free(s);
	pickup_door_left(d->pickup);
}

static void
say(struct stream *stream, const char *word, const char *text)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%s %s\n", word, text);

	stream_write(stream, (struct str){line, n < (int)sizeof(line) ? (size_t)n : sizeof(line)});
	stream_flush(stream);
}

static void
refuse(struct session *s, const char *why)
{
	say(s->stream, "no", why);
	session_free(s);
}

static void
cleaned_up(void *ctx, const struct status *st, const char *id)
{
	struct session *s = ctx;
	char text[400];

	s->feed.cleanup = NULL;
	if (st->cls != STATUS_OK) {
		snprintf(text, sizeof(text), "%s %s", status_dsn(st).text, st->text);
		log_warn("pickup", "%s: uid=%ld: not taken: %s", id, (long)s->file.uid, text);
	}
	if (s->stream && st->cls == STATUS_OK)
		say(s->stream, "ok", id);
	else if (s->stream)
		say(s->stream, "no", text);
	intake_drop(s->intake); /* what was said is in the client's hands, whatever becomes of us */
	session_free(s);
}

static void
end(struct session *s)
{
	stream_pause(s->stream);
	stream_deadline(s->stream, -1);
	s->is_ending = true;
	s->intake = intake_handed(
	    pickup_setup(s->door->pickup)->spool, s->file.uid, cleanup_id(s->feed.cleanup));
	cleanup_intake(s->feed.cleanup, s->intake);
	cleanup_end(s->feed.cleanup, cleaned_up, s);
}

static int
take(struct session *s, const struct record *rec)
{
	int rc = pickup_file_take(&s->file, rec, s->at);

	if (rc == PICKUP_ENVELOPE_ENDS)
		pickup_feed_envelope(&s->feed, &s->file);
	else if (rc == PICKUP_FEED)
		pickup_feed_record(&s->feed, rec);
	return rc < 0 ? rc : 0;
}

/* The next whole record: 0; 1 = there is none yet; -EBADMSG. */
static int
next(struct session *s, struct str in, struct record *ret, size_t *ret_used)
{
	size_t length, used;
	int type, rc = record_get_head(in, &type, &length, &used);

	if (rc == 0 && length > s->file.line_limit) {
		snprintf(s->file.why, sizeof(s->file.why), "record is too long");
		return -EBADMSG;
	}
	if (rc == 0)
		rc = record_get(in, ret, ret_used);
	if (rc == -EBADMSG)
		snprintf(s->file.why, sizeof(s->file.why), "too many length bits");
	return rc == -EAGAIN ? 1 : rc;
}

static int
take_all(struct session *s)
{
	struct record rec;
	size_t used;
	int rc = 0;

	while (rc == 0 && !s->file.ended) {
		rc = next(s, stream_in(s->stream), &rec, &used);
		if (rc != 0)
			break;
		rc = take(s, &rec);
		stream_consume(s->stream, used);
		s->at += (off_t)used;
		s->since += used;
	}
	return rc < 0 ? rc : 0;
}

static void
drained(void *ctx)
{
	struct session *s = ctx;

	s->since = 0;
	stream_deadline(s->stream, STEP_MS);
	stream_resume(s->stream);
}

static void
readable(void *ctx)
{
	struct session *s = ctx;

	if (take_all(s) < 0) {
		refuse(s, s->file.why);
	} else if (cleanup_trouble(s->feed.cleanup)) {
		refuse(s, cleanup_trouble(s->feed.cleanup)->text);
	} else if (s->file.ended) {
		end(s);
	} else if (cleanup_full(s->feed.cleanup)) {
		/* It waits for our disk: that is not the client's time. */
		stream_pause(s->stream);
		stream_deadline(s->stream, -1);
		cleanup_on_drain(s->feed.cleanup, drained, s);
	} else if (s->since >= STEP_BYTES) {
		s->since = 0;
		stream_deadline(s->stream, STEP_MS);
	}
}

/* What is under way is waited for. */
static void
closed(void *ctx, int err)
{
	struct session *s = ctx;

	stream_close(s->stream);
	s->stream = NULL;
	if (!s->is_asking && !s->is_ending)
		session_free(s);
}

static const struct stream_ops ops = {readable, NULL, closed};

static void
greet(struct session *s)
{
	pickup_feed_open(&s->feed, pickup_setup(s->door->pickup));
	s->file.line_limit = s->feed.line_limit;
	say(s->stream, "ready", cleanup_id(s->feed.cleanup));
	stream_deadline(s->stream, STEP_MS);
	stream_resume(s->stream);
}

static void
user_known(struct userlist_query *q)
{
	struct session *s = PP_CONTAINER(q, struct session, asked);
	char why[USERLIST_NAME_MAX + 80];

	s->is_asking = false;
	if (s->stream == NULL) {
		session_free(s);
	} else if (q->result == 1 && !s->door->is_stopping) {
		greet(s);
	} else if (q->result == 0) {
		snprintf(why, sizeof(why), "User %s(%ld) is not allowed to submit mail", q->name,
		    (long)q->uid);
		log_warn("pickup", "%s", why);
		refuse(s, why);
	} else {
		refuse(s, "try again");
	}
}

static void
turn_away(struct pickup_door *d, int fd, uid_t uid)
{
	static const struct stream_ops none = {0};
	struct stream *stream = stream_new(d->loop, fd, &none, NULL);
	int64_t now = loop_now(d->loop);

	say(stream, "no", d->is_stopping ? "stopping" : "too many submissions at once");
	stream_close(stream);
	if (d->is_stopping || (d->complained_at && now - d->complained_at < COMPLAINT_MS))
		return;
	d->complained_at = now;
	log_warn("pickup", "uid %ld: too many submissions at once: more have to use maildrop",
	    (long)uid);
}

static bool
has_room(const struct pickup_door *d, uid_t uid, uid_t own)
{
	const struct session *s;
	unsigned of_user = 0;

	if (d->is_stopping || d->count >= SESSIONS_MAX)
		return false;
	if (uid == 0 || uid == own)
		return true;
	LIST_FOREACH (s, &d->sessions, link)
		of_user += s->file.uid == uid;
	return of_user < SESSIONS_OF_USER;
}

static void
accepted(void *ctx, int fd)
{
	struct pickup_door *d = ctx;
	uid_t own = geteuid();
	struct ucred who;
	socklen_t size = sizeof(who);
	struct session *s;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) {
		close(fd);
		return;
	}
	if (!has_room(d, who.uid, own)) {
		turn_away(d, fd, who.uid);
		return;
	}
	s = MEM_NEW(struct session);
	s->door = d;
	s->file.uid = who.uid;
	s->file.daemon_uid = own;
	pickup_file_expect(&s->file);
	s->stream = stream_new(d->loop, fd, &ops, s);
	LIST_INSERT_HEAD(&d->sessions, s, link);
	d->count++;
	s->users = pickup_users(d->pickup);
	if (s->users)
		userlist_ref(s->users);
	if (pickup_may_submit(s->users, who.uid, own)) {
		greet(s);
		return;
	}
	s->is_asking = true;
	userlist_find(s->users, d->disk, &s->asked, who.uid, user_known);
}

struct pickup_door *
pickup_door_new(struct pickup *p, struct loop *l, struct lane *disk, int fd)
{
	struct pickup_door *d = MEM_NEW(struct pickup_door);

	d->loop = l;
	d->disk = disk;
	d->pickup = p;
	LIST_INIT(&d->sessions);
	d->listener = listener_start(l, fd, accepted, d);
	return d;
}

void
pickup_door_stop(struct pickup_door *d)
{
	struct session *s, *next;

	d->is_stopping = true;
	listener_stop(d->listener);
	d->listener = NULL;
	for (s = LIST_FIRST(&d->sessions); s != NULL; s = next) {
		next = LIST_NEXT(s, link);
		if (!s->is_asking && !s->is_ending)
			refuse(s, "stopping");
	}
}

bool
pickup_door_is_empty(const struct pickup_door *d)
{
	return d->count == 0;
}

void
pickup_door_free(struct pickup_door *d)
{
	PP_ASSERT(d->count == 0);
	listener_stop(d->listener);
	mem_free(d);
}
