/*
 * Every stage of a conversation against every kind of answer: the table of delivery decisions, run
 * through the real client. The expected texts are those Postfix 3.7 gave to the same scripts,
 * except where the comment of a row says why ours differ.
 */
#include "fake_dns.h"

#define NOPIPE                                                                                     \
	{                                                                                          \
		"EHLO", 0, "250 fake.test"                                                         \
	}
#define SENT "2.0.0 sent 250 2.0.0 Ok: queued as X"
#define ENVELOPE "EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA"
#define SOON                                                                                       \
	{                                                                                          \
		"smtp_helo_timeout=60ms", "smtp_mail_timeout=60ms", "smtp_rcpt_timeout=60ms",      \
		    "smtp_data_init_timeout=60ms", "smtp_data_done_timeout=60ms"                   \
	}
#define LOST(phase) "4.4.2 deferred lost connection with H while " phase
#define LATE(phase) "4.4.2 deferred conversation with H timed out while " phase
#define SAID(dsn, class, text, command)                                                            \
	dsn " " class " host H said: " text " (in reply to " command " command)"
#define REFUSED(dsn, class, text) dsn " " class " host H refused to talk to me: " text
#define DOT "sending end of data -- message may be sent more than once"

struct dialog {
	const char *name;
	struct fake_rule rules[FAKE_RULES];
	const char *settings[FAKE_SETTINGS];
	size_t rcpts;                 /* 0 = 1 */
	const char *want[FAKE_RCPTS]; /* of each recipient */
	const char *commands;         /* NULL: not looked at */
	bool hop;                     /* counts as trouble of the destination */
};

