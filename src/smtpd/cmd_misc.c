/*
 * cmd_misc.c - the commands that need no file of their own.
 *
 * AUTH, STARTTLS, BDAT, XCLIENT and XFORWARD are rows already and answer what a server says that
 * does not offer them.
 */
#include "internal.h"

enum cmd_result
smtpd_cmd_rset(struct smtpd_session *s, struct str args)
{
	if (args.n > 0) {
		smtpd_reply(s, "501 5.5.4 Syntax: RSET");
		return CMD_BAD;
	}
	smtpd_session_reset(s);
	smtpd_reply(s, "250 2.0.0 Ok");
	return CMD_OK;
}

enum cmd_result
smtpd_cmd_noop(struct smtpd_session *s, struct str args)
{
	smtpd_reply(s, "250 2.0.0 Ok");
	return CMD_OK;
}

enum cmd_result
smtpd_cmd_quit(struct smtpd_session *s, struct str args)
{
	smtpd_reply(s, "221 2.0.0 Bye");
	return CMD_CLOSE;
}

static enum cmd_result
no(struct smtpd_session *s, const char *reply)
{
	smtpd_reply(s, "%s", reply);
	return CMD_BAD;
}

enum cmd_result
smtpd_cmd_starttls(struct smtpd_session *s, struct str args)
{
	return no(s, "502 5.5.1 Error: command not implemented");
}

enum cmd_result
smtpd_cmd_bdat(struct smtpd_session *s, struct str args)
{
	/* What follows is content, and would be taken for commands: the session ends here. */
	smtpd_reply(s, "521 5.5.1 Error: command not implemented");
	return CMD_CLOSE_BAD;
}

enum cmd_result
smtpd_cmd_auth(struct smtpd_session *s, struct str args)
{
	return no(s, "503 5.5.1 Error: authentication not enabled");
}

enum cmd_result
smtpd_cmd_xclient(struct smtpd_session *s, struct str args)
{
	return no(s, "550 5.7.0 Error: insufficient authorization");
}

enum cmd_result
smtpd_cmd_unknown(struct smtpd_session *s, struct str args)
{
	return no(s, "500 5.5.2 Error: command not recognized");
}
