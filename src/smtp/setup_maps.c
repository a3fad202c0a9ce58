/*
 * The tables of a service that change mail on its way out, or what is thought of a server.
 *
 * Apart from setup.c because each is opened in the same way, and named by its parameter when it
 * cannot be.
 */
#include "internal.h"

const char *const smtp_check_name[SMTP_CHECK_COUNT] = {
    "smtp_header_checks",
    "smtp_mime_header_checks",
    "smtp_nested_header_checks",
    "smtp_body_checks",
};

static int
open_one(const char *name, const char *value, struct map **ret, struct buf *err)
{
	struct buf why;
	int rc;

	if (str_trim(str_of(value)).n == 0)
		return 0;
	buf_init(&why, 1024);
	rc = map_open(value, ret, &why);
	if (rc < 0)
		buf_printf(err, "%s: %s", name, buf_cstr(&why));
	buf_fini(&why);
	return rc;
}

static int
open_list_blk(const char *name, const char *value, struct domainlist **ret, struct buf *err)
{
	struct buf why;
	int rc;

	buf_init(&why, 1024);
	rc = domainlist_new_blk(value, DOMAINLIST_WHOLE, ret, &why);
	if (rc < 0)
		buf_printf(err, "%s: %s", name, buf_cstr(&why));
	buf_fini(&why);
	return rc;
}

int
smtp_setup_maps_blk(struct smtp_service *sv, struct buf *err)
{
	const struct params *p = sv->p;
	const char *const checks[SMTP_CHECK_COUNT] = {
	    p->smtp_header_checks,
	    p->smtp_mime_header_checks,
	    p->smtp_nested_header_checks,
	    p->smtp_body_checks,
	};
	int rc = 0;

	for (size_t i = 0; i < SMTP_CHECK_COUNT && rc == 0; i++) {
		rc = open_one(smtp_check_name[i], checks[i], &sv->checks[i], err);
		sv->has_checks = sv->has_checks || sv->checks[i];
	}
	if (rc == 0)
		rc = open_one("smtp_generic_maps", p->smtp_generic_maps, &sv->generic, err);
	if (rc == 0)
		rc = open_one("smtp_discard_ehlo_keyword_address_maps",
		    p->smtp_discard_ehlo_keyword_address_maps, &sv->ehlo_keywords, err);
	if (rc == 0)
		rc = open_one("smtp_reply_filter", p->smtp_reply_filter, &sv->reply_filter, err);
	if (rc == 0)
		rc = open_one(
		    "smtp_dns_reply_filter", p->smtp_dns_reply_filter, &sv->dns_filter, err);
	/* Whose users generic(5) may name without a domain. A table in it is not asked. */
	if (rc == 0 && sv->generic)
		rc = open_list_blk("mydestination", p->mydestination, &sv->local, err);
	if (rc == 0 && *p->smtp_sasl_mechanism_filter)
		rc = open_list_blk("smtp_sasl_mechanism_filter", p->smtp_sasl_mechanism_filter,
		    &sv->mechanisms, err);
	return rc;
}

void
smtp_setup_maps_unref(struct smtp_service *sv)
{
	for (size_t i = 0; i < SMTP_CHECK_COUNT; i++)
		map_unref(sv->checks[i]);
	map_unref(sv->generic);
	map_unref(sv->ehlo_keywords);
	map_unref(sv->reply_filter);
	map_unref(sv->dns_filter);
	if (sv->local)
		domainlist_unref(sv->local);
	if (sv->mechanisms)
		domainlist_unref(sv->mechanisms);
}
