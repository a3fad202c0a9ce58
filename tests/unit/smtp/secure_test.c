/*
 * TLS and AUTH: each level against each kind of certificate, each way to refuse, and the texts that
 * tell an administrator which of them it was.
 *
 * The server's certificates are made here; its name for the client is "mx.test" at 127.0.0.1. The
 * AUTH exchange is libsasl2's own.
 */
#include "secure_cases.h"
#include "smtp/internal.h"
#include "../net/certs.h"

static struct cert ca, certs[5];

static struct tls_context *
server_context(const struct cert *c)
{
	struct tls_options o = {.server = true,
	    .cert_file = c->file,
	    .key_file = c->file,
	    .protocols = ">=TLSv1.2",
	    .ciphers = "medium"};
	struct tls_context *t = NULL;
	struct buf err;

	buf_init(&err, 1000);
	if (tls_context_new_blk(&o, &t, &err) < 0)
		fail_msg("%s", buf_cstr(&err));
	buf_fini(&err);
	return t;
}

static const struct fake_dns zone[] = {{"mx.test", "A", RESOLVER_OK, "127.0.0.1"}, {0}};

/* settings behind those that every case has. */
static void
begin(struct fake_run *r, const struct fake_rule *rules, const char *const *settings, char *hop,
    size_t size)
{
	const char *all[FAKE_SETTINGS] = {0};
	char ca_setting[120];
	size_t n = 0;

	snprintf(ca_setting, sizeof ca_setting, "smtp_tls_CAfile=%s", ca.file);
	all[n++] = ca_setting;
	while (*settings)
		all[n++] = *settings++;
	fake_init(r);
	fake_zone = zone;
	snprintf(hop, size, "[mx.test]:%u", fake_listen(r, "127.0.0.1", 0, rules));
	fake_configure(r, all);
}

static int
check(const struct secure *c)
{
	const char *settings[FAKE_SETTINGS] = {0};
	struct fake_run r;
	char hop[64];
	int wrong = 0;

	memcpy(settings, c->settings, sizeof c->settings);
	begin(&r, c->rules, settings, hop, sizeof hop);
	if (c->cert != NONE)
		r.server[0].tls = server_context(&certs[c->cert]);
	r.server[0].wrap = c->wrap;
	fake_add(&r, hop, 1);
	if (c->waited) /* the least: minimal_backoff_time, counted in whole seconds */
		r.delivery[0].arrival_us =
		    (r.delivery[0].arrival_us / 1000000 - 300) * 1000000 + 999999;
	fake_run(&r);
	wrong += differs(c->name, "result", fake_result(&r, 0, 0), c->want);
	if (c->commands)
		wrong += differs(c->name, "commands", buf_cstr(&r.server[0].log), c->commands);
	if (c->log && !strstr(fake_text(&r, buf_cstr(&r.log)), c->log))
		wrong += differs(c->name, "log", fake_text(&r, buf_cstr(&r.log)), c->log);
	wrong += differs(c->name, "destination trouble",
	    r.delivery[0].hop.cls != STATUS_NONE ? "yes" : "no", c->hop ? "yes" : "no");
	/* The secret is nowhere in the log. */
	assert_null(strstr(buf_cstr(&r.log), "pa:ss"));
	assert_null(strstr(buf_cstr(&r.log), "secret"));
	fake_fini(&r);
	return wrong;
}

static void
test_secure(void **state)
{
	int wrong = 0;

	for (size_t i = 0; i < PP_COUNT(cases); i++)
		wrong += check(&cases[i]);
	assert_int_equal(wrong, 0);
}

/* The second connection resumes the TLS session of the first. */
static void
test_resumption(void **state)
{
	static const struct fake_rule rules[] = {ST, {0}};
	static const char *const settings[] = {
	    LEVEL("secure"), "smtp_tls_loglevel=1", "smtp_connection_cache_on_demand=no", NULL};
	struct fake_run r;
	char hop[64];

	begin(&r, rules, settings, hop, sizeof hop);
	r.server[0].tls = server_context(&certs[GOOD]);
	for (size_t i = 0; i < 3; i++)
		fake_add(&r, hop, 1);
	r.in_turn = true;
	fake_run(&r);
	assert_string_equal(fake_result(&r, 2, 0), SENT);
	assert_int_equal(r.server[0].connections, 3);
	assert_int_equal(r.server[0].resumed, 2);
	fake_fini(&r);
}

