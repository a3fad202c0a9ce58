/*
 * config_test.c - whole configurations: precedence, defaults, types, services, what is told.
 */
#include "config_load.h"

static void
without_files(void **state)
{
	struct config_source src = {.is_root = false, .hostname = "box"};
	const struct service *s = NULL;
	struct loaded l;
	char cwd[4096], want[4200];

	load_source(&l, &src);
	assert_int_equal(l.rc, 0);
	assert_string_equal(buf_cstr(&l.notes), "");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(want, sizeof(want), "%s/pennypost-spool", cwd);
	assert_string_equal(l.cfg->params->queue_directory, want);
	assert_string_equal(l.cfg->params->myhostname, "box.localdomain");
	assert_string_equal(l.cfg->params->mydomain, "localdomain");
	assert_string_equal(l.cfg->params->inet_interfaces, "loopback-only");
	assert_string_equal(
	    l.cfg->params->mydestination, "box.localdomain, localhost.localdomain, localhost");
	assert_non_null(strstr(l.cfg->params->mynetworks, "127.0.0.1/32"));
	assert_null(strstr(l.cfg->params->mynetworks, "/8"));
	assert_string_equal(l.cfg->params->smtpd_relay_restrictions,
	    "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination");
	assert_false(l.cfg->has_main || l.cfg->has_master);
	s = config_service_next(l.cfg, NULL);
	assert_string_equal(s->name, "2525");
	assert_string_equal(s->type, "inet");
	assert_string_equal(s->command, "smtpd");
	assert_non_null(config_service_find(l.cfg, "unix", "relay"));
	assert_non_null(config_service_find(l.cfg, "unix", "discard"));
	assert_null(config_service_find(l.cfg, "inet", "relay"));
	done(&l);

	src.is_root = true;
	load_source(&l, &src);
	assert_string_equal(l.cfg->params->queue_directory, "/var/spool/postfix");
	assert_string_equal(config_service_next(l.cfg, NULL)->name, "smtp");
	done(&l);
}

static void
missing_directory(void **state)
{
	struct config_source src = {.dir = "/nonexistent/x", .is_dir_required = true};
	struct loaded l;

	load_source(&l, &src);
	assert_int_equal(l.rc, -EINVAL);
	assert_string_equal(
	    buf_cstr(&l.notes), "E /nonexistent/x/main.cf:0 there is no such file\n");
	done(&l);
	src.is_dir_required = false;
	load_source(&l, &src);
	assert_int_equal(l.rc, 0);
	done(&l);
}

static void
types(void **state)
{
	struct loaded l;
	const struct params *p;

	load_clean(&l,
	    "myhostname = mail.example.com\n"
	    "message_size_limit = 12345\n"
	    "smtpd_helo_required = YES\n"
	    "smtp_connect_timeout = 5\n"
	    "smtp_helo_timeout = 2m\n"
	    "smtp_mail_timeout = 250ms\n"
	    "maximal_queue_lifetime = 2\n"
	    "bounce_queue_lifetime = 1w\n"
	    "queue_run_delay = 1h\n"
	    "smtp_tls_security_level = May\n"
	    "hash_queue_depth = 2\n",
	    NULL);
	p = l.cfg->params;
	assert_int_equal(p->message_size_limit, 12345);
	assert_true(p->smtpd_helo_required);
	assert_false(p->smtp_never_send_ehlo);
	assert_int_equal(p->smtp_connect_timeout, 5000);
	assert_int_equal(p->smtp_helo_timeout, 120000);
	assert_int_equal(p->smtp_mail_timeout, 250);
	assert_int_equal(p->maximal_queue_lifetime, 2 * 86400000LL);
	assert_int_equal(p->bounce_queue_lifetime, 7 * 86400000LL);
	assert_int_equal(p->queue_run_delay, 3600000);
	assert_int_equal(p->smtpd_timeout, 300000);
	assert_string_equal(p->smtp_tls_security_level, "may");
	assert_int_equal(p->hash_queue_depth, 2);
	assert_string_equal(p->_2bounce_notice_recipient, "postmaster");
	assert_string_equal(p->mydomain, "example.com");
	assert_string_equal(p->smtpd_banner, "mail.example.com ESMTP pennypost");
	assert_string_equal(p->default_rbl_reply, param_def(param_find(STR("default_rbl_reply"))));
	assert_string_equal(p->config_directory, dir);
	done(&l);
}

