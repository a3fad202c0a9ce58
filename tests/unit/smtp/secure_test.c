/*
 * TLS and AUTH: each level against each kind of certificate, each way to refuse, and the texts that
 * tell an administrator which of them it was.
 *
 * The server's certificates are made here; its name for the client is "mx.test" at 127.0.0.1. The
 * AUTH exchange is libsasl2's own.
 */
#include "fake_dns.h"
#include "smtp/internal.h"
#include "../net/certs.h"

#define SENT "2.0.0 sent 250 2.0.0 Ok: queued as X"
#define PEER "mx.test[127.0.0.1]"
#define ST                                                                                         \
	{"EHLO2", 0, "250 fake.test"},                                                             \
	{                                                                                          \
		"EHLO", 0, "250-fake.test\n250 STARTTLS"                                           \
	}
#define AUTH(mechs)                                                                                \
	{                                                                                          \
		"EHLO", 0, "250-fake.test\n250 AUTH " mechs                                        \
	}
#define LEVEL(l) "smtp_tls_security_level=" l
#define SASL "smtp_sasl_auth_enable=yes", "smtp_sasl_password_maps=inline:{mx.test=kate:pa:ss}"
#define PLAIN_OK "smtp_sasl_security_options=noanonymous"
#define POLICY(text) "smtp_tls_policy_maps=static:{" text "}"
#define BAD_POLICY(table, why)                                                                     \
	"4.7.5 deferred client TLS configuration problem: smtp_tls_policy_maps = static:{" table   \
	"}, entry of \"[mx.test]:P\": " why
#define FAILED "SASL authentication failed; "

enum which { NONE, GOOD, WRONG, EXPIRED, SELF };

struct secure {
	const char *name;
	enum which cert; /* of the server; NONE: it knows no TLS */
	bool wrap;
	struct fake_rule rules[6];
	const char *settings[7];
	const char *want;
	const char *commands; /* NULL: not looked at */
	const char *log;      /* to be found in the log, or NULL */
	bool waited;          /* the mail is older than minimal_backoff_time */
	bool hop;
};