/* A login that was rejected is not tried again while it is remembered. */
static void
test_rejected_login(void **state)
{
	static const struct fake_rule rules[] = {AUTH("PLAIN"), {"AUTH", 0, "535 5.7.8 bad"}, {0}};
	static const char *const settings[] = {
	    SASL, PLAIN_OK, "smtp_sasl_auth_cache_name=proxy:btree:/nowhere", NULL};
	struct fake_run r;
	char hop[64];

	begin(&r, rules, settings, hop, sizeof hop);
	for (size_t i = 0; i < 2; i++)
		fake_add(&r, hop, 1);
	r.in_turn = true;
	fake_run(&r);
	assert_string_equal(fake_result(&r, 1, 0),
	    "4.7.8 deferred SASL [CACHED] authentication failed; server mx.test said: 535 5.7.8 "
	    "bad");
	assert_string_equal(buf_cstr(&r.server[0].log),
	    "+ | EHLO mail.here.test | AUTH PLAIN AGthdGUAcGE6c3M= | QUIT | + | EHLO "
	    "mail.here.test | QUIT");
	fake_fini(&r);
}

/* A context that is first needed in the middle of work is made on the slow lane; a reload meanwhile
 * means asking again. */
static struct smtp_tls_wait waits[2];
static unsigned asked_again;

static void
on_slot(struct smtp_tls_wait *w, struct tls_context *c, const char *error)
{
	if (!c && !error) {
		asked_again++;
		c = smtp_tls_slot_get(fake->smtp, 0, NULL, w);
		assert_null(c);
		return;
	}
	assert_non_null(c);
	assert_ptr_equal(w, &waits[0]);
	assert_ptr_equal(smtp_tls_slot_get(fake->smtp, 0, NULL, w), c);
	fake_stop();
}

static void
ask_for_slots(struct fake_run *r)
{
	waits[0] = waits[1] = (struct smtp_tls_wait){.done = on_slot};
	assert_null(r->setup->tls[0].context);
	assert_null(smtp_tls_slot_get(r->smtp, 0, NULL, &waits[0]));
	assert_null(smtp_tls_slot_get(r->smtp, 0, NULL, &waits[1]));
	smtp_tls_slot_cancel(&waits[1]);
	smtp_tls_slot_cancel(&waits[1]);
	smtp_use(r->smtp, r->setup);
}

static void
test_late_context(void **state)
{
	static const char *const settings[] = {NULL};
	struct fake_run r;
	char hop[64];

	begin(&r, NULL, settings, hop, sizeof hop);
	r.by_hand = true;
	r.started = ask_for_slots;
	fake_run(&r);
	assert_int_equal(asked_again, 1);
	fake_fini(&r);
}

