/*
 * listener.h - listening sockets: bound once by main (as root), accepted on every io loop.
 * THREAD listener_bind: main, at start and reload (a host name blocks). The rest: the loop.
 * OWNS   bound descriptors are the caller's; a listener has a dup of its own.
 * ERRORS -errno; `err` gets the address, the reason and what to do.
 */
#pragma once
#include <sys/types.h>
#include "pp/base/buf.h"
#include "pp/runtime/loop.h"

/* service: "25", "smtp", "127.0.0.1:2525", "[::1]:25", "host:port". interfaces: inet_interfaces,
 * used when no host is given ("all", "loopback-only", addresses); protocols: "all", "ipv4", "ipv6".
 * Port 0 lets the kernel choose, one for each address. Fills fds[0..*ret_n), all or nothing: they
 * listen, do not block and are closed on exec. */
struct listener_fd {
	int fd;
	char name[80]; /* "127.0.0.1:2525" with the real port */
};
int listener_bind(const char *service, const char *interfaces, const char *protocols,
    struct listener_fd *fds, size_t room, size_t *ret_n, struct buf *err);

/* The port of a service's text, asking nobody but /etc/services; -EINVAL with the reason in err. */
int listener_port(const char *service, struct buf *err);

/* The descriptor of a local socket that listens, made anew with that mode, or -errno. */
int listener_bind_local(const char *path, mode_t mode, struct buf *err);

struct listener;
/* accepted(ctx, fd): the connected descriptor is the callee's. On EMFILE a reserve descriptor is
 * used to accept and close, so the loop does not spin. NULL when no descriptor is left. */
struct listener *
listener_start(struct loop *l, int fd, void (*accepted)(void *ctx, int fd), void *ctx);
/* Also inside accepted. NULL is taken. */
void listener_stop(struct listener *li);