static const struct secure cases[] = {
    {"none, offered", GOOD, .rules = {ST}, .want = SENT,
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA "
	    "| QUIT"},
    {"may, not offered", NONE, .settings = {LEVEL("may")}, .want = SENT},
    {"may, good", GOOD, .rules = {ST}, .settings = {LEVEL("may"), "smtp_tls_loglevel=1"},
	.want = SENT,
	.commands =
	    "+ | EHLO mail.here.test | STARTTLS | EHLO mail.here.test | MAIL FROM:<s@here.test> | "
	    "RCPT TO:<r0@there.test> | DATA | QUIT",
	.log = "Trusted TLS connection established to " PEER ":P: TLSv1.3 with cipher "
	       "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519"},
    {"may, wrong name", WRONG, .rules = {ST}, .settings = {LEVEL("may"), "smtp_tls_loglevel=1"},
	.want = SENT, .log = "Trusted TLS connection established to " PEER ":P: "},
    {"may, expired", EXPIRED, .rules = {ST}, .settings = {LEVEL("may"), "smtp_tls_loglevel=1"},
	.want = SENT, .log = "Untrusted TLS connection established to " PEER ":P: "},
    {"may, self-signed", SELF, .rules = {ST}, .settings = {LEVEL("may")}, .want = SENT},
    {"may, refused", GOOD, .rules = {ST, {"STARTTLS", 0, "454 4.7.0 not now"}},
	.settings = {LEVEL("may")}, .want = SENT,
	.commands = "+ | EHLO mail.here.test | STARTTLS | MAIL FROM:<s@here.test> | RCPT "
		    "TO:<r0@there.test> | DATA | QUIT"},
    {"may, no handshake", NONE, .rules = {ST, {"STARTTLS", 0, "220 go|CLOSE"}},
	.settings = {LEVEL("may")},
	.want = "4.7.5 deferred Cannot start TLS: handshake failure: connection lost during "
		"the TLS handshake",
	.log = "SSL_connect error to " PEER ":P: ", .hop = true},
    {"may, no handshake, old mail", NONE, .rules = {ST, {"STARTTLS", 0, "220 go|CLOSE"}},
	.settings = {LEVEL("may")}, .want = SENT,
	.commands = "+ | EHLO mail.here.test | STARTTLS | + | EHLO mail.here.test | MAIL "
		    "FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA | QUIT",
	.log = "; trying again without TLS\n", .waited = true},
    {"may, lost at STARTTLS", NONE, .rules = {ST, {"STARTTLS", 0, "CLOSE"}},
	.settings = {LEVEL("may")},
	.want =
	    "4.4.2 deferred lost connection with " PEER " while receiving the STARTTLS response",
	.hop = true},
    {"encrypt, not offered", NONE, .settings = {LEVEL("encrypt")},
	.want = "4.7.4 deferred TLS is required, but was not offered by host " PEER,
	.commands = "+ | EHLO mail.here.test | QUIT", .hop = true},
    {"encrypt, only HELO", NONE, .rules = {{"EHLO", 0, "502 no"}}, .settings = {LEVEL("encrypt")},
	.want = "4.7.4 deferred TLS is required, but was not offered by host " PEER, .hop = true},
    {"encrypt, refused", GOOD, .rules = {ST, {"STARTTLS", 0, "454 4.7.0 not now"}},
	.settings = {LEVEL("encrypt")},
	.want = "4.7.0 deferred TLS is required, but host " PEER
		" refused to start TLS: 454 4.7.0 not now",
	.commands = "+ | EHLO mail.here.test | STARTTLS | QUIT", .hop = true},
    {"encrypt, refused for good", GOOD, .rules = {ST, {"STARTTLS", 0, "554 5.7.0 never"}},
	.settings = {LEVEL("encrypt")},
	.want = "4.7.0 deferred TLS is required, but host " PEER
		" refused to start TLS: 554 5.7.0 never",
	.hop = true},
    {"encrypt, no handshake", NONE, .rules = {ST, {"STARTTLS", 0, "220 go|CLOSE"}},
	.settings = {LEVEL("encrypt")},
	.want = "4.7.5 deferred Cannot start TLS: handshake failure: connection lost during "
		"the TLS handshake",
	.waited = true, .hop = true},
    {"encrypt, handshake late", NONE, .rules = {ST, {"STARTTLS", 0, "220 go|SILENCE"}},
	.settings = {LEVEL("encrypt"), "smtp_starttls_timeout=60ms"},
	.want = "4.7.5 deferred Cannot start TLS: handshake failure: Connection timed out",
	.hop = true},
    {"encrypt, expired", EXPIRED, .rules = {ST}, .settings = {LEVEL("encrypt")}, .want = SENT},
    {"verify, good", GOOD, .rules = {ST}, .settings = {LEVEL("verify"), "smtp_tls_loglevel=1"},
	.want = SENT, .log = "Verified TLS connection established to " PEER ":P: "},
    {"verify, wrong name", WRONG, .rules = {ST}, .settings = {LEVEL("verify")},
	.want = "4.7.5 deferred Server certificate not verified: it is for other.test, expected "
		"mx.test",
	.commands = "+ | EHLO mail.here.test | STARTTLS | QUIT",
	.log = "server certificate verification failed for " PEER ":P: num=62:hostname mismatch\n",
	.hop = true},
    {"verify, expired", EXPIRED, .rules = {ST}, .settings = {LEVEL("verify")},
	.want = "4.7.5 deferred Server certificate not verified: certificate has expired",
	.commands = "+ | EHLO mail.here.test | STARTTLS | QUIT",
	.log = "server certificate verification failed for " PEER ":P: certificate has expired\n",
	.hop = true},
    {"verify, self-signed", SELF, .rules = {ST}, .settings = {LEVEL("verify")},
	.want = "4.7.5 deferred Server certificate not verified: self-signed certificate",
	.hop = true},
    {"verify, other name wanted", WRONG, .rules = {ST},
	.settings = {LEVEL("verify"), "smtp_tls_verify_cert_match=hostname, other.test"},
	.want = SENT},
    {"secure, good", GOOD, .rules = {ST}, .settings = {LEVEL("secure")}, .want = SENT},
    {"secure, wrong name", WRONG, .rules = {ST}, .settings = {LEVEL("secure")},
	.want = "4.7.5 deferred Server certificate not verified: it is for other.test, expected "
		"mx.test "
		"or .mx.test",
	.hop = true},
    {"secure, expired", EXPIRED, .rules = {ST}, .settings = {LEVEL("secure")},
	.want = "4.7.5 deferred Server certificate not verified: certificate has expired",
	.hop = true},
    {"implicit", GOOD, true, .settings = {LEVEL("secure"), "smtp_tls_wrappermode=yes"},
	.want = SENT,
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA "
	    "| QUIT"},
    {"implicit, level none", GOOD, true, .settings = {"smtp_tls_wrappermode=yes"}, .want = SENT},
    {"implicit, wrong name", WRONG, true, .settings = {LEVEL("verify"), "smtp_tls_wrappermode=yes"},
	.want = "4.7.5 deferred Server certificate not verified: it is for other.test, expected "
		"mx.test",
	.hop = true},
    /* SIZE was offered in clear only: RFC 3207 4.2 lets nothing of it count. */
    {"clear EHLO forgotten", GOOD,
	.rules = {{"EHLO2", 0, "250 fake.test"},
	    {"EHLO", 0, "250-fake.test\n250-SIZE 10\n250 STARTTLS"}},
	.settings = {LEVEL("may")}, .want = SENT},

    {"policy: encrypt", NONE, .settings = {POLICY("encrypt")},
	.want = "4.7.4 deferred TLS is required, but was not offered by host " PEER, .hop = true},
    {"policy: none", GOOD, .rules = {ST}, .settings = {LEVEL("secure"), POLICY("none match=x")},
	.want = SENT,
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA "
	    "| QUIT"},
    {"policy: other names", WRONG, .rules = {ST},
	.settings = {POLICY("secure match=nexthop:.test match=x.y"), "smtp_tls_loglevel=1"},
	.want = SENT, .log = "Verified TLS connection established to " PEER ":P: "},
    {"policy: protocols", GOOD, .rules = {ST},
	.settings = {POLICY("encrypt protocols=TLSv1.2 ciphers=high"), "smtp_tls_loglevel=1"},
	.want = SENT, .log = PEER ":P: TLSv1.2 with cipher "},
    {"policy: no ciphers left", GOOD, .rules = {ST}, .settings = {POLICY("encrypt exclude=ALL")},
	.want = "4.7.5 deferred Cannot start TLS: handshake failure: no cipher is left of grade "
		"medium without \"ALL\"",
	.hop = true},
    {"policy: wrong fingerprint", GOOD, .rules = {ST},
	.settings = {POLICY("fingerprint match=00:11|22")},
	.want = "4.7.5 deferred Server certificate not verified: its fingerprint is *",
	.hop = true},
    {"policy: unknown level", GOOD, .rules = {ST}, .settings = {POLICY("frob x=y")},
	.want = BAD_POLICY("frob x=y", "invalid security level \"frob\""), .commands = "",
	.hop = true},
    {"policy: no fingerprints", GOOD, .rules = {ST}, .settings = {POLICY("fingerprint")},
	.want = BAD_POLICY("fingerprint",
	    "configured at fingerprint security level, but with no fingerprints to match"),
	.commands = "", .hop = true},
    {"policy: unknown attribute", GOOD, .rules = {ST}, .settings = {POLICY("encrypt frob=1")},
	.want = BAD_POLICY("encrypt frob=1", "invalid attribute name: \"frob\""), .hop = true},
    {"policy: no value", GOOD, .rules = {ST}, .settings = {POLICY("encrypt ciphers")},
	.want = BAD_POLICY("encrypt ciphers", "malformed attribute/value pair \"ciphers\": missing "
					      "'=' after attribute name"),
	.hop = true},
    {"policy: empty value", GOOD, .rules = {ST}, .settings = {POLICY("secure match=")},
	.want = BAD_POLICY("secure match=", "attribute \"match\" has empty value"), .hop = true},
    {"policy: twice", GOOD, .rules = {ST}, .settings = {POLICY("may ciphers=low ciphers=high")},
	.want = BAD_POLICY(
	    "may ciphers=low ciphers=high", "attribute \"ciphers\" is specified multiple times"),
	.hop = true},
    {"policy: not at this level", GOOD, .rules = {ST}, .settings = {POLICY("may match=x")},
	.want = BAD_POLICY("may match=x", "attribute \"match\" invalid at security level \"may\""),
	.hop = true},
    {"policy: bad name", GOOD, .rules = {ST}, .settings = {POLICY("may servername=b@d")},
	.want =
	    BAD_POLICY("may servername=b@d", "\"servername=b@d\" specifies an invalid hostname"),
	.hop = true},
    {"policy: bad protocol", GOOD, .rules = {ST}, .settings = {POLICY("encrypt protocols=XYZ")},
	.want = BAD_POLICY("encrypt protocols=XYZ",
	    "unknown TLS protocol \"XYZ\"; known are SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3, with "
	    ">=, <= or ! in front"),
	.commands = "", .hop = true},
    {"policy: bad grade", GOOD, .rules = {ST}, .settings = {POLICY("encrypt ciphers=frob")},
	.want = BAD_POLICY("encrypt ciphers=frob",
	    "unknown cipher grade \"frob\"; known are null export low medium high"),
	.hop = true},
    {"policy: no trust anchors", GOOD, .rules = {ST},
	.settings = {POLICY("secure tafile=/nowhere/ta.pem")},
	.want = "4.7.5 deferred Cannot start TLS: cannot load trust anchor file /nowhere/ta.pem: "
		"No such file or directory",
	.commands = "", .hop = true},
    {"policy: table gone", GOOD, .rules = {ST},
	.settings = {"smtp_tls_policy_maps=texthash:/nowhere/policy"},
	.want = "4.7.5 deferred client TLS configuration problem: /nowhere/policy: No such file or "
		"directory",
	.commands = "", .hop = true},
    {"enforced the old way", WRONG, .rules = {ST}, .settings = {"smtp_enforce_tls=yes"},
	.want = "4.7.5 deferred Server certificate not verified: it is for other.test, expected "
		"mx.test",
	.hop = true},
    {"enforced the old way, any name", WRONG, .rules = {ST},
	.settings = {"smtp_enforce_tls=yes", "smtp_tls_enforce_peername=no"}, .want = SENT},
    {"early reply in TLS", GOOD, .rules = {{"EHLO2", 0, "250 fake.test\n250 2.1.0 early"}, ST},
	.settings = {LEVEL("encrypt"), "smtp_tls_block_early_mail_reply=yes"},
	.want = "4.7.0 deferred host " PEER " replied to a command inside TLS before it was sent",
	.hop = true},

    {"auth plain", NONE, .rules = {AUTH("PLAIN LOGIN")}, .settings = {SASL, PLAIN_OK}, .want = SENT,
	.commands = "+ | EHLO mail.here.test | AUTH PLAIN AGthdGUAcGE6c3M= | MAIL "
		    "FROM:<s@here.test> | RCPT "
		    "TO:<r0@there.test> | DATA | QUIT"},
    {"auth login", NONE,
	.rules = {AUTH("LOGIN"), {"AUTH", 0, "334 VXNlcm5hbWU6"}, {"*", 1, "334 UGFzc3dvcmQ6"},
	    {"*", 2, "235 2.7.0 ok"}},
	.settings = {SASL, PLAIN_OK}, .want = SENT,
	.commands = "+ | EHLO mail.here.test | AUTH LOGIN | a2F0ZQ== | cGE6c3M= | MAIL "
		    "FROM:<s@here.test> | "
		    "RCPT TO:<r0@there.test> | DATA | QUIT"},
    {"auth cram-md5", NONE,
	.rules = {AUTH("CRAM-MD5"), {"AUTH", 0, "334 PDEyMzRAeD4="}, {"*", 1, "235 2.7.0 ok"}},
	.settings = {SASL}, .want = SENT},
    {"auth in TLS", GOOD, .rules = {{"EHLO2", 0, "250-fake.test\n250 AUTH PLAIN"}, ST},
	.settings = {LEVEL("encrypt"), SASL, "smtp_sasl_tls_security_options=noanonymous"},
	.want = SENT},
    {"wrong password", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "535 5.7.8 bad credentials"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.7.8 deferred " FAILED "server " PEER " said: 535 5.7.8 bad credentials",
	.commands = "+ | EHLO mail.here.test | AUTH PLAIN AGthdGUAcGE6c3M= | QUIT", .hop = true},
    {"wrong password, plain reply", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "535 bad"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.7.8 deferred " FAILED "server " PEER " said: 535 bad", .hop = true},
    {"wrong password, hard", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "535 5.7.8 bad"}},
	.settings = {SASL, PLAIN_OK, "smtp_sasl_auth_soft_bounce=no"},
	.want = "5.7.8 bounced " FAILED "server " PEER " said: 535 5.7.8 bad"},
    {"wrong password at the end", NONE,
	.rules = {AUTH("LOGIN"), {"AUTH", 0, "334 VXNlcm5hbWU6"}, {"*", 1, "334 UGFzc3dvcmQ6"},
	    {"*", 2, "535 5.7.8 wrong"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.7.8 deferred " FAILED "server " PEER " said: 535 5.7.8 wrong", .hop = true},
    {"auth 454", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "454 4.7.0 temp"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.7.0 deferred " FAILED "server " PEER " said: 454 4.7.0 temp", .hop = true},
    {"auth 421 close", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "421 4.7.0 temp|CLOSE"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.7.0 deferred " FAILED "server " PEER " said: 421 4.7.0 temp", .hop = true},
    {"auth close", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "CLOSE"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.4.2 deferred lost connection with " PEER " while performing the EHLO handshake",
	.hop = true},
    {"auth silence", NONE, .rules = {AUTH("PLAIN"), {"AUTH", 0, "SILENCE"}},
	.settings = {SASL, PLAIN_OK, "smtp_mail_timeout=60ms"},
	.want = "4.4.2 deferred conversation with " PEER
		" timed out while performing the EHLO handshake",
	.hop = true},
    {"auth, bad challenge", NONE, .rules = {AUTH("LOGIN"), {"AUTH", 0, "334 !!!!"}},
	.settings = {SASL, PLAIN_OK},
	.want = "4.7.0 deferred " FAILED "cannot authenticate to server " PEER
		": the challenge is not valid base64",
	.hop = true},
    {"auth, plain text forbidden", NONE, .rules = {AUTH("PLAIN")}, .settings = {SASL},
	.want =
	    "4.7.0 deferred " FAILED "cannot authenticate to server " PEER
	    ": no mechanism available: server offered no usable mechanism: PLAIN is forbidden by "
	    "smtp_sasl_security_options noplaintext; use TLS with smtp_sasl_tls_security_options = "
	    "noanonymous, or set "
	    "smtp_sasl_security_options = noanonymous",
	.hop = true},
    {"auth, unknown mechanism", NONE, .rules = {AUTH("FOO")}, .settings = {SASL, PLAIN_OK},
	.want =
	    "4.7.0 deferred " FAILED "cannot authenticate to server " PEER
	    ": no mechanism available: server offered no usable mechanism: FOO is not supported",
	.hop = true},
    {"auth not offered", NONE, .settings = {SASL, PLAIN_OK}, .want = SENT,
	.log = "warning: host " PEER ":P does not offer AUTH without TLS: mail goes without"},
    {"auth not offered, enforced", NONE, .settings = {SASL, PLAIN_OK, "smtp_sasl_auth_enforce=yes"},
	.want = "4.7.0 deferred SASL authentication is required, but was not offered by host " PEER,
	.commands = "+ | EHLO mail.here.test | QUIT", .hop = true},
    {"no password for it", NONE, .rules = {AUTH("PLAIN")},
	.settings = {"smtp_sasl_auth_enable=yes",
	    "smtp_sasl_password_maps=inline:{other.test=a:b}"},
	.want = SENT,
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA | "
	    "QUIT"},
    {"password by sender", NONE, .rules = {AUTH("PLAIN")},
	.settings = {"smtp_sasl_auth_enable=yes", PLAIN_OK,
	    "smtp_sender_dependent_authentication=yes",
	    "smtp_sasl_password_maps=inline:{s@here.test=a:b, mx.test=c:d}"},
	.want = SENT,
	.commands =
	    "+ | EHLO mail.here.test | AUTH PLAIN AGEAYg== | MAIL FROM:<s@here.test> | RCPT "
	    "TO:<r0@there.test> | DATA | QUIT"},
    {"password file gone", NONE, .rules = {AUTH("PLAIN")},
	.settings = {"smtp_sasl_auth_enable=yes", PLAIN_OK,
	    "smtp_sasl_password_maps=texthash:/nowhere/passwd"},
	.want = "4.3.0 deferred smtp_sasl_password_maps lookup error: /nowhere/passwd: No such "
		"file or directory",
	.commands = "", .hop = true},
    {"password entry broken", NONE, .rules = {AUTH("PLAIN")},
	.settings = {"smtp_sasl_auth_enable=yes", PLAIN_OK,
	    "smtp_sasl_password_maps=inline:{mx.test=secret}"},
	.want = "4.3.0 deferred smtp_sasl_password_maps: the entry of mx.test is not user:password",
	.commands = "", .hop = true},
};

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
	    cmocka_unit_test(test_late_context),
	    cmocka_unit_test(test_errors_of_setup),
	    cmocka_unit_test(test_open_password_file),
	};
	int rc;

	assert_non_null(mkdtemp(cert_dir));
	assert_int_equal(sasl_start(), 0);
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
