/*
 * sasl_test.c - the SASL client against known answers and against libsasl2's own server.
 *
 * PLAIN, LOGIN and CRAM-MD5 (RFC 2195's example) are compared with answers worked out by hand; a
 * SCRAM exchange needs a server that knows the secret, so its first message alone is looked at.
 */
#include "pair.h"
#include "pp/net/sasl.h"

static struct lane *lane;
static struct sasl_exchange *x;

struct turn {
	const char *challenge; /* NULL: the first */
	const char *response;  /* what is expected; NULL: none */
	int rc;
	const char *error; /* part of the text */
};

static const struct dialog {
	struct sasl_options o;
	const char *mech;
	struct turn turns[4];
} dialogs[] = {
    {{.user = "tim", .password = "tanstaaftanstaaf", .offered = "PLAIN LOGIN"}, "PLAIN",
	{{NULL, "AHRpbQB0YW5zdGFhZnRhbnN0YWFm", 0, NULL}}},
    {{.user = "tim", .password = "", .offered = "PLAIN"}, "PLAIN", {{NULL, "AHRpbQA=", 0, NULL}}},
    {{.user = "tim", .password = "tanstaaf", .offered = "LOGIN"}, "LOGIN",
	{{NULL, NULL, 0, NULL}, {"VXNlcm5hbWU6", "dGlt", 0, NULL},
	    {"UGFzc3dvcmQ6", "dGFuc3RhYWY=", 0, NULL}}},
    {{.user = "tim", .password = "tanstaaftanstaaf", .offered = "LOGIN CRAM-MD5 PLAIN"}, "CRAM-MD5",
	{{NULL, NULL, 0, NULL}, {"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n",
				    "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw", 0, NULL}}},
    {{.user = "tim", .password = "x", .offered = "CRAM-MD5"}, "CRAM-MD5",
	{{NULL, NULL, 0, NULL}, {"not base64!", NULL, -EPROTO, "not valid base64"}}},
    {{.user = "tim", .password = "x", .offered = "CRAM-MD5"}, "CRAM-MD5",
	{{NULL, NULL, 0, NULL}, {"PDE4OTYuNjk3", NULL, 0, NULL}}},
    {{.user = "tim", .password = "x", .offered = "SCRAM-SHA-256"}, "SCRAM-SHA-256",
	{{NULL, NULL, 0, NULL}, {"cj1ldmls", NULL, -EPROTO, ""}}},
    {{.user = "tim", .password = "x", .offered = "PLAIN CRAM-MD5", .filter = "plain"}, "PLAIN",
	{{NULL, "AHRpbQB4", 0, NULL}}},
    {{.user = "tim",
	 .password = "x",
	 .offered = "PLAIN CRAM-MD5",
	 .filter = "!cram-md5, static:all"},
	"PLAIN", {{NULL, "AHRpbQB4", 0, NULL}}},
    {{.user = "tim",
	 .password = "x",
	 .offered = "PLAIN CRAM-MD5",
	 .security_options = "noplaintext, noanonymous"},
	"CRAM-MD5", {{NULL, NULL, 0, NULL}}},
    /* nothing usable */
    {{.user = "tim",
	 .password = "x",
	 .offered = "PLAIN LOGIN NTLM",
	 .security_options = "noplaintext, noanonymous"},
	"",
	{{NULL, NULL, -ENOENT,
	    "server offered no usable mechanism: PLAIN is forbidden by smtp_sasl_security_options "
	    "noplaintext, LOGIN is forbidden by smtp_sasl_security_options noplaintext, NTLM is "
	    "not "
	    "supported; use TLS with smtp_sasl_tls_security_options = noanonymous, or set "
	    "smtp_sasl_security_options = noanonymous"}}},
    {{.user = "tim",
	 .password = "x",
	 .offered = "PLAIN",
	 .tls = true,
	 .security_options = "noplaintext"},
	"",
	{{NULL, NULL, -ENOENT,
	    "PLAIN is forbidden by smtp_sasl_tls_security_options noplaintext; set "
	    "smtp_sasl_tls_security_options = noanonymous"}}},
    {{.user = "tim",
	 .password = "x",
	 .offered = "CRAM-MD5",
	 .security_options = "noactive mutual_auth"},
	"",
	{{NULL, NULL, -ENOENT,
	    "CRAM-MD5 is forbidden by smtp_sasl_security_options noactive mutual_auth"}}},
    {{.user = "tim", .password = "x", .offered = "GSSAPI EXTERNAL DIGEST-MD5 XOAUTH2"}, "",
	{{NULL, NULL, -ENOENT,
	    "GSSAPI is not supported, EXTERNAL is not supported, DIGEST-MD5 is not supported, "
	    "XOAUTH2 "
	    "is not supported"}}},
    {{.user = "tim", .password = "x", .offered = "PLAIN", .filter = "cram-md5"}, "",
	{{NULL, NULL, -ENOENT, "PLAIN is excluded by smtp_sasl_mechanism_filter"}}},
    {{.user = "tim", .password = "x", .offered = ""}, "",
	{{NULL, NULL, -ENOENT, "server offered no mechanism"}}},
    {{.user = "tim", .password = "x", .offered = "EV\x1bIL"}, "",
	{{NULL, NULL, -ENOENT, "one with an unprintable name"}}},
    {{.user = "tim", .password = "x", .offered = "PLAIN", .security_options = "nonsense"}, "",
	{{NULL, NULL, -ENOENT, "unknown SASL security option \"nonsense\""}}},
};

