/*
 * io.c - an io loop: its listeners, SMTP sessions both ways, its resolver.
 *
 * Everything on it is made, changed and freed on its own thread; main only posts. Each loop
 * listens on every socket, so a connection lives where it was accepted and is never handed over.
 */
#include "internal.h"
#include "pp/base/mem.h"

struct io_order {
	struct post post;
	struct io *io;
	const struct generation *gen; /* main waits for the answer before it changes it */
	int64_t deadline_ms;
};

static void
order_send(struct io *io, const struct generation *g, int64_t ms, void (*run)(struct post *))
{
	struct io_order *o = MEM_NEW(struct io_order);

	o->io = io;
	o->gen = g;
	o->deadline_ms = ms;
	post_to(io->loop, &o->post, run);
}

static struct io_order *
order_of(struct post *p)
{
	return PP_CONTAINER(p, struct io_order, post);
}

struct io *
io_new(struct daemon *d, unsigned index)
{
	static const char *const names[] = {"io0", "io1", "io2", "io3", "io4", "io5", "io6", "io7"};
	struct io *io = MEM_NEW(struct io);

	io->daemon = d;
	io->index = index;
	io->loop = loop_new(index < PP_COUNT(names) ? names[index] : "io+");
	buf_init(&io->error, 1024);
	return io;
}

static void
accepted(void *ctx, int fd)
{
	struct io_door *door = ctx;

	smtpd_accept(door->io->smtpd, door->io->setups[door->row], fd);
}

static void
doors_close(struct io *io)
{
	for (size_t i = 0; i < io->door_count; i++)
		listener_stop(io->doors[i].listener);
	mem_free(io->doors);
	io->doors = NULL;
	io->door_count = 0;
}

static void
doors_open(struct io *io, const struct generation *g)
{
	size_t n = 0;

	for (size_t r = 0; r < g->n; r++)
		n += g->rows[r].n;
	io->doors = mem_alloc(n * sizeof(*io->doors));
	for (size_t r = 0; r < g->n; r++)
		for (size_t i = 0; i < g->rows[r].n; i++) {
			struct io_door *door = &io->doors[io->door_count++];

			door->io = io;
			door->row = r;
			door->listener =
			    listener_start(io->loop, g->rows[r].fds[i].fd, accepted, door);
		}
}

static void
setups_use(struct io *io, const struct generation *g)
{
	for (size_t r = 0; r < LISTENERS_MAX; r++) {
		struct smtpd_setup *old = io->setups[r];

		io->setups[r] = r < g->n ? g->rows[r].setup : NULL;
		if (io->setups[r])
			smtpd_setup_ref(io->setups[r]);
		if (old)
			smtpd_setup_unref(old);
	}
}

static void
started(struct post *p)
{
	struct io *io = PP_CONTAINER(p, struct io, post);

	daemon_io_started(io->daemon, io);
}

static void
start_run(struct post *p)
{
	struct io_order *o = order_of(p);
	struct io *io = o->io;
	struct daemon *d = io->daemon;
	const struct params *prm = o->gen->cleanup.config->params;

	io->resolver = resolver_new(io->loop, prm->dns_resolvers, prm->dns_timeout, &io->error);
	io->failed = io->resolver == NULL;
	if (!io->failed) {
		io->smtpd = smtpd_new(io->loop, io->resolver, d->slow, d->disk, d->counts);
		io->smtp = smtp_new(io->loop, d->spool, io->resolver, d->slow, d->sasl);
		smtp_use(io->smtp, o->gen->smtp);
	}
	mem_free(o);
	post_to(d->main, &io->post, started);
}

/* The doors are opened by io_reload, when all else is ready. */
void
io_start(struct io *io, const struct generation *g)
{
	order_send(io, g, 0, start_run);
}

static void
reload_run(struct post *p)
{
	struct io_order *o = order_of(p);
	struct io *io = o->io;

	doors_close(io);
	smtp_use(io->smtp, o->gen->smtp);
	setups_use(io, o->gen);
	doors_open(io, o->gen);
	mem_free(o);
	post_to(io->daemon->main, &io->post, started);
}

void
io_reload(struct io *io, const struct generation *g)
{
	order_send(io, g, 0, reload_run);
}

static void
stopped_on_main(struct post *p)
{
	daemon_part_stopped(PP_CONTAINER(p, struct io, post)->daemon);
}

static void
half_stopped(void *ctx)
{
	struct io *io = ctx;

	if (--io->stops_open == 0)
		post_to(io->daemon->main, &io->post, stopped_on_main);
}

static void
stop_run(struct post *p)
{
	struct io_order *o = order_of(p);
	struct io *io = o->io;

	doors_close(io);
	io->stops_open = 2;
	smtpd_stop(io->smtpd, o->deadline_ms, half_stopped, io);
	smtp_stop(io->smtp, o->deadline_ms, half_stopped, io);
	mem_free(o);
}

void
io_stop(struct io *io, int64_t deadline_ms)
{
	order_send(io, NULL, deadline_ms, stop_run);
}

static void
ended_on_main(struct post *p)
{
	daemon_io_ended(PP_CONTAINER(p, struct io, post)->daemon);
}

static void
fini_run(struct post *p)
{
	struct io_order *o = order_of(p);
	struct io *io = o->io;

	for (size_t r = 0; r < LISTENERS_MAX; r++)
		if (io->setups[r])
			smtpd_setup_unref(io->setups[r]);
	smtp_free(io->smtp);
	smtpd_free(io->smtpd);
	resolver_free(io->resolver);
	buf_fini(&io->error);
	mem_free(o);
	post_to(io->daemon->main, &io->post, ended_on_main);
}

void
io_fini(struct io *io)
{
	order_send(io, NULL, 0, fini_run);
}
