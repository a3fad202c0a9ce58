/*
 * secure_cases.h - TLS and AUTH: what a server offers, what is asked for, and what becomes of it.
 */
#pragma once
#include "fake_dns.h"

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
    {"auth, said again with MAIL", NONE, .rules = {AUTH("PLAIN LOGIN")},
	.settings = {SASL, PLAIN_OK, "smtp_send_dummy_mail_auth=yes"}, .want = SENT,
	.commands = "+ | EHLO mail.here.test | AUTH PLAIN AGthdGUAcGE6c3M= | MAIL "
		    "FROM:<s@here.test> AUTH=<> | RCPT TO:<r0@there.test> | DATA | QUIT"},
    {"not from that address", NONE, .settings = {"smtp_bind_address=192.0.2.1"}, .want = SENT,
	.log = "warning: smtp_connect_addr: bind 192.0.2.1: Cannot assign requested address\n"},
    {"only from that address", NONE,
	.settings = {"smtp_bind_address=192.0.2.1", "smtp_bind_address_enforce=yes"},
	.want = "4.4.0 deferred server configuration error: smtp_bind_address = 192.0.2.1: Cannot "
		"assign requested address",
	.commands = "", .hop = true},
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
