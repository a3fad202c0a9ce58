/*
 * server.h - the socket the commands talk to: a line comes in, lines go out.
 * THREAD the main loop.
 * OWNS   the socket file; connections free themselves.
 * ERRORS -errno of binding, with a text.
 *
 * One command per connection: "word [argument]\n". The answer is lines, ended by closing; a line
 * "error TEXT" means failure. Who asks is known by SO_PEERCRED. A server whose only command has no
 * word runs it for every connection at once: that is how showq speaks.
 */
#pragma once
#include <sys/types.h>
#include "pp/base/buf.h"
#include "pp/runtime/loop.h"

struct control_server;
struct control_request; /* one connection, until control_end */

struct control_command {
	const char *word;
	/* Called on the main loop; must end in control_end, now or later. */
	void (*run)(void *ctx, struct control_request *r, const char *argument);
	bool any_user; /* else: root, or the uid of the daemon */
};

struct control_server *control_server_new(struct loop *l, const char *socket_path,
    const struct control_command *commands, size_t n, void *ctx, struct buf *err);
void control_server_free(struct control_server *s);

uid_t control_uid(const struct control_request *r);
void
control_line(struct control_request *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Some 100 KiB at most may wait for the client; who has more to say goes on when told. A client
 * that leaves more unread (a watcher) is hung up. */
void control_bytes(struct control_request *r, struct str bytes);
/* The same without a copy where it can be: *bytes is empty afterwards or as it was, and to be freed
 * by its owner in either case. */
void control_take(struct control_request *r, struct buf *bytes);
void control_end(struct control_request *r);
/* Stay open for lines that come later (events). gone(ctx) when the client hangs up first; then the
 * request may no longer be used. */
void control_keep(struct control_request *r, void (*gone)(void *ctx), void *ctx);
/* With control_keep's ctx, each time the client has taken what was sent, so that at most what came
 * behind it is still here. */
void control_on_drained(struct control_request *r, void (*drained)(void *ctx));
