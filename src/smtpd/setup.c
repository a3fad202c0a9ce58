/*
 * setup.c - a row of master.cf with its parameters, made ready to serve.
 *
 * All that can be computed once is computed here: restriction lists, networks, the banner, the
 * EHLO answer; sessions only read it. What cannot be done as it was asked for is an error and not a
 * warning wherever somebody might believe to be protected: an open relay, encryption that is not
 * there, a restriction nobody evaluates.
 */
#include <errno.h>
#include <fcntl.h>
#include "internal.h"
#include "pp/base/fsio.h"
#include "pp/config/settings.h"

static void
destroy(struct snap *snap)
{
	struct smtpd_setup *s = PP_CONTAINER(snap, struct smtpd_setup, snap);

	for (unsigned i = 0; i < s->map_count; i++)
		map_unref(s->maps[i]);
	smtpd_unlisted_close(s);
	if (s->mynetworks)
		netlist_unref(s->mynetworks);
	if (s->exceptions)
		netlist_unref(s->exceptions);
	if (s->bare_exclusions)
		netlist_unref(s->bare_exclusions);
	if (s->queue_dirfd >= 0)
		fsio_close(s->queue_dirfd);
	route_unref(s->cleanup.route);
	snap_unref(&s->config->snap);
	arena_fini(&s->arena);
	mem_free(s);
}

void
smtpd_setup_ref(struct smtpd_setup *s)
{
	snap_ref(&s->snap);
}

void
smtpd_setup_unref(struct smtpd_setup *s)
{
	if (s)
		snap_unref(&s->snap);
}

