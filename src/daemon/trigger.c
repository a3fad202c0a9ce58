/*
 * trigger.c - the sockets where Postfix's postdrop and postqueue knock: public/pickup, public/qmgr.
 *
 * A submission of Postfix's own program is seen at once that way, and its postdrop warns of
 * nothing. What is written to them does not matter: for pickup there is one thing to do, and of the
 * queue manager nothing but a flush of the whole queue is asked. Without them all works, only
 * later.
 */
#include <unistd.h>
#include "internal.h"
#include "pp/control/client.h"

static void
pickup_run(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	control_end(r);
	pickup_wake(d->pickup);
}

static void
flushed(void *ctx, const char *text)
{
	control_end(ctx);
}

static void
flush(void *ctx, struct control_request *r, const char *arg)
{
	struct daemon *d = ctx;

	pickup_wake(d->pickup);
	qmgr_command(d->qmgr, QMGR_FLUSH, "", flushed, r);
}

static void
qmgr_run(void *ctx, struct control_request *r, const char *arg)
{
	rights_ask(ctx, r, RIGHT_FLUSH, arg, flush);
}

static const struct control_command triggers[] = {
    {NULL, pickup_run, true},
    {NULL, qmgr_run, true},
};

void
daemon_triggers_open(struct daemon *d)
{
	static const char *const paths[] = {"public/pickup", "public/qmgr"};
	struct buf err = {.max = 1024};

	for (size_t i = 0; i < PP_COUNT(paths); i++) {
		d->triggers[i] = control_server_new(d->main, paths[i], &triggers[i], 1, d, &err);
		if (d->triggers[i] == NULL)
			log_warn("master", "%s: programs of Postfix are not heard", buf_cstr(&err));
		buf_clear(&err);
	}
	buf_fini(&err);
}

void
daemon_submit_open(struct daemon *d)
{
	struct buf err = {.max = 1024};
	int fd = listener_bind_local(SUBMIT_SOCKET, 0666, &err);

	if (fd < 0) {
		log_warn("master", "%s: mail can be submitted by maildrop only", buf_cstr(&err));
	} else {
		pickup_listen(d->pickup, fd);
		close(fd); /* pickup has its own */
	}
	buf_fini(&err);
}

void
daemon_triggers_close(struct daemon *d)
{
	unlink(SUBMIT_SOCKET);
	for (size_t i = 0; i < PP_COUNT(d->triggers); i++)
		control_server_free(d->triggers[i]);
}