static void
bad_values(void **state)
{
	static const struct {
		const char *line, *want;
	} cases[] = {
	    {"message_size_limit = 10M", "must be a number of bytes from 0 to 9223372036854775807"},
	    {"message_size_limit = -1", "must be a number of bytes from 0 to 9223372036854775807"},
	    {"workers = 9999", "must be a number from 0 to 64"},
	    {"smtpd_recipient_limit = 0", "must be a number from 1 to 2147483647"},
	    {"soft_bounce = maybe", "must be yes or no"},
	    {"soft_bounce =", "must be yes or no"},
	    {"maximal_backoff_time = 5 parsecs", "must be a time above 0 such as 300s"},
	    {"queue_run_delay = 0", "must be a time above 0"},
	    {"queue_run_delay = s", "must be a time above 0"},
	    {"smtp_tls_security_level = paranoid", "must be none, may, encrypt"},
	    {"smtp_address_preference = ipv5", "must be any, ipv4 or ipv6"},
	    {"inet_protocols = ipv5", "\"ipv5\" must be one of all|ipv4|ipv6"},
	    {"inet_protocols =", "must be one of all|ipv4|ipv6"},
	    {"compatibility_level = 3.x", "must be a level such as 3.6"},
	    {"queue_directory = spool", "must be an absolute path"},
	    {"minimal_backoff_time = 2h",
		"must not be above maximal_backoff_time, which is 4000 s"},
	    {"myhostname = bad name", "is no host name"},
	    {"maillog_file = /tmp/x", "must begin with one of maillog_file_prefixes"},
	    {"default_destination_concurrency_positive_feedback = 1/x", "/sqrt_concurrency behind"},
	    {"smtp_destination_concurrency_limit = x", "must be a number from 0 to 2147483647"},
	    {"smtp_destination_rate_delay = 1y", "must be a time such as"},
	    {"myorigin = /nonexistent/mailname", "cannot read /nonexistent/mailname: No such file"},
	    {"relayhost = $relayhost", "in a circle: $relayhost -> $relayhost"},
	    {"relayhost = ${x", "\"${x\" is not closed"},
	    {"smtpd_relay_restrictions =", "would be an open relay"},
	    {"smtpd_relay_restrictions = permit_mynetworks, permit, reject", "open relay"},
	    {"smtpd_relay_restrictions = check_client_access hash:/reject", "open relay"},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		struct loaded l;
		char text[512], place[64];

		snprintf(text, sizeof(text), "# first\n%s\n", cases[i].line);
		load(&l, text, NULL, NULL);
		snprintf(place, sizeof(place), "E main.cf:2 ");
		if (l.rc != -EINVAL || !strstr(buf_cstr(&l.notes), cases[i].want) ||
		    !strstr(buf_cstr(&l.notes), place))
			fail_msg("%s: %d %s", cases[i].line, l.rc, buf_cstr(&l.notes));
		done(&l);
	}
}

static void
lenient(void **state)
{
	struct config_source src = {.dir = dir, .is_lenient = true, .hostname = "a.b"};
	struct loaded l;

	put("main.cf", "soft_bounce = maybe\nmyhostname = bad name\n");
	load_source(&l, &src);
	assert_int_equal(l.rc, 0);
	assert_int_equal(l.report.errors, 1);
	assert_string_equal(config_setting_find(l.cfg, "soft_bounce")->value, "maybe");
	assert_false(l.cfg->params->soft_bounce);
	done(&l);
	put("main.cf", "soft_bounce\n");
	load_source(&l, &src);
	assert_int_equal(l.rc, -EINVAL);
	done(&l);
}

