/*
 * showq.c - the queue listing: in Postfix's own protocol for everybody, extended for our commands.
 *
 * The queue manager makes the pieces, and makes the next when the client has taken one, so that a
 * client that does not read costs a piece or two and not the whole listing.
 */
#include "internal.h"
#include "pp/base/mem.h"

struct showq {
	struct control_request *request;
	struct qmgr_listing *listing;
};

static void
showq_free(struct showq *s)
{
	qmgr_listing_free(s->listing);
	mem_free(s);
}

static void
showq_gone(void *ctx)
{
	showq_free(ctx);
}

static void
showq_drained(void *ctx)
{
	struct showq *s = ctx;

	qmgr_listing_more(s->listing);
}

static void
showq_piece(void *ctx, struct buf *bytes, bool last)
{
	struct showq *s = ctx;
	struct control_request *r = s->request;

	if (last) {
		showq_free(s);
		control_keep(r, NULL, NULL);
		control_take(r, bytes);
		control_end(r);
	} else {
		control_take(r, bytes); /* may find the client gone */
	}
}

static void
begin(struct daemon *d, struct control_request *r, bool extended)
{
	struct showq *s = MEM_NEW(struct showq);

	s->request = r;
	s->listing = qmgr_listing_new(d->qmgr, extended, showq_piece, s);
	control_keep(r, showq_gone, s);
	control_on_drained(r, showq_drained);
}

static void
plain(void *ctx, struct control_request *r, const char *arg)
{
	begin(ctx, r, false);
}

static void
extended(void *ctx, struct control_request *r, const char *arg)
{
	begin(ctx, r, true);
}

static void
showq_run(void *ctx, struct control_request *r, const char *arg)
{
	rights_ask(ctx, r, RIGHT_SHOWQ, arg, plain);
}

void
daemon_order_list(void *ctx, struct control_request *r, const char *arg)
{
	rights_ask(ctx, r, RIGHT_LIST, arg, extended);
}

const struct control_command daemon_showq = {NULL, showq_run, true};
