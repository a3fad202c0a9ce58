/*
 * streams.h - for the tests of streams: two ends, or one stream and a bare descriptor.
 */
#pragma once
#include "pair.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static struct side a, b;
static int raw = -1;

static inline void
tcp_pair(int fds[2])
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t n = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &n), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&sa, sizeof(sa)), 0);
	fds[1] = accept(l, NULL, NULL);
	assert_true(fds[1] >= 0);
	close(l);
}

static inline void
open_both(bool tcp)
{
	int fds[2];

	side_init(&a);
	side_init(&b);
	if (tcp)
		tcp_pair(fds);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	side_open(&a, fds[0]);
	side_open(&b, fds[1]);
}

/* One stream, and the other end as a bare non-blocking descriptor. */
static inline void
open_one(bool tcp)
{
	int fds[2];

	side_init(&a);
	if (tcp)
		tcp_pair(fds);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	side_open(&a, fds[0]);
	raw = fds[1];
}

static inline void
fini_both(void)
{
	side_fini(&a);
	side_fini(&b);
}

static inline void
raw_say(const char *text)
{
	assert_int_equal(write(raw, text, strlen(text)), strlen(text));
}

static inline void
raw_close(void)
{
	close(raw);
	raw = -1;
}

static struct timer later;

static inline void
end_here(struct side *side)
{
	side_close(side);
	rig_end();
}

static inline void
answer(struct side *side)
{
	say(side, "250 ok\r\n");
}
