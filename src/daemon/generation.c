/*
 * generation.c - one configuration, compiled: routes, listeners, restrictions, TLS, tables.
 *
 * A generation is built completely before anything of the old one is touched; when a piece of it is
 * unusable it is thrown away whole, so a reload can only succeed or change nothing.
 */
#include <errno.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/config/settings.h"

extern char **environ;

static void
tell(const struct say *s, bool is_error, struct buf *text)
{
	struct str rest = buf_str(text), line;

	while (str_token(&rest, "\n", &line)) {
		struct arena a = {0};

		s->line(s->ctx, is_error, arena_str(&a, line));
		arena_fini(&a);
	}
	buf_clear(text);
}

struct config *
generation_load(const struct daemon *d, const struct say *s)
{
	struct config_source src = {
	    .environ = environ, .is_root = d->was_root, .cwd = d->cwd[0] ? d->cwd : NULL};
	struct config_report report;
	struct config *cfg = NULL;
	struct buf text = {.max = 16384};
	int rc;

	src.dir = config_dir(d->config_dir, environ, &src.is_dir_required);
	config_report_init(&report);
	rc = config_load(&src, &cfg, &report);
	for (const struct config_note *n = report.first; n != NULL; n = n->next) {
		config_note_text(n, &text);
		tell(s, n->is_error, &text);
	}
	config_report_fini(&report);
	buf_fini(&text);
	return rc < 0 ? NULL : cfg;
}

static const struct service_option *
option_of(const struct service *svc, const char *name)
{
	for (const struct service_option *o = config_service_options(svc); o; o = o->next)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

/* The row of master.cf that is to blame: the one at work, or the first that sets the name. */
static const struct service *
row_of(const struct config *cfg, const struct service *svc, const char *name)
{
	if (svc != NULL)
		return option_of(svc, name) ? svc : NULL;
	while ((svc = config_service_next(cfg, svc)) != NULL)
		if (option_of(svc, name))
			break;
	return svc;
}

/* The modules complain of "PARAMETER ..." or of "listen on SERVICE: ...": an administrator wants
 * to know in which line that stands. What has its place already is left alone. */
static void
tell_place(
    const struct config *cfg, const struct service *svc, const struct say *s, struct buf *err)
{
	struct str text = buf_str(err), colon = str_head(text, str_index(text, ':'));
	struct str word = str_head(colon, str_index(colon, ' '));
	struct buf placed = {.max = 32768};
	struct arena a = {0};
	const char *name = arena_str(&a, word), *origin = "default";

	if (param_find(word) != NULL) {
		origin = config_origin(cfg, name);
		svc = row_of(cfg, svc, name);
	} else if (!str_starts(text, STR("listen on "))) {
		svc = NULL;
	}
	if (svc != NULL && svc->file[0] != '\0')
		buf_printf(&placed, "%s, line %d: ", svc->file, svc->line);
	else if (strcmp(origin, "default") != 0)
		buf_printf(&placed, "%s: ", origin);
	buf_add(&placed, text);
	tell(s, true, &placed);
	buf_fini(&placed);
	arena_fini(&a);
}

static const struct listen_row *
row_find(const struct generation *g, const char *service)
{
	for (size_t i = 0; g && i < g->n; i++)
		if (strcmp(g->rows[i].service, service) == 0)
			return &g->rows[i];
	return NULL;
}

/* The sockets of a row that was there before are kept: after giving up root nobody could bind
 * port 25 again. */
static int
row_bind(struct listen_row *row, const struct service *svc, const struct generation *old,
    struct buf *err)
{
	const struct listen_row *before = row_find(old, svc->name);
	struct listener_fd bound[LISTEN_FDS_MAX];
	const struct listener_fd *fds = before ? before->fds : bound;
	int rc = 0;

	if (before)
		row->n = before->n;
	else
		rc = listener_bind(svc->name, svc->params->inet_interfaces,
		    svc->params->inet_protocols, bound, LISTEN_FDS_MAX, &row->n, err);
	if (rc == 0) {
		row->fds = mem_alloc(row->n * sizeof(*fds));
		memcpy(row->fds, fds, row->n * sizeof(*fds));
	}
	return rc;
}

static int
rows_make(struct generation *g, const struct generation *old, bool bind,
    const struct service **ret_blame, struct buf *err)
{
	const struct service *svc = NULL;

	while ((svc = config_service_next(g->cleanup.config, svc)) != NULL) {
		struct listen_row *row = &g->rows[g->n];
		int rc;

		if (strcmp(svc->type, "inet") != 0 || strcmp(svc->command, "smtpd") != 0)
			continue;
		if (g->n == LISTENERS_MAX) {
			buf_printf(err, "%s, line %d: more than %d listeners", svc->file, svc->line,
			    LISTENERS_MAX);
			return -E2BIG;
		}
		*ret_blame = svc;
		strncpy(row->service, svc->name, sizeof(row->service) - 1);
		rc = smtpd_setup_new_blk(g->cleanup.config, svc, &g->cleanup, &row->setup, err);
		if (rc < 0)
			return rc;
		g->n++;
		rc = bind ? row_bind(row, svc, old, err) : listener_port(svc->name, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct generation *
compile(struct config *cfg, struct spool *spool, const struct generation *old, bool bind,
    const struct say *s)
{
	struct generation *g = MEM_NEW(struct generation);
	const struct service *blame = NULL;
	struct buf err = {.max = 16384};
	int rc;

	g->cleanup.config = cfg;
	g->cleanup.spool = spool;
	rc = route_new(cfg, &g->cleanup.route, &err);
	if (rc == 0)
		rc = smtp_setup_new_blk(cfg, &g->smtp, &err);
	if (rc == 0)
		rc = rights_compile(g, &err);
	if (rc == 0)
		rc = rows_make(g, old, bind, &blame, &err);
	if (rc < 0) {
		tell_place(cfg, blame, s, &err);
		generation_free(g, old);
		g = NULL;
	}
	buf_fini(&err);
	return g;
}

void
generation_check_files(const struct generation *g, const struct say *s)
{
	struct buf warn = {.max = 16384};

	smtp_setup_check_blk(g->smtp, &warn);
	tell(s, false, &warn);
	buf_fini(&warn);
}

struct generation *
generation_new(
    struct config *cfg, struct spool *spool, const struct generation *old, const struct say *s)
{
	return compile(cfg, spool, old, true, s);
}

int
generation_check(struct config *cfg, const struct say *s)
{
	struct generation *g = compile(cfg, NULL, NULL, false, s);

	if (g)
		generation_check_files(g, s);
	generation_free(g, NULL);
	return g ? 0 : -EINVAL;
}

/* Sockets that the other generation uses as well stay open. */
static void
row_close(struct listen_row *row, const struct generation *keep)
{
	const struct listen_row *kept = row_find(keep, row->service);

	for (size_t i = 0; i < row->n; i++)
		if (kept == NULL || i >= kept->n || kept->fds[i].fd != row->fds[i].fd)
			close(row->fds[i].fd);
	mem_free(row->fds);
	if (row->setup)
		smtpd_setup_unref(row->setup);
}

void
generation_free(struct generation *g, const struct generation *keep)
{
	if (g == NULL)
		return;
	for (size_t i = 0; i < g->n; i++)
		row_close(&g->rows[i], keep);
	rights_free(g);
	if (g->smtp)
		smtp_setup_unref(g->smtp);
	if (g->cleanup.route)
		route_unref(g->cleanup.route);
	snap_unref(&g->cleanup.config->snap);
	mem_free(g);
}
