/*
 * verb_test.c - the statistics at the end of a session, as log analysers read them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "smtpd/internal.h"

static const struct {
	struct smtpd_stats st;
	const char *want;
} cases[] = {
    {{{0}, {0}}, "commands=0/0"},
    {{.total = {[COMMAND_EHLO] = 1,
	  [COMMAND_MAIL] = 1,
	  [COMMAND_RCPT] = 1,
	  [COMMAND_DATA] = 1,
	  [COMMAND_QUIT] = 1},
	 .ok = {[COMMAND_EHLO] = 1,
	     [COMMAND_MAIL] = 1,
	     [COMMAND_RCPT] = 1,
	     [COMMAND_DATA] = 1,
	     [COMMAND_QUIT] = 1}},
	"ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"},
    {{.total = {[COMMAND_EHLO] = 1, [COMMAND_RCPT] = 3, [COMMAND_UNKNOWN] = 1},
	 .ok = {[COMMAND_EHLO] = 1, [COMMAND_RCPT] = 2}},
	"ehlo=1 rcpt=2/3 unknown=0/1 commands=3/5"},
    {{.total = {[COMMAND_HELO] = 1,
	  [COMMAND_EHLO] = 1,
	  [COMMAND_XCLIENT] = 1,
	  [COMMAND_XFORWARD] = 1,
	  [COMMAND_STARTTLS] = 1,
	  [COMMAND_AUTH] = 1,
	  [COMMAND_MAIL] = 1,
	  [COMMAND_RCPT] = 1,
	  [COMMAND_DATA] = 1,
	  [COMMAND_BDAT] = 1,
	  [COMMAND_RSET] = 1,
	  [COMMAND_NOOP] = 1,
	  [COMMAND_VRFY] = 1,
	  [COMMAND_ETRN] = 1,
	  [COMMAND_QUIT] = 1,
	  [COMMAND_UNKNOWN] = 1}},
	"helo=0/1 ehlo=0/1 xclient=0/1 xforward=0/1 starttls=0/1 auth=0/1 mail=0/1 rcpt=0/1 "
	"data=0/1 bdat=0/1 rset=0/1 noop=0/1 vrfy=0/1 etrn=0/1 quit=0/1 unknown=0/1 "
	"commands=0/16"},
};

static void
test_stats(void **state)
{
	struct buf b;

	buf_init(&b, 4096);
	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		buf_clear(&b);
		smtpd_stats_print(&cases[i].st, &b);
		assert_string_equal(buf_cstr(&b), cases[i].want);
	}
	buf_fini(&b);
}

/* Every idle client costs one of these. */
static void
test_session_is_small(void **state)
{
	assert_in_range(sizeof(struct smtpd_session), 1, 2048);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stats),
	    cmocka_unit_test(test_session_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
