/*
 * environment_test.c - parameters from the environment and the command line.
 */
#include "config_load.h"

static void
environment(void **state)
{
	char secret[300];
	const char *env[] = {"POSTFIX_relayhost=[env]:25", "POSTFIX_MYORIGIN=env.example", secret,
	    "SMTP_HELO_NAME=helo.example", "PATH=/bin", "WORKERS=5", "STRESS=yes",
	    "POSTFIX_workers=3", "SMTP_TLS_CERT_FILE=/c.pem", "POSTFIX_NOSUCH=1",
	    "POSTFIX_relay_host=1", "MAIL_NAME=Env ${mydomain}", NULL};
	struct loaded l;

	put("secret", "from file\n");
	snprintf(secret, sizeof(secret), "SYSLOG_NAME_FILE=%s/secret", dir);
	load(&l, "relayhost = main\nmyhostname = m.example.com\n", NULL, env);
	assert_int_equal(l.rc, 0);
	assert_string_equal(l.cfg->params->relayhost, "[env]:25");
	assert_string_equal(l.cfg->params->myorigin, "env.example");
	assert_string_equal(l.cfg->params->syslog_name, "from file");
	assert_string_equal(l.cfg->params->smtp_helo_name, "helo.example");
	assert_int_equal(l.cfg->params->workers, 3);
	assert_string_equal(l.cfg->params->stress, "");
	assert_string_equal(l.cfg->params->smtp_tls_cert_file, "/c.pem");
	assert_string_equal(l.cfg->params->mail_name, "Env example.com");
	assert_string_equal(
	    config_origin(l.cfg, "relayhost"), "environment variable POSTFIX_relayhost");
	assert_string_equal(
	    config_origin(l.cfg, "syslog_name"), "environment variable SYSLOG_NAME_FILE");
	assert_string_equal(config_origin(l.cfg, "mydomain"), "default");
	assert_non_null(strstr(config_origin(l.cfg, "myhostname"), "/main.cf, line 2"));
	assert_string_equal(buf_cstr(&l.notes),
	    "W environment variable POSTFIX_NOSUCH:0 no parameter has this name\n"
	    "W environment variable POSTFIX_relay_host:0 unknown parameter \"relay_host\" (did you "
	    "mean \"relayhost\"?)\n");
	done(&l);
}

static void
environment_errors(void **state)
{
	const char *missing[] = {"RELAYHOST_FILE=/nonexistent/secret", NULL};
	const char *twice[] = {"RELAYHOST=a", "POSTFIX_relayhost=b", NULL};
	const char *bad[] = {"MESSAGE_SIZE_LIMIT=big", NULL};
	struct loaded l;

	load(&l, "", NULL, missing);
	assert_int_equal(l.rc, -EINVAL);
	assert_string_equal(buf_cstr(&l.notes),
	    "E environment variable RELAYHOST_FILE:0 cannot read /nonexistent/secret: No such file "
	    "or directory\n");
	done(&l);
	load(&l, "", NULL, twice);
	assert_int_equal(l.rc, -EINVAL);
	assert_non_null(
	    strstr(buf_cstr(&l.notes), "also set by the environment variable RELAYHOST"));
	done(&l);
	load(&l, "", NULL, bad);
	assert_int_equal(l.rc, -EINVAL);
	assert_string_equal(buf_cstr(&l.notes),
	    "E environment variable MESSAGE_SIZE_LIMIT:0 message_size_limit = \"big\": must be a "
	    "number of bytes from 0 to 9223372036854775807\n");
	done(&l);
}

static void
command_line(void **state)
{
	const char *extra[] = {"relayhost = line", "myx=1", NULL}, *bad[] = {"nothing", NULL};
	const char *env[] = {"RELAYHOST=env", NULL};
	struct config_source src = {.dir = dir, .environ = ENV(env), .extra = extra};
	struct loaded l;

	put("main.cf", "relayhost = main\n");
	put("master.cf", NULL);
	load_source(&l, &src);
	assert_int_equal(l.rc, 0);
	assert_string_equal(l.cfg->params->relayhost, "line");
	assert_string_equal(config_origin(l.cfg, "relayhost"), "command line");
	done(&l);
	src.extra = bad;
	load_source(&l, &src);
	assert_int_equal(l.rc, -EINVAL);
	done(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(environment),
	    cmocka_unit_test(environment_errors),
	    cmocka_unit_test(command_line),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