/* The last jobs of the lane still come back to the loop: it takes posts until it is freed. */
static void
lane_gone(void)
{
	lane_free(lane);
}

static const struct dialog *dialog;
static unsigned turn;

static void
answered(void *ctx, int rc, const char *mech, const char *response, const char *error)
{
	const struct turn *t = &dialog->turns[turn];

	assert_int_equal(rc, t->rc);
	assert_string_equal(mech, dialog->mech);
	if (t->rc < 0) {
		if (strstr(error, t->error) == NULL)
			fail_msg("%s", error);
	} else if (t->response) {
		assert_non_null(response);
		assert_string_equal(response, t->response);
	} else if (turn == 0 && strncmp(mech, "SCRAM", 5) != 0) {
		assert_null(response);
	}
	t = &dialog->turns[++turn];
	if (turn < 4 && t->challenge) {
		sasl_exchange_next(x, str_of(t->challenge), answered, NULL);
		return;
	}
	sasl_exchange_free(x);
	rig_end();
}

static void
dialog_start(struct rig *r)
{
	turn = 0;
	lane = lane_new("sasl", 1);
	x = sasl_exchange_new(lane, &dialog->o);
	sasl_exchange_first(x, answered, NULL);
	assert_int_equal(turn, 0);
}

static void
known_answers(void **state)
{
	for (size_t i = 0; i < PP_COUNT(dialogs); i++) {
		dialog = &dialogs[i];
		rig_run(dialog_start);
	}
}

/* -- limits ------------------------------------------------------------------------------------ */

static void
too_long(void *ctx, int rc, const char *mech, const char *response, const char *error)
{
	assert_int_equal(rc, -EPROTO);
	assert_non_null(strstr(error, "longer than"));
	sasl_exchange_free(x);
	rig_end();
}

static void
flood(void *ctx, int rc, const char *mech, const char *response, const char *error)
{
	static char big[20000];

	memset(big, 'A', sizeof(big));
	sasl_exchange_next(x, (struct str){big, sizeof(big)}, too_long, NULL);
}

static void
flood_start(struct rig *r)
{
	struct sasl_options o = {.user = "a", .password = "b", .offered = "CRAM-MD5"};

	lane = lane_new("sasl", 1);
	x = sasl_exchange_new(lane, &o);
	sasl_exchange_first(x, flood, NULL);
}

static void
long_challenge(void **state)
{
	rig_run(flood_start);
}

static void
never(void *ctx, int rc, const char *mech, const char *response, const char *error)
{
	fail();
}

static void
after_free(void *ctx, int rc, const char *mech, const char *response, const char *error)
{
	sasl_exchange_free(x);
	rig_end();
}

static void
free_start(struct rig *r)
{
	struct sasl_options o = {.user = "a", .password = "b", .offered = "PLAIN"};

	lane = lane_new("sasl", 1);
	sasl_exchange_free(sasl_exchange_new(lane, &o)); /* before a step */
	x = sasl_exchange_new(lane, &o);
	sasl_exchange_first(x, never, NULL);
	sasl_exchange_free(x); /* while a step runs */
	sasl_exchange_free(NULL);
	x = sasl_exchange_new(lane, &o);
	sasl_exchange_first(x, after_free, NULL);
}

static void
free_at_any_time(void **state)
{
	rig_run(free_start);
}

static void
options_check(void **state)
{
	struct buf err;

	buf_init(&err, 300);
	assert_int_equal(
	    sasl_security_options_check("noplaintext,noanonymous mutual_auth", &err), 0);
	assert_int_equal(sasl_security_options_check("", &err), 0);
	assert_int_equal(sasl_security_options_check("noplaintext, noplain", &err), -EINVAL);
	assert_non_null(strstr(buf_cstr(&err), "\"noplain\""));
	buf_fini(&err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(known_answers),
	    cmocka_unit_test(long_challenge),
	    cmocka_unit_test(free_at_any_time),
	    cmocka_unit_test(options_check),
	};
	struct buf err = {.max = 1024};
	int rc;

	if (sasl_load_blk(&err) < 0)
		return 1;
	buf_fini(&err);
	rig.after = lane_gone;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	sasl_stop();
	return rc;
}