static void
relay_guard(void **state)
{
	static const char *const good[] = {
	    "smtpd_relay_restrictions =\n"
	    "smtpd_recipient_restrictions = permit_mynetworks reject_unauth_destination\n",
	    "smtpd_relay_restrictions = permit_mynetworks, reject\n",
	    "smtpd_relay_restrictions = safe\nsmtpd_restriction_classes = safe\n"
	    "safe = permit_mynetworks, defer_unauth_destination\n",
	    "smtpd_recipient_restrictions = permit\n",
	};
	struct loaded l;

	for (size_t i = 0; i < PP_COUNT(good); i++) {
		load_clean(&l, good[i], NULL);
		done(&l);
	}
	load(
	    &l, "", "submission inet n - n - - smtpd\n -o smtpd_relay_restrictions=permit\n", NULL);
	assert_int_equal(l.rc, -EINVAL);
	assert_string_equal(buf_cstr(&l.notes),
	    "E master.cf:1 smtpd_relay_restrictions: would be an open relay in service submission: "
	    "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions reaches one of "
	    "reject_unauth_destination, defer_unauth_destination, reject, defer, "
	    "defer_if_permit\n");
	done(&l);
	load(&l, "mynetworks = 0.0.0.0/0\n", NULL, NULL);
	assert_int_equal(l.rc, 0);
	assert_non_null(strstr(buf_cstr(&l.notes), "everybody who can connect may relay"));
	done(&l);
}

static void
names(void **state)
{
	struct loaded l;

	load(&l,
	    "recipient_limit = 5\n"
	    "maximal_retry_interval = 1h\n"
	    "relay_host = x\n"
	    "quux = y\n"
	    "mine = 1\n"
	    "relayhost = ${mine?a}\n"
	    "fast_destination_rate_delay = 1s\n"
	    "slow_destination_rate_delay = 1s\n"
	    "smtpd_restriction_classes = greylist\n"
	    "greylist = permit\n"
	    "sales_server_host = db\n"
	    "proxy_read_maps = proxy:ldap:sales\n"
	    "virtual_maps =\n"
	    "readme_directory = no\n"
	    "qmqpd_error_delay = 2s\n"
	    "confirm_delay_cleared = no\n",
	    "slow unix - - n - - smtp\n"
	    "smtp inet n - n - - smtpd -o smtpd_reciepient_limit=3 -o relayhost=$undef\n",
	    NULL);
	assert_int_equal(l.rc, 0);
	assert_string_equal(buf_cstr(&l.notes),
	    "W main.cf:1 unknown parameter \"recipient_limit\" (did you mean "
	    "\"smtpd_recipient_limit\"?)\n"
	    "W main.cf:2 unknown parameter \"maximal_retry_interval\" (did you mean "
	    "\"maximal_backoff_time\"?)\n"
	    "W main.cf:3 unknown parameter \"relay_host\" (did you mean \"relayhost\"?)\n"
	    "W main.cf:4 unknown parameter \"quux\"\n"
	    "W main.cf:7 unknown parameter \"fast_destination_rate_delay\": master.cf has no "
	    "transport \"fast\"\n"
	    "W main.cf:15 qmqpd_error_delay has no effect in this version of pennypost\n"
	    "W master.cf:2 unknown parameter \"smtpd_reciepient_limit\" (did you mean "
	    "\"smtpd_recipient_limit\"?)\n");
	done(&l);
}

