/*
 * address_header.c - a header value: its addresses, quoting round trips, completion.
 *
 * Every address given is valid and reads back as itself when printed. Completing a value completes
 * each address as address_qualify says and ends: "a@b." loses its dot, then may get a domain, then
 * nothing changes any more.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/address_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct address_rules rules = {{"orig.test", 9}, {"dom.test", 8}, true, true};

static void
check_round_trip(struct arena *a, const char *address)
{
	const char *quoted = address_quoted(a, str_of(address)), *again;
	struct address_mailbox m;
	struct address_list it;

	PP_ASSERT(quoted != NULL);
	address_list_init(&it, str_of(quoted));
	PP_ASSERT(address_list_next(&it, a, &m) == 1);
	PP_ASSERT(str_eq(str_of(m.address), str_of(address)));
	PP_ASSERT(m.from == 0 && m.to == strlen(quoted));
	PP_ASSERT(address_list_next(&it, a, &m) == 0);
	if (address[0] != '-') {
		PP_ASSERT(address_parse(a, str_of(quoted), ADDRESS_UTF8, &again) == ADDRESS_OK);
		PP_ASSERT(str_eq(str_of(again), str_of(address)));
	}
}

/* Both lists hold the same addresses, those of the second completed. */
static void
check_completed(struct str before, struct str after)
{
	struct address_list x, y;
	struct address_mailbox m, n;
	struct arena a = {0};
	size_t last = 0;

	address_list_init(&x, before);
	address_list_init(&y, after);
	while (address_list_next(&x, &a, &m) == 1) {
		const char *want = address_qualify(&a, str_of(m.address), &rules);

		PP_ASSERT(m.from >= last && m.from <= m.to && m.to <= before.n);
		last = m.to;
		if (!address_valid(str_of(want)))
			want = m.address;
		PP_ASSERT(address_list_next(&y, &a, &n) == 1);
		PP_ASSERT(str_eq(str_of(n.address), str_of(want)));
		if (*m.address)
			check_round_trip(&a, m.address);
	}
	PP_ASSERT(address_list_next(&y, &a, &n) == 0);
	arena_fini(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str value = {(const char *)data, size};
	struct buf once, twice;
	int rc;

	buf_init(&once, 40 * size + 100);
	buf_init(&twice, 40 * size + 100);
	rc = address_list_rewrite(&once, value, &rules);
	PP_ASSERT(rc == 0 || rc == 1);
	PP_ASSERT(rc == 1 || str_eq(buf_str(&once), value));
	check_completed(value, buf_str(&once));
	PP_ASSERT(address_list_rewrite(&twice, buf_str(&once), &rules) >= 0);
	buf_clear(&once);
	PP_ASSERT(address_list_rewrite(&once, buf_str(&twice), &rules) == 0);
	buf_fini(&once);
	buf_fini(&twice);
	return 0;
}