static void
test_errors_of_setup(void **state)
{
	static const struct {
		const char *settings[4], *want;
	} table[] = {
	    {{LEVEL("fingerprint")},
		"smtp_tls_security_level = fingerprint needs smtp_tls_fingerprint_cert_match"},
	    {{"smtp_tls_fingerprint_digest=nosuch"}, "smtp_tls_fingerprint_digest = nosuch"},
	    {{"smtp_tls_servername=b@d"}, "smtp_tls_servername = b@d"},
	    {{"smtp_tls_policy_maps=nosuch:x"}, "smtp_tls_policy_maps: "},
	    {{LEVEL("may"), "smtp_tls_chain_files=/nowhere/chain.pem"},
		"smtp_tls_chain_files: cannot load chain file /nowhere/chain.pem"},
	    {{LEVEL("may"), "smtp_tls_eccert_file=/nowhere/ec.pem"}, "smtp_tls_eccert_file: "},
	    {{LEVEL("may"), "smtp_tls_trust_anchor_file=/nowhere/ta.pem"},
		"smtp_tls_trust_anchor_file: "},
	    {{LEVEL("may"), "smtp_tls_CAfile=/nowhere/ca.pem"}, "/nowhere/ca.pem"},
	    {{LEVEL("encrypt"), "smtp_tls_cert_file=/nowhere/cert.pem"}, "/nowhere/cert.pem"},
	    {{LEVEL("may"), "smtp_tls_protocols=nonsense"}, "nonsense"},
	    {{"smtp_sasl_auth_enable=yes"}, "needs smtp_sasl_password_maps"},
	    {{"smtp_sasl_auth_enable=yes", "smtp_sasl_password_maps=nosuch:x"},
		"smtp_sasl_password_maps: "},
	    {{SASL, "smtp_sasl_security_options=nofun"}, "nofun"},
	    {{"smtp_bind_address=::1"}, "smtp_bind_address = ::1"},
	    {{"smtp_bind_address6=127.0.0.1"}, "smtp_bind_address6 = 127.0.0.1"},
	    {{"smtp_tcp_port=nosuch"}, "smtp_tcp_port = nosuch"},
	};

	for (size_t i = 0; i < PP_COUNT(table); i++) {
		const char *extra[8] = {"myhostname=mail.here.test"};
		struct config_source src = {.extra = extra, .hostname = "mail.here.test"};
		struct smtp_setup *su = NULL;
		struct config_report report;
		struct config *cfg;
		struct buf err;

		for (size_t k = 0; k < 4; k++)
			extra[k + 1] = table[i].settings[k];
		config_report_init(&report);
		buf_init(&err, 1000);
		if (config_load(&src, &cfg, &report) == 0) {
			assert_true(smtp_setup_new_blk(cfg, &su, &err) < 0);
			assert_null(su);
			if (!strstr(buf_cstr(&err), table[i].want))
				fail_msg("%s: not in: %s", table[i].want, buf_cstr(&err));
			assert_non_null(strstr(buf_cstr(&err), "smtp_"));
			snap_unref(&cfg->snap);
		}
		config_report_fini(&report);
		buf_fini(&err);
	}
}

/* A password file that everybody can read is warned about, once. */
static void
test_open_password_file(void **state)
{
	char path[] = "/tmp/smtp_test.XXXXXX", setting[100], want[100];
	const char *extra[] = {"smtp_sasl_auth_enable=yes", setting, NULL};
	struct config_source src = {.extra = extra, .hostname = "mail.here.test"};
	struct smtp_setup *su = NULL;
	struct config_report report;
	struct config *cfg;
	struct buf warn, err;
	int fd = mkstemp(path);

	assert_int_equal(fchmod(fd, 0644), 0);
	close(fd);
	snprintf(setting, sizeof setting, "smtp_sasl_password_maps=texthash:%s", path);
	snprintf(want, sizeof want, "smtp_sasl_password_maps: %s is readable by everybody", path);
	config_report_init(&report);
	buf_init(&warn, 1000);
	buf_init(&err, 1000);
	assert_int_equal(config_load(&src, &cfg, &report), 0);
	assert_int_equal(smtp_setup_new_blk(cfg, &su, &err), 0);
	smtp_setup_check_blk(su, &warn);
	assert_non_null(strstr(buf_cstr(&warn), want));
	assert_null(strstr(strstr(buf_cstr(&warn), want) + 1, want));
	smtp_setup_unref(su);
	snap_unref(&cfg->snap);
	config_report_fini(&report);
	buf_fini(&warn);
	buf_fini(&err);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_secure),
	    cmocka_unit_test(test_resumption),
	    cmocka_unit_test(test_rejected_login),
	    cmocka_unit_test(test_late_context),
	    cmocka_unit_test(test_errors_of_setup),
	    cmocka_unit_test(test_open_password_file),
	};
	int rc;

	assert_non_null(mkdtemp(cert_dir));
	ca = cert_make("the CA", NULL, NULL, true, 100, false);
	certs[GOOD] = cert_make("mx.test", "DNS:mx.test", &ca, false, 100, false);
	certs[WRONG] = cert_make("other.test", "DNS:other.test", &ca, false, 100, false);
	certs[EXPIRED] = cert_make("mx.test", "DNS:mx.test", &ca, false, -1, false);
	certs[SELF] = cert_make("mx.test", "DNS:mx.test", NULL, false, 100, false);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t i = GOOD; i <= SELF; i++)
		cert_fini(&certs[i]);
	cert_fini(&ca);
	rmdir(cert_dir);
	sasl_stop();
	return rc;
}