static void
suggestions(void **state)
{
	static const char *const cases[][2] = {
	    {"smtpd_reciepient_limit", "smtpd_recipient_limit"},
	    {"myhostnam", "myhostname"},
	    {"my_hostname", "myhostname"},
	    {"MyOrigin", "myorigin"},
	    {"mynetwork", "mynetworks"},
	    {"message-size-limit", "message_size_limit"},
	    {"max_message_size", "message_size_limit"},
	    {"smtp_tls_level", "smtp_tls_security_level"},
	    {"queue_lifetime", "bounce_queue_lifetime"},
	    {"relay_domain", "relay_domains"},
	    {"smtp_ssl_security_level", "smtp_tls_security_level"},
	    {"zzz", NULL},
	    {"", NULL},
	};

	for (size_t i = 0; i < PP_COUNT(cases); i++) {
		const char *got = param_suggest(str_of(cases[i][0]));

		if (cases[i][1] ? !got || strcmp(got, cases[i][1]) != 0 : got != NULL)
			fail_msg("%s: %s", cases[i][0], got ? got : "nothing");
	}
}

static void
services(void **state)
{
	struct loaded l;
	const struct service *s;

	load_clean(&l,
	    "syslog_name = pp/$service_name\n"
	    "mua = permit_sasl_authenticated, reject\n"
	    "wait = 7\n"
	    "smtp_connect_timeout = ${wait}s\n"
	    "lmtp_lhlo_name = lmtp.example\n"
	    "smtp_helo_name = smtp.example\n"
	    "default_process_limit = 33\n"
	    "fast_destination_concurrency_limit = 3\n"
	    "fast_destination_rate_delay = 250ms\n"
	    "fast_destination_concurrency_positive_feedback = 1/concurrency\n",
	    "smtp inet n - n - - smtpd\n"
	    "submission inet n - n - 5 smtpd -o { smtpd_relay_restrictions = $mua }\n"
	    " -o own=$service_name.x -o smtpd_client_restrictions=$own\n"
	    "fast unix - - n - - smtp -o wait=9\n"
	    "mda unix - - n - - lmtp\n"
	    "flush unix n - n 1000? 0 flush\n");
	s = config_service_find(l.cfg, "inet", "submission");
	assert_string_equal(
	    s->params->smtpd_relay_restrictions, "permit_sasl_authenticated, reject");
	assert_string_equal(s->params->smtpd_client_restrictions, "submission.x");
	assert_string_equal(s->params->syslog_name, "pp/submission");
	assert_string_equal(config_service_text(l.cfg, s, "own"), "submission.x");
	assert_string_equal(config_service_text(l.cfg, s, "syslog_name"), "pp/submission");
	assert_null(config_service_text(l.cfg, s, "nosuch"));
	assert_int_equal(s->maxproc, 5);
	assert_int_equal(s->line, 2);
	assert_int_equal(config_service_find(l.cfg, "inet", "smtp")->maxproc, 33);
	s = config_service_find(l.cfg, "unix", "fast");
	assert_int_equal(s->params->smtp_connect_timeout, 9000);
	assert_int_equal(l.cfg->params->smtp_connect_timeout, 7000);
	assert_string_equal(s->params->smtp_helo_name, "smtp.example");
	s = config_service_find(l.cfg, "unix", "mda");
	assert_string_equal(s->params->smtp_helo_name, "lmtp.example");
	assert_string_equal(config_service_text(l.cfg, s, "smtp_helo_name"), "lmtp.example");
	assert_int_equal(s->params->smtp_connect_timeout, 0); /* lmtp_connect_timeout */
	assert_int_equal(config_service_find(l.cfg, "unix", "flush")->maxproc, 0);

	assert_int_equal(
	    config_transport_number(l.cfg, "fast", "destination_concurrency_limit"), 3);
	assert_int_equal(config_transport_number(l.cfg, "fast", "destination_rate_delay"), 250);
	assert_int_equal(
	    config_transport_number(l.cfg, "mda", "destination_concurrency_limit"), 20);
	assert_int_equal(
	    config_transport_number(l.cfg, "local", "destination_concurrency_limit"), 2);
	assert_int_equal(config_transport_number(l.cfg, "local", "destination_recipient_limit"), 1);
	assert_int_equal(config_transport_number(l.cfg, "x", "initial_destination_concurrency"), 5);
	assert_string_equal(
	    config_transport_text(l.cfg, "fast", "destination_concurrency_positive_feedback"),
	    "1/concurrency");
	assert_string_equal(
	    config_transport_text(l.cfg, "mda", "destination_concurrency_negative_feedback"), "1");
	assert_string_equal(config_text(l.cfg, "mda_destination_rate_delay"), "0s");
	assert_string_equal(
	    config_default(l.cfg, "mda_destination_rate_delay"), "$default_destination_rate_delay");
	assert_true(config_is_transport(l.cfg, "mda"));
	assert_false(config_is_transport(l.cfg, "submission"));
	done(&l);
}