static int
set_lists(struct smtpd_setup *s, struct buf *err)
{
	const struct params *p = s->p;
	const struct {
		const char *name, *text, *table_default;
	} rows[STAGE_COUNT] = {
	    [STAGE_CLIENT] = {"smtpd_client_restrictions", p->smtpd_client_restrictions,
		"check_client_access"},
	    [STAGE_HELO] = {"smtpd_helo_restrictions", p->smtpd_helo_restrictions,
		"check_helo_access"},
	    [STAGE_SENDER] = {"smtpd_sender_restrictions", p->smtpd_sender_restrictions,
		"check_sender_access"},
	    [STAGE_RELAY] = {"smtpd_relay_restrictions", p->smtpd_relay_restrictions,
		"check_recipient_access"},
	    [STAGE_RECIPIENT] = {"smtpd_recipient_restrictions", p->smtpd_recipient_restrictions,
		"check_recipient_access"},
	    [STAGE_LISTED] = {"smtpd_reject_unlisted_recipient",
		p->smtpd_reject_unlisted_recipient ? "reject_unlisted_recipient" : "", NULL},
	    [STAGE_DATA] = {"smtpd_data_restrictions", p->smtpd_data_restrictions, NULL},
	    [STAGE_END_OF_DATA] = {"smtpd_end_of_data_restrictions",
		p->smtpd_end_of_data_restrictions, NULL},
	};

	for (unsigned i = 0; i < STAGE_COUNT; i++) {
		int rc = restrict_compile_blk(
		    s, rows[i].name, rows[i].text, rows[i].table_default, &s->lists[i], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int
refuse_open_relay(struct smtpd_setup *s, struct buf *err)
{
	if (!restrict_guards_relay(&s->lists[STAGE_RELAY]) &&
	    !restrict_guards_relay(&s->lists[STAGE_RECIPIENT])) {
		buf_printf(err,
		    "service %s: neither smtpd_relay_restrictions nor "
		    "smtpd_recipient_restrictions refuses other people's destinations before it "
		    "permits everybody: it would be an open relay; put reject_unauth_destination "
		    "or defer_unauth_destination into one of them",
		    s->service->name);
		return -EINVAL;
	}
	return 0;
}

static int
set_netlist(const char *name, const char *text, struct netlist **ret, struct buf *err)
{
	struct buf why;
	int rc;

	buf_init(&why, 1024);
	rc = netlist_new_blk(text, ret, &why);
	if (rc < 0)
		buf_printf(err, "%s: %s", name, buf_cstr(&why));
	buf_fini(&why);
	return rc;
}

static int
set_networks(struct smtpd_setup *s, struct buf *err)
{
	const struct params *p = s->p;
	int rc = set_netlist("mynetworks", p->mynetworks, &s->mynetworks, err);

	if (rc == 0)
		rc = set_netlist("smtpd_client_event_limit_exceptions",
		    p->smtpd_client_event_limit_exceptions, &s->exceptions, err);
	if (rc == 0)
		rc = set_netlist("smtpd_forbid_bare_newline_exclusions",
		    p->smtpd_forbid_bare_newline_exclusions, &s->bare_exclusions, err);
	return rc;
}

static int
set_rewrite_clients(struct smtpd_setup *s, struct buf *err)
{
	struct str rest = str_of(s->p->local_header_rewrite_clients), word;

	while (str_token(&rest, ", \t\r\n", &word)) {
		if (str_caseeq(word, STR("permit_mynetworks"))) {
			s->is_rewrite_mynetworks = true;
		} else if (str_caseeq(word, STR("permit_inet_interfaces"))) {
			s->is_rewrite_interfaces = true;
		} else if (!str_casestarts(word, STR("permit_sasl")) &&
			   !str_casestarts(word, STR("permit_tls"))) {
			buf_printf(err,
			    "local_header_rewrite_clients: %.*s is not done by this version",
			    STR_FMT(word));
			return -EINVAL;
		}
	}
	return 0;
}

/* Words, and the one pattern that is Postfix's default. */
static int
set_forbidden(struct smtpd_setup *s, struct buf *err)
{
	const struct str symbols = STR("regexp:{{/^[^A-Z]/ Bogus}}");
	struct str rest = str_of(s->p->smtpd_forbidden_commands), word;

	while (str_token(&rest, ", \t\r\n", &word)) {
		struct str here = {word.p, word.n + rest.n};

		if (str_index(word, ':') == word.n)
			continue;
		if (!str_starts(here, symbols)) {
			buf_printf(err, "smtpd_forbidden_commands: %.*s: only words are taken here",
			    STR_FMT(word));
			return -EINVAL;
		}
		s->is_no_symbols = true;
		rest = str_from(here, symbols.n);
	}
	return 0;
}

/* In Postfix's order. */
static const struct keyword {
	const char *name;
	unsigned bit;
} keywords[] = {
    {"PIPELINING", ESMTP_PIPELINING},
    {"SIZE", ESMTP_SIZE},
    {"VRFY", ESMTP_VRFY},
    {"ENHANCEDSTATUSCODES", ESMTP_ENHANCED},
    {"8BITMIME", ESMTP_8BITMIME},
    {"DSN", ESMTP_DSN},
    {"SMTPUTF8", ESMTP_SMTPUTF8},
};

/* Known to Postfix, never offered here. */
static const char *const never[] = {
    "ETRN", "STARTTLS", "AUTH", "XVERP", "XCLIENT", "XFORWARD", "CHUNKING", "silent-discard"};

static unsigned
discarded(const struct smtpd_setup *s, struct str word)
{
	for (unsigned i = 0; i < PP_COUNT(keywords); i++)
		if (str_caseeq(word, str_of(keywords[i].name)))
			return keywords[i].bit;
	for (unsigned i = 0; i < PP_COUNT(never); i++)
		if (str_caseeq(word, str_of(never[i])))
			return 0;
	log_warn("smtpd", "service %s: smtpd_discard_ehlo_keywords: unknown keyword %.*s",
	    s->service->name, STR_FMT(word));
	return 0;
}

/* "discarding EHLO keywords: ETRN CHUNKING", once per EHLO, unless silent-discard is there. */
static void
set_discard_text(struct smtpd_setup *s)
{
	struct str rest = str_of(s->p->smtpd_discard_ehlo_keywords), word;
	const char *text = "";

	while (str_token(&rest, ", \t\r\n", &word)) {
		char *name = arena_str(&s->arena, word);

		if (str_caseeq(word, STR("silent-discard")))
			return;
		for (char *p = name; *p; p++)
			*p = *p >= 'a' && *p <= 'z' ? (char)(*p - ('a' - 'A')) : *p;
		text = arena_printf(&s->arena, "%s %s", text, name);
	}
	if (text[0])
		s->discarded = text;
}

static void
set_ehlo(struct smtpd_setup *s)
{
	const struct params *p = s->p;
	struct str rest = str_of(p->smtpd_discard_ehlo_keywords), word;
	const char *line = p->myhostname, *text = "";

	s->extensions = ESMTP_PIPELINING | ESMTP_SIZE | ESMTP_ENHANCED | ESMTP_8BITMIME |
			ESMTP_DSN | (p->disable_vrfy_command ? 0 : ESMTP_VRFY) |
			(p->smtputf8_enable ? ESMTP_SMTPUTF8 : 0);
	while (str_token(&rest, ", \t\r\n", &word))
		s->extensions &= ~discarded(s, word);
	/* As Postfix: who hides SIZE or 8BITMIME does not refuse them. */
	s->params = s->extensions | ESMTP_SIZE | ESMTP_8BITMIME;
	/* One line behind: only the next one shows that this is not the last. */
	for (unsigned i = 0; i < PP_COUNT(keywords); i++) {
		if (!(s->extensions & keywords[i].bit))
			continue;
		text = arena_printf(&s->arena, "%s250-%s\r\n", text, line);
		line = keywords[i].name;
		if (keywords[i].bit == ESMTP_SIZE && p->message_size_limit > 0)
			line =
			    arena_printf(&s->arena, "SIZE %lld", (long long)p->message_size_limit);
	}
	s->ehlo_reply = str_of(arena_printf(&s->arena, "%s250 %s\r\n", text, line));
}

static void
set_texts(struct smtpd_setup *s)
{
	const char *bare = s->p->smtpd_forbid_bare_newline;

	s->greeting = arena_printf(&s->arena, "220 %s\r\n", s->p->smtpd_banner);
	set_ehlo(s);
	set_discard_text(s);
	s->bare_newline = strcmp(bare, "reject") == 0 ? BARE_REJECT
			  : strcmp(bare, "note") == 0 ? BARE_NOTE
						      : BARE_NORMALIZE;
	s->is_parents = domainlist_flags(s->p->parent_domain_matches_subdomains,
			    "smtpd_access_maps") == DOMAINLIST_PARENTS;
}

/* maxproc of master.cf was made for processes; `-` there does not limit sessions to 100. */
static void
set_session_limit(struct smtpd_setup *s)
{
	const char *column = config_service_columns(s->service)[6];

	s->session_limit = SMTPD_SESSIONS_DEFAULT;
	if (strcmp(column, "-") != 0)
		s->session_limit = s->service->maxproc > 0 ? s->service->maxproc : INT32_MAX;
}

static int
refuse_missing_tls(struct smtpd_setup *s, struct buf *err)
{
	bool is_required = strcmp(s->p->smtpd_tls_security_level, "encrypt") == 0;

	if (!is_required && !s->p->smtpd_tls_wrappermode)
		return 0;
	buf_printf(err,
	    "service %s: %s: this version has no TLS on the server's side; mail would "
	    "come in clear",
	    s->service->name,
	    is_required ? "smtpd_tls_security_level = encrypt" : "smtpd_tls_wrappermode = yes");
	return -EINVAL;
}

static int
set_queue(struct smtpd_setup *s, struct buf *err)
{
	const char *dir = s->p->queue_directory;

	s->queue_dirfd = fsio_open_dir(AT_FDCWD, dir);
	/* `check` of a new configuration comes before the spool is made. */
	if (s->queue_dirfd >= 0 || s->queue_dirfd == -ENOENT)
		return 0;
	buf_printf(err, "queue_directory %s: %s", dir, strerrordesc_np(-s->queue_dirfd));
	return s->queue_dirfd;
}

int
smtpd_setup_new_blk(struct config *cfg, const struct service *svc,
    const struct cleanup_setup *cleanup, struct smtpd_setup **ret, struct buf *err)
{
	struct smtpd_setup *s = MEM_NEW(struct smtpd_setup);
	int (*const steps[])(struct smtpd_setup *, struct buf *) = {set_networks,
	    restrict_compile_classes_blk, set_lists, smtpd_unlisted_open_blk, refuse_open_relay,
	    refuse_missing_tls, set_rewrite_clients, set_forbidden, set_queue};
	int rc = 0;

	snap_init(&s->snap, destroy);
	snap_ref(&cfg->snap);
	route_ref(cleanup->route);
	s->config = cfg;
	s->service = svc;
	s->p = svc->params;
	s->cleanup = *cleanup;
	s->queue_dirfd = -1;
	for (unsigned i = 0; rc == 0 && i < PP_COUNT(steps); i++)
		rc = steps[i](s, err);
	if (rc < 0) {
		smtpd_setup_unref(s);
		return rc;
	}
	set_texts(s);
	set_session_limit(s);
	*ret = s;
	return 0;
}
