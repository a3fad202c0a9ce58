/*
 * check_values.c - values that cannot be meant together.
 *
 * Each check names the parameter to change. The guard against an open relay follows the lists as
 * the server will: only a refusal that is reached before an unconditional permit protects.
 */
#include <errno.h>
#include "internal.h"

struct checking {
	struct config_data *d;
	const struct params *p;
	const struct service_entry *service; /* NULL: the configuration itself */
	struct config_report *report;
};

static void PP_PRINTF(3, 4) bad(struct checking *c, const char *name, const char *fmt, ...)
{
	const struct setting_entry *e =
	    c->service ? settings_find(&c->service->overrides, str_of(name)) : NULL;
	struct buf text;
	va_list ap;

	if (e == NULL)
		e = settings_find(&c->d->settings, str_of(name));
	buf_init(&text, 4096);
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	config_report_error(c->report, e ? e->setting.file : "", e ? e->setting.line : 0, "%s: %s",
	    name, buf_cstr(&text));
	buf_fini(&text);
}

enum verdict { OPEN, PERMITS, REFUSES };

static const char *
class_text(struct checking *c, struct str word)
{
	char name[256];

	if (word.n >= sizeof(name))
		return NULL;
	memcpy(name, word.p, word.n);
	name[word.n] = '\0';
	return config_service_text(&c->d->cfg, c->service ? &c->service->service : NULL, name);
}

static bool
is_class(struct checking *c, struct str word)
{
	struct str rest = str_of(c->p->smtpd_restriction_classes), s;

	while (str_token(&rest, ", \t\n", &s))
		if (str_eq(s, word))
			return true;
	return false;
}

/* Follows a list of restrictions until something decides about every stranger. */
static enum verdict
follow(struct checking *c, const char *list, int depth)
{
	static const char *const refusals[] = {"reject_unauth_destination",
	    "defer_unauth_destination", "check_relay_domains", "reject", "defer",
	    "defer_if_permit"};
	struct str rest = str_of(list ? list : ""), word;

	while (depth < 10 && str_token(&rest, ", \t\n", &word)) {
		if (str_caseeq(word, STR("permit")))
			return PERMITS;
		for (size_t i = 0; i < PP_COUNT(refusals); i++)
			if (str_caseeq(word, str_of(refusals[i])))
				return REFUSES;
		if (is_class(c, word)) {
			enum verdict v = follow(c, class_text(c, word), depth + 1);

			if (v != OPEN)
				return v;
		}
	}
	return OPEN;
}

static void
check_relay(struct checking *c)
{
	if (follow(c, c->p->smtpd_relay_restrictions, 0) == REFUSES ||
	    follow(c, c->p->smtpd_recipient_restrictions, 0) == REFUSES)
		return;
	bad(c, "smtpd_relay_restrictions",
	    "would be an open relay%s%s: neither smtpd_relay_restrictions nor "
	    "smtpd_recipient_restrictions reaches one of reject_unauth_destination, "
	    "defer_unauth_destination, reject, defer, defer_if_permit",
	    c->service ? " in service " : "", c->service ? c->service->service.name : "");
}

static void
check_networks(struct checking *c)
{
	static const char *const all[] = {"0.0.0.0/0", "[::]/0", "::/0", "static:all", "0/0"};
	const struct setting_entry *e = settings_find(&c->d->settings, STR("mynetworks"));
	struct str rest = str_of(c->p->mynetworks), word;

	while (str_token(&rest, ", \t\n", &word))
		for (size_t i = 0; i < PP_COUNT(all); i++)
			if (e && str_eq(word, str_of(all[i])))
				config_report_warn(c->report, e->setting.file, e->setting.line,
				    "mynetworks contains %s: everybody who can connect may relay",
				    all[i]);
}

static void
check_hostname(struct checking *c)
{
	struct str s = str_of(c->p->myhostname);
	bool is_bad = s.n == 0 || s.n > 255 || s.p[0] == '.' || s.p[s.n - 1] == '.';

	for (size_t i = 0; i < s.n; i++)
		is_bad |= !str_isalnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '.' && s.p[i] != '_';
	if (is_bad)
		bad(c, "myhostname", "\"%s\" is no host name: letters, digits, - and . are allowed",
		    c->p->myhostname);
}

