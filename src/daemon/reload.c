/*
 * reload.c - SIGHUP: a new generation beside the old one, then a swap on every loop.
 *
 * Files are read and compiled on the slow lane. If anything is unusable the old configuration stays
 * in force and the log says why. Sessions and deliveries that run keep what they began with.
 */
#include "internal.h"
#include "pp/base/mem.h"

struct reload {
	struct lane_job job;
	struct daemon *daemon;
	struct generation *gen;
	unsigned errors;
	uid_t uid;
};

static void
say_at_reload(void *ctx, bool is_error, const char *text)
{
	struct reload *r = ctx;

	r->errors += is_error;
	if (is_error)
		log_error("master", "%s", text);
	else
		log_warn("master", "%s", text);
}

static void
reload_work(struct lane_job *job)
{
	struct reload *r = PP_CONTAINER(job, struct reload, job);
	const struct say say = {say_at_reload, r};
	struct config *cfg = generation_load(r->daemon, &say);

	if (cfg)
		r->gen = generation_new(cfg, r->daemon->spool, r->daemon->gen, &say);
	if (r->gen)
		generation_check_files(r->gen, &say);
}

static void
reload_end(struct daemon *d)
{
	mem_free(d->reload);
	d->reload = NULL;
	if (d->stopping) {
		daemon_stop_parts(d, d->gen->cleanup.config->params->shutdown_timeout);
	} else if (d->reload_again) {
		d->reload_again = false;
		daemon_reload(d);
	}
}

static void
warn_one(bool is_changed, const char *name)
{
	if (is_changed)
		log_warn("master", "%s takes effect at the next start", name);
}

/* What cannot change in a running daemon. */
static void
warn_fixed(const struct params *old, const struct params *new)
{
	if (strcmp(old->queue_directory, new->queue_directory) != 0)
		log_warn("master", "queue_directory = %s takes effect at the next start",
		    new->queue_directory);
	/* Until then postsuper -s and the daemon put files where each thinks they belong. */
	warn_one(strcmp(old->hash_queue_names, new->hash_queue_names) != 0, "hash_queue_names");
	warn_one(old->hash_queue_depth != new->hash_queue_depth, "hash_queue_depth");
	warn_one(old->enable_long_queue_ids != new->enable_long_queue_ids, "enable_long_queue_ids");
	warn_one(old->message_cache_size != new->message_cache_size, "message_cache_size");
	warn_one(old->workers != new->workers, "workers");
}

static void
reload_done(struct lane_job *job)
{
	struct reload *r = PP_CONTAINER(job, struct reload, job);
	struct daemon *d = r->daemon;

	if (r->gen == NULL) {
		log_error("master", "reload refused: the old configuration stays in force");
		reload_end(d);
		return;
	}
	warn_fixed(d->gen->cleanup.config->params, r->gen->cleanup.config->params);
	daemon_log_setup(r->gen->cleanup.config, d->uid, false);
	d->io_open = d->io_count;
	for (unsigned i = 0; i < d->io_count; i++)
		io_reload(d->io[i], r->gen);
}

void
daemon_reloaded(struct daemon *d)
{
	struct generation *old = d->gen;

	d->gen = d->reload->gen;
	qmgr_reload(d->qmgr, &d->gen->cleanup);
	pickup_reload(d->pickup, &d->gen->cleanup);
	pickup_submitters(d->pickup, d->gen->users[RIGHT_SUBMIT]);
	generation_free(old, d->gen);
	log_info("master", "reload -- version %s, configuration %s", PP_VERSION,
	    d->gen->cleanup.config->dir);
	reload_end(d);
}

void
daemon_reload(struct daemon *d)
{
	if (d->stopping || d->phase != PHASE_RUN)
		return;
	if (d->reload) {
		d->reload_again = true;
		return;
	}
	d->reload = MEM_NEW(struct reload);
	d->reload->daemon = d;
	lane_run(d->slow, lane_key("reload"), &d->reload->job, reload_work, reload_done);
}
