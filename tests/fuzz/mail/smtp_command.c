/*
 * smtp_command.c - one command line as the server reads it: verb, path, parameters; and back.
 *
 * Whatever was taken can be printed, and what was printed reads as the same again.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/esmtp.h"
#include "pp/mail/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ALL = ESMTP_SIZE | ESMTP_8BITMIME | ESMTP_DSN | ESMTP_SMTPUTF8 | ESMTP_AUTH };

static bool
same(const char *a, const char *b)
{
	return a == b || (a && b && str_eq(str_of(a), str_of(b)));
}

/* The printed command without its verb, reparsed. */
static struct address_path
reread(struct arena *a, const struct buf *b, const char *keyword)
{
	struct address_path p;
	struct str verb, args, line = buf_str(b);

	PP_ASSERT(str_ends(line, STR("\r\n")));
	line.n -= 2;
	PP_ASSERT(!utf8_has_control(line));
	PP_ASSERT(esmtp_command(line, &verb, &args));
	PP_ASSERT(address_path(a, args, keyword, ADDRESS_UTF8, &p) == ADDRESS_OK);
	return p;
}

static void
check_mail(struct arena *a, const struct address_path *path)
{
	struct esmtp_mail m = {.address = path->address}, again;
	struct address_path p;
	struct str bad;
	enum esmtp_error e = esmtp_mail_params(a, path->rest, ALL, &m, &bad);
	struct buf b;

	if (e != ESMTP_OK) {
		PP_ASSERT(!utf8_has_control(str_of(esmtp_error_status(a, e, bad).text)));
		return;
	}
	PP_ASSERT(m.envid == NULL || (strlen(m.envid) > 0 && strlen(m.envid) <= 100));
	PP_ASSERT(m.size >= -1);
	buf_init(&b, 10000);
	PP_ASSERT(esmtp_print_mail(&b, &m, ALL) == 0);
	p = reread(a, &b, "FROM");
	again = (struct esmtp_mail){.address = p.address};
	PP_ASSERT(esmtp_mail_params(a, p.rest, ALL, &again, &bad) == ESMTP_OK);
	PP_ASSERT(same(m.address, again.address) && same(m.envid, again.envid));
	PP_ASSERT(m.size == again.size && m.encoding == again.encoding && m.ret == again.ret);
	PP_ASSERT(m.smtputf8 == again.smtputf8);
	buf_fini(&b);
}

static void
check_rcpt(struct arena *a, const struct address_path *path)
{
	struct esmtp_rcpt r = {.address = path->address}, again;
	struct address_path p;
	struct str bad;
	enum esmtp_error e = esmtp_rcpt_params(a, path->rest, ALL, &r, &bad);
	struct buf b;

	if (e != ESMTP_OK) {
		PP_ASSERT(!utf8_has_control(str_of(esmtp_error_status(a, e, bad).text)));
		return;
	}
	PP_ASSERT(r.orcpt == NULL || !utf8_has_control(str_of(r.orcpt)));
	buf_init(&b, 10000);
	PP_ASSERT(esmtp_print_rcpt(&b, &r, ALL) == 0);
	p = reread(a, &b, "TO");
	again = (struct esmtp_rcpt){.address = p.address};
	PP_ASSERT(esmtp_rcpt_params(a, p.rest, ALL, &again, &bad) == ESMTP_OK);
	PP_ASSERT(same(r.address, again.address) && r.notify == again.notify);
	/* An original recipient may be too long once encoded. */
	PP_ASSERT(again.orcpt == NULL || same(r.orcpt, again.orcpt));
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str line = {(const char *)data, size}, verb, args;
	struct address_path p;
	struct arena a = {0};

	if (!esmtp_command(line, &verb, &args))
		return 0;
	PP_ASSERT(verb.n > 0 && verb.n + args.n <= size);
	if (address_path(&a, args, "FROM", ADDRESS_UTF8, &p) == ADDRESS_OK) {
		PP_ASSERT(*p.address == '\0' || address_valid(str_of(p.address)));
		check_mail(&a, &p);
	} else if (address_path(&a, args, "TO", 0, &p) == ADDRESS_OK) {
		PP_ASSERT(!utf8_has_8bit(str_of(p.address)));
		check_rcpt(&a, &p);
	}
	if (esmtp_helo_fqdn(args))
		PP_ASSERT(esmtp_helo_valid(args));
	arena_fini(&a);
	return 0;
}
