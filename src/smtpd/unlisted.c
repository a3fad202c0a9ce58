/*
 * unlisted.c - recipients of our own domains that do not exist are refused at RCPT.
 *
 * Otherwise they would be accepted and bounced to whoever the sender is said to be. One map per
 * address class holds the class's own table behind the tables that rewrite recipients, so that a
 * single query tells. The class of other people's domains has none.
 */
#include <errno.h>
#include "internal.h"
#include "pp/config/settings.h"

static const struct class_row {
	const char *param; /* whose emptiness switches the check off; NULL = always checked */
	const char *table; /* for the reply */
} rows[ROUTE_DEFAULT] = {
    [ROUTE_LOCAL] = {"local_recipient_maps", "local recipient table"},
    [ROUTE_VIRTUAL_ALIAS] = {NULL, "virtual alias table"},
    [ROUTE_VIRTUAL_MAILBOX] = {"virtual_mailbox_maps", "virtual mailbox table"},
    [ROUTE_RELAY] = {"relay_recipient_maps", "relay recipient table"},
};

static int64_t
reject_code(const struct params *p, enum route_class class)
{
	switch (class) {
	case ROUTE_VIRTUAL_ALIAS:
		return p->unknown_virtual_alias_reject_code;
	case ROUTE_VIRTUAL_MAILBOX:
		return p->unknown_virtual_mailbox_reject_code;
	case ROUTE_RELAY:
		return p->unknown_relay_recipient_reject_code;
	default:
		return p->unknown_local_recipient_reject_code;
	}
}

static int
open_class(struct smtpd_setup *s, enum route_class class, struct buf *err)
{
	const struct params *p = s->p;
	const char *param = rows[class].param, *own = "", *spec;
	struct buf why;
	int rc;

	if (param)
		own = config_service_text(s->config, s->service, param);
	if (param && (own == NULL || own[0] == '\0'))
		return 0;
	spec = arena_printf(&s->arena, "%s %s %s %s", p->recipient_canonical_maps,
	    p->canonical_maps, p->virtual_alias_maps, own);
	buf_init(&why, 1024);
	rc = map_open(spec, &s->listed[class], &why);
	if (rc < 0 && param && config_setting_find(s->config, param) == NULL) {
		/* The default names tables of Postfix's; nobody asked for this check. */
		s->listed[class] = NULL;
		rc = 0;
	}
	if (rc < 0)
		buf_printf(err, "%s: %s", param ? param : "virtual_alias_maps", buf_cstr(&why));
	buf_fini(&why);
	return rc;
}

int
smtpd_unlisted_open_blk(struct smtpd_setup *s, struct buf *err)
{
	int rc = 0;

	for (unsigned class = 0; rc == 0 && class < ROUTE_DEFAULT; class ++)
		rc = open_class(s, (enum route_class) class, err);
	return rc;
}

void
smtpd_unlisted_close(struct smtpd_setup *s)
{
	for (unsigned class = 0; class < ROUTE_DEFAULT; class ++)
		if (s->listed[class])
			map_unref(s->listed[class]);
}

static enum verdict
looked_up(struct restrict_run *r, int result, struct buf *value)
{
	struct smtpd_session *s = r->session;
	enum route_class class = (enum route_class)r->asked_class;

	if (result > 0)
		return VERDICT_DUNNO;
	if (result < 0) {
		log_warn("smtpd", "%s: table lookup problem: %s",
		    rows[class].param ? rows[class].param : "virtual_alias_maps", buf_cstr(value));
		return restrict_reject(
		    r, 451, "4.3.0", "<%s>: Temporary lookup failure", s->t.rcpt_text);
	}
	return restrict_reject(r, reject_code(s->setup->p, class), "5.1.1",
	    "<%s>: Recipient address rejected: User unknown in %s", s->t.rcpt_text,
	    rows[class].table);
}

enum verdict
smtpd_reject_unlisted_recipient(struct restrict_run *r, const struct restriction *it)
{
	struct smtpd_session *s = r->session;
	const struct route *route = s->setup->cleanup.route;
	struct map_keys *keys;
	enum route_class class;
	struct str address;

	/* RFC 5321 4.5.1: a bare postmaster is always taken. */
	if (s->t.rcpt.address == NULL || str_caseeq(str_of(s->t.rcpt.address), STR("postmaster")))
		return VERDICT_DUNNO;
	address = str_of(route_complete(route, &s->scratch, str_of(s->t.rcpt.address)));
	class = s->t.rcpt_class;
	if (class == ROUTE_DEFAULT || s->setup->listed[class] == NULL)
		return VERDICT_DUNNO;
	keys = ARENA_NEW(&s->scratch, struct map_keys);
	key_address(
	    &s->scratch, address, s->setup->p->recipient_delimiter, class == ROUTE_LOCAL, keys);
	r->asked_class = (uint8_t) class;
	return restrict_ask(r, s->setup->listed[class], keys, looked_up);
}