static void
myorigin_file(void **state)
{
	char text[300];
	struct loaded l;

	put("mailname", "file.example\n");
	snprintf(text, sizeof(text), "myorigin = %s/mailname\nrelayhost = x.$myorigin\n", dir);
	load_clean(&l, text, NULL);
	assert_string_equal(l.cfg->params->myorigin, "file.example");
	assert_string_equal(l.cfg->params->relayhost, "x.file.example");
	done(&l);
}

static void
networks(void **state)
{
	struct loaded l;

	load_clean(&l, "mynetworks_style = class\ninet_interfaces = 127.0.0.1\n", NULL);
	assert_string_equal(l.cfg->params->mynetworks, "127.0.0.0/8");
	done(&l);
	load_clean(&l,
	    "mynetworks_style = subnet\ninet_interfaces = loopback-only\n"
	    "inet_protocols = ipv4\n",
	    NULL);
	assert_string_equal(l.cfg->params->mynetworks, "127.0.0.0/8");
	done(&l);
	load_clean(&l, "mydomain = example.net\nmyhostname = a.$mydomain\n", NULL);
	assert_string_equal(l.cfg->params->myhostname, "a.example.net");
	done(&l);
	load_clean(&l, "myhostname = a.$mydomain\n", NULL); /* neither is set */
	assert_string_equal(l.cfg->params->myhostname, "a.localdomain");
	done(&l);
}

/* Every default must be usable by its own row, or nothing starts. */
static void
tables(void **state)
{
	const struct param *p, *q;
	struct loaded l;

	load_clean(&l, "", NULL);
	for (unsigned i = 0; (p = param_at(i)) != NULL; i++) {
		const char *text = config_text(l.cfg, param_name(p));
		struct buf err;

		buf_init(&err, 1000);
		assert_non_null(text);
		if (param_check(p, str_of(text), &err) != 0)
			fail_msg("%s = %s: %s", param_name(p), text, buf_cstr(&err));
		buf_fini(&err);
		assert_int_equal(strlen(param_name(p)), p->name_n);
		for (unsigned j = 0; j < i && (q = param_at(j)) != NULL; j++)
			assert_string_not_equal(param_name(p), param_name(q));
	}
	for (unsigned i = 0; transport_param_at(i); i++)
		assert_non_null(param_find(str_of(transport_param_at(i)->fallback)));
	done(&l);
}

static void
directory(void **state)
{
	const char *env[] = {"A=b", "MAIL_CONFIG=/from/env", NULL}, *none[] = {NULL};
	bool is_required;

	assert_string_equal(config_dir("/opt", ENV(env), &is_required), "/opt");
	assert_true(is_required);
	assert_string_equal(config_dir(NULL, ENV(env), &is_required), "/from/env");
	assert_true(is_required);
	assert_string_equal(config_dir(NULL, ENV(none), &is_required), CONFIG_DIR_DEFAULT);
	assert_false(is_required);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_files),
	    cmocka_unit_test(missing_directory),
	    cmocka_unit_test(types),
	    cmocka_unit_test(bad_values),
	    cmocka_unit_test(lenient),
	    cmocka_unit_test(relay_guard),
	    cmocka_unit_test(names),
	    cmocka_unit_test(suggestions),
	    cmocka_unit_test(services),
	    cmocka_unit_test(myorigin_file),
	    cmocka_unit_test(networks),
	    cmocka_unit_test(tables),
	    cmocka_unit_test(directory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
