/*
 * showq.c - the queue listing, in Postfix's own protocol, for our postqueue and everybody's.
 *
 * The walk over the directories runs on the slow lane and sends pieces as they come, so the first
 * lines are there at once and memory holds no whole listing on this side of the socket.
 */
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/runtime/crew.h"
#include "pp/spool/listing.h"

enum { PIECE = 64 * 1024, PIECE_MAX = 16 * 1024 * 1024 };

struct showq {
	struct lane_job job;
	struct daemon *daemon;
	struct control_request *request;
	struct buf piece;
};

struct showq_piece {
	struct post post;
	struct control_request *request;
	struct buf bytes;
};

static void
piece_on_main(struct post *p)
{
	struct showq_piece *piece = PP_CONTAINER(p, struct showq_piece, post);

	control_bytes(piece->request, buf_str(&piece->bytes));
	buf_fini(&piece->bytes);
	mem_free(piece);
}

static void
piece_send(struct showq *q)
{
	struct showq_piece *piece = MEM_NEW(struct showq_piece);

	piece->request = q->request;
	piece->bytes = q->piece;
	buf_init(&q->piece, PIECE_MAX);
	post_to(q->daemon->main, &piece->post, piece_on_main);
}

static int
one_message(void *ctx, const struct listing *l)
{
	struct showq *q = ctx;

	listing_encode(&q->piece, l, false);
	if (buf_str(&q->piece).n >= PIECE)
		piece_send(q);
	return 0;
}

static void
showq_work(struct lane_job *job)
{
	struct showq *q = PP_CONTAINER(job, struct showq, job);

	listing_encode_begin(&q->piece);
	listing_walk_blk(q->daemon->spool, crew_threads(), one_message, q);
	listing_encode_end(&q->piece);
	piece_send(q);
}

static void
showq_done(struct lane_job *job)
{
	struct showq *q = PP_CONTAINER(job, struct showq, job);

	control_end(q->request);
	buf_fini(&q->piece);
	mem_free(q);
}

static void
showq_run(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;
	struct showq *q = MEM_NEW(struct showq);

	q->daemon = d;
	q->request = r;
	buf_init(&q->piece, PIECE_MAX);
	lane_run(d->slow, lane_key("showq"), &q->job, showq_work, showq_done);
}

const struct control_command daemon_showq = {NULL, showq_run, true};
