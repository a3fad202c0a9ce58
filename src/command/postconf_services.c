/*
 * postconf_services.c - postconf -M, -F and -P: rows of master.cf, their columns, their -o.
 *
 * Patterns name a service, its type and what of it, each part optional: smtp, smtp/unix,
 * smtp/unix/chroot. A pattern that fits nothing is told, as Postfix tells it.
 */
#include <stdio.h>
#include "pp/config/settings.h"
#include "pp/runtime/log.h"
#include "postconf.h"

static const char *const columns[] = {
    "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"};

struct pattern {
	struct str service, type, what;
};

static struct str
cut(struct str *s)
{
	size_t slash = str_index(*s, '/');
	struct str part = str_head(*s, slash);

	*s = str_from(*s, slash + 1);
	return part;
}

/* From behind, since a service may be named by a path; a type never is. */
static struct pattern
parse(const char *text)
{
	struct str rest = str_of(text);
	struct pattern p = {.service = cut(&rest)};

	p.type = cut(&rest);
	p.what = rest;
	return p;
}

static bool
fits(struct str pattern, const char *text)
{
	return pattern.n == 0 || str_eq(pattern, STR("*")) || str_eq(pattern, str_of(text));
}

static void
join(const char *const *words, struct buf *to)
{
	for (; *words; words++)
		buf_printf(to, "%s%s", to->n ? " " : "", *words);
}

static unsigned
show_row(const struct service *s, bool is_folded)
{
	static const unsigned char stops[] = {11, 17, 25, 33, 41, 49, 57};
	const char *const *c = config_service_columns(s);
	struct buf head, rest;

	buf_init(&head, 4096);
	buf_init(&rest, 256 << 10);
	/* A word too long for its column pushes the next one; those behind fall into place again.
	 */
	for (unsigned i = 0; i < 7; i++) {
		buf_adds(&head, c[i]);
		do
			buf_addc(&head, ' ');
		while (buf_str(&head).n < stops[i] && !buf_overflowed(&head));
	}
	buf_truncate(&head, buf_str(&head).n - 1); /* the blank before a word is printed with it */
	join(c + 7, &rest);
	postconf_print(buf_cstr(&head), buf_cstr(&rest), is_folded);
	buf_fini(&head);
	buf_fini(&rest);
	return 1;
}

static unsigned
show_fields(const struct service *s, const struct pattern *p, bool is_folded)
{
	const char *const *c = config_service_columns(s);
	struct buf head, value;
	unsigned shown = 0;

	buf_init(&head, 4096);
	buf_init(&value, 256 << 10);
	for (unsigned i = 0; i < PP_COUNT(columns); i++) {
		if (!fits(p->what, columns[i]))
			continue;
		buf_clear(&head);
		buf_clear(&value);
		buf_printf(&head, "%s/%s/%s =", s->name, s->type, columns[i]);
		if (i == 7)
			join(c + 7, &value);
		else
			buf_adds(&value, c[i]);
		postconf_print(buf_cstr(&head), buf_cstr(&value), is_folded);
		shown++;
	}
	buf_fini(&head);
	buf_fini(&value);
	return shown;
}

static unsigned
show_options(struct command *cmd, const struct service *s, const struct pattern *p, bool is_folded,
    bool is_expanded)
{
	struct buf head;
	unsigned shown = 0;

	buf_init(&head, 4096);
	for (const struct service_option *o = config_service_options(s); o; o = o->next) {
		const char *value =
		    is_expanded ? config_service_text(cmd->config, s, o->name) : o->value;

		if (!fits(p->what, o->name))
			continue;
		buf_clear(&head);
		buf_printf(&head, "%s/%s/%s =", s->name, s->type, o->name);
		postconf_print(buf_cstr(&head), value ? value : o->value, is_folded);
		shown++;
	}
	buf_fini(&head);
	return shown;
}

static unsigned
show_matching(
    struct command *c, int mode, bool is_folded, bool is_expanded, const struct pattern *p)
{
	const struct service *s = NULL;
	unsigned shown = 0;

	while ((s = config_service_next(c->config, s)) != NULL) {
		if (!fits(p->service, s->name) || !fits(p->type, s->type))
			continue;
		if (mode == 'M')
			shown += show_row(s, is_folded);
		else if (mode == 'F')
			shown += show_fields(s, p, is_folded);
		else
			shown += show_options(c, s, p, is_folded, is_expanded);
	}
	return shown;
}

void
postconf_services(struct command *c, int mode, bool is_folded, bool is_expanded, char **args)
{
	static const struct pattern all;

	if (*args == NULL)
		show_matching(c, mode, is_folded, is_expanded, &all);
	for (; *args; args++) {
		struct pattern p = parse(*args);

		if (show_matching(c, mode, is_folded, is_expanded, &p) == 0)
			log_warn("postconf", "unmatched request: \"%s\"", *args);
	}
}
