/*
 * rights.c - authorized_mailq_users, authorized_flush_users, authorized_submit_users.
 *
 * The daemon asks the same of who is behind its sockets, and pickup of who owns a file, so this is
 * a courtesy: the user is told at once, in the words of Postfix, and also while the daemon is down.
 * Postfix refuses root as well when authorized_submit_users leaves it out; here root and mail_owner
 * may always do all, since they could anyway.
 */
#include <pwd.h>
#include <unistd.h>
#include "pp/base/mem.h"
#include "pp/map/userlist.h"
#include "rights.h"

enum { PASSWD_MAX = 64 * 1024 };

static bool
is_owner(const struct params *p, uid_t uid)
{
	char *memory = mem_alloc(PASSWD_MAX);
	struct passwd pw, *owner = NULL;
	bool is_same = getpwnam_r(p->mail_owner, &pw, memory, PASSWD_MAX, &owner) == 0 &&
		       owner != NULL && pw.pw_uid == uid;

	mem_free(memory);
	return is_same;
}

int
rights_check(const struct params *p, const char *parameter, const char *list, const char *what,
    struct buf *err)
{
	struct userlist *users = NULL;
	char name[USERLIST_NAME_MAX];
	uid_t uid = getuid();
	struct buf why;
	int rc;

	if (uid == 0)
		return 1;
	buf_init(&why, 1024);
	rc = userlist_new_blk(list, &users, &why);
	if (rc < 0)
		buf_printf(err, "%s: %s", parameter, buf_cstr(&why));
	buf_fini(&why);
	if (rc < 0)
		return is_owner(p, uid) ? 1 : rc;
	rc = userlist_is_everybody(users) || is_owner(p, uid)
		 ? 1
		 : userlist_match_blk(users, uid, name);
	if (rc < 0)
		buf_printf(err, "%s: %s", parameter, strerror(-rc));
	else if (rc == 0)
		buf_printf(err, "User %s(%ld) is not allowed to %s", name, (long)uid, what);
	userlist_unref(users);
	return rc;
}
