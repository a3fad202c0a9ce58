/*
 * ehlo.c - the answer to EHLO of a hostile server: bits, and a bounded list of mechanism names.
 */
#include <stdint.h>
#include "pp/base/assert.h"
#include "pp/mail/esmtp.h"
#include "pp/mail/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str lines = {(const char *)data, size}, mechs, word;
	struct esmtp_ehlo e, less;
	struct arena a = {0};

	esmtp_ehlo_parse(&a, lines, STR(""), &e);
	PP_ASSERT(e.size_limit >= 0 && (e.size_limit == 0 || (e.ext & ESMTP_SIZE)));
	PP_ASSERT(*e.mechs == '\0' || (e.ext & ESMTP_AUTH));
	PP_ASSERT(!utf8_has_control(str_of(e.host)) && utf8_valid(str_of(e.host)));
	mechs = str_of(e.mechs);
	PP_ASSERT(mechs.n <= 512);
	while (str_token(&mechs, " ", &word)) {
		PP_ASSERT(word.n <= 20);
		for (size_t i = 0; i < word.n; i++)
			PP_ASSERT((str_isalnum(word.p[i]) && str_lower(word.p[i]) == word.p[i]) ==
				      str_isdigit(word.p[i]) &&
				  (str_isalnum(word.p[i]) || word.p[i] == '-' || word.p[i] == '_'));
	}
	esmtp_ehlo_parse(&a, lines, STR("AUTH, size dsn"), &less);
	PP_ASSERT(less.ext == (e.ext & ~(unsigned)(ESMTP_AUTH | ESMTP_SIZE | ESMTP_DSN)));
	PP_ASSERT(*less.mechs == '\0' && less.size_limit == 0);
	arena_fini(&a);
	return 0;
}
