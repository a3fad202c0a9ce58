/*
 * qshape_daemon.c - the queues as the running daemon knows them, which takes no file at all.
 *
 * Only deferred and hold grow long, so only they are worth the question; a listing always brings
 * incoming and active with it. Of maildrop the daemon knows no more than the files say. All is
 * taken or nothing, so that a daemon that ends meanwhile counts nothing twice.
 */
#include "pp/control/client.h"
#include "pp/spool/listing.h"
#include "qshape.h"
#include "qshape_daemon.h"

enum { MESSAGES_MAX = 1 << 30 };

struct told {
	struct listing_decoder *decoder;
	struct buf messages;
	bool is_wanted[QUEUE_COUNT];
	bool by_sender;
};

static enum queue
known_queue(const char *name)
{
	enum queue q = spool_queue_find(str_of(name));

	return q == QUEUE_INCOMING || q == QUEUE_ACTIVE || q == QUEUE_DEFERRED || q == QUEUE_HOLD
		   ? q
		   : QUEUE_COUNT;
}

static void
put(struct buf *to, const char *shown)
{
	/* The null address in its shown form. */
	qshape_put(to, strcmp(shown, "MAILER-DAEMON") == 0 ? STR("") : str_of(shown));
}

static int
take_message(void *ctx, const struct listing *l)
{
	struct told *t = ctx;
	size_t at;

	if (!t->is_wanted[l->queue] || l->forced_expire || l->rcpt_count == 0)
		return 0;
	at = qshape_put_begin(&t->messages, l->arrival);
	if (t->by_sender)
		put(&t->messages, l->sender);
	else
		for (size_t i = 0; i < l->rcpt_count; i++)
			put(&t->messages, l->rcpt[i].address);
	qshape_put_end(&t->messages, at, t->by_sender ? 1 : (unsigned)l->rcpt_count);
	return 0;
}

static int
take_bytes(void *ctx, struct str bytes)
{
	struct told *t = ctx;

	return listing_decode(t->decoder, bytes);
}

static bool
ask(struct told *t, const char *queue_directory)
{
	struct buf err;
	int rc;

	buf_init(&err, 1024);
	t->decoder = listing_decoder_new(take_message, t);
	rc = control_stream(queue_directory, "list", take_bytes, t, &err);
	if (rc == 0 && !listing_decoder_complete(t->decoder))
		rc = -1;
	listing_decoder_free(t->decoder);
	buf_fini(&err);
	return rc == 0;
}

size_t
qshape_daemon(const char *queue_directory, bool by_sender, char **queues, size_t n,
    void (*counted)(void *ctx, struct str messages), void *ctx)
{
	struct told t = {.by_sender = by_sender};
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		t.is_wanted[known_queue(queues[i]) % QUEUE_COUNT] =
		    known_queue(queues[i]) != QUEUE_COUNT;
	if (!t.is_wanted[QUEUE_DEFERRED] && !t.is_wanted[QUEUE_HOLD])
		return n;
	buf_init(&t.messages, MESSAGES_MAX);
	if (!ask(&t, queue_directory)) {
		buf_fini(&t.messages);
		return n;
	}
	counted(ctx, buf_str(&t.messages));
	buf_fini(&t.messages);
	for (size_t i = 0; i < n; i++) {
		enum queue q = known_queue(queues[i]);

		/* One that is named again is counted again. */
		if (q == QUEUE_COUNT || !t.is_wanted[q])
			queues[left++] = queues[i];
		else
			t.is_wanted[q] = false;
	}
	return left;
}
