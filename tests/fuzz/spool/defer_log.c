/*
 * defer_log.c - any bytes as a log of deferral; what was read is printed and read again, the same.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/address.h"
#include "pp/spool/deferlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was never an address is kept as text, but not to be quoted again and again. */
static bool
is_address(struct arena *a, const char *s)
{
	const char *quoted, *again;

	if (s == NULL || *s == '\0')
		return true;
	quoted = address_quoted(a, str_of(s));
	return quoted != NULL &&
	       address_parse(a, str_of(quoted), ADDRESS_UTF8, &again) == ADDRESS_OK &&
	       strcmp(s, again) == 0;
}

/* Blanks at the ends go when it is read again, and what was printed as a blank with them. */
static bool
is_trimmed(const char *s)
{
	return s == NULL || *s == '\0' ||
	       !(strchr(" \t\r", s[0]) || strchr(" \t\r", s[strlen(s) - 1]));
}

static bool
is_stable(struct arena *a, const struct deferlog_entry *e)
{
	const struct status *st = &e->status;

	return is_address(a, e->recipient) && is_address(a, e->orig) && is_trimmed(e->orcpt) &&
	       is_trimmed(e->action) && is_trimmed(st->text) && is_trimmed(st->diagnostic) &&
	       is_trimmed(st->remote);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a = {0};
	struct deferlog_entry *e, *again;
	struct buf text, second;
	size_t n, n2;
	bool same = true;

	deferlog_parse((struct str){(const char *)data, size}, &a, &e, &n);
	buf_init(&text, 64 << 20);
	buf_init(&second, 64 << 20);
	for (size_t i = 0; i < n; i++) {
		same = same && is_stable(&a, &e[i]);
		PP_ASSERT(deferlog_print(&text, &e[i]) == 0);
	}
	deferlog_parse(buf_str(&text), &a, &again, &n2);
	PP_ASSERT(n == n2);
	for (size_t i = 0; i < n2; i++)
		PP_ASSERT(deferlog_print(&second, &again[i]) == 0);
	PP_ASSERT(!same || str_eq(buf_str(&text), buf_str(&second)));
	buf_fini(&text);
	buf_fini(&second);
	arena_fini(&a);
	return 0;
}