static const struct dialog dialogs[] = {
    {"good", .want = {SENT}, .commands = "+ | " ENVELOPE " | QUIT"},
    {"greeting 4xx", {{"banner", 0, "451 4.3.5 no"}},
	.want = {REFUSED("4.3.5", "deferred", "451 4.3.5 no")}, .commands = "+ | QUIT",
	.hop = true},
    {"greeting 4xx plain", {{"banner", 0, "450 no"}},
	.want = {REFUSED("4.0.0", "deferred", "450 no")}, .hop = true},
    {"greeting 5xx", {{"banner", 0, "554 5.7.1 no service"}},
	.want = {REFUSED("4.7.1", "deferred", "554 5.7.1 no service")}, .hop = true},
    {"greeting 5xx not skipped", {{"banner", 0, "554 5.7.1 no service"}},
	{"smtp_skip_5xx_greeting=no"},
	.want = {REFUSED("5.7.1", "bounced", "554 5.7.1 no service")}},
    {"greeting 421 close", {{"banner", 0, "421 4.3.2 busy|CLOSE"}}, .rcpts = 2,
	.want = {REFUSED("4.3.2", "deferred", "421 4.3.2 busy"),
	    REFUSED("4.3.2", "deferred", "421 4.3.2 busy")},
	.commands = "+", .hop = true},
    {"greeting close", {{"banner", 0, "CLOSE"}},
	.want = {LOST("receiving the initial server greeting")}, .hop = true},
    {"greeting silence", {{"banner", 0, "SILENCE"}}, SOON,
	.want = {LATE("receiving the initial server greeting")}, .hop = true},
    /* Postfix waits on; what is no reply cannot become one. */
    {"greeting garbage", {{"banner", 0, "what is this|CLOSE"}},
	.want = {"4.5.0 deferred Protocol error: host H refused to talk to me: what is this"},
	.commands = "+", .hop = true},
    {"greeting odd", {{"banner", 0, "354 odd"}}, .want = {REFUSED("5.5.0", "bounced", "354 odd")}},
    {"greeting lines", {{"banner", 0, "550-5.1.1 one\n550-5.1.1 two\n550 5.1.1 three"}},
	.want = {REFUSED("4.1.1", "deferred", "550-5.1.1 one 550-5.1.1 two 550 5.1.1 three")},
	.hop = true},
    {"ehlo 5xx", {{"EHLO", 0, "502 no"}}, .want = {SENT},
	.commands =
	    "+ | EHLO mail.here.test | HELO mail.here.test | MAIL FROM:<s@here.test> | RCPT "
	    "TO:<r0@there.test> | DATA | QUIT"},
    {"ehlo 4xx", {{"EHLO", 0, "451 no"}}, .want = {SENT}},
    {"ehlo 421", {{"EHLO", 0, "421 4.3.2 bye|CLOSE"}},
	.want = {REFUSED("4.3.2", "deferred", "421 4.3.2 bye")}, .hop = true},
    {"ehlo close", {{"EHLO", 0, "CLOSE"}}, .want = {LOST("performing the EHLO handshake")},
	.hop = true},
    {"ehlo silence", {{"EHLO", 0, "SILENCE"}}, SOON,
	.want = {LATE("performing the EHLO handshake")}, .hop = true},
    {"ehlo garbage", {{"EHLO", 0, "what is this|CLOSE"}},
	.want = {"4.5.0 deferred Protocol error: host H refused to talk to me: what is this"},
	.hop = true},
    {"helo 5xx", {{"EHLO", 0, "502 no"}, {"HELO", 0, "554 5.7.9 no helo"}},
	.want = {REFUSED("5.7.9", "bounced", "554 5.7.9 no helo")}},
    {"helo 4xx", {{"EHLO", 0, "502 no"}, {"HELO", 0, "451 no helo"}},
	.want = {REFUSED("4.0.0", "deferred", "451 no helo")}, .hop = true},
    {"helo close", {{"EHLO", 0, "502 no"}, {"HELO", 0, "CLOSE"}},
	.want = {LOST("performing the HELO handshake")}, .hop = true},
    {"helo only", .settings = {"smtp_never_send_ehlo=yes"}, .want = {SENT},
	.commands = "+ | HELO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | "
		    "DATA | QUIT"},
    {"helo name", .settings = {"smtp_helo_name=me.test"}, .want = {SENT},
	.commands = "+ | EHLO me.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | DATA | "
		    "QUIT"},
    {"mail 4xx", {{"MAIL", 0, "451 4.3.5 no mail"}},
	.want = {SAID("4.3.5", "deferred", "451 4.3.5 no mail", "MAIL FROM")},
	.commands = "+ | " ENVELOPE " | QUIT"},
    {"mail 5xx", {{"MAIL", 0, "554 5.7.9 no mail"}}, .rcpts = 2,
	.want = {SAID("5.7.9", "bounced", "554 5.7.9 no mail", "MAIL FROM"),
	    SAID("5.7.9", "bounced", "554 5.7.9 no mail", "MAIL FROM")}},
    {"mail 5xx soft", {{"MAIL", 0, "554 5.7.9 no mail"}}, {"soft_bounce=yes"},
	.want = {SAID("4.7.9", "deferred", "554 5.7.9 no mail", "MAIL FROM")}},
    {"mail 5xx no pipelining", {NOPIPE, {"MAIL", 0, "554 5.7.9 no mail"}},
	.want = {SAID("5.7.9", "bounced", "554 5.7.9 no mail", "MAIL FROM")},
	.commands = "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | QUIT"},
    {"mail 421 close", {{"MAIL", 0, "421 4.3.2 bye|CLOSE"}}, .rcpts = 2,
	.want = {SAID("4.3.2", "deferred", "421 4.3.2 bye", "MAIL FROM"),
	    SAID("4.3.2", "deferred", "421 4.3.2 bye", "MAIL FROM")}},
    {"mail close", {{"MAIL", 0, "CLOSE"}}, .want = {LOST("sending MAIL FROM")}, .hop = true},
    {"mail silence", {{"MAIL", 0, "SILENCE"}}, SOON, .want = {LATE("sending MAIL FROM")},
	.hop = true},
    /* Postfix takes the next command's reply for this one's: it loses its place. */
    {"mail garbage", {{"MAIL", 0, "what is this|CLOSE"}},
	.want = {"4.5.0 deferred Protocol error: host H said: what is this (in reply to MAIL FROM "
		 "command)"},
	.hop = true},
    {"mail odd", {{"MAIL", 0, "354 odd"}},
	.want = {SAID("5.5.0", "bounced", "354 odd", "MAIL FROM")}},
    {"mail lines", {{"MAIL", 0, "550-5.1.1 one\n550-5.1.1 two\n550 5.1.1 three"}},
	.want = {SAID(
	    "5.1.1", "bounced", "550-5.1.1 one 550-5.1.1 two 550 5.1.1 three", "MAIL FROM")}},
    {"rcpt 4xx", {{"RCPT", 0, "450 no rcpt"}},
	.want = {SAID("4.0.0", "deferred", "450 no rcpt", "RCPT TO")}},
    {"rcpt 5xx", {{"RCPT", 0, "554 5.7.9 no rcpt"}},
	.want = {SAID("5.7.9", "bounced", "554 5.7.9 no rcpt", "RCPT TO")},
	.commands = "+ | " ENVELOPE " | QUIT"},
    {"rcpt 5xx data 5xx", {{"RCPT", 0, "550 5.1.1 no"}, {"DATA", 0, "503 no"}}, .rcpts = 2,
	.want = {SAID("5.1.1", "bounced", "550 5.1.1 no", "RCPT TO"),
	    SAID("5.1.1", "bounced", "550 5.1.1 no", "RCPT TO")},
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | RCPT "
	    "TO:<r1@there.test> | DATA | RSET"},
    {"rcpt 5xx no pipelining", {NOPIPE, {"RCPT", 0, "550 5.1.1 no"}},
	.want = {SAID("5.1.1", "bounced", "550 5.1.1 no", "RCPT TO")},
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | RSET"},
    {"rcpt 552", {{"RCPT", 0, "552 5.2.2 many"}},
	.want = {SAID("4.2.2", "deferred", "552 5.2.2 many", "RCPT TO")}}, /* RFC 5321 4.5.3.1.10 */
    {"rcpt mixed", {{"RCPT", 2, "550 5.1.1 nope"}, {"RCPT", 3, "450 4.2.0 later"}}, .rcpts = 3,
	.want = {SENT, SAID("5.1.1", "bounced", "550 5.1.1 nope", "RCPT TO"),
	    SAID("4.2.0", "deferred", "450 4.2.0 later", "RCPT TO")}},
    {"rcpt mixed no pipelining",
	{NOPIPE, {"RCPT", 2, "550 5.1.1 nope"}, {"RCPT", 3, "450 4.2.0 later"}}, .rcpts = 3,
	.want = {SENT, SAID("5.1.1", "bounced", "550 5.1.1 nope", "RCPT TO"),
	    SAID("4.2.0", "deferred", "450 4.2.0 later", "RCPT TO")},
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | RCPT "
	    "TO:<r1@there.test> | RCPT TO:<r2@there.test> | DATA | QUIT"},
    {"rcpt 421 close", {{"RCPT", 2, "421 4.3.2 bye|CLOSE"}}, .rcpts = 3,
	.want = {LOST("sending RCPT TO"), SAID("4.3.2", "deferred", "421 4.3.2 bye", "RCPT TO"),
	    LOST("sending RCPT TO")},
	.hop = true},
    {"rcpt 421 close no pipelining", {NOPIPE, {"RCPT", 2, "421 4.3.2 bye|CLOSE"}}, .rcpts = 3,
	.want = {LOST("sending RCPT TO"), SAID("4.3.2", "deferred", "421 4.3.2 bye", "RCPT TO"),
	    LOST("sending RCPT TO")},
	.hop = true},
    {"rcpt close", {{"RCPT", 2, "CLOSE"}}, .rcpts = 3,
	.want = {LOST("sending RCPT TO"), LOST("sending RCPT TO"), LOST("sending RCPT TO")},
	.hop = true},
    {"rcpt silence", {{"RCPT", 0, "SILENCE"}}, SOON, .want = {LATE("sending RCPT TO")},
	.hop = true},
    {"rcpt garbage", {{"RCPT", 0, "what is this|CLOSE"}},
	.want = {"4.5.0 deferred Protocol error: host H said: what is this (in reply to RCPT TO "
		 "command)"},
	.hop = true},
    {"rcpt odd", {{"RCPT", 0, "354 odd"}},
	.want = {SAID("5.5.0", "bounced", "354 odd", "RCPT TO")}},
    {"data 4xx", {{"DATA", 0, "451 4.3.5 no data"}},
	.want = {SAID("4.3.5", "deferred", "451 4.3.5 no data", "DATA")},
	.commands = "+ | " ENVELOPE " | RSET"},
    {"data 5xx", {{"DATA", 0, "554 5.7.9 no data"}},
	.want = {SAID("5.7.9", "bounced", "554 5.7.9 no data", "DATA")}},
    {"data 421 close", {{"DATA", 0, "421 4.3.2 bye|CLOSE"}}, .rcpts = 2,
	.want = {SAID("4.3.2", "deferred", "421 4.3.2 bye", "DATA"),
	    SAID("4.3.2", "deferred", "421 4.3.2 bye", "DATA")}},
    {"data close", {{"DATA", 0, "CLOSE"}}, .want = {LOST("sending DATA command")}, .hop = true},
    {"data silence", {{"DATA", 0, "SILENCE"}}, SOON, .want = {LATE("sending DATA command")},
	.hop = true},
    {"data garbage", {{"DATA", 0, "what is this|CLOSE"}},
	.want =
	    {"4.5.0 deferred Protocol error: host H said: what is this (in reply to DATA command)"},
	.hop = true},
    {"data odd", {{"DATA", 0, "250 odd"}},
	.want = {"5.5.0 bounced Protocol error: host H said: 250 odd (in reply to DATA command)"}},
    {"dot 4xx", {{".", 0, "452 4.3.1 no disk"}}, .rcpts = 2,
	.want = {SAID("4.3.1", "deferred", "452 4.3.1 no disk", "end of DATA"),
	    SAID("4.3.1", "deferred", "452 4.3.1 no disk", "end of DATA")},
	.commands =
	    "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> | RCPT "
	    "TO:<r1@there.test> | DATA | QUIT"},
    {"dot 5xx", {{".", 0, "554 5.7.9 no dot"}},
	.want = {SAID("5.7.9", "bounced", "554 5.7.9 no dot", "end of DATA")}},
    {"dot 5xx soft", {{".", 0, "554 5.7.9 no dot"}}, {"soft_bounce=yes"},
	.want = {SAID("4.7.9", "deferred", "554 5.7.9 no dot", "end of DATA")}},
    {"dot 421 close", {{".", 0, "421 4.3.2 bye|CLOSE"}},
	.want = {SAID("4.3.2", "deferred", "421 4.3.2 bye", "end of DATA")}},
    {"dot close", {{".", 0, "CLOSE"}}, .want = {LOST(DOT)}, .hop = true},
    {"dot silence", {{".", 0, "SILENCE"}}, SOON, .want = {LATE(DOT)}, .hop = true},
    {"dot garbage", {{".", 0, "what is this|CLOSE"}},
	.want =
	    {"4.5.0 deferred Protocol error: host H said: what is this (in reply to end of DATA "
	     "command)"},
	.hop = true},
    {"dot odd", {{".", 0, "354 odd"}},
	.want = {SAID("5.5.0", "bounced", "354 odd", "end of DATA")}},
    {"dot lines", {{".", 0, "250-2.0.0 one\n250 2.0.0 two"}},
	.want = {"2.0.0 sent 250-2.0.0 one 250 2.0.0 two"}},
    {"dot plain", {{".", 0, "250 ok"}}, .want = {"2.0.0 sent 250 ok"}},
    /* What is said before the dot is no answer to it, unless it is a refusal. */
    {"early 5xx", {{"DATA", 0, "354 go\n552 5.3.4 too big"}},
	.want = {SAID("5.3.4", "bounced", "552 5.3.4 too big", "end of DATA")}},
    {"early 4xx", {{"DATA", 0, "354 go\n421 4.3.2 bye"}},
	.want = {SAID("4.3.2", "deferred", "421 4.3.2 bye", "end of DATA")}},
    {"early 2xx", {{"DATA", 0, "354 go\n250 2.0.0 queued"}},
	.want = {"4.5.0 deferred Protocol error: host H said: 250 2.0.0 queued (in reply to end of "
		 "DATA command)"}},
    {"a reply too many", {{"MAIL", 0, "250 ok\n250 ok"}},
	.want =
	    {"5.5.0 bounced Protocol error: host H said: 250 2.1.5 ok (in reply to DATA command)"}},
    {"size", {{"EHLO", 0, "250-fake.test\n250 SIZE 20"}},
	.want = {"5.3.4 bounced message size 35 exceeds size limit 20 of server H"},
	.commands = "+ | EHLO mail.here.test | QUIT"},
    {"size offered", {{"EHLO", 0, "250-fake.test\n250 SIZE 2000"}}, .want = {SENT},
	.commands = "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> SIZE=35 | RCPT "
		    "TO:<r0@there.test> | DATA | QUIT"},
    {"dsn offered", {{"EHLO", 0, "250-fake.test\n250 DSN"}}, .want = {SENT},
	.commands = "+ | EHLO mail.here.test | MAIL FROM:<s@here.test> | RCPT TO:<r0@there.test> "
		    "ORCPT=rfc822;r0@there.test | DATA | QUIT"},
    {"keywords ignored", {{"EHLO", 0, "250-fake.test\n250-SIZE 20\n250 DSN"}},
	{"smtp_discard_ehlo_keywords=size dsn"}, .want = {SENT}},
    {"quit awaited", .settings = {"smtp_skip_quit_response=no"}, .want = {SENT},
	.commands = "+ | " ENVELOPE " | QUIT"},
    {"rset refused", {{"DATA", 0, "451 no"}, {"RSET", 0, "500 no"}},
	.want = {SAID("4.0.0", "deferred", "451 no", "DATA")}},
};

/* Returns how much was wrong. */
static int
check(const struct dialog *c)
{
	struct fake_run r;
	char hop[64];
	int wrong = 0;

	fake_init(&r);
	fake_configure(&r, c->settings);
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", fake_listen(&r, "127.0.0.1", 0, c->rules));
	fake_add(&r, hop, c->rcpts ? c->rcpts : 1);
	fake_run(&r);
	for (size_t i = 0; i < r.delivery[0].rcpt_count; i++) {
		wrong += differs(c->name, "recipient", fake_result(&r, 0, i), c->want[i]);
		assert_true(r.delivery[0].rcpt[i].logged);
	}
	if (c->commands)
		wrong += differs(c->name, "commands", buf_cstr(&r.server[0].log), c->commands);
	wrong += differs(c->name, "destination trouble",
	    r.delivery[0].hop.cls != STATUS_NONE ? "yes" : "no", c->hop ? "yes" : "no");
	wrong += differs(c->name, "relay", fake_text(&r, r.delivery[0].relay), "H:P");
	fake_fini(&r);
	return wrong;
}

static void
test_dialogs(void **state)
{
	int wrong = 0;

	for (size_t i = 0; i < PP_COUNT(dialogs); i++)
		wrong += check(&dialogs[i]);
	assert_int_equal(wrong, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_dialogs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