static void
check_words(struct checking *c, const char *name, const char *list, const char *words)
{
	struct str rest = str_of(list), word, allowed;
	bool has_any = false;

	while (str_token(&rest, ", \t\n", &word)) {
		struct str w = str_of(words);
		bool is_known = false;

		has_any = true;
		while (str_token(&w, "|", &allowed))
			is_known |= str_caseeq(word, allowed);
		if (!is_known)
			bad(c, name, "\"%.*s\" must be one of %s", STR_FMT(word), words);
	}
	if (!has_any)
		bad(c, name, "must be one of %s", words);
}

static void
check_path(struct checking *c, const char *name, const char *path)
{
	if (path[0] != '/')
		bad(c, name, "\"%s\" must be an absolute path", path);
}

static void
check_log_file(struct checking *c)
{
	struct str rest = str_of(c->p->maillog_file_prefixes), word;

	if (!*c->p->maillog_file)
		return;
	while (str_token(&rest, ", \t\n", &word))
		if (str_starts(str_of(c->p->maillog_file), word))
			return;
	bad(c, "maillog_file", "\"%s\" must begin with one of maillog_file_prefixes: %s",
	    c->p->maillog_file, c->p->maillog_file_prefixes);
}

/* A number, number/concurrency or number/sqrt_concurrency. */
static void
check_feedback(struct checking *c, const char *name, const char *value)
{
	struct str s = str_of(value);
	size_t slash = str_index(s, '/');
	struct str what = str_trim(str_from(s, slash + 1)), n = str_trim(str_head(s, slash));
	bool is_good = n.n > 0;
	int dots = 0;

	for (size_t i = 0; i < n.n; i++) {
		dots += n.p[i] == '.';
		is_good &= str_isdigit(n.p[i]) || n.p[i] == '.';
	}
	if (!is_good || dots > 1 || n.n > 12 ||
	    (slash < s.n && !str_eq(what, STR("concurrency")) &&
		!str_eq(what, STR("sqrt_concurrency"))))
		bad(c, name,
		    "\"%s\" must be a number such as 1 or 0.5, perhaps with /concurrency or "
		    "/sqrt_concurrency behind it",
		    value);
}

static void
check_times(struct checking *c)
{
	if (c->p->minimal_backoff_time > c->p->maximal_backoff_time)
		bad(c, "minimal_backoff_time",
		    "%lld s must not be above maximal_backoff_time, which is %lld s",
		    (long long)c->p->minimal_backoff_time / 1000,
		    (long long)c->p->maximal_backoff_time / 1000);
}

static void
check_sizes(struct checking *c)
{
	const struct params *p = c->p;
	const struct setting_entry *e = settings_find(&c->d->settings, STR("message_size_limit"));

	/* Local delivery refuses to work then; that is no reason not to relay. */
	if (e && p->mailbox_size_limit > 0 &&
	    (p->message_size_limit == 0 || p->message_size_limit > p->mailbox_size_limit))
		config_report_warn(c->report, e->setting.file, e->setting.line,
		    "message_size_limit is above mailbox_size_limit (%lld): local mailboxes "
		    "could not take the largest messages",
		    (long long)p->mailbox_size_limit);
}

void
check_values(struct config_data *d, struct config_report *report)
{
	struct checking c = {.d = d, .p = d->cfg.params, .report = report};

	check_hostname(&c);
	check_times(&c);
	check_sizes(&c);
	check_networks(&c);
	check_log_file(&c);
	check_path(&c, "queue_directory", c.p->queue_directory);
	check_path(&c, "data_directory", c.p->data_directory);
	check_words(&c, "inet_protocols", c.p->inet_protocols, "all|ipv4|ipv6");
	check_words(&c, "smtp_host_lookup", c.p->smtp_host_lookup, "dns|native");
	if (*c.p->smtp_dns_resolver_options)
		check_words(&c, "smtp_dns_resolver_options", c.p->smtp_dns_resolver_options,
		    "res_defnames|res_dnsrch");
	check_feedback(&c, "default_destination_concurrency_positive_feedback",
	    c.p->default_destination_concurrency_positive_feedback);
	check_feedback(&c, "default_destination_concurrency_negative_feedback",
	    c.p->default_destination_concurrency_negative_feedback);
	for (const struct transport_value *v = d->transports; v; v = v->hh.next)
		if (str_ends(str_of(v->name), STR("_feedback")))
			check_feedback(&c, v->name, v->text);
	check_relay(&c);
	for (const struct service_entry *e = d->services; e; e = e->next) {
		struct checking s = {
		    .d = d, .p = e->service.params, .service = e, .report = report};

		if (e->options && strcmp(e->service.command, "smtpd") == 0)
			check_relay(&s);
	}
}
